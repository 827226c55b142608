"""A request: what the agent wishes and the facts that the host states."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from policy_router.cel.ast import BOOL, DOUBLE, INT, STRING, STRINGS, Type
from policy_router.cel.vocabulary import MAX_ITEMS, SECTIONS, default_of
from policy_router.decision.typed import MAX_CHARACTERS, typed_sections
from policy_router.diagnostics.model import did_you_mean, json_path, quote
from policy_router.domain import FrozenDict, Policy
from policy_router.errors import RequestError
from policy_router.parameters import EFFORT, KNOWN, LONGEST, RESERVED, fits, named

MAX_BYTES = 1024 * 1024
"""The longest request in JSON, in bytes."""

NOTHING_GIVEN: Mapping[str, Any] = FrozenDict()
_INT64 = 2**63
_WANTED = {
    STRING: "a string",
    INT: "an int",
    DOUBLE: "a number",
    BOOL: "true or false",
    STRINGS: "a list of strings",
}
_TYPES = {bool: BOOL, str: STRING, int: INT, float: DOUBLE, list: STRINGS, tuple: STRINGS}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    section: FrozenDict(
        {key: default_of(name) for key, name in names.items() if not name.optional}
        | ({"parameters": NOTHING_GIVEN} if section in {"call", "task"} else {})
    )
    for section, names in SECTIONS.items()
} | {"facts": FrozenDict()}
_WISHING = ("call", "task")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Request:
    """The wishes and facts to decide: checked in shape, immutable, for any policy.

    The sections and their keys are those of ``schemas/request.schema.json``. A missing
    value stays missing; it has no default here.

    >>> Request(task={"kind": "coding"}, parent={"model": "glm-5", "provider": "zai"})
    Request(task={'kind': 'coding'}, parent={'model': 'glm-5', 'provider': 'zai'})
    """

    __slots__ = ("_given", "_values")

    def __init__(self, /, **sections: Mapping[str, Any]) -> None:
        """Make a request of its sections.

        Args:
            sections: any of ``call``, ``task``, ``parent``, ``caller``, ``budget`` and ``facts``.

        Raises:
            RequestError: an unknown section or key, a wrong type, or a number that is not finite.
        """
        self._keep(
            {section: checked_section(section, content) for section, content in sections.items()}
        )

    @classmethod
    def of_checked(cls, sections: Mapping[str, FrozenDict]) -> Request:
        """Make a request of sections that were checked in shape: of other requests, or typed."""
        request = cls.__new__(cls)
        request._keep(sections)  # noqa: SLF001 - it is its own
        return request

    def _keep(self, given: Mapping[str, FrozenDict]) -> None:
        self._given = FrozenDict(given)
        completed = {
            section: FrozenDict({**_DEFAULTS[section], **content, **_wishes(section, content)})
            for section, content in given.items()
        }
        self._values = FrozenDict({**_DEFAULTS, **completed})

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Request:
        """Make a request of plain data, such as decoded JSON.

        Raises:
            RequestError: as for the constructor, or the data is not a mapping.
        """
        if not isinstance(content, Mapping):
            raise RequestError("$", f"a mapping is wanted, not {kind_of(content)}")
        for key in content:
            if not isinstance(key, str):
                raise RequestError("$", "a key must be a string")
        return cls(**content)

    @classmethod
    def from_json(cls, content: bytes | str) -> Request:
        """Read a request from JSON.

        Raises:
            RequestError: as for the constructor, or the text is not JSON, or longer than 1 MiB.
        """
        if isinstance(content, str):
            content = content.encode(errors="surrogatepass")
        if len(content) > MAX_BYTES:
            raise RequestError("$", f"the request is longer than {MAX_BYTES:,} bytes")
        if (sections := typed_sections(content)) is not None:
            return cls.of_checked(sections)
        try:
            return cls.from_mapping(msgspec.json.decode(content))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise RequestError("$", "the request is not JSON") from None

    @property
    def given(self) -> FrozenDict:
        """What was given, section by section; lists are tuples."""
        return self._given

    @property
    def values(self) -> Mapping[str, Mapping[str, Any]]:
        """The value of every name, section by section, except facts that are not given."""
        return self._values

    def __repr__(self) -> str:
        """Show the sections that were given."""
        return f"Request({', '.join(f'{key}={value!r}' for key, value in self._given.items())})"

    def __eq__(self, other: object) -> bool:
        """Compare what was given."""
        return isinstance(other, Request) and self._given == other._given

    def __hash__(self) -> int:
        """Hash what was given, in any order."""
        return hash(msgspec.json.encode(self._given, order="sorted"))


def checked(policy: Policy, request: Request | Mapping[str, Any]) -> Request:
    """Return a request that fits a policy; whole numbers given for doubles become doubles.

    Raises:
        RequestError: it is malformed, gives a fact that the policy does not declare or one of the
            wrong type, lacks what the policy requires, wishes for a parameter that no policy or
            entry knows, or has a value outside one of the policy's closed sets.
    """
    if not isinstance(request, Request):
        request = Request.from_mapping(request)
    for path, closed in policy.closed.items():
        if not closed.drops:
            _refuse_unknown(request, path, closed.values)
    _refuse_unknown_parameters(policy, request)
    request = fitting(policy, request)
    if policy.required:
        _refuse_incomplete(policy, request)
    return request


def _refuse_unknown(request: Request, path: str, values: tuple[str, ...]) -> None:
    for parts, value in _given_at(request, path):
        if value not in values:
            known = f"one of {', '.join(values[:8])}" if values else "the set is empty"
            remedy = did_you_mean(value, values) or known
            what = path.partition(".")[2].removesuffix("s")
            message = f"the {what} is none that the policy knows"
            raise RequestError(json_path(*parts), message, remedy)


def _given_at(request: Request, path: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what a request gives for a name, with its path; what is empty is not given."""
    section, _, key = path.partition(".")
    given = request.given.get(section, NOTHING_GIVEN).get(key, "")
    if isinstance(given, str):
        if given:
            yield (section, key), given
    else:
        yield from (((section, key, it), value) for it, value in enumerate(given))


