"""The checker's part for functions, methods and macros."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policy_router.cel import literals, remedies
from policy_router.cel.ast import (
    BOOL,
    EMPTY_LIST,
    STRING,
    Apply,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Type,
)
from policy_router.cel.checking import EMPTY_IN_LIST, Checked, Scope, Walk
from policy_router.cel.functions import (
    FUNCTIONS,
    MACROS,
    METHODS,
    NAMESPACES,
    OPERATORS,
    Signature,
    result_of,
)
from policy_router.cel.names import check_has
from policy_router.cel.parser import Syntax
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import did_you_mean, quote

MAX_LOOPS = 2
"""How deep macros may stand in each other."""


def check_call(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check what is written before its arguments."""
    if syntax.word == "has":
        return check_has(walk, syntax, scope)
    if syntax.word not in FUNCTIONS:
        remedy = instead_of(syntax.word, [*FUNCTIONS, *METHODS, "has"])
        if syntax.word in walk.vocabulary.names:
            remedy = f"write `{syntax.word}`, without parentheses"
        if syntax.word in METHODS:
            remedy = f"write it after its first argument: `x.{syntax.word}(...)`"
        return unknown_function(walk, syntax.word, word_of(syntax), remedy)
    return applied(walk, syntax, walk.operands(syntax, scope), FUNCTIONS[syntax.word])


def check_method(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check what is written after its first argument."""
    if syntax.word not in METHODS:
        remedy = instead_of(syntax.word, [*METHODS, *MACROS])
        if syntax.word in FUNCTIONS:
            remedy = f"write it before its argument: `{syntax.word}(x)`"
        return unknown_function(walk, syntax.word, word_of(syntax), remedy)
    return applied(walk, syntax, walk.operands(syntax, scope), METHODS[syntax.word])


def instead_of(word: str, known: Iterable[str]) -> str | None:
    """Return the remedy for a function that is not in the profile, if there is one."""
    return remedies.FUNCTIONS.get(word) or did_you_mean(word, known)


def word_of(syntax: Syntax) -> tuple[int, int]:
    """Return where the name of a function or method stands."""
    return (syntax.word_start, syntax.word_start + len(syntax.word))


def unknown_function(walk: Walk, name: str, place: tuple[int, int], remedy: str | None) -> Checked:
    """Report a function that is not in the profile."""
    message = f"{quote(name)} is not a function of the profile of CEL used here"
    return walk.report(Code.OUTSIDE_PROFILE, message, place, remedy)


def applied(
    walk: Walk, syntax: Syntax, operands: list[Node] | None, signatures: tuple[Signature, ...]
) -> Checked:
    """Return a function, applied to checked operands, if it takes their types and constants."""
    if operands is None:
        return Checked(None)
    types = tuple(node.type for node in operands)
    gives = result_of(signatures, types)
    if gives is None:
        word = "-" if syntax.word == "neg" else syntax.word
        found = ", ".join(str(type_) for type_ in types)
        message = f"`{word}` does not take {found}" if found else f"`{word}` takes an argument"
        remedy = remedies.of_types(operands) if syntax.word in OPERATORS else None
        if word == "contains" and types[0].name == "list":
            remedy = "to look into a list, write `value in list`"
        elif len(signatures) == 1 and len(types) != len(signatures[0].takes):
            remedy = f"it takes {', '.join(map(str, signatures[0].takes))}"
        return walk.report(Code.TYPE_MISMATCH, message, syntax, remedy)
    if not _constants_fit(walk, syntax.word, operands):
        return Checked(None)
    return Checked(Apply(gives, syntax.start, syntax.end, syntax.word, tuple(operands)))


def _constants_fit(walk: Walk, function: str, operands: Sequence[Node]) -> bool:
    """Check what must be a constant, and constants that can be wrong."""
    last, remedy = operands[-1], None
    text = last.value if isinstance(last, Literal) and isinstance(last.value, str) else None
    if function == "matches":
        return _pattern_fits(walk, last, text)
    if function in METHODS and function.startswith("get") and last.type == STRING:
        good = text is not None and literals.is_utc_offset(text)
        wanted = "a time zone is a literal: `UTC`, or an offset such as `+02:00`"
    elif function in {"timestamp", "duration"} and text is not None:
        is_good = literals.is_timestamp if function == "timestamp" else literals.is_duration
        example = "2026-01-31T09:00:00Z" if function == "timestamp" else "1h30m"
        good, wanted = is_good(text), f"this is not a {function}; write it like `{example}`"
        remedy = remedies.of_duration(text)
    else:
        return True
    if not good:
        walk.report(Code.BAD_LITERAL, wanted, last, remedy)
    return good


def _pattern_fits(walk: Walk, pattern: Node, text: str | None) -> bool:
    place = (pattern.start, pattern.end)
    if text is None:
        walk.report(Code.BAD_PATTERN, "the pattern of `matches` is a string literal", place)
        return False
    problem = literals.pattern_problem(text)
    if problem:
        message = f"the pattern is not RE2: {problem[:80]}"
        walk.report(Code.BAD_PATTERN, message, place, remedies.of_pattern(text))
    return problem is None


def check_loop(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check a macro that walks a list."""
    variable = _loop_variable(walk, syntax, scope)
    source = walk.visit(syntax.children[0], scope).node
    if variable is None or source is None:
        return Checked(None)
    if source.type.name != "list":
        message = f"`{syntax.word}` walks a list, not {source.type}"
        return walk.report(Code.TYPE_MISMATCH, message, source)
    element = source.type.element or STRING
    looping = scope.naming(variable, Checked(LoopVariable(element, 0, 0, variable)))
    body = walk.visit(syntax.children[2], looping).node
    if body is None:
        return Checked(None)
    if syntax.word != "map" and body.type != BOOL:
        message = f"`{syntax.word}` takes a condition, not {body.type}"
        return walk.report(Code.TYPE_MISMATCH, message, body)
    if syntax.word == "map" and body.type == EMPTY_LIST:
        return walk.report(Code.OUTSIDE_PROFILE, EMPTY_IN_LIST, body)
    results = {"map": Type("list", body.type), "filter": Type("list", element)}
    type_ = results.get(syntax.word, BOOL)
    return Checked(Loop(type_, syntax.start, syntax.end, syntax.word, variable, source, body))


def _loop_variable(walk: Walk, syntax: Syntax, scope: Scope) -> str | None:
    parts = 3
    if len(syntax.children) != parts or syntax.children[1].kind != "name":
        message = f"`{syntax.word}` is written `list.{syntax.word}(item, expression)`"
        walk.report(Code.OUTSIDE_PROFILE, message, syntax)
        return None
    word = new_name(walk, syntax.children[1], scope, "loop variable")
    loops = [it for it in scope.variables.values() if isinstance(it.node, LoopVariable)]
    if word is not None and len(loops) >= MAX_LOOPS:
        message = f"macros can be nested at most {MAX_LOOPS} deep"
        walk.report(Code.LIMIT_EXCEEDED, message, syntax)
        return None
    return word


def new_name(walk: Walk, syntax: Syntax, scope: Scope, role: str) -> str | None:
    """Return a name that an expression gives to something, if no other one is hidden by it."""
    known = {*walk.vocabulary.roots(), *walk.vocabulary.elsewhere, *scope.variables, *NAMESPACES}
    if syntax.word not in known:
        return syntax.word
    message = f"the {role} {quote(syntax.word)} hides another name"
    walk.report(Code.OUTSIDE_PROFILE, message, syntax, "give it another name")
    return None
