"""The command ``hook``: answers a host that asks, on standard input, before a sub-agent starts."""

from __future__ import annotations

import argparse

from policy_router.hosts import claude_code_hook


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("host", choices=["claude-code"], help="the host that asks")
    parser.add_argument("--policy", metavar="PATH", required=True, help="a rule file, or a folder")
    parser.add_argument("--home", metavar="DIR", required=True, help="the log and the socket")
    parser.add_argument("--facts", metavar="FILE", help="JSON: the `caller` of every request")


def run(options: argparse.Namespace) -> int:
    """Answer; every fault is a denial."""
    given = ("policy", "home", "facts")
    words = [(f"--{name}", getattr(options, name)) for name in given if getattr(options, name)]
    return claude_code_hook.main([word for pair in words for word in pair])
