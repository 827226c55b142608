"""The commands under ``log``: each is a module of its name."""

from __future__ import annotations

import argparse

from policy_router.cli.options import add_commands

_COMMANDS = {
    "verify": "tell whether a log is whole",
    "checkpoint": "sign all that is in a log now",
    "keygen": "make a key to sign checkpoints with",
    "prove": "prove that a decision is in a log, or that it only grew",
    "verify-proof": "check a proof",
    "ls": "list decisions, the newest first",
    "show": "show one decision, why it was made, and what came of it",
    "tail": "show the last lines",
    "stats": "count what is in a log",
    "prune": "remove old segments that a checkpoint covers",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    add_commands(parser, "log_command", __name__, _COMMANDS)
