"""The page of one decision: what each level proposed, what stood in its way, what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from policy_router.decision.compare import UNFIT
from policy_router.decision.compare import named as outcome_name
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.wording import asked as spelt_wish
from policy_router.decision.explain.wording import reason, spelt_warning
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.errors import LogError, RecordError, RequestError
from policy_router.files.clock import Clock
from policy_router.log.damage import NotWholeError
from policy_router.log.entry import Execution, Kind, LogEntry, is_id
from policy_router.log.sign.proving import prove_line
from policy_router.server.active import Active
from policy_router.server.asking import JSON, Answer, Asked
from policy_router.server.auditing import Auditors
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.helpers import StayingHelper
from policy_router.server.index import Index
from policy_router.server.pages.decisions import Came, Row, came_of, row_of
from policy_router.server.pages.reader import Frame, in_thread
from policy_router.server.pages.rendering import download
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

_MOST_NODES: Final = 200
_MOST_KEPT: Final = 200
_NOTHING: Final[Mapping[str, Any]] = {"entries": (), "why_not": None, "text": ""}
"""An explanation that says nothing."""


class Node(Struct, frozen=True):
    """A decision in the tree of those that led to one another.

    Attributes:
        row: the decision.
        depth: how far below the first one.
        came: what came of it; None where nothing did.
        is_here: whether it is the one that the page is about.
    """

    row: Row
    depth: int
    came: Came | None
    is_here: bool


class Tree(Struct, frozen=True):
    """The decisions that led to one another.

    Attributes:
        nodes: them, each before what it led to.
        cost: US dollars of all whose cost is known.
        unknown: how many have a cost that is not known.
        lost: the id of a parent that the log does not hold.
        is_cut: whether there are more.
    """

    nodes: tuple[Node, ...]
    cost: float
    unknown: int
    lost: str | None
    is_cut: bool


class Again(Struct, frozen=True):
    """What the live policy decides about the same request.

    Attributes:
        at: the time of the decision.
        before: the name of what was decided.
        after: the name of what would be.
        rule: the rule that decides.
        message: what a refusal says, or why the request does not fit.
    """

    at: str
    before: str
    after: str
    rule: str = ""
    message: str = ""


class OneDecision:
    """Shows a decision, and hands out what proves it."""

    def __init__(
        self,
        frame: Frame,
        active: Active,
        auditors: Auditors,
        earlier: EarlierDecisions,
        staying: StayingHelper,
        *,
        log: str,
        index: Index,
        clock: Clock,
    ) -> None:
        """Keep what the page needs.

        Args:
            frame: is around it.
            active: the policy that decides now.
            auditors: explain.
            earlier: knows the lines about a decision.
            staying: explains what an earlier policy decided.
            log: the folder of the log.
            index: the index of the log.
            clock: tells the time.
        """
        self._frame, self._active, self._auditors = frame, active, auditors
        self._staying = staying
        self._earlier, self._log, self._index, self._clock = earlier, log, index, clock
        self._explained: dict[str, Any] = {}

    async def answer(self, asked: Asked) -> Answer:
        """Show a decision, or hand out its record or its proof."""
        decision_id, _, what = asked.rest.partition("/")
        lines, entries = await self._entries(decision_id)
        if what == "record.json":
            return self._record(asked, entries)
        if what == "proof.txt":
            return await self._proof(asked, decision_id)
        if what:
            raise Problem(404, "no_route", "there is nothing at this path")
        return await self._page(asked, decision_id, lines, entries)

    async def _entries(self, decision_id: str) -> tuple[Sequence[bytes], list[LogEntry]]:
        lines, _ = await self._earlier.lines(decision_id) if is_id(decision_id) else ([], [])
        try:
            entries = [LogEntry.from_json(line) for line in lines]
        except RecordError as problem:
            raise Problem(503, "log_unavailable", str(problem)) from None
        if not any(it.kind is Kind.DECISION for it in entries):
            detail = "there is no decision with this id in the log"
            help_ = "it may have been pruned, or it is of another log"
            raise Problem(404, "unknown_decision", detail, help=help_)
        return lines, entries

    async def _page(
        self, asked: Asked, decision_id: str, lines: Sequence[bytes], entries: list[LogEntry]
    ) -> Answer:
        options = asked.options("why_not", "again")
        entry = next(it for it in entries if it.kind is Kind.DECISION)
        record = _record_of(entry)
        explained, problem = await self._explanation(decision_id, record, options.get("why_not"))
        events = [it.execution for it in entries if isinstance(it.execution, Execution)]
        return await self._frame.page(
            asked,
            "one_decision",
            "decisions",
            entry=entry,
            record=record,
            steps=explained.get("steps") or list(plain_steps(record)),
            explained={**_NOTHING, **explained},
            problem=problem,
            warnings=[(it.code, spelt_warning(it)) for it in record.decision.warnings],
            options={"why_not": options.get("why_not"), "again": options.get("again")},
            again=await self._again(record, options.get("again")),
            given=list(_given(record.request)),
            events=events,
            wrong=await self._wrong(lines) if events else (),
            tree=await self._tree(decision_id),
            is_live=record.policy.revision == self._active.revision,
            unset=UNSET,
        )

    async def _wrong(self, lines: Sequence[bytes]) -> Any:
        """Return what is wrong with what came of a decision; a policy is read for that."""
        text = b"\n".join(lines).decode()
        return await self._staying.report(Task("judge", text=text, log=self._log))

    async def _explanation(
        self, decision_id: str, record: DecisionRecord, why_not: str | None
    ) -> tuple[dict[str, Any], Problem | None]:
        """Return an explanation, or why there is none; it never changes, and is kept a while."""
        kept = self._explained.get(decision_id) if why_not is None else None
        if kept is not None:
            return kept, None
        try:
            made = await self._auditors.explanation(
                record, why_not=why_not, full=True, staying=self._staying
            )
        except Problem as problem:
            return {}, problem
        if why_not is None:
            if len(self._explained) >= _MOST_KEPT:
                self._explained.clear()
            self._explained[decision_id] = made
        return made, None

    async def _again(self, record: DecisionRecord, when: str | None) -> Again | None:
        """Decide once more, by the policy that is live: at its own time, or now."""
        if when not in {"then", "now"}:
            return None
        before = outcome_name(record.decision)
        at = record.now if when == "then" else self._clock()
        try:
            request = Request.from_mapping(record.request)
            made = await asyncio.to_thread(decide, self._active.policy, request, now=at)
        except RequestError as problem:
            return Again(str(at), before, UNFIT, message=str(problem))
        decision, refusal = made.decision, made.decision.refusal
        rule = decision.rule or ("" if isinstance(refusal, UnsetType) else refusal.rule) or ""
        message = "" if isinstance(refusal, UnsetType) else refusal.message
        return Again(made.now, before, outcome_name(decision), rule, message)

    async def _tree(self, decision_id: str) -> Tree:
        tree: Tree = await in_thread(_tree_of, self._index, decision_id)
        return tree

    def _record(self, asked: Asked, entries: list[LogEntry]) -> Answer:
        asked.options()
        records = (it.record for it in entries if not isinstance(it.record, UnsetType))
        return download("record.json", JSON, bytes(next(records)))

    async def _proof(self, asked: Asked, decision_id: str) -> Answer:
        """Hand out the proof that the line of the decision is in the log."""
        asked.options()
        lines = await in_thread(self._index.lines_of, decision_id)
        if lines is None:
            detail = "a line of the decision is not in the log any more"
            raise Problem(404, "unknown_decision", detail)
        writer, line = lines[0]
        seq = LogEntry.from_json(line).seq
        try:
            proof = await asyncio.to_thread(prove_line, self._log, writer, seq, line)
        except (LogError, NotWholeError) as problem:
            help_ = "`policy-router log checkpoint` signs what the log holds"
            raise Problem(409, "not_proved", problem.reason, help=help_) from None
        text = proof.to_text().encode()
        return download(f"{decision_id}.proof", b"text/plain; charset=utf-8", text)


def _record_of(entry: LogEntry) -> DecisionRecord:
    try:
        return entry.decision_record
    except RecordError as problem:
        raise Problem(503, "log_unavailable", str(problem)) from None


def plain_steps(record: DecisionRecord) -> Iterator[dict[str, Any]]:
    """Yield the steps as far as the record itself says them: without places and conditions."""
    for step in record.steps:
        yield {
            "rule": step.rule,
            "level": step.level.value,
            "result": step.result.value,
            "rejects": False,
            "asked": spelt_wish(step.requested),
            "code": step.code or None,
            "source": None,
            "conditions": [],
            "candidates": [
                {
                    "name": it.entry or it.model or "",
                    "model": it.model or "",
                    "provider": it.provider or "",
                    "verdict": it.verdict.value,
                    "reason": reason(it),
                    "source": None,
                    "forbid": None,
                    "conditions": [],
                }
                for it in step.candidates or ()
            ],
        }


def _given(request: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of a request, by their places in it."""
    for section, values in request.items():
        if isinstance(values, Mapping):
            yield from ((f"{section}.{key}", value) for key, value in values.items())
        else:
            yield section, values


