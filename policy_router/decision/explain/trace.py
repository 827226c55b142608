"""The trace of one condition: what it came to, and the values under its parts.

The values come from the request that the reader supplied; they appear in explanations and nowhere
else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from policy_router.cel.ast import (
    Apply,
    Attribute,
    Bind,
    BoundName,
    Literal,
    Node,
    Present,
    walk,
)
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import FAILURE, Frame, Outcome
from policy_router.cel.timestamps import TICKS, Duration, Timestamp, datetime_of
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import Span, printable

_LONGEST = 72
_LOGIC = {"&&", "||", "!", "?:"}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition with its value.

    Attributes:
        depth: how deep it stands in the condition; 0 is the whole.
        text: the part as it was written.
        value: what it came to, as text.
        inputs: the names that it reads, with their values: ``task.kind = "coding"``.
    """

    depth: int
    text: str
    value: str
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConditionTrace:
    """What a condition came to.

    Attributes:
        title: what the condition is: ``allow``, ``forbid pii-stays-home``, ``variables.risky``.
        value: what it came to, as text.
        span: where it was written.
        parts: its parts, outer before inner.
        variables: the traces of the variables that it uses.
    """

    title: str
    value: str
    span: Span
    parts: tuple[Part, ...]
    variables: tuple[ConditionTrace, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield the trace for a person, aligned."""
        verb = "" if self.value == shown(FAILURE) else "is "
        yield f"{self.title} {verb}{self.value}   {self.span}"
        width = max((2 * part.depth + len(part.text) for part in self.parts), default=0)
        for part in self.parts:
            text = "  " * part.depth + part.text
            inputs = f"   {', '.join(part.inputs)}" if part.inputs else ""
            yield f"  {text:<{width}}   {part.value}{inputs}"
        for variable in self.variables:
            yield from (f"  {line}" for line in variable.lines())


def trace(
    evaluation: Evaluation, title: str, condition: Condition, candidate: Candidate | None = None
) -> ConditionTrace:
    """Evaluate a condition again, and every part of it that has a value of its own."""
    # Each trace has the budget of a whole decision: one does not depend on those before it.
    evaluation = Evaluation(evaluation.policy, evaluation.values, evaluation.now)
    used = [it for it in evaluation.policy.variables if it.name in condition.variables]
    variables = [(f"variables.{it.name}", it.condition, None) for it in used]
    first, *others = [
        ConditionTrace(
            title,
            shown(evaluation.evaluate(condition, candidate)),
            condition.span,
            tuple(_Parts(condition, evaluation.frame_for(candidate)).parts(condition.tree, 0)),
        )
        for title, condition, candidate in [(title, condition, candidate), *variables]
    ]
    return replace(first, variables=tuple(others))


@dataclass(frozen=True, slots=True)
class _Parts:
    """Evaluates the parts of one condition.

    Attributes:
        condition: the condition.
        frame: the values of its names.
        binds: what gives names to values around the part, outer before inner.
    """

    condition: Condition
    frame: Frame
    binds: tuple[Bind, ...] = ()

    def parts(self, node: Node, depth: int) -> Iterator[Part]:
        """Yield the logic of a condition part by part, down to its comparisons."""
        if isinstance(node, Literal):
            return
        is_logic = isinstance(node, Apply) and node.function in _LOGIC
        names = () if is_logic or isinstance(node, Bind) else self.names(node)
        yield Part(depth, self.text(node), shown(self.outcome(node)), names)
        for child in node.children() if is_logic else ():
            yield from self.parts(child, depth + 1)
        if isinstance(node, Bind):
            yield from self.parts(node.value, depth + 1)
            inner = replace(self, binds=(*self.binds, node))
            yield from inner.parts(node.body, depth + 1)

    def names(self, node: Node) -> tuple[str, ...]:
        """Return the names under a comparison, each with its value."""
        if isinstance(node, Attribute | Present):
            return ()
        found = dict.fromkeys(
            part.path for part in walk(node) if isinstance(part, Attribute | Present)
        )
        buckets = [
            f"{self.text(part)} = {shown(self.outcome(part))}"
            for part in walk(node)
            if isinstance(part, Apply) and part.function == "bucket"
        ]
        return (
            *(f"{path} = {self.value(path, node)}" for path in found),
            *self.bound(node),
            *buckets,
        )

    def bound(self, node: Node) -> Iterator[str]:
        """Yield the bound names under a comparison, each with its value."""
        if isinstance(node, BoundName):
            return
        around = {bind.name for bind in self.binds}
        used = {it.name: it for it in walk(node) if isinstance(it, BoundName) and it.name in around}
        for name, part in used.items():
            yield f"{name} = {shown(self.outcome(part))}"

    def value(self, path: str, node: Node) -> str:
        attribute = next(
            (p for p in walk(node) if isinstance(p, Attribute) and p.path == path), None
        )
        if attribute is None:
            return "present" if self.is_present(path, node) else "absent"
        outcome = self.outcome(attribute)
        return "absent" if outcome is FAILURE else shown(outcome)

    def is_present(self, path: str, node: Node) -> bool:
        found = next(p for p in walk(node) if isinstance(p, Present) and p.path == path)
        return self.outcome(found) is True

    def outcome(self, node: Node) -> Outcome:
        for bind in reversed(self.binds):
            node = replace(bind, type=node.type, body=node)
        return Program(node).evaluate(self.frame)

    def text(self, node: Node) -> str:
        written = " ".join(self.condition.text_of(node).split())
        return _cut(printable(written))


def shown(outcome: Outcome) -> str:
    """Return a value for a person: strings quoted, long ones cut, a failure in words."""
    if outcome is FAILURE:
        return "cannot be evaluated"
    if isinstance(outcome, Timestamp):
        return spelt(datetime_of(outcome))
    if isinstance(outcome, Duration):
        return f"{outcome.ticks / TICKS:g}s"
    if isinstance(outcome, tuple):
        return _cut(f"[{', '.join(shown(item) for item in outcome)}]")
    return _cut(printable(json.dumps(outcome, ensure_ascii=False)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def trace_as_json(item: ConditionTrace) -> dict[str, Any]:
    """Return the trace of a condition as plain data."""
    return {
        "title": item.title,
        "value": item.value,
        "place": str(item.span),
        "parts": [
            {"depth": part.depth, "text": part.text, "value": part.value, "inputs": part.inputs}
            for part in item.parts
        ],
        "variables": [trace_as_json(it) for it in item.variables],
    }
