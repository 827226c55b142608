"""Finds unusual parts of conditions, for any request and any pool.

Parts that are always true or false, parts that can only fail, ``&&`` and ``||`` side by side, and
times that are past.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from policy_router.cel.ast import (
    BOOL,
    INT,
    TIMESTAMP,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    Node,
    TableOf,
    walk,
)
from policy_router.cel.checker import Problem
from policy_router.cel.condition import Condition
from policy_router.cel.timestamps import timestamp_of
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import quote
from policy_router.policy.domains import NEGATED
from policy_router.policy.truth import Known, Reasoner, size_of


class Finding(NamedTuple):
    """A problem with a part of a condition, and how grave it is."""

    problem: Problem
    severity: Severity = Severity.WARNING


_RANGES: Final[Mapping[str, str]] = {
    "bucket": "a bucket is 0 to 99",
    "getHours": "hours are 0 to 23",
    "getMinutes": "minutes are 0 to 59",
    "getSeconds": "seconds are 0 to 59",
    "getMilliseconds": "milliseconds are 0 to 999",
    "getMonth": "months are 0 (January) to 11",
    "getDayOfWeek": "days of the week are 0 (Sunday) to 6",
    "getDate": "days of the month are 1 to 31",
    "getDayOfMonth": "here the days of the month are 0 to 30; `getDate()` counts from 1",
    "getDayOfYear": "days of the year are 0 to 365",
    "size": "a size is never negative",
    "parent.depth": "the depth of the root agent is 0",
    "task.index": "the first task has the index 0",
    "task.batch_size": "a batch has at least one task",
    "lowerAscii": "`lowerAscii()` leaves no capital letter",
    "upperAscii": "`upperAscii()` leaves no small letter",
    "trim": "`trim()` leaves no space at the ends",
}
"""Why a comparison is always true or always false."""
_NOW: Final = Attribute(TIMESTAMP, 0, 0, "now")


def findings(
    condition: Condition, reasoner: Reasoner, now: datetime.datetime | None
) -> list[Finding]:
    """Return what is odd about the parts of a condition.

    Args:
        condition: the condition.
        reasoner: knows the names that it uses.
        now: the time, for what depends on the day; None leaves that out.
    """
    reasoner.begin()
    parts = _Walk(condition, reasoner)
    parts.look(condition.tree, {})
    if now is not None and "now" in condition.reads:
        parts.times(now)
    return parts.found


def _word(term: Node) -> str:
    """Return the function or the name that a term is."""
    return term.function if isinstance(term, Apply) else getattr(term, "path", "")


class _Walk:
    """One walk over a condition; collects what is odd."""

    def __init__(self, condition: Condition, reasoner: Reasoner) -> None:
        self.condition, self.reasoner = condition, reasoner
        self.found: list[Finding] = []

    def report(
        self, code: Code, message: str, node: Node, help_: str | None = None, **more: Any
    ) -> None:
        problem = Problem(code, message, node.start, node.end, help_)
        self.found.append(Finding(problem, **more))

    def text(self, node: Node) -> str:
        return quote(self.condition.text_of(node))

    def look(self, node: Node, known: Known, *, is_open: bool = False) -> None:
        """Look at a piece, where something is known from the pieces before it.

        Args:
            node: the piece.
            known: what is known.
            is_open: whether it is sure that the piece as a whole depends on the request.
        """
        if isinstance(node, Apply) and node.function in {"&&", "||"}:
            self.mixed(node)
            self.chain(node, known)
        elif isinstance(node, Apply) and node.function == "?:":
            self.choice(node, known)
        else:
            if node.type == BOOL and not is_open and not isinstance(node, Literal):
                self.condition_part(node)
            if isinstance(node, Apply):
                self.failing(node, known)
                self.members(node)
            for child in node.children():
                self.look(child, {} if isinstance(node, Loop) else known)

    def chain(self, node: Apply, known: Known) -> None:
        """Look at the operands of ``&&`` or ``||``, each with what the ones before it say."""
        going_on, known = node.function == "&&", dict(known)
        for operand in node.arguments:
            found = self.reasoner.truth(operand, known)
            if found is None:
                self.look(operand, known, is_open=True)
            elif self.reasoner.truth(operand, {}) is not None:
                self.constant(operand, found=found)
            elif found is not going_on:
                self.clash(node, operand)
            self.reasoner.assume(operand, going_on, known)

    def constant(self, node: Node, *, found: bool) -> None:
        """Report the smallest part that makes a piece constant."""
        before = len(self.found)
        self.look(node, {})
        if len(self.found) == before:
            self.report_constant(node, found=found)

    def clash(self, node: Apply, operand: Node) -> None:
        """Report an operand that the ones before it decide."""
        if node.function == "&&":
            message, remedy = "this is never true together with what stands before it", "`||`"
        else:
            message, remedy = "this or what stands before it is always true", "`&&`"
        self.report(Code.CONSTANT_PART, message, operand, f"was {remedy} meant?")

    def choice(self, node: Apply, known: Known) -> None:
        test, *branches = node.arguments
        self.look(test, known)
        for wanted, branch in zip((True, False), branches, strict=True):
            assumed = dict(known)
            self.reasoner.assume(test, wanted, assumed)
            self.look(branch, assumed)

    def condition_part(self, node: Node) -> None:
        """Report a comparison that comes to the same whatever is asked."""
        is_negation = isinstance(node, Apply) and node.function == "!"
        found = None if is_negation else self.reasoner.truth(node, {})
        if found is not None and not isinstance(node, Attribute):
            self.report_constant(node, found=found)

    def members(self, node: Apply) -> None:
        """Report the elements of a list that can never be found in it."""
        listed = node.arguments[-1]
        is_open = node.function == "in" and self.reasoner.truth(node, {}) is None
        for item in listed.items if is_open and isinstance(listed, ListOf) else ():
            value = self.reasoner.constant(item)
            if value is not None and not self.reasoner.may_be(node.arguments[0], value):
                word = _RANGES.get(_word(node.arguments[0]))
                why = f": {word}" if word else ""
                message = f"{self.text(item)} is never found here{why}"
                self.report(Code.CONSTANT_PART, message, item)

    def report_constant(self, node: Node, *, found: bool) -> None:
        message = f"this is always {'true' if found else 'false'}"
        comparison = self.reasoner.comparison(node)
        term = comparison[0] if comparison else node
        word = _word(term)
        if word in _RANGES and self.reasoner.constant(term) is None:
            message = f"{message}: {_RANGES[word]}"
        elif self.reasoner.constant(node) is not None and not isinstance(node, Literal):
            message = f"{message}: nothing in it depends on the request"
        self.report(Code.CONSTANT_PART, message, node)

    # What fails.

    def failing(self, node: Apply, known: Known) -> None:
        """Report what can only fail, and what fails where something is empty or zero."""
        reason = None
        if node.function in {"/", "%"} and node.type == INT:
            reason = self.division(node, known)
        elif node.function == "[]" and not isinstance(node.arguments[0], TableOf):
            reason = self.element(node, known)
        constants = [self.reasoner.constant(argument) for argument in node.arguments]
        if reason is None and None not in constants and self.reasoner.constant(node) is None:
            reason = "this can only fail", None
        if reason is not None:
            self.report(Code.FAILS, reason[0], node, reason[1])

    def division(self, node: Apply, known: Known) -> tuple[str, str | None] | None:
        divisor = node.arguments[1]
        domain, text = self.reasoner.domain(divisor, known), self.text(divisor).strip("`")
        if domain.compared("==", 0):
            return "this can only fail: it divides by 0", None
        if domain.low == 0:
            return f"this fails where `{text}` is 0", f"write `{text} > 0 && ...` before it"
        return None

    def element(self, node: Apply, known: Known) -> tuple[str, str | None] | None:
        container, place = node.arguments
        index = self.reasoner.constant(place)
        if index is None:
            return None
        if index < 0:
            return "this can only fail: an index is counted from 0", None
        if isinstance(container, ListOf):
            is_short = index >= len(container.items)
            return ("this can only fail: the list is shorter", None) if is_short else None
        size = self.reasoner.domain(size_of(container), known)
        if size.compared(">", index) is True or _splits(container, index):
            return None
        text = self.text(container).strip("`")
        what = "is empty" if index == 0 else f"has fewer than {index + 1} items"
        return (
            f"this fails where `{text}` {what}",
            f"write `size({text}) > {index} && ...` before it",
        )

    # What reads badly.

    def mixed(self, node: Apply) -> None:
        """Report ``&&`` beside ``||`` without parentheses."""
        for operand in node.arguments:
            if isinstance(operand, Apply) and operand.function == "&&" and node.function == "||":
                before = self.condition.text[: operand.start].rstrip()[-1:]
                after = self.condition.text[operand.end :].lstrip()[:1]
                if (before, after) != ("(", ")"):
                    message = "`&&` and `||` are mixed without parentheses; `&&` binds first"
                    remedy = "put parentheses around the parts that belong together"
                    self.report(Code.MIXED_LOGIC, message, operand, remedy)
                    return

    # What depends on the day.

    def times(self, now: datetime.datetime) -> None:
        """Report comparisons with a time that is past.

        One that is true from now on is the beginning of a period where another one is open.
        """
        compared = [
            (node, *comparison)
            for node in walk(self.condition.tree)
            if (comparison := self.reasoner.comparison(node)) is not None
        ]
        dated = [
            (node, function, _is_past(term, value, now))
            for node, term, function, value in compared
            if function in NEGATED and _is_time(term)
        ]
        is_open = any(not is_past for *_, is_past in dated)
        for node, function, is_past in dated:
            is_true = ">" in function or function == "!="
            if is_past and not (is_true and is_open):
                message = f"the time is past: this is {'true' if is_true else 'false'} from now on"
                self.report(Code.PAST_TIME, message, node, severity=Severity.HINT)


def _is_time(term: Node) -> bool:
    return term == _NOW or _is_year(term)


def _is_year(term: Node) -> bool:
    is_year = isinstance(term, Apply) and term.function == "getFullYear"
    return is_year and term.children()[0] == _NOW


def _is_past(term: Node, value: Any, now: datetime.datetime) -> bool:
    if _is_year(term):
        return bool(value < now.year)
    return bool(value <= timestamp_of(now))


def _splits(node: Node, index: int) -> bool:
    """Tell whether a list is the parts of a text, of which there is at least one."""
    is_split = isinstance(node, Apply) and node.function == "split"
    return is_split and index == 0 and len(node.children()) == 2  # noqa: PLR2004 - no limit
