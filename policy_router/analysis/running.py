"""Runs suites: decides each test's request, and compares the decision with what is expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from policy_router.analysis.coverage import Coverage
from policy_router.analysis.expectations import (
    Difference,
    differences,
    differences_of_problem,
)
from policy_router.analysis.outcomes import Outcome, violating
from policy_router.analysis.suites import PolicyTest, Suite, read_suite, suite_files
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.explanation import explain
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import moment
from policy_router.diagnostics.model import Paint, quote
from policy_router.domain import Assertion, Policy
from policy_router.errors import RequestError


class PolicyTestStatus(StrEnum):
    """What became of a test."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class PolicyTestResult:
    """What became of a test.

    Attributes:
        test: the test.
        status: passed, failed or skipped.
        differences: where the decision is not what is expected.
        record: the decision; None where there is none.
    """

    test: PolicyTest
    status: PolicyTestStatus
    differences: tuple[Difference, ...] = ()
    record: DecisionRecord | None = None


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What became of a suite.

    Attributes:
        suite: the suite.
        results: those of its tests, as far as they were run.
    """

    suite: Suite
    results: tuple[PolicyTestResult, ...]

    def count(self, status: PolicyTestStatus) -> int:
        """Return how many tests have a status."""
        return sum(result.status is status for result in self.results)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: with the suite, its policy and its tests."""
        return self.suite.usable and not self.count(PolicyTestStatus.FAILED)

    def explanation(self, result: PolicyTestResult, paint: Paint | None = None) -> str:
        """Return the explanation of a test's decision; empty where there is none.

        It also says why an entry that was expected was not selected.
        """
        if result.record is None or self.suite.policy is None:
            return ""
        is_other = any(it.key == "entry" for it in result.differences)
        name = result.test.expect["entry"] if is_other else None
        return explain(self.suite.policy, result.record, why_not=name).to_text(paint)


class Coverages:
    """The coverage of each policy that tests are run of; suites of one policy share it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[tuple[str, ...], Coverage] = {}

    def of(self, policy: Policy) -> Coverage:
        """Return the coverage of a policy."""
        key = (policy.revision, *(source.name for source in policy.sources))
        return self._found.setdefault(key, Coverage(policy))

    def all(self) -> Sequence[Coverage]:
        """Return the coverage of each policy, in the order of their first suites."""
        return tuple(self._found.values())


Wanted = Callable[[PolicyTest], bool]
"""Tells whether a test is to be run."""


def run_suite(
    suite: Suite,
    *,
    wanted: Wanted | None = None,
    fail_fast: bool = False,
    coverages: Coverages | None = None,
) -> SuiteResult:
    """Run the tests of a suite; none where the suite or its policy has errors.

    Args:
        suite: the suite.
        wanted: tells which tests to run; all unless given.
        fail_fast: stop after the first failure.
        coverages: counts what the decisions bring about.
    """
    results: list[PolicyTestResult] = []
    policy = suite.policy if suite.usable else None
    coverage = coverages.of(policy) if coverages and policy else None
    for test in suite.tests if policy is not None else ():
        if policy is not None and (wanted is None or wanted(test)):
            results.append(_run(policy, test, (*policy.assertions, *suite.assertions)))
            record = results[-1].record
            if coverage is not None and record is not None:
                coverage.note(test.request, record)
            if fail_fast and results[-1].status is PolicyTestStatus.FAILED:
                break
    return SuiteResult(suite, tuple(results))


def run_tests(
    *paths: str | Path,
    wanted: Wanted | None = None,
    fail_fast: bool = False,
    coverages: Coverages | None = None,
) -> Iterator[SuiteResult]:
    """Run the suites that paths stand for: suites, rule files with a suite beside them, folders.

    Args:
        paths: the paths.
        wanted: tells which tests to run; all unless given.
        fail_fast: stop after the first failure.
        coverages: counts what the decisions bring about.

    Yields:
        What became of each suite.
    """
    files = dict.fromkeys(file for path in paths for file in suite_files(path))
    for file in files:
        suite = read_suite(file)
        result = run_suite(suite, wanted=wanted, fail_fast=fail_fast, coverages=coverages)
        yield result
        if fail_fast and not result.passed:
            return


def _run(policy: Policy, test: PolicyTest, assertions: Sequence[Assertion]) -> PolicyTestResult:
    if test.skip is not None:
        return PolicyTestResult(test, PolicyTestStatus.SKIPPED)
    try:
        record = decide(policy, test.request, now=test.now)
    except RequestError as problem:
        return _result(test, differences_of_problem(test.expect, problem), None)
    found = (*differences(test.expect, record, policy), *_broken(policy, test, assertions))
    return _result(test, found, record)


def _broken(
    policy: Policy, test: PolicyTest, assertions: Sequence[Assertion]
) -> Iterator[Difference]:
    """Yield the assertions that a decision breaks."""
    conditions = [it for it in assertions if it.condition is not None]
    if not conditions:
        return
    outcome = Outcome(policy, test.request, moment(test.now))
    for it in conditions:
        names = violating(it, outcome)
        if names and it.condition is not None:
            wanted = f"{it.word}: {' '.join(it.condition.text.split())}"
            found = ", ".join(quote(name) if name else "the refusal" for name in names)
            yield Difference(f"assert {it.id}", wanted, found)


def _result(
    test: PolicyTest, found: tuple[Difference, ...], record: DecisionRecord | None
) -> PolicyTestResult:
    status = PolicyTestStatus.FAILED if found else PolicyTestStatus.PASSED
    return PolicyTestResult(test, status, found, record)


def first_failure(suites: Iterable[Suite]) -> str | None:
    """Run suites, and return what is wrong first, with its place; None where all is well."""
    for suite in suites:
        result = run_suite(suite, fail_fast=True)
        if not suite.usable:
            item = next(iter(suite.found))
            return f"{item.span}: {item.message}"
        if not result.passed:
            last = result.results[-1]
            place = last.test.span_of("name") or suite.path
            name = quote(last.test.name)
            return f"{place}: the test {name} fails: {last.differences[0]}"
    return None