def _refuse_unknown_parameters(policy: Policy, request: Request) -> None:
    limited = policy.prepared(limited_parameters)
    for section in _WISHING:
        for name in request.given.get(section, NOTHING_GIVEN).get("parameters", NOTHING_GIVEN):
            if named(name) not in KNOWN and name not in limited:
                known = sorted({*KNOWN, *limited})
                remedy = did_you_mean(name, known) or f"known: {', '.join(known[:16])}"
                path = json_path(section, "parameters", name)
                raise RequestError(path, f"no parameter {quote(name)} may be asked for", remedy)


def limited_parameters(policy: Policy) -> frozenset[str]:
    """Return the parameters that the limits of any entry are about."""
    return frozenset(name for entry in policy.pool or () for name in entry.limits)


def _refuse_incomplete(policy: Policy, request: Request) -> None:
    values = values_of(policy, request)
    for path in policy.required:
        section, _, key = path.partition(".")
        value, given = values[section].get(key), request.given.get(section, NOTHING_GIVEN)
        # The language has a number for what is not given, such as `parent.depth`.
        if value in (None, "", ()) or (isinstance(value, int) and key not in given):
            raise RequestError(json_path(section, key), "the policy requires this to be given")


def fitting(policy: Policy, request: Request) -> Request:
    """Return a request whose facts are as the policy declares them.

    Raises:
        RequestError: one is not declared, or of the wrong type.
    """
    facts = request.given.get("facts")
    if not facts:
        return request
    fitting = {name: _fact(policy, name, value) for name, value in facts.items()}
    if all(type(fitting[name]) is type(value) for name, value in facts.items()):
        return request
    return Request(**{**request.given, "facts": fitting})


def _fact(policy: Policy, name: str, value: Any) -> Any:
    declared = policy.facts.get(name)
    if declared is None:
        remedy = did_you_mean(name, policy.facts) or "declare it in the policy under `facts`"
        path = json_path("facts", name)
        raise RequestError(path, f"the policy declares no fact {quote(name)}", remedy)
    return _value(value, declared.type, "facts", name)


def values_of(policy: Policy, request: Request) -> Mapping[str, Mapping[str, Any]]:
    """Return the values of all names of a checked request, with defaults for what is absent.

    A value that a closed set drops counts as absent.
    """
    values = request.values
    defaults = policy.prepared(_defaults_of_facts)
    if defaults:
        values = {**values, "facts": {**defaults, **values["facts"]}}
    for path, closed in policy.closed.items():
        if closed.drops:
            section, _, key = path.partition(".")
            kept = _kept(values[section][key], closed.values)
            values = {**values, section: {**values[section], key: kept}}
    return values


