"""Laws of the layout: it changes no value and no comment, and a second time nothing at all."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policy_router.files.loader import check_text
from policy_router.policy.yaml import formatted, plain, read, remarks
from tests.property.rich_policies import rich_policies
from tests.support.commands import ROOT

WORDS: tuple[Any, ...] = (
    "a",
    "x y",
    '"q" in z',
    "a: b",
    "# no",
    "-",
    "",
    "it's",
    " before",
    "behind ",
    "two\nlines\n",
    "more\n\n  lines #x\n\n\n",
    "\u00e9 \u6f22 \U0001f600 \u2028 \x85",
    "tab\tx",
    "word " * 30,
    1,
    2.5,
    None,
    True,
)


class Dumper(yaml.SafeDumper):
    """Writes every text in any style; lists stand below their keys, or further to the right."""

    chance: random.Random
    indents_lists: bool

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - PyYAML's
        super().increase_indent(flow, indentless and not self.indents_lists)

    def text(self, data: str) -> yaml.Node:
        style = self.chance.choice([None, None, "'", '"', "|", ">"])
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


Dumper.add_representer(str, Dumper.text)


def value(chance: random.Random, depth: int) -> Any:
    kind = chance.random()
    if depth == 0 or kind < 0.5:
        return chance.choice(WORDS)
    if kind < 0.75:
        return [value(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    keys = (f"k{number}" * chance.randint(1, 3) for number in range(chance.randint(0, 3)))
    return {key: value(chance, depth - 1) for key in keys}


def written(chance: random.Random, data: Any) -> str:
    """Return data as YAML in some layout or other, and with comments."""
    Dumper.chance, Dumper.indents_lists = chance, chance.random() < 0.5
    text = yaml.dump(
        data,
        Dumper=Dumper,
        indent=chance.choice([2, 3, 4, 7]),
        width=chance.choice([10, 40, 80]),
        allow_unicode=chance.random() < 0.7,
        default_flow_style=chance.choice([None, False, False, True]),
        sort_keys=False,
        explicit_start=chance.random() < 0.2,
    )
    lines = text.split("\n")
    for _ in range(chance.randint(0, 6)):
        place = chance.randrange(len(lines))
        match chance.randrange(4):
            case 0:
                lines.insert(place, " " * chance.randint(0, 8) + f"# c{chance.randint(0, 99)}")
            case 1:
                lines.insert(place, " " * chance.randint(0, 3))
            case 2:
                lines[place] += " " * chance.randint(1, 20) + "# t"
            case _:
                lines[place] = re.sub(r": ", ":" + " " * chance.randint(1, 5), lines[place])
    return chance.choice(["\n", "\n", "\r\n", "\r"]).join(lines)


def content(text: str) -> tuple[str, list[str]] | None:
    """Return the values and the comments of a file."""
    document, found = read("x", text)
    if document is None or found:
        return None
    comments = [text[it.start : it.end].rstrip() for it in remarks(document.source)]
    return json.dumps(plain(document.root)), comments


def assert_only_the_layout_changes(text: str) -> None:
    shown, found = formatted("x", text)
    if shown is None:
        assert found  # a comment went into the middle of a text, say
        return
    assert content(shown) == content(text)
    assert formatted("x", shown) == (shown, ())
    if (document := read("x", shown)[0]) is not None and document.key is None:
        starts = [it.start for it in remarks(document.source)]
        before = [shown[shown.rfind("\n", 0, it) + 1 : it] for it in starts]
        assert all(len(it) % 2 == 0 for it in before if not it.strip())


@given(st.randoms(use_true_random=False))
def test_values_and_comments_stay(chance: random.Random) -> None:
    data = {f"key{number}": value(chance, 4) for number in range(chance.randint(1, 4))}
    if chance.random() < 0.3:
        data = {"host": [1], "delegation": data, "other": {"x": 1}}
    assert_only_the_layout_changes(written(chance, data))


@given(st.randoms(use_true_random=False), rich_policies())
def test_a_policy_keeps_its_revision(chance: random.Random, data: dict[str, Any]) -> None:
    text = written(chance, data)
    shown, _ = formatted("x", text)
    if shown is None:
        return
    (before, found), (after, found_after) = check_text(text), check_text(shown)
    assert (before and before.revision) == (after and after.revision)
    assert sorted(it.code for it in found) == sorted(it.code for it in found_after)


SHIPPED = sorted((ROOT / "rules").rglob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda it: it.stem)
def test_what_is_shipped_has_the_layout(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert formatted("x", text) == (text, ())
    for other in (text.replace("\n", "\r\n"), text.replace(": ", ":   ")):
        assert_only_the_layout_changes(other)


@pytest.mark.slow
def test_odd_files_keep_what_they_say() -> None:
    shown = 0
    for file in sorted((ROOT / "tests/golden/diagnostics").rglob("*.yaml")):
        is_small = file.stat().st_size < 20_000
        if is_small and formatted("x", file.read_bytes())[0] is not None:
            assert_only_the_layout_changes(file.read_text(encoding="utf-8"))
            shown += 1
    assert shown > 100
