"""The fast CEL engine: Google's C++ CEL in Python (``cel-expr-python``).

A checked tree is rendered to text and compiled in an environment that declares each name it uses
as a variable of its exact type, under its dotted name (``task.kind``): no map is looked into.
``has(path)`` becomes a variable of its own, ``path.has``, which is always bound.

An evaluation is given only the names that its program uses. The library's shared ``Activation``
would save 1 to 2 microseconds an evaluation, but making one of all names costs 7, and it keeps
what each evaluation allocates (950 MB for 100,000 evaluations that join strings).

What the library gets wrong on the way in, and is mended here: bytes pass for strings, a datetime
without a zone passes for UTC, one far from 1970 is up to a second off, and a lone surrogate
raises; and a part of a string that reaches its end is refused by ``substring`` with two offsets. A
bound string ends at a NUL; that cannot be mended, so using such a string fails.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_math, ext_strings

from policy_router.cel.ast import STRING, Attribute, Node, Present, Type, walk
from tests.support.oracles import engine
from tests.support.render import Spelling, render

_TYPES: Final = {
    "bool": cel.Type.BOOL,
    "int": cel.Type.INT,
    "double": cel.Type.DOUBLE,
    "string": cel.Type.STRING,
    "timestamp": cel.Type.TIMESTAMP,
    "duration": cel.Type.DURATION,
}
_PYTHON_TYPES: Final[dict[str, type]] = {
    "bool": bool,
    "int": int,
    "double": float,
    "string": str,
    "timestamp": datetime.datetime,
    "duration": datetime.timedelta,
    "list": list,
}


def _flag(path: str) -> str:
    """Name the variable that stands for ``has(path)``; no name of a policy goes on so."""
    return f"{path}.has"


def _bind(name: str, value: str, body: str, type_: Type) -> str:
    """Go around a fault: after a macro that was decided early, a bound name has a wrong value.

    Another macro, which comes to its end, puts that right.
    """
    return f"([0].all(end, true) ? cel.bind({name}, {value}, {body}) : {_NEUTRAL[type_.name]})"


_NEUTRAL: Final = {
    "bool": "false",
    "int": "0",
    "double": "0.0",
    "string": '""',
    "timestamp": "timestamp(0)",
    "duration": 'duration("0")',
    "list": "[]",
}


def _substring(text: str, start: str, end: str) -> str:
    """Go around a fault: to the library, no part that ends with the text is in the text."""
    part = f"end == text.size() ? text.substring({start}) : text.substring({start}, end)"
    return _bind("text", text, _bind("end", end, part, STRING), STRING)


_SPELLING: Final = Spelling(
    present=_flag,
    # A rule author may call a loop variable `for`, which Google's parser reserves.
    element=lambda name: f"{name}_",
    substring=_substring,
    bind=_bind,
)


@dataclass(frozen=True, slots=True)
class _Facts:
    """The values that names stand for.

    Most names of a request are never looked at, so each is looked up when it is first used.

    Attributes:
        roots: root name to value, as they were bound.
        known: what has been looked up, by its whole path.
    """

    roots: Mapping[str, Any]
    known: dict[str, Any]

    def find(self, path: str, steps: tuple[str, ...]) -> Any:
        """Look a name up; it is in ``known`` from then on, unless it is absent."""
        value: Any = self.roots
        try:
            for step in steps:
                value = value[step]
        except (KeyError, TypeError):
            return _ABSENT
        found = self.known[path] = _bound(value)
        return found


class _Program:
    """A compiled expression."""

    __slots__ = ("_evaluate", "_expected", "_flags", "_names")

    def __init__(self, expression: Node) -> None:
        """Compile a checked tree."""
        types = {node.path: node.type for node in walk(expression) if isinstance(node, Attribute)}
        flags = {node.path for node in walk(expression) if isinstance(node, Present)}
        env = _environment(frozenset(types.items()), frozenset(flags))
        self._evaluate = env.compile(render(expression, _SPELLING)).eval
        self._expected = _PYTHON_TYPES[expression.type.name]
        self._names = tuple((path, tuple(path.split("."))) for path in types)
        self._flags = tuple((_flag(path), path, tuple(path.split("."))) for path in flags)

    def evaluate(self, activation: engine.Activation) -> engine.Outcome:
        """Evaluate against facts.

        Args:
            activation: the facts, bound by :class:`CelExpr`.

        Returns:
            A plain value, or ``FAILURE``; nothing is ever raised.
        """
        try:
            value = self._evaluate(None, self._data(cast("_Facts", activation)))
            outcome = value.plain_value()
        except Exception:  # noqa: BLE001  # whatever goes wrong, the condition has no value
            return engine.FAILURE
        # The plain value of an error is its message, which may quote facts.
        if type(outcome) is not self._expected:
            return engine.FAILURE
        if self._expected is str and value.type() == cel.Type.ERROR:
            return engine.FAILURE
        return cast("engine.Outcome", outcome)

    def _data(self, facts: _Facts) -> dict[str, Any]:
        """Return the values of the names that the program uses."""
        known, data = facts.known, {}
        for path, steps in self._names:
            value = known.get(path, _ABSENT)
            if value is _ABSENT:
                value = facts.find(path, steps)
            if value is not _ABSENT:
                data[path] = value
        for flag, path, steps in self._flags:
            data[flag] = path in known or facts.find(path, steps) is not _ABSENT
        return data


class _Refused:
    """What the library does not compile, such as a text of more than 100,000 characters."""

    def evaluate(self, _: engine.Activation) -> engine.Outcome:
        """Fail."""
        return engine.FAILURE


class CelExpr:
    """The engine built on cel-expr-python."""

    has_extensions = True

    @property
    def name(self) -> str:
        """The library and its version."""
        return _NAME

    def compile(self, expression: Node) -> engine.Program:
        """Turn a checked tree into a program.

        Args:
            expression: the tree.

        Returns:
            The program, which threads may share. It always fails if the tree is past a limit of
            the library.
        """
        try:
            return _Program(expression)
        except Exception:  # noqa: BLE001  # the interface has no exceptions
            return _Refused()

    def bind(self, values: Mapping[str, Any]) -> engine.Activation:
        """Turn facts into an activation.

        Args:
            values: root name to value, as the interface has it.

        Returns:
            The activation. It reads ``values`` when it is used: they must not change before.
        """
        return _Facts(values, {})


_NAME: Final = f"cel-expr-python {importlib.metadata.version('cel-expr-python')}"


@functools.lru_cache(maxsize=256)
def _environment(types: frozenset[tuple[str, Type]], flags: frozenset[str]) -> cel.Env:
    """Declare names; it takes as long as compiling, and many conditions use the same ones."""
    variables = {path: _declared(type_) for path, type_ in types}
    variables.update(dict.fromkeys(map(_flag, flags), cel.Type.BOOL))
    return cel.NewEnv(variables=variables, functions=[_BUCKET_FUNCTION], **EXTENSIONS)


EXTENSIONS: Final[dict[str, Any]] = {
    "extensions": [ext_bindings.ExtBindings(), ext_math.ExtMath(), ext_strings.ExtStrings()],
    # There is no class for the library of sets.
    "config": cel.NewEnvConfigFromYaml("extensions: [{name: sets}]"),
}
"""CEL's extension libraries, as arguments of an environment."""


