"""Well-typed trees of any shape, values for the names they use, and how outcomes are compared."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    STRING,
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
from policy_router.cel.vocabulary import Name, Vocabulary
from tests.support.evaluating import PRODUCT
from tests.support.oracles.engine import Engine
from tests.support.random_trees import EXTREMES, SETS, TEXT_METHODS, Variables, names_left

Trees = st.SearchStrategy[Node]
Sub = Callable[[Type], Trees]

SCALARS = (BOOL, INT, DOUBLE, STRING, TIMESTAMP, DURATION)
LISTS = tuple(Type("list", type_) for type_ in SCALARS)

ints = st.sampled_from([0, 1, -1, 2, 7, 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(-5, 12)
doubles = st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e16, 1e308, 5e-324, 2.0**63]) | st.floats(
    allow_nan=False, allow_infinity=False
)
any_doubles = doubles | st.sampled_from([math.inf, -math.inf, math.nan])
plain_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
numerals = ("1", "-7", " 12 ", "1.5", "1e400", "nan", "0x10", "9223372036854775808")
spellings = ("1h30m", "-1.5ns", "90s", "2026-01-31T09:00:00Z", "9999-12-31T23:59:59.999999999Z")
words = ("é", "😀", "a b", 'q"\\', "\n\t\x07\x7f\u2028")
texts = plain_texts | st.sampled_from([*numerals, *spellings, *words])
moments = st.datetimes(timezones=st.just(datetime.UTC))
spans = st.timedeltas(datetime.timedelta(-3_000_000), datetime.timedelta(3_000_000))
VALUES: dict[Type, st.SearchStrategy[Any]] = {
    BOOL: st.booleans(),
    INT: ints,
    DOUBLE: any_doubles,
    STRING: texts,
    TIMESTAMP: moments,
    DURATION: spans,
}
VALUES |= {Type("list", type_): st.lists(values, max_size=3) for type_, values in VALUES.items()}

NAMES = {f"facts.{str(type_).replace(' ', '_')}": type_ for type_ in (*SCALARS, *LISTS)}
OPTIONAL = {f"target.{str(type_).replace(' ', '_')}": type_ for type_ in (*SCALARS, *LISTS)}
VOCABULARY = Vocabulary.of(
    [
        *(Name(path, type_) for path, type_ in NAMES.items()),
        *(Name(path, type_, optional=True) for path, type_ in OPTIONAL.items()),
    ]
)


def under(names: dict[str, Type]) -> dict[str, st.SearchStrategy[Any]]:
    """Return what the names may stand for, by their last words."""
    return {path.partition(".")[2]: VALUES[type_] for path, type_ in names.items()}


_some_target = st.fixed_dictionaries({}, optional=under(OPTIONAL))
_some_facts = st.fixed_dictionaries({}, optional=under(NAMES))
_full_facts = st.fixed_dictionaries(under(NAMES))
all_facts = st.fixed_dictionaries({"facts": _some_facts | _full_facts, "target": _some_target})


def call(type_: Type, function: str, *arguments: Trees) -> Trees:
    """Return applications of a function."""

    @st.composite
    def applied(draw: st.DrawFn) -> Node:
        return Apply(type_, 0, 0, function, tuple(map(draw, arguments)))

    return applied()


def literals(type_: Type) -> Trees:
    """Return what a rule author writes for a value."""
    if type_ == TIMESTAMP:
        text = st.sampled_from(["2026-01-31T09:00:00Z", "1969-12-31T23:59:59.5Z"])
        return call(type_, "timestamp", text.map(lambda text: Literal(STRING, 0, 0, text)))
    if type_ == DURATION:
        text = st.sampled_from(["0", "1h30m", "-1.5s", "1ns", "2562047h"])
        return call(type_, "duration", text.map(lambda text: Literal(STRING, 0, 0, text)))
    values = doubles if type_ == DOUBLE else VALUES[type_]
    return values.map(lambda value: Literal(type_, 0, 0, value))


def leaves(type_: Type, variables: Variables) -> Trees:
    """Return constants and names."""
    suffix = str(type_).replace(" ", "_")
    options: list[Trees] = [st.just(Attribute(type_, 0, 0, f"facts.{suffix}"))]
    options += [st.just(variable) for variable in variables if variable.type == type_]
    if type_.element is None:
        options.append(literals(type_))
    else:
        items = st.lists(literals(type_.element), min_size=1, max_size=3).map(tuple)
        options.append(items.map(lambda items: ListOf(type_, 0, 0, items)))
    return st.one_of(options)


def guarded(type_: Type, other: Trees) -> Trees:
    """Return uses of an optional name behind ``has()``."""
    path = f"target.{str(type_).replace(' ', '_')}"
    present, name = Present(BOOL, 0, 0, path), Attribute(type_, 0, 0, path)
    return call(type_, "?:", st.just(present), st.just(name), other)


@functools.cache
def trees(type_: Type, depth: int, variables: Variables, *, extensions: bool = True) -> Trees:
    """Return well-typed trees, with CEL's extension libraries or without."""
    if depth == 0:
        return leaves(type_, variables)

    def sub(wanted: Type) -> Trees:
        return st.deferred(lambda: trees(wanted, depth - 1, variables, extensions=extensions))

    options = [leaves(type_, variables), guarded(type_, sub(type_))]
    options.append(call(type_, "?:", sub(BOOL), sub(type_), sub(type_)))
    if type_.element is None:
        lists = Type("list", type_)
        options.append(call(type_, "[]", sub(lists), sub(INT)))
    options += COMPOUNDS[type_.name](sub, type_)
    options += loops(type_, depth, variables, extensions=extensions)
    if extensions:
        options += [*extended(type_, sub), binds(type_, depth, variables)]
    return st.one_of(options)


