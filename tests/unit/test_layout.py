"""The one layout of YAML files: what changes, and what stays."""

from __future__ import annotations

import textwrap

import pytest

from policy_router.diagnostics.codes import Code
from policy_router.policy.yaml import formatted
from tests.support.rows import each


def laid_out(text: str) -> str:
    shown, found = formatted("x.yaml", text)
    assert shown is not None, found
    again, _ = formatted("x.yaml", shown)
    assert again == shown
    return shown


@each(
    ("before", "after"),
    [
        pytest.param("a:   1\n", "a: 1\n", id="blanks behind a key"),
        pytest.param("a : 1", "a: 1\n", id="blanks before a colon, and no line end"),
        pytest.param("\n\n\na: 1\n\n\n\nb: 2\n\n\n", "a: 1\n\nb: 2\n", id="empty lines"),
        pytest.param("a: 1  \t\n", "a: 1\n", id="blanks at the end of a line"),
        pytest.param("a:\n    b:\n       c: 1\n", "a:\n  b:\n    c: 1\n", id="indentation"),
        pytest.param("  a: 1\n  b: 2\n", "a: 1\nb: 2\n", id="a file that is indented"),
        pytest.param(
            "a:\n- b\n-   c: 1\n    d: 2\n", "a:\n  - b\n  - c: 1\n    d: 2\n", id="lists"
        ),
        pytest.param("a:\n- - b\n  -  c\n", "a:\n  - - b\n    - c\n", id="lists of lists"),
        pytest.param("a:\n-\n  b\n- c\n", "a:\n  -\n    b\n  - c\n", id="a value below its dash"),
        pytest.param("a:\n     b\n", "a:\n  b\n", id="a value below its key"),
        pytest.param("{a: 1,b: [ 1,2 ,3 ]}", "{a: 1, b: [1, 2, 3]}\n", id="brackets"),
        pytest.param('{"a":1,"b":{ }}', '{"a": 1, "b": {}}\n', id="JSON"),
        pytest.param("{a: , b: }", "{a: , b: }\n", id="a colon before a comma stays a colon"),
        pytest.param("a: [b,\n c\n]\n", "a: [b,\n  c\n  ]\n", id="brackets over several lines"),
        pytest.param(
            "a:\n- {b: 1,\n     c: 2}\n", "a:\n  - {b: 1,\n    c: 2}\n", id="brackets in a list"
        ),
        pytest.param("[\n1]", None, id="no mapping"),
        pytest.param("---\na: 1\n...\n", "---\na: 1\n...\n", id="marks"),
        pytest.param("%YAML 1.2\n---\na:  1\n", "%YAML 1.2\n---\na: 1\n", id="a directive"),
        pytest.param("? a\n: 1\n", "? a\n: 1\n", id="a key with a question mark"),
        pytest.param("a: b\n     c\n", "a: b\n  c\n", id="a word over two lines"),
        pytest.param('a: "b\n\n     c \\\n  d"\n', 'a: "b\n\n  c \\\n  d"\n', id="quotes"),
        pytest.param(
            "a:\n  b: >-\n       x\n         y\n", "a:\n  b: >-\n    x\n      y\n", id=">"
        ),
        pytest.param("a: |2\n    x\n", "a: |2\n    x\n", id="an indentation that is written"),
        pytest.param("-  |", None, id="a list"),
        pytest.param("a: |+\n   x\n\n\nb: 1\n", "a: |+\n  x\n\n\nb: 1\n", id="lines that are kept"),
        pytest.param("a: |\n   x\n\n\nb: 1\n", "a: |\n  x\n\nb: 1\n", id="lines that are not"),
        pytest.param("a: |\n  x", "a: |\n  x", id="no line end, and none can be added"),
        pytest.param("a: |\n   x\n      \n", "a: |\n  x\n     \n", id="blanks in a block"),
        pytest.param("a: ''\nb: |\n\n\n", "a: ''\nb: |\n", id="an empty block"),
    ],
)
def test_a_file_gets_one_layout(before: str, after: str | None) -> None:
    if after is None:
        assert formatted("x.yaml", before)[0] is None
    else:
        assert laid_out(before) == after


