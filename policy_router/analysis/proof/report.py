"""Answers as they are published: ``schemas/analysis.schema.json`` is made of what is here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from policy_router.analysis.proof.analyzing import Analysis, AnalysisItem
from policy_router.analysis.proof.asking import Answer, Answered, Example
from policy_router.analysis.proof.comparing import Comparison, DecisionDifference
from policy_router.analysis.proof.proving import Proof, Proofs
from policy_router.analysis.proof.refining import Cause
from policy_router.analysis.proof.ways import CLASSES, DETAILS
from policy_router.decision.compare import named
from policy_router.decision.record import DecisionRecord
from policy_router.decision.schema import described, published
from policy_router.diagnostics.model import Span
from policy_router.domain import Policy

SCHEMA = "policy-router/analysis/v1"


class PolicyPlace(Struct, frozen=True):
    """A policy that was asked about.

    Attributes:
        name: its name.
        revision: its revision.
    """

    name: str
    revision: str


class SourcePlace(Struct, frozen=True):
    """A place in a rule file.

    Attributes:
        file: the file.
        line: the line, from 1.
        column: the column, from 1.
    """

    file: str
    line: int
    column: int


class ReportedDecision(Struct, frozen=True, omit_defaults=True):
    """What a policy decides of an example, in short.

    Attributes:
        outcome: `selected` or `refused`.
        target: the selected target, by its name.
        rule: the rule that selected or refused.
        code: the code of a refusal.
        fallbacks: the planned fallbacks, in order.
    """

    outcome: str
    target: str | UnsetType = UNSET
    rule: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    fallbacks: tuple[str, ...] | UnsetType = UNSET


class ReportedExample(Struct, frozen=True):
    """A request that does what was asked about.

    Attributes:
        request: the request.
        now: the time of its decision.
        decisions: what is decided; of two policies, the old one comes first.
    """

    request: dict[str, Any]
    now: str
    decisions: tuple[ReportedDecision, ...]


class ReportedCause(Struct, frozen=True, omit_defaults=True):
    """Why a question is undecided.

    Attributes:
        text: the expression that is not understood, or the reason in words.
        place: where it is written.
    """

    text: str
    place: SourcePlace | UnsetType = UNSET


class ReportedAnswer(Struct, frozen=True, omit_defaults=True):
    """A question with its answer.

    Attributes:
        kind: the kind of the question.
        text: what is asked, as a statement.
        answer: `never`, `can` or `undecided`.
        finding: whether this is something to look at.
        place: where the part that is asked about is written.
        by: the rules that bring it about.
        example: for `can`, a request that brings it about.
        cause: for `undecided`, why.
        due_to: what a difference is due to.
        result: for an assertion: `holds` where no request breaks it, `violated` or `undecided`.
    """

    kind: str
    text: str
    answer: Answer
    finding: bool
    place: SourcePlace | UnsetType = UNSET
    by: tuple[str, ...] | UnsetType = UNSET
    example: ReportedExample | UnsetType = UNSET
    cause: ReportedCause | UnsetType = UNSET
    due_to: str | UnsetType = UNSET
    result: str | UnsetType = UNSET


class Alike(Struct, frozen=True, omit_defaults=True):
    """A part of a policy that says the same as an earlier one.

    Attributes:
        text: which two, in words.
        place: where the later one is written.
    """

    text: str
    place: SourcePlace | UnsetType = UNSET


class AnalysisReport(Struct, frozen=True, omit_defaults=True):
    """What no request, or some request, can bring about under a policy.

    Attributes:
        command: `analyze`, `prove` or `compare`.
        policy: the policy.
        assumptions: what is assumed of requests.
        answers: the questions with their answers.
        before: for `compare`, the old policy.
        alike: for `analyze`, the parts that say the same.
        schema: version of the report.
    """

    command: str
    policy: PolicyPlace
    assumptions: tuple[str, ...]
    answers: tuple[ReportedAnswer, ...]
    before: PolicyPlace | UnsetType = UNSET
    alike: tuple[Alike, ...] | UnsetType = UNSET
    schema: str = SCHEMA

    def count(self, answer: Answer) -> int:
        """Return how many questions have an answer."""
        return sum(it.answer is answer for it in self.answers)

    def to_json(self) -> bytes:
        """Return the report as JSON."""
        content = {"schema": SCHEMA, **msgspec.to_builtins(self)}
        return msgspec.json.format(msgspec.json.encode(content), indent=2)


def analysis_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report."""
    definitions = described(AnalysisReport)
    main = definitions.pop("AnalysisReport")
    main["properties"]["schema"] = {"const": SCHEMA, "description": "Version of the report."}
    main["required"] = sorted({*main["required"], "schema"})
    return published("analysis", main, definitions, title="policy-router analysis")


