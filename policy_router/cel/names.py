"""The checker's part for names: known ones, guarded ones, and ``has()``."""

from __future__ import annotations

from dataclasses import replace

from policy_router.cel.ast import BOOL, BROKEN, Attribute, Present
from policy_router.cel.checking import Checked, Scope, Walk, dotted
from policy_router.cel.parser import Syntax
from policy_router.cel.remedies import NAMES, field_of
from policy_router.cel.vocabulary import Name
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import did_you_mean, quote

_LONGEST_WORD = 60


def check_name(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check a name, or a selection on something."""
    path = dotted(syntax)
    if path is None:
        inner = walk.visit(syntax.children[0], scope).node
        if inner is None:
            return Checked(None)
        message = f"a value of type {inner.type} has no field {quote(syntax.word)}"
        return walk.report(Code.TYPE_MISMATCH, message, syntax)
    if (known := scope.variables.get(path)) is not None and known.node is not None:
        return known._replace(node=replace(known.node, start=syntax.start, end=syntax.end))
    found = _find(walk, syntax, path, scope)
    if found is None or found.type == BROKEN:
        return Checked(None)
    if found.optional and not found.required and found.path not in scope.present:
        return _unguarded(walk, syntax, path)
    attribute = Attribute(found.type, syntax.start, syntax.end, path)
    return Checked(attribute, found.present_if_true, found.present_if_false)


def _find(walk: Walk, syntax: Syntax, path: str, scope: Scope) -> Name | None:
    """Look a name up, and report it where it is unknown."""
    if (found := walk.vocabulary.names.get(path)) is not None:
        return found
    root = path.partition(".")[0]
    if path in walk.vocabulary.tables:
        message = f"`{path}` is a table"
        remedy = f"read it as `{path}[key]`, guarded by `key in {path}`"
        walk.report(Code.OUTSIDE_PROFILE, message, syntax, remedy)
    elif root in scope.variables:
        walk.report(Code.TYPE_MISMATCH, f"`{root}` is one value and has no fields", syntax)
    elif inner := walk.vocabulary.under(path):
        remedy = f"name one of its values, such as `{inner[0]}`"
        walk.report(Code.UNKNOWN_NAME, f"`{path}` is a group of values", syntax, remedy)
    else:
        _unknown(walk, syntax, path, root, scope)
    return None


def _unknown(walk: Walk, syntax: Syntax, path: str, root: str, scope: Scope) -> None:
    if root in walk.vocabulary.elsewhere:
        message = f"`{root}` is not known here"
        first = _first_word(syntax)
        walk.report(Code.UNKNOWN_NAME, message, first, walk.vocabulary.elsewhere[root])
        return
    roots = walk.vocabulary.roots() | scope.variables.keys()
    if root not in roots:
        message = f"unknown name {quote(root)}"
        remedy = NAMES.get(root) or _undeclared(root)
        remedy = remedy or did_you_mean(root, sorted({*roots, "true", "false"}))
        remedy = remedy or _named_or_quoted(walk, path)
        walk.report(Code.UNKNOWN_NAME, message, _first_word(syntax), remedy)
        return
    place = (syntax.word_start, syntax.word_start + len(syntax.word))
    owner, _, word = path.rpartition(".")
    if owner in walk.vocabulary.names:
        type_ = walk.vocabulary.names[owner].type
        message = f"`{owner}` is of type {type_} and has no fields"
        walk.report(Code.UNKNOWN_NAME, message, place, field_of(owner, type_, word))
        return
    if owner in walk.vocabulary.tables:
        remedy = f'write `{owner}["{word}"]`'
        walk.report(Code.UNKNOWN_NAME, f"unknown name {quote(path)}", place, remedy)
        return
    known = [name.rpartition(".") for name in walk.vocabulary.under(owner)]
    close = did_you_mean(word, [last for first, _, last in known if first == owner])
    remedy = close.replace("`", f"`{owner}.", 1) if close else _undeclared(root)
    walk.report(Code.UNKNOWN_NAME, f"unknown name {quote(path)}", place, remedy)


def _named_or_quoted(walk: Walk, path: str) -> str | None:
    """Return the names that a word without its section can mean; else it is a text."""
    last = path.rpartition(".")[2]
    close = [name for name in walk.vocabulary.names if last in name.split(".")[1:]]
    if close:
        return f"did you mean `{'`, `'.join(close[:4])}`?"
    is_word = last == path and len(path) <= _LONGEST_WORD
    return f'a text is in quotes, such as `task.kind == "{last}"`' if is_word else None


def _unguarded(walk: Walk, syntax: Syntax, path: str) -> Checked:
    message = f"`{path}` may be absent and is used without a `has()` guard"
    remedy = f"write `has({path}) && ...`, or `has({path}) ? {path} : ...`"
    return walk.report(Code.UNGUARDED, message, syntax, remedy, guard=f"has({path})")


def check_has(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check ``has(x)``: where it is true, ``x`` is known to be present."""
    inner = syntax.children[0] if len(syntax.children) == 1 else None
    path = dotted(inner) if inner is not None else None
    if inner is None or path is None or "." not in path:
        message = "`has()` takes one name with a dot, such as `has(budget.remaining_usd)`"
        return walk.report(Code.TYPE_MISMATCH, message, syntax)
    found = _find(walk, inner, path, scope)
    if found is None:
        return Checked(None)
    if not found.optional:
        empty = {"string": '""', "list": "[]"}.get(found.type.name)
        remedy = f"absent means {empty}: write `{path} != {empty}`" if empty else None
        return walk.report(Code.ALWAYS_PRESENT, f"`{path}` is always present", syntax, remedy)
    return Checked(Present(BOOL, syntax.start, syntax.end, path), frozenset({path}))


def _first_word(syntax: Syntax) -> Syntax:
    while syntax.kind == "select":
        syntax = syntax.children[0]
    return syntax


def _undeclared(root: str) -> str | None:
    return {
        "facts": "declare it under `facts`",
        "tables": "declare it under `tables`",
        "variables": "a variable may use only the ones above it",
    }.get(root)