def binds(type_: Type, depth: int, variables: Variables) -> Trees:
    """Return values with a name."""

    @st.composite
    def bound(draw: st.DrawFn) -> Node:
        _, name = names_left(variables)
        value = draw(trees(draw(st.sampled_from([*SCALARS, *LISTS])), depth - 1, variables))
        inner = (*variables, BoundName(value.type, 0, 0, name))
        return Bind(type_, 0, 0, name, value, draw(trees(type_, depth - 1, inner)))

    return bound()


small = st.integers(-1, 4).map(lambda value: Literal(INT, 0, 0, value))


def extended(type_: Type, sub: Sub) -> list[Trees]:
    """Return calls of CEL's extension libraries that give a type."""
    found = [
        call(type_, word, *(small | sub(INT) if it == INT else sub(it) for it in takes))
        for word, takes in TEXT_METHODS.get(type_, ())
    ]
    if type_ == BOOL:
        found += [call(BOOL, word, sub(it), sub(it)) for word in SETS for it in LISTS]
    if type_ in {INT, DOUBLE}:
        numbers = [[sub(Type("list", type_))], *([sub(type_)] * count for count in (1, 2, 3))]
        found += [call(type_, word, *them) for word in EXTREMES for them in numbers]
    return found


def loops(type_: Type, depth: int, variables: Variables, *, extensions: bool = True) -> list[Trees]:
    """Return macros, which stand in each other at most two deep."""
    variable, _ = names_left(variables)
    if variable is None or type_.name not in {"bool", "list"}:
        return []

    def of(wanted: Type, known: Variables) -> Trees:
        return st.deferred(lambda: trees(wanted, depth - 1, known, extensions=extensions))

    def looping(macro: str, element: Type, result: Type, body: Type) -> Trees:
        source = of(Type("list", element), variables)
        inner = of(body, (*variables, LoopVariable(element, 0, 0, variable)))

        @st.composite
        def looped(draw: st.DrawFn) -> Node:
            return Loop(result, 0, 0, macro, variable, draw(source), draw(inner))

        return looped()

    if type_ == BOOL:
        return [
            looping(macro, element, BOOL, BOOL)
            for macro in ("all", "exists", "exists_one")
            for element in (INT, STRING)
        ]
    element = type_.element or STRING
    return [
        looping("filter", element, type_, BOOL),
        *(looping("map", source, type_, element) for source in (INT, STRING)),
    ]


def of_bool(sub: Sub, _: Type) -> list[Trees]:
    pairs = [call(BOOL, word, sub(t), sub(t)) for t in SCALARS for word in ("==", "!=")]
    pairs += [call(BOOL, word, sub(t), sub(t)) for t in SCALARS[1:] for word in ("<", ">=")]
    pairs += [call(BOOL, "in", sub(t), sub(Type("list", t))) for t in SCALARS]
    pairs += [call(BOOL, "==", sub(t), sub(t)) for t in LISTS]
    methods = ("startsWith", "endsWith", "contains")
    patterns = st.sampled_from(["^a", r"\d+", "(?i)É|e", "[^a-z]*$", ""])
    return [
        *(call(BOOL, word, sub(BOOL), sub(BOOL)) for word in ("&&", "||") * 4),
        *(call(BOOL, word, sub(BOOL), sub(BOOL), sub(BOOL)) for word in ("&&", "||") * 4),
        call(BOOL, "!", sub(BOOL)),
        *pairs,
        *(call(BOOL, method, sub(STRING), sub(STRING)) for method in methods),
        call(BOOL, "matches", sub(STRING), patterns.map(lambda p: Literal(STRING, 0, 0, p))),
        st.sampled_from([*OPTIONAL]).map(lambda path: Present(BOOL, 0, 0, path)),
    ]


