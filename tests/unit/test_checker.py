"""The profile of CEL and what is checked of a condition when a policy is loaded.

In the tables of problems, the angle quotes stand around the text that the caret underlines.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import replace
from typing import Any

import pytest

from policy_router.cel.ast import (
    BOOL,
    BROKEN,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    Attribute,
    Literal,
    Type,
    walk,
)
from policy_router.cel.checker import Checked, Problem, check
from policy_router.cel.parser import MAX_CHAIN, MAX_CHARACTERS, MAX_DEPTH, MAX_NODES
from policy_router.cel.vocabulary import (
    NOW,
    REQUEST_NAMES,
    TARGET_NAMES,
    Name,
    Vocabulary,
)
from policy_router.diagnostics.codes import Code
from tests.support.rows import each

BUDGET = frozenset({"budget.remaining_usd"})
KINDS = frozenset({"coding", "math"})
FACTS = (
    Name("facts.text", STRING),
    Name("facts.count", INT),
    Name("facts.ratio", DOUBLE),
    Name("facts.flag", BOOL),
    Name("facts.tags", STRINGS),
    Name("facts.maybe", INT, optional=True),
)
VARIABLES = (
    Name("variables.has_budget", BOOL, present_if_true=BUDGET),
    Name("variables.no_budget", BOOL, present_if_false=BUDGET),
    Name("variables.broken", BROKEN),
)
NAMES = (*REQUEST_NAMES, *TARGET_NAMES, NOW, *FACTS, *VARIABLES)
VOCABULARY = Vocabulary.of(
    replace(name, values=KINDS) if name.path == "task.kind" else name for name in NAMES
)


def checked(text: str, vocabulary: Vocabulary = VOCABULARY) -> Checked:
    """Check an expression that is right."""
    result, problems = check(text, vocabulary)
    assert not problems, problems
    return result


def problem_of(text: str, vocabulary: Vocabulary = VOCABULARY) -> Problem:
    """Check an expression with one problem."""
    result, problems = check(text, vocabulary)
    assert result.node is None
    (problem,) = problems
    return problem


def unmarked(marked: str) -> tuple[str, str, int]:
    """Return an expression, its marked part, and the offset at which that begins."""
    before, _, rest = marked.partition("«")
    inner, _, after = rest.partition("»")
    return before + inner + after, inner, len(before)


# What passes, with its type.

TYPED = {
    "bool": (
        "true",
        "facts.flag",
        "!facts.flag",
        "true && false || facts.flag",
        "task.kind == 'coding'",
        "task.kind != ''",
        "facts.text == task.kind",
        "facts.count == 1",
        "facts.ratio >= 1.0",
        "facts.flag != true",
        "task.labels == []",
        "task.labels == ['a']",
        "[1, 2] != [3]",
        "'a' < 'b'",
        "1 <= 2",
        "1.5 > 1.0",
        "now > timestamp('2026-01-31T09:00:00Z')",
        "duration('1h30m') >= duration('90m')",
        "now == now",
        "'pii' in task.labels",
        "1 in [1, 2]",
        "1.0 in [1.0]",
        "1 in []",
        "[1] in [[1]]",
        "task.kind in ['coding', '']",
        "facts.text.startsWith('a')",
        "facts.text.endsWith('a')",
        "facts.text.contains('a')",
        "facts.text.matches('^a+$')",
        "task.labels.all(label, label != '')",
        "task.labels.exists(label, label == 'pii')",
        "task.labels.exists_one(label, label == 'pii')",
        "task.labels.all(a, task.needs.exists(b, a == b))",
        "[[1], [2]].all(row, row.all(n, n > 0))",
        "has(task.input_tokens)",
        "has(target.price.output)",
    ),
    "int": (
        "1",
        "-1",
        "- 1",
        "1-1",
        "0x1F",
        "9223372036854775807",
        "-9223372036854775808",
        "-facts.count",
        "1 + 2 - 3 * 4 / 5 % 6",
        "size('abc')",
        "'abc'.size()",
        "size(task.labels)",
        "task.labels.size()",
        "[1, 2][0]",
        "int(1.5)",
        "int('1')",
        "int(1)",
        "int(now)",
        "facts.flag ? 1 : 2",
        "bucket('canary', caller.id)",
        "now.getFullYear()",
        "now.getMonth()",
        "now.getDate()",
        "now.getDayOfMonth()",
        "now.getDayOfWeek()",
        "now.getDayOfYear()",
        "now.getHours()",
        "now.getMinutes()",
        "now.getSeconds()",
        "now.getMilliseconds()",
        "now.getHours('UTC')",
        "now.getDayOfWeek('+02:00')",
        "now.getHours('-08:30')",
        "duration('90s').getHours()",
        "duration('90s').getMinutes()",
        "duration('90s').getSeconds()",
        "duration('90s').getMilliseconds()",
    ),
    "double": (
        "1.5",
        "1e3",
        "-facts.ratio",
        "1.0 + 2.0 - 3.0 * 4.0 / 5.0",
        "double(1)",
        "double(1.0)",
        "double('1')",
    ),
    "string": (
        "'a'",
        '"a"',
        "r'a\\d'",
        "'a' + facts.text",
        "task.labels[0]",
        "string('a')",
        "string(1)",
        "string(true)",
        "string(now)",
        "string(duration('1s'))",
    ),
    "timestamp": (
        "now",
        "timestamp(facts.text)",
        "now + duration('1h')",
        "duration('1h') + now",
        "now - duration('1h')",
    ),
    "duration": (
        "duration(facts.text)",
        "now - now",
        "duration('1h') + duration('1m')",
        "duration('1h') - duration('1m')",
    ),
    "list": ("[]", "[] + []"),
    "list of string": (
        "task.labels",
        "['a']",
        "task.labels + ['a']",
        "[] + ['a']",
        "['a'] + []",
        "task.labels.filter(label, label != '')",
        "task.labels.map(label, label + '!')",
        "facts.flag ? [] : ['a']",
        "facts.flag ? ['a'] : []",
    ),
    "list of int": ("[1]", "task.labels.map(label, size(label))"),
    "list of list of int": ("[[1], [2, 3]]",),
}
PASSING = [(text, type_) for type_, texts in TYPED.items() for text in texts]


def test_what_the_profile_holds_has_its_type() -> None:
    for text, type_ in PASSING:
        node = checked(text).node
        assert node is not None, text
        assert str(node.type) == type_, text


def spelt(type_: Type) -> str:
    """Spell a type as Google's checker does."""
    if type_.name == "list":
        return f"LIST<{spelt(type_.element) if type_.element else 'DYN'}>"
    return type_.name.upper()