def of_analysis(analysis: Analysis) -> AnalysisReport:
    """Return the report of an analysis."""
    alike = tuple(Alike(text, _place(span)) for text, span in analysis.alike)
    answers = tuple(map(_of_item, analysis.items))
    return _report("analyze", analysis.policy, answers, alike=alike)


def of_proofs(proofs: Proofs) -> AnalysisReport:
    """Return the report of proofs: *never* is said of a request that breaks an assertion."""
    return _report("prove", proofs.policy, tuple(map(_of_proof, proofs.proofs)))


def of_comparison(comparison: Comparison) -> AnalysisReport:
    """Return the report of a comparison."""
    answers = tuple(map(_of_difference, comparison.differences))
    policies = (comparison.before, comparison.after)
    assumed = dict.fromkeys(text for policy in policies for text in _assumed(policy))
    before = PolicyPlace(comparison.before.name, comparison.before.revision)
    after = PolicyPlace(comparison.after.name, comparison.after.revision)
    return AnalysisReport("compare", after, (*assumed,), answers, before=before)


def _report(
    command: str,
    policy: Policy,
    answers: tuple[ReportedAnswer, ...],
    *,
    alike: tuple[Alike, ...] | UnsetType = UNSET,
) -> AnalysisReport:
    place = PolicyPlace(policy.name, policy.revision)
    return AnalysisReport(command, place, (*_assumed(policy),), answers, alike=alike)


def _assumed(policy: Policy) -> Iterable[str]:
    return (" ".join(it.text.split()) for it in policy.assumptions)


def _of_item(each: AnalysisItem) -> ReportedAnswer:
    found = _answer(each.item.kind, each.item.text, each.answered, each.item.span)
    by = each.by or UNSET
    return msgspec.structs.replace(found, finding=each.is_finding, by=by)


def _of_proof(each: Proof) -> ReportedAnswer:
    assertion = each.assertion
    if assertion.condition is None:
        said = f"unchanged {assertion.unchanged}"
    else:
        said = f"{assertion.word} {' '.join(assertion.condition.text.split())}"
    found = _answer("assertion", f"`{assertion.id}`: {said}", each.answered, assertion.span)
    is_found = each.answered.answer is Answer.CAN
    return msgspec.structs.replace(found, finding=is_found, result=each.word)


def _of_difference(each: DecisionDifference) -> ReportedAnswer:
    text = CLASSES.get(each.name, "a request has another rule, other parameters or warnings")
    found = _answer(each.name, text, each.answered, None)
    is_found = each.answered.answer is Answer.CAN and each.name != DETAILS
    due_to = UNSET if each.due_to is None else each.due_to
    return msgspec.structs.replace(found, finding=is_found, due_to=due_to)


def _answer(kind: str, text: str, answered: Answered, span: Span | None) -> ReportedAnswer:
    return ReportedAnswer(
        kind,
        text,
        answered.answer,
        finding=False,
        place=_place(span),
        example=UNSET if answered.example is None else _example(answered.example),
        cause=UNSET if answered.cause is None else _cause(answered.cause),
    )


def _place(span: Span | None) -> SourcePlace | UnsetType:
    if span is None:
        return UNSET
    line, column = span.position
    return SourcePlace(span.source.name, line, column)


def _example(example: Example) -> ReportedExample:
    decisions = tuple(map(_decision, example.records))
    return ReportedExample(example.request, example.now, decisions)


def _cause(cause: Cause) -> ReportedCause:
    return ReportedCause(cause.text, _place(cause.span))


def _decision(record: DecisionRecord) -> ReportedDecision:
    decision = record.decision
    if decision.refusal:
        code, rule = decision.refusal.code.value, decision.refusal.rule or UNSET
        return ReportedDecision("refused", code=code, rule=rule)
    planned = tuple(it.entry or it.model for it in decision.fallbacks or ())
    return ReportedDecision(
        "selected", named(decision), decision.rule or UNSET, fallbacks=planned or UNSET
    )
