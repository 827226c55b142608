"""The commands under ``log``: each is a module of its name."""

from __future__ import annotations

import argparse

from policy_router.cli.options import add_commands

_COMMANDS = {
    "verify": "check whether a log is whole, who says so, what was removed",
    "check": "check whether what ran is what was decided",
    "checkpoint": "sign the new lines of a log",
    "cosign": "sign the newest checkpoint as a witness",
    "attest": "state that lines are damaged, so that the log goes on",
    "keygen": "make a key for signing checkpoints",
    "rotate-key": "replace the key of a log by a new one",
    "prove": "prove decisions and what came of them, or that a log only grew",
    "verify-proof": "verify a proof",
    "anchor": "print the newest checkpoint, to be kept elsewhere",
    "publish": "copy the tree and the checkpoints to a public folder",
    "copy": "copy a log, also while it is written",
    "export": "export a log as tables, for SQL",
    "ls": "list decisions, the newest first",
    "show": "show one decision, its reasons and its execution",
    "tail": "show the last lines",
    "report": "report spend, refusals, wishes, rules, models or callers",
    "policies": "say which revision was live when, what changed, and who was affected",
    "stats": "count decisions, tokens and costs",
    "prune": "remove old segments that a checkpoint covers",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    add_commands(parser, "log_command", __name__, _COMMANDS)
