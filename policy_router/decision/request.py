"""A request: what the agent wishes and the facts that the host states."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from policy_router.cel.vocabulary import SECTIONS, default_of
from policy_router.decision.shape import WISHING, checked_section, kind_of
from policy_router.decision.typed import typed_sections
from policy_router.diagnostics.model import json_path
from policy_router.domain import NOTHING, FrozenDict
from policy_router.errors import RequestError
from policy_router.parameters import EFFORT, named

MAX_BYTES = 1024 * 1024
"""The longest request in JSON, in bytes."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    section: FrozenDict(
        {key: default_of(name) for key, name in names.items() if not name.optional}
        | ({"parameters": NOTHING} if section in {"call", "task"} else {})
    )
    for section, names in SECTIONS.items()
} | {"facts": FrozenDict()}
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
            raise RequestError("$", f"expected a mapping, found {kind_of(content)}")
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
            raise RequestError("now", "expected a time such as 2026-01-31T09:00:00Z")
        try:
            now = datetime.datetime.fromisoformat(now)
        except ValueError:
            raise RequestError("now", "there is no such time") from None
    if not isinstance(now, datetime.datetime):
        raise RequestError("now", f"expected a datetime, found {kind_of(now)}")
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


def _wishes(section: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is wished for at a level: parameters by the names that they are known by.

    ``reasoning_effort`` is one of them, wherever it was given, and it is a name by itself.
    """
    if section not in WISHING or ("parameters" not in content and not content.get(EFFORT)):
        return NOTHING
    wished = {named(key): value for key, value in content.get("parameters", {}).items()}
    effort, other = content.get(EFFORT, ""), wished.pop(EFFORT, "")
    if effort and other and effort != other:
        reason = f"{EFFORT} is given twice, with two values"
        raise RequestError(json_path(section, "parameters", EFFORT), reason)
    if effort or other:
        wished[EFFORT] = effort or other
    return {EFFORT: effort or other, "parameters": FrozenDict(sorted(wished.items()))}