def _kept(value: str | tuple[str, ...], known: tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value if value in known else ""
    return tuple(item for item in value if item in known)


def dropped(policy: Policy, request: Request) -> tuple[str, ...]:
    """Return the places of the values of a request that count as not given."""
    return tuple(
        json_path(*parts)
        for path, closed in policy.closed.items()
        if closed.drops
        for parts, value in _given_at(request, path)
        if value not in closed.values
    )


def _defaults_of_facts(policy: Policy) -> dict[str, Any]:
    return {name: fact.default for name, fact in policy.facts.items() if fact.default is not None}


def moment(now: datetime.datetime | str) -> datetime.datetime:
    """Return the time of a decision in UTC.

    Args:
        now: an aware datetime, or a timestamp of RFC 3339 with at most microseconds.

    Raises:
        RequestError: it is naive, malformed, or outside the years 1 to 9999.
    """
    if type(now) is datetime.datetime and now.tzinfo is datetime.UTC:
        return now
    if isinstance(now, str):
        now = now.upper()
        if not _TIMESTAMP.fullmatch(now):
            raise RequestError("now", "a time such as 2026-01-31T09:00:00Z is wanted")
        try:
            now = datetime.datetime.fromisoformat(now)
        except ValueError:
            raise RequestError("now", "there is no such time") from None
    if not isinstance(now, datetime.datetime):
        raise RequestError("now", f"a datetime is wanted, not {kind_of(now)}")
    if now.utcoffset() is None:
        raise RequestError("now", "the time has no time zone", "give an aware datetime")
    try:
        return now.astimezone(datetime.UTC)
    except OverflowError:
        raise RequestError("now", "the time is outside the years 1 to 9999") from None


def spelt(now: datetime.datetime) -> str:
    """Return a time in UTC as RFC 3339, without trailing zeros: ``2026-01-31T09:00:00Z``."""
    text = now.isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0') if now.microsecond else text}Z"


def checked_section(section: str, content: Any) -> FrozenDict:
    """Check a section of a request in shape.

    Raises:
        RequestError: an unknown section or key, a wrong type, or a number that is not finite.
    """
    if section not in SECTIONS and section != "facts":
        remedy = did_you_mean(section, [*SECTIONS, "facts"])
        raise RequestError(json_path(section), f"unknown key {quote(section)}", remedy)
    if not isinstance(content, Mapping):
        reason = f"a mapping is wanted, not {kind_of(content)}"
        raise RequestError(json_path(section), reason)
    names = SECTIONS.get(section, NOTHING_GIVEN)
    found = {}
    for key, value in content.items():
        # Most values are plain strings, or whole numbers: they are known to be good at once.
        name = names.get(key)
        if name is None:
            found[key] = _given(section, key, value)
        elif name.type is STRING:
            found[key] = value if _is_plain(value) else _given(section, key, value)
        else:
            is_good = name.type is INT and type(value) is int and -_INT64 <= value < _INT64
            found[key] = value if is_good else _given(section, key, value)
    return FrozenDict(found)


def _given(section: str, key: Any, value: Any) -> Any:
    if not isinstance(key, str):
        raise RequestError(json_path(section), "a key must be a string")
    if section == "facts":
        return _value(value, _type_of(value), section, key)
    if key == "parameters" and section in _WISHING:
        return _parameters(value, section)
    name = SECTIONS[section].get(key)
    if name is None:
        remedy = did_you_mean(key, SECTIONS[section])
        raise RequestError(json_path(section, key), f"unknown key {quote(key)}", remedy)
    return _value(value, name.type, section, key)


def _parameters(content: Any, section: str) -> FrozenDict:
    """Check the wishes for parameters, but for the names that only a policy knows."""
    path = (section, "parameters")
    if not isinstance(content, Mapping):
        reason = f"a mapping is wanted, not {kind_of(content)}"
        raise RequestError(json_path(*path), reason)
    seen: dict[str, str] = {}
    found = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise RequestError(json_path(*path), "a key must be a string")
        where = json_path(*path, key)
        if key in RESERVED:
            raise RequestError(
                where, f"{quote(key)} is not a parameter: it would override the decision"
            )
        first = seen.setdefault(named(key), key)
        if first != key:
            raise RequestError(where, f"{quote(key)} and {quote(first)} are the same parameter")
        found[key] = _parameter(named(key), value, *path, key)
    return FrozenDict(found)


def _parameter(name: str, value: Any, *path: str | int) -> Any:
    where = json_path(*path)
    if not fits(name, value) or not isinstance(value, str | int | float):
        wanted = KNOWN[name].value if name in KNOWN else "a string, a number, true or false"
        raise RequestError(where, f"{wanted} is wanted, not {kind_of(value)}")
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise RequestError(where, f"the string has more than {LONGEST} characters")
        return _string(value, *path)
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(where, "a finite number is wanted")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise RequestError(where, "the number does not fit in 64 bits")
    return value


def _wishes(section: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is wished for at a level: parameters by the names that they are known by.

    ``reasoning_effort`` is one of them, wherever it was given, and it is a name by itself.
    """
    if section not in _WISHING or ("parameters" not in content and not content.get(EFFORT)):
        return NOTHING_GIVEN
    wished = {named(key): value for key, value in content.get("parameters", {}).items()}
    effort, other = content.get(EFFORT, ""), wished.pop(EFFORT, "")
    if effort and other and effort != other:
        reason = f"{EFFORT} is given twice, with two values"
        raise RequestError(json_path(section, "parameters", EFFORT), reason)
    if effort or other:
        wished[EFFORT] = effort or other
    return {EFFORT: effort or other, "parameters": FrozenDict(sorted(wished.items()))}


def _type_of(value: Any) -> Type | None:
    """Return the type of a fact's value by itself; None where no fact can have it."""
    exact = _TYPES.get(type(value))
    if exact is not None:
        return exact
    return next((type_ for kind, type_ in _TYPES.items() if isinstance(value, kind)), None)


def _value(value: Any, wanted: Type | None, section: str, key: str) -> Any:
    """Return a value of a type, with tuples for lists and a double for a whole number."""
    found = _type_of(value)
    fits = found is wanted or found == wanted or (found, wanted) == (INT, DOUBLE)
    if wanted is None or found is None or not fits:
        reason = f"{_WANTED[wanted] if wanted else 'a plain value'} is wanted"
        raise RequestError(json_path(section, key), f"{reason}, not {kind_of(value)}")
    if found is STRINGS:
        return _strings(value, section, key)
    if found is STRING:
        return value if _is_plain(value) else _string(value, section, key)
    if found is INT and not -_INT64 <= value < _INT64:
        raise RequestError(json_path(section, key), "the number does not fit in 64 bits")
    if found is DOUBLE and not math.isfinite(value):
        raise RequestError(json_path(section, key), "a finite number is wanted")
    if wanted is DOUBLE:
        return float(value)
    return int(value) if found is INT else value


def _strings(items: list[Any] | tuple[Any, ...], section: str, key: str) -> tuple[str, ...]:
    if len(items) > MAX_ITEMS:
        reason = f"the list has more than {MAX_ITEMS:,} items"
        raise RequestError(json_path(section, key), reason)
    return tuple(
        [
            item if _is_plain(item) else _string(item, section, key, position)
            for position, item in enumerate(items)
        ]
    )


def _is_plain(value: Any) -> bool:
    """Tell at once that a value is a string that may be given, as most are."""
    return (
        type(value) is str
        and value.isascii()
        and len(value) <= MAX_CHARACTERS
        and "\x00" not in value
    )


def _string(value: Any, *path: str | int) -> str:
    if not isinstance(value, str):
        raise RequestError(json_path(*path), f"a string is wanted, not {kind_of(value)}")
    if len(value) > MAX_CHARACTERS:
        reason = f"the string has more than {MAX_CHARACTERS:,} characters"
        raise RequestError(json_path(*path), reason)
    if "\x00" in value:
        raise RequestError(json_path(*path), "the string has a NUL character")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise RequestError(json_path(*path), "the string is not valid Unicode")
    return str(value)


def kind_of(value: Any) -> str:
    """Name the kind of a value, never the value."""
    for kind, word in (
        (bool, "true or false"),
        (str, "a string"),
        (int, "an int"),
        (float, "a double"),
        (list | tuple, "a list"),
        (Mapping, "a mapping"),
    ):
        if isinstance(value, kind):
            return word
    return "null" if value is None else "something else"
