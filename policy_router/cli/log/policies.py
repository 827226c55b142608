"""The command ``log policies``: which revision was live, what changed, and who was affected."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from policy_router.analysis.differing import changes
from policy_router.cli.fitting import COLUMNS, fitted, wrapped
from policy_router.cli.log.arguments import add_log, log_of, seconds_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import Bar, counted, out, out_bytes, paint_for
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.errors import RecordError
from policy_router.log.entry import moment_of
from policy_router.log.folder import LogFolder
from policy_router.log.policies import PolicyStore
from policy_router.log.replay.what_if import what_if
from policy_router.log.replay.what_if_report import WhatIf, most_flips, ordered
from policy_router.log.report.dimensions import Filter
from policy_router.log.report.live import LiveSpan, PolicyChange, live_policies, policy_changes

_SHORT = 19
_MICROSECONDS = 1_000_000
_SHOWN = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    text = "say in words what tells each revision from the one before"
    parser.add_argument("--diff", action="store_true", help=text)
    text = (
        "count the decisions within this time after each change, such as 1h, that the revision"
        " before would have made differently"
    )
    parser.add_argument("--affected", metavar="AGE", help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Say which revision was live when, and what came of each change."""
    log = log_of(options)
    within = None if options.affected is None else seconds_of(options.affected, "--affected")
    with Bar("read", is_quiet=options.quiet) as bar:
        spans = live_policies(log, progress=bar)
    made = [_Change.of(log, change, within, options) for change in policy_changes(spans)]
    if options.format == "json":
        plain = {"spans": spans, "changes": [change.plain() for change in made]}
        out_bytes(msgspec.json.encode(plain))
        return
    if not spans:
        out("no decisions found")
        return
    heads = ("writer", "from", "to", "revision", "decisions")
    out(fitted(heads, [_row(span) for span in spans], (4,)))
    for line in (*_origins(spans), *_change_lines(made)):
        out(line)


def _row(span: LiveSpan) -> tuple[str, ...]:
    times = (f"{moment_of(it):%Y-%m-%d %H:%M:%S}" for it in (span.first, span.last))
    return span.writer, *times, printable(span.revision[:_SHORT]), f"{span.decisions:,}"


def _second(time: int) -> str:
    return spelt(moment_of(time).replace(microsecond=0))


def _origins(spans: list[LiveSpan]) -> Iterator[str]:
    """Yield the names of revisions, who loaded them and where they come from."""
    yield ""
    said = {(it.revision, it.name, it.loaded_by, it.origin_commit): None for it in spans}
    for revision, name, who, commit in said:
        words = [f"policy {name}"]
        words += [f"loaded by {who}"] if who else []
        words += [f"from commit {commit}"] if commit else []
        yield from wrapped(revision[:_SHORT], [printable(", ".join(words))], _SHORT + 2)


class _Change(Struct, frozen=True):
    """A change with what was asked about it.

    Attributes:
        change: the change.
        differences: what tells the revisions apart, in words; None where that was not asked.
        affected: what the revision before would have decided; None where that was not asked.
        reason: why one of them is missing.
    """

    change: PolicyChange
    differences: tuple[str, ...] | None = None
    affected: WhatIf | None = None
    reason: str | None = None

    @classmethod
    def of(
        cls, log: str, change: PolicyChange, within: int | None, options: argparse.Namespace
    ) -> _Change:
        """Look at a change as far as that is asked for."""
        if not options.diff and within is None:
            return cls(change)
        store = PolicyStore(LogFolder(log))
        try:
            before, after = (store.load(it) for it in (change.before, change.after))
        except RecordError as problem:
            return cls(change, reason=str(problem))
        words = tuple(map(str, changes(before, after))) if options.diff else None
        affected = None if within is None else _affected(log, change, before, within)
        return cls(change, words, affected)

    def plain(self) -> dict[str, Any]:
        """Return plain data."""
        found: dict[str, Any] = msgspec.to_builtins(self.change)
        if self.differences is not None:
            found["differences"] = self.differences
        if self.affected is not None:
            found["affected"] = msgspec.Raw(self.affected.to_json())
        return found if self.reason is None else found | {"reason": self.reason}


def _affected(log: str, change: PolicyChange, before: Policy, within: int) -> WhatIf:
    """Ask what the revision before would have decided of the decisions after a change."""
    wanted = (("writer", change.writer), ("policy", change.after))
    return what_if(
        log,
        before,
        since=change.time,
        until=change.time + within * _MICROSECONDS,
        where=Filter(wanted),
    )


def _change_lines(made: list[_Change]) -> Iterator[str]:
    """Yield what came of each change; what revisions differ in is told once."""
    paint = paint_for(sys.stdout) or (lambda text, _role: text)
    shown = set()
    for it in made:
        pair = it.change.before[:_SHORT], it.change.after[:_SHORT]
        yield ""
        words = f"{_second(it.change.time)}  {it.change.writer}: {pair[0]} -> {pair[1]}"
        yield paint(words, "strong")
        if it.reason is not None:
            yield f"  {printable(it.reason)}"
        if it.differences is not None and pair in shown:
            yield "  the same differences as above"
        elif it.differences is not None:
            shown.add(pair)
            yield from _wrapped(it.differences)
        if it.affected is not None:
            yield from _affected_lines(it.affected)


def _wrapped(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts or ("nothing that decides",):
        yield from textwrap.wrap(
            printable(text), COLUMNS, initial_indent="  ", subsequent_indent=" " * 11
        )


def _affected_lines(found: WhatIf) -> Iterator[str]:
    """Yield how many decisions the revision before would have made differently, and whose."""
    of = counted(found.total, "decision")
    yield f"  {found.flips:,} of {of} would have been made differently before"
    flips = [
        (f"  {count:,}", printable(after), "->", printable(before))
        for (before, after), count in ordered(found.matrix)
        if before != after
    ]
    # What the log has came of the change; what the other policy says was before it.
    rows = [(count, was, arrow, now) for count, was, arrow, now in flips[:_SHOWN]]
    if rows:
        yield fitted(("  count", "before", "", "after"), rows)
        teams = (f"{printable(name) or '-'} {it.flips:,}" for name, it in most_flips(found.teams))
        yield from textwrap.wrap(
            f"by team: {', '.join(teams)}", COLUMNS, initial_indent="  ", subsequent_indent="  "
        )
