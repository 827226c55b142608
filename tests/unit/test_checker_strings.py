"""What a string literal of a condition may hold."""

from __future__ import annotations

from policy_router.cel.checker import Problem, check
from policy_router.cel.vocabulary import REQUEST_NAMES, Vocabulary
from policy_router.diagnostics.codes import Code
from tests.support.rows import each

VOCABULARY = Vocabulary.of(REQUEST_NAMES)


@each(
    "literal",
    [r"'a\000b'", r"'\x00'", r'"\u0000"', r"'\U00000000'", "'a\0'", 'r"\0"'],
)
def test_a_nul_character_cannot_stand_in_a_string(literal: str) -> None:
    checked, problems = check(f"task.kind == {literal}", VOCABULARY)
    message = "a NUL character is not allowed in a string"
    assert problems == (Problem(Code.BAD_LITERAL, message, 13, 13 + len(literal)),)
    assert checked.node is None


@each("literal", [r"'\\0'", r"r'\000'", "'0'", r"'\x01'"])
def test_other_strings_hold_no_nul(literal: str) -> None:
    assert check(f"task.kind == {literal}", VOCABULARY)[1] == ()
