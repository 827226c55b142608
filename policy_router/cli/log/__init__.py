"""The commands under ``log``: each is a module of its name."""

from __future__ import annotations

import argparse

from policy_router.cli.options import add_commands

_COMMANDS = {
    "verify": "check whether a log is whole",
    "checkpoint": "sign all lines of a log",
    "keygen": "make a key for signing checkpoints",
    "prove": "prove that a decision is in a log, or that it only grew",
    "verify-proof": "verify a proof",
    "ls": "list decisions, the newest first",
    "show": "show one decision, its reasons and its execution",
    "tail": "show the last lines",
    "stats": "count decisions, tokens and costs",
    "prune": "remove old segments that a checkpoint covers",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    add_commands(parser, "log_command", __name__, _COMMANDS)
