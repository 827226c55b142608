"""Equal requests that are decided alike, by the policy of a log and by another one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw, Struct, UnsetType

from policy_router.decision.compare import REFUSED, UNFIT, Flip, cause, named, reads_of
from policy_router.decision.record import Decision, DecisionRecord, Target
from policy_router.domain import Policy
from policy_router.errors import RecordError
from policy_router.files.loader import loads
from policy_router.log.entry import RecordView, known_record_view
from policy_router.log.replay.chunks import Job
from policy_router.log.replay.decisions import MOST_KEPT, Decider, is_time, kept_policy
from policy_router.log.replay.what_if_money import Money, Pricing
from policy_router.log.replay.what_if_report import WhatIf

_ALWAYS_READ: Final = frozenset(
    f"{section}.{key}"
    for section, keys in {
        "call": ("model", "provider", "parameters"),
        "task": ("model", "provider", "parameters", "needs"),
        "parent": ("model", "provider"),
    }.items()
    for key in keys
)
"""What is looked at without any condition: wishes, and what is needed."""


class Work(StrEnum):
    """What another policy would do with the work of a decision."""

    REFUSED = "refused"
    """It would refuse it."""
    ALLOWED = "allowed"
    """It would select a target for what was refused."""
    MOVED = "moved"
    """It would select another target."""
    REPRICED = "re-priced"
    """It would select the same target, at other prices."""
    SAME = "as before"
    """It would change nothing about target and price."""
    UNFIT = "unfit"
    """The request does not fit it."""


class Group(Struct, frozen=True):
    """Equal requests that were decided alike.

    Attributes:
        flip: from what to what.
        pricing: what prices them.
        estimated: what one of them costs by the task's estimate.
        key: tells groups apart.
        is_otherwise: whether something but the target differs.
    """

    flip: Flip
    pricing: Pricing
    estimated: Money
    key: bytes
    is_otherwise: bool = False

    @property
    def is_flip(self) -> bool:
        """Whether another target is selected, or selection and refusal differ."""
        return self.flip.before != self.flip.after

    def work(self, money: Money) -> Work:
        """Return what becomes of the work of a decision that cost so much."""
        if self.flip.after == UNFIT:
            return Work.UNFIT
        if not self.is_flip:
            return Work.SAME if money.before == money.after else Work.REPRICED
        if self.flip.after == REFUSED:
            return Work.REFUSED
        return Work.ALLOWED if self.flip.before == REFUSED else Work.MOVED


@lru_cache(maxsize=4)
def _other(canonical: bytes) -> Policy:
    return loads(canonical, name="policy.json")


Key: TypeAlias = tuple[str, str, bytes, bytes, bytes, str]
"""Policy, request, decision and steps as they are stored, and the time where it matters."""


class GroupReader:
    """Finds the group of a record; one is kept in each process."""

    def __init__(self, job: Job, canonical: bytes) -> None:
        self.job = job
        self.other = Decider(_other(canonical), lambda record: record)
        self.groups: dict[Key, Group] = {}
        self._reads = {self.other.policy.revision: reads_of(self.other.policy)}

    def group(self, content: Raw, report: WhatIf) -> Group | None:
        """Return the group of a record; None where it cannot be read."""
        view = known_record_view(content)
        if view is None or not is_time(view.now):
            return None
        parts = bytes(view.request), bytes(view.decision), bytes(view.steps)
        key = (view.policy.name, view.policy.revision, *parts, self.other.time_of(view))
        found = self.groups.get(key)
        if found is None:
            if len(self.groups) >= MOST_KEPT:
                self.groups = {}
            try:
                found = self.groups[key] = self.new_group(content, view, report)
            except RecordError:
                return None
        return found

    def new_group(self, content: Raw, view: RecordView, report: WhatIf) -> Group:
        """Return the group of a record.

        Raises:
            RecordError: it cannot be read.
        """
        record = DecisionRecord.from_json(bytes(content))
        made = self.other.decided(view, report)
        kept = kept_policy(self.job, view.policy.revision)
        before, after = None if isinstance(kept, str) else kept, self.other.policy
        was = _target(record.decision)
        if made is None:
            flip = Flip(named(record.decision), UNFIT, "the request does not fit the policy")
            pricing = Pricing(before, after, was, None, is_fit=False)
            return Group(flip, pricing, Money(unknown=1), self._name(record, before, b""))
        pricing = Pricing(before, after, was, _target(made.decision), is_fit=True)
        flip = _flip(record, made)
        is_otherwise = flip.before == flip.after and made.decision != record.decision
        tokens = record.request.get("task", {}).get("input_tokens")
        name = self._name(record, before, msgspec.json.encode((flip.rule, made.decision)))
        return Group(flip, pricing, pricing.estimated(tokens), name, is_otherwise)

    def _name(self, record: DecisionRecord, before: Policy | None, made: bytes) -> bytes:
        """Return what tells groups apart, whenever that was: what no condition reads does not."""
        request: Mapping[str, Any] = record.request
        if before is not None:
            if before.revision not in self._reads:
                self._reads[before.revision] = reads_of(before)
            reads = self._reads[before.revision] | self._reads[self.other.policy.revision]
            request = _read_part(request, reads | _ALWAYS_READ)
        parts = record.policy, request, record.decision, record.steps
        return sha256(_ENCODER.encode(parts) + made).digest()[:16]


def _read_part(request: Mapping[str, Any], reads: frozenset[str]) -> dict[str, Any]:
    """Return what of a request is read."""
    found = {
        section: {key: value for key, value in content.items() if f"{section}.{key}" in reads}
        for section, content in request.items()
    }
    return {section: content for section, content in found.items() if content}


@lru_cache(maxsize=4)
def group_reader(job: Job, canonical: bytes) -> GroupReader:
    """Return what finds groups, by the canonical form of the other policy."""
    return GroupReader(job, canonical)


def _flip(record: DecisionRecord, made: DecisionRecord) -> Flip:
    before, after = named(record.decision), named(made.decision)
    return Flip(before, after, "" if before == after else cause(record, made))


def _target(decision: Decision) -> Target | None:
    return None if isinstance(decision.target, UnsetType) else decision.target


_ENCODER = msgspec.json.Encoder(order="sorted")
