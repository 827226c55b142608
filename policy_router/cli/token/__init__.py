"""The commands under ``token``: credentials for a service."""

from __future__ import annotations

import argparse

from policy_router.cli.options import add_commands

_COMMANDS = {"new": "make a token, and print it once"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    add_commands(parser, "token_command", __name__, _COMMANDS)
