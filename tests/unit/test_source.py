"""Each rule of the YAML door, with both of PyYAML's parsers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, json_path
from policy_router.policy import yaml as source
from policy_router.policy.yaml import Document, MappingNode, ScalarNode, SequenceNode


@pytest.fixture(
    autouse=True,
    params=[
        pytest.param(
            "CSafeLoader",
            marks=pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml"),
        ),
        "SafeLoader",
    ],
)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_router.policy.yaml.parser.LOADER", getattr(yaml, request.param))


def valid(text: str | bytes) -> Document:
    document, found = source.read("x.yaml", text)
    assert found == ()
    assert document is not None
    return document


def value_of(text: str) -> Any:
    """Return the value of the key `k`."""
    return source.plain(valid(text).root)["k"]


def problems(text: str | bytes) -> list[Diagnostic]:
    found = list(source.read("x.yaml", text)[1])
    assert all(item.severity is Severity.ERROR for item in found)
    return sorted(found, key=lambda item: item.span.start)


def places(text: str | bytes) -> list[str]:
    """Say each problem as `line:column code path`."""
    return [f"{str(item.span)[7:]} {item.code} {item.path}" for item in problems(text)]


def only(text: str | bytes) -> Diagnostic:
    (found,) = problems(text)
    return found


def pointed_at(item: Diagnostic) -> str:
    return item.span.source.text[item.span.start : item.span.end]


# --- Scalars ---


@pytest.mark.parametrize("word", ["", "~", "null", "Null", "NULL"])
def test_null(word: str) -> None:
    assert value_of(f"k: {word}\n") is None


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("True", True), ("TRUE", True), ("false", False), ("FALSE", False)],
)
def test_booleans(word: str, value: object) -> None:
    assert value_of(f"k: {word}") is value


def test_everything_else_is_a_string() -> None:
    for word in (
        *["no", "No", "off", "on", "yes", "y", "n", "tRUE", "nULL", "1:30", "2026-01-01"],
        *["1_000", "1,000", "0b1", "0o8", "0xG", "-0x1", "+0o7", "0O7", "0X1F", "1e", "e1"],
        *[".", "..", "-", "+", "+-1", "1.2.3", ".e1", "nan", "inf", ".Nan", ".iNF", "-.nan"],
        *["2026-01-01T00:00:00Z", "=", "<<", "a b", "1 2", "\u0661"],
    ):
        alone = "," in word
        assert value_of(f"k: {word}" if alone else f"k: [{word}, x]") == (
            word if alone else [word, "x"]
        )


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[("010", 10), ("0", 0), ("-0", 0), ("+7", 7), ("-12", -12), ("0o17", 15), ("0x1F", 31)],
        *[("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63))],
        *[("0" * 5000 + "7", 7), ("0x" + "0" * 5000 + "7", 7)],
    ],
)
def test_integers(word: str, value: int) -> None:
    assert value_of(f"k: {word}") == value
    assert type(value_of(f"k: {word}")) is int


@pytest.mark.parametrize(
    ("word", "value"),
    [("1e3", 1e3), ("1.", 1.0), (".5", 0.5), ("-1.5E-3", -1.5e-3), ("+.5e+1", 5.0), ("01.0", 1.0)],
)
def test_floats(word: str, value: float) -> None:
    assert value_of(f"k: {word}") == value
    assert type(value_of(f"k: {word}")) is float


@pytest.mark.parametrize("style", ["'{}'", '"{}"', "|-\n {}", ">-\n {}"])
def test_only_plain_scalars_mean_something_else(style: str) -> None:
    for word in ("null", "true", "1", "1e3", "~", ".inf", "9" * 5000):
        assert value_of("k: " + style.format(word)) == word


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("9223372036854775808", "the integer does not fit into 64 bits"),
        ("-9223372036854775809", "the integer does not fit into 64 bits"),
        ("0x8000000000000000", "the integer does not fit into 64 bits"),
        ("9" * 100_000, "the integer does not fit into 64 bits"),
        ("1e999", "the number is too large"),
        ("9" * 400 + ".0", "the number is too large"),
        ("-1e999", "the number is too large"),
        (".inf", "a number must be finite"),
        ("-.INF", "a number must be finite"),
        ("+.Inf", "a number must be finite"),
        (".nan", "a number must be finite"),
        (".NaN", "a number must be finite"),
    ],
)
def test_numbers_that_are_none(word: str, message: str) -> None:
    found = only(f"a: b\nk: [{word}]")
    assert (found.code, found.message, found.path) == (Code.BAD_VALUE, message, "$.k[0]")
    assert pointed_at(found) == word
    document, _ = source.read("x", f"k: [{word}]")
    assert document is not None
    assert source.plain(document.root) == {"k": [1]}


def test_line_ends_of_yaml_1_1_are_ordinary_characters() -> None:
    text = "k: a\x85 b\u2028c\u2029d\nq: \"x\u2028  y\\L\\U00100000\"\n\u2028: '\x85'"
    values = source.plain(valid(text).root)
    assert values == {
        "k": "a\x85 b\u2028c\u2029d",
        "q": "x\u2028  y\u2028\U00100000",
        "\u2028": "\x85",
    }


def test_a_character_of_the_private_planes_is_kept() -> None:
    text = 'k: "\U00100000\u2028\\U00100001"'
    assert value_of(text) == "\U00100000\u2028\U00100001"


TEXTS = (
    "\U0001f600",
    "a\U0001f600\U00010000b\U0010ffff",
    "\U00100000\u2028\U0001f600\U00100001\x85",
    "\\ud83d\\ude00",
    "\\\\ud83d\\ude00\U0001f600\\",
    '"\U0001f600\\"',
    "\0\U0001f600\0",
)


@pytest.mark.parametrize("text", TEXTS)
def test_what_json_writes_means_what_json_says(text: str) -> None:
    written = json.dumps({text: [text]}, indent=1)
    assert source.plain(valid(written).root) == {text: [text]}
    assert source.read_value("x", written) == ({text: [text]}, ())


def test_halves_of_a_character_are_one_in_double_quotes_alone() -> None:
    text = r"""
