"""The options that say which decisions of a log are meant."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from policy_router.cli.log.arguments import time_of
from policy_router.errors import RequestError
from policy_router.log.report.dimensions import Filter, checked_names, checked_value


def add_times(parser: argparse.ArgumentParser) -> None:
    """Add the times of the decisions that are meant."""
    text = "from this time on: a day, RFC 3339, or an age (2h, 7d)"
    parser.add_argument("--since", metavar="TIME", help=text)
    parser.add_argument("--until", metavar="TIME", help="before this time")


def add_window(parser: argparse.ArgumentParser) -> None:
    """Add the times of the decisions that are meant, and what they have to have."""
    add_times(parser)
    text = "only decisions with this, such as team=research; may be given several times"
    parser.add_argument("--where", metavar="NAME=VALUE", action="append", help=text)


def window_of(options: argparse.Namespace) -> tuple[int | None, int | None]:
    """Return the times between which decisions are meant."""
    since, until = (
        None if text is None else time_of(text, options.now, option)
        for text, option in ((options.since, "--since"), (options.until, "--until"))
    )
    if since is not None and until is not None and since > until:
        raise RequestError("--until", "it is before --since")
    return since, until


def filter_of(options: argparse.Namespace, more: Mapping[str, str | None]) -> Filter:
    """Return which decisions are meant, besides their times.

    Args:
        options: has ``--where``.
        more: what other options ask for, by dimension; None where they ask for nothing.
    """
    wanted = []
    for text in options.where or ():
        name, is_there, value = text.partition("=")
        if not is_there:
            raise RequestError("--where", "expected NAME=VALUE, such as team=research")
        checked_names([name], "--where")
        wanted.append(checked_value(name, value, "--where"))
    wanted += [(name, value) for name, value in more.items() if value is not None]
    return Filter(tuple(wanted))
