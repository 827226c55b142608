"""How ``policy-router test --suggest`` reports: a suite for people, and JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from policy_router.analysis import Coverage, Coverages, SuiteResult
from policy_router.analysis.drafting import expectation_of, names_of, suite_of
from policy_router.analysis.proof.asking import Moment, Progress
from policy_router.analysis.proof.refining import Cause
from policy_router.analysis.proof.suggesting import Gap, Suggestions, suggest
from policy_router.analysis.suites import with_suites
from policy_router.cli.terminal import counted, out, out_bytes
from policy_router.cli.test_reports import item_as_json, words_of
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy

_COLUMNS = 80


class Suggested(NamedTuple):
    """What is suggested for a policy.

    Attributes:
        found: the suggestions.
        policy: how a suite beside it names the policy; None where there is a suite already.
        taken: the names of the tests that there are.
    """

    found: Suggestions
    policy: str | None
    taken: frozenset[str]

    @property
    def file(self) -> str:
        """The first file of the policy."""
        return self.found.policy.sources[0].name


def suggested(
    results: Sequence[SuiteResult],
    coverages: Coverages,
    untested: Iterable[tuple[str, Policy]],
    now: Moment,
    progress: Progress,
) -> Iterator[Suggested]:
    """Look for tests, policy by policy.

    Args:
        results: what became of the tests that there are.
        coverages: what these cover.
        untested: the policies that have no tests, each with its path.
        now: the time of the requests where any is good.
        progress: is told how many of how many outcomes of a policy were asked about.
    """
    suites = [result.suite for result in results]
    taken = frozenset(test.name for suite in suites for test in suite.tests)
    for each in coverages.all():
        policy = with_suites(each.policy, suites)
        found = suggest(policy, each.report(), now=now, progress=progress)
        yield Suggested(found, None, taken)
    for path, policy in untested:
        found = suggest(policy, Coverage(policy).report(), now=now, progress=progress)
        yield Suggested(found, Path(path).resolve().name, frozenset())


def write(suggestions: Iterable[Suggested], format_: str) -> None:
    """Print suggestions.

    Args:
        suggestions: what is suggested for each policy.
        format_: ``human`` for YAML, or ``json``.
    """
    if format_ == "json":
        content = {"suggestions": [_as_json(it) for it in suggestions]}
        out_bytes(json.dumps(content, ensure_ascii=False, indent=2).encode())
        return
    for number, each in enumerate(suggestions):
        if number:
            out("---")
        for line in _suite(each):
            out(line)


def _suite(each: Suggested) -> Iterator[str]:
    """Yield a suite, with what cannot be tested as comments."""
    found = each.found
    wanted = sum(len(test.covers) for test in found.tests)
    tests = f"{counted(len(found.tests), 'test')} for {counted(wanted, 'outcome')}"
    others = f"{len(found.never):,} never, {len(found.undecided):,} undecided"
    yield from _comment(f"{printable(each.file)}: {tests}; {others}")
    if found.tests:
        width = _COLUMNS - 4
        notes = [
            [line for gap in test.covers for line in _lines(_said(gap), width)]
            for test in found.tests
        ]
        records = [test.record for test in found.tests]
        yield suite_of(records, policy=each.policy, taken=each.taken, notes=notes)
    for condition in found.policy.assumptions:
        yield from _comment(f"assumed: {_line(condition.text)}")
    for gap in found.never:
        yield from _comment(f"never: {_said(gap)}")
    for gap, cause in found.undecided:
        yield from _comment(f"undecided: {_said(gap)}: {_why(cause)}")


def _comment(text: str) -> list[str]:
    """Return a comment in lines that fit a terminal, where its words do."""
    return [f"# {line}" for line in _lines(text, _COLUMNS - 2)]


def _lines(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _said(gap: Gap) -> str:
    """Return an outcome in words, on one line."""
    text = _line(gap.item.text)
    return f"{gap.item.span}: {words_of(gap.item)} is {gap.outcome}" + (f": {text}" if text else "")


def _why(cause: Cause | None) -> str:
    if cause is None:
        return "not known"
    place = f"{cause.span}: " if cause.span else ""
    return place + _line(cause.text)


def _line(text: str) -> str:
    """Return an expression on one line."""
    return printable(" ".join(text.split()))


def _as_json(each: Suggested) -> dict[str, Any]:
    found = each.found
    records = [test.record for test in found.tests]
    tests = [
        {
            "name": name,
            "now": test.record.now,
            "request": msgspec.to_builtins(test.record.request),
            "expect": expectation_of(test.record),
            "covers": [_gap_as_json(gap) for gap in test.covers],
        }
        for test, name in zip(found.tests, names_of(records, each.taken), strict=True)
    ]
    undecided = [{**_gap_as_json(gap), "cause": _why(cause)} for gap, cause in found.undecided]
    never = [_gap_as_json(gap) for gap in found.never]
    assumed = [_line(it.text) for it in found.policy.assumptions]
    return {
        "file": each.file,
        "assumptions": assumed,
        "tests": tests,
        "never": never,
        "undecided": undecided,
    }


def _gap_as_json(gap: Gap) -> dict[str, Any]:
    content = item_as_json(gap.item)
    del content["counts"]
    return {**content, "outcome": gap.outcome}