def googles_environment() -> Any:
    """Return Google's checker with the same names, or skip where it is not installed."""
    cel = pytest.importorskip("cel_expr_python.cel")
    types = {
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "string": cel.Type.STRING,
        "timestamp": cel.Type.TIMESTAMP,
        "list": cel.Type.List(cel.Type.STRING),
    }
    names = {name.path: types[name.type.name] for name in NAMES if name.type != BROKEN}
    text = cel.Type.STRING
    bucket = cel.FunctionDecl("bucket", [cel.Overload("bucket", cel.Type.INT, [text, text])])
    return cel.NewEnv(variables={**names, "present": cel.Type.BOOL}, functions=[bucket])


def test_what_passes_here_passes_googles_checker_with_the_same_type() -> None:
    environment = googles_environment()
    for text, _ in PASSING:
        node = checked(text).node
        assert node is not None, text
        # There the names are variables with dots in them, of which `has()` cannot be asked.
        plain = re.sub(r"has\([\w.]+\)", "present", text)
        assert environment.compile(plain).return_type().name() == spelt(node.type), text


# What does not pass: code, place and help.

NOT_ONE = "equality is written `==`"
A_TIME = 'write `timestamp("2026-01-31T09:00:00Z")`'
DIGITS = "write the number in digits alone, such as `128000`"
MOVE = "move the comment above the condition; inside, it begins with `//`"
NO_SIGN = "write the number without `%`"
NO_OPERATOR = "an operator is missing before it, such as `&&` or `==`"
SYNTAX = [
    ("task.kind =«=»", "the expression ends too early", None),
    ("(facts.flag == tru«e»", "the expression ends too early", None),
    ("facts.flag &«&»   ", "the expression ends too early", None),
    ("task.kind «=» 'a'", "unexpected `=`", NOT_ONE),
    ("task.kind ==«=» 'a'", "unexpected `=`", NOT_ONE),
    ("task.kind == «'abc»", "the string is not closed", None),
    ('task.kind == «"abc»', "the string is not closed", None),
    ("facts.flag«)»", "unexpected `)`", None),
    ("task «kind»", "unexpected `kind`", None),
    ("facts.count == «@»1", "unexpected `@`", None),
    ("task.«.»kind", "unexpected `.`", None),
    ("facts.flag «#» a", "unexpected `#`", MOVE),
    ("facts.flag «AND» facts.flag", "unexpected `AND`", "write `&&`"),
    ("not «task».kind == 'a'", "unexpected `task`", "write `!(...)`"),
    (
        "task.labels.exists(l «=»> l == 'a')",
        "unexpected `=`",
        "write a comma: `list.exists(item, condition)`",
    ),
    ("task.kind «is» not 'a'", "unexpected `is`", "write `!=`"),
    ("facts.count «between» 1", "unexpected `between`", "write `1 <= x && x <= 3`"),
    ("facts.count < 10«,»000", "unexpected `,`", "write the number without a comma"),
    ("task.kind in 'a'«,» 'b'", "unexpected `,`", 'a list is written in brackets: `["a", "b"]`'),
    ("task.kind == «`»a`", "unexpected backtick", "write a straight quote"),
    ("facts.count «=»> 1", "unexpected `=`", "write `>=`"),
    ("facts.count «=»< 1", "unexpected `=`", "write `<=`"),
    ("facts.count <«>» 1", "unexpected `>`", "write `!=`"),
    ("facts.count «\u2265» 1", "unexpected `\u2265`", "write `>=`"),
    ("facts.count > «\u2212»1", "unexpected `\u2212`", "write `-`"),
    ("task.kind«\u00a0»== 'a'", "unexpected character U+00A0", "remove it"),
    ("task.kind«\u200b» == 'a'", "unexpected character U+200B", "remove it"),
    ("«$»{task.kind} == 'a'", "unexpected `$`", "write the name alone, such as `task.kind`"),
    ("{{ task.kind «}»} == 'a'", "unexpected `}`", "write the name alone, such as `task.kind`"),
    ("task.kind.matches(«/»a/)", "unexpected `/`", 'a pattern is a text: `x.matches("pattern")`'),
    ("now > 2026-01-31«T09»", "unexpected `T09`", A_TIME),
    ("bucket('a', caller.id) < 10«%»", "the expression ends too early", NO_SIGN),
    ("task.input_tokens > 128«k»", "unexpected `k`", DIGITS),
    ("task.kind == 'a' «task».kind == 'b'", "unexpected `task`", NO_OPERATOR),
]


