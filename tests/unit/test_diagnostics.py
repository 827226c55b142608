"""Diagnostics as values, and their two renderings."""

from __future__ import annotations

import json

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import (
    SHOWN,
    Diagnostic,
    Diagnostics,
    SourceFile,
    Span,
    did_you_mean,
    json_path,
    printable,
    quote,
)
from tests.support.rows import each

KEY = "sk-abcdefghijklmnop"


def marked(text: str, name: str = "rules.yaml") -> Span:
    """Return the span of what stands between angle quotes."""
    before, _, rest = text.partition("«")
    inner, _, after = rest.partition("»")
    return Span(SourceFile(name, before + inner + after), len(before), len(before) + len(inner))


def finding(
    span: Span,
    *,
    code: Code = Code.BAD_VALUE,
    severity: Severity = Severity.ERROR,
    message: str = "something is wrong",
    help_: str | None = None,
) -> Diagnostic:
    """Return a diagnostic at a span."""
    return Diagnostic(code, severity, message, span, "$.pool[0].pick", help_)


def snippet(text: str) -> list[str]:
    """Return the source line and the caret line of a rendering."""
    lines = finding(marked(text)).to_text().split("\n")
    return [line.removeprefix("   | ") for line in lines if line.startswith("   | ")]


# Places.


@each("line_end", ["\n", "\r\n", "\r"])
def test_lines_and_columns_are_counted_from_1_whatever_ends_a_line(line_end: str) -> None:
    span = marked(line_end.join(["one", "  «two»", "three"]))
    assert (span.position, span.end_position) == ((2, 3), (2, 6))
    assert str(span) == "rules.yaml:2:3"


def test_a_span_may_begin_a_text_end_it_or_go_over_lines() -> None:
    assert marked("«a»").position == (1, 1)
    assert marked("a\n«»").position == (2, 1)
    assert marked("a\n«b\nc»d").end_position == (3, 2)


def test_an_end_before_the_start_is_the_start() -> None:
    assert Span(SourceFile("f", "abc"), 2, 1).end_position == (1, 3)


def test_a_column_counts_characters_not_bytes() -> None:
    assert marked("\u00e9\U0001f600«x»").position == (1, 3)


def test_the_name_of_a_file_cannot_act_on_a_terminal() -> None:
    assert str(marked("«x»", name="a\x1b[31m.yaml")) == "a\ufffd[31m.yaml:1:1"


# For a person.


def test_a_finding_is_printed_with_its_line_caret_remedy_and_path() -> None:
    text = 'pool:\n  - pick: «tsk».kind == "coding"\n'
    item = Diagnostic(
        Code.UNKNOWN_NAME,
        Severity.ERROR,
        "unknown name `tsk`",
        marked(text, "rules/acme.yaml"),
        "$.pool[0].pick",
        "did you mean `task`?",
    )
    assert item.to_text() == (
        "rules/acme.yaml:2:11: error[PR301]: unknown name `tsk`\n"
        '   |   - pick: tsk.kind == "coding"\n'
        "   |           ^^^\n"
        "   = help: did you mean `task`?\n"
        "   = path: $.pool[0].pick"
    )


def test_without_a_remedy_there_is_no_help() -> None:
    assert "help" not in finding(marked("«x»")).to_text()


def test_severity_and_caret_are_painted() -> None:
    text = finding(marked("«x»"), severity=Severity.WARNING).to_text(
        lambda text, role: f"<{role}>{text}</>"
    )
    assert "<warning>warning[PR205]</>: something" in text
    assert "   | <error>^</>" in text


@each(
    ("text", "line", "carets"),
    [
        ("ab«cd»ef", "abcdef", "  ^^"),
        # A wide character takes two columns of a terminal, a combining one none.
        ("\u6f22\u5b57«\u6f22»x", "\u6f22\u5b57\u6f22x", "    ^^"),
        ("e\u0301«x»", "e\u0301x", " ^"),
        ("a«\u0301»", "a\u0301", " ^"),
        # A tab is shown as one space, so that carets stand where they should.
        ("\ta:\t«x»", " a: x", "    ^"),
        ("a«\tb»", "a b", " ^^"),
        # What a terminal would act on is replaced.
        ("a\x1b«b»", "a\ufffdb", "  ^"),
        # Nothing at all is still pointed at, even past the end.
        ("ab«»c", "abc", "  ^"),
        ("abc«»", "abc", "   ^"),
        # A span over lines is underlined to the end of the first.
        ("ab«cd\nef»", "abcd", "  ^^"),
    ],
)
def test_the_caret_stands_under_what_is_meant(text: str, line: str, carets: str) -> None:
    assert snippet(text) == [line, carets]


