"""Work on a policy that is done before the first request. Nothing here chooses.

Most of it is made when it is first needed. What comes of it for a request is in ``evaluation``.

An entry's own attributes are constants, so they are written into its conditions, which then are
about the request alone. The conjuncts of these are shared: where fifty entries ask for
``parent.depth < 3``, it is evaluated once. A ``forbid`` rule is cut into the part about the request
and the part about the target; where the first is false, no candidate is looked at.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace as replace_in_policy
from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from policy_router.cel.ast import Node
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import Frame, frame_of
from policy_router.cel.simplify import (
    conjuncts,
    constant_of,
    joined,
    literal,
    may_exceed_budget,
    reads_of,
    simplified,
)
from policy_router.cel.vocabulary import REQUEST_NAMES
from policy_router.decision import record as rec
from policy_router.decision.candidate import Candidate, known_of
from policy_router.decision.condition_index import ConditionIndex
from policy_router.decision.fitting import limited_parameters
from policy_router.decision.offer import Offer, own_parameters
from policy_router.domain import (
    WISHES,
    ForbidRule,
    Level,
    Policy,
    PoolEntry,
    PrecedenceRule,
)
from policy_router.version import VERSION


class PreparedRule(Struct, frozen=True):
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


class PreparedForbid(Struct, frozen=True, eq=False):
    """A forbid rule, cut in two: it is false where one of the parts is.

    Attributes:
        rule: the rule.
        number: its place, from 0.
        request_part: the part that is about the request alone; None where there is none.
        target_part: the part that looks at the candidate; None where there is none.
        reads_target_alone: whether that part reads nothing else.
    """

    rule: ForbidRule
    number: int
    request_part: Program | None
    target_part: Program | None
    reads_target_alone: bool


class Picks(Struct, frozen=True):
    """The entries with a ``pick``, in file order.

    Attributes:
        entries: the entries.
        programs: for each of them its ``pick``.
        index: the same, looked up by a fact.
    """

    entries: tuple[PoolEntry, ...]
    programs: tuple[Program, ...]
    index: ConditionIndex


class Prepared:
    """What is worked out about a policy. Threads may work it out twice, to the same effect.

    Attributes:
        policy: the policy.
        name: the policy, as its records name it.
        engine: what decides, as the records name it.
        rules: the precedence rules.
        not_reached: for each of them the step of one that is not reached.
        wishing: those whose level is an agent's wish.
        named: name to entries, in file order.
        known_as: model or alias to entries, in file order.
        models: model to entries, in file order.
        limited: the parameters that the limits of any entry are about.
        wish_matters: the levels of which a condition reads the target that is asked for.
        variables: the policy's variables, as :func:`frame_of` wants them.
        forbids: the forbid rules that are enforced, in order.
        advisory: the others.
        screened: the enforced ones with a part about the request.
        request_parts: these parts, looked up by a fact.
        always_active: those without one.
    """

    def __init__(self, policy: Policy) -> None:
        """Work out what every decision needs."""
        self.policy = policy
        self.name = rec.PolicyName(policy.name, policy.revision)
        self.engine = rec.EngineName(VERSION)
        self.rules = tuple(map(_prepared_rule, policy.precedence))
        self.not_reached = tuple(rule.not_reached for rule in self.rules)
        self.wishing = tuple(rule for rule in policy.precedence if rule.use in WISHES)
        pool = policy.pool or ()
        self.named = _table((entry.name, entry) for entry in pool)
        self.models = _table((entry.model, entry) for entry in pool)
        self.known_as = _table(
            (name, entry) for entry in pool for name in dict.fromkeys((entry.model, *entry.aliases))
        )
        self.limited = limited_parameters(policy)
        guards = [rule.when for rule in policy.forbid] + [it.allow for it in pool]
        choosing = [entry.pick for entry in pool]
        choosing += [it for rule in policy.precedence for it in (rule.when, rule.order_by)]
        reads = _reads(guards)
        self._level_matters = "target.level" in reads
        reads |= _reads(choosing)
        self.wish_matters = frozenset(
            level for level in WISHES if {f"{level}.model", f"{level}.provider"} & reads
        )
        self.variables = _variables(policy)
        self._given = _ALWAYS_GIVEN.union(
            f"facts.{fact.name}" for fact in policy.facts.values() if fact.default is not None
        )
        self._programs: dict[Node, Program] = {}
        enforced = [rule for rule in policy.forbid if rule.enforce]
        self._keep_forbids(map(self._forbid, enforced, range(len(enforced))))
        self.advisory = tuple(rule for rule in policy.forbid if not rule.enforce)
        self._allow: dict[tuple[int, Level | None], tuple[Program, ...]] = {}
        self._users: dict[Level | None, Mapping[Program, int]] = {}
        self._possible: dict[tuple[int, Level | None], tuple[PreparedForbid, ...]] = {}
        self._orders: dict[tuple[int, int, Level], Program | float | None] = {}
        self._offers: dict[int, Offer] = {}
        self._offer_outside = own_parameters(policy, None)
        self._picks: Picks | None = None

    def _keep_forbids(self, forbids: Iterable[PreparedForbid]) -> None:
        self.forbids = tuple(forbids)
        self.screened = [it for it in self.forbids if it.request_part is not None]
        self.always_active = [it for it in self.forbids if it.request_part is None]
        parts = [it.request_part.tree for it in self.screened if it.request_part]
        self.request_parts = ConditionIndex(parts, self._given)

    def without(self, rule: ForbidRule) -> Policy:
        """Return the policy without a forbid rule; what is worked out is not worked out again."""
        others = tuple(it for it in self.policy.forbid if it is not rule)
        found = copy.copy(self)
        found.policy = replace_in_policy(self.policy, forbid=others)
        found._keep_forbids(it for it in self.forbids if it.rule is not rule)  # noqa: SLF001 - its own
        found._possible = {}  # noqa: SLF001 - its own
        found.policy.share(Prepared, found)
        return found.policy

    def warm(self) -> None:
        """Work out at once what decisions would when they first need it."""
        pool, rules = self.policy.pool or (), self.policy.precedence
        for level in {Level.TASK, *(rule.use for rule in rules)}:
            self.users(level)
            for entry in pool:
                self.possible_forbids(Candidate(entry.model, entry.provider, level, entry))
        for entry in pool:
            self.offer(entry)
            for rule in rules:
                if rule.order_by is not None:
                    self.order(rule.order_by, entry, rule.use)
        written = [rule.when for rule in rules] + [rule.when for rule in self.advisory]
        written += [variable.condition for variable in self.policy.variables]
        programs = [condition.program for condition in written if condition]
        for program in (*programs, *self.picks.programs, *self._programs.values()):
            program.plan()

    def program(self, tree: Node) -> Program:
        """Return what evaluates an expression; the same one for equal expressions."""
        return self._programs.setdefault(tree, Program(tree))

    def _forbid(self, rule: ForbidRule, number: int) -> PreparedForbid:
        """Cut a rule's condition, unless its macros could make all of it fail."""
        tree = rule.when.tree
        parts: dict[bool, list[Node]] = {False: [], True: []}
        for part in [tree] if may_exceed_budget(tree) else conjuncts(tree):
            parts[_reads_target(part)].append(part)
        about_request, about_target = (
            self.program(joined("&&", parts[it])) if parts[it] else None for it in (False, True)
        )
        reads = reads_of(about_target.tree) if about_target else ()
        alone = all(path.startswith("target.") for path in reads)
        return PreparedForbid(rule, number, about_request, about_target, alone)

    def allow(self, entry: PoolEntry, level: Level) -> tuple[Program, ...]:
        """Return conditions about the request that are all true exactly where ``allow`` is."""
        key = entry.position, self._seen_at(level)
        found = self._allow.get(key)
        if found is None:
            tree = simplified(entry.allow.tree, known_of(entry, level)) if entry.allow else _TRUE
            parts = [tree] if may_exceed_budget(tree) else conjuncts(tree)
            found = tuple(self.program(part) for part in parts if part != _TRUE)
            self._allow[key] = found
        return found

    def users(self, level: Level) -> Mapping[Program, int]:
        """Return the conditions of :meth:`allow`, each with the entries that it stands for.

        Entries are a set of bits: that of an entry is ``1 << entry.position``.
        """
        found = self._users.get(self._seen_at(level))
        if found is None:
            users: dict[Program, int] = {}
            for entry in self.policy.pool or ():
                for program in self.allow(entry, level):
                    users[program] = users.get(program, 0) | 1 << entry.position
            found = self._users[self._seen_at(level)] = users
        return found

    def possible_forbids(self, candidate: Candidate) -> tuple[PreparedForbid, ...]:
        """Return the forbid rules that look at the target alone first and may forbid this one.

        Those that are false for an entry whatever the request is are left out.
        """
        entry = candidate.entry
        if entry is None or not entry.provider:
            return tuple(self.always_active)
        key = entry.position, self._seen_at(candidate.level)
        found = self._possible.get(key)
        if found is None:
            frame = frame_of({"target": candidate.values()})
            found = self._possible[key] = tuple(
                forbid
                for forbid in self.always_active
                if not (forbid.reads_target_alone and _is_false(forbid.target_part, frame))
            )
        return found

    def _seen_at(self, level: Level) -> Level | None:
        """Return the level, if it makes a difference to a guard."""
        return level if self._level_matters else None

    @property
    def picks(self) -> Picks:
        """What level ``pool`` may pick."""
        if self._picks is None:
            entries = [(it, it.pick) for it in self.policy.pool or () if it.pick]
            trees = [simplified(pick.tree, known_of(it, Level.POOL)) for it, pick in entries]
            self._picks = Picks(
                tuple(entry for entry, _ in entries),
                tuple(map(self.program, trees)),
                ConditionIndex(trees, self._given),
            )
        return self._picks

    def order(self, order_by: Condition, entry: PoolEntry, level: Level) -> Program | float | None:
        """Return an ``order_by`` for an entry: a number or None where no request changes it."""
        key = id(order_by), entry.position, level
        if key not in self._orders:
            tree = simplified(order_by.tree, known_of(entry, level))
            constant = constant_of(tree)
            self._orders[key] = self.program(tree) if constant is None else number_of(constant)
        return self._orders[key]

    def offer(self, entry: PoolEntry) -> Offer:
        """Return what is selected when an entry is."""
        found = self._offers.get(entry.position)
        if found is None:
            found = self._offers[entry.position] = self._offer(entry)
        return found

    def _offer(self, entry: PoolEntry) -> Offer:
        offer = own_parameters(self.policy, entry)
        fallback = tuple(other for name in entry.fallback for other in self.named.get(name, ()))
        if not entry.provider:
            return replace(offer, fallback=fallback)
        provider = entry.provider if entry.shares_name else UNSET
        selected = rec.Candidate(rec.Verdict.SELECTED, entry.name, provider=provider)
        target = rec.Target(entry.model, entry.provider, offer.parameters, entry.name)
        return replace(offer, selected=selected, target=target, fallback=fallback)

    def offer_of(self, entry: PoolEntry | None) -> Offer:
        """Return what is selected when an entry is, or a target that is none."""
        return self._offer_outside if entry is None else self.offer(entry)


