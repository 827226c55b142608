"""The command ``replay``: repeats the decisions of a log by their own or another policy."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from decimal import Decimal, InvalidOperation
from pathlib import Path

from policy_router.cli.exit_codes import GOOD, NOT_IDENTICAL
from policy_router.cli.inputs import read_policy
from policy_router.cli.log.choosing import add_window, filter_of, window_of
from policy_router.cli.options import LOG, add_format, add_strict, number
from policy_router.cli.replay_page import flips_in, what_if_as_markdown, what_if_as_text
from policy_router.cli.terminal import Bar, as_typed, counted, err, out, out_bytes, paint_for, table
from policy_router.decision.replay import Outcome
from policy_router.diagnostics.model import printable
from policy_router.errors import RequestError
from policy_router.log.replay.cluster import LOCAL
from policy_router.log.replay.replaying import ReplayReport, replay_log
from policy_router.log.replay.what_if import what_if
from policy_router.log.replay.what_if_report import WhatIf, ordered

_MOST = 10**12
_SHOWN = 12


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("log", metavar="LOG", help=LOG)
    parser.add_argument(
        "--against", metavar="POLICY", help="compare with the decisions of this policy"
    )
    add_strict(parser)
    parser.add_argument(
        "--fail-over",
        metavar="N",
        type=_limit,
        help="with --against: exit with 4 if more than N decisions (or N%%) differ",
    )
    parser.add_argument(
        "--workers", metavar="N", type=number, help="processes; default: one per core"
    )
    parser.add_argument(
        "--on",
        metavar="PLACE",
        default=LOCAL,
        help="local, or dask:ADDRESS, a cluster that shares the folder; default: local",
    )
    add_window(parser)
    text = "with --against: write each decision that would differ to this file, as CSV"
    parser.add_argument("--list", metavar="FILE", help=text)
    text = "markdown, for a pull request, needs --against; default: human"
    add_format(parser, "markdown", text=text)


def _limit(text: str) -> tuple[Decimal, bool]:
    """Return a number of decisions, and whether it is a part of a hundred."""
    digits = text.removesuffix("%")
    try:
        value = Decimal(digits)
    except InvalidOperation:
        value = Decimal(-1)
    is_part = digits != text
    is_limit = value.is_finite() and 0 <= value <= _MOST
    if not is_limit or (not is_part and value % 1):
        raise argparse.ArgumentTypeError("expected a number of decisions, or a percentage")
    return value, is_part


def run(options: argparse.Namespace) -> int:
    """Replay a log under its own policies, or by another policy."""
    if options.on != LOCAL and options.workers is not None:
        raise RequestError("--workers", "a cluster has its own: it needs --on local")
    return _replay(options) if options.against is None else _replay_against(options)


def _replay(options: argparse.Namespace) -> int:
    """Make every decision of a log again, and say what is not identical."""
    if options.fail_over is not None:
        raise RequestError("--fail-over", "it needs --against POLICY")
    if options.format == "markdown":
        raise RequestError("--format", "markdown needs --against POLICY")
    for option in ("where", "list"):
        if getattr(options, option) is not None:
            raise RequestError(f"--{option}", "it needs --against POLICY")
    since, until = window_of(options)
    with Bar("replayed", is_quiet=options.quiet) as bar:
        report = replay_log(
            options.log,
            on=options.on,
            workers=options.workers,
            progress=bar,
            since=since,
            until=until,
        )
    if options.format == "json":
        out_bytes(report.to_json())
    else:
        _print_replay(report, options)
    return GOOD if report.is_identical else NOT_IDENTICAL


def _print_replay(report: ReplayReport, options: argparse.Namespace) -> None:
    paint = paint_for(sys.stdout) or (lambda text, _role: text)
    rows = [(outcome.value.replace("_", " "), f"{report.counts[outcome]:,}") for outcome in Outcome]
    if not options.quiet:
        out(table(("outcome", "decisions"), rows))
    if not report.total:
        out(paint("no decision was replayed: the log holds none that is asked for", "warning"))
        return
    if report.is_identical:
        every = "the 1 decision is" if report.total == 1 else f"all {report.total:,} decisions are"
        out(paint(f"{every} identical", "good"))
        return
    if report.unreadable:
        lines = counted(report.unreadable, "line")
        out(f"{lines} cannot be read: policy-router log verify {as_typed(options.log)}")
    for reason, count in ordered(report.reasons)[:_SHOWN]:
        out(f"{count:,} x {printable(reason)}")
    if report.deviations:
        first = printable(report.deviations[0].decision_id)
        out(f"next: policy-router log show {as_typed(options.log)} {first}")


def _replay_against(options: argparse.Namespace) -> int:
    """Decide every request of a log by another policy, and say what would change."""
    policy = read_policy(options.against, is_strict=options.strict)
    since, until = window_of(options)
    where = filter_of(options, {}).of_decisions("--where")
    with ExitStack() as opened:
        on_flip = None
        if options.list is not None:
            on_flip = opened.enter_context(flips_in(Path(options.list)))
        report = what_if(
            options.log,
            policy,
            on=options.on,
            workers=options.workers,
            progress=opened.enter_context(Bar("decided", is_quiet=options.quiet)),
            since=since,
            until=until,
            where=where,
            on_flip=on_flip,
        )
    if options.format == "json":
        out_bytes(report.to_json())
    elif options.format == "markdown":
        out("\n".join(what_if_as_markdown(report)))
    else:
        _print_what_if(report, options)
    return _exit_code(report, options)


def _exit_code(report: WhatIf, options: argparse.Namespace) -> int:
    if options.fail_over is None:
        return GOOD
    limit, is_part = options.fail_over
    most = limit * report.total / 100 if is_part else limit
    if report.flips + report.unreadable <= most:
        return GOOD
    differ = f"{counted(report.flips, 'decision')} would differ"
    if report.unreadable:
        differ += f", {report.unreadable:,} cannot be read"
    err(f"policy-router: {differ}; at most {int(most):,} may")
    return NOT_IDENTICAL


def _print_what_if(report: WhatIf, options: argparse.Namespace) -> None:
    out("\n".join(what_if_as_text(report, is_quiet=options.quiet)))
    if report.flips and not options.quiet:
        example = printable(report.most_frequent()[0].decision_id)
        out(f"next: policy-router log show {as_typed(options.log)} {example}")