def of_int(sub: Sub, _: Type) -> list[Trees]:
    zone = st.sampled_from(["UTC", "+02:00", "-11:30"]).map(lambda z: Literal(STRING, 0, 0, z))
    parts = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear")
    clock = ("Hours", "Minutes", "Seconds", "Milliseconds")
    return [
        *(call(INT, word, sub(INT), sub(INT)) for word in "+-*/%"),
        call(INT, "neg", sub(INT)),
        *(call(INT, "size", sub(t)) for t in (STRING, *LISTS)),
        *(call(INT, "int", sub(t)) for t in (INT, DOUBLE, STRING, TIMESTAMP)),
        *(call(INT, f"get{part}", sub(TIMESTAMP)) for part in (*parts, *clock)),
        *(call(INT, f"get{part}", sub(TIMESTAMP), zone) for part in (*parts, *clock)),
        *(call(INT, f"get{part}", sub(DURATION)) for part in clock),
        call(INT, "bucket", sub(STRING), sub(STRING)),
    ]


def of_double(sub: Sub, _: Type) -> list[Trees]:
    return [
        *(call(DOUBLE, word, sub(DOUBLE), sub(DOUBLE)) for word in "+-*/"),
        call(DOUBLE, "neg", sub(DOUBLE)),
        *(call(DOUBLE, "double", sub(t)) for t in (INT, DOUBLE, STRING)),
    ]


def of_string(sub: Sub, _: Type) -> list[Trees]:
    kinds = (STRING, INT, BOOL, TIMESTAMP, DURATION)
    return [
        call(STRING, "+", sub(STRING), sub(STRING)),
        *(call(STRING, "string", sub(t)) for t in kinds),
    ]


def read(function: str, type_: Type, sub: Sub) -> Trees:
    """Return conversions of texts; the checker refuses constants that are none."""
    texts = sub(STRING).filter(lambda node: not isinstance(node, Literal))
    return call(type_, function, texts)


def of_timestamp(sub: Sub, _: Type) -> list[Trees]:
    return [
        *(call(TIMESTAMP, word, sub(TIMESTAMP), sub(DURATION)) for word in "+-"),
        call(TIMESTAMP, "+", sub(DURATION), sub(TIMESTAMP)),
        read("timestamp", TIMESTAMP, sub),
    ]


def of_duration(sub: Sub, _: Type) -> list[Trees]:
    return [
        *(call(DURATION, word, sub(DURATION), sub(DURATION)) for word in "+-"),
        call(DURATION, "-", sub(TIMESTAMP), sub(TIMESTAMP)),
        read("duration", DURATION, sub),
    ]


def of_list(sub: Sub, type_: Type) -> list[Trees]:
    items = st.lists(sub(type_.element or STRING), min_size=1, max_size=3).map(tuple)
    return [
        call(type_, "+", sub(type_), sub(type_)),
        items.map(lambda items: ListOf(type_, 0, 0, items)),
    ]


COMPOUNDS: dict[str, Callable[[Sub, Type], list[Trees]]] = {
    "bool": of_bool,
    "int": of_int,
    "double": of_double,
    "string": of_string,
    "timestamp": of_timestamp,
    "duration": of_duration,
    "list": of_list,
}


def of_any_type(*, extensions: bool) -> Trees:
    """Return trees, most often conditions."""
    types = (*[BOOL] * 6, *SCALARS, *LISTS)
    return st.one_of([trees(type_, 3, (), extensions=extensions) for type_ in types])


any_tree = of_any_type(extensions=True)
plain_tree = of_any_type(extensions=False)


def shown(tree: Node, facts: dict[str, Any], engine: Engine = PRODUCT) -> str:
    """Return an outcome as text: NaN equals NaN, and 0.0 is not -0.0 or 0."""
    return repr(engine.compile(tree).evaluate(engine.bind(facts)))
