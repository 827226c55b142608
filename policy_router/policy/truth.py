"""The truth of a condition for all requests: always true, always false, or dependent.

The reasoning is about one name at a time, and about what the conjuncts (or alternatives) before a
piece say of it. It never guesses: what it cannot tell, it leaves open. Failures are not looked at:
a condition that is never true may still fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from policy_router.cel import texts
from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    STRINGS,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    Node,
    TableOf,
)
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import FAILURE
from policy_router.policy.domains import (
    ANY,
    MIRRORED,
    NATURAL,
    NEGATED,
    Domain,
    added,
    between,
    exactly,
    opposite,
    where,
)

Known = dict[Node, Domain]
"""What was said so far: a piece of a condition to the values that it can have."""

RANGES: Final[Mapping[str, Domain]] = {
    "bucket": between(0, 99),
    "getFullYear": between(1, 9999),
    "getMonth": between(0, 11),
    "getDate": between(1, 31),
    "getDayOfMonth": between(0, 30),
    "getDayOfWeek": between(0, 6),
    "getDayOfYear": between(0, 365),
    "getHours": between(0, 23),
    "getMinutes": between(0, 59),
    "getSeconds": between(0, 59),
    "getMilliseconds": between(0, 999),
    "size": NATURAL,
    "indexOf": Domain(low=-1),
}
"""The values that functions give; those of a duration have no bounds."""

_MAX_STEPS: Final = 10_000
_STEPS_OF_VARIABLE: Final = 50
_CLEANED: Final[Mapping[str, Callable[[str], str]]] = {
    "lowerAscii": texts.lower,
    "upperAscii": texts.upper,
    "trim": texts.trimmed,
}
"""Functions that give a text which they would leave as it is."""
_TEXTS: Final = frozenset({"startsWith", "endsWith", "contains"})
_CALENDAR: Final = frozenset(name for name in RANGES if name.startswith("get"))


class Reasoner:
    """Reasons about the conditions of one policy.

    Attributes:
        names: the values that names can have, by path; a name that is not here may have any.
        variables: the tree of each variable, by path.
        steps: how many more pieces it looks at before it leaves everything open.
    """

    def __init__(self, names: Mapping[str, Domain], variables: Mapping[str, Node]) -> None:
        """Take what is known of names and variables."""
        self.names, self.variables = names, variables
        self.steps = _MAX_STEPS
        self._constants: dict[Node, Any] = {}

    def begin(self) -> None:
        """Begin a condition: it may look at so many pieces again."""
        self.steps = _MAX_STEPS

    def decided(self, node: Node) -> bool | None:
        """Tell what a condition comes to whatever is asked; None where that depends."""
        self.begin()
        return self.truth(node, {})

    def truth(self, node: Node, known: Known) -> bool | None:
        """Tell what a piece of a condition comes to where something is known."""
        self.steps -= 1
        if isinstance(node, Literal):
            return node.value if isinstance(node.value, bool) else None
        if self.steps < 0:
            return None
        if isinstance(node, Apply) and node.function in {"&&", "||"}:
            return self._chain(node, known)
        if isinstance(node, Apply) and node.function == "!":
            inner = self.truth(node.arguments[0], known)
            return None if inner is None else not inner
        if isinstance(node, Apply) and node.function == "?:":
            return self._choice(node, known)
        return self._atom(node, known)

    def _chain(self, node: Apply, known: Known) -> bool | None:
        decisive, known = node.function == "||", dict(known)
        open_ones = 0
        for operand in node.arguments:
            found = self.truth(operand, known)
            if found is decisive:
                return decisive
            open_ones += found is None
            self.assume(operand, not decisive, known)
        return None if open_ones else not decisive

    def _variable(self, node: Node) -> Node | None:
        """Return the tree of a variable; looking into it counts as many steps."""
        if not isinstance(node, Attribute) or node.path not in self.variables:
            return None
        self.steps -= _STEPS_OF_VARIABLE
        return self.variables[node.path]

    def _choice(self, node: Apply, known: Known) -> bool | None:
        test, *branches = node.arguments
        asked = self.truth(test, known)
        found = set()
        for wanted, branch in zip((True, False), branches, strict=True):
            if asked is not (not wanted):
                assumed = dict(known)
                self.assume(test, wanted, assumed)
                found.add(self.truth(branch, assumed))
        return found.pop() if len(found) == 1 else None

    def _atom(self, node: Node, known: Known) -> bool | None:
        variable = self._variable(node)
        if variable is not None and (found := self.truth(variable, known)) is not None:
            return found
        comparison = self.comparison(node)
        if comparison is not None:
            term, function, value = comparison
            found = self.domain(term, known).compared(function, value)
            if found is None and _never_is(term, value if function == "in" else (value,)):
                found = {"==": False, "in": False, "!=": True}.get(function)
            if found is not None:
                return found
        if isinstance(node, Apply) and node.function in NEGATED:
            left, right = node.arguments
            if left == right and DOUBLE not in {left.type, left.type.element}:  # NaN is not itself
                return "=" in node.function and node.function != "!="
        said = known.get(node)
        return None if said is None else said.compared("==", True)  # noqa: FBT003 - it is data

    def may_be(self, term: Node, value: Any) -> bool:
        """Tell whether a piece can have a value."""
        return self.domain(term, {}).may_be(value) and not _never_is(term, (value,))

    def comparison(self, node: Node) -> tuple[Node, str, Any] | None:
        """Return a piece, an operator and a constant (for ``in``: constants), if it is that."""
        if not isinstance(node, Apply) or len(node.arguments) != 2:  # noqa: PLR2004 - two sides
            return None
        left, right = node.arguments
        if node.function == "in":
            values = self._members(right)
            return None if values is None else (left, "in", values)
        if node.function in NEGATED:
            for term, other, function in (
                (left, right, node.function),
                (right, left, MIRRORED[node.function]),
            ):
                value = self.constant(other)
                if value is not None:
                    return term, function, value
        if node.function in _TEXTS and (value := self.constant(right)) is not None:
            return left, node.function, value
        return None

    def _members(self, node: Node) -> frozenset[Any] | None:
        if isinstance(node, TableOf):
            return frozenset(node.values)
        if not isinstance(node, ListOf):
            return None
        values = [self.constant(item) for item in node.items]
        return None if None in values else frozenset(values)

    def constant(self, node: Node) -> Any:
        """Return the value of an expression without names; None where it has some, or fails."""
        if isinstance(node, Literal):
            return node.value
        if not isinstance(node, Apply):
            return None
        if node not in self._constants:
            # No comprehension walks further than the first name.
            known = all(self.constant(argument) is not None for argument in node.arguments)
            outcome = Program(node).evaluate({}) if known else FAILURE
            self._constants[node] = None if outcome is FAILURE else outcome
        return self._constants[node]

    def domain(self, node: Node, known: Known) -> Domain:
        """Return the values that a piece can have where something is known."""
        self.steps -= 1
        own = self._own_domain(node, known) if self.steps > 0 else ANY
        said = known.get(node)
        return own if said is None else own.met(said)

    def _own_domain(self, node: Node, known: Known) -> Domain:
        if isinstance(node, Attribute):
            variable = self._variable(node)
            return self.domain(variable, known) if variable else self.names.get(node.path, ANY)
        if (value := self.constant(node)) is not None:
            return exactly((value,))
        if node.type == BOOL:
            found = self.truth(node, known)
            return ANY if found is None else exactly((found,))
        return self._applied(node, known) if isinstance(node, Apply) else ANY

    def _applied(self, node: Apply, known: Known) -> Domain:
        if node.function == "?:":
            return self.domain(node.arguments[1], known).joined(
                self.domain(node.arguments[2], known)
            )
        if node.function in _CALENDAR and node.arguments[0].type == DURATION:
            return ANY
        first = node.arguments[0]
        if node.function == "[]" and isinstance(first, TableOf) and node.type != STRINGS:
            return exactly(first.values.values())
        if node.type != INT:
            return ANY
        match node.function:
            case "+" | "-":
                left, right = (self.domain(it, known) for it in node.arguments)
                return added(left, right if node.function == "+" else opposite(right))
            case "neg":
                return opposite(self.domain(node.arguments[0], known))
            case "%":
                return self._remainder(node, known)
        return RANGES.get(node.function, ANY)

    def _remainder(self, node: Apply, known: Known) -> Domain:
        divisor = self.constant(node.arguments[1])
        if not divisor:
            return ANY
        low = self.domain(node.arguments[0], known).compared(">=", 0)
        return between(0 if low else 1 - abs(divisor), abs(divisor) - 1)

    # What is known after a condition.

    def assume(self, node: Node, wanted: bool, known: Known) -> None:  # noqa: FBT001 - a truth
        """Add what holds where a condition comes to a truth."""
        self.steps -= 1
        if self.steps < 0:
            return
        if isinstance(node, Apply) and node.function == "!":
            self.assume(node.arguments[0], not wanted, known)
        elif isinstance(node, Apply) and node.function in {"&&", "||"}:
            if wanted is (node.function == "&&"):
                for operand in node.arguments:
                    self.assume(operand, wanted, known)
            else:
                self._assume_one_of(node, wanted, known)
        else:
            self._assume_atom(node, wanted, known)

    def _assume_one_of(self, node: Apply, wanted: bool, known: Known) -> None:  # noqa: FBT001 - a truth
        """Add what holds in each of the ways in which one of several conditions is met."""
        common: Known | None = None
        for operand in node.arguments:
            if self.truth(operand, known) is (not wanted):
                continue
            way: Known = {}
            self.assume(operand, wanted, way)
            if common is None:
                common = way
            else:
                common = {term: common[term].joined(way[term]) for term in common.keys() & way}
        for term, domain in (common or {}).items():
            _learn(known, term, domain)

    def _assume_atom(self, node: Node, wanted: bool, known: Known) -> None:  # noqa: FBT001 - a truth
        _learn(known, node, exactly((wanted,)))
        if (variable := self._variable(node)) is not None:
            self.assume(variable, wanted, known)
            return
        if wanted and (walked := _not_empty(node)) is not None:
            _learn(known, size_of(walked), Domain(low=1))
        comparison = self.comparison(node)
        if comparison is None:
            return
        term, function, value = comparison
        if wanted:
            _learn(known, term, where(function, value))
        elif function in NEGATED:
            _learn(known, term, where(NEGATED[function], value))
        elif function == "in":
            _learn(known, term, Domain(without=value))


def _never_is(term: Node, values: Iterable[Any]) -> bool:
    """Tell whether a text that is cleaned, such as by ``lowerAscii()``, is none of some values."""
    clean = _CLEANED.get(term.function) if isinstance(term, Apply) else None
    return clean is not None and all(clean(value) != value for value in values)


def size_of(node: Node) -> Node:
    """Return the size of a list or a text as an expression."""
    return Apply(INT, 0, 0, "size", (node,))


def _not_empty(node: Node) -> Node | None:
    """Return the list that has an element wherever a condition is true."""
    if isinstance(node, Loop) and node.macro in {"exists", "exists_one"}:
        return node.source
    if (
        isinstance(node, Apply)
        and node.function == "in"
        and not isinstance(node.arguments[1], TableOf)
    ):
        return node.arguments[1]
    if isinstance(node, Apply) and node.function == "!=":
        for one, other in (node.arguments, node.arguments[::-1]):
            if isinstance(other, ListOf) and not other.items:
                return one
            if isinstance(other, Literal) and other.value == "":
                return one
    return None


def _learn(known: Known, term: Node, domain: Domain) -> None:
    said = known.get(term)
    known[term] = domain if said is None else said.met(domain)