def _tree_of(index: Index, decision_id: str) -> Tree:
    root, lost = _root_of(index, decision_id)
    nodes: list[Node] = []
    waiting, seen = [(root, 0)], {root}
    while waiting and len(nodes) < _MOST_NODES:
        current, depth = waiting.pop()
        lines, children = index.about(current)
        rows = [row for line in lines if (row := row_of(line)) is not None]
        ends = [came for line in lines if (came := came_of(line)) is not None]
        if rows:
            came = ends[-1] if ends else None
            nodes.append(Node(rows[0], depth, came, current == decision_id))
        for line in reversed(children):
            row = row_of(line)
            if row is not None and row.id not in seen:
                seen.add(row.id)
                waiting.append((row.id, depth + 1))
    ended = [it.came for it in nodes if it.came is not None]
    cost = sum(it.cost for it in ended if it.cost is not None)
    unknown = sum(it.cost is None for it in ended)
    return Tree(tuple(nodes), cost, unknown, lost, bool(waiting))


def _root_of(index: Index, decision_id: str) -> tuple[str, str | None]:
    """Return the first decision above one, and the parent of it where the log does not hold it."""
    current, seen = decision_id, {decision_id}
    while len(seen) < _MOST_NODES:
        rows = [row for line in index.about(current)[0] if (row := row_of(line)) is not None]
        parent = rows[0].parent if rows else None
        if parent is None or parent in seen:
            return current, None
        if not any(row_of(line) for line in index.about(parent)[0]):
            return current, parent
        seen.add(parent)
        current = parent
    return current, None