@each(("marked", "message", "help_"), SYNTAX)
def test_a_text_that_is_no_expression_is_underlined_where_it_goes_wrong(
    marked: str, message: str, help_: str | None
) -> None:
    text, inner, start = unmarked(marked)
    problem = problem_of(text)
    assert (problem.code, problem.message) == (Code.CEL_SYNTAX, message)
    assert (problem.start, problem.end) == (start, start + len(inner))
    # An `=` for `==` is told apart; for the rest, what is unexpected says enough.
    assert help_ is None or problem.help == help_


NO_FIELD = "name one of its values, such as `task.model`"
TO_LOOK = "to look into a list, write `value in list`"
GUARD = "write `has({0}) && ...`, or `has({0}) ? {0} : ...`"
AROUND = "write `double(...)` around the int"
QUOTED = 'a text is in quotes, such as `task.kind == "xyzzy"`'
RAW = 'double the backslash, or write a raw text: `r"..."`'
NO_LOOKAHEAD = "there is no look-ahead: write two conditions, joined with `&&`"
VALUE_FIRST = "write `value in list`; for two lists, `sets.intersects(a, b)`"
PROBLEMS: list[tuple[str, Code, str | None]] = [
    # Unknown names.
    ("«tsk».kind == 'coding'", Code.UNKNOWN_NAME, "did you mean `task`?"),
    ("task.«knd» == 'coding'", Code.UNKNOWN_NAME, "did you mean `task.kind`?"),
    ("has(task.«input_token»)", Code.UNKNOWN_NAME, "did you mean `task.input_tokens`?"),
    ("has(«tsk».input_tokens)", Code.UNKNOWN_NAME, "did you mean `task`?"),
    ("«xyzzy»", Code.UNKNOWN_NAME, QUOTED),
    ("[1, «xyzzy»] == [1]", Code.UNKNOWN_NAME, QUOTED),
    ("task.labels[«xyzzy»] == ''", Code.UNKNOWN_NAME, QUOTED),
    ("«kind» == 'a'", Code.UNKNOWN_NAME, "did you mean `task.kind`?"),
    (
        "«user».team == 'a'",
        Code.UNKNOWN_NAME,
        "the names are `caller.id`, `caller.team` and `caller.roles`",
    ),
    ("«always»", Code.UNKNOWN_NAME, "write `true`"),
    ("«task»", Code.UNKNOWN_NAME, NO_FIELD),
    (
        "has(«target.price»)",
        Code.UNKNOWN_NAME,
        "name one of its values, such as `target.price.input`",
    ),
    ("task.kind.«length» == 1", Code.UNKNOWN_NAME, "write `size(task.kind)`"),
    ("task.labels.all(label, «labl» == '')", Code.UNKNOWN_NAME, "did you mean `label`?"),
    # What only looks like a known name is not suggested: the remedy is to declare the fact.
    ("facts.«zzzz» == ''", Code.UNKNOWN_NAME, "declare it under `facts`"),
    (
        "variables.«zzzz»",
        Code.UNKNOWN_NAME,
        "a variable may use only the ones above it",
    ),
    # Wrong types.
    ("«task.labels == 'pii'»", Code.TYPE_MISMATCH, TO_LOOK),
    ("«'pii' != task.labels»", Code.TYPE_MISMATCH, TO_LOOK),
    ("«1 == 'a'»", Code.TYPE_MISMATCH, None),
    ("«[1] == ['a']»", Code.TYPE_MISMATCH, None),
    ("«task.kind» && true", Code.TYPE_MISMATCH, None),
    ("true || «1»", Code.TYPE_MISMATCH, None),
    ("!«1»", Code.TYPE_MISMATCH, None),
    ("«1» ? 2 : 3", Code.TYPE_MISMATCH, None),
    ("«facts.flag ? 1 : 'a'»", Code.TYPE_MISMATCH, None),
    ("[1, «'a'»]", Code.TYPE_MISMATCH, None),
    ("«true < false»", Code.TYPE_MISMATCH, None),
    ("«'a' < 1»", Code.TYPE_MISMATCH, None),
    ("«1.5 % 1.5»", Code.TYPE_MISMATCH, None),
    ("«now > '2026-01-31T09:00:00Z'»", Code.TYPE_MISMATCH, A_TIME),
    ("«'a' in 'abc'»", Code.TYPE_MISMATCH, "write `a.contains(b)`"),
    ("«'a' in 1»", Code.TYPE_MISMATCH, None),
    ("«1 in ['a']»", Code.TYPE_MISMATCH, None),
    ("«[1] + ['a']»", Code.TYPE_MISMATCH, None),
    ("«'abc'[0]»", Code.TYPE_MISMATCH, None),
    ("«task.labels['a']»", Code.TYPE_MISMATCH, None),
    ("«(1 + 2).x»", Code.TYPE_MISMATCH, None),
    ("«has(task)»", Code.TYPE_MISMATCH, None),
    ("«has(now)»", Code.TYPE_MISMATCH, None),
    ("«has(task.labels[0])»", Code.TYPE_MISMATCH, None),
    ("«has()»", Code.TYPE_MISMATCH, None),
    ("«has(budget.spent_usd, budget.spent_usd)»", Code.TYPE_MISMATCH, None),
    ("«size(1)»", Code.TYPE_MISMATCH, None),
    ("«size()»", Code.TYPE_MISMATCH, None),
    ("«string(1.0)»", Code.TYPE_MISMATCH, None),
    ("«int(true)»", Code.TYPE_MISMATCH, None),
    ("«bucket('a')»", Code.TYPE_MISMATCH, "it takes string, string"),
    ("«bucket('a', 1)»", Code.TYPE_MISMATCH, None),
    ("«task.labels in ['a']»", Code.TYPE_MISMATCH, VALUE_FIRST),
    ("«task.labels in 'a'»", Code.TYPE_MISMATCH, VALUE_FIRST),
    ("«parent.depth < '2'»", Code.TYPE_MISMATCH, "write the number without quotes"),
    ("«parent.depth in ['2']»", Code.TYPE_MISMATCH, "write the number without quotes"),
    (
        "«1 < parent.depth < 3»",
        Code.TYPE_MISMATCH,
        "write two comparisons, such as `1 < x && x < 3`",
    ),
    (
        "caller.team == 'a' || «'b'»",
        Code.TYPE_MISMATCH,
        'write `x == "a" || x == "b"`, or `x in ["a", "b"]`',
    ),
    (
        "!«'a'» in task.labels",
        Code.TYPE_MISMATCH,
        'put parentheses around the condition: `!("a" in x)`',
    ),
    ("«now - now > 7»", Code.TYPE_MISMATCH, 'write `duration("1h30m")`'),
    (
        "«now.getDayOfWeek() == 'Monday'»",
        Code.TYPE_MISMATCH,
        "days are numbers: Sunday is 0, Saturday 6",
    ),
    ("duration(«'7d'») == duration('1h')", Code.BAD_LITERAL, "write `168h`"),
    ("task.kind.matches(«'*a'»)", Code.BAD_PATTERN, "any text is `.*`"),
    (
        "«bucket('a', caller.id)» < 0.1",
        Code.INT_WITH_DOUBLE,
        "a bucket is 0 to 99: 10 percent are `< 10`",
    ),
    ("«now.getHours(1)»", Code.TYPE_MISMATCH, None),
    ("«duration('1s').getMonth()»", Code.TYPE_MISMATCH, None),
    ("task.labels.all(label, «size(label)»)", Code.TYPE_MISMATCH, None),
    ("task.labels.filter(label, «label»)", Code.TYPE_MISMATCH, None),
    ("«task.kind».all(letter, true)", Code.TYPE_MISMATCH, None),
    ("task.labels.all(label, «label.x» == 1)", Code.TYPE_MISMATCH, None),
    # An int beside a double.
    ("facts.ratio == «1»", Code.INT_WITH_DOUBLE, "write `1.0`"),
    ("«1» < facts.ratio", Code.INT_WITH_DOUBLE, "write `1.0`"),
    ("«facts.count» < 1.0", Code.INT_WITH_DOUBLE, AROUND),
    ("1.0 + «2»", Code.INT_WITH_DOUBLE, "write `2.0`"),
    ("«1» in [1.0]", Code.INT_WITH_DOUBLE, "write `1.0`"),
    ("facts.ratio in [«1»]", Code.INT_WITH_DOUBLE, "write `1.0`"),
    ("facts.flag ? «1» : 2.0", Code.INT_WITH_DOUBLE, "write `1.0`"),
    ("[«1», 2.0] == []", Code.INT_WITH_DOUBLE, "write `1.0`"),
    # Optional names without a guard, and guards without an optional name.
    ("«task.input_tokens» > 1", Code.UNGUARDED, GUARD.format("task.input_tokens")),
    ("«facts.maybe» > 1", Code.UNGUARDED, GUARD.format("facts.maybe")),
    ("«has(task.kind)»", Code.ALWAYS_PRESENT, 'absent means "": write `task.kind != ""`'),
    ("«has(task.labels)»", Code.ALWAYS_PRESENT, "absent means []: write `task.labels != []`"),
    ("«has(task.index)»", Code.ALWAYS_PRESENT, None),
    ("«has(facts.text)»", Code.ALWAYS_PRESENT, 'absent means "": write `facts.text != ""`'),
    # Closed sets.
    ("task.kind == «'codng'»", Code.OUTSIDE_CLOSED_SET, "did you mean `coding`?"),
    ("«'zzz'» != task.kind", Code.OUTSIDE_CLOSED_SET, "one of coding, math"),
    ("task.kind in ['coding', «'zzz'»]", Code.OUTSIDE_CLOSED_SET, "one of coding, math"),
    # Outside the profile.
    ("«{'a': 1}»", Code.OUTSIDE_PROFILE, None),
    ("«.now» == now", Code.OUTSIDE_PROFILE, None),
    ("«b'abc'»", Code.OUTSIDE_PROFILE, None),
    ("«1u»", Code.OUTSIDE_PROFILE, None),
    ("«0xFFu»", Code.OUTSIDE_PROFILE, None),
    (
        "«null»",
        Code.OUTSIDE_PROFILE,
        'ask `has(x)` for what may be absent, and compare with `""` what is always present',
    ),
    ("«target['name']»", Code.OUTSIDE_PROFILE, None),
    ("[«[]»]", Code.OUTSIDE_PROFILE, None),
    ("task.labels.map(a, «[]»)", Code.OUTSIDE_PROFILE, None),
    ("«.task».kind == ''", Code.OUTSIDE_PROFILE, None),
    ("«dyn»(1)", Code.OUTSIDE_PROFILE, None),
    ("«siz»(task.kind)", Code.OUTSIDE_PROFILE, "did you mean `size`?"),
    ("task.kind.«startWith»('a')", Code.OUTSIDE_PROFILE, "did you mean `startsWith`?"),
    ("task.labels.«exist»(a, true)", Code.OUTSIDE_PROFILE, "did you mean `exists`?"),
    (
        "«matches»(task.kind, 'a')",
        Code.OUTSIDE_PROFILE,
        "write it after its first argument: `x.matches(...)`",
    ),
    ("task.kind.«int»()", Code.OUTSIDE_PROFILE, "write it before its argument: `int(x)`"),
    ("«task.labels.map(a, a == '', a)»", Code.OUTSIDE_PROFILE, None),
    ("«task.labels.all(a)»", Code.OUTSIDE_PROFILE, None),
    ("«task.labels.all(a.b, true)»", Code.OUTSIDE_PROFILE, None),
    ("task.labels.all(«task», true)", Code.OUTSIDE_PROFILE, "give it another name"),
    ("task.labels.all(«facts», true)", Code.OUTSIDE_PROFILE, "give it another name"),
    (
        "task.labels.all(a, task.needs.all(«a», true))",
        Code.OUTSIDE_PROFILE,
        "give it another name",
    ),
    # Literals and patterns.
    ("«1e400» > 1.0", Code.BAD_LITERAL, None),
    ("«9223372036854775808»", Code.BAD_LITERAL, None),
    ("«-9223372036854775809»", Code.BAD_LITERAL, None),
    (r"«'\q'» == ''", Code.BAD_LITERAL, RAW),
    ("now > timestamp(«'2026-13-01T00:00:00Z'»)", Code.BAD_LITERAL, None),
    ("duration(«'1x'»)", Code.BAD_LITERAL, None),
    ("now.getHours(«'Europe/Berlin'»)", Code.BAD_LITERAL, None),
    ("now.getHours(«facts.text»)", Code.BAD_LITERAL, None),
    ("task.kind.matches(«'('»)", Code.BAD_PATTERN, None),
    ("task.kind.matches(«facts.text»)", Code.BAD_PATTERN, None),
    # RE2 has no look-around and no back references.
    ("task.kind.matches(«'(?=a)'»)", Code.BAD_PATTERN, NO_LOOKAHEAD),
    # Limits.
    (
        "['a'].all(a, ['b'].all(b, «['c'].all(c, a == b && b == c)»))",
        Code.LIMIT_EXCEEDED,
        None,
    ),
]


