"""The command ``schema``: a published JSON Schema, byte for byte."""

from __future__ import annotations

import argparse

from policy_router.cli.terminal import out_bytes
from policy_router.files.loader import data_folder

_NAMES = ["policy", "policy-test", "request", "record", "log", "serve", "analysis"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("name", choices=_NAMES)


def run(options: argparse.Namespace) -> None:
    """Print a schema."""
    file = data_folder("schemas") / f"{options.name}.schema.json"
    out_bytes(file.read_bytes().rstrip(b"\n"))
