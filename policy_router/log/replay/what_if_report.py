"""What came out of asking what another policy would have decided: counts, causes, examples."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct, field

from policy_router.decision.compare import Flip
from policy_router.log.replay.what_if_money import BILLION, Money, Runs

EXAMPLES = 10
"""How many examples a report has."""
_MOST_EXAMPLES = 2_000
_MOST_ASKERS = 20_000
_MOST_SHOWN = 1_000


class Example(Struct, frozen=True):
    """Equal requests that would have been decided otherwise.

    Attributes:
        count: how many.
        decision_id: the id of one of them.
        flip: from what to what, and why.
    """

    count: int
    decision_id: str
    flip: Flip


class FlipRow(Struct, frozen=True):
    """A decision that would differ.

    Attributes:
        time: when it was logged, in microseconds since 1970.
        decision_id: its id.
        team: the team of the caller.
        caller: the id of the caller.
        before: the target that was decided, or that it was refused.
        after: what the other policy would have decided.
        rule: what that is due to.
        work: what becomes of its work: refused, allowed, moved or unfit.
        known: how its money is known: measured, estimated or unknown.
        before_nano_usd: what it cost, in whole billionths of a US dollar; None where unknown.
        after_nano_usd: what it would have cost.
    """

    time: int
    decision_id: str
    team: str
    caller: str
    before: str
    after: str
    rule: str
    work: str
    known: str
    before_nano_usd: int | None
    after_nano_usd: int | None


class Asker(Struct):
    """How many decisions of a team or a caller would differ.

    Attributes:
        flips: all of them.
        refusals: those that would be refused.
    """

    flips: int = 0
    refusals: int = 0


class WhatIf(Struct):
    """What another policy would have decided.

    Attributes:
        policy: the name of the other policy.
        revision: its revision.
        matrix: the number of decisions for each pair of targets, before and after.
        causes: the number of flips for each rule that causes them.
        otherwise: decisions with the same target and a difference in the rule, parameters,
            fallbacks or warnings.
        gained: new refusals.
        lost: refusals that would be selections.
        unfit: requests that do not fit the other policy; they count as flips.
        money: the costs before and after.
        work: the same by what becomes of the work of decisions, and by how it is known.
        teams: the teams whose decisions would differ.
        callers: the same by caller; of very many, those with the most.
        examples: the most frequent requests with another outcome.
        decided: how many requests were decided; equal requests are decided once in each process.
        unreadable: lines and records that cannot be read.
        pending: the use of children whose decision is in another part of the log, by decision id.
    """

    policy: str = ""
    revision: str = ""
    matrix: Counter[tuple[str, str]] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    otherwise: int = 0
    gained: int = 0
    lost: int = 0
    unfit: int = 0
    money: Money = field(default_factory=Money)
    work: dict[tuple[str, str], Money] = field(default_factory=dict)
    teams: dict[str, Asker] = field(default_factory=dict)
    callers: dict[str, Asker] = field(default_factory=dict)
    examples: dict[bytes, Example] = field(default_factory=dict)
    decided: int = 0
    unreadable: int = 0
    pending: dict[bytes, Runs] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many decisions there are."""
        return sum(self.matrix.values())

    @property
    def flips(self) -> int:
        """How many decisions would change their target, or between selection and refusal."""
        return sum(count for (before, after), count in self.matrix.items() if before != after)

    def add(self, other: WhatIf) -> None:
        """Add the result of another part of the log."""
        self.matrix += other.matrix
        self.causes += other.causes
        self.otherwise += other.otherwise
        self.gained += other.gained
        self.lost += other.lost
        self.unfit += other.unfit
        self.money.add(other.money)
        for work, money in other.work.items():
            self.work.setdefault(work, Money()).add(money)
        for mine, its in ((self.teams, other.teams), (self.callers, other.callers)):
            for name, asker in its.items():
                _add_asker(mine, name, asker)
        self.decided += other.decided
        self.unreadable += other.unreadable
        for decision_id, runs in other.pending.items():
            self.pending[decision_id] = self.pending.get(decision_id, ()) + runs
        for key, example in other.examples.items():
            self.note(key, example)

    def pay(self, work: str, money: Money, times: int = 1) -> None:
        """Count the money of decisions, by what becomes of their work."""
        self.money.add(money, times)
        self.work.setdefault((work, money.known), Money()).add(money, times)

    def ask(self, team: str, caller: str, *, is_refusal: bool) -> None:
        """Count who asked for a decision that would differ."""
        asker = Asker(1, int(is_refusal))
        _add_asker(self.teams, team, asker)
        _add_asker(self.callers, caller, asker)

    def note(self, key: bytes, example: Example) -> None:
        """Count an example; if there are very many, the frequent ones are kept."""
        known = self.examples.get(key)
        if known is not None:
            first = min(known.decision_id, example.decision_id)
            example = Example(known.count + example.count, first, example.flip)
        self.examples[key] = example
        if len(self.examples) > 2 * _MOST_EXAMPLES:
            self.examples = dict(_frequent(self.examples)[:_MOST_EXAMPLES])

    def most_frequent(self) -> list[Example]:
        """Return the examples that a report shows."""
        return [example for _, example in _frequent(self.examples)[:EXAMPLES]]

    def _plain_work(self) -> list[dict[str, Any]]:
        return [
            {
                "work": work,
                "known": known,
                "decisions": money.decisions,
                "before_nano_usd": money.before,
                "after_nano_usd": money.after,
            }
            for (work, known), money in sorted(self.work.items())
            if money.decisions
        ]

    def to_json(self) -> bytes:
        """Return JSON; costs are US dollars."""
        delta = self.money.after - self.money.before
        return msgspec.json.encode(
            {
                "policy": {"name": self.policy, "revision": self.revision},
                "decisions": self.total,
                "flips": self.flips,
                "otherwise": self.otherwise,
                "refusals": {"gained": self.gained, "lost": self.lost},
                "unfit": self.unfit,
                "matrix": [
                    {"before": before, "after": after, "count": count}
                    for (before, after), count in ordered(self.matrix)
                ],
                "rules": [{"rule": rule, "count": count} for rule, count in ordered(self.causes)],
                "cost_usd": {
                    "before": self.money.before / BILLION,
                    "after": self.money.after / BILLION,
                    "delta": delta / BILLION,
                    "measured": self.money.measured,
                    "estimated": self.money.estimated,
                    "unknown": self.money.unknown,
                },
                "work": self._plain_work(),
                "budgets": "not simulated",
                "teams": _askers(self.teams),
                "callers": _askers(self.callers)[:_MOST_SHOWN],
                "examples": list(map(_plain_example, self.most_frequent())),
                "unreadable": self.unreadable,
            }
        )


