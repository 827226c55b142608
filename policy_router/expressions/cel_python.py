"""The CEL engine that runs everywhere: cel-python (import name ``celpy``), pure Python.

A checked tree is lowered, without a parser, to a plain ``lark`` tree for a subclass of celpy's
interpreting ``Evaluator``. Numbers, strings, lists and most functions are celpy's own. The table
of functions replaces the ones that differ from Google's engine, which is the reference:
timestamps and durations (celpy has microseconds and other rules of parsing), conversions of
text, and operators whose results celpy leaves untyped.

Nothing a program sees can reach a log: celpy's functions that log their arguments are not
called, the evaluator has a logger that drops everything, and failures carry no reason.
celpy's ``CompiledRunner`` and ``Environment`` are not used: the first is unsafe between threads,
the second changes the recursion limit of the process.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import lark
from celpy import celtypes, evaluation

from policy_router.expressions import engine
from policy_router.expressions.tree import (
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
)

_TICKS: Final = 4 * 10**9  # ticks a second: Google's engine counts quarters of a nanosecond
_DAY: Final = 86_400  # seconds
_DAYS_IN_400_YEARS: Final = 146_097
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()
_FIRST_SECOND: Final = -62_135_596_800  # 0001-01-01T00:00:00Z
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
_LONGEST: Final = 315_576_000_001 * _TICKS - 4  # a duration: 10,000 years, in ticks

_FAILED: Final = evaluation.CELEvalError("failed")
_TRUE: Final = celtypes.BoolType(source=True)
_FALSE: Final = celtypes.BoolType(source=False)
_MINUS_ONE: Final = celtypes.IntType(-1)

# No pattern backs up over more than a few characters: the texts come from agents.
_SPACE: Final = r"[ \t\n\v\f\r]*"
_INT: Final = re.compile(rf"{_SPACE}([+-]?)0*([0-9]{{1,19}}){_SPACE}")
_DECIMAL: Final = re.compile(
    rf"{_SPACE}([+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)){_SPACE}",
    re.ASCII | re.IGNORECASE,
)
_HEXADECIMAL: Final = re.compile(
    rf"{_SPACE}([+-]?0x(?:[0-9a-f]+(?:\.[0-9a-f]*)?|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?){_SPACE}",
    re.ASCII | re.IGNORECASE,
)
_NAN: Final = re.compile(rf"{_SPACE}[+-]?nan(?:\([0-9a-z_]*\))?{_SPACE}", re.ASCII | re.IGNORECASE)
_TIMESTAMP: Final = re.compile(
    rf"{_SPACE}([0-9]+)-([0-9]{{1,2}})-([0-9]{{1,2}})"
    r"T([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]+))?"
    rf"(?:Z|([+-])([0-9]{{2}})(?::?([0-9]{{2}})(?::?([0-9]{{2}}))?)?){_SPACE}(?:\0.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_DURATION: Final = re.compile(r"([+-]?)((?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|ms|s|m|h))+|0)")
_DURATION_PART: Final = re.compile(r"([0-9]*)\.?([0-9]*)(ns|us|ms|s|m|h)")
_UNITS: Final = {
    "ns": _TICKS // 10**9,
    "us": _TICKS // 10**6,
    "ms": _TICKS // 10**3,
    "s": _TICKS,
    "m": 60 * _TICKS,
    "h": 3600 * _TICKS,
}
_OFFSET: Final = re.compile(r"([+-]?)([0-9]{1,2}):([0-9]{2})")


def _int64(number: int) -> int:
    """Return the number if 64 bits can hold it."""
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _toward_zero(dividend: int, divisor: int) -> int:
    """Divide as CEL does, dropping the fraction."""
    return dividend // divisor if dividend >= 0 else -(-dividend // divisor)


@dataclass(frozen=True, order=True, slots=True)
class _Duration:
    """A CEL duration.

    Attributes:
        ticks: its length in quarters of a nanosecond.
    """

    ticks: int

    def __post_init__(self) -> None:
        """Refuse more than about 10,000 years."""
        if abs(self.ticks) > _LONGEST:
            raise OverflowError

    def nanoseconds(self) -> int:
        """Return the length as Google's engine computes with it: 64 bits, saturated."""
        return min(max(_toward_zero(self.ticks, 4), -(2**63)), 2**63 - 1)

    def __add__(self, other: _Duration | _Timestamp) -> _Duration | _Timestamp:
        """Add a duration or a point in time."""
        if isinstance(other, _Timestamp):
            return other + self
        return _Duration(4 * _int64(self.nanoseconds() + other.nanoseconds()))

    def __sub__(self, other: _Duration) -> _Duration:
        """Subtract a duration."""
        return _Duration(4 * _int64(self.nanoseconds() - other.nanoseconds()))

    def __str__(self) -> str:
        """Spell it in seconds, with 0, 3, 6 or 9 digits after the point."""
        seconds, nanoseconds = divmod(abs(_toward_zero(self.ticks, 4)), 10**9)
        sign = "-" if self.ticks <= -4 else ""  # noqa: PLR2004  # a nanosecond
        return f"{sign}{seconds}{_fraction(nanoseconds)}s"


