"""The static checker: names, types, guards and closed sets, all problems in one walk.

A condition that passes can fail when it is evaluated only by arithmetic: overflow, division by
zero, a conversion or an index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from policy_router.diagnostics import Code, did_you_mean, quote
from policy_router.expressions import literals
from policy_router.expressions.functions import (
    FUNCTIONS,
    MACROS,
    METHODS,
    OPERATORS,
    ORDERING,
    Signature,
    result_of,
)
from policy_router.expressions.syntax import Syntax, SyntaxProblem, parse
from policy_router.expressions.tree import (
    BOOL,
    BROKEN,
    DOUBLE,
    EMPTY_LIST,
    INT,
    STRING,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
    Type,
)
from policy_router.expressions.vocabulary import Name, Paths, Vocabulary

MAX_LOOPS = 2
"""How deep macros may stand in each other."""

_NONE: Paths = frozenset()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an expression, between two offsets of its text."""

    code: Code
    message: str
    start: int
    end: int
    help: str | None = None


class Checked(NamedTuple):
    """A checked expression.

    Attributes:
        node: the typed tree, or None where there is a problem under it.
        shows: the optional names that are there whenever the expression is true.
        hides: the optional names that are there whenever the expression is false.
    """

    node: Node | None
    shows: Paths = _NONE
    hides: Paths = _NONE


