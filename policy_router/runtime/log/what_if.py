"""What another policy would have decided, of all that a log holds.

Equal requests are decided once, in each process that takes part, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.decision.evaluator import decide
from policy_router.decision.record import SCHEMA, Decision, DecisionRecord, Step, Target
from policy_router.decision.request import Request, moment
from policy_router.decision.what_if import REFUSED, UNFIT, Flip, cause, named, reads_now
from policy_router.domain import Policy
from policy_router.errors import RecordError, RequestError
from policy_router.runtime.accounting import cost, estimate
from policy_router.runtime.loader import AUTO, loads
from policy_router.runtime.log.chunks import Chunk, Job, chunks, over_all
from policy_router.runtime.log.folder import LogFolder, Progress, readable
from policy_router.runtime.log.replaying import kept_policy
from policy_router.runtime.log.what_if_report import BILLION, Example, Money, Use, WhatIf, summed

_MOST_KEPT = 50_000


def what_if(
    folder: str | Path,
    policy: Policy,
    *,
    engine: str = AUTO,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> WhatIf:
    """Decide every request of a log by another policy, and compare.

    Args:
        folder: the log.
        policy: the other policy.
        engine: what evaluates conditions.
        executor: does it, in this process, in others or on other machines; processes on all cores
            unless given, for a large log.
        workers: how many processes; as many as there are cores unless given.
        progress: is told how far it is.

    Raises:
        LogError: there is no log.
    """
    log = LogFolder.existing(folder)
    job = Job.of(log, engine)
    report = WhatIf(policy.name, policy.revision)
    work = partial(what_if_chunk, job, policy.canonical)
    spread = partial(over_all, executor=executor, workers=workers)
    with readable(log):
        pieces = chunks(log)
        for part in spread(work, pieces, progress=progress):
            report.add(part)
        if report.pending:
            # Children that ended in another piece of the log than they were decided in.
            rest = partial(_late_chunk, job, policy.canonical, report.pending)
            report.pending = {}
            for money in spread(rest, pieces):
                report.money.add(money)
    return report


# One piece of the log.


class _RecordPart(Struct, gc=False):
    """What is read of a record; the rest only where it matters."""

    policy: Raw
    request: Raw
    decision: Raw
    now: str
    schema: str = ""


class _Used(Struct, gc=False):
    """What is read of an execution."""

    event: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


class _LinePart(Struct, gc=False):
    kind: str
    id: str = ""
    record: Raw | UnsetType = UNSET
    execution: _Used | UnsetType = UNSET


_LINE = msgspec.json.Decoder(_LinePart)
_RECORD = msgspec.json.Decoder(_RecordPart)


_Targets = tuple[Target | None, Target | None]


class _Group(Struct, frozen=True):
    """Equal requests that were decided alike.

    Attributes:
        flip: from what to what.
        targets: what they ran on, and would; None where refused.
        before: the policy that decided, for its prices; None where it is not kept.
        estimated: what one of them costs by the task's estimate.
        key: tells groups apart.
        is_otherwise: whether something but the target differs.
    """

    flip: Flip
    targets: _Targets
    before: Policy | None
    estimated: Money
    key: bytes
    is_otherwise: bool = False


class _Tally(Struct):
    """How many of a group there are in a piece, and the id of the first of them."""

    group: _Group
    first: str
    count: int = 0


@lru_cache(maxsize=4)
def _other(canonical: bytes, engine: str) -> Policy:
    return loads(canonical, name="policy.json", engine=engine)


_Key = tuple[bytes, bytes, bytes, str]
"""Policy, request and decision as they are stored, and the time where it matters."""


class _Pass:
    """Goes through pieces of a log with another policy; one is kept in each process.

    Safe to share between threads: what two of them decide at once is the same.
    """

    def __init__(self, job: Job, canonical: bytes) -> None:
        self.job = job
        self.policy = _other(canonical, job.engine)
        self.reads_now = reads_now(self.policy)
        self.decided: dict[tuple[bytes, str], DecisionRecord | None] = {}
        self.groups: dict[_Key, _Group] = {}

    def group(self, content: Raw, report: WhatIf) -> _Group | None:
        """Return the group of a record; None where it cannot be read."""
        try:
            part = _RECORD.decode(content)
        except (msgspec.DecodeError, UnicodeError):
            return None
        if part.schema != SCHEMA:
            return None
        now = part.now if self.reads_now else ""
        key = (bytes(part.policy), bytes(part.request), bytes(part.decision), now)
        found = self.groups.get(key, UNSET)
        if found is UNSET:
            if len(self.groups) >= _MOST_KEPT:
                self.groups, self.decided = {}, {}
            try:
                found = self.groups[key] = self.new_group(content, key, report)
            except (RecordError, RequestError):
                return None
        return found

    def new_group(self, content: Raw, key: _Key, report: WhatIf) -> _Group:
        """Return the group of a record.

        Raises:
            RecordError: it cannot be read.
            RequestError: its time is none.
        """
        record = DecisionRecord.from_json(bytes(content))
        moment(record.now)
        made = self.decision(key[1], key[3], record, report)
        before, was = self.prices(record), _target(record.decision)
        name = sha256(b"\n".join((*key[:3], key[3].encode()))).digest()[:16]
        if made is None:
            flip = Flip(named(record.decision), UNFIT, "the request does not fit the policy")
            return _Group(flip, (was, None), before, Money(unknown=1), name)
        after = _target(made.decision)
        flip = _flip(record.decision, record.steps, made)
        is_otherwise = flip.before == flip.after and made.decision != record.decision
        tokens = record.request.get("task", {}).get("input_tokens")
        estimated = self.estimated(before, (was, after), tokens)
        return _Group(flip, (was, after), before, estimated, name, is_otherwise)

    def decision(
        self, request: bytes, now: str, record: DecisionRecord, report: WhatIf
    ) -> DecisionRecord | None:
        """Return what the other policy decides; None where the request does not fit it."""
        found = self.decided.get((request, now), UNSET)
        if found is UNSET:
            report.decided += 1
            try:
                found = decide(self.policy, Request.from_json(request), now=record.now)
            except RequestError:
                found = None
            self.decided[request, now] = found
        return found

    def prices(self, record: DecisionRecord) -> Policy | None:
        kept = kept_policy(self.job, record.policy.revision)
        return None if isinstance(kept, str) else kept.policy

    def estimated(
        self,
        before: Policy | None,
        targets: tuple[Target | None, Target | None],
        tokens: int | None,
    ) -> Money:
        """Return what a decision costs by the estimate of its task."""

        def guess(policy: Policy | None, target: Target | None) -> float | None:
            if target is None:
                return 0.0
            return None if policy is None else estimate(policy, target, tokens).cost_usd

        was, after = targets
        return _money(guess(before, was), guess(self.policy, after), is_measured=False)

    def measured(self, group: _Group, used: Use) -> Money:
        """Return what a decision cost, and would have with as many tokens."""
        tokens_in, tokens_out, paid = used
        was, after = group.targets
        if paid is None and was is not None and group.before is not None:
            paid = cost(group.before, was, tokens_in, tokens_out)
        would = 0.0 if after is None else cost(self.policy, after, tokens_in, tokens_out)
        if group.flip.after == UNFIT:
            would = None
        return _money(paid, would, is_measured=True)


@lru_cache(maxsize=4)
def _pass(job: Job, canonical: bytes) -> _Pass:
    return _Pass(job, canonical)


def what_if_chunk(job: Job, canonical: bytes, chunk: Chunk) -> WhatIf:
    """Count what a piece of a log comes to."""
    going, report = _pass(job, canonical), WhatIf()
    groups: dict[str, _Group] = {}
    uses: dict[str, Use] = {}
    met: dict[bytes, _Tally] = {}
    for line in _lines(chunk, report):
        if isinstance(line.record, Raw):
            group = going.group(line.record, report)
            if group is None:
                report.unreadable += 1
                continue
            groups[line.id] = group
            tally = met.get(group.key)
            if tally is None:
                tally = met[group.key] = _Tally(group, line.id)
            tally.count += 1
        elif (use := _use(line)) is not None:
            uses[line.id] = summed(uses.get(line.id), use)
    for decision_id, use in uses.items():
        ran = groups.get(decision_id)
        if ran is None:
            report.pending[decision_id.encode()] = use
        else:
            _replace_estimate(report.money, ran, going.measured(ran, use))
    for tally in met.values():
        _count(report, tally)
    return report


def _late_chunk(job: Job, canonical: bytes, pending: dict[bytes, Use], chunk: Chunk) -> Money:
    """Count the tokens of children that were decided in a piece, and ended in another."""
    going, money, aside = _pass(job, canonical), Money(), WhatIf()
    groups: dict[bytes, _Group] = {}
    here: dict[bytes, Use] = {}
    for line in _lines(chunk, aside):
        decision_id = line.id.encode()
        if decision_id not in pending:
            continue
        if isinstance(line.record, Raw):
            group = going.group(line.record, aside)
            if group is not None:
                groups[decision_id] = group
        elif (use := _use(line)) is not None:
            here[decision_id] = summed(here.get(decision_id), use)
    for decision_id, group in groups.items():
        before, late = here.get(decision_id), pending[decision_id]
        if before is None:
            _replace_estimate(money, group, going.measured(group, late))
        else:  # a child that ended here, and again in another piece
            money.add(going.measured(group, before), -1)
            money.add(going.measured(group, summed(before, late)))
    return money


def _lines(chunk: Chunk, report: WhatIf) -> Iterator[_LinePart]:
    for content in chunk.lines():
        try:
            yield _LINE.decode(content)
        except (msgspec.DecodeError, UnicodeError):
            report.unreadable += 1


def _use(line: _LinePart) -> Use | None:
    """Return the tokens that a line says a child used; None where it says nothing of that."""
    found = line.execution
    if isinstance(found, UnsetType) or (found.input_tokens is None and found.cost_usd is None):
        return None
    return found.input_tokens, found.output_tokens, found.cost_usd


def _replace_estimate(money: Money, group: _Group, measured: Money) -> None:
    """Count what was measured in place of what was estimated."""
    money.add(group.estimated, -1)
    money.add(measured)


def _count(report: WhatIf, tally: _Tally) -> None:
    group, count = tally.group, tally.count
    flip = group.flip
    report.matrix[flip.before, flip.after] += count
    report.money.add(group.estimated, count)
    report.otherwise += group.is_otherwise * count
    if flip.before == flip.after:
        return
    report.causes[flip.rule] += count
    report.unfit += (flip.after == UNFIT) * count
    report.gained += (flip.after == REFUSED) * count
    report.lost += (flip.before == REFUSED and flip.after != UNFIT) * count
    report.note(group.key, Example(count, tally.first, flip))


def _flip(decision: Decision, steps: tuple[Step, ...], made: DecisionRecord) -> Flip:
    before, after = named(decision), named(made.decision)
    return Flip(before, after, "" if before == after else cause(steps, made.steps))


def _target(decision: Decision) -> Target | None:
    return None if isinstance(decision.target, UnsetType) else decision.target


def _money(before: float | None, after: float | None, *, is_measured: bool) -> Money:
    if before is None or after is None:
        return Money(unknown=1)
    sums = (round(before * BILLION), round(after * BILLION))
    return Money(*sums, measured=int(is_measured), estimated=int(not is_measured))
