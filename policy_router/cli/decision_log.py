"""The decision log that a command writes: its options, and the log itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from policy_router.cli.terminal import err
from policy_router.errors import RequestError

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


@contextmanager
def log_for(options: argparse.Namespace) -> Iterator[DecisionLog]:
    """Open the log that the options name, and say at the end what is not in it.

    Raises:
        RequestError: the id of the parent is malformed, or the folder has no name.
    """
    from policy_router.log.entry import ID_RULE, is_id
    from policy_router.log.write.decision_log import DecisionLog

    if options.parent_id is not None and not is_id(options.parent_id):
        raise RequestError("--parent-id", ID_RULE)
    if not options.log:
        raise RequestError("--log", "expected a folder")
    with DecisionLog(options.log, on_log_failure=options.on_log_failure) as log:
        yield log
        log.flush()
        missing = log.unlogged
    if missing:
        decisions = "1 decision is" if missing == 1 else f"{missing} decisions are"
        err(f"policy-router: {decisions} not in the log {options.log}")