@each(
    ("marked", "code", "help_"), [pytest.param(*row, id=f"{row[1]} {row[0]}") for row in PROBLEMS]
)
def test_a_problem_has_its_code_place_and_remedy(
    marked: str, code: Code, help_: str | None
) -> None:
    text, inner, start = unmarked(marked)
    problem = problem_of(text)
    assert problem.code is code
    assert text[problem.start : problem.end] == inner
    assert problem.start == start
    assert problem.help == help_


MESSAGES = [
    ("1 == 'a'", "`==` cannot compare int with string"),
    ("'a' < 1", "`<` does not take string, int"),
    ("-'a'", "`-` does not take string"),
    ("math.greatest([]) > 1", "`math.greatest` does not take list"),
    ("math.least([]) > 1", "`math.least` does not take list"),
    ("size()", "`size` takes an argument"),
    ("[1, 'a']", "a list of int cannot hold string"),
    ("[1] + ['a']", "`+` cannot join list of int and list of string"),
    ("true < false", "bools have no order"),
    ("true ? 1 : 'a'", "the two sides of `? :` differ: int and string"),
    ("has(task.kind)", "`task.kind` is always present"),
    (
        "task.input_tokens == 1",
        "`task.input_tokens` may be absent and is used without a `has()` guard",
    ),
    ("task.kind == 'zzz'", "`zzz` is not one of the values of `task.kind`"),
    ("tsk", "unknown name `tsk`"),
    ("1e400", "the number is too large for a double"),
]