@each(
    ("before", "after"),
    [
        pytest.param("a: 1 # x\n", "a: 1  # x\n", id="two blanks at least"),
        pytest.param("a: 1      # x\n", "a: 1      # x\n", id="it stays in its column"),
        pytest.param(
            "a: 1   # x\nbbb: 22 # y\n", "a: 1   # x\nbbb: 22  # y\n", id="each in its own"
        ),
        pytest.param(
            "a:    1 # x\nbb: '234' # y\n", "a: 1    # x\nbb: '234'  # y\n", id="what moves"
        ),
        pytest.param(
            "b: {a: 1,b: 2,c: 3} # x\nc: 1                # y\n",
            "b: {a: 1, b: 2, c: 3}  # x\nc: 1                   # y\n",
            id="together",
        ),
        pytest.param("#  x \n\n\na: 1", "#  x\n\na: 1\n", id="at the top"),
        pytest.param("a: 1\n   # x\n", "a: 1\n# x\n", id="at the end"),
        pytest.param("a:\n   # x\n   b: 1\n", "a:\n  # x\n  b: 1\n", id="before the first key"),
        pytest.param("a:\n# x\n- b\n# y\nc: 1\n", "a:\n  # x\n  - b\n# y\nc: 1\n", id="a list"),
        pytest.param(
            "a:\n    b:\n        c: 1\n        # x\n    # y\n# z\nd: 1\n",
            "a:\n  b:\n    c: 1\n    # x\n  # y\n# z\nd: 1\n",
            id="behind each block",
        ),
        pytest.param("a: [ # x\n# y\n1]\n", "a: [  # x\n  # y\n  1]\n", id="in brackets"),
        pytest.param("a: |  # x\n    b\n # y\nc: 1\n", "a: |  # x\n  b\n# y\nc: 1\n", id="a block"),
        pytest.param("a: 'b\n c' # x\n", "a: 'b\n  c'  # x\n", id="behind a long value"),
        pytest.param("a: 'b # no' # x\n", "a: 'b # no'  # x\n", id="a sign in quotes"),
    ],
)
def test_comments_stay_with_what_they_are_about(before: str, after: str) -> None:
    assert laid_out(before) == after


@each(
    ("before", "after"),
    [
        ("a:   1\nbb:  2\nccc: 3\n", "a:   1\nbb:  2\nccc: 3\n"),
        ("a:     1\nbb:    2\n", "a:  1\nbb: 2\n"),  # as far to the left as they can
        ("a:  1\nbb:  2\n", "a: 1\nbb: 2\n"),  # they did not stand in one column
        ("a:  1\n\nbb: 2\n", "a: 1\n\nbb: 2\n"),  # an empty line parts them
        ("- x", None),
        ("p:\n  a:  {b: 1}\n  cc: {b: 1}\n", "p:\n  a:  {b: 1}\n  cc: {b: 1}\n"),
        ("p:\n- a:  1\n  cc: 2\n", "p:\n  - a:  1\n    cc: 2\n"),
    ],
)
def test_values_in_one_column_stay_in_one(before: str, after: str | None) -> None:
    if after is None:
        assert formatted("x.yaml", before)[0] is None
    else:
        assert laid_out(before) == after


def test_the_line_ends_are_those_of_the_first_line() -> None:
    assert laid_out("a:   1\r\nb: |\n   x\r   y\r\n") == "a: 1\r\nb: |\r\n  x\r\n  y\r\n"
    assert laid_out("a:   1\rb: 2\r") == "a: 1\rb: 2\r"


def test_other_characters_stay_and_a_byte_order_mark_goes() -> None:
    text = "ключ:   '漢字\u2028 \x85'   # \u00e9\n"
    assert laid_out("\ufeff" + text) == text.replace(":   ", ": ").replace("   #", "     #")
    assert laid_out('a:  "\\ud83d\\ude00 \\u2028"\n') == 'a: "\\ud83d\\ude00 \\u2028"\n'


def test_of_an_embedded_policy_only_its_own_lines_change() -> None:
    host = "host:   &a [ 1,2 ]\nother:\n      - *a\n\n\n\n"
    policy = "delegation:\n      pool:\n      - model:   m  # x\n      # y\n   # z\n"
    behind = "# the host's\nlast:   1"
    expected = "delegation:\n  pool:\n    - model: m      # x\n  # y\n# z\n"
    shown = laid_out(host + policy + behind)
    assert shown == host + expected + behind
    assert laid_out("a:   1\ndelegation:   { model:   m }   \nb:   2") == (
        "a:   1\ndelegation: {model: m}   \nb:   2"
    )
    assert laid_out("{a:   1, delegation:   { model:   m },b: 2}") == (
        "{a:   1, delegation: {model: m},b: 2}"
    )


def test_a_file_with_errors_of_yaml_is_left_alone() -> None:
    text, found = formatted("x.yaml", "a: 1\na: 2\n")
    assert text is None
    assert [item.code for item in found] == [Code.DUPLICATE_KEY]
    assert formatted("x.yaml", "a: [")[0] is None
    assert formatted("x.yaml", b"\xff")[0] is None


def test_a_policy_with_errors_of_the_schema_gets_its_layout() -> None:
    assert laid_out("versoin:   1") == "versoin: 1\n"


def test_the_whole_of_a_policy() -> None:
    before = """
        pool:
        # the first
        - name: a
          pick: >-
                task.kind == "coding" &&
                  true
          # commented: out
        - {name: b,model: n}
        # next
        forbid:
        -   id: x
            when: task.kind == "x"
                || task.kind == "y"
    """
    after = """
        pool:
          # the first
          - name: a
            pick: >-
              task.kind == "coding" &&
                true
            # commented: out
          - {name: b, model: n}
        # next
        forbid:
          - id: x
            when: task.kind == "x"
              || task.kind == "y"
    """
    assert laid_out(before) == textwrap.dedent(after).lstrip()
