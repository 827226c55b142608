"""The names of a request as terms: what each of them can be, under one policy or two."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.solver import TRUE, Formula
from policy_router.analysis.proof.terms import INT_MAX, INT_MIN, Number, Text
from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Attribute,
    Literal,
    Type,
    walk,
)
from policy_router.cel.condition import Condition
from policy_router.cel.timestamps import timestamp_of
from policy_router.cel.vocabulary import MAX_ITEMS, REQUEST_NAMES, Name
from policy_router.decision.request import moment
from policy_router.domain import Policy

Term: TypeAlias = "Text | Number | Items | int"
"""A bool is a literal."""

Plain: TypeAlias = dict[str, dict[str, Any]]
"""A request as plain data."""

_NAMES: Final[Mapping[str, Name]] = {name.path: name for name in REQUEST_NAMES}
_FIRST, _LAST = (
    timestamp_of(moment(it)).ticks for it in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
)
NOW: Final = "now"
MOST_PLACES: Final = 4
"""A list may have more elements: of those, nothing is known but that they are in it."""
ELEMENT: Final = "element."
"""Before the names of elements of lists, which no request has."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a policy sees in a name where something holds.

    Attributes:
        where: what has to hold.
        value: the term, or a constant.
    """

    where: int
    value: Any


def conditions_of(policy: Policy) -> Iterator[Condition]:
    """Yield every condition of a policy that decides something."""
    for variable in policy.variables:
        yield variable.condition
    for entry in policy.pool or ():
        yield from (it for it in (entry.allow, entry.pick) if it)
    for forbid in policy.forbid:
        yield forbid.when
    for rule in policy.precedence:
        yield from (it for it in (rule.when, rule.order_by) if it)


class Names:
    """The names of requests that fit each of some policies.

    Attributes:
        formula: what is known of them is added to it.
        terms: what was asked for so far, by path.
        given: whether a name is given, by path, where that is not certain.
        placed: the lists of which each place matters.
    """

    def __init__(
        self, formula: Formula, policies: Sequence[Policy], more: Iterable[Condition] = ()
    ) -> None:
        """Begin with what the policies say of requests.

        Args:
            formula: what is known is added to it.
            policies: the policies that a request has to fit.
            more: conditions besides those of the policies.
        """
        self.formula, self.policies = formula, policies
        self.terms: dict[str, Term] = {}
        self.given: dict[str, int] = {}
        self.placed: dict[int, Items] = {}
        self._elements = 0
        self._views: dict[tuple[int, str], list[Seen]] = {}
        self._words: dict[str, dict[str, None]] = {}
        for policy in policies:
            for condition in conditions_of(policy):
                self._collect(condition)
            needs = self._words.setdefault("task.needs", {})
            for entry in policy.pool or ():
                needs.update(dict.fromkeys(entry.supports or ()))
        for condition in more:
            self._collect(condition)

    def _collect(self, condition: Condition) -> None:
        """Note the constants that a condition may look for in a list."""
        parts = [*walk(condition.tree)]
        paths = {it.path for it in parts if isinstance(it, Attribute) and it.type == STRINGS}
        if paths:
            words = {it.value: None for it in parts if isinstance(it, Literal)}
            texts = {word: None for word in words if isinstance(word, str)}
            for path in paths:
                self._words.setdefault(path, {}).update(texts)

    def seen(self, policy: Policy, path: str) -> list[Seen]:
        """Return what a policy sees in a name: exactly one holds, or none where it is absent."""
        key = id(policy), path
        found = self._views.get(key)
        if found is None:
            found = self._views[key] = self._seen(policy, path)
        return found

    def _seen(self, policy: Policy, path: str) -> list[Seen]:
        if not path.startswith("facts."):
            return self._dropped(policy, path)
        name = path.removeprefix("facts.")
        default = policy.facts[name].default
        if not self._is_shared(name):
            return [] if default is None else [Seen(TRUE, default)]
        term = self.term(path)
        if default is None or path in self.required():
            return [Seen(self.presence(path), term)]
        if len({repr(it.facts[name].default) for it in self.policies}) == 1:
            return [Seen(TRUE, term)]
        given = self.presence(path)
        return [Seen(given, term), Seen(-given, default)]

    def _is_shared(self, name: str) -> bool:
        """Tell whether a fact may be given: each policy declares it, with one type."""
        declared = [policy.facts.get(name) for policy in self.policies]
        return len({it and it.type for it in declared}) == 1

    def _dropped(self, policy: Policy, path: str) -> list[Seen]:
        """Let a policy not see values that its closed set drops, where others do."""
        closed = policy.closed.get(path)
        term = self.term(path)
        given = self.presence(path)
        alone = {it.closed.get(path) for it in self.policies} == {closed}
        if closed is None or not closed.drops or alone:
            return [Seen(given, term)]
        if isinstance(term, Text):
            known = self.formula.any(*[term.equals(it) for it in (*closed.values, "")])
            return [Seen(known, term), Seen(-known, "")]
        return [Seen(given, self._apart(path, closed.values))]

    def _apart(self, path: str, values: tuple[str, ...]) -> Items:
        """Return a list that is what remains of another one."""
        whole = self.term(path)
        assert isinstance(whole, Items)  # noqa: S101 - closed sets are of texts, or lists of them
        rest = Items(self.formula, path, values, MAX_ITEMS)
        rest.restrict()
        for value in values:
            self.formula.same(rest.has(value), whole.has(value))
        return rest

    def presence(self, path: str) -> int:
        """Return whether a name is given."""
        name = _NAMES.get(path)
        if path in {*self.required(), NOW} or (name is not None and not name.optional):
            return TRUE
        if path not in self.given:
            self.given[path] = self.formula.new()
        return self.given[path]

    def required(self) -> set[str]:
        """Return the names that a request has to give."""
        needed = {path for policy in self.policies for path in policy.required}
        facts = [it for policy in self.policies for it in policy.facts.values() if it.required]
        return needed | {f"facts.{fact.name}" for fact in facts}

    def term(self, path: str) -> Term:
        """Return the term of a name."""
        found = self.terms.get(path)
        if found is None:
            found = self.terms[path] = self._term(path)
        return found

    def _type(self, path: str) -> Type:
        if path == NOW:
            return TIMESTAMP
        name = _NAMES.get(path)
        if name is not None:
            return name.type
        fact = path.removeprefix("facts.")
        return next(it.facts[fact].type for it in self.policies if fact in it.facts)

    def _term(self, path: str) -> Term:
        type_ = self._type(path)
        if type_ == STRING:
            return self._text(path)
        if type_ == STRINGS:
            return self._items(path)
        if type_ == BOOL:
            return self.formula.new()
        if type_ == INT:
            return Number(self.formula, path, INT_MIN, INT_MAX)
        if type_ == DOUBLE:
            return Number(self.formula, path, -sys.float_info.max, sys.float_info.max)
        return Number(self.formula, path, _FIRST, _LAST)

    def _sets(self, path: str) -> list[tuple[str, ...]]:
        """Return the closed sets that a value is from."""
        closed = [policy.closed.get(path) for policy in self.policies]
        if len({*closed}) == 1 and closed[0] is not None:
            return [closed[0].values]
        return [it.values for it in closed if it is not None and not it.drops]

    def _text(self, path: str) -> Text:
        text = Text(self.formula, path)
        is_required = path in self.required()
        for values in self._sets(path):
            text.restrict([*values, *([] if is_required else [""])])
        if is_required:
            self.formula.add(-text.equals(""))
        return text

    def _items(self, path: str) -> Items:
        sets = self._sets(path)
        words = {**self._words.get(path, {}), **dict.fromkeys(it for one in sets for it in one)}
        most = max([MAX_ITEMS, *(_length(policy, path) for policy in self.policies)])
        items = Items(self.formula, path, words, most)
        for values in sets:
            for word in words:
                if word not in values:
                    self.formula.add(-items.has(word))
            items.restrict()
        if path in self.required():
            self.formula.add(-items.size.at_most(0))
        return items

    def element(self, items: Items) -> tuple[Attribute, int]:
        """Return the name of a text, and whether that is an element of a list."""
        self._elements += 1
        path = f"{ELEMENT}{self._elements}"
        text, is_in = items.element(path)
        self.terms[path] = text
        return text_name(path), is_in

    def at(self, items: Items, place: int) -> Attribute:
        """Return the name of the text at a place of a list, if anything is there."""
        if place not in items.places:
            self._elements += 1
            text = Text(self.formula, f"{ELEMENT}{self._elements}")
            self.terms[text.name] = text
            items.put(place, text)
        return text_name(items.places[place].name)

    def first(self, items: Items) -> list[tuple[Attribute, int]]:
        """Return the names of the first elements of a list, each with whether there is one."""
        found = [(self.at(items, place), items.there(place)) for place in range(MOST_PLACES)]
        if id(items) not in self.placed:
            self.placed[id(items)] = items
            items.place_all(MOST_PLACES)
        return found

    def short(self) -> list[int]:
        """Return what holds of requests whose lists have no more elements than are known."""
        return [it.size.at_most(MOST_PLACES) for it in self.placed.values()]

    def ticks(self, now: datetime.datetime) -> int:
        """Return a time as the number that stands for it."""
        return timestamp_of(now).ticks

    def number(self, path: str) -> Number:
        """Return the term of a name that is a number."""
        term = self.term(path)
        assert isinstance(term, Number)  # noqa: S101 - its type is known
        return term


def text_name(path: str) -> Attribute:
    """Return the name of a text."""
    return Attribute(STRING, 0, 0, path)


def _length(policy: Policy, path: str) -> int:
    """Return how long the list is that a fact has where it is not given."""
    fact = policy.facts.get(path.removeprefix("facts."))
    return len(fact.default) if fact is not None and isinstance(fact.default, tuple) else 0
