"""The commands under ``bundle``: a policy in one signed file."""

from __future__ import annotations

import argparse

from policy_router.cli.options import add_commands

_COMMANDS = {
    "build": "make a bundle of rule files, and sign it",
    "verify": "say whether a bundle is whole and signed, and what is in it",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    add_commands(parser, "bundle_command", __name__, _COMMANDS)
