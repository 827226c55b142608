"""The table of functions in the documents: complete, and each of its examples is true."""

from __future__ import annotations

import re
from pathlib import Path

from policy_router.cel.checker import check
from policy_router.cel.functions import FUNCTIONS, MACROS, METHODS
from policy_router.cel.vocabulary import Vocabulary
from tests.support.evaluating import PRODUCT
from tests.support.rows import each

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
ROW = re.compile(r"^\| (`[^|]*\(.*`) \| .* \| `(.*)` \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def test_the_table_has_every_function() -> None:
    named = {name.partition("(")[0] for cell, _ in ROWS for name in re.findall(r"`([^`]*)`", cell)}
    receivers = ("x", "t", "list")
    found = {
        word if owner in receivers or not owner else f"{owner}.{word}"
        for owner, _, word in (name.rpartition(".") for name in named)
    }
    assert found == {*FUNCTIONS, *METHODS, *MACROS, "cel.bind"}


@each("example", [example for _, example in ROWS])
def test_an_example_is_true(example: str) -> None:
    checked, problems = check(example, Vocabulary.of([]))
    assert checked.node is not None, problems
    assert PRODUCT.compile(checked.node).evaluate(PRODUCT.bind({})) is True
