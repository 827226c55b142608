"""Messages use one form for one thing: the forms that others replaced may not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.commands import ROOT

RETIRED = {
    r"\b(is|are) wanted\b|[:,] wanted\b": "expected X, found Y",
    r"\bwants\b": "takes",
    r"(?<!there )\b(is|are) no (?!longer |larger )": "is not a",
    r"\b(is|are) none of\b": "is not one of",
    r"\b(has|have) to be\b": "must be",
    r"\bcan(not)? stand\b": "is not allowed",
    r"\b(known|usual|shipped) are\b": "known: X",
}
"""Turns that no message has, and what stands in their place."""


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Yield each text of a module but the docstrings, with `{}` for what is put in."""
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant):
        return
    if isinstance(tree, ast.JoinedStr):
        parts = (it.value if isinstance(it, ast.Constant) else "{}" for it in tree.values)
        yield "".join(map(str, parts))
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    for child in ast.iter_child_nodes(tree):
        yield from texts_of(child)


def retired_turns(text: str) -> list[str]:
    return [better for turn, better in RETIRED.items() if re.search(turn, text)]


@pytest.mark.slow
def test_messages_have_no_retired_turn() -> None:
    paths = [*(ROOT / "policy_router").rglob("*.py")]
    texts = [(path, text) for path in paths for text in texts_of(ast.parse(path.read_bytes()))]
    assert len(texts) > 5_000
    assert [(path.name, text) for path, text in texts if retired_turns(text)] == []


@pytest.mark.parametrize(
    "source",
    [
        'raise RequestError("$", f"{name} is wanted, not {kind}")',
        'MESSAGE = "found a list, wanted a string"',
        'raise LogError(path, f"{path} is no file")',
        'MESSAGES = {"a": ("malformed key: wanted base64", 1)}',
    ],
)
def test_a_retired_turn_is_found(source: str) -> None:
    assert [text for text in texts_of(ast.parse(source)) if retired_turns(text)]


def test_docstrings_and_names_are_no_messages() -> None:
    source = 'def f(wanted):\n    """Tell whether it is wanted."""\n    return found is wanted\n'
    assert [*texts_of(ast.parse(source))] == []
