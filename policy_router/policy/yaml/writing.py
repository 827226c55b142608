"""Plain data to YAML that reads back as the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from policy_router.policy.yaml.nodes import resolved

_SIMPLE = re.compile(r"[A-Za-z_](?:[\w./-]|:(?=\w))*")
_COLUMNS = 80


def flow(value: Any) -> str:
    """Return a value in flow style; what is no plain word is written as JSON."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(key)}: {flow(it)}' for key, it in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str) and _SIMPLE.fullmatch(value) and resolved(value) == value:
        return value
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=not isinstance(value, str) or not value.isprintable())


def block(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of a mapping or a list: in flow style where a part fits on its line."""
    is_mapping = isinstance(value, Mapping)
    for item in value.items() if is_mapping else value:
        key, inner = item if is_mapping else ("", item)
        head = f"{indent}{flow(key)}:" if is_mapping else f"{indent}-"
        line = f"{head} {flow(inner)}"
        if len(line) <= _COLUMNS or not isinstance(inner, Mapping | list | tuple) or not inner:
            yield line
        elif is_mapping:
            yield head
            yield from block(inner, f"{indent}  ")
        else:
            first, *rest = block(inner, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