@dataclass(frozen=True, order=True, slots=True)
class _Timestamp:
    """A CEL timestamp.

    Attributes:
        ticks: quarters of a nanosecond since 1970.
    """

    ticks: int

    def __post_init__(self) -> None:
        """Refuse what is not in the years 1 to 9999."""
        if not _FIRST_SECOND <= self.ticks // _TICKS <= _LAST_SECOND:
            raise OverflowError

    def __add__(self, other: _Duration) -> _Timestamp:
        """Add a duration, in whole nanoseconds."""
        return _Timestamp(4 * (self.ticks // 4 + _toward_zero(other.ticks, 4)))

    def __sub__(self, other: _Duration | _Timestamp) -> _Duration | _Timestamp:
        """Subtract a duration, or another point in time."""
        if isinstance(other, _Duration):
            return _Timestamp(4 * (self.ticks // 4 + _int64(-other.nanoseconds())))
        seconds = _int64((self.ticks // _TICKS - other.ticks // _TICKS) * 10**9)
        return _Duration(4 * _int64(seconds + self.ticks % _TICKS // 4 - other.ticks % _TICKS // 4))

    def __str__(self) -> str:
        """Spell it as RFC 3339 does, in UTC, with 0, 3, 6 or 9 digits after the point."""
        whole = _EPOCH + datetime.timedelta(seconds=self.ticks // _TICKS)
        text = whole.replace(tzinfo=None).isoformat()
        return f"{text}{_fraction(self.ticks % _TICKS // 4)}Z"


def _fraction(nanoseconds: int) -> str:
    """Spell a part of a second as protobuf's JSON does."""
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"


def _timestamp(value: str | int | _Timestamp) -> _Timestamp:
    """Convert to a timestamp, by the rules of absl's ``ParseTime`` for RFC 3339."""
    if isinstance(value, _Timestamp):
        return value
    if isinstance(value, int):
        return _Timestamp(value * _TICKS)
    parts = _parts(_TIMESTAMP, value)
    year, month, day, hour, minute, second = (int(part) for part in parts[:6])
    seconds = _days(year, month, day) * _DAY + _clock(hour, minute, min(second, 59)) + second // 60
    zone = _clock(*(int(part or 0) for part in parts[8:]))
    ticks = 0 if second == 60 else int((parts[6] or "").ljust(10, "0")[:10]) * _TICKS // 10**10  # noqa: PLR2004
    if second > 60:  # noqa: PLR2004  # a leap second is second 60, without a fraction
        raise ValueError
    return _Timestamp((seconds + (zone if parts[7] == "-" else -zone)) * _TICKS + ticks)


def _parts(pattern: re.Pattern[str], text: str) -> tuple[Any, ...]:
    """Return the groups of a pattern that the whole text must match."""
    found = pattern.fullmatch(text)
    if not found:
        raise ValueError
    return found.groups()


def _clock(hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Return the seconds since midnight, of a time that exists."""
    time = datetime.time(hour, minute, second)
    return time.hour * 3600 + time.minute * 60 + time.second


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970, of a date that exists, in any year from 0 on."""
    cycle, year = divmod(year, 400)
    date = datetime.date(year + 400, month, day)
    return date.toordinal() - _EPOCH_DAY + (cycle - 1) * _DAYS_IN_400_YEARS


def _duration(value: str | _Duration) -> _Duration:
    """Convert to a duration, by the rules of absl's ``ParseDuration``."""
    if isinstance(value, _Duration):
        return value
    sign, text = _parts(_DURATION, value)
    ticks = sum(_duration_part(*part.groups()) for part in _DURATION_PART.finditer(text))
    return _Duration(-ticks if sign == "-" else ticks)


def _duration_part(whole: str, fraction: str, unit: str) -> int:
    """Return the ticks of a number and a unit such as ``1.5h``."""
    scale: int = 10 ** len(fraction[:18])
    size = _UNITS[unit]
    part = int(fraction[:18] or 0) * size
    _int64(part // _TICKS)  # absl multiplies before it divides, in 64 bits of seconds
    return _int64(int(whole or 0)) * size + part // scale


def _local(function: Callable[[int, datetime.date], int]) -> Callable[..., celtypes.IntType]:
    """Make an accessor of a timestamp from one of its year and of its date in a like year."""

    def accessor(moment: _Timestamp, zone: str = "UTC") -> celtypes.IntType:
        seconds = moment.ticks // _TICKS
        days = (seconds + _offset(zone)) // _DAY + _EPOCH_DAY - 1
        cycle, day = divmod(days, _DAYS_IN_400_YEARS)
        date = datetime.date.fromordinal(day + 1 + _DAYS_IN_400_YEARS)
        return celtypes.IntType(function(date.year + 400 * (cycle - 1), date))

    return accessor


def _clocked(
    of_timestamp: Callable[[int], int], of_duration: Callable[[int], int]
) -> Callable[..., celtypes.IntType]:
    """Make an accessor from one of local seconds and one of a duration's nanoseconds."""

    def accessor(value: _Timestamp | _Duration, zone: str = "UTC") -> celtypes.IntType:
        if isinstance(value, _Duration):
            return celtypes.IntType(of_duration(_toward_zero(value.ticks, 4)))
        seconds = value.ticks // _TICKS
        return celtypes.IntType(of_timestamp(seconds + _offset(zone)))

    return accessor


def _milliseconds(value: _Timestamp | _Duration, zone: str = "UTC") -> celtypes.IntType:
    """Return the milliseconds within the second."""
    if isinstance(value, _Duration):
        sign = -1 if value.ticks < 0 else 1
        return celtypes.IntType(sign * (abs(value.ticks) % _TICKS // (_TICKS // 1000)))
    _offset(zone)
    return celtypes.IntType(value.ticks % _TICKS // (_TICKS // 1000))


def _offset(zone: str) -> int:
    """Return how many seconds a time zone, ``UTC`` or an offset, is ahead of UTC.

    A zone with a name has no place in a policy: its rules differ between machines and years.
    """
    if zone == "UTC":
        return 0
    sign, hours, minutes = _parts(_OFFSET, zone)
    size = int(hours) * 3600 + int(minutes) * 60
    return -size if sign == "-" else size


def _int(value: int | float | str | _Timestamp) -> celtypes.IntType:  # noqa: PYI041
    """Convert to an int, by the rules of absl's ``SimpleAtoi``."""
    if isinstance(value, str):
        sign, digits = _parts(_INT, value)
        return celtypes.IntType(int(sign + digits))
    if isinstance(value, _Timestamp):
        return celtypes.IntType(value.ticks // _TICKS)
    if isinstance(value, float) and not -(2.0**63) < value < 2.0**63:
        raise OverflowError
    return celtypes.IntType(value)


def _double(value: int | float | str) -> celtypes.DoubleType:  # noqa: PYI041
    """Convert to a double, by the rules of absl's ``SimpleAtod``."""
    if not isinstance(value, str):
        return celtypes.DoubleType(value)
    if _NAN.fullmatch(value):
        return celtypes.DoubleType(math.nan)
    if decimal := _DECIMAL.fullmatch(value):
        return celtypes.DoubleType(float(decimal[1]))
    (digits,) = _parts(_HEXADECIMAL, value)
    try:
        return celtypes.DoubleType(float.fromhex(digits))
    except OverflowError:
        return celtypes.DoubleType(-math.inf if digits.startswith("-") else math.inf)


def _string(value: object) -> celtypes.StringType:
    """Convert to a string; not a double, which engines spell differently."""
    if isinstance(value, celtypes.BoolType):
        return celtypes.StringType("true" if value else "false")
    if isinstance(value, (int, str, _Timestamp, _Duration)):
        return celtypes.StringType(str(value))
    raise TypeError


def _bucket(salt: str, key: str) -> celtypes.IntType:
    """Put a key into one of a hundred buckets."""
    digest = hashlib.sha256(salt.encode() + b"\0" + key.encode()).digest()
    return celtypes.IntType(int.from_bytes(digest, "big") % 100)


def _not(value: celtypes.BoolType) -> celtypes.BoolType:
    """Negate; celpy's own function logs its operand."""
    return _FALSE if value else _TRUE


def _in(item: object, items: celtypes.ListType) -> celtypes.BoolType:
    """Look for an element; celpy's own function logs its operands."""
    return _TRUE if any(item == other for other in items) else _FALSE


def _size(value: Sequence[object]) -> celtypes.IntType:
    """Count elements or code points; celpy's own function logs its operand."""
    return celtypes.IntType(len(value))


def _element(items: celtypes.ListType, index: int) -> Any:
    """Return an element; Python would take a negative index as counted from the end."""
    if index < 0:
        raise IndexError
    return items[index]


def _divide(dividend: Any, divisor: Any) -> Any:
    """Divide: doubles by the rules of IEEE 754, ints by celpy."""
    if not isinstance(divisor, float) or divisor:
        return _typed(dividend / divisor)
    if not dividend or math.isnan(dividend):
        return celtypes.DoubleType(math.nan)
    sign = math.copysign(1, dividend) * math.copysign(1, divisor)
    return celtypes.DoubleType(math.copysign(math.inf, sign))


def _remainder(dividend: celtypes.IntType, divisor: celtypes.IntType) -> celtypes.IntType:
    """Divide and return the remainder, which exists only where the quotient does."""
    _int64(abs(dividend) if divisor == _MINUS_ONE else 0)
    return dividend % divisor


_CEL_TYPES: Final[dict[type, Callable[[Any], Any]]] = {
    float: celtypes.DoubleType,
    str: celtypes.StringType,
    list: celtypes.ListType,
}


def _typed(value: Any) -> Any:
    """Give a value its CEL type back, which celpy's inherited operators lose."""
    cel_type = _CEL_TYPES.get(type(value))
    return cel_type(value) if cel_type else value


def _typed_result(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap an operator so that its result has its CEL type."""
    return lambda left, right: _typed(function(left, right))


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "!": _not,
    "neg": operator.neg,
    "==": evaluation.boolean(operator.eq),
    "!=": evaluation.boolean(operator.ne),
    "<": evaluation.boolean(operator.lt),
    "<=": evaluation.boolean(operator.le),
    ">": evaluation.boolean(operator.gt),
    ">=": evaluation.boolean(operator.ge),
    "in": _in,
    "+": _typed_result(operator.add),
    "-": _typed_result(operator.sub),
    "*": _typed_result(operator.mul),
    "/": _divide,
    "%": _remainder,
    "[]": _element,
    "size": _size,
    "startsWith": evaluation.function_startsWith,
    "endsWith": evaluation.function_endsWith,
    "contains": evaluation.function_contains,
    "matches": evaluation.function_matches,
    "int": _int,
    "double": _double,
    "string": _string,
    "timestamp": _timestamp,
    "duration": _duration,
    "bucket": _bucket,
    "getFullYear": _local(lambda year, _: year),
    "getMonth": _local(lambda _, date: date.month - 1),
    "getDate": _local(lambda _, date: date.day),
    "getDayOfMonth": _local(lambda _, date: date.day - 1),
    "getDayOfWeek": _local(lambda _, date: date.isoweekday() % 7),
    "getDayOfYear": _local(lambda _, date: date.timetuple().tm_yday - 1),
    "getHours": _clocked(lambda s: s // 3600 % 24, lambda ns: _toward_zero(ns, 3600 * 10**9)),
    "getMinutes": _clocked(lambda s: s // 60 % 60, lambda ns: _toward_zero(ns, 60 * 10**9)),
    "getSeconds": _clocked(lambda s: s % 60, lambda ns: _toward_zero(ns, 10**9)),
    "getMilliseconds": _milliseconds,
}


class _NoLogger:
    """What celpy's evaluator has for a logger: nobody hears it."""

    def debug(self, *_: object) -> None:
        """Drop a message."""


class _Evaluator(evaluation.Evaluator):
    """Interprets one lowered tree once.

    A method is named after the ``data`` of the nodes it is for. An error is a value: it is what
    an operator or function of it comes to, except where CEL says otherwise.
    """

    logger = cast("Any", _NoLogger())

    def __init__(self, ast: lark.Tree[Any], facts: _Facts) -> None:
        """Set up for a tree and the facts it reads."""
        super().__init__(ast, _NOTHING)
        self.facts = facts.roots
        self.elements: dict[str, Any] = {}

    def visit(self, tree: lark.Tree[Any]) -> Any:
        """Return the value of a node."""
        return getattr(self, tree.data)(tree)

    def constant(self, tree: lark.Tree[Any]) -> Any:
        """Return the value of a literal."""
        return tree.children[0]

    def attribute(self, tree: lark.Tree[Any]) -> Any:
        """Return the value of a name."""
        path: list[Any] = tree.children
        root, rest = path
        return self.facts.get(root, _UNBOUND).get(rest, _FAILED)

    def present(self, tree: lark.Tree[Any]) -> celtypes.BoolType:
        """Tell whether a name has a value."""
        path: list[Any] = tree.children
        root, rest = path
        return _TRUE if rest in self.facts.get(root, _UNBOUND) else _FALSE

    def element(self, tree: lark.Tree[Any]) -> Any:
        """Return the element that a macro looks at."""
        name: Any = tree.children[0]
        return self.elements.get(name, _FAILED)

    def call(self, tree: lark.Tree[Any]) -> Any:
        """Apply a function, unless an argument is an error."""
        values = []
        function: Any = tree.children[0]
        for child in tree.children[1:]:
            value = self.visit(child)
            if isinstance(value, evaluation.CELEvalError):
                return value
            values.append(value)
        try:
            return function(*values)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return _FAILED

    def expr(self, tree: lark.Tree[Any]) -> Any:
        """Choose by a condition; celpy's own function logs the values."""
        condition, positive, negative = tree.children
        choice = self.visit(condition)
        if isinstance(choice, evaluation.CELEvalError):
            return choice
        return self.visit(positive if choice else negative)

    def conditionalor(self, tree: lark.Tree[Any]) -> Any:
        """Be true if any operand is, else an error if any is."""
        return _joined(map(self.visit, tree.children), _TRUE)

    def conditionaland(self, tree: lark.Tree[Any]) -> Any:
        """Be false if any operand is, else an error if any is."""
        return _joined(map(self.visit, tree.children), _FALSE)

    def list_lit(self, tree: lark.Tree[Any]) -> Any:
        """Make a list."""
        return _collected([], map(self.visit, tree.children))

    def macro(self, tree: lark.Tree[Any]) -> Any:
        """Walk a list; celpy's own loops copy all facts for each element."""
        parts: list[Any] = tree.children
        function, variable, source, body = parts
        items = self.visit(source)
        if isinstance(items, evaluation.CELEvalError):
            return items
        outer = self.elements.get(variable, _FAILED)
        outcome = function(items, self._outcomes(variable, items, body))
        self.elements[variable] = outer
        return outcome

    def _outcomes(self, variable: str, items: Iterable[Any], body: lark.Tree[Any]) -> Iterator[Any]:
        """Yield what the body comes to for each element."""
        for item in items:
            self.elements[variable] = item
            yield self.visit(body)


def _joined(outcomes: Iterable[Any], decisive: celtypes.BoolType) -> Any:
    """Join truths: the decisive one wins over an error, and that over the other one."""
    joined: Any = _FALSE if decisive else _TRUE
    for outcome in outcomes:
        if isinstance(outcome, evaluation.CELEvalError):
            joined = outcome
        elif bool(outcome) is bool(decisive):
            return decisive
    return joined


def _collected(_: Iterable[Any], outcomes: Iterable[Any]) -> Any:
    """Collect outcomes in a list, or return the first error."""
    values = celtypes.ListType()
    for outcome in outcomes:
        if isinstance(outcome, evaluation.CELEvalError):
            return outcome
        values.append(outcome)
    return values


def _chosen(items: Iterable[Any], outcomes: Iterable[Any]) -> Any:
    """Collect the elements whose outcome is true, or return the first error."""
    verdicts = _collected(items, outcomes)
    if isinstance(verdicts, evaluation.CELEvalError):
        return verdicts
    return celtypes.ListType(item for item, verdict in zip(items, verdicts, strict=True) if verdict)


def _single(items: Iterable[Any], outcomes: Iterable[Any]) -> Any:
    """Tell whether exactly one outcome is true, or return the first error."""
    chosen = _chosen(items, outcomes)
    if isinstance(chosen, evaluation.CELEvalError):
        return chosen
    return _TRUE if len(chosen) == 1 else _FALSE


_MACROS: Final[dict[str, Callable[[Iterable[Any], Iterable[Any]], Any]]] = {
    "all": lambda _, outcomes: _joined(outcomes, _FALSE),
    "exists": lambda _, outcomes: _joined(outcomes, _TRUE),
    "exists_one": _single,
    "filter": _chosen,
    "map": _collected,
}
_OPERATORS: Final = {"||": "conditionalor", "&&": "conditionaland", "?:": "expr"}


def _lowered(node: Node) -> lark.Tree[Any]:
    """Turn our tree into the evaluator's."""
    match node:
        case Literal():
            tree = lark.Tree[Any]("constant", [_bound(node.value)])
        case Attribute() | Present():
            kind = "attribute" if isinstance(node, Attribute) else "present"
            tree = lark.Tree[Any](kind, list(_split(node.path)))
        case LoopVariable():
            tree = lark.Tree[Any]("element", [node.name])
        case ListOf():
            tree = _lowered_list([_lowered(item) for item in node.items])
        case Loop():
            walk = [_lowered(node.source), _lowered(node.body)]
            tree = lark.Tree[Any]("macro", [_MACROS[node.macro], node.variable, *walk])
        case Apply():
            tree = _lowered_call(node)
        case _:
            raise TypeError(node)
    return tree


def _lowered_list(items: list[lark.Tree[Any]]) -> lark.Tree[Any]:
    """Turn a list into a constant if all its elements are."""
    if all(item.data == "constant" for item in items):
        constants: list[Any] = [item.children[0] for item in items]
        return lark.Tree("constant", [celtypes.ListType(constants)])
    return lark.Tree("list_lit", list(items))


def _lowered_call(node: Apply) -> lark.Tree[Any]:
    """Turn an operator or a function into the evaluator's node."""
    arguments = _chain(node) if node.function in {"||", "&&"} else node.arguments
    operands: list[Any] = [_lowered(argument) for argument in arguments]
    if node.function in _OPERATORS:
        return lark.Tree(_OPERATORS[node.function], operands)
    return lark.Tree("call", [_FUNCTIONS[node.function], *operands])


def _chain(node: Apply) -> list[Node]:
    """Return all operands of a chain such as ``a || b || c``, which may be long but not deep."""
    operands: list[Node] = []
    pending: list[Node] = [node]
    while pending:
        top = pending.pop()
        if isinstance(top, Apply) and top.function == node.function:
            pending.extend(reversed(top.arguments))
        else:
            operands.append(top)
    return operands


def _split(path: str) -> tuple[str, str]:
    """Split a path into its root and the rest."""
    root, _, rest = path.partition(".")
    return root, rest


def _moment(value: datetime.datetime) -> _Timestamp:
    """Turn an aware datetime into a timestamp."""
    return _Timestamp(_span(value - _EPOCH).ticks)


def _span(value: datetime.timedelta) -> _Duration:
    """Turn a timedelta into a duration."""
    ticks = (value.days * _DAY + value.seconds) * _TICKS + value.microseconds * 4000
    return _Duration(ticks)


def _bound_list(values: Iterable[Any]) -> celtypes.ListType:
    """Turn plain values into a CEL list, if each has its equal there."""
    items = [_bound(value) for value in values]
    if any(item is _FAILED for item in items):
        raise ValueError
    return celtypes.ListType(items)


# The types' own constructors first look for a dozen things that a plain value is not.
_BINDINGS: Final[dict[type, Callable[[Any], Any]]] = {
    bool: lambda value: _TRUE if value else _FALSE,
    int: lambda value: int.__new__(celtypes.IntType, _int64(value)),
    float: functools.partial(float.__new__, celtypes.DoubleType),
    str: functools.partial(str.__new__, celtypes.StringType),
    list: _bound_list,
    tuple: _bound_list,
    datetime.datetime: _moment,
    datetime.timedelta: _span,
}


def _bound(value: Any) -> Any:
    """Turn a plain value into CEL's, or into an error if it has no equal there."""
    try:
        return _BINDINGS[type(value)](value)
    except KeyError:
        kind = next((kind for kind in _BINDINGS if isinstance(value, kind)), None)
        return _bound(_PLAIN[kind](value)) if kind in _PLAIN else _FAILED
    except (ArithmeticError, TypeError, ValueError):
        return _FAILED


# How a value of a subclass, such as a string of an Enum, becomes a plain one.
_PLAIN: Final[dict[Any, Callable[[Any], Any]]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    list: list,
    tuple: list,
}


def _root(value: Any, prefix: str = "") -> dict[str, Any]:
    """Turn the value of a root name into a flat mapping of paths under it."""
    if not isinstance(value, Mapping):
        return {prefix: _bound(value)}
    flat: dict[str, Any] = {}
    for key, part in value.items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(part, Mapping):
            flat.update(_root(part, path))
        else:
            flat[path] = _bound(part)
    return flat


_PLAIN_VALUES: Final[dict[type, Callable[[Any], engine.Outcome]]] = {
    celtypes.BoolType: bool,
    celtypes.IntType: int,
    celtypes.DoubleType: float,
    celtypes.StringType: str,
    celtypes.ListType: lambda value: [_plain(item) for item in value],
    _Timestamp: lambda value: _EPOCH + datetime.timedelta(microseconds=value.ticks // 4000),
    _Duration: lambda value: datetime.timedelta(microseconds=_toward_zero(value.ticks, 4000)),
}


def _plain(value: Any) -> engine.Outcome:
    """Turn what an evaluation came to into a plain value; there is none for an error."""
    return _PLAIN_VALUES[type(value)](value)


@dataclass(frozen=True, slots=True)
class _Facts:
    """The values that names stand for.

    Attributes:
        roots: for each root name, its attributes (``price.input``) and their CEL values; the
            value of a root that has no attributes stands under the empty path.
    """

    roots: dict[str, dict[str, Any]]

    def extended(self, values: Mapping[str, Any]) -> _Facts:
        """Return facts in which some roots have other values.

        Args:
            values: root name to its value.

        Returns:
            The new facts; these ones stay as they are.
        """
        return _Facts({**self.roots, **{name: _root(value) for name, value in values.items()}})


_NOTHING: Final = evaluation.Activation()
_UNBOUND: Final[dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class _Program:
    """A lowered expression.

    Attributes:
        tree: what the evaluator interprets; never changed, so threads may share it.
    """

    tree: lark.Tree[Any]

    def evaluate(self, activation: engine.Activation) -> engine.Outcome:
        """Evaluate against facts.

        Args:
            activation: the facts, bound by :class:`CelPython`.

        Returns:
            A plain value, or ``FAILURE``; nothing is ever raised.
        """
        try:
            evaluator = _Evaluator(self.tree, cast("_Facts", activation))
            return _plain(evaluator.visit(self.tree))
        except Exception:  # noqa: BLE001  # whatever goes wrong, the condition has no value
            return engine.FAILURE


class CelPython:
    """The engine built on cel-python."""

    @property
    def name(self) -> str:
        """The library and its version."""
        return _NAME

    def compile(self, expression: Node) -> engine.Program:
        """Turn a checked tree into a program.

        Args:
            expression: the tree.

        Returns:
            The program, which threads may share.
        """
        return _Program(_lowered(expression))

    def bind(self, values: Mapping[str, Any]) -> engine.Activation:
        """Turn facts into an activation.

        Args:
            values: root name to value, as the interface has it.

        Returns:
            The activation: a copy, which later changes of ``values`` do not reach.
        """
        return _Facts({name: _root(value) for name, value in values.items()})


_NAME: Final = f"cel-python {importlib.metadata.version('cel-python')}"