@each(("text", "message"), MESSAGES)
def test_a_message_says_what_was_found(text: str, message: str) -> None:
    assert problem_of(text).message == message


def test_all_problems_of_an_expression_are_found_at_once() -> None:
    _, problems = check("tsk.kind == 'a' && task.labels == 'b' || has(task.kind)", VOCABULARY)
    assert [problem.code for problem in problems] == [
        Code.UNKNOWN_NAME,
        Code.TYPE_MISMATCH,
        Code.ALWAYS_PRESENT,
    ]


def test_every_item_of_a_list_is_held_against_a_closed_set() -> None:
    _, problems = check("task.kind in ['yyy', 'math', 'zzz']", VOCABULARY)
    assert [problem.start for problem in problems] == [14, 29]


def test_a_field_of_something_broken_is_not_a_second_problem() -> None:
    # The first problem is the cause; what follows from it would only hide it.
    assert problem_of("nothing(1).x").message.startswith("`nothing` is not a function")


def test_a_variable_with_a_problem_of_its_own_is_not_reported_where_it_is_used() -> None:
    assert check("variables.broken && true", VOCABULARY) == (Checked(None), ())


def test_a_root_that_is_known_elsewhere_says_where() -> None:
    vocabulary = Vocabulary.of(REQUEST_NAMES, {"target": "known in `allow` alone"})
    problem = problem_of("target.name == ''", vocabulary)
    assert (problem.code, problem.message) == (Code.UNKNOWN_NAME, "`target` is not known here")
    assert problem.help == "known in `allow` alone"
    loop = problem_of("task.labels.all(target, true)", vocabulary)
    assert loop.code is Code.OUTSIDE_PROFILE


