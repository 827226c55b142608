"""What is worked out about a policy before it meets a request.

Nothing here chooses: a plan has what the evaluator would otherwise work out at each decision.
Most of it is made when it is first needed; threads may make it twice, to the same effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, Struct

from policy_router.decision import record as rec
from policy_router.decision.folded import Folded, Folder, Group
from policy_router.decision.lookup import Lookup
from policy_router.decision.picks import Picks
from policy_router.domain import (
    WISHES,
    ForbidRule,
    FrozenDict,
    Level,
    Policy,
    PoolEntry,
    PrecedenceRule,
)
from policy_router.expressions.condition import Condition
from policy_router.expressions.folding import TRUE, joined, negated, walks_far
from policy_router.expressions.tree import Node
from policy_router.version import VERSION

_MAX_SPARED: Final = 32
"""With more rules that have a screen, these are not folded for each entry: it would take long, and
keep much, while few of them stand for any one request."""
_MAX_FOLDED: Final = 1000
"""As many rules times entries are folded at once."""


class PlannedRule(Struct, frozen=True):
    """A precedence rule with the steps that need no request.

    Attributes:
        rule: the rule.
        skipped: its step where its condition is false.
        nothing: its step where its level proposes nothing.
        not_reached: its step where an earlier rule ended the walk.
    """

    rule: PrecedenceRule
    skipped: rec.Step
    nothing: rec.Step
    not_reached: rec.Step


class PlannedForbid(Struct, frozen=True):
    """A forbid rule, cut in two: a candidate is forbidden where neither part is false.

    Attributes:
        rule: the rule.
        number: its place, from 0.
        screen: the part that is about the request alone; None where there is none.
        rest: the part that looks at the candidate; None where there is none.
    """

    rule: ForbidRule
    number: int
    screen: Node | None
    rest: Condition | None


class Offer(Struct, frozen=True):
    """What is selected when an entry is, as far as no request changes it.

    Attributes:
        parameters: its parameters and the policy's.
        selected: its verdict; None where that depends on the parent's provider.
        target: the target; None where it depends on the parent's provider.
        fallback: the entries to go on with, in order.
    """

    parameters: FrozenDict
    selected: rec.Candidate | None
    target: rec.Target | None
    fallback: tuple[PoolEntry, ...]


class Guards:
    """The conditions that a candidate has to pass: its ``allow``, and the forbid rules.

    Attributes:
        allow: its ``allow``; None where it has none.
        together: true only where ``allow`` is, and each forbid rule without a screen is false;
            ``allow`` itself, where there is no such rule that could be other than false.
    """

    __slots__ = (
        "_entry",
        "_folder",
        "_forbids",
        "_level",
        "_rests",
        "_spared",
        "allow",
        "together",
    )

    def __init__(
        self,
        folder: Folder,
        forbids: Sequence[PlannedForbid],
        entry: PoolEntry | None,
        level: Level,
    ) -> None:
        """Fold the guards of an entry, or of what is none."""
        self._folder, self._forbids, self._entry, self._level = folder, forbids, entry, level
        self._rests: dict[int, Folded] = {}
        self._spared: Folded | None = None
        allow = entry.allow if entry else None
        self.allow = None if allow is None else folder.folded(allow, entry, level)
        rests = [self.rest(forbid) for forbid in forbids if forbid.screen is None]
        against = joined("&&", [negated(rest.tree) for rest in rests if rest])
        if self.allow is None:
            self.together = folder.quick(against)
        elif against is TRUE:
            self.together = self.allow
        else:
            self.together = folder.quick(joined("&&", [self.allow.tree, against]))

    def rest(self, forbid: PlannedForbid) -> Folded | None:
        """Return the part of a forbid rule that looks at the candidate; None if there is none."""
        if forbid.rest is None:
            return None
        found = self._rests.get(forbid.number)
        if found is None:
            found = self._folder.folded(forbid.rest, self._entry, self._level)
            self._rests[forbid.number] = found
        return found

    @property
    def spared(self) -> Folded:
        """True only where each forbid rule with a screen is false."""
        found = self._spared
        if found is None:
            rules = [
                self._folder.folded(forbid.rule.when, self._entry, self._level).tree
                for forbid in self._forbids
                if forbid.screen
            ]
            found = self._spared = self._folder.quick(joined("&&", list(map(negated, rules))))
        return found


class Plan:
    """What is worked out about a policy.

    Attributes:
        policy: the policy.
        name: the policy, as its records name it.
        engine: the engine, as the records name it.
        parameters: the policy's parameters.
        rules: the precedence rules.
        not_reached: for each of them the step of one that is not reached.
        wishing: those whose level is an agent's wish.
        forbids: the forbid rules.
        screened: those with a screen.
        screens: the screens of these.
        are_few: whether these are so few that they are folded for each entry.
        named: name to entries, in file order.
        known_as: model or alias to entries, in file order.
        models: model to entries, in file order.
        wish_matters: the levels of which a guard reads the wish.
    """

    def __init__(self, policy: Policy, *, folds: bool = True, fuses: bool = True) -> None:
        """Work out what every decision needs.

        Args:
            policy: the policy.
            folds: as for :class:`Folder`; other than in tests, they fold and fuse.
            fuses: as for :class:`Folder`.
        """
        self.policy = policy
        self.folder = Folder(policy, folds=folds, fuses=fuses)
        self.name = rec.PolicyName(policy.name, policy.revision)
        self.engine = rec.EngineName(VERSION, policy.engine.name)
        self.parameters = FrozenDict(policy.parameters)
        self.rules = tuple(map(_planned_rule, policy.precedence))
        self.not_reached = tuple(rule.not_reached for rule in self.rules)
        self.wishing = tuple(rule for rule in policy.precedence if rule.use in WISHES)
        self.forbids = tuple(
            self._planned_forbid(rule, number) for number, rule in enumerate(policy.forbid)
        )
        self.screened = tuple(forbid for forbid in self.forbids if forbid.screen)
        self.are_few = len(self.screened) <= _MAX_SPARED
        screens = [self.folder.quick(it.screen) for it in self.screened if it.screen]
        self.screens = Lookup(policy, self.folder, screens)
        pool = policy.pool or ()
        self.named = _table((entry.name, entry) for entry in pool)
        self.models = _table((entry.model, entry) for entry in pool)
        self.known_as = _table(
            (name, entry) for entry in pool for name in dict.fromkeys((entry.model, *entry.aliases))
        )
        guards = [rule.when for rule in policy.forbid]
        guards += [entry.allow for entry in pool if entry.allow]
        reads = frozenset[str]().union(*(guard.reads for guard in guards))
        self.wish_matters = frozenset(
            level for level in WISHES if {f"{level}.model", f"{level}.provider"} & reads
        )
        self._level_matters = "target.level" in reads
        self._guards: dict[tuple[int | None, Level | None], Guards] = {}
        self._groups: dict[tuple[Any, ...], Group] = {}
        self._picks: dict[str, Picks] = {}
        self._offers: dict[int, Offer] = {}

    def _planned_forbid(self, rule: ForbidRule, number: int) -> PlannedForbid:
        """Cut a rule's condition, unless its macros could make all of it fail."""
        if not self.folder.folds or walks_far(rule.when.tree):
            return PlannedForbid(rule, number, None, rule.when)
        return PlannedForbid(rule, number, *self.folder.cut(rule.when))

    def guards(self, entry: PoolEntry | None, level: Level) -> Guards:
        """Return the guards of an entry, or of what is none, at a level."""
        key = (None if entry is None else entry.position, self._seen_at(level))
        found = self._guards.get(key)
        if found is None:
            found = self._guards[key] = Guards(self.folder, self.forbids, entry, level)
        return found

    def guards_of(self, after: PoolEntry | None, level: Level) -> Group:
        """Return what :attr:`Guards.together` is, of several entries.

        Args:
            after: they are those to go on with after this one, or the whole pool.
            level: the level that proposes them.
        """
        entries = self._entries(after)
        return self._group(
            (False, after.position if after else None, self._seen_at(level)),
            lambda: self.folder.group(
                [self.guards(entry, level).together for entry in entries], entries, level
            ),
        )

    def spared_of(self, after: PoolEntry | None, level: Level) -> Group:
        """Return what :attr:`Guards.spared` is, of several entries; as for :meth:`guards_of`.

        Many rules are not folded for each of many entries: that would take long.
        """
        entries = self._entries(after)

        def group() -> Group:
            if len(entries) * len(self.screened) <= _MAX_FOLDED:
                spared = [self.guards(entry, level).spared for entry in entries]
                return self.folder.group(spared, entries, level)
            written = joined("&&", [negated(forbid.rule.when.tree) for forbid in self.screened])
            members = [self.folder.quick(written)] * len(entries)
            return self.folder.group(members, entries, level, fuses=False)

        return self._group((True, after.position if after else None, self._seen_at(level)), group)

    def _entries(self, after: PoolEntry | None) -> tuple[PoolEntry, ...]:
        return self.offer(after).fallback if after else self.policy.pool or ()

    def _group(self, key: tuple[Any, ...], make: Callable[[], Group]) -> Group:
        found = self._groups.get(key)
        if found is None:
            found = self._groups[key] = make()
        return found

    def _seen_at(self, level: Level) -> Level | None:
        """Return the level, if it makes a difference to a guard."""
        return level if self._level_matters else None

    def picks(self, rule: PrecedenceRule) -> Picks:
        """Return what a rule of level ``pool`` may pick."""
        key = rule.order_by.text if rule.order_by else ""
        found = self._picks.get(key)
        if found is None:
            found = self._picks[key] = Picks(self.policy, self.folder, rule.order_by)
        return found

    def offer(self, entry: PoolEntry) -> Offer:
        """Return what is selected when an entry is."""
        found = self._offers.get(entry.position)
        if found is None:
            found = self._offers[entry.position] = self._offer(entry)
        return found

    def _offer(self, entry: PoolEntry) -> Offer:
        parameters = FrozenDict({**self.policy.parameters, **entry.parameters})
        fallback = tuple(other for name in entry.fallback for other in self.named.get(name, ()))
        if not entry.provider:
            return Offer(parameters, None, None, fallback)
        provider = entry.provider if entry.shares_name else UNSET
        selected = rec.Candidate(rec.Verdict.SELECTED, entry.name, provider=provider)
        target = rec.Target(entry.model, entry.provider, parameters, entry.name)
        return Offer(parameters, selected, target, fallback)


def _planned_rule(rule: PrecedenceRule) -> PlannedRule:
    steps = (
        rec.Step(rule.id, rule.use, result)
        for result in (rec.Result.SKIPPED, rec.Result.NO_PROPOSAL, rec.Result.NOT_REACHED)
    )
    return PlannedRule(rule, *steps)


def _table(pairs: Iterable[tuple[str, PoolEntry]]) -> Mapping[str, tuple[PoolEntry, ...]]:
    found: dict[str, list[PoolEntry]] = {}
    for key, entry in pairs:
        found.setdefault(key, []).append(entry)
    return {key: tuple(entries) for key, entries in found.items()}
