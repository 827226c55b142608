"""Random well-typed expressions and facts, made quickly, to compare evaluators by the million."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Callable
from typing import Any

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Apply,
    Attribute,
    Bind,
    BoundName,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
    Type,
)
from policy_router.cel.functions import METHODS

SCALARS = (BOOL, INT, DOUBLE, STRING, TIMESTAMP, DURATION)
LISTS = tuple(Type("list", type_) for type_ in SCALARS)
ACCESSORS = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear")
HANDS = ("Hours", "Minutes", "Seconds", "Milliseconds")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

INTS = (0, 1, -1, 2, 3, 7, 100, 2**53 + 1, 2**63 - 1, -(2**63), 2**62, -5)
DOUBLES = (0.0, -0.0, 1.0, 0.1, -2.5, 1e16, 1e308, 5e-324, 2.0**63, -(2.0**63), 3.7)
ODD_DOUBLES = (math.inf, -math.inf, math.nan)
TEXTS = (
    *("", "a", "ab", "b", "coding", "é", "😀", "a b", 'q"\\', "\n\t\x07\x7f\u2028"),
    *("1", "-7", " 12 ", "1.5", "1e400", "nan", "0x10", "9223372036854775808", "true", "-1e-400"),
    *("1h30m", "-1.5ns", "90s", "0", "1d", "2026-01-31T09:00:00Z", "2024-02-29t23:59:60z"),
    *("9999-12-31T23:59:59.999999999Z", "0001-01-01T00:00:00+01:00", "2026-13-01T00:00:00Z"),
)
MOMENTS = ("2026-01-31T09:00:00Z", "1969-12-31T23:59:59.5Z", "0001-01-01T00:00:00Z")
SPANS = ("0", "1h30m", "-1.5s", "1ns", "2562047h", "315576000000s", "-90m")
PATTERNS = ("^a", r"\d+", "(?i)É|e", "[^a-z]*$", "", "^(a+)+$")
ZONES = ("UTC", "+02:00", "-11:30")

Variables = tuple[LoopVariable | BoundName, ...]
"""What expressions around a piece have given names to."""

TEXT_METHODS: dict[Type, list[tuple[str, tuple[Type, ...]]]] = {
    type_: [
        (word, signature.takes)
        for word in (
            *("lowerAscii", "upperAscii", "trim", "split", "join"),
            *("replace", "indexOf", "substring"),
        )
        for signature in METHODS[word]
        if signature.gives == type_
    ]
    for type_ in (STRING, INT, STRINGS)
}
"""The functions of CEL's extension library of strings, by what they give, with what they take."""
EXTREMES = ("math.least", "math.greatest")
SETS = ("sets.contains", "sets.intersects")


def names_left(variables: Variables) -> tuple[str | None, str]:
    """Return the name of another loop variable, if there may be one, and of another value."""
    loops = sum(isinstance(variable, LoopVariable) for variable in variables)
    bound = len(variables) - loops
    return ("x", "for", None)[loops], ("v", "as", *(f"v{it}" for it in range(bound)))[bound]


def word(type_: Type) -> str:
    """Return the last word of the names of a type."""
    return str(type_).replace(" ", "_")