# Guards.

X = "budget.remaining_usd"
GUARDED = [
    f"has({X}) && {X} > 1.0",
    f"facts.flag && has({X}) && {X} > 1.0",
    f"has({X}) && facts.flag && {X} > 1.0",
    f"has({X}) && ({X} > 1.0 || {X} < 0.0)",
    f"(has({X}) && facts.flag) && {X} > 1.0",
    f"!has({X}) || {X} > 1.0",
    f"facts.flag || !has({X}) || {X} > 1.0",
    f"!(!has({X})) && {X} > 1.0",
    f"!(has({X}) && facts.flag) || {X} > 1.0",
    f"!(!has({X}) || facts.flag) && {X} > 1.0",
    f"has({X}) ? {X} > 1.0 : true",
    f"!has({X}) ? true : {X} > 1.0",
    f"(facts.flag ? has({X}) : has({X})) && {X} > 1.0",
    f"(has({X}) ? facts.flag : has({X})) && {X} > 1.0",
    f"(has({X}) ? facts.flag : !has({X})) || true",
    f"(!has({X}) ? !facts.flag : facts.flag) ? true : true",
    f"!(facts.flag ? !has({X}) : !has({X})) && {X} > 1.0",
    f"!(has({X}) ? facts.flag : !has({X})) && {X} > 1.0",
    f"(has({X}) || has({X})) && {X} > 1.0",
    f"(has({X}) && facts.flag || has({X})) && {X} > 1.0",
    f"!(!has({X}) && !has({X})) && {X} > 1.0",
    f"variables.has_budget && {X} > 1.0",
    f"!variables.has_budget ? false : {X} > 1.0",
    f"variables.no_budget || {X} > 1.0",
    f"!variables.no_budget && {X} > 1.0",
    f"has({X}) && task.labels.exists(a, {X} > 1.0)",
    f"task.labels.exists(a, has({X}) && {X} > 1.0)",
    f"has({X}) && [{X}] == [1.0]",
    f"has({X}) && has(budget.spent_usd) && {X} < budget.spent_usd",
    f"has({X}) && -{X} < double(1)",
]


@each("text", GUARDED)
def test_a_guard_makes_an_optional_name_usable(text: str) -> None:
    checked(text)