def _declared(type_: Type) -> cel.Type:
    """Return the library's type for one of ours."""
    if type_.name != "list":
        return _TYPES[type_.name]
    return cel.Type.List(_declared(type_.element) if type_.element else cel.Type.DYN)


def _bucket(salt: str, key: str) -> int:
    """Put a key into one of a hundred buckets."""
    digest = hashlib.sha256(salt.encode() + b"\0" + key.encode()).digest()
    return int.from_bytes(digest, "big") % 100


_BUCKET_FUNCTION: Final = cel.FunctionDecl(
    "bucket",
    [
        cel.Overload(
            "bucket_string_string",
            return_type=cel.Type.INT,
            parameters=[cel.Type.STRING, cel.Type.STRING],
            impl=_bucket,
        )
    ],
)


# Plain values on their way in.

_UNUSABLE: Final = object()
"""What is bound for a value that CEL does not have: using it is an error, having it is not."""


_ABSENT: Final = object()
"""Stands for the value of a name that is not there."""


def _bound(value: Any) -> Any:
    """Return what is bound for a value."""
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is str and value.isascii() and "\0" not in value):
        return value
    binding = _BINDINGS.get(kind)
    if binding is not None:
        return binding(value)
    plain = next((plain for kind, plain in _PLAIN.items() if isinstance(value, kind)), None)
    return _bound(plain(value)) if plain else _UNUSABLE


def _text(value: str) -> Any:
    """Refuse a NUL, which ends a string for the library, and what is no Unicode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return _UNUSABLE
    return _UNUSABLE if "\0" in value else value


def _list(values: Iterable[Any]) -> Any:
    """Copy a list, if CEL has each of its elements."""
    items = []
    for value in values:
        item = _bound(value)
        if item is _UNUSABLE:
            return _UNUSABLE
        items.append(item)
    return items


class _Moment(datetime.datetime):
    """A point in time whose second the library reads right.

    It asks for ``timestamp()``, a double, which far from 1970 rounds 0.999999 s up to the next
    second; microseconds it reads apart. It takes the first and the last datetime for infinite
    past and future, but only in UTC.
    """

    def timestamp(self) -> float:
        """Return the seconds since 1970, rounded down."""
        return float((cast("datetime.datetime", self) - _EPOCH) // _SECOND)


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND: Final = datetime.timedelta(seconds=1)
_EXACT_YEARS: Final = range(1950, 2200)
_EAST, _WEST = (datetime.timezone(datetime.timedelta(hours=hours)) for hours in (1, -1))


def _moment(value: datetime.datetime) -> Any:
    """Refuse a datetime without a zone, and keep far ones from being rounded."""
    if value.tzinfo is None:
        return _UNUSABLE
    if value.year in _EXACT_YEARS:
        return value
    zone = _EAST if value.year < _EPOCH.year else _WEST
    local = value.astimezone(datetime.UTC).astimezone(zone)
    return _Moment.combine(local.date(), local.timetz())


_AS_THEY_ARE: Final = frozenset({bool, int, float, datetime.timedelta})
_BINDINGS: Final[dict[type, Callable[[Any], Any]]] = {
    str: _text,
    list: _list,
    tuple: _list,
    datetime.datetime: _moment,
}

# How a value of a subclass, such as a string of an Enum, becomes a plain one.
_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    list: list,
    tuple: list,
}
