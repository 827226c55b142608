"""The command ``log show``: who asked, what was decided and why, and what came of it."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import UnsetType

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.fitting import COLUMNS, dollars, fitted, folded, wrapped
from policy_router.cli.log.arguments import add_log_and_id, log_and_id
from policy_router.cli.log.rows import (
    HEADS,
    beginnings,
    event_row,
    row,
    short_time,
    spelt_time,
    warn,
)
from policy_router.cli.options import add_format
from policy_router.cli.terminal import counted, out, out_bytes, paint_for, table
from policy_router.decision.compare import target_name
from policy_router.decision.explain.explanation import explain
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.errors import LogError, RecordError
from policy_router.log.check.checking import wrong_with
from policy_router.log.check.findings import WORDS
from policy_router.log.entry import Execution, Kind, moment_of
from policy_router.log.policies import PolicyStore
from policy_router.log.read.absence import Absence, absence_of
from policy_router.log.read.reading import Line, LogReader, NoDecisionError
from policy_router.log.replay.chunks import Job
from policy_router.log.report.cases import NOT_KNOWN, Case
from policy_router.log.report.cost_status import cost_on_default
from policy_router.log.report.dimensions import DIMENSIONS
from policy_router.log.report.finding import CaseFinder
from policy_router.log.report.tree import TreeNode, tree_of

_SHORT: Final = 19
"""How much is shown of a revision."""
_FILES: Final = 8
"""How much is shown of the name of a folder of rule files."""
_DEEPEST: Final = 8
"""How far a tree is indented."""
_SHORTEST: Final = 13
"""How much of an id is shown at least: the time in a UUID of version 7."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log_and_id(parser)
    text = "show the decisions below it, to any depth, with subtotals"
    parser.add_argument("--tree", action="store_true", help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Show one decision, who asked, why it was made, and what came of it."""
    log, decision_id = log_and_id(options)
    reader = LogReader(log)
    lines = _about(reader, decision_id)
    made = [line for line in lines if line.entry.kind is Kind.DECISION]
    absence = None if made else absence_of(reader, lines)
    if options.tree:
        _print_tree(reader, lines, options)
    elif options.format == "json":
        _print_json(reader, lines)
    else:
        _print_all(reader, lines, absence, options)
    warn(reader)
    return NOT_WHOLE if absence is Absence.NEVER_WAS else GOOD


def _about(reader: LogReader, decision_id: str) -> list[Line]:
    """Return the lines about a decision.

    Raises:
        LogError: there is none, or there are several such decisions; it says whether the decision
            may have been pruned.
    """
    try:
        return reader.about(decision_id)
    except NoDecisionError:
        if absence_of(reader, [], decision_id) is not Absence.PRUNED:
            raise
        reason = "there is no decision with this id: it may have been pruned"
        raise LogError(str(reader.folder.path), reason) from None


def _print_json(reader: LogReader, lines: Sequence[Line]) -> None:
    children = reader.children(str(lines[0].entry.id))
    content = {
        "lines": [msgspec.Raw(line.content) for line in lines],
        "children": [msgspec.Raw(line.content) for line in children],
    }
    out_bytes(msgspec.json.encode(content))


def _print_all(
    reader: LogReader, lines: Sequence[Line], absence: Absence | None, options: argparse.Namespace
) -> None:
    finder = CaseFinder(reader)
    cases = finder.about(lines)
    for line in lines:
        if line.entry.kind is Kind.DECISION:
            case = next((it for it in cases if it.line.seq == line.entry.seq), None)
            _print_decision(reader, line, case, options)
            _print_wrong(reader, lines)
    if absence is not None:
        out(f"decision {printable(str(lines[0].entry.id))} {absence}")
    events = [line for line in lines if isinstance(line.entry.execution, Execution)]
    if events:
        out("\nexecution")
        out(table(("time", "event", "what"), _event_rows(events)))
    children = reader.children(str(lines[0].entry.id))
    if children:
        out("\ndecisions of its child")
        rows = [(*it[1:4], it[5]) for it in map(_child_row, children)]
        out(fitted((*HEADS[1:4], HEADS[5]), rows, whole=(0,)))


def _event_rows(events: Sequence[Line]) -> Iterator[tuple[str, ...]]:
    """Yield the events; what does not fit beside its event goes on below."""
    rows = [event_row(line) for line in events]
    room = COLUMNS - 2 * 2 - max(len(time) for time, _, _ in rows)
    room -= max(len("event"), *(len(event) for _, event, _ in rows))
    for time, event, what in rows:
        first, *more = textwrap.wrap(what, room) or [""]
        yield time, event, first
        yield from (("", "", text) for text in more)


def _child_row(line: Line) -> tuple[str, ...]:
    try:
        return row(line, line.entry.decision_record)
    except RecordError:
        return (
            short_time(line.entry.time),
            printable(str(line.entry.id)),
            "?",
            "-",
            "-",
            "it cannot be read",
        )


def _print_decision(
    reader: LogReader, line: Line, case: Case | None, options: argparse.Namespace
) -> None:
    """Print a decision and why it was made; the record alone where nothing can explain it."""
    entry = line.entry
    when = spelt(moment_of(entry.time))
    out(f"decision {printable(str(entry.id))}   {when}")
    out(f"place    {line.place}")
    if case is not None:
        for text in _asked(reader, case):
            out(text)
    if not isinstance(entry.trace, UnsetType):
        out(f"trace    {printable(entry.trace)}")
    out("")
    try:
        record = entry.decision_record
        policy = PolicyStore(reader.folder).load_as_written(record.policy.revision)
        page = explain(policy, record)
    except RecordError as problem:
        out("\n".join(wrapped("", [f"it cannot be explained: {printable(str(problem))}"], 0)))
        if not isinstance(entry.record, UnsetType):
            out_bytes(bytes(entry.record))
        return
    folder = _folder_of(policy)
    text = page.to_text(paint_for(sys.stdout), full=options.verbose > 0)
    out(folded(text.replace(f"{folder}{os.sep}", "") if folder else text))
    if folder:
        out(f"  rule files  {printable(_short(folder, reader.folder.path))}")
    if case is not None:
        out("")
        for text in _paid(case, policy):
            out(text)


def _print_wrong(reader: LogReader, lines: Sequence[Line]) -> None:
    """Print what is wrong with what came of a decision, as `log check` finds it."""
    paint = paint_for(sys.stdout) or (lambda text, _role: text)
    for kind, detail in wrong_with(Job.of(reader.folder), (it.content for it in lines)):
        for text in wrapped("wrong", [f"{WORDS[kind]}: {printable(detail)}"], 12):
            out(paint(text, "error"))


def _folder_of(policy: Policy) -> str | None:
    """Return the folder in which the rule files of a policy are kept; None where none is."""
    folders = {str(Path(it.name).parent) for it in policy.sources if Path(it.name).is_absolute()}
    return folders.pop() if len(folders) == 1 else None


def _short(folder: str, log: Path) -> str:
    """Return a pattern that a shell makes the folder of, in the log: its names are long."""
    *names, revision, files = Path(os.path.relpath(folder, log)).parts
    return "/".join((*names, f"{revision[:_SHORT]}*", f"{files[:_FILES]}*"))


# --- Who asked, and what came of it ---------------------------------------------------------------


def _asked(reader: LogReader, case: Case) -> Iterator[str]:
    """Yield who asked: the caller, the kind of task, and where it stands."""
    parts = {name: DIMENSIONS[name](case) for name in ("team", "kind", "label", "session", "tag")}
    words = [f"{name} {value}" for name, value in parts.items() if value != NOT_KNOWN]
    caller = DIMENSIONS["caller"](case)
    who = "nobody who was named" if caller == NOT_KNOWN else caller
    yield from wrapped("asked by", [printable(", ".join([who, *words]))], 9)
    if case.line.parent:
        absent = absence_of(reader, [], case.line.parent)
        yield f"parent   {printable(case.line.parent)}"
        if absent is not None:
            yield from wrapped("", [f"it {absent}"], 9)
    if case.line.root and case.line.root != case.id:
        yield f"root     {printable(case.line.root)}"


def _paid(case: Case, policy: Policy) -> Iterator[str]:
    """Yield what came of a decision and what it cost, beside the cost on the default."""
    status, measured, estimated = case.cost()
    run = case.last
    if case.choice.target is None:
        yield "result      nothing ran, and nothing was paid"
        return
    if run is None:
        yield "result      the log has no end of it, and so no cost"
        return
    served = f", answered by {run.served}" if run.served else ""
    where = f" on {case.sent}" if case.sent != NOT_KNOWN else ""
    yield from wrapped("result", [printable(f"{run.status}{where}{served}")], 12)
    cost = f"unknown: {status.replace('_', ' ')}"
    if not status.is_unknown:
        words = {"measured": "", "free": ""}.get(status, f", {status.replace('_', ' ')}")
        cost = f"{dollars(measured + estimated)}{words}"
    yield f"cost        {cost}"
    default, nano = cost_on_default(policy, case.runs)
    if default is None:
        yield "            the policy has no default to compare it with"
    else:
        price = "has no price, or no tokens were counted" if nano is None else dollars(nano)
        text = f"on the default, {target_name(default)}: {price}"
        yield from wrapped("", [printable(text)], 12)


# --- The tree -------------------------------------------------------------------------------------


def _print_tree(reader: LogReader, lines: Sequence[Line], options: argparse.Namespace) -> None:
    cases = CaseFinder(reader).about(lines)
    if not cases:
        reason = "the decision is not here, or it cannot be read: nothing stands below it"
        raise LogError(str(reader.folder.path), reason)
    nodes = tree_of(reader.folder, cases[0])
    if options.format == "json":
        out_bytes(msgspec.json.encode([_plain(node) for node in nodes]))
        return
    short = beginnings([node.case.id for node in nodes], _SHORTEST)
    rows = [_tree_row(node, short[node.case.id]) for node in nodes]
    heads = ("decision", "target", "ended", "cost", "with all below", "unknown")
    out(fitted(heads, rows, (3, 4, 5)))
    top = nodes[0]
    unknown = f"; unknown of {top.unknown:,}" if top.unknown else ""
    below = counted(len(nodes), "decision")
    out(f"\n{below}, {dollars(top.total_nano, 9)}{unknown}")


def _tree_row(node: TreeNode, beginning: str) -> tuple[str, ...]:
    case, indent = node.case, "  " * min(node.depth, _DEEPEST)
    if node.depth > _DEEPEST:
        indent = f"({node.depth})".ljust(2 * _DEEPEST)
    cost = "unknown" if node.cost_status.is_unknown else dollars(node.nano)
    total = dollars(node.total_nano) if node.below else ""
    unknown = f"{node.unknown:,}" if node.below else ""
    status = DIMENSIONS["status"](case).replace("_", " ")
    target = case.sent if case.called else case.choice.name
    return f"{indent}{printable(beginning)}", printable(target), status, cost, total, unknown


def _plain(node: TreeNode) -> dict[str, object]:
    case = node.case
    return {
        "id": case.id,
        "parent": case.line.parent or None,
        "depth": node.depth,
        "time": spelt_time(case.time),
        "decided": case.choice.name,
        "sent": None if case.called is None else case.sent,
        "status": DIMENSIONS["status"](case),
        "cost": node.cost_status.value,
        "nano_usd": node.nano,
        "total_nano_usd": node.total_nano,
        "decisions_below": node.below,
        "unknown": node.unknown,
    }