UNGUARDED = [
    f"{X} > 1.0 && has({X})",
    f"has({X}) || {X} > 1.0",
    f"!has({X}) && {X} > 1.0",
    f"(has({X}) || facts.flag) && {X} > 1.0",
    f"!(has({X}) && facts.flag) && {X} > 1.0",
    f"(!has({X}) && facts.flag) || {X} > 1.0",
    f"has({X}) ? true : {X} > 1.0",
    f"!has({X}) ? {X} > 1.0 : true",
    f"(facts.flag ? has({X}) : true) && {X} > 1.0",
    f"(facts.flag ? true : has({X})) && {X} > 1.0",
    f"(has({X}) ? facts.flag : facts.flag) && {X} > 1.0",
    f"!(facts.flag ? !has({X}) : true) && {X} > 1.0",
    f"!(facts.flag ? true : !has({X})) && {X} > 1.0",
    f"has(budget.spent_usd) && {X} > 1.0",
    f"variables.no_budget && {X} > 1.0",
    f"variables.has_budget || {X} > 1.0",
    f"!variables.has_budget && {X} > 1.0",
    # A list may be empty, and then nothing was asked.
    f"task.labels.all(a, has({X})) && {X} > 1.0",
    # A guard that is only a value in a comparison is none.
    f"has({X}) == true && {X} > 1.0",
    f"(has({X}) && facts.flag) || {X} > 1.0",
]


@each("text", UNGUARDED)
def test_what_does_not_show_that_a_name_is_there_is_no_guard(text: str) -> None:
    problem = problem_of(text)
    assert problem.code is Code.UNGUARDED
    assert text[problem.start : problem.end] == X


def test_what_an_expression_shows_is_known_for_variables_that_hold_it() -> None:
    assert checked(f"has({X}) && facts.flag")[1:] == (BUDGET, frozenset())
    assert checked(f"!has({X}) || facts.flag")[1:] == (frozenset(), BUDGET)
    assert checked("facts.flag")[1:] == (frozenset(), frozenset())


# Limits, at their edges.


def test_an_expression_may_have_just_the_characters_allowed() -> None:
    checked("true".ljust(MAX_CHARACTERS))
    problem = problem_of("true".ljust(MAX_CHARACTERS + 1))
    assert problem.code is Code.LIMIT_EXCEEDED
    assert problem.message == "the expression has 4,097 characters, 4,096 are allowed"
    assert (problem.start, problem.end) == (0, MAX_CHARACTERS + 1)


def test_an_expression_may_have_just_the_nodes_allowed() -> None:
    # Beside the items of the list: a chain, ==, a function, a list, 1, and two names.
    text = f"size([{','.join(['1'] * (MAX_NODES - 7))}]) == 1 || facts.flag || facts.flag"
    checked(text)
    problem = problem_of(f"!{text}")
    assert (problem.code, problem.start, problem.end) == (Code.LIMIT_EXCEEDED, 0, len(text) + 1)
    assert problem.message == "the expression has 1,001 nodes, 1,000 are allowed"


@each(
    "alternative",
    [
        'task.kind == "kind-{0}"',
        '"label-{0}" in task.labels',
        '!("role-{0}" in caller.roles)',
        'task.kind in ["a{0}", "b{0}"]',
        'facts.text.startsWith("v{0}.")',
        "has(facts.maybe) && facts.maybe == {0}",
        "task.index == {0} && parent.depth < 9",
    ],
)
def test_a_hundred_alternatives_are_within_the_limits(alternative: str) -> None:
    closed = Vocabulary.of(NAMES)
    checked(" || ".join(alternative.format(number) for number in range(100)), closed)


def test_a_list_is_one_node_beside_its_items() -> None:
    checked(f"[{','.join(['1'] * (MAX_NODES - 1))}]")
    assert problem_of(f"[{','.join(['1'] * MAX_NODES)}]").code is Code.LIMIT_EXCEEDED


@each(("opening", "closing"), [("(", ")"), ("!", ""), ("[", "]")])
def test_an_expression_may_be_just_as_deep_as_allowed(opening: str, closing: str) -> None:
    checked(opening * MAX_DEPTH + "true" + closing * MAX_DEPTH)
    problem = problem_of(opening * (MAX_DEPTH + 1) + "true" + closing * (MAX_DEPTH + 1))
    assert problem.code is Code.LIMIT_EXCEEDED
    assert problem.message == f"the expression is nested deeper than {MAX_DEPTH} levels"
    # The caret is under what is too deep.
    assert problem.start == MAX_DEPTH + 1


def test_a_chain_of_and_or_or_is_not_deep() -> None:
    checked(" && ".join(["true"] * 400))
    checked(" || ".join(["true"] * 400))


CHAINS = {
    "sum": ("1", " + 1"),
    "difference": ("1", " - 1"),
    "sum and difference": ("1", " + 1 - 1"),
    "product": ("1", " * 1"),
    "quotient": ("1", " / 1"),
    "remainder": ("1", " % 1 * 1"),
    "text": ('"a"', ' + "a"'),
    "equality": ("true", " == true"),
    "inequality": ("true", " != true == true"),
    "lists": ("[1]", ".map(e, e)"),
    "more lists": ("[1]", ".filter(e, e > 0).map(e, e)"),
}
"""How chains begin, and how they go on."""


