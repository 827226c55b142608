"""Requests that bring about what no test looks at, to become tests."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Final

from policy_router.analysis.coverage import Coverage
from policy_router.analysis.coverage_report import CoverageItem
from policy_router.analysis.proof.analyzing import analyze
from policy_router.analysis.proof.asking import Asking, Progress, smaller
from policy_router.analysis.proof.names import Plain
from policy_router.analysis.proof.sampling import Samples
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import moment
from policy_router.domain import Policy

_SAMPLES: Final = 400

_Outcomes = frozenset[tuple[int, str]]
"""Outcomes of a policy: the places of what has them in the report, each with its name."""


def suggest(
    coverage: Coverage,
    *,
    now: datetime.datetime | str,
    progress: Progress = lambda _done, _total: None,
) -> tuple[DecisionRecord, ...]:
    """Return decisions that bring about what is not covered so far.

    The requests come from the policy's own words, and from the solver. What none of them brings
    about stays uncovered: it may be out of reach.

    Args:
        coverage: what tests look at.
        now: the time of requests where any is good.
        progress: is told how many of how many questions the solver was asked.

    Raises:
        ModuleNotFoundError: the extra for proofs is not installed.
    """
    policy, wanted = coverage.policy, _missing(coverage.report().items)
    asking = Asking([policy], now=moment(now))
    found: list[DecisionRecord] = []
    for request, then in _requests(policy, asking, progress) if wanted else ():
        gained = _brought(asking, request, then) & wanted
        if gained:
            small = _shrunk(asking, request, then, gained)
            found.append(decide(policy, small, now=then))
            wanted -= gained | _brought(asking, small, then)
        if not wanted:
            break
    return tuple(found)


def _requests(
    policy: Policy, asking: Asking, progress: Progress
) -> Iterator[tuple[Plain, datetime.datetime]]:
    """Yield requests, the shortest first."""
    samples = Samples(asking.names, asking.now)
    yield from samples.single()
    for item in analyze(policy, now=asking.now, progress=progress).items:
        example = item.answered.example
        if example is not None:
            yield example.request, moment(example.now)
    yield from samples.mixed(_SAMPLES)


def _missing(items: tuple[CoverageItem, ...]) -> _Outcomes:
    return frozenset((place, it) for place, item in enumerate(items) for it in item.missing)


def _brought(asking: Asking, request: Plain, now: datetime.datetime) -> _Outcomes:
    """Return what a request brings about; nothing where it does not fit, or is not as assumed."""
    outcomes = asking.outcomes(request, now)
    if outcomes is None:
        return frozenset()
    (policy,), one = asking.policies, outcomes[0].request
    coverage = Coverage(policy)
    coverage.note(one, decide(policy, one, now=now))
    return frozenset(
        (place, outcome)
        for place, item in enumerate(coverage.report().items)
        for outcome, count in item.counts.items()
        if count
    )


def _shrunk(asking: Asking, request: Plain, now: datetime.datetime, wanted: _Outcomes) -> Plain:
    """Leave out of a request what does not matter for some outcomes."""
    shorter = (it for it in smaller(request) if wanted <= _brought(asking, it, now))
    found = next(shorter, None)
    return request if found is None else _shrunk(asking, found, now, wanted)
