"""Every character of every scalar is found again in the file, and reading never raises."""

# ruff: noqa: FBT001, PLR0917 - the arguments are drawn, nobody passes them

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from policy_router.policy import yaml as source
from policy_router.policy.yaml import Document, MappingNode, Node, ScalarNode, SequenceNode
from tests.support.examples import examples

pytestmark = pytest.mark.skipif(not yaml.__with_libyaml__, reason="compares both parsers")

POLICY = """\
# a policy
version: 1
name: "ac\\u006de"
model: glm-5-turbo   # default
pool:
  - model: glm-5.1
    strengths: [math, 'formal ''proofs''']
    pick: >-
      task.kind == "math"

        && size(task.labels) > 0
      || true
    allow: |
      parent.depth < 2
    price: {input: 0.55, output: 2.19}
  - model: two
     words
"""
ODD_BITS = (
    "\t",
    "\r",
    "\n",
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "!t ",
    "<<",
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "|",
    ">",
    "%",
    "@",
    "\\",
    "\\ud800",
    "\\ud83d\\ude00",
    "\\U00110000",
    "---\n",
    "...\n",
    "\x00",
    "\x85",
    "\u2028",
    "\ufeff",
    "\ud800",
    "\U0001f600",
    "delegation:",
    "~",
    "1",
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
WORDS = st.text(st.sampled_from("ab:#'\"\\é😀\u2028\x85-&|[,]{}%!*?"), min_size=1, max_size=6)
LINES = st.lists(st.lists(WORDS, min_size=0, max_size=3).map(" ".join), min_size=1, max_size=6).map(
    "\n".join
)


def with_both(name: str, content: str | bytes) -> list[tuple[Document | None, tuple[Any, ...]]]:
    """Read with PyYAML's two parsers."""
    results = []
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("policy_router.policy.yaml.parser.LOADER", loader)
            results.append(source.read(name, content))
    return results


def scalars(node: Node) -> list[ScalarNode]:
    """List the scalars of a tree, keys too."""
    if isinstance(node, MappingNode):
        return [each for pair in node.pairs for each in (pair.key, *scalars(pair.value))]
    if isinstance(node, SequenceNode):
        return [each for item in node.items for each in scalars(item)]
    return [node]


def check_places(scalar: ScalarNode) -> None:
    """Look for each character of a scalar at its place."""
    text, written = scalar.span.source.text, scalar.span
    last = written.start
    for offset, character in enumerate(scalar.text):
        place = scalar.span_of(offset, offset + 1)
        found = text[place.start : place.end]
        assert place.start >= last, (scalar, offset)
        last = place.end
        assert found == character or is_written_as(found, character), (scalar, offset, found)
    assert scalar.span_of(0, len(scalar.text)).start >= written.start


def is_written_as(found: str, character: str) -> bool:
    """Say whether a stretch of the file can be the text of a character."""
    if found in {"\n", "\r", "\r\n"}:
        return character in " \n"
    if found == "''":
        return character == "'"
    return found.startswith("\\") and next(iter(yaml.safe_load(f'"{found}"'))) == character


def read_back(text: str, value: str) -> None:
    """Check that a file's `k` is a string, at its places."""
    for document, found in with_both("x", text):
        assert document is not None, (text, found)
        scalar = document.root.get("k")
        assert isinstance(scalar, ScalarNode)
        assert scalar.text == value, text
        check_places(scalar)
        ends = scalar.span.source.text[scalar.span.start : scalar.span.end]
        assert ends == ends.rstrip("\r\n")


@examples(150)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_reading_never_raises(content: str | bytes) -> None:
    """Law: any bytes and any text give a document or a diagnostic."""
    for document, found in with_both("x", content):
        assert document or found


@examples(400)
@given(
    st.lists(
        st.tuples(st.integers(0, len(POLICY)), st.integers(0, 3), st.sampled_from(ODD_BITS)),
        min_size=1,
        max_size=4,
    ),
    LINE_ENDS,
    st.booleans(),
)
def test_a_broken_policy_never_raises(
    edits: list[tuple[int, int, str]], line_end: str, embedded: bool
) -> None:
    """Law: a policy with some characters changed is read or reported, the same by both parsers."""
    text = POLICY
    if embedded:
        text = "delegation:\n" + re.sub("(?m)^", "  ", text)
    for place, cut, bit in edits:
        text = text[:place] + bit + text[place + cut :]
    (fast, found), (slow, also) = with_both("x", text.replace("\n", line_end))
    for document in (fast, slow):
        for scalar in scalars(document.root) if document else ():
            check_places(scalar)
    if fast and slow:
        assert source.plain(fast.root) == source.plain(slow.root)
        assert spans(fast) == spans(slow)
        assert sorted(map(repr, found)) == sorted(map(repr, also))


def spans(document: Document) -> list[tuple[int, int]]:
    """List where the scalars stand."""
    return [(each.span.start, each.span.end) for each in scalars(document.root)]


@examples(150)
@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\uffff\ufffe"),
        max_size=40,
    ),
    LINE_ENDS,
    st.integers(1, 6),
    st.sampled_from(["'", '"', None]),
    st.integers(10, 40),
    st.booleans(),
)
def test_dumped_scalars(
    value: str, line_end: str, indent: int, style: str | None, width: int, wide: bool
) -> None:
    """Law: what PyYAML's emitter writes is found again character by character."""
    assume(not re.search("[\x85\u2028\u2029]", value))
    text = yaml.dump(
        {"k": [value]},
        default_style=style,
        width=width,
        allow_unicode=wide,
        line_break=line_end,
        indent=indent,
    )
    assume("!!" not in text)
    for document, found in with_both("x", text):
        assert document is not None, found
        node = source.at(document.root, ["k", 0])
        assert isinstance(node, ScalarNode)
        assert node.text == value
        check_places(node)


