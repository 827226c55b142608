"""The decision log that a command writes: its options, and the log itself."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from policy_router.cli.terminal import err
from policy_router.errors import RequestError

LONGEST_NAME: Final = 100
"""How much of a user's name a line has."""

if TYPE_CHECKING:
    from policy_router.log.write.decision_log import DecisionLog


def add_logging(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that writes a log."""
    parser.add_argument("--log", metavar="DIR", help="write a decision log to this folder")
    parser.add_argument(
        "--on-log-failure",
        choices=["deny", "allow_unlogged"],
        default="deny",
        help="if a decision cannot be logged: deny it, or allow it; default: deny",
    )
    parser.add_argument(
        "--parent-id", metavar="ID", help="the decision under which the delegating agent runs"
    )
    add_tags(parser)
    add_origin(parser)


def add_tags(parser: argparse.ArgumentParser) -> None:
    """Add words of the host's own for each decision."""
    text = "a word for the log, such as a project; up to eight times"
    parser.add_argument("--tag", metavar="WORD", action="append", default=[], help=text)


def check_tags(options: argparse.Namespace) -> None:
    """Refuse tags that no line can have.

    Raises:
        RequestError: they are too many, or one is malformed.
    """
    from policy_router.log.entry import TAG_RULE, are_tags

    if not are_tags(options.tag):
        raise RequestError("--tag", TAG_RULE)


def add_origin(
    parser: argparse.ArgumentParser,
    text: str = "for the log: the commit that the rule files come from",
) -> None:
    """Add where the rule files come from, for the line of the log that says what decides."""
    parser.add_argument("--origin-commit", metavar="COMMIT", help=text)


def check_origin(options: argparse.Namespace) -> None:
    """Refuse a commit that no line can have.

    Raises:
        RequestError: it is malformed.
    """
    from policy_router.log.entry import is_id

    if options.origin_commit is not None and not is_id(options.origin_commit):
        reason = "expected 1 to 200 letters, digits, `_`, `-`, `.`, `:`"
        raise RequestError("--origin-commit", reason)


def whose() -> str | None:
    """Return the name of the user who runs this process; None where the system knows none."""
    try:
        return getpass.getuser()[:LONGEST_NAME]
    except (KeyError, OSError, ImportError):
        return None


@contextmanager
def log_for(options: argparse.Namespace) -> Iterator[DecisionLog]:
    """Open the log that the options name, and say at the end what is not in it.

    Raises:
        RequestError: the id of the parent, the commit or a tag is malformed, or the folder has no
            name.
    """
    from policy_router.log.entry import ID_RULE, is_id
    from policy_router.log.write.decision_log import DecisionLog

    if options.parent_id is not None and not is_id(options.parent_id):
        raise RequestError("--parent-id", ID_RULE)
    check_tags(options)
    check_origin(options)
    if not options.log:
        raise RequestError("--log", "expected a folder")
    with DecisionLog(
        options.log,
        on_log_failure=options.on_log_failure,
        origin_commit=options.origin_commit,
        loaded_by=whose(),
    ) as log:
        yield log
        log.flush()
        missing = log.unlogged
    if missing:
        decisions = "1 decision is" if missing == 1 else f"{missing} decisions are"
        err(f"policy-router: {decisions} not in the log {options.log}")
