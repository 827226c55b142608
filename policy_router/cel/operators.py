"""The checker's part for operators: their types, what they guard, and closed sets."""

from __future__ import annotations

from collections.abc import Sequence

from policy_router.cel import remedies
from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    EMPTY_LIST,
    INT,
    STRING,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Node,
    TableOf,
    Type,
)
from policy_router.cel.calls import applied
from policy_router.cel.checking import NONE, Checked, Scope, Walk, dotted
from policy_router.cel.functions import OPERATORS, ORDERING
from policy_router.cel.parser import Syntax
from policy_router.cel.vocabulary import Paths
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import did_you_mean, quote

_NAME_AGAIN = 'write `x == "a" || x == "b"`, or `x in ["a", "b"]`'
_IN_PARENTHESES = 'put parentheses around the condition: `!("a" in x)`'
_VALUE_FIRST = "write `value in list`; for two lists, `sets.intersects(a, b)`"


def check_operator(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check an operator: some have rules of their own, the others a table."""
    match syntax.word:
        case "&&" | "||":
            return _logic(walk, syntax, scope)
        case "?:":
            return _choice(walk, syntax, scope)
        case "!":
            return _negation(walk, syntax, scope)
        case "==" | "!=":
            return _equality(walk, syntax, scope)
        case "in":
            return _membership(walk, syntax, scope)
        case "[]":
            return _element(walk, syntax, scope)
    operands = walk.operands(syntax, scope)
    if operands is None or mixes_numbers(walk, operands):
        return Checked(None)
    if syntax.word == "+" and operands[0].type.name == operands[1].type.name == "list":
        return _concatenation(walk, syntax, operands)
    if OPERATORS[syntax.word] is ORDERING and operands[0].type == operands[1].type == BOOL:
        return walk.report(Code.TYPE_MISMATCH, "bools have no order", syntax)
    return applied(walk, syntax, operands, OPERATORS[syntax.word])


def _logic(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check ``a && b``: what ``a`` shows when true holds in ``b``; dually for ``||``."""
    conjunction = syntax.word == "&&"
    nodes: list[Node | None] = []
    every: Paths = NONE
    common: Paths | None = None
    for child in syntax.children:
        checked = walk.visit(child, scope.knowing(every))
        nodes.append(_condition(walk, checked.node, syntax.word))
        going_on, ending = (
            (checked.present_if_true, checked.present_if_false)
            if conjunction
            else (checked.present_if_false, checked.present_if_true)
        )
        every |= going_on
        common = ending if common is None else common & ending
    operands = tuple(node for node in nodes if node is not None)
    if len(operands) < len(nodes):
        return Checked(None)
    node = Apply(BOOL, syntax.start, syntax.end, syntax.word, operands)
    if_true, if_false = (every, common) if conjunction else (common, every)
    return Checked(node, if_true or NONE, if_false or NONE)


def _condition(walk: Walk, node: Node | None, operator: str) -> Node | None:
    if node is not None and node.type != BOOL:
        message = f"`{operator}` takes conditions, not {node.type}"
        remedy = None
        if isinstance(node, Literal) and node.type == STRING:
            remedy = _IN_PARENTHESES if operator == "!" else _NAME_AGAIN
        walk.report(Code.TYPE_MISMATCH, message, node, remedy)
        return None
    return node


def _choice(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    test, good, bad = syntax.children
    asked = walk.visit(test, scope)
    first = walk.visit(good, scope.knowing(asked.present_if_true))
    second = walk.visit(bad, scope.knowing(asked.present_if_false))
    condition = _condition(walk, asked.node, "?:")
    if condition is None or first.node is None or second.node is None:
        return Checked(None)
    if mixes_numbers(walk, [first.node, second.node]):
        return Checked(None)
    if not first.node.type.accepts(second.node.type):
        message = f"the two sides of `? :` differ: {first.node.type} and {second.node.type}"
        return walk.report(Code.TYPE_MISMATCH, message, syntax)
    type_ = second.node.type if first.node.type == EMPTY_LIST else first.node.type
    node = Apply(type_, syntax.start, syntax.end, "?:", (condition, first.node, second.node))
    if_true = (asked.present_if_true | first.present_if_true) & (
        asked.present_if_false | second.present_if_true
    )
    if_false = (asked.present_if_true | first.present_if_false) & (
        asked.present_if_false | second.present_if_false
    )
    return Checked(node, if_true, if_false)


def _negation(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    inner = walk.visit(syntax.children[0], scope)
    node = _condition(walk, inner.node, "!")
    if node is None:
        return Checked(None)
    return Checked(
        Apply(BOOL, syntax.start, syntax.end, "!", (node,)),
        inner.present_if_false,
        inner.present_if_true,
    )


def _equality(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    operands = walk.operands(syntax, scope)
    if operands is None or mixes_numbers(walk, operands):
        return Checked(None)
    left, right = operands
    if not left.type.accepts(right.type):
        return _incomparable(walk, syntax, left, right)
    if not in_closed_set(walk, left, right) or not in_closed_set(walk, right, left):
        return Checked(None)
    return Checked(Apply(BOOL, syntax.start, syntax.end, syntax.word, (left, right)))


def _incomparable(walk: Walk, syntax: Syntax, left: Node, right: Node) -> Checked:
    remedy = remedies.of_types([left, right])
    for one, other in ((left, right), (right, left)):
        if one.type.name == "list" and one.type.accepts(Type("list", other.type)):
            remedy = "to look into a list, write `value in list`"
    message = f"`{syntax.word}` cannot compare {left.type} with {right.type}"
    return walk.report(Code.TYPE_MISMATCH, message, syntax, remedy)


def _membership(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    if (table := _table(walk, syntax.children[1])) is not None:
        return _is_in_table(walk, syntax, scope, table)
    operands = walk.operands(syntax, scope)
    if operands is None:
        return Checked(None)
    item, container = operands
    if container.type.name != "list":
        message = f"`in` looks into a list, not {container.type}"
        help_ = "write `a.contains(b)`" if container.type == STRING else None
        if isinstance(container, Literal) and not isinstance(item, Literal):
            help_ = 'a list is written in brackets: `["a", "b"]`'
        help_ = _VALUE_FIRST if item.type.name == "list" else help_
        return walk.report(Code.TYPE_MISMATCH, message, syntax, help_)
    elements = container.items if isinstance(container, ListOf) else ()
    if container.type.element and _mixes(walk, item, container.type.element):
        return Checked(None)
    if any([_mixes(walk, element, item.type) for element in elements]):  # noqa: C419 - all are reported
        return Checked(None)
    if not container.type.accepts(Type("list", item.type)):
        message = f"a {container.type} cannot hold {item.type}"
        remedy = _VALUE_FIRST if item.type.name == "list" else remedies.of_types([item, *elements])
        return walk.report(Code.TYPE_MISMATCH, message, syntax, remedy)
    if not all([in_closed_set(walk, item, element) for element in elements]):  # noqa: C419 - all are reported
        return Checked(None)
    if not in_closed_set(walk, container, item):
        return Checked(None)
    return Checked(Apply(BOOL, syntax.start, syntax.end, "in", (item, container)))


def _table(walk: Walk, syntax: Syntax) -> TableOf | None:
    """Return the table that is named, or None."""
    path = dotted(syntax)
    if path is None or path not in walk.vocabulary.tables:
        return None
    type_, values = walk.vocabulary.tables[path]
    return TableOf(Type("table", type_), syntax.start, syntax.end, path, values)


def _key(walk: Walk, syntax: Syntax, scope: Scope) -> Node | None:
    """Check the key of a table."""
    key = walk.visit(syntax, scope).node
    if key is not None and key.type != STRING:
        walk.report(Code.TYPE_MISMATCH, f"the key of a table is a string, not {key.type}", key)
        return None
    return key


def _is_in_table(walk: Walk, syntax: Syntax, scope: Scope, table: TableOf) -> Checked:
    key = _key(walk, syntax.children[0], scope)
    if key is None:
        return Checked(None)
    node = Apply(BOOL, syntax.start, syntax.end, "in", (key, table))
    return Checked(node, frozenset({_place(table, key)}))


def _in_table(walk: Walk, syntax: Syntax, scope: Scope, table: TableOf) -> Checked:
    """Check ``tables.NAME[key]``: a key that is written out must be there, another is guarded."""
    key = _key(walk, syntax.children[1], scope)
    if key is None:
        return Checked(None)
    if isinstance(key, Literal) and key.value not in table.values:
        remedy = did_you_mean(str(key.value), table.values)
        message = f"`{table.path}` has no key {quote(str(key.value))}"
        return walk.report(Code.UNKNOWN_NAME, message, key, remedy)
    if not isinstance(key, Literal) and _place(table, key) not in scope.present:
        message = f"`{table.path}` may lack the key and is used without a guard"
        remedy = f"write `key in {table.path} && ...`, or `key in {table.path} ? ... : ...`"
        guard = f"(key in {table.path})"
        return walk.report(Code.UNGUARDED, message, syntax, remedy, guard=guard)
    type_ = table.type.element or STRING
    return Checked(Apply(type_, syntax.start, syntax.end, "[]", (table, key)))


def _place(table: TableOf, key: Node) -> str:
    """Return what stands for the value of a table at a key among the names that are present."""
    return f"{table.path}[{key!r}]"


def _element(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    if (table := _table(walk, syntax.children[0])) is not None:
        return _in_table(walk, syntax, scope, table)
    container = syntax.children[0]
    path = dotted(container)
    if path is not None and path not in scope.variables and walk.vocabulary.under(path):
        message = f"`{path}` is a group of values; select one with a dot"
        return walk.report(Code.OUTSIDE_PROFILE, message, syntax)
    operands = walk.operands(syntax, scope)
    if operands is None:
        return Checked(None)
    list_, index = operands
    if list_.type.name != "list" or index.type != INT:
        message = f"`[]` takes a list and an int, not {list_.type} and {index.type}"
        return walk.report(Code.TYPE_MISMATCH, message, syntax)
    type_ = list_.type.element or STRING
    return Checked(Apply(type_, syntax.start, syntax.end, "[]", (list_, index)))


def _concatenation(walk: Walk, syntax: Syntax, operands: list[Node]) -> Checked:
    left, right = operands
    if not left.type.accepts(right.type):
        message = f"`+` cannot join {left.type} and {right.type}"
        return walk.report(Code.TYPE_MISMATCH, message, syntax)
    type_ = right.type if left.type == EMPTY_LIST else left.type
    return Checked(Apply(type_, syntax.start, syntax.end, "+", (left, right)))


def mixes_numbers(walk: Walk, operands: Sequence[Node]) -> bool:
    """Report an int beside a double: CEL's engines differ on what that means."""
    first, second = operands[0], operands[-1]
    return _mixes(walk, first, second.type) or _mixes(walk, second, first.type)


def _mixes(walk: Walk, node: Node, other: Type) -> bool:
    if node.type != INT or other != DOUBLE:
        return False
    remedy = "write `double(...)` around the int"
    if isinstance(node, Literal):
        remedy = f"write `{node.value}.0`"
    elif isinstance(node, Apply) and node.function == "bucket":
        remedy = "a bucket is 0 to 99: 10 percent are `< 10`"
    message = "an int and a double do not mix"
    walk.report(Code.INT_WITH_DOUBLE, message, node, remedy)
    return True


def in_closed_set(walk: Walk, name: Node, literal: Node) -> bool:
    """Report a literal that a name with a closed set can never equal."""
    if not isinstance(name, Attribute) or not isinstance(literal, Literal):
        return True
    known = walk.vocabulary.names[name.path].values
    if known is None or literal.value == "" or literal.value in known:
        return True
    value = str(literal.value)
    message = f"{quote(value)} is not one of the values of `{name.path}`"
    listed = f"one of {', '.join(sorted(known)[:8])}" if known else "the set is empty"
    remedy = did_you_mean(value, sorted(known)) or listed
    walk.report(Code.OUTSIDE_CLOSED_SET, message, literal, remedy)
    return False