def check(text: str, vocabulary: Vocabulary) -> tuple[Checked, tuple[Problem, ...]]:
    """Parse and check an expression.

    Args:
        text: the expression.
        vocabulary: the names it may use.

    Returns:
        The typed tree with what it tells about optional names, and all problems found.
    """
    try:
        syntax = parse(text)
    except SyntaxProblem as problem:
        code = Code.LIMIT_EXCEEDED if problem.limit else Code.CEL_SYNTAX
        return Checked(None), (Problem(code, problem.message, problem.start, problem.end),)
    walk = _Walk(vocabulary)
    return walk.visit(syntax, _Scope()), tuple(walk.problems)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is known on the way to a piece: present names, and loop variables with their types."""

    present: Paths = _NONE
    variables: Mapping[str, Type] = field(default_factory=dict)

    def knowing(self, paths: Paths) -> _Scope:
        return _Scope(self.present | paths, self.variables)

    def looping(self, variable: str, element: Type) -> _Scope:
        return _Scope(self.present, {**self.variables, variable: element})


class _Walk:
    """One walk over the syntax of one expression; collects problems on the way."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.problems: list[Problem] = []

    def report(
        self, code: Code, message: str, at: Syntax | tuple[int, int], help_: str | None = None
    ) -> Checked:
        start, end = (at.start, at.end) if isinstance(at, Syntax) else at
        self.problems.append(Problem(code, message, start, end, help_))
        return Checked(None)

    def visit(self, syntax: Syntax, scope: _Scope) -> Checked:
        match syntax.kind:
            case "literal":
                return self.literal(syntax)
            case "name" | "select":
                return self.name(syntax, scope)
            case "list":
                return self.list_(syntax, scope)
            case "call":
                return self.call(syntax, scope)
            case "method" if syntax.word in MACROS:
                return self.loop(syntax, scope)
            case "method":
                return self.method(syntax, scope)
            case "operator":
                return self.operator(syntax, scope)
        message = "maps, messages and names with a leading dot are outside the profile of CEL"
        return self.report(Code.OUTSIDE_PROFILE, message, syntax)

    # Literals, names and lists.

    def literal(self, syntax: Syntax) -> Checked:
        try:
            value = literals.value_of(syntax.word)
        except literals.LiteralProblem as problem:
            code = Code.OUTSIDE_PROFILE if "outside" in str(problem) else Code.BAD_LITERAL
            return self.report(code, str(problem), syntax)
        return Checked(Literal(_type_of(value), syntax.start, syntax.end, value))

    def name(self, syntax: Syntax, scope: _Scope) -> Checked:
        path = _dotted(syntax)
        if path is None:
            self.visit(syntax.children[0], scope)
            return self.report(
                Code.OUTSIDE_PROFILE, f"nothing has a field `{syntax.word}` here", syntax
            )
        if path in scope.variables:
            return Checked(LoopVariable(scope.variables[path], syntax.start, syntax.end, path))
        found = self.find(syntax, path, scope)
        if found is None or found.type == BROKEN:
            return Checked(None)
        if found.optional and found.path not in scope.present:
            return self.unguarded(syntax, path)
        attribute = Attribute(found.type, syntax.start, syntax.end, path)
        return Checked(attribute, found.shows, found.hides)

    def find(self, syntax: Syntax, path: str, scope: _Scope) -> Name | None:
        """Look a name up, and report it where it is unknown."""
        if (found := self.vocabulary.names.get(path)) is not None:
            return found
        root = path.partition(".")[0]
        if root in scope.variables:
            self.report(Code.TYPE_MISMATCH, f"loop variable `{root}` has no fields", syntax)
        elif inner := self.vocabulary.under(path):
            remedy = f"name one of {', '.join(f'`{name}`' for name in inner[:4])}"
            self.report(Code.UNKNOWN_NAME, f"`{path}` is a group of values", syntax, remedy)
        else:
            self.unknown(syntax, path, root, scope)
        return None

    def unknown(self, syntax: Syntax, path: str, root: str, scope: _Scope) -> None:
        if root in self.vocabulary.elsewhere:
            message = f"`{root}` is not known here"
            self.report(Code.UNKNOWN_NAME, message, syntax, self.vocabulary.elsewhere[root])
            return
        roots = self.vocabulary.roots() | scope.variables.keys()
        if root not in roots:
            first = _first_word(syntax)
            place = (first.start, first.end)
            message = f"unknown name {quote(root)}"
            self.report(Code.UNKNOWN_NAME, message, place, did_you_mean(root, sorted(roots)))
            return
        place = (syntax.word_start, syntax.word_start + len(syntax.word))
        remedy = did_you_mean(path, self.vocabulary.names) or _undeclared(root)
        self.report(Code.UNKNOWN_NAME, f"unknown name {quote(path)}", place, remedy)

    def unguarded(self, syntax: Syntax, path: str) -> Checked:
        message = f"`{path}` may be absent and is used without a `has()` guard"
        remedy = f"write `has({path}) && ...`, or `has({path}) ? {path} : ...`"
        return self.report(Code.UNGUARDED, message, syntax, remedy)

    def list_(self, syntax: Syntax, scope: _Scope) -> Checked:
        items = [self.visit(child, scope).node for child in syntax.children]
        nodes = [item for item in items if item is not None]
        if len(nodes) < len(items):
            return Checked(None)
        element = nodes[0].type if nodes else None
        for node in nodes[1:]:
            if element and not element.accepts(node.type):
                message = f"a list of {element} cannot hold {node.type}"
                return self.report(Code.TYPE_MISMATCH, message, (node.start, node.end))
        type_ = Type("list", element) if element else EMPTY_LIST
        return Checked(ListOf(type_, syntax.start, syntax.end, tuple(nodes)))

    # Functions, methods and macros.

    def call(self, syntax: Syntax, scope: _Scope) -> Checked:
        if syntax.word == "has":
            return self.has(syntax, scope)
        if syntax.word not in FUNCTIONS:
            remedy = did_you_mean(syntax.word, [*FUNCTIONS, *METHODS, "has"])
            if syntax.word in METHODS:
                remedy = f"write it after its first argument: `x.{syntax.word}(...)`"
            return self.unknown_function(syntax, remedy)
        return self.apply(syntax, self.operands(syntax, scope), FUNCTIONS[syntax.word])

    def method(self, syntax: Syntax, scope: _Scope) -> Checked:
        if syntax.word not in METHODS:
            remedy = did_you_mean(syntax.word, [*METHODS, *MACROS])
            if syntax.word in FUNCTIONS:
                remedy = f"write it before its argument: `{syntax.word}(x)`"
            return self.unknown_function(syntax, remedy)
        return self.apply(syntax, self.operands(syntax, scope), METHODS[syntax.word])

    def unknown_function(self, syntax: Syntax, remedy: str | None) -> Checked:
        place = (syntax.word_start, syntax.word_start + len(syntax.word))
        message = f"{quote(syntax.word)} is not a function of the profile of CEL used here"
        return self.report(Code.OUTSIDE_PROFILE, message, place, remedy)

    def operands(self, syntax: Syntax, scope: _Scope) -> list[Node] | None:
        """Check the operands one by one; None where one has a problem."""
        nodes = [self.visit(child, scope).node for child in syntax.children]
        return None if None in nodes else [node for node in nodes if node is not None]

    def apply(
        self, syntax: Syntax, operands: list[Node] | None, signatures: tuple[Signature, ...]
    ) -> Checked:
        if operands is None:
            return Checked(None)
        types = tuple(node.type for node in operands)
        gives = result_of(signatures, types)
        if gives is None:
            found = ", ".join(str(type_) for type_ in types) or "nothing"
            message = f"`{syntax.word}` does not take ({found})"
            return self.report(Code.TYPE_MISMATCH, message, syntax)
        if not self.constants_fit(syntax.word, operands):
            return Checked(None)
        return Checked(Apply(gives, syntax.start, syntax.end, syntax.word, tuple(operands)))

    def constants_fit(self, function: str, operands: Sequence[Node]) -> bool:
        """Check what must be a constant, and constants that can be wrong."""
        last = operands[-1]
        text = last.value if isinstance(last, Literal) and isinstance(last.value, str) else None
        if function == "matches":
            return self.pattern_fits(last, text)
        if function in METHODS and function.startswith("get") and last.type == STRING:
            good = text is not None and literals.is_utc_offset(text)
            wanted = "a time zone is a literal: `UTC`, or an offset such as `+02:00`"
        elif function in {"timestamp", "duration"} and text is not None:
            is_good = literals.is_timestamp if function == "timestamp" else literals.is_duration
            example = "2026-01-31T09:00:00Z" if function == "timestamp" else "1h30m"
            good, wanted = is_good(text), f"this is no {function}; write it like `{example}`"
        else:
            return True
        if not good:
            self.report(Code.BAD_LITERAL, wanted, (last.start, last.end))
        return good

    def pattern_fits(self, pattern: Node, text: str | None) -> bool:
        place = (pattern.start, pattern.end)
        if text is None:
            self.report(Code.BAD_PATTERN, "the pattern of `matches` is a string literal", place)
            return False
        problem = literals.pattern_problem(text)
        if problem:
            self.report(Code.BAD_PATTERN, f"not a pattern of RE2: {problem}", place)
        return problem is None

    def has(self, syntax: Syntax, scope: _Scope) -> Checked:
        inner = syntax.children[0] if len(syntax.children) == 1 else None
        path = _dotted(inner) if inner is not None else None
        if inner is None or path is None or "." not in path:
            message = "`has()` takes one name with a dot, such as `has(budget.remaining_usd)`"
            return self.report(Code.TYPE_MISMATCH, message, syntax)
        found = self.find(inner, path, scope)
        if found is None:
            return Checked(None)
        if not found.optional:
            empty = {"string": '""', "list": "[]"}.get(found.type.name)
            remedy = f"absent means {empty}: write `{path} != {empty}`" if empty else None
            return self.report(Code.ALWAYS_PRESENT, f"`{path}` is always present", syntax, remedy)
        return Checked(Present(BOOL, syntax.start, syntax.end, path), frozenset({path}))

    def loop(self, syntax: Syntax, scope: _Scope) -> Checked:
        variable = self.loop_variable(syntax, scope)
        source = self.visit(syntax.children[0], scope).node
        if variable is None or source is None:
            return Checked(None)
        if source.type.name != "list":
            message = f"`{syntax.word}` walks a list, not {source.type}"
            return self.report(Code.TYPE_MISMATCH, message, (source.start, source.end))
        element = source.type.element or STRING
        body = self.visit(syntax.children[2], scope.looping(variable, element)).node
        if body is None:
            return Checked(None)
        if syntax.word != "map" and body.type != BOOL:
            message = f"`{syntax.word}` wants a condition, not {body.type}"
            return self.report(Code.TYPE_MISMATCH, message, (body.start, body.end))
        type_ = {"map": Type("list", body.type), "filter": source.type}.get(syntax.word, BOOL)
        return Checked(Loop(type_, syntax.start, syntax.end, syntax.word, variable, source, body))

    def loop_variable(self, syntax: Syntax, scope: _Scope) -> str | None:
        parts = 3
        if len(syntax.children) != parts or syntax.children[1].kind != "name":
            message = f"`{syntax.word}` is written `list.{syntax.word}(item, expression)`"
            self.report(Code.OUTSIDE_PROFILE, message, syntax)
            return None
        word = syntax.children[1].word
        if word in {*self.vocabulary.roots(), *self.vocabulary.elsewhere, *scope.variables}:
            message = f"the loop variable {quote(word)} hides another name"
            self.report(Code.OUTSIDE_PROFILE, message, syntax.children[1], "give it another name")
            return None
        if len(scope.variables) >= MAX_LOOPS:
            message = f"macros stand in each other at most {MAX_LOOPS} deep"
            self.report(Code.LIMIT_EXCEEDED, message, syntax)
            return None
        return word

    # Operators.

    def operator(self, syntax: Syntax, scope: _Scope) -> Checked:
        match syntax.word:
            case "&&" | "||":
                return self.logic(syntax, scope)
            case "?:":
                return self.choice(syntax, scope)
            case "!":
                return self.negation(syntax, scope)
            case "==" | "!=":
                return self.equality(syntax, scope)
            case "in":
                return self.membership(syntax, scope)
            case "[]":
                return self.element(syntax, scope)
        operands = self.operands(syntax, scope)
        if operands is None or self.mixes_numbers(operands):
            return Checked(None)
        if syntax.word == "+" and operands[0].type.name == operands[1].type.name == "list":
            return self.concatenation(syntax, operands)
        if OPERATORS[syntax.word] is ORDERING and operands[0].type == operands[1].type == BOOL:
            return self.report(Code.TYPE_MISMATCH, "bools have no order", syntax)
        return self.apply(syntax, operands, OPERATORS[syntax.word])

    def logic(self, syntax: Syntax, scope: _Scope) -> Checked:
        """Check ``a && b``: what ``a`` shows when true holds in ``b``; dually for ``||``."""
        conjunction = syntax.word == "&&"
        nodes: list[Node | None] = []
        every: Paths = _NONE
        common: Paths | None = None
        for child in syntax.children:
            checked = self.visit(child, scope.knowing(every))
            nodes.append(self.condition(checked.node, syntax.word))
            going_on, ending = (
                (checked.shows, checked.hides) if conjunction else (checked.hides, checked.shows)
            )
            every |= going_on
            common = ending if common is None else common & ending
        operands = tuple(node for node in nodes if node is not None)
        if len(operands) < len(nodes):
            return Checked(None)
        node = Apply(BOOL, syntax.start, syntax.end, syntax.word, operands)
        shows, hides = (every, common) if conjunction else (common, every)
        return Checked(node, shows or _NONE, hides or _NONE)

    def condition(self, node: Node | None, operator: str) -> Node | None:
        if node is not None and node.type != BOOL:
            message = f"`{operator}` wants conditions, not {node.type}"
            self.report(Code.TYPE_MISMATCH, message, (node.start, node.end))
            return None
        return node

    def choice(self, syntax: Syntax, scope: _Scope) -> Checked:
        test, good, bad = syntax.children
        asked = self.visit(test, scope)
        first = self.visit(good, scope.knowing(asked.shows))
        second = self.visit(bad, scope.knowing(asked.hides))
        condition = self.condition(asked.node, "?:")
        if condition is None or first.node is None or second.node is None:
            return Checked(None)
        if self.mixes_numbers([first.node, second.node]):
            return Checked(None)
        if not first.node.type.accepts(second.node.type):
            message = f"the two sides of `? :` differ: {first.node.type} and {second.node.type}"
            return self.report(Code.TYPE_MISMATCH, message, syntax)
        type_ = second.node.type if first.node.type == EMPTY_LIST else first.node.type
        node = Apply(type_, syntax.start, syntax.end, "?:", (condition, first.node, second.node))
        shows = (asked.shows | first.shows) & (asked.hides | second.shows)
        hides = (asked.shows | first.hides) & (asked.hides | second.hides)
        return Checked(node, shows, hides)

    def negation(self, syntax: Syntax, scope: _Scope) -> Checked:
        inner = self.visit(syntax.children[0], scope)
        node = self.condition(inner.node, "!")
        if node is None:
            return Checked(None)
        return Checked(
            Apply(BOOL, syntax.start, syntax.end, "!", (node,)), inner.hides, inner.shows
        )

    def equality(self, syntax: Syntax, scope: _Scope) -> Checked:
        operands = self.operands(syntax, scope)
        if operands is None or self.mixes_numbers(operands):
            return Checked(None)
        left, right = operands
        if not left.type.accepts(right.type):
            return self.incomparable(syntax, left, right)
        if not self.in_closed_set(left, right) or not self.in_closed_set(right, left):
            return Checked(None)
        return Checked(Apply(BOOL, syntax.start, syntax.end, syntax.word, (left, right)))

    def incomparable(self, syntax: Syntax, left: Node, right: Node) -> Checked:
        remedy = None
        for one, other in ((left, right), (right, left)):
            if one.type.name == "list" and one.type.accepts(Type("list", other.type)):
                remedy = "to look into a list, write `value in list`"
        message = f"`{syntax.word}` cannot compare {left.type} with {right.type}"
        return self.report(Code.TYPE_MISMATCH, message, syntax, remedy)

    def membership(self, syntax: Syntax, scope: _Scope) -> Checked:
        operands = self.operands(syntax, scope)
        if operands is None:
            return Checked(None)
        item, container = operands
        if container.type.name != "list":
            message = f"`in` looks into a list, not {container.type}"
            help_ = "write `a.contains(b)`" if container.type == STRING else None
            return self.report(Code.TYPE_MISMATCH, message, syntax, help_)
        if container.type.element and self.mixes(item, container.type.element):
            return Checked(None)
        if not container.type.accepts(Type("list", item.type)):
            message = f"a {container.type} cannot hold {item.type}"
            return self.report(Code.TYPE_MISMATCH, message, syntax)
        elements = container.items if isinstance(container, ListOf) else ()
        if not all([self.in_closed_set(item, element) for element in elements]):  # noqa: C419 - all are reported
            return Checked(None)
        return Checked(Apply(BOOL, syntax.start, syntax.end, "in", (item, container)))

    def element(self, syntax: Syntax, scope: _Scope) -> Checked:
        container = syntax.children[0]
        path = _dotted(container)
        if path is not None and path not in scope.variables and self.vocabulary.under(path):
            message = f"`{path}` is a group of values; select one with a dot"
            return self.report(Code.OUTSIDE_PROFILE, message, syntax)
        operands = self.operands(syntax, scope)
        if operands is None:
            return Checked(None)
        list_, index = operands
        if list_.type.name != "list" or index.type != INT:
            message = f"`[]` takes a list and an int, not {list_.type} and {index.type}"
            return self.report(Code.TYPE_MISMATCH, message, syntax)
        type_ = list_.type.element or STRING
        return Checked(Apply(type_, syntax.start, syntax.end, "[]", (list_, index)))

    def concatenation(self, syntax: Syntax, operands: list[Node]) -> Checked:
        left, right = operands
        if not left.type.accepts(right.type):
            message = f"`+` cannot join {left.type} and {right.type}"
            return self.report(Code.TYPE_MISMATCH, message, syntax)
        type_ = right.type if left.type == EMPTY_LIST else left.type
        return Checked(Apply(type_, syntax.start, syntax.end, "+", (left, right)))

    def mixes_numbers(self, operands: Sequence[Node]) -> bool:
        """Report an int beside a double: CEL's engines differ on what that means."""
        first, second = operands[0], operands[-1]
        return self.mixes(first, second.type) or self.mixes(second, first.type)

    def mixes(self, node: Node, other: Type) -> bool:
        if node.type != INT or other != DOUBLE:
            return False
        remedy = "write `double(...)` around the int"
        if isinstance(node, Literal):
            remedy = f"write `{node.value}.0`"
        message = "an int and a double do not mix"
        self.report(Code.INT_WITH_DOUBLE, message, (node.start, node.end), remedy)
        return True

    def in_closed_set(self, name: Node, literal: Node) -> bool:
        """Report a literal that a name with a closed set can never equal."""
        if not isinstance(name, Attribute) or not isinstance(literal, Literal):
            return True
        known = self.vocabulary.names[name.path].values
        if known is None or literal.value == "" or literal.value in known:
            return True
        value = str(literal.value)
        message = f"{quote(value)} is none of the values of `{name.path}`"
        remedy = did_you_mean(value, sorted(known)) or f"one of {', '.join(sorted(known)[:8])}"
        self.report(Code.OUTSIDE_CLOSED_SET, message, (literal.start, literal.end), remedy)
        return False


def _type_of(value: object) -> Type:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, str):
        return STRING
    return INT if isinstance(value, int) else DOUBLE


def _dotted(syntax: Syntax | None) -> str | None:
    """Return ``a.b.c`` for a name and the selections on it, or None."""
    words: list[str] = []
    while syntax is not None and syntax.kind == "select":
        words.append(syntax.word)
        syntax = syntax.children[0]
    if syntax is None or syntax.kind != "name":
        return None
    return ".".join([syntax.word, *reversed(words)])


def _first_word(syntax: Syntax) -> Syntax:
    while syntax.kind == "select":
        syntax = syntax.children[0]
    return syntax


def _undeclared(root: str) -> str | None:
    return {
        "facts": "declare it under `facts`",
        "variables": "a variable may use only the ones above it",
    }.get(root)
