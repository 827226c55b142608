"""The command ``test``: do policies decide as their tests say?"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from policy_router.analysis import (
    CoverageItem,
    CoverageReport,
    Coverages,
    PolicyTestResult,
    PolicyTestStatus,
    SuiteResult,
    run_tests,
)
from policy_router.analysis.drafting import suite_of
from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS, USAGE
from policy_router.cli.formats import Case, annotation, annotation_of, junit
from policy_router.cli.inputs import UsageError, existing, read_policy, read_requests
from policy_router.cli.options import LOG, add_format, add_now
from policy_router.cli.terminal import counted, err, out, out_bytes, paint_for
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.diagnostics.model import Paint, printable
from policy_router.log.entry import Kind

_COLUMNS = 80
_HERE = "."
_PASSED, _FAILED, _SKIPPED = PolicyTestStatus
_COLOURS = {_PASSED: "good", _FAILED: "error", _SKIPPED: "dim"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        default=[_HERE],
        help="a suite (*_test.yaml), a rule file with one beside it, or a folder of them;"
        " default: this folder",
    )
    parser.add_argument("-k", "--only", metavar="TEXT", help="only tests with this in the name")
    parser.add_argument("--fail-fast", action="store_true", help="stop after the first failure")
    parser.add_argument(
        "--coverage", action="store_true", help="say what of the policies no test looks at"
    )
    parser.add_argument(
        "--threshold",
        metavar="N",
        type=_percentage,
        help="with coverage: fail where less than N percent of a policy are looked at",
    )
    parser.add_argument(
        "--new",
        metavar="REQUEST|ID",
        help="print the test that the decision of a request would be, by the policy PATH;"
        " or that a decision of --log would be",
    )
    parser.add_argument("--log", metavar="DIR", help=f"for --new: {LOG}")
    add_now(parser, "for --new: time of the decision")
    add_format(parser, "junit", "github")


def run(options: argparse.Namespace) -> int:
    """Run the tests, or print a new one.

    A failure is exit code 1, and no test at all is 2.
    """
    if options.new is not None:
        out(_new(options))
        return GOOD
    if options.log is not None:
        raise UsageError("--log needs --new and the id of a decision")
    options.coverages = None
    if options.coverage or options.threshold is not None:
        options.coverages = Coverages()
    part = (options.only or "").casefold()
    paths = [existing(path) for path in options.paths]
    found = run_tests(
        *paths,
        wanted=lambda test: part in test.name.casefold(),
        fail_fast=options.fail_fast,
        coverages=options.coverages,
    )
    results = list(_REPORTS[options.format](found, options))
    if not any(result.results or not result.suite.usable for result in results):
        named = f" with {printable(options.only)!r} in its name" if options.only else ""
        err(f"policy-router: no test{named} was found in {', '.join(map(printable, paths))}")
        return USAGE
    is_good = all(result.passed for result in results)
    return GOOD if is_good and _covers_enough(options) else POLICY_ERRORS


def _percentage(text: str) -> float:
    """Return a part in percent; it is the type of an option."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text, re.ASCII) or float(text) > 100:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("a number from 0 to 100 is wanted")
    return float(text)


def _reports(options: argparse.Namespace) -> list[tuple[str, CoverageReport]]:
    """Return the coverage of each policy, by the name of its first file."""
    found = options.coverages.all() if options.coverages else ()
    return [(each.policy.sources[0].name, each.report()) for each in found]


def _covers_enough(options: argparse.Namespace) -> bool:
    """Tell whether enough of each policy is looked at, and say of which it is not."""
    if options.threshold is None:
        return True
    low = [it for it in _reports(options) if it[1].percent < options.threshold]
    for path, report in low:
        err(
            f"policy-router: {printable(path)}: the tests cover {report.percent:.1f} %,"
            f" which is less than {options.threshold:g} %"
        )
    return not low


def _new(options: argparse.Namespace) -> str:
    """Return a suite with the tests that decisions would be."""
    if len(options.paths) != 1:
        raise UsageError("--new is about one policy")
    (path,) = options.paths
    policy = None
    if options.log is None or path != _HERE:
        policy = read_policy(path, is_strict=False)
    if options.log is None:
        assert policy is not None  # noqa: S101 - there is no log
        requests, _ = read_requests(options.new)
        return suite_of(
            [decide(policy, it, now=options.now) for it in requests], policy=Path(path).name
        )
    record = _logged(options.log, options.new)
    if policy is not None:
        record = decide(policy, record.request, now=record.now)
    return suite_of([record], policy=None if policy is None else Path(path).name)


def _logged(log: str, decision_id: str) -> DecisionRecord:
    """Return the record of a decision in a log."""
    from policy_router.log.read.reading import LogReader

    reader = LogReader(existing(log))
    made = [it for it in reader.about(decision_id) if it.entry.kind is Kind.DECISION]
    if not made:
        raise UsageError(f"decision {printable(decision_id)} is not here: it may have been pruned")
    return made[0].entry.decision_record


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
    for path, report in _reports(options):
        for line in _coverage(path, report):
            out(line)


def _coverage(path: str, report: CoverageReport) -> Iterator[str]:
    """Yield what of a policy no test looks at."""
    head = f"{printable(path)}: {report.percent:.1f} % covered"
    yield f"{head}, {report.covered:,} of {report.total:,} outcomes"
    for item in report.items:
        if item.missing:
            what = f"part of {item.name}" if item.kind == "leaf" else f"{item.kind} {item.name}"
            missing = " and ".join(item.missing)
            yield from _wrapped(f"  {item.span}: {printable(what)} is never {missing}")
            if item.text:
                yield from _wrapped(f"    {printable(' '.join(item.text.split()))}", "      ")


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
    span = each.test.span_of("name")
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
        content["coverage"] = [_coverage_as_json(*it) for it in _reports(options)]
    out_bytes(json.dumps(content, ensure_ascii=False, indent=2).encode())
    yield from results


def _coverage_as_json(path: str, report: CoverageReport) -> dict[str, Any]:
    return {
        "file": path,
        "percent": round(report.percent, 3),
        "covered": report.covered,
        "total": report.total,
        "items": [_item(it) for it in report.items],
    }


def _item(item: CoverageItem) -> dict[str, Any]:
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
                out(annotation(span, f"failed: {each.test.name}", _differences(each)))
        counts = {status: result.count(status) for status in PolicyTestStatus}
        if not options.quiet:
            out(f"{printable(result.suite.path)}: {_counts(counts, None)}")
        yield result


_REPORTS = {"human": _human, "json": _json, "junit": _junit, "github": _github}