def _plain_example(it: Example) -> dict[str, Any]:
    flip = {"before": it.flip.before, "after": it.flip.after, "rule": it.flip.rule}
    return {"count": it.count, "id": it.decision_id, **flip}


def ordered(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """Return what was counted, the most first, and equal counts by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def most_flips(askers: dict[str, Asker]) -> list[tuple[str, Asker]]:
    """Return who asked, the most flips first, and equal numbers by name."""
    return sorted(askers.items(), key=lambda item: (-item[1].flips, item[0]))


def _askers(askers: dict[str, Asker]) -> list[dict[str, Any]]:
    return [
        {"name": name, "flips": it.flips, "refusals": it.refusals}
        for name, it in most_flips(askers)
    ]


def _add_asker(askers: dict[str, Asker], name: str, more: Asker) -> None:
    """Count who asked; of very many, those with the most are kept."""
    known = askers.setdefault(name, Asker())
    known.flips += more.flips
    known.refusals += more.refusals
    if len(askers) > 2 * _MOST_ASKERS:
        kept = most_flips(askers)[:_MOST_ASKERS]
        askers.clear()
        askers.update(kept)


def _frequent(examples: dict[bytes, Example]) -> list[tuple[bytes, Example]]:
    return sorted(examples.items(), key=lambda item: (-item[1].count, item[1].decision_id))
