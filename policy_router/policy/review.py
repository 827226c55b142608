"""Finds what is probably not intended in a usable policy: warnings and hints.

It is looked for only where nothing is wrong: what follows from a policy as a whole cannot be told
where a part of it could not be read.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from policy_router.cel.condition import Condition
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic
from policy_router.domain import Level, Policy
from policy_router.policy import addresses, compared, never, parts, unused, usual, ways_around
from policy_router.policy.conditions import placed
from policy_router.policy.domains import NATURAL, Domain, exactly
from policy_router.policy.guards import Guards
from policy_router.policy.mentions import Mentions
from policy_router.policy.sections import Sections
from policy_router.policy.truth import Reasoner
from policy_router.policy.written import Written, conditions

_BOUNDED: Mapping[str, Domain] = {
    "parent.depth": NATURAL,
    "task.index": NATURAL,
    "task.batch_size": Domain(low=1),
    "task.input_tokens": NATURAL,
    "target.context_window": Domain(low=1),
    "target.price.input": Domain(low=0.0),
    "target.price.output": Domain(low=0.0),
    "target.price.cache_read": Domain(low=0.0),
    "target.price.cache_write": Domain(low=0.0),
    **dict.fromkeys(
        ("target.name", "target.model", "target.provider"), Domain(without=frozenset({""}))
    ),
}
"""The values that names are meant to have, whatever a request can give."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a review knows besides the policy.

    Attributes:
        known_providers: the names of the providers whose addresses are known.
        now: the time, for what depends on the day; None leaves that out.
    """

    known_providers: Collection[str] = ()
    now: datetime.datetime | None = None


def findings(
    policy: Policy, sections: Sections, surroundings: Surroundings, *, own_precedence: bool
) -> Iterator[Diagnostic]:
    """Yield what is probably not meant.

    Args:
        policy: a policy without errors.
        sections: what it was read from.
        surroundings: what else is known.
        own_precedence: whether the precedence rules are its own, not a profile's.
    """
    variables = {f"variables.{it.name}": it.condition.tree for it in policy.variables}
    reasoner = Reasoner(_domains(policy), variables)
    guards = Guards(policy, reasoner)
    written = list(conditions(policy, sections, own_precedence=own_precedence))
    mentions = Mentions(policy, surroundings.known_providers)
    of_parts = list(_of_parts(written, reasoner, mentions, surroundings.now))
    yield from of_parts
    causes = {Code.CONSTANT_PART, Code.IN_NO_ENTRY}
    explained = {item.path for item in of_parts if item.code in causes}
    guards.leave_open(each.condition.tree for each in written if each.piece.path not in explained)
    yield from never.about_conditions(guards, written, explained)
    yield from never.about_the_whole(guards, sections)
    yield from ways_around.findings(guards, written)
    yield from compared.spellings(policy, sections, written)
    yield from compared.loose_patterns(written)
    yield from unused.findings(policy, sections, own_precedence=own_precedence)
    yield from addresses.findings(policy, sections, surroundings.known_providers)
    yield from usual.findings(policy, sections)


def _domains(policy: Policy) -> Mapping[str, Domain]:
    closed = {
        path: exactly((*it.values, ""))
        for path, it in policy.closed.items()
        if path in {"task.kind", "caller.team"}
    }
    return {**_BOUNDED, "target.level": exactly(Level), **closed}


def _of_parts(
    written: Iterable[Written],
    reasoner: Reasoner,
    mentions: Mentions,
    now: datetime.datetime | None,
) -> Iterator[Diagnostic]:
    """Yield what is odd about parts of conditions; each text is looked at once."""
    seen: dict[tuple[str, int], list[parts.Finding]] = {}
    for each in written:
        condition: Condition = each.condition
        key = condition.text, id(condition.tree)
        if key not in seen:
            seen[key] = parts.findings(condition, reasoner, now)
            seen[key] += mentions.findings(condition, reasoner)
            seen[key] += compared.findings(condition)
        for problem, severity in seen[key]:
            yield placed(each.piece, problem, severity)
