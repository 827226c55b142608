"""Changes to the text of a settings file, JSON or YAML, in which every other byte stays.

The file is read with the places of its values. A value is put in after the last one of its list or
mapping, and is taken out by itself. The result is read again: where it is not the old file with the
change and nothing else, the change is refused, and its user makes it by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from policy_router.errors import PolicyRouterError
from policy_router.policy.yaml import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    plain,
    read_mapping,
)

_COMMENT: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|\t', re.DOTALL)
"""Strings, which stay, and what JSON may have besides in settings: comments, and tabs."""


_NULL: Final = re.compile(r"\A(?:null|Null|NULL|~)(?![^\s,}\]])")


class SettingsError(PolicyRouterError):
    """A settings file that cannot be changed without the danger of losing something."""


class Change(Struct, frozen=True):
    """A value that a settings file is to have.

    Attributes:
        path: the keys to it; the last is that of the list or of the value itself.
        value: the value.
        appends: whether it is one more item of the list at the path.
    """

    path: tuple[str, ...]
    value: Any
    appends: bool = False


IsOurs = Callable[[Any], bool]
"""Tells whether an item of a list, or a key with its value, was put there by this package."""


def changed(text: str, changes: Sequence[Change], *, is_json: bool) -> str:
    """Return a text with changes.

    Raises:
        SettingsError: it cannot be read, says something else there, or would not stay as it is.
    """
    for change in changes:
        text = _changed(text, change, is_json=is_json)
    return text


def restored(text: str, changes: Sequence[Change], is_ours: IsOurs, *, is_json: bool) -> str:
    """Return a text without changes; what is not ours stays.

    Raises:
        SettingsError: it cannot be read, or something else would go with them.
    """
    for change in reversed(changes):
        while (place := _ours(text, change, is_ours, is_json=is_json)) is not None:
            text = _without(text, *place, is_json=is_json)
    return text


def ours(
    text: str, changes: Sequence[Change], is_ours: IsOurs, *, is_json: bool
) -> tuple[Change, ...]:
    """Return the changes that a text has, with the values that it has."""
    found = []
    for change in changes:
        place = _ours(text, change, is_ours, is_json=is_json)
        if place is not None:
            node, index = place
            item = node.pairs[index].value if isinstance(node, MappingNode) else node.items[index]
            found.append(replace(change, value=plain(item)))
    return tuple(found)


def parsed(text: str, *, is_json: bool) -> Any:
    """Return what a settings file says.

    Raises:
        SettingsError: it cannot be read.
    """
    root = _root(text, is_json=is_json)
    return {} if root is None else plain(root)


def _root(text: str, *, is_json: bool) -> MappingNode | None:
    """Return the mapping of a file; None where it is empty."""
    bare = _blanked(text, is_json=is_json)
    if not re.sub(r"(?m)^\s*#.*$", "", bare).strip():
        return None
    document, problems = read_mapping("settings", bare, "a settings file")
    if document is None or problems:
        raise SettingsError(f"the file cannot be changed: {problems[0].message}")
    return document.root


def _blank(found: re.Match[str]) -> str:
    """Return a string as it is, and anything else as blanks, so that every place stays."""
    text = found.group()
    return text if text.startswith('"') else re.sub(r"[^\n]", " ", text)


# A value comes in.


def _nested(change: Change, depth: int) -> Any:
    """Return what is to stand below the first keys of a change."""
    made = [change.value] if change.appends else change.value
    for key in reversed(change.path[depth:]):
        made = {key: made}
    return made


def _changed(text: str, change: Change, *, is_json: bool) -> str:
    root = _root(text, is_json=is_json)
    if root is None:
        whole = _whole(_nested(change, 0), is_json=is_json)
        made = _after_blank(text) + whole.replace("\n", _line_end(text))
    else:
        made = _put(text, root, change, is_json=is_json)
    wanted = parsed(text, is_json=is_json)
    _merge(wanted, change)
    if parsed(made, is_json=is_json) != wanted or not _is_kept(text, made):
        raise _by_hand(change)
    return made


def _put(text: str, root: MappingNode, change: Change, *, is_json: bool) -> str:
    """Return a text with a change, where it goes in at one place."""
    node: Node = root
    for depth, key in enumerate(change.path):
        below = node.get(key) if isinstance(node, MappingNode) else None
        if below is None:
            return _added(text, node, _nested(change, depth + 1), key, change, is_json=is_json)
        node = below
        if isinstance(node, ScalarNode) and node.value is None:
            value = json.dumps(_nested(change, depth + 1))
            return f"{text[: node.start].rstrip(' ')} {value}{text[node.end :]}"
    if change.appends:
        return _added(text, node, change.value, None, change, is_json=is_json)
    if plain(node) != change.value:
        raise SettingsError(f"`{'.'.join(change.path)}` says something else already")
    return text


def _added(
    text: str, node: Node, value: Any, key: str | None, change: Change, *, is_json: bool
) -> str:
    """Return a text with one more item of a mapping, or of a list where there is no key."""
    if not isinstance(node, SequenceNode if key is None else MappingNode):
        raise SettingsError(f"`{'.'.join(change.path)}` says something else already")
    items, begin = _items(node), _start(node)
    if text[begin] not in "{[":
        return _added_line(text, items, value, key)
    name = "" if key is None else f"{json.dumps(key)}: "
    if not items:
        return f"{text[: begin + 1]}{name}{json.dumps(value)}{text[begin + 1 :]}"
    first, last = items[0][0], items[-1][1]
    indent = text[text.rfind("\n", 0, first) + 1 : first]
    is_spread = not indent.strip() and "\n" in text[begin:first]
    begin_line = f"{_line_end(text)}{indent}"
    said = json.dumps(value, indent=2).replace("\n", begin_line) if is_spread else ""
    space = begin_line if is_spread else " "
    rest = _blanked(text, is_json=is_json)[last:]
    if rest.lstrip().startswith(","):
        last += rest.index(",") + 1
        return f"{text[:last]}{space}{name}{said or json.dumps(value)}{text[last:]}"
    return f"{text[:last]},{space}{name}{said or json.dumps(value)}{text[last:]}"


def _added_line(text: str, items: Sequence[tuple[int, int]], value: Any, key: str | None) -> str:
    """Return a YAML text with one more line of a block."""
    start = items[0][0]
    before = text[text.rfind("\n", 0, start) + 1 : start]
    indent = re.sub(r"[^ ].*", "", before) if key is None else re.sub(r"[^ ]", " ", before)
    end = text.find("\n", items[-1][1])
    line_end = _line_end(text)
    head, tail = (f"{text}{line_end}", "") if end < 0 else (text[: end + 1], text[end + 1 :])
    name = "- " if key is None else f"{key}: "
    return f"{head}{indent}{name}{json.dumps(value)}{line_end}{tail}"


def _whole(value: Any, *, is_json: bool) -> str:
    """Return a new file."""
    if is_json:
        return json.dumps(value, indent=2) + "\n"
    return "".join(f"{key}: {json.dumps(it)}\n" for key, it in value.items())


def _after_blank(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}{_line_end(text)}"


def _line_end(text: str) -> str:
    """Return what the first line of a text ends with."""
    end = text.find("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _merge(into: dict[str, Any], change: Change) -> None:
    """Put a change into what a file says."""
    *above, last = change.path
    for key in above:
        into[key] = into.get(key) or {}
        into = into[key]
    into[last] = [*(into.get(last) or ()), change.value] if change.appends else change.value


def _is_kept(before: str, after: str) -> bool:
    """Tell whether a text is another one with something put in at one place, or for one null."""
    common = 0
    for mine, theirs in zip(before, after, strict=False):
        if mine != theirs:
            break
        common += 1
    rest = _NULL.sub("", before[common:])
    return len(after) >= len(before) and after.endswith(rest)


def _by_hand(change: Change) -> SettingsError:
    where, value = ".".join(change.path), json.dumps(change.value)
    return SettingsError(f"the file cannot be changed safely; add by hand, at `{where}`: {value}")


# A value goes out.


def _ours(
    text: str, change: Change, is_ours: IsOurs, *, is_json: bool
) -> tuple[MappingNode | SequenceNode, int] | None:
    """Return where a change stands: the list or mapping, and the index of the item."""
    node: Node | None = _root(text, is_json=is_json)
    for key in change.path if change.appends else change.path[:-1]:
        node = node.get(key) if isinstance(node, MappingNode) else None
    if change.appends and isinstance(node, SequenceNode):
        found = [place for place, item in enumerate(node.items) if is_ours(plain(item))]
    elif not change.appends and isinstance(node, MappingNode):
        wanted = change.path[-1], change.value
        found = [
            place
            for place, pair in enumerate(node.pairs)
            if pair.key.text == wanted[0]
            and (is_ours({pair.key.text: plain(pair.value)}) or plain(pair.value) == wanted[1])
        ]
    else:
        return None
    return (node, found[-1]) if found else None


def _without(text: str, node: Node, index: int, *, is_json: bool) -> str:
    """Return a text without one item, its comma, and the space before it."""
    items = _items(node)
    start, end = items[index]
    if text[_start(node)] not in "{[":
        begin, stop = text.rfind("\n", 0, start) + 1, text.find("\n", end) + 1
        return text[:begin] + (text[stop:] if stop else "")
    bare = _blanked(text, is_json=is_json)
    if index:
        comma = bare.index(",", items[index - 1][1])
        before = text[:comma] + text[comma + 1 : start].rstrip()
        return before + text[end:]
    if len(items) > 1:
        comma = bare.index(",", end)
        return text[:start] + text[comma + 1 :].lstrip()
    return text[:start].rstrip() + text[end:].lstrip()


# Places.


def _items(node: Node) -> list[tuple[int, int]]:
    """Return from where to where each item goes, with its key."""
    if isinstance(node, MappingNode):
        return [(_start(pair.key), _end(pair.value)) for pair in node.pairs]
    return [(_start(it), _end(it)) for it in node.items] if isinstance(node, SequenceNode) else []


def _start(node: Node) -> int:
    return node.start if isinstance(node, ScalarNode) else node.span.start


def _end(node: Node) -> int:
    if isinstance(node, ScalarNode):
        return node.end
    source = node.span.source.text
    items = _items(node)
    is_flow = source[node.span.start : node.span.start + 1] in {"{", "["}
    return node.span.end if is_flow or not items else items[-1][1]


def _blanked(text: str, *, is_json: bool) -> str:
    """Return a text in which comments are blank."""
    return _COMMENT.sub(_blank, text) if is_json else text
