"""How ``policy-router test`` reports: for people, programs, build servers and pull requests."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from policy_router.analysis import (
    CoverageItem,
    CoverageReport,
    PolicyTestResult,
    PolicyTestStatus,
    SuiteResult,
)
from policy_router.analysis.mutation import Mutant
from policy_router.cli.formats import Case, annotation, annotation_of, junit
from policy_router.cli.terminal import counted, out, out_bytes, paint_for
from policy_router.diagnostics.model import Paint, printable

_COLUMNS = 80
_PASSED, _FAILED, _SKIPPED = PolicyTestStatus
_COLOURS = {_PASSED: "good", _FAILED: "error", _SKIPPED: "dim"}


class Mutation(NamedTuple):
    """What became of the mutants of a policy.

    Attributes:
        path: its first file.
        tried: how many were tried.
        survivors: those that no test noticed.
        shown_by: for each of these, which request shows it; empty where that was not asked.
    """

    path: str
    tried: int
    survivors: list[Mutant]
    shown_by: tuple[str, ...] = ()


def coverages_of(options: argparse.Namespace) -> list[tuple[str, CoverageReport]]:
    """Return the coverage of each policy, by the name of its first file."""
    found = options.coverages.all() if options.coverages else ()
    return [(each.policy.sources[0].name, each.report()) for each in found]


_Results = Iterable[SuiteResult]


def _human(found: _Results, options: argparse.Namespace) -> Iterator[SuiteResult]:
    """Print a line for each suite, and for each failure what differs and why."""
    paint = paint_for(sys.stdout)
    counts = dict.fromkeys(PolicyTestStatus, 0)
    suites = 0
    for result in found:
        suites += 1
        for status in counts:
            counts[status] += result.count(status)
        for line in _lines(result, paint, options):
            out(line)
        yield result
    if suites > 1 and not options.quiet:
        out(f"{_counts(counts, paint)} in {counted(suites, 'suite')}")
    for path, report in coverages_of(options):
        for line in _coverage(path, report):
            out(line)
    for mutation in options.mutations:
        for line in _mutation(mutation):
            out(line)


def _mutation(mutation: Mutation) -> Iterator[str]:
    """Yield the changes of a policy that no test notices."""
    noticed = mutation.tried - len(mutation.survivors)
    changes = counted(mutation.tried, "change")
    yield f"{printable(mutation.path)}: the tests notice {noticed:,} of {changes}"
    for mutant, shown in zip_longest(mutation.survivors, mutation.shown_by):
        yield from _wrapped(f"  {mutant.span}: {printable(f'{mutant.name}: {mutant.change}')}")
        yield from _wrapped(f"    {printable(shown)}") if shown else ()


def _coverage(path: str, report: CoverageReport) -> Iterator[str]:
    """Yield what of a policy no test looks at."""
    head = f"{printable(path)}: {report.percent:.1f} % covered"
    yield f"{head}, {report.covered:,} of {report.total:,} outcomes"
    for item in report.items:
        if item.missing:
            missing = " and ".join(item.missing)
            yield from _wrapped(f"  {item.span}: {words_of(item)} is never {missing}")
            if item.text:
                yield from _wrapped(f"    {printable(' '.join(item.text.split()))}", "      ")


def words_of(item: CoverageItem) -> str:
    """Return what an item of a policy is, in words."""
    kind = "part of" if item.kind == "leaf" else item.kind
    return printable(f"{kind} {item.name}")


def _lines(result: SuiteResult, paint: Paint | None, options: argparse.Namespace) -> Iterator[str]:
    path = printable(result.suite.path)
    if not result.suite.usable:
        yield result.suite.found.to_text(paint)
        yield f"{path}: {_painted('the tests cannot be run', 'error', paint)}"
        return
    counts = {status: result.count(status) for status in PolicyTestStatus}
    if not options.quiet or not result.passed:
        yield f"{path}: {_counts(counts, paint)}"
    for each in result.results:
        if each.status is _FAILED:
            yield from _failure(result, each, paint)
        elif options.verbose or (each.status is _SKIPPED and not options.quiet):
            reason = f": {printable(each.test.skip)}" if each.test.skip else ""
            yield from _wrapped(f"  {each.status} {printable(each.test.name)}{reason}")


def _counts(counts: dict[PolicyTestStatus, int], paint: Paint | None) -> str:
    shown = [
        _painted(f"{number:,} {status}", _COLOURS[status], paint)
        for status, number in counts.items()
        if number or status is _PASSED
    ]
    return ", ".join(shown)


def _failure(result: SuiteResult, each: PolicyTestResult, paint: Paint | None) -> Iterator[str]:
    yield ""
    span = each.test.span_of(each.differences[0].key)
    yield from _wrapped(f"  {_painted('failed', 'error', paint)} {printable(each.test.name)}")
    yield f"    {span}"
    for difference in each.differences:
        yield from _wrapped(f"    {difference}", "      ")
    page = result.explanation(each, paint)
    for line in page.splitlines():
        start = " " * (10 + len(line) - len(line.lstrip()))
        yield from _wrapped(f"      {line}", start) if line else ("",)
    yield ""


def _painted(text: str, role: str, paint: Paint | None) -> str:
    return paint(text, role) if paint else text


def _wrapped(text: str, indent: str = "    ") -> list[str]:
    """Return a line in lines that fit a terminal, where its words do."""
    if len(text) <= _COLUMNS:
        return [text]
    start = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(),
        _COLUMNS,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _json(found: _Results, options: argparse.Namespace) -> Iterator[SuiteResult]:
    results = list(found)
    counts = {str(it): sum(result.count(it) for result in results) for it in PolicyTestStatus}
    content = {"suites": [_suite(result) for result in results], **counts}
    if options.coverages:
        content["coverage"] = [_coverage_as_json(*it) for it in coverages_of(options)]
    if options.mutate is not None:
        content["mutation"] = [_mutation_as_json(it) for it in options.mutations]
    out_bytes(json.dumps(content, ensure_ascii=False, indent=2).encode())
    yield from results


def _mutation_as_json(mutation: Mutation) -> dict[str, Any]:
    return {
        "file": mutation.path,
        "changes": mutation.tried,
        "unnoticed": [
            {"name": it.name, "change": it.change, "place": str(it.span)}
            | ({"shown_by": shown} if shown else {})
            for it, shown in zip_longest(mutation.survivors, mutation.shown_by)
        ],
    }


def _coverage_as_json(path: str, report: CoverageReport) -> dict[str, Any]:
    return {
        "file": path,
        "percent": round(report.percent, 3),
        "covered": report.covered,
        "total": report.total,
        "items": [item_as_json(it) for it in report.items],
    }


def item_as_json(item: CoverageItem) -> dict[str, Any]:
    """Return an item of a policy, with its place and counts, as plain data."""
    line, column = item.span.position if item.span else (None, None)
    text = {"text": item.text} if item.text else {}
    place = {"file": item.span.source.name if item.span else None, "line": line, "column": column}
    return {"kind": item.kind, "name": item.name, **text, **place, "counts": item.counts}


def _suite(result: SuiteResult) -> dict[str, Any]:
    policy = result.suite.policy
    return {
        "file": result.suite.path,
        "policy": None if policy is None else policy.name,
        "revision": None if policy is None else policy.revision,
        **{str(status): result.count(status) for status in PolicyTestStatus},
        "tests": [_test(each) for each in result.results],
        **result.suite.found.to_dict(),
    }


def _test(each: PolicyTestResult) -> dict[str, Any]:
    span = each.test.span_of("name")
    reason = {} if each.test.skip is None else {"skip": each.test.skip}
    return {
        "name": each.test.name,
        "status": each.status.value,
        **reason,
        "line": None if span is None else span.position[0],
        "differences": [
            {"key": it.key, "expected": it.expected, "found": it.found} for it in each.differences
        ],
    }


def _junit(found: _Results, _: argparse.Namespace) -> Iterator[SuiteResult]:
    results = list(found)
    out(junit((result.suite.path, list(_cases(result))) for result in results))
    yield from results


def _cases(result: SuiteResult) -> Iterator[Case]:
    if not result.suite.usable:
        yield Case("the suite", failure=result.suite.found.to_text())
    for each in result.results:
        failed = each.status is _FAILED
        why = f"{_differences(each)}\n\n{result.explanation(each)}".rstrip() if failed else None
        yield Case(each.test.name, why, each.test.skip)


def _differences(each: PolicyTestResult) -> str:
    return "\n".join(map(str, each.differences))


def _github(found: _Results, options: argparse.Namespace) -> Iterator[SuiteResult]:
    """Print the lines of ``human``, with an annotation in place of each failure."""
    for result in found:
        for item in result.suite.found:
            out(annotation_of(item))
        for each in result.results:
            if each.status is _FAILED:
                span = each.test.span_of(each.differences[0].key)
                name = printable(each.test.name)
                out(annotation(span, f"failed: {name}", _differences(each)))
        counts = {status: result.count(status) for status in PolicyTestStatus}
        if not options.quiet:
            out(f"{printable(result.suite.path)}: {_counts(counts, None)}")
        yield result


_Report = Callable[[_Results, argparse.Namespace], Iterator[SuiteResult]]
REPORTS: Mapping[str, _Report] = {
    "human": _human,
    "json": _json,
    "junit": _junit,
    "github": _github,
}
"""Each format, with what prints results in it and passes them on."""
