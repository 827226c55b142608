"""Remedies for keys and values that a rule file or a suite cannot have."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from policy_router.cel.vocabulary import SECTIONS
from policy_router.diagnostics.model import did_you_mean
from policy_router.parameters import KNOWN as PARAMETERS
from policy_router.parameters import SPELLINGS

_MEANT: Final[Mapping[str, tuple[str, ...]]] = {
    "base_url": ("url", "uri", "endpoint", "api_base", "address", "host"),
    "api_key": ("key", "token", "secret", "password"),
    "when": ("if", "condition", "cond", "expression", "match"),
    "allow": ("if", "when", "condition", "cond", "expression"),
    "use": ("level",),
    "id": ("name",),
    "entry": ("name", "target", "selected"),
    "name": ("id", "title", "description"),
    "message": ("reason", "text", "msg"),
    "input": ("prompt",),
    "output": ("completion",),
    "refused": ("outcome", "decision", "code", "error", "refusal", "denied", "rejected"),
    "request": ("input", "given", "when"),
    "expect": ("then", "output", "assert"),
    "pool": ("models", "entries", "targets", "allowed"),
    "forbid": ("deny", "denied", "block", "blocked"),
    "precedence": ("rules", "order", "priority"),
    "context_window": ("context", "context_length", "max_context"),
    "supports": ("capabilities", "features"),
    "price": ("cost", "costs", "pricing"),
    "parameters": ("params", "options", "settings"),
    "strengths": ("good_at", "skills", "tags"),
    "model": ("default", "default_model"),
    "reasoning_effort": ("effort", "thinking"),
}
"""Words of other languages, by the key that is meant; of several keys the first that is known."""
_PLACES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("allow", "pick", "aliases", "price", "limits"), "in an entry of `pool`"),
    **dict.fromkeys(("strengths", "supports", "context_window"), "in an entry of `pool`"),
    **dict.fromkeys(("fallback", "fallback_on", "timeouts", "serves"), "in an entry of `pool`"),
    **dict.fromkeys(("base_url", "api_key", "headers", "dialect"), "at a provider in `providers`"),
    "on_violation": "at a rule in `precedence`",
}
"""Where a key belongs that stands at the root."""
_OF_REQUEST: Final[Mapping[str, str]] = {
    **{key: f"under `{section}`" for section, names in SECTIONS.items() for key in names},
    **dict.fromkeys(("expect", "matrix", "now", "skip"), "beside `request`"),
    **dict.fromkeys(("model", "provider"), "under `task`"),
}
"""Where a key belongs that stands in a request of a suite, in none of its sections."""
_A_SUITE: Final = "policy tests are in a file `*_test.yaml`, which `policy-router test` runs"
_TEXTS: Final[Mapping[str, str]] = {
    "bad_request": "write the place, such as `$.task.kind`",
    "now": "write a time such as `2026-01-31T09:00:00Z`",
    "skip": "write the reason, or leave the key out",
}
_CONDITION: Final = 'write one condition, such as `task.kind == "coding" && parent.depth < 2`'
_PLANNED: Final = "write `true`, `false` or `candidates`; an entry names its own fallbacks"
_BOOLS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("yes", "on", "y", "true"), "write `true`"),
    **dict.fromkeys(("no", "off", "n", "false"), "write `false`"),
}
_NUMBER: Final = re.compile(
    r"[v$\u20ac]?\s?(?P<digits>\d[\d_]*(\.\d+)?)\s?((?P<k>k)|s|sec|seconds?|usd)?", re.IGNORECASE
)
_SHORT: Final = 2
_LIKE_A_NUMBER: Final = re.compile(r"[\d_,.' ]*\d[\d_,.' ]*[kKmMbB]?")


def of_key(key: str, known: Collection[str], *, at_root: bool) -> str | None:
    """Return the remedy for a key that is unknown, or None.

    Args:
        key: the key.
        known: the keys that there are.
        at_root: whether it stands at the root of a file.
    """
    if at_root and "pool" in known:
        if key == "tests":
            return _A_SUITE
        known = [*known, "delegation"]
    section, _, rest = key.partition(".")
    if rest and section in known:
        return f"write `{section}: {{{rest}: ...}}`"
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower().replace("-", "_")
    if at_root and "pool" in known and (place := _PLACES.get(word)):
        return f"write it {place}"
    if "request" in known and key in {"use", *SECTIONS, "facts"}:
        return "write it under `request`"
    if "use" in known and "caller" in known and (place := _OF_REQUEST.get(key)):
        return f"write it {place}"
    if word in {*PARAMETERS, *SPELLINGS} and "parameters" in known:
        return f"write it under `parameters`: `{{{word}: ...}}`"
    meant = next((it for it, words in _MEANT.items() if it in known and word in words), None)
    if word in known or meant:
        return f"did you mean `{word if word in known else meant}`?"
    return did_you_mean(key, known)


def of_type(
    found: Any, wanted: Sequence[str], schema: Mapping[str, Any], path: Sequence[str | int]
) -> str | None:
    """Return the remedy for a value of the wrong type, or None.

    Args:
        found: the value.
        wanted: the types that it may have, in the words of JSON Schema.
        schema: the part of the schema that it is held against.
        path: the way to it from the root.
    """
    if found is None:
        if "array" in wanted:
            is_needed = "minItems" in schema
            return "begin each item with `- `" if is_needed else "write `[]` for an empty list"
        return f"leave the {'item' if path and isinstance(path[-1], int) else 'key'} out"
    if {"string", "boolean"} == set(wanted):
        return _PLANNED if path and path[-1] == "fallback" else _CONDITION
    if words := schema.get("enum"):
        return f"one of {', '.join(words)}"
    if isinstance(found, str):
        return _of_text(found, wanted, schema)
    if "array" in wanted and "string" not in wanted and isinstance(found, dict):
        in_matrix = "matrix" in path
        whole_name = "write the whole name, such as `task.kind: [coding, math]`"
        return whole_name if in_matrix else "begin each item with `- `"
    if "object" in wanted:
        return "write keys, without `- `" if isinstance(found, list) else _as_mapping(schema)
    if "string" not in wanted:
        return None
    in_quotes = None if isinstance(found, list | dict) else "put it in quotes"
    return _TEXTS.get(str(path[-1]), in_quotes) if path else in_quotes


def _of_text(found: str, wanted: Sequence[str], schema: Mapping[str, Any]) -> str | None:
    if {"integer", "number"} & set(wanted):
        if number := _NUMBER.fullmatch(found):
            digits = number["digits"].replace("_", "")
            return f"write `{float(digits) * 1000:.0f}`" if number["k"] else f"write `{digits}`"
        is_alike = _LIKE_A_NUMBER.fullmatch(found)
        return "write the number in digits alone, such as `128000`" if is_alike else None
    if "boolean" in wanted:
        return of_bool(found)
    if "array" in wanted and "string" not in wanted:
        are_words = re.fullmatch(r"[\w ,./:-]+", found)
        return "put it in brackets: `[...]`" if are_words else "begin each item with `- `"
    if re.match(r"[a-z_]+:\S", found):
        return "a blank is missing after the `:`"
    return _as_mapping(schema) if "object" in wanted else None


def of_bool(word: str) -> str | None:
    """Return the remedy for a word that stands for true or false elsewhere."""
    return _BOOLS.get(word.lower())


def _as_mapping(schema: Mapping[str, Any]) -> str | None:
    """Show the mapping that is wanted, with its first keys."""
    keys = schema.get("required") or [*schema.get("properties", ())]
    keys = keys if len(keys) <= _SHORT else keys[:1]
    shown = ", ".join(f"{key}: ..." for key in keys)
    return f"write a mapping, such as `{{{shown}}}`" if keys else None
