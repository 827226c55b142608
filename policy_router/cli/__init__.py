"""The command line: ``policy-router``.

Exit codes: 0 good, 1 the policy has errors, 2 usage or a bad request, 3 refused, 4 a replay is not
identical, 5 a child failed, 130 interrupted; of a log, 1 is not whole.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any

from policy_router.cli.log_options import (
    NewCommand,
    add_log_commands,
    add_logging,
    add_replay,
    add_strict,
)
from policy_router.cli.serving_options import add_mcp, add_serve, add_token
from policy_router.version import VERSION

GOOD, POLICY_ERRORS, USAGE, REFUSED, NOT_IDENTICAL, CHILD_FAILED = range(6)
NOT_WHOLE, INTERRUPTED = POLICY_ERRORS, 130

_EXIT_CODES = (
    "exit codes: 0 good, 1 the policy has errors, 2 usage or a bad request, 3 refused,"
    " 4 a replay is not identical, 5 a child failed, 130 interrupted; of a log, 1 is not whole"
)
_MOST = 100_000
_POLICY = "a rule file, or a folder of them"
_REQUEST = "a JSON or YAML file, or - for standard input; a list is a batch"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after the program's name; those of the process unless given.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    if sys.stdout is None:  # as it is where whoever started the process closed it
        sys.stderr.write("policy-router: standard output: it is closed\n")
        return USAGE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # What a policy is read into lives as long as the process: look seldom for garbage in it.
    gc.set_threshold(100_000)
    # The commands are imported only now, so that --help need not wait for them.
    commands = import_module("policy_router.cli.commands")
    terminal = import_module("policy_router.cli.terminal")
    terminal.begin()
    try:
        code = int(commands.run(options))
        terminal.flush()
    except OSError as problem:
        from policy_router.errors import reason_of

        terminal.give_up_output()
        where = problem.filename or "standard output"  # what is printed has no name
        sys.stderr.write(f"policy-router: {where}: {reason_of(problem)}\n")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    common = _verbosity(default=argparse.SUPPRESS, default_quiet=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        parents=[_verbosity(default=0, default_quiet=False)],
        allow_abbrev=False,
        prog="policy-router",
        description="Decides which language model a delegated task runs on, and says why.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"policy-router {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    command = _adder(commands, common)

    _add_check(command("check", "find what is wrong with policies"))

    decide = command("decide", "decide what tasks run on")
    decide.add_argument("policy", metavar="POLICY", help=_POLICY)
    add_strict(decide)
    decide.add_argument("request", metavar="REQUEST", help=_REQUEST)
    add_logging(decide)
    _add_now(decide)
    _add_format(decide)

    explain = command("explain", "say why a task runs on what it does")
    explain.add_argument("policy", metavar="POLICY", help=_POLICY)
    add_strict(explain)
    explain.add_argument("request", metavar="REQUEST|RECORD", help=f"{_REQUEST}; or a record")
    explain.add_argument("--why-not", metavar="NAME", help="ask why this name was not selected")
    explain.add_argument("--task", metavar="N", type=int, help="of a batch, only this task, from 0")
    _add_now(explain)

    menu = command("menu", "list what may be asked for")
    menu.add_argument("policy", metavar="POLICY", help=_POLICY)
    add_strict(menu)
    menu.add_argument("request", metavar="REQUEST", nargs="?", help="list it for this request")
    _add_now(menu)
    _add_format(menu)

    tool = command("tool", "print the definition of delegate_task for an agent's model")
    tool.add_argument("policy", metavar="POLICY", help=_POLICY)
    add_strict(tool)
    tool.add_argument("request", metavar="REQUEST", nargs="?", help="for this caller and parent")

    _add_delegate(command("delegate", "decide what tasks run on, and run them"))

    _add_logs(command, common)

    _add_service(command, common)

    schema = command("schema", "print a JSON Schema")
    schema.add_argument("name", choices=["policy", "request", "record", "log", "serve"])

    init = command("init", "write a commented policy to begin with")
    init.add_argument("folder", metavar="DIR", nargs="?", default=".", help="default: this folder")
    return parser


def _adder(commands: Any, common: argparse.ArgumentParser) -> NewCommand:
    """Return what adds a command of a name and a text."""

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=f"{text}.",
            epilog=_EXIT_CODES,
            parents=[common],
            allow_abbrev=False,
        )
        return parser

    return add


def _add_logs(command: NewCommand, common: argparse.ArgumentParser) -> None:
    log = command("log", "read, check, sign and prune decision logs")
    of_log = log.add_subparsers(dest="log_command", metavar="COMMAND", required=True)
    add_log_commands(_adder(of_log, common))
    replay = command("replay", "make the decisions of a log again, or by another policy")
    add_replay(replay)


def _add_service(command: NewCommand, common: argparse.ArgumentParser) -> None:
    add_serve(command("serve", "answer agents over HTTP"))
    add_mcp(command("mcp", "answer an agent over MCP, on standard input"))
    token = command("token", "make credentials for a service")
    of_token = token.add_subparsers(dest="token_command", metavar="COMMAND", required=True)
    add_token(_adder(of_token, common))


def _add_delegate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", metavar="POLICY", help=_POLICY)
    add_strict(parser)
    parser.add_argument("--goal", help="what is to be done; with --tasks: their common goal")
    parser.add_argument("--context", help="what has to be known for it")
    parser.add_argument("--model", help="ask for this model or entry")
    parser.add_argument("--provider", help="ask for this provider")
    parser.add_argument("--reasoning-effort", metavar="EFFORT", help="ask for this effort")
    parser.add_argument("--kind", help="the sort of work, in a word")
    parser.add_argument("--tasks", metavar="FILE", help="a list of tasks, JSON or YAML, or -")
    parser.add_argument("--request", metavar="FILE", help="parent, caller, budget and facts")
    parser.add_argument(
        "--dry-run", action="store_true", help="decide and estimate, and call nobody"
    )
    parser.add_argument(
        "--on-refused",
        choices=["refuse", "skip"],
        default="refuse",
        help="what a refused task does to the others; default: refuse all",
    )
    for name, kind, default, text in (
        ("--concurrency", _whole, 8, "children at a time"),
        ("--timeout", _seconds, 600.0, "seconds that a provider may be silent"),
        (
            "--retries",
            _whole_or_none,
            0,
            "how often the plan is tried again after passing failures",
        ),
    ):
        parser.add_argument(
            name, metavar="N", type=kind, default=default, help=f"{text}; default: {default:g}"
        )
    add_logging(parser)
    parser.add_argument("--stream", action="store_true", help="let answers be streamed")
    parser.add_argument("--session-id", metavar="ID", help="continue this session")
    parser.add_argument(
        "--session-header",
        metavar="NAME",
        default="X-Session-Id",
        help="the header that says so; default: X-Session-Id",
    )
    _add_now(parser)
    _add_format(parser)


def _whole(text: str) -> int:
    number = _whole_or_none(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1 is wanted")
    return number


def _whole_or_none(text: str) -> int:
    if not text.isdecimal() or int(text) > _MOST:
        raise argparse.ArgumentTypeError(f"a whole number up to {_MOST:,} is wanted")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MOST:
        raise argparse.ArgumentTypeError(f"seconds from above 0 to {_MOST:,} are wanted")
    return number


def _verbosity(*, default: int | str, default_quiet: bool | str) -> argparse.ArgumentParser:
    """Return the options that stand before the command or after it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "-v", "--verbose", action="count", default=default, help="say more (-vv: all)"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=default_quiet, help="say only what is needed"
    )
    return parser


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=["human", "json"], default="human", help="default: human"
    )


def _add_check(check: argparse.ArgumentParser) -> None:
    check.add_argument("paths", metavar="PATH", nargs="+", help=_POLICY)
    add_strict(check)
    check.add_argument("--pedantic", action="store_true", help="count hints as errors, too")
    check.add_argument("--env", action="store_true", help="look for the keys of all targets here")
    _add_now(check, "time by which others are past")
    _add_format(check)


def _add_now(parser: argparse.ArgumentParser, what: str = "time of the decision") -> None:
    help_ = f"{what}, RFC 3339; default: the clock's"
    parser.add_argument("--now", metavar="TIME", help=help_)