class Maker:
    """Makes expressions and facts from a source of chance.

    Args:
        chance: the source.
        extensions: whether the expressions use CEL's extension libraries.
    """

    def __init__(self, chance: random.Random, *, extensions: bool = True) -> None:
        self.chance = chance
        self.pick = chance.choice
        self.extensions = extensions

    def value(self, type_: Type) -> Any:
        """Return a value that a fact may have."""
        chance = self.chance
        if type_.element is not None:
            return [self.value(type_.element) for _ in range(chance.randrange(4))]
        match type_.name:
            case "bool":
                return chance.random() < 0.5
            case "int":
                return self.pick(INTS) if chance.random() < 0.6 else chance.randrange(-5, 12)
            case "double":
                return self.pick((*DOUBLES, *ODD_DOUBLES))
            case "string":
                return self.pick(TEXTS)
            case "timestamp":
                seconds = chance.choice((chance.randrange(-(10**9), 2 * 10**9), 0))
                return EPOCH + datetime.timedelta(
                    seconds=seconds, microseconds=chance.randrange(10**6)
                )
        return datetime.timedelta(chance.randrange(-3000, 3000), chance.randrange(90_000))

    def facts(self) -> dict[str, Any]:
        """Return values for the names; any may be missing."""
        types = (*SCALARS, *LISTS)
        sparse = self.chance.random() < 0.3
        return {
            root: {
                word(type_): self.value(type_)
                for type_ in types
                if self.chance.random() < (0.6 if sparse or root == "target" else 1.0)
            }
            for root in ("facts", "target")
        }

    def tree(self) -> Node:
        """Return an expression, most often a condition."""
        type_ = BOOL if self.chance.random() < 0.6 else self.pick((*SCALARS, *LISTS))
        return self.make(type_, self.chance.randrange(1, 5), ())

    def make(self, type_: Type, depth: int, variables: Variables) -> Node:
        """Return an expression of a type."""
        if depth == 0 or self.chance.random() < 0.12:
            return self.leaf(type_, variables)

        def sub(wanted: Type) -> Node:
            return self.make(wanted, depth - 1, variables)

        roll = self.chance.random()
        if roll < 0.06:
            path = f"target.{word(type_)}"
            name = Attribute(type_, 0, 0, path)
            return Apply(type_, 0, 0, "?:", (Present(BOOL, 0, 0, path), name, sub(type_)))
        if roll < 0.12:
            return Apply(type_, 0, 0, "?:", (sub(BOOL), sub(type_), sub(type_)))
        if roll < 0.18 and type_.element is None:
            return Apply(type_, 0, 0, "[]", (sub(Type("list", type_)), sub(INT)))
        variable, bound = names_left(variables)
        if roll < 0.36 and type_.name in {"bool", "list"} and variable:
            return self.loop(type_, depth, variables, variable)
        if self.extensions and self.chance.random() < 0.08:
            value = sub(self.pick((*SCALARS, *LISTS)))
            inner = (*variables, BoundName(value.type, 0, 0, bound))
            return Bind(type_, 0, 0, bound, value, self.make(type_, depth - 1, inner))
        if self.extensions and self.chance.random() < 0.25 and (made := self.extended(type_, sub)):
            return made
        plain: Node = getattr(self, f"of_{type_.name}")(type_, sub)
        return plain

    def extended(self, type_: Type, sub: Callable[[Type], Node]) -> Node | None:
        """Return a call of an extension library, if one gives the type."""
        if type_ == BOOL:
            lists = self.pick(LISTS)
            return self.call(BOOL, self.pick(SETS), sub(lists), sub(lists))
        if type_ == DOUBLE or (type_ == INT and self.chance.random() < 0.5):
            if self.chance.random() < 0.3:
                return self.call(type_, self.pick(EXTREMES), sub(Type("list", type_)))
            numbers = [sub(type_) for _ in range(self.chance.randrange(1, 5))]
            return self.call(type_, self.pick(EXTREMES), *numbers)
        if type_ not in TEXT_METHODS:
            return None
        word, takes = self.pick(TEXT_METHODS[type_])
        return self.call(type_, word, *[self.argument(wanted, sub) for wanted in takes])

    def argument(self, type_: Type, sub: Callable[[Type], Node]) -> Node:
        """Return an argument of a text's method; most often one that fits short texts."""
        if type_ == INT and self.chance.random() < 0.7:
            return Literal(INT, 0, 0, self.chance.randrange(-1, 5))
        if type_ == STRING and self.chance.random() < 0.3:
            return Literal(STRING, 0, 0, self.pick(("", "a", "b", "ab", " ", "1", "-", "é")))
        return sub(type_)

    def leaf(self, type_: Type, variables: Variables) -> Node:
        fitting = [variable for variable in variables if variable.type == type_]
        if fitting and self.chance.random() < 0.6:
            return self.pick(fitting)
        if self.chance.random() < 0.55:
            return Attribute(type_, 0, 0, f"facts.{word(type_)}")
        if type_.element is not None:
            count = self.chance.randrange(1, 4)
            items = tuple(self.literal(type_.element) for _ in range(count))
            return ListOf(type_, 0, 0, items)
        return self.literal(type_)

    def literal(self, type_: Type) -> Node:
        if type_ in {TIMESTAMP, DURATION}:
            text = self.pick(MOMENTS if type_ == TIMESTAMP else SPANS)
            return Apply(type_, 0, 0, type_.name, (Literal(STRING, 0, 0, text),))
        value = self.pick(DOUBLES) if type_ == DOUBLE else self.value(type_)
        return Literal(type_, 0, 0, value)

    def loop(self, type_: Type, depth: int, variables: Variables, name: str) -> Node:
        if type_ == BOOL:
            macro, element, body = self.pick(("all", "exists", "exists_one")), None, BOOL
            element = self.pick(SCALARS)
        elif self.chance.random() < 0.5:
            macro, element, body = "filter", type_.element or STRING, BOOL
        else:
            macro, element, body = "map", self.pick(SCALARS), type_.element or STRING
        source = self.make(Type("list", element), depth - 1, variables)
        inner = self.make(body, depth - 1, (*variables, LoopVariable(element, 0, 0, name)))
        return Loop(type_, 0, 0, macro, name, source, inner)

    def call(self, type_: Type, function: str, *arguments: Node) -> Node:
        return Apply(type_, 0, 0, function, arguments)

    def of_bool(self, _: Type, sub: Callable[[Type], Node]) -> Node:
        roll = self.chance.random()
        if roll < 0.4:
            count = self.chance.randrange(2, 5)
            operands = tuple(sub(BOOL) for _ in range(count))
            return Apply(BOOL, 0, 0, self.pick(("&&", "||")), operands)
        if roll < 0.48:
            return self.call(BOOL, "!", sub(BOOL))
        if roll < 0.7:
            type_ = self.pick(SCALARS)
            signs = ("==", "!=") if type_ == BOOL else ("==", "!=", "<", "<=", ">", ">=")
            return self.call(BOOL, self.pick(signs), sub(type_), sub(type_))
        if roll < 0.8:
            type_ = self.pick(SCALARS)
            return self.call(BOOL, "in", sub(type_), sub(Type("list", type_)))
        if roll < 0.85:
            type_ = self.pick(LISTS)
            return self.call(BOOL, self.pick(("==", "!=")), sub(type_), sub(type_))
        if roll < 0.95:
            method = self.pick(("startsWith", "endsWith", "contains"))
            return self.call(BOOL, method, sub(STRING), sub(STRING))
        if roll < 0.98:
            pattern = Literal(STRING, 0, 0, self.pick(PATTERNS))
            return self.call(BOOL, "matches", sub(STRING), pattern)
        return Present(BOOL, 0, 0, f"target.{word(self.pick((*SCALARS, *LISTS)))}")

    def of_int(self, _: Type, sub: Callable[[Type], Node]) -> Node:
        roll = self.chance.random()
        if roll < 0.4:
            return self.call(INT, self.pick("+-*/%"), sub(INT), sub(INT))
        if roll < 0.48:
            return self.call(INT, "neg", sub(INT))
        if roll < 0.6:
            return self.call(INT, "size", sub(self.pick((STRING, *LISTS))))
        if roll < 0.72:
            return self.call(INT, "int", sub(self.pick((INT, DOUBLE, STRING, TIMESTAMP))))
        if roll < 0.76:
            return self.call(INT, "bucket", sub(STRING), sub(STRING))
        if roll < 0.82:
            return self.call(INT, f"get{self.pick(HANDS)}", sub(DURATION))
        part = f"get{self.pick((*ACCESSORS, *HANDS))}"
        if roll < 0.9:
            return self.call(INT, part, sub(TIMESTAMP))
        return self.call(INT, part, sub(TIMESTAMP), Literal(STRING, 0, 0, self.pick(ZONES)))

    def of_double(self, _: Type, sub: Callable[[Type], Node]) -> Node:
        roll = self.chance.random()
        if roll < 0.6:
            return self.call(DOUBLE, self.pick("+-*/"), sub(DOUBLE), sub(DOUBLE))
        if roll < 0.7:
            return self.call(DOUBLE, "neg", sub(DOUBLE))
        return self.call(DOUBLE, "double", sub(self.pick((INT, DOUBLE, STRING))))

    def of_string(self, _: Type, sub: Callable[[Type], Node]) -> Node:
        if self.chance.random() < 0.5:
            return self.call(STRING, "+", sub(STRING), sub(STRING))
        kinds = (STRING, INT, BOOL, TIMESTAMP, DURATION)
        return self.call(STRING, "string", sub(self.pick(kinds)))

    def read(self, type_: Type, sub: Callable[[Type], Node]) -> Node:
        """Return a conversion of a text; the checker refuses constants that are none."""
        text = sub(STRING)
        if isinstance(text, Literal):
            text = Attribute(STRING, 0, 0, "facts.string")
        return self.call(type_, type_.name, text)

    def of_timestamp(self, _: Type, sub: Callable[[Type], Node]) -> Node:
        roll = self.chance.random()
        if roll < 0.4:
            return self.call(TIMESTAMP, self.pick("+-"), sub(TIMESTAMP), sub(DURATION))
        if roll < 0.6:
            return self.call(TIMESTAMP, "+", sub(DURATION), sub(TIMESTAMP))
        return self.read(TIMESTAMP, sub)

    def of_duration(self, _: Type, sub: Callable[[Type], Node]) -> Node:
        roll = self.chance.random()
        if roll < 0.4:
            return self.call(DURATION, self.pick("+-"), sub(DURATION), sub(DURATION))
        if roll < 0.6:
            return self.call(DURATION, "-", sub(TIMESTAMP), sub(TIMESTAMP))
        return self.read(DURATION, sub)

    def of_list(self, type_: Type, sub: Callable[[Type], Node]) -> Node:
        if self.chance.random() < 0.4:
            return self.call(type_, "+", sub(type_), sub(type_))
        count = self.chance.randrange(1, 4)
        items = tuple(sub(type_.element or STRING) for _ in range(count))
        return ListOf(type_, 0, 0, items)