def test_an_empty_line_is_not_shown() -> None:
    assert snippet("«»") == []
    assert snippet("a\n«»\nb") == []


@each(
    ("before", "after", "start"),
    [(0, 300, 0), (150, 150, 70), (299, 0, 140), (80, 300, 0), (81, 300, 1)],
)
def test_a_very_long_line_is_cut_around_the_caret(before: int, after: int, start: int) -> None:
    letters = "".join(chr(ord("a") + place % 26) for place in range(before + after + 1))
    line, carets = snippet(f"{letters[:before]}«{letters[before]}»{letters[before + 1 :]}")
    assert len(line) == 160
    assert line == letters[start : start + 160]
    assert line[carets.index("^")] == letters[before]
    assert carets.strip() == "^"


def test_a_line_of_just_the_width_is_not_cut() -> None:
    assert snippet(f"«{'a' * 160}»") == ["a" * 160, "^" * 160]


def test_a_long_mark_ends_with_the_part_of_the_line_that_is_shown() -> None:
    line, carets = snippet(f"«{'a' * 500}»")
    assert (len(line), len(carets)) == (160, 160)


def test_a_secret_in_the_line_is_not_shown() -> None:
    line, carets = snippet(f"  model: «{KEY}» # x")
    assert line == f"  model: {'*' * len(KEY)} # x"
    assert carets == " " * 9 + "^" * len(KEY)


def test_a_stretch_of_a_secret_is_masked_too() -> None:
    source = SourceFile("f", f"its: {KEY} x")
    assert source.masked(5, 8) == "***"
    assert source.masked(0, 7) == "its: **"
    assert source.masked(5 + len(KEY) - 1, 5 + len(KEY) + 2) == "* x"


def test_the_text_of_a_file_is_not_in_its_repr() -> None:
    assert "hunter2" not in repr(SourceFile("f", "hunter2"))


# For a program.


def test_a_finding_in_json_has_exactly_these_keys() -> None:
    item = finding(marked("a\n b«cd\n»e"), help_="mend it")
    assert item.to_dict() == {
        "code": "PR205",
        "severity": "error",
        "message": "something is wrong",
        "file": "rules.yaml",
        "line": 2,
        "column": 3,
        "end_line": 3,
        "end_column": 1,
        "path": "$.pool[0].pick",
        "help": "mend it",
    }


def test_findings_in_json_have_their_counts() -> None:
    one = finding(marked("«a»"))
    two = finding(marked("«a»"), severity=Severity.WARNING, message="\u00e9")
    three = finding(marked("«a»"), severity=Severity.HINT, message="z")
    found = Diagnostics.of([two, three, one])
    decoded = json.loads(found.to_json())
    assert list(decoded) == ["diagnostics", "errors", "warnings", "hints"]
    assert (decoded["errors"], decoded["warnings"], decoded["hints"]) == (1, 1, 1)
    assert decoded["diagnostics"] == [one.to_dict(), three.to_dict(), two.to_dict()]
    assert list(found.without_hints()) == [one, two]
    assert "\u00e9" in found.to_json()


def test_no_findings_are_an_empty_list() -> None:
    counts = {"errors": 0, "warnings": 0, "hints": 0}
    assert Diagnostics.of([]).to_dict() == {"diagnostics": [], **counts}
    assert Diagnostics.of([]).to_text() == ""
    assert Diagnostics() == Diagnostics.of([])


# Many of them.


def test_findings_are_sorted_by_file_place_and_code() -> None:
    first, second = SourceFile("a.yaml", "x" * 20), SourceFile("b.yaml", "x")
    items = [
        finding(Span(first, 1, 2)),
        finding(Span(first, 9, 9)),
        finding(Span(first, 10, 11), code=Code.UNKNOWN_KEY),
        finding(Span(first, 10, 11), code=Code.BAD_VALUE, message="a"),
        finding(Span(first, 10, 11), code=Code.BAD_VALUE, message="b"),
        finding(Span(first, 10, 12), code=Code.UNKNOWN_KEY),
        finding(Span(second, 0, 0)),
    ]
    assert list(Diagnostics.of(reversed(items))) == items