a: '\ud83d\ude00 \uD83D\uDE00'  # \ud83d\ude00
b: \uD83d\ude00 \\ud83d\ude00
c\ud83d\ude00: "\uD83d\uDE00"
"\ud83d\ude00": |  # \ud83D\ude00
  \ud83d\ude00
  "\uD83D\uDE00" \\ud83d\ude00
"""
    assert source.plain(valid(text).root) == {
        "a": r"\ud83d\ude00 \uD83D\uDE00",
        "b": r"\uD83d\ude00 \\ud83d\ude00",
        r"c\ud83d\ude00": "\U0001f600",
        "\U0001f600": '\\ud83d\\ude00\n"\\uD83D\\uDE00" \\\\ud83d\\ude00\n',
    }


def test_a_place_behind_two_halves_is_exact() -> None:
    node = valid(r'k: "a\ud83d\ude00b \ud83d\ude01c"').root.get("k")
    assert isinstance(node, ScalarNode)
    assert node.text == "a\U0001f600b \U0001f601c"
    written = [node.span_of(place, place + 1) for place in range(len(node.text))]
    assert [span.source.text[span.start : span.end] for span in written] == [
        *("a", r"\ud83d\ude00", "b", " ", r"\ud83d\ude01", "c"),
    ]


# --- The tree ---


def test_the_tree_and_its_places() -> None:
    text = "k:  # note\n  - {a: 1, b: [x]}\n  -\n    c: d  # note\n\n# end\nl: []\n"
    root = valid(text).root
    assert root.keys() == ("k", "l")
    assert text[root.span.start : root.span.end] == text.rstrip()
    listed = root.get("k")
    assert isinstance(listed, SequenceNode)
    assert text[listed.span.start : listed.span.end] == "- {a: 1, b: [x]}\n  -\n    c: d"
    flow, block = listed.items
    assert text[flow.span.start : flow.span.end] == "{a: 1, b: [x]}"
    assert text[block.span.start : block.span.end] == "c: d"
    pair = root.pair("l")
    assert pair
    assert str(pair.key.span) == "x.yaml:7:1"
    assert root.pair("z") is None
    assert root.get("z") is None


def test_at_walks() -> None:
    root = valid("k: [{a: 1}]").root
    node = source.at(root, ["k", 0, "a"])
    assert isinstance(node, ScalarNode)
    assert node.value == 1
    assert source.at(root, []) is root


@pytest.mark.parametrize("path", [["z"], ["k", 1], ["k", "a"], [0], ["k", 0, "a", "b"], ["k", -1]])
def test_at_a_place_that_is_not_there(path: list[str | int]) -> None:
    with pytest.raises(KeyError):
        source.at(valid("k: [{a: 1}]").root, path)


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (["pool", 0, "pick"], "$.pool[0].pick"),
        (["odd key", "a-b", "1"], '$["odd key"]["a-b"]["1"]'),
        (['"', "\n\u202e", ""], '$["\\""]["\ufffd\ufffd"][""]'),
        (["sk-" + "a" * 30], f'$["{"*" * 33}"]'),
        (["ghp_" + "a" * 30], f'$["{"*" * 34}"]'),
        (
            ["b" * 90 + " eyJ" + "a" * 300 + ".eyJ" + "a" * 40 + ".c"],
            f'$["{"b" * 90} {"*" * 9}..."]',
        ),
        (["a" * 500], f'$["{"a" * 100}..."]'),
    ],
)
def test_json_path(parts: list[str | int], path: str) -> None:
    assert json_path(*parts) == path


# --- Before YAML ---


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_marks(bom: str, line_end: str) -> None:
    text = bom + "a: 😀\nk: |\n  x\n  y\nb: *z".replace("\n", line_end)
    for content in (text, text.encode()):
        (found,) = problems(content)
        assert str(found.span) == "x.yaml:5:4"
        document, _ = source.read("x", content)
        assert document is not None
        assert source.plain(document.root)["k"] == "x\ny\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_encodings(encoding: str) -> None:
    mark = "" if encoding.endswith(("16", "32")) else "\ufeff"
    found = only((mark + "a: b").encode(encoding))
    assert (found.code, str(found.span)) == (Code.NOT_UTF8, "x.yaml:1:1")
    assert found.help == "save the file as UTF-8"


def test_bytes_that_are_not_utf8() -> None:
    found = only("\ufeffa: ü\nb: ü".encode() + b"\xfc\n")
    assert (found.code, str(found.span)) == (Code.NOT_UTF8, "x.yaml:2:5")


def test_utf16_without_a_mark_is_found_by_its_nul() -> None:
    found = only("a: b".encode("utf-16-le"))
    assert (found.code, found.help) == (Code.YAML_SYNTAX, "save the file as UTF-8")


@pytest.mark.parametrize("content", ["#" * 1_048_577, b"#" * 1_048_577, "é" * 524_289])
def test_too_large(content: str | bytes) -> None:
    found = only(content)
    assert (found.code, found.message) == (Code.FILE_TOO_LARGE, "the file is larger than 1 MiB")


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["#", "é"])
def test_as_large_as_can_be(unit: str) -> None:
    text = "k: 1 #"
    text += unit * ((1_048_576 - len(text)) // len(unit.encode()))
    assert value_of(text) == 1
    valid(text.encode())


@pytest.mark.parametrize("character", list("\0\x07\x1b\x7f\x80\x9f\ud800\udfff\ufffe\uffff\ufeff"))
def test_unprintable_characters(character: str) -> None:
    found = only(f"a: b\nk: 'x{character}'")
    assert (found.code, str(found.span)) == (Code.YAML_SYNTAX, "x.yaml:2:6")
    assert found.message == f"the character U+{ord(character):04X} is not allowed in a YAML file"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n",
        "# only\n",
        "---\n",
        "---\n...\n",
        "null",
        "~ # x",
        "\ufeff",
        b"\xef\xbb\xbf",
    ],
)
def test_empty(text: str | bytes) -> None:
    found = only(text)
    assert (found.code, found.message) == (Code.EMPTY_FILE, "the file is empty")
    assert found.help == "write at least `version: 1`"


@pytest.mark.parametrize("text", ["%YAML 1.2\n---\nk: no", "# x\n\n%YAML  1.2 # y\n---\nk: no"])
def test_the_directive_that_changes_nothing(text: str) -> None:
    assert value_of(text) == "no"


@pytest.mark.parametrize("line", ["%YAML 1.1", "%YAML 1.3", "%YAML 2.0", "%YAML", "%FOO bar"])
def test_other_directives(line: str) -> None:
    assert places(f"# x\n{line}\n---\nk: no") == ["2:1 PR103 $"]


def test_tag_directives() -> None:
    assert places("%TAG ! tag:x,2000:\n---\nk: no") == ["1:1 PR107 $"]


def test_many_documents() -> None:
    found = only("k: 1\n---\nl: 2\n---\nm: [")
    assert (found.code, str(found.span)) == (Code.MANY_DOCUMENTS, "x.yaml:2:1")
    assert source.read("x", "k: 1\n---\n")[0]
    assert value_of("---\nk: 1\n...\n") == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("- a", "a list"),
        ("a", "a string"),
        ("1", "a number"),
        ("no", "a string"),
        ("true", "a boolean"),
    ],
)
def test_wrong_roots(text: str, kind: str) -> None:
    found = only(text)
    assert found.code is Code.WRONG_TYPE
    assert found.message == f"the root of a policy is a mapping, not {kind}"


# --- Other files than policies ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no\nb: 010", {"a": "no", "b": 10}),
        ("- 1\n- {a: [x]}", [1, {"a": ["x"]}]),
        ('{"delegation": {"model": "m"}, "k": 1}', {"delegation": {"model": "m"}, "k": 1}),
        ("delegation: {model: m}", {"delegation": {"model": "m"}}),
        ("1.5", 1.5),
        ("'1'", "1"),
        ("''", ""),
        ("null", None),
        ("[]", []),
        ("%YAML 1.2\n---\nk: \u2028", {"k": "\u2028"}),
        (b"\xef\xbb\xbfk: \xc3\xa9", {"k": "\u00e9"}),
    ],
)
def test_any_root_is_a_value(text: str | bytes, value: object) -> None:
    assert source.read_value("x.yaml", text) == (value, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1 PR104 $ the file is empty"]),
        ("---\n", ["1:1 PR104 $ the file is empty"]),
        ("# only", ["1:1 PR104 $ the file is empty"]),
        ("*x", ["1:1 PR106 $ an alias is not allowed"]),
        ("&x", ["1:1 PR106 $ an anchor is not allowed"]),
        ("a: &x 1\nb: [c", ["1:4 PR106 $.a an anchor", "2:6 PR103 $ a `,` or a `]`"]),
        ("delegation: {a: 1, a: 2}", ["1:20 PR105 $.delegation.a the key `a` is given twice"]),
        ("- !t .inf", ["1:3 PR107 $[0] a tag", "1:6 PR205 $[0] a number must be finite"]),
        ("1: a", ['1:1 PR112 $["1"] the key `1` is a number']),
        ("<<: {a: 1}", ['1:1 PR108 $["<<"] the merge key']),
        ("a\n---\nb", ["2:1 PR111 $ a file holds one document"]),
        ("%FOO\n---\na", ["1:1 PR103 $ the only directive"]),
        ("%TAG ! tag:x,2000:\n---\na", ["1:1 PR107 $ a `%TAG` directive"]),
        ("a\0", ["1:2 PR103 $ the character U+0000"]),
        (b"\xff", ["1:1 PR101 $ the file is not UTF-8"]),
        ("#" * 1_048_577, ["1:1 PR102 $ the file is larger than 1 MiB"]),
        ("[" * 20_000, ["1:33 PR109 $" + "[0]" * 32 + " a document is at most 32"]),
        pytest.param(
            "[" + "a, " * 200_000 + "]",
            ["1:599999 PR110 $[199999] a document has at most"],
            marks=pytest.mark.stress,
        ),
    ],
    ids=lambda text: text[:12] if isinstance(text, (str, bytes)) else "",
)
def test_a_value_is_held_to_the_rules(text: str | bytes, expected: list[str]) -> None:
    value, found = source.read_value("x.yaml", text)
    assert value is None
    written = [f"{item.span} {item.code.value} {item.path} {item.message}" for item in found]
    assert len(written) == len(expected)
    for one, start in zip(written, expected, strict=True):
        assert one.startswith(f"x.yaml:{start}")


# --- What a policy may not hold ---


def test_duplicate_keys() -> None:
    text = "a: 1\nb: {c: 1, 'c': 2, \"\\x63\": {d: 1, d: 2}}\na: &x 2\n"
    assert places(text) == [
        "2:11 PR105 $.b.c",
        "2:19 PR105 $.b.c",
        "2:34 PR105 $.b.c.d",
        "3:1 PR105 $.a",
        "3:4 PR106 $.a",
    ]
    assert problems(text)[3].message == "the key `a` is given twice"
    assert problems(text)[3].help == "first at line 1"
    document, _ = source.read("x", text)
    assert document is not None
    assert source.plain(document.root) == {"a": 1, "b": {"c": 1}}


def test_anchors_and_aliases() -> None:
    text = "a: &x 1\nb: *x\nc: &y\n  d: [&z e, *z]\n*q : 1\n&k l: 1\nm: &w\n"
    assert places(text) == [
        "1:4 PR106 $.a",
        "2:4 PR106 $.b",
        "3:4 PR106 $.c",
        "4:7 PR106 $.c.d[0]",
        "4:13 PR106 $.c.d[1]",
        "5:1 PR106 $",
        "6:1 PR106 $",
        "7:4 PR106 $.m",
    ]
    assert [pointed_at(item) for item in problems(text)[:3]] == ["&x", "*x", "&y"]
    document, _ = source.read("x", text)
    assert document is not None
    assert source.plain(document.root) == {
        "a": 1,
        "b": None,
        "c": {"d": ["e", None]},
        "l": 1,
        "m": None,
    }
    node = document.root.get("a")
    assert isinstance(node, ScalarNode)
    assert str(node.span) == "x:1:7"


def test_tags() -> None:
    text = "a: !!str 1\nb: ! 2\nc: !x {d: !<tag:y> e}\nf: !!seq\n- g\nh: &i !!map {}\n"
    assert places(text) == [
        "1:4 PR107 $.a",
        "2:4 PR107 $.b",
        "3:4 PR107 $.c",
        "3:11 PR107 $.c.d",
        "4:4 PR107 $.f",
        "6:4 PR106 $.h",
        "6:7 PR107 $.h",
    ]
    document, _ = source.read("x", text)
    assert document is not None
    assert source.plain(document.root)["f"] == ["g"]


def test_merge_keys() -> None:
    text = "a:\n  <<: {b: 1}\n  <<: [*x]\n  '<<': 1\n  c: <<\n"
    assert places(text) == ['2:3 PR108 $.a["<<"]', '3:3 PR108 $.a["<<"]', '3:8 PR106 $.a["<<"][0]']
    document, _ = source.read("x", text)
    assert document is not None
    assert source.plain(document.root) == {"a": {"<<": 1, "c": "<<"}}


def test_keys_that_are_not_strings() -> None:
    text = "1: a\ntrue: b\nnull: c\n1.5: d\n.inf: e\nno: f\n'2': g\n? [h]\n: {i: 1}\n? {j: 1}\n"
    assert places(text) == [
        '1:1 PR112 $["1"]',
        "2:1 PR112 $.true",
        "3:1 PR112 $.null",
        '4:1 PR112 $["1.5"]',
        '5:1 PR112 $[".inf"]',
        "8:3 PR112 $",
        "10:3 PR112 $",
    ]
    assert [item.message for item in problems(text)] == [
        "the key `1` is a number, not a string",
        "the key `true` is a boolean, not a string",
        "the key `null` is null, not a string",
        "the key `1.5` is a number, not a string",
        "the key `.inf` is a number, not a string",
        "a key is a list, not a string",
        "a key is a mapping, not a string",
    ]
    assert {item.help for item in problems(text)} == {"quote the key"}
    document, _ = source.read("x", text)
    assert document is not None
    assert document.root.keys() == ("1", "true", "null", "1.5", ".inf", "no", "2")


def test_a_missing_key() -> None:
    found = only("? \n: a\nb: c")
    assert (found.code, found.message) == (Code.KEY_NOT_A_STRING, "a key is missing")


@pytest.mark.slow
@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_too_deep(opening: str) -> None:
    closing = {"[": "]", "{a: ": "}", "- ": ""}[opening]
    valid("k:\n " + opening * 31 + "b" + closing * 31)
    for count in (32, 20_000):
        found = only("k:\n " + opening * count + "b" + closing * count)
        assert found.code is Code.TOO_DEEP
        assert found.span.position == (2, 2 + 31 * len(opening))
    assert source.read("x", "k: " + "[" * 20_000)[0] is None


def test_too_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_router.policy.yaml.tree.MAX_NODES", 6)
    valid("k: [a, b, {}]")
    document, (found,) = source.read("x.yaml", "k: [a, b, {}, c]\nl: ][")
    assert document is None
    assert (found.code, str(found.span), found.path) == (
        *(Code.TOO_MANY_NODES, "x.yaml:1:15"),
        "$.k[3]",
    )


def test_many_problems() -> None:
    assert len(source.read("x", "a: 1\n" * 5_000)[1]) == source.MAX_PROBLEMS


# --- Syntax ---


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a:\n\tb: c", "2:1", "a tab cannot indent"),
        ("a:\n  b: c\n\td: e", "3:1", "a tab cannot indent"),
        ("a: b: c", "1:5", "a `:` is not allowed here"),
        ("a: 1\n b: 2", "2:3", "a `:` is not allowed here"),
        ("a: - b", "1:4", "a `- ` is not allowed here"),
        ("a: 1\nb\nc: 2", "2:1", "this key has no `:`"),
        ("a: [x\n\n", "1:6", "a `,` or a `]` is missing"),
        ("a: {x: y\nb: c", "2:2", "a `,` or a `}` is missing"),
        ("a: 'x\nb: c\n", "1:4", "this quote is never closed"),
        ('a: "x\n---\n', "1:4", "a document ends inside a quoted value"),
        ('a: "\\q"', "1:5", "this escape is unknown"),
        ('a: "\\xzz"', "1:5", "this escape takes hexadecimal digits"),
        ('a: "\\ud83d"', "1:5", "this escape is not a character"),
        ('a: "\\ude00\\ud83d"', "1:5", "this escape is not a character"),
        ('a: "\\ud83d\\u0041"', "1:5", "this escape is not a character"),
        ('a: "\\ud83d\\ud83d\\ude00"', "1:5", "this escape is not a character"),
        ('a: "\\ud83d\\ude00\\ud83d"', "1:17", "this escape is not a character"),
        ('a: "\\\\ud83d\\ude00"', "1:12", "this escape is not a character"),
        ('a: 1\nb: "x\n  \\UFFFFFFFF"', "3:3", "this escape is not a character"),
        ("a: @x", "1:4", "a plain value cannot begin with this character"),
        ("a: `x", "1:4", "a plain value cannot begin with this character"),
        ("- a\nb: c", "2:1", "this does not fit the lines above"),
        ("a: 1\n]", "2:1", "this does not fit the lines above"),
        ("a: >x\n  y", "1:5", "nothing else is allowed after `|` or `>`"),
        ("a: |0\n  y", "1:5", "the indentation after `|` or `>` is 1 to 9"),
        ("a: ]", "1:4", None),
        ("a: & x", "1:5", "a plain value cannot begin with `&` or `*`"),
        ("a: !q!x y", "1:4", "a tag is not allowed"),
        (" a: 1\nb: 2", "2:1", "nothing more is allowed here"),
    ],
)
def test_syntax_errors(text: str, place: str, message: str | None) -> None:
    document, found = source.read("x.yaml", text)
    assert document is None
    (error,) = [item for item in found if item.code is Code.YAML_SYNTAX]
    assert str(error.span) == f"x.yaml:{place}"
    if message:
        assert error.message == message


@pytest.mark.parametrize(
    "text", ["api_key: [hunter2", "k: 'hunter2\n", 'k: "\\hunter2"', "k: a: hunter2"]
)
def test_syntax_errors_quote_nothing(text: str) -> None:
    found = only(text)
    assert "hunter2" not in f"{found.message} {found.help} {found.path}"


def test_problems_before_a_syntax_error_are_kept() -> None:
    assert places("a: 1\na: &x 2\nb: c: d") == ["2:1 PR105 $.a", "2:4 PR106 $.a", "3:5 PR103 $"]


# --- The embedded form ---

HOST = """\
x: &x {a: 1, a: 2}
<<: *x
1: !t 2
x: [.inf, 99999999999999999999]
delegation:
  model: m
  pool: [{model: a}]