@examples(300)
@given(
    LINES,
    st.sampled_from(["", "-", "+"]),
    st.integers(1, 5),
    LINE_ENDS,
    st.booleans(),
    st.integers(0, 3),
)
def test_literal_scalars(
    body: str, chomping: str, indent: int, line_end: str, explicit: bool, after: int
) -> None:
    """Law: a literal scalar's characters are where they are written."""
    assume(body.strip(" \n"))
    explicit = explicit or body.lstrip("\n").startswith(" ") or "\n" in body[:1]
    pad = " " * indent
    lines = "".join(pad + line + "\n" if line else "\n" for line in body.split("\n"))
    text = (
        f"a: 1\nk: |{indent if explicit else ''}{chomping}  # note\n{lines}" + "\n" * after + "z: 2"
    )
    stripped = body.rstrip("\n")
    value = {"": stripped + "\n", "-": stripped, "+": body + "\n" * (after + 1)}[chomping]
    read_back(text.replace("\n", line_end), value)


@examples(300)
@given(LINES, st.sampled_from(["", "-", "+"]), st.integers(1, 5), LINE_ENDS, st.integers(0, 3))
def test_folded_scalars(body: str, chomping: str, indent: int, line_end: str, after: int) -> None:
    """Law: a folded scalar's characters are where they are written."""
    assume(body.strip(" \n"))
    pad = " " * indent
    lines = "".join(pad + line + "\n" if line else "\n" for line in body.split("\n"))
    text = f"k: >{chomping}{indent}\n{lines}" + "\n" * after + "z: 2"
    value = yaml.safe_load(re.sub("[\x85\u2028]", "_", text))["k"]
    read = source.read("x", text.replace("\n", line_end))[0]
    assert read is not None
    scalar = read.root.get("k")
    assert isinstance(scalar, ScalarNode)
    assert re.sub("[\x85\u2028]", "_", scalar.text) == value
    read_back(text.replace("\n", line_end), scalar.text)


@examples(300)
@given(
    st.lists(
        st.text(st.sampled_from("ab:#\\é😀 \u2028-&|[{%!*?'"), max_size=6), min_size=1, max_size=5
    ),
    st.sampled_from("'\""),
    st.integers(1, 4),
    LINE_ENDS,
    st.lists(st.integers(1, 3), min_size=4),
)
def test_quoted_scalars_over_lines(
    parts: list[str], quote: str, indent: int, line_end: str, breaks: list[int]
) -> None:
    """Law: quoted scalars of several lines are found character by character."""
    written = [
        part.replace("'", "''") if quote == "'" else part.replace("\\", "\\\\") for part in parts
    ]
    text = "k: " + quote
    for part, count in zip(written, [*breaks, *([1] * len(written))], strict=False):
        text += part + " " * (count - 1) + "\n" * count + " " * indent
    text += quote + "\nz: 1"
    for document, found in with_both("x", text.replace("\n", line_end)):
        assert document is not None, found
        node = document.root.get("k")
        assert isinstance(node, ScalarNode)
        assert re.sub(r"\s", "", node.text) == re.sub(r"\s", "", "".join(parts))
        check_places(node)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@examples(300)
@given(
    st.dictionaries(st.sampled_from("abc"), JSON, min_size=1),
    st.booleans(),
    st.sampled_from([None, 1, 4]),
)
def test_json_is_yaml(data: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    """Law: a JSON document means in YAML what it means in JSON."""
    text = json.dumps(data, ensure_ascii=ascii_only, indent=indent)
    assume(not re.search("[\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff\ud800-\udfff]|\\\\ud[89a-f]", text))
    for document, found in with_both("x", text):
        assert document is not None, found
        assert source.plain(document.root) == json.loads(text)
        for scalar in scalars(document.root):
            check_places(scalar)