def number_of(outcome: object) -> float | None:
    """Return an outcome that puts a candidate anywhere in an order; else None, as for a NaN."""
    return outcome if isinstance(outcome, int | float) and not math.isnan(outcome) else None


def _is_false(part: Program | None, frame: Frame) -> bool:
    return part is not None and part.evaluate(frame) is False


def _variables(policy: Policy) -> Mapping[str, Sequence[tuple[str, Program]]]:
    programs = {it.name: it.condition.program for it in policy.variables}
    return {
        it.name: [(name, programs[name]) for name in (*it.condition.variables, it.name)]
        for it in policy.variables
    }


def _reads(conditions: Iterable[Condition | None]) -> frozenset[str]:
    return frozenset[str]().union(*(it.reads for it in conditions if it is not None))


def _prepared_rule(rule: PrecedenceRule) -> PreparedRule:
    steps = (
        rec.Step(rule.id, rule.use, result)
        for result in (rec.Result.SKIPPED, rec.Result.NO_PROPOSAL, rec.Result.NOT_REACHED)
    )
    return PreparedRule(rule, *steps)


def _reads_target(tree: Node) -> bool:
    return any(path.startswith("target.") for path in reads_of(tree))


def _table(pairs: Iterable[tuple[str, PoolEntry]]) -> Mapping[str, tuple[PoolEntry, ...]]:
    found: dict[str, list[PoolEntry]] = {}
    for key, entry in pairs:
        found.setdefault(key, []).append(entry)
    return {key: tuple(entries) for key, entries in found.items()}


_TRUE: Final = literal(True)  # noqa: FBT003 - it is data
_ALWAYS_GIVEN: Final = frozenset(name.path for name in REQUEST_NAMES if not name.optional)
