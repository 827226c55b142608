"""How answers about all requests are written: for people, for pull requests, for code scanning."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from policy_router.analysis.proof.asking import Answer
from policy_router.analysis.proof.report import (
    AnalysisReport,
    ReportedAnswer,
    ReportedCause,
    ReportedExample,
)
from policy_router.cli.formats import sarif_of
from policy_router.cli.terminal import counted, out, out_bytes
from policy_router.diagnostics.model import printable
from policy_router.policy.yaml import flow

_COLUMNS = 80
_LONGEST_TEXT, _LONGEST_LIST, _KEPT = 200, 20, 5
_LEVELS = {"analyze": "warning", "prove": "error", "compare": "note"}


def write(report: AnalysisReport, format_: str, *, verbose: bool, quiet: bool) -> None:
    """Print a report.

    Args:
        report: the report.
        format_: ``human``, ``json``, ``sarif`` or ``markdown``.
        verbose: whether answers that are no findings are printed, too.
        quiet: whether nothing but the result is printed.
    """
    if format_ == "json":
        out_bytes(report.to_json())
    elif format_ == "sarif":
        out(sarif_of(_results(report), _RULES))
    elif format_ == "markdown":
        out("\n".join(_markdown(report)))
    else:
        out("\n".join(_human(report, verbose=verbose, quiet=quiet)))


def _human(report: AnalysisReport, *, verbose: bool, quiet: bool) -> Iterator[str]:
    for each in report.answers:
        if (
            verbose
            or each.finding
            or each.answer is Answer.UNDECIDED
            or report.command != "analyze"
        ):
            yield from _shown(each)
    for alike in report.alike or ():
        place = f"  {_at(alike.place)}" if alike.place else ""
        yield from _wrapped(f"the same  {alike.text}", 10)
        yield from [f"        {place}"] if place else []
    for text in () if quiet else report.assumptions:
        yield from _wrapped(f"assumed   {text}", 10)
    if not quiet:
        yield _summary(report)


def _shown(each: ReportedAnswer) -> Iterator[str]:
    yield from _wrapped(f"{_word(each):<9} {each.text}", 10)
    if each.place and (each.finding or each.answer is Answer.UNDECIDED):
        yield f"          {_at(each.place)}"
    if each.by:
        yield from _wrapped(f"          by {', '.join(each.by)}", 12)
    if each.due_to:
        yield from _wrapped(f"          due to {each.due_to}", 12)
    if each.cause:
        at = f", {_at(each.cause.place)}" if each.cause.place else ""
        yield from _wrapped(f"          {_because(each.cause, '')}{at}", 12)
    if each.example:
        yield from _example(each.example)


def _example(example: ReportedExample) -> Iterator[str]:
    yield from _wrapped(f"          request {flow(_shortened(example.request))}", 12)
    yield f"          at {example.now}"
    for number, decision in enumerate(example.decisions):
        word = ("old: ", "new: ")[number] if len(example.decisions) > 1 else ""
        yield from _wrapped(f"          {word}{_decided(decision)}", 12)


def _shortened(value: Any) -> Any:
    """Return a request with long texts and lists cut: some use up what a condition may visit."""
    if isinstance(value, dict):
        return {key: _shortened(it) for key, it in value.items()}
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_KEPT]}... ({len(value):,} characters)"
    if isinstance(value, list):
        rest = [f"... ({len(value):,} items)"] if len(value) > _LONGEST_LIST else []
        return [*map(_shortened, value[:_KEPT] if rest else value), *rest]
    return value


def _because(cause: ReportedCause, mark: str) -> str:
    """Return why a question is undecided: an expression has a place, and a reason is a clause."""
    return f"because of {mark}{cause.text}{mark}" if cause.place else f"because {cause.text}"


def _decided(decision: Any) -> str:
    by = f" by rule {decision.rule}" if decision.rule else ""
    if decision.code:
        return f"refused{by}: {decision.code}"
    planned = f", fallbacks {', '.join(decision.fallbacks)}" if decision.fallbacks else ""
    return f"{decision.target}{by}{planned}"


def _word(each: ReportedAnswer) -> str:
    return each.result or each.answer.value


def _summary(report: AnalysisReport) -> str:
    counts = {answer: report.count(answer) for answer in Answer}
    undecided = f"{counts[Answer.UNDECIDED]:,} undecided"
    if report.command == "prove":
        asked = counted(len(report.answers), "assertion")
        return (
            f"{asked}: {counts[Answer.NEVER]:,} hold, {counts[Answer.CAN]:,} violated, {undecided}"
        )
    if report.command == "compare":
        if counts[Answer.NEVER] == len(report.answers):
            return "equivalent: no request is decided differently"
        ways = counted(counts[Answer.CAN], "way")
        return f"{ways} in which a request is decided differently, {undecided}"
    asked = counted(len(report.answers), "question")
    findings = counted(
        sum(it.finding for it in report.answers) + len(report.alike or ()), "finding"
    )
    return (
        f"{asked}: {counts[Answer.CAN]:,} can, {counts[Answer.NEVER]:,} never, {undecided};"
        f" {findings}"
    )


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        printable(text),
        _COLUMNS,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
        drop_whitespace=True,
        initial_indent="",
    )


def _at(place: Any) -> str:
    return f"{printable(place.file)}:{place.line}:{place.column}"


# For pull requests.


def _markdown(report: AnalysisReport) -> Iterator[str]:
    yield f"### policy-router {report.command}: {_cell(report.policy.name)}"
    yield ""
    yield _summary(report).capitalize() + "."
    shown = [
        it
        for it in report.answers
        if it.finding or it.answer is Answer.UNDECIDED or report.command != "analyze"
    ]
    if shown:
        yield from ("", "| answer | what | for example |", "|---|---|---|")
        yield from (_row(it) for it in shown)
    for alike in report.alike or ():
        yield from ("", f"- {_cell(alike.text)}")
    for text in report.assumptions:
        yield from ("", f"Assumed: `{text}`")


def _row(each: ReportedAnswer) -> str:
    example = ""
    if each.example:
        decided = " → ".join(map(_decided, each.example.decisions))
        example = f"`{flow(_shortened(each.example.request))}`: {decided}"
    elif each.cause:
        example = _because(each.cause, "`")
    text = f"{each.text} ({each.due_to})" if each.due_to else each.text
    return f"| {_word(each)} | {_cell(text)} | {_cell(example)} |"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("<", "&lt;")


# For code scanning.

_RULES = {
    "analyze": "A part of the policy that no request brings about, or that may surprise.",
    "prove": "An assertion that a request breaks.",
    "compare": "A request that is decided differently.",
    "undecided": "A question that has no answer.",
}


def _results(report: AnalysisReport) -> Iterator[dict[str, Any]]:
    for each in report.answers:
        is_open = each.answer is Answer.UNDECIDED
        if not (each.finding or is_open):
            continue
        more = f"\nrequest: {json.dumps(_shortened(each.example.request))}" if each.example else ""
        more += f"\n{_because(each.cause, '`')}" if each.cause else ""
        found: dict[str, Any] = {
            "ruleId": "undecided" if is_open else report.command,
            "level": "note" if is_open else _LEVELS[report.command],
            "message": {"text": f"{_word(each)}: {each.text}{more}"},
        }
        if each.place:
            found["place"] = (each.place.file, each.place.line, each.place.column)
        yield found
