"""The command line: ``policy-router``. Each command is a module of its name; see ``_COMMANDS``.

The module of a command has ``add_options``, which adds the options to a parser, and ``run``, which
takes the parsed options and returns the exit code, or None where all is good. It is imported when
the command is asked for, so that ``policy-router --help`` waits for none.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from policy_router.cli.exit_codes import EXIT_CODES, INTERRUPTED, USAGE
from policy_router.cli.options import Parser, add_commands, add_verbosity
from policy_router.version import VERSION

_COMMANDS = {
    "check": "find the problems of policies",
    "show": "show a policy as it decides, or who may use what",
    "diff": "list the differences between two policies, in words",
    "fmt": "format rule files and tests",
    "test": "run the tests of policies",
    "analyze": "ask whether each part of a policy can matter to any request",
    "prove": "prove the assertions of a policy for all requests",
    "compare": "ask whether two policies decide any request differently",
    "decide": "decide the targets of tasks",
    "explain": "explain the decision about a task, or the code of a diagnostic",
    "eval": "evaluate one condition, and show the values under it",
    "menu": "list the entries that agents may ask for",
    "tool": "print the definition of delegate_task for an agent's model",
    "delegate": "decide the targets of tasks, and run the tasks",
    "log": "read, check, sign and prune decision logs",
    "replay": "repeat the decisions of a log, by their own or another policy",
    "serve": "answer agents over HTTP",
    "mcp": "answer an agent over MCP, on standard input",
    "connect": "put a policy into the settings of an agent's host",
    "hook": "answer a host that asks before a sub-agent starts",
    "token": "make credentials for a service",
    "bundle": "put a policy into one signed file for services",
    "schema": "print a JSON Schema",
    "init": "write a first policy with comments and tests, or an example",
    "completion": "print a script that completes commands and options in a shell",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after the program's name; those of the process unless given.

    Returns:
        The exit code.
    """
    # What a policy is read into lives as long as the process: look seldom for garbage in it.
    gc.set_threshold(100_000)
    try:
        options = parser().parse_args(arguments)
        if sys.stdout is None:  # as it is where whoever started the process closed it
            sys.stderr.write("policy-router: standard output: it is closed\n")
            return USAGE
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        from policy_router.cli.running import run  # --help does not wait for it

        return run(options)
    except KeyboardInterrupt:
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; a command adds its options when it is asked for."""
    whole = Parser(
        allow_abbrev=False,
        prog="policy-router",
        description="Decides which language model a delegated task runs on, and explains it.",
        epilog=EXIT_CODES,
    )
    add_verbosity(whole, count=0, quiet=False)
    whole.add_argument("--version", action="version", version=f"policy-router {VERSION}")
    add_commands(whole, "command", __name__, _COMMANDS)
    return whole