def test_a_finding_is_kept_once() -> None:
    found = Diagnostics.of([finding(marked("«a»")), finding(marked("«a»"))])
    assert (len(found), found.errors, found.omitted) == (1, 1, 0)


def test_100_findings_are_kept_and_the_rest_is_counted() -> None:
    source = SourceFile("f", "x" * 200)
    full = [finding(Span(source, place, place)) for place in range(SHOWN)]
    assert SHOWN == 100
    assert Diagnostics.of(full).omitted == 0
    assert "omitted" not in Diagnostics.of(full).to_dict()
    more = Diagnostics.of([*full, finding(Span(source, 150, 150))])
    assert (len(more), more.errors, more.omitted) == (100, 101, 1)
    assert more.to_dict()["omitted"] == 1
    assert more.to_text().endswith("\n... and 1 more")


def test_errors_are_kept_before_warnings_and_all_stand_in_order() -> None:
    source = SourceFile("f", "x" * 300)
    warnings = [
        finding(Span(source, place, place), severity=Severity.WARNING) for place in range(150)
    ]
    errors = [finding(Span(source, place, place)) for place in range(149, 200)]
    found = Diagnostics.of([*warnings, *errors])
    assert (found.errors, found.warnings, found.omitted) == (51, 150, 101)
    assert list(found) == [*warnings[:49], *errors]


def test_the_text_of_findings_is_one_block_each() -> None:
    items = [finding(marked("«a»b")), finding(marked("a«b»"))]
    assert Diagnostics.of(items).to_text() == "\n".join(item.to_text() for item in items)


# Words of users.


def test_a_quoted_text_is_cut_where_it_is_long() -> None:
    assert quote("a" * 60) == f"`{'a' * 60}`"
    assert quote("a" * 61) == f"`{'a' * 60}...`"
    assert quote("abcdef", limit=3) == "`abc...`"


def test_a_quoted_text_holds_no_secret_and_nothing_that_acts_on_a_terminal() -> None:
    assert quote(f"x {KEY}") == f"`x {'*' * len(KEY)}`"
    assert quote("a\x1b[0m\u202e\ud800\nb") == "`a\ufffd[0m\ufffd\ufffd\ufffdb`"


def test_a_secret_is_found_before_the_text_is_cut() -> None:
    # Cut first, the key would be too short to have the shape of one.
    assert "sk-" not in quote(f"{'a' * 50} {KEY}")


@each("character", ["\x00", "\x07", "\x7f", "\x9b", "\u200b", "\u2066", "\ud800"])
def test_what_a_terminal_would_act_on_is_replaced(character: str) -> None:
    assert printable(f"a{character}b") == "a\ufffdb"


def test_what_people_write_is_printed_as_it_is() -> None:
    text = "a \u00e9 \u6f22 \U0001f600 e\u0301"
    assert printable(text) == text


@each(
    ("word", "help_"),
    [
        ("tsk", "did you mean `task`?"),
        ("parnet", "did you mean `parent`?"),
        ("task", "did you mean `task`?"),
        ("PARENT", "did you mean `parent`?"),
        ("xyz", None),
        ("", None),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(word: str, help_: str | None) -> None:
    assert did_you_mean(word, ["task", "parent"]) == help_
    assert did_you_mean(word, [*map(str, range(300)), "task", "parent"]) == help_


@each(
    ("parts", "path"),
    [
        ((), "$"),
        (("pool", 0, "pick"), "$.pool[0].pick"),
        (("odd key",), '$["odd key"]'),
        (("_a1",), "$._a1"),
        (("1a",), '$["1a"]'),
        (("",), '$[""]'),
        (('"',), '$["\\""]'),
        (("\u00e9",), '$["\u00e9"]'),
        (("a.b",), '$["a.b"]'),
        (("a\x1b",), '$["a\ufffd"]'),
    ],
)
def test_a_path_is_spelt_so_that_it_can_be_read(parts: tuple[str | int, ...], path: str) -> None:
    assert json_path(*parts) == path


def test_a_path_can_go_on_from_another() -> None:
    assert json_path("pick", base="$.delegation.pool[0]") == "$.delegation.pool[0].pick"


def test_a_key_in_a_path_holds_no_secret_and_is_cut_where_it_is_long() -> None:
    assert json_path(KEY) == f'$["{"*" * len(KEY)}"]'
    assert len(json_path("a " * 5000)) < 120