def chain_of(name: str) -> str:
    """Return the longest chain that is allowed."""
    begin, link = CHAINS[name]
    operators = len(re.findall(r" [-+*/%=!]|\.\w", link))
    return begin + link * (MAX_CHAIN // operators)


@each("name", CHAINS)
def test_a_chain_is_not_deep(name: str) -> None:
    chain = chain_of(name)
    checked(chain)
    problem = problem_of(chain + CHAINS[name][1])
    assert problem.code is Code.LIMIT_EXCEEDED
    assert problem.message == f"the expression has more than {MAX_CHAIN} operators in a row"


def test_a_chain_of_choices_is_not_deep() -> None:
    choice = "facts.flag ? 1 : "
    checked(choice * MAX_CHAIN + "2")
    problem = problem_of(choice * (MAX_CHAIN + 1) + "2")
    assert problem.code is Code.LIMIT_EXCEEDED
    assert problem.start == len(choice) * MAX_CHAIN


def test_chains_around_each_other_count_together() -> None:
    half = MAX_CHAIN // 2
    inner = f"(1{' + 1' * half})"
    checked(f"{inner}{' * 1' * half} == 1 {'+ 1' * MAX_CHAIN}")
    assert problem_of(f"{inner}{' * 1' * (half + 2)}").code is Code.LIMIT_EXCEEDED


def test_what_stands_in_a_chain_is_as_deep_as_beside_it() -> None:
    deep = "(" * (MAX_DEPTH - 1) + "1" + ")" * (MAX_DEPTH - 1)
    checked(f"1 + 1 + {deep} + 1")
    assert problem_of(f"1 + 1 + ({deep}) + 1").code is Code.LIMIT_EXCEEDED


@each("name", CHAINS)
def test_whatever_is_within_the_limits_needs_few_frames(name: str) -> None:
    levels = MAX_DEPTH - 4
    before, frames = sys.getrecursionlimit(), len(inspect.stack(0))
    try:
        sys.setrecursionlimit(frames + 600)
        checked("[" * levels + chain_of(name) + "]" * levels)
    finally:
        sys.setrecursionlimit(before)


@each(
    ("text", "same"),
    [("[1, 2,]", "[1, 2]"), ("[1 , ]", "[1]"), ("[,]", "[]"), ("[[1,], [2],]", "[[1], [2]]")],
)
def test_a_list_may_end_in_a_comma(text: str, same: str) -> None:
    node, other = checked(text).node, checked(same).node
    assert node is not None
    assert other is not None
    assert (node.start, node.end) == (0, len(text))
    assert [(type(piece), piece.type) for piece in walk(node)] == [
        (type(piece), piece.type) for piece in walk(other)
    ]


@each(
    "text",
    ["[,«1»]", "[1,«,»]", "size([1],«)»", "facts.text.contains('a',«)»", "has(call.model,«)»"],
)
def test_a_comma_ends_nothing_but_a_list(text: str) -> None:
    expression, part, start = unmarked(text)
    problem = problem_of(expression)
    assert (problem.code, problem.start) == (Code.CEL_SYNTAX, start)
    assert expression[problem.start : problem.end] == part


def test_two_macros_may_stand_in_each_other_and_any_number_beside() -> None:
    inner = "task.labels.all(a, task.labels.all(b, a == b))"
    checked(f"{inner} && {inner} && {inner}")


# The tree.


def test_every_node_knows_where_it_was_written() -> None:
    text = "task.kind == 'coding' && size( task.labels ) > 0"
    node = checked(text).node
    assert node is not None
    assert [text[piece.start : piece.end] for piece in walk(node)] == [
        text,
        "task.kind == 'coding'",
        "task.kind",
        "'coding'",
        "size( task.labels ) > 0",
        "size( task.labels )",
        "task.labels",
        "0",
    ]


def test_a_bool_literal_knows_where_it_was_written() -> None:
    text = "facts.flag == true || false"
    node = checked(text).node
    assert node is not None
    literals = [piece for piece in walk(node) if isinstance(piece, Literal)]
    assert [text[piece.start : piece.end] for piece in literals] == ["true", "false"]


@each("marked", ["«1 == true»", "«true + 1»", "[false, «1»]", "«true ? 1 : 'a'»"])
def test_a_problem_beside_a_bool_literal_has_its_place(marked: str) -> None:
    text, inner, start = unmarked(marked)
    problem = problem_of(text)
    assert (problem.start, problem.end) == (start, start + len(inner))


def test_a_chain_is_one_node_in_reading_order() -> None:
    node = checked("facts.flag || task.kind == '' || true").node
    assert node is not None
    assert len(node.children()) == 3
    assert isinstance(node.children()[0], Attribute)


def test_places_are_counted_across_lines() -> None:
    text = "facts.flag &&\n  tsk.kind == ''"
    problem = problem_of(text)
    assert text[problem.start : problem.end] == "tsk"
