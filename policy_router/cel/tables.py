"""The tables of lark's parser, kept in a file: making them takes a quarter of a second.

They belong to one grammar and one version of lark. With another of either, the parser is made from
the grammar, as it always was.
"""

from __future__ import annotations

import hashlib
from pkgutil import get_data
from typing import Any, Final

import lark
import msgspec
from lark.grammar import Rule
from lark.lexer import TerminalDef

FILE: Final = "parser.msgpack"
"""The name of the file in this package."""
_CODE: Final = ("lexer_callbacks", "tree_class")
"""The options that are code, and so in no file."""
_MOST: Final = 2**63 - 1


def encoded(parser: lark.Lark, grammar: str) -> bytes:
    """Return the tables of a parser, for the file."""
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"] = {key: it for key, it in data["options"].items() if key not in _CODE}
    return msgspec.msgpack.encode([_name(grammar), _plain(data), _plain(memo)])


def stored(grammar: str, **code: Any) -> lark.Lark | None:
    """Return the parser that is kept for a grammar; None where there is none for it.

    Args:
        grammar: the grammar.
        code: the options that are code.
    """
    content = get_data(__name__, FILE) or b""
    name, data, memo = msgspec.msgpack.decode(content)
    if name != _name(grammar):
        return None
    data["options"].update(code)
    kept: Any = {"data": data, "memo": memo}
    return lark.Lark.load(kept)


def _plain(value: Any) -> Any:
    """Return a value as a file can have it: an endless width becomes the greatest number."""
    if isinstance(value, dict):
        return {_plain(key): _plain(it) for key, it in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(it) for it in value]
    return value if isinstance(value, bool) or not isinstance(value, int) else min(value, _MOST)


def _name(grammar: str) -> str:
    """Return what tells one grammar under one version of lark from any other."""
    return hashlib.sha256(f"{lark.__version__}\n{grammar}".encode()).hexdigest()
