"""The differences between two policies in words: parts added, removed, moved or changed.

The canonical forms are compared, so ways of writing make no difference. What a difference comes to
is another question: see ``policy_router.log.what_if``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from policy_router.domain import Policy
from policy_router.policy.yaml import flow


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between two policies.

    Attributes:
        kind: ``added``, ``removed``, ``moved`` or ``changed``.
        what: the part, such as ``entry coder``.
        key: what of the part is changed; empty for the part as a whole.
        before: what it was, as text; empty where there was nothing.
        after: what it is, as text; empty where there is nothing.
    """

    kind: str
    what: str
    key: str = ""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        """Return the difference on one line."""
        name = f"{self.what}: {self.key}" if self.key else self.what
        if self.kind == "changed":
            return f"changed  {name}: {self.before} -> {self.after}"
        value = self.after or self.before
        return f"{self.kind:<8} {name}{f': {value}' if value else ''}"


_LISTS: Final = {"pool": "entry", "forbid": "forbid rule", "precedence": "precedence rule"}
"""The lists whose items have names, and what an item is called."""
_MAPPINGS: Final = {
    "facts": "fact",
    "parameters": "parameter",
    "providers": "provider",
    "tables": "table",
    "variables": "variable",
}
"""The mappings from names, and what a value is called."""
_SECRET: Final = ("api_key", "headers")
"""What of a provider is never shown."""


def changes(before: Policy, after: Policy) -> tuple[Change, ...]:
    """Return what tells two policies apart, in the order of their parts."""
    old, new = (json.loads(it.canonical) for it in (before, after))
    return tuple(_changes(old, new))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys((*old, *new)):
        if key in _LISTS:
            yield from _of_lists(_LISTS[key], old.get(key) or [], new.get(key) or [])
        elif key in _MAPPINGS:
            yield from _of_mappings(_MAPPINGS[key], old.get(key) or {}, new.get(key) or {})
        else:
            yield from _of_keys("policy", {key: old.get(key)}, {key: new.get(key)})


def _of_mappings(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        yield from _of_part(f"{what} {name}", old.get(name), new.get(name))


def _of_lists(
    what: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> Iterator[Change]:
    before, after = _named(old), _named(new)
    moved = _moved([it for it in before if it in after], [it for it in after if it in before])
    for name in dict.fromkeys((*before, *after)):
        if name in moved:
            yield Change("moved", f"{what} {name}")
        yield from _of_part(f"{what} {name}", before.get(name), after.get(name))


def _named(items: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the items of a list by their names; a name that comes again has a number."""
    found: dict[str, Mapping[str, Any]] = {}
    for item in items:
        name = str(item.get("name") or item.get("id") or item.get("model") or item.get("use"))
        number = 2
        unique = name
        while unique in found:
            unique, number = f"{name} ({number})", number + 1
        found[unique] = item
    return found


def _moved(old: Sequence[str], new: Sequence[str]) -> set[str]:
    """Return the names that stand elsewhere among those that both have: as few as possible."""
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept = {name for it in blocks for name in old[it.a : it.a + it.size]}
    return set(old) - kept


def _of_part(what: str, old: Any, new: Any) -> Iterator[Change]:
    if old is None or new is None:
        yield Change("added" if old is None else "removed", what)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _of_keys(what, old, new)
    elif old != new:
        yield Change("changed", what, "", flow(old), flow(new))


def _of_keys(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        kind = "added" if before is None else "removed" if after is None else "changed"
        shown = [
            "" if it is None else "***" if key in _SECRET else flow(it) for it in (before, after)
        ]
        yield Change(kind, what, key, *shown)