y: *x
y: !!str 1
"""


def test_only_the_subtree_counts() -> None:
    document = valid(HOST)
    assert (document.embedded, document.path) == (True, "$.delegation")
    assert source.plain(document.root) == {"model": "m", "pool": [{"model": "a"}]}
    assert document.root.span.position == (6, 3)
    assert not valid("model: m").embedded
    assert valid("model: m").path == "$"


def test_the_subtree_is_held_to_the_rules() -> None:
    text = "x: &x 1\ndelegation:\n  a: *x\n  a: 1\n  pool: [{<<: &y {}, 1: 2}]\n  b: !t .inf\nz: *y"
    assert places(text) == [
        "3:6 PR106 $.delegation.a",
        "4:3 PR105 $.delegation.a",
        '5:11 PR108 $.delegation.pool[0]["<<"]',
        '5:15 PR106 $.delegation.pool[0]["<<"]',
        '5:22 PR112 $.delegation.pool[0]["1"]',
        "6:6 PR107 $.delegation.b",
        "6:9 PR205 $.delegation.b",
    ]


def test_a_second_delegation() -> None:
    assert places("delegation: {a: 1}\nx: 1\n'delegation': {b: &x 2}") == ["3:1 PR105 $.delegation"]


@pytest.mark.parametrize("text", ["x: 1\ndelegation:\ny: 2", "delegation: ~", "delegation: # x\n"])
def test_an_empty_delegation(text: str) -> None:
    found = only(text)
    assert (found.code, found.message) == (Code.EMPTY_FILE, "`delegation` is empty")
    assert found.path == "$.delegation"


def test_a_delegation_of_the_wrong_type() -> None:
    found = only("x: 1\ndelegation: [a]")
    assert (found.code, found.path) == (Code.WRONG_TYPE, "$.delegation")
    assert found.message == "`delegation` is a mapping, not a list"


@pytest.mark.parametrize("value", ["*x", "&x {a: 1}", "!!map {a: 1}"])
def test_delegation_itself_follows_the_rules(value: str) -> None:
    assert only(f"x: 1\ndelegation: {value}").path == "$.delegation"


@pytest.mark.parametrize(
    "key", ['"delegation"', "'delegation'", '"\\x64elegation"', "? delegation\n"]
)
def test_ways_to_write_the_key(key: str) -> None:
    assert valid(f"x: {{a: 1, a: 2}}\n{key}: {{b: 1}}").embedded


@pytest.mark.parametrize("text", ["x: {delegation: {a: 1}}", "x: [delegation]", "x: delegation"])
def test_the_key_counts_at_the_root_only(text: str) -> None:
    assert not valid(text).embedded


@pytest.mark.slow
@pytest.mark.parametrize("place", ["before", "after"])
def test_the_host_has_limits_of_its_own(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_router.policy.yaml.tree.MAX_NODES", 10)
    policy = "delegation: {a: [1]}\n"

    def around(host: str) -> str:
        return f"{host}\n{policy}" if place == "before" else f"{policy}{host}"

    assert valid(around("x: " + "[" * 200 + "]" * 200)).embedded
    assert valid(around("x: [" + "a, " * 500 + "]")).embedded
    assert valid(around("x: [" + "*a, " * 5_000 + "]")).embedded
    assert only(around("x: " + "[" * 5_000)).code is Code.TOO_DEEP
    found = only(around("") + "b: [")
    assert found.code is Code.YAML_SYNTAX


def test_the_depth_of_the_subtree_alone() -> None:
    valid("delegation: {a: " + "[" * 31 + "]" * 31 + "}")
    found = only("delegation: {a: " + "[" * 32 + "]" * 32 + "}")
    assert (found.code, found.path) == (Code.TOO_DEEP, "$.delegation.a" + "[0]" * 31)


def test_a_host_that_is_not_yaml() -> None:
    assert places("x: {a: 1, a: 2}\ny: [\ndelegation: {b: 1}") == ["3:19 PR103 $"]
    assert places("delegation: {b: &x 1}\ny: b: c") == ["1:17 PR106 $.delegation.b", "2:5 PR103 $"]


def test_a_tag_directive_of_the_host() -> None:
    assert valid("%TAG !e! tag:x,2000:\n---\nx: !e!f 1\ndelegation: {b: 1}").embedded


# --- Places inside a scalar ---


def shown(text: str, start: int, end: int) -> str:
    node = valid(text).root.get("k")
    assert isinstance(node, ScalarNode)
    span = node.span_of(start, end)
    return text[span.start : span.end]


@pytest.mark.parametrize(
    ("text", "start", "end", "written"),
    [
        ("k: task.x == 1  # c", 5, 6, "x"),
        ("k: a\n\n   b c", 2, 5, "b c"),
        ("k: a\n   b c", 1, 2, "\n"),
        ("k: 'it''s b'", 2, 4, "''s"),
        ("k: 'it''s b'", 5, 6, "b"),
        ('k: "a\\u00e9\\tb"', 1, 4, "\\u00e9\\tb"),
        ('k: "a \\\n   b"', 0, 3, "a \\\n   b"),
        ('k: "a \\\n   b"', 2, 3, "b"),
        ("k: |\n  ab\n   cd\nz: 1", 4, 6, "cd"),
        ("k: |2-\n    ab\n", 2, 4, "ab"),
        ("k: >\n  ab\n  cd\n\n  ef\n", 6, 8, "ef"),
        ("k: >\n  ab\n   cd\n  ef\n", 7, 9, "ef"),
        ("k: |+\n\n\n  a\n\n\nz: 1", 2, 3, "a"),
        ("k: ''", 0, 1, ""),
        ("k: ab", 1, 1, ""),
        ("k: ab", 5, 9, ""),
        ("k: 'a''b'", 5, 9, ""),
        ("k: 'a''b'", -5, 1, "a"),
        ("k: |\n  ab", 5, 9, ""),
        ("k: |+\n\n\n", 0, 9, "\n\n"),
    ],
)
def test_span_of(text: str, start: int, end: int, written: str) -> None:
    assert shown(text, start, end) == written
    with_returns = text.replace("\n", "\r\n")
    assert shown(with_returns, start, end) == written.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("k: |  # c\n  ab\n\n\n# d\nz: 1", "|  # c\n  ab"),
        ("k: >-\n  ab\n  c \n\n", ">-\n  ab\n  c"),
        ("k: ab   # c\n", "ab"),
        ("k: a\n  b\n\n\n# c\nz: 1", "a\n  b"),
        ("k: 'a b'   \nz: 1", "'a b'"),
        ("k:\n\n\nz: 1", ""),
        ("k: |\n\nz: 1", "|"),
    ],
)
def test_a_scalar_ends_where_its_text_does(text: str, written: str) -> None:
    node = valid(text).root.get("k")
    assert isinstance(node, ScalarNode)
    assert text[node.span.start : node.span.end] == written


def test_a_mapping_node_is_a_value() -> None:
    first, second = valid("k: [a, 1]").root, valid("k: [a, 1]").root
    assert isinstance(first, MappingNode)
    assert first == second
    assert hash(first) == hash(second)
