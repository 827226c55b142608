"""The work of helper processes: checks, explanations, and everything that reads the log."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.analysis import Suite, complete, describe
from policy_router.analysis.about import suites_about, suites_among
from policy_router.analysis.drafting import suite_of
from policy_router.analysis.running import (
    Coverages,
    PolicyTestStatus,
    first_failure,
    run_suite,
)
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.explanation import explain, explanation_as_json
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.diagnostics.model import Diagnostics
from policy_router.domain import Policy
from policy_router.errors import LogError, PolicyError, RecordError, RequestError
from policy_router.files.clock import system_clock
from policy_router.files.loader import check, check_text
from policy_router.log.check.checking import wrong_with
from policy_router.log.check.findings import WORDS
from policy_router.log.folder import LogFolder, Progress
from policy_router.log.integrity.verify import verify
from policy_router.log.policies import PolicyStore
from policy_router.log.replay.chunks import Job
from policy_router.log.replay.replaying import replay_log
from policy_router.log.replay.what_if import what_if
from policy_router.log.sign.keys import SignatureError, read_verifier
from policy_router.server.bundles import read
from policy_router.server.counting import Changed, Counting, affected
from policy_router.server.index import Index
from policy_router.server.pages.described import described
from policy_router.server.problems import Problem

_ANALYSIS_SECONDS: Final = 60
_MOST_ITEMS: Final = 200


class Task(Struct, frozen=True, omit_defaults=True):
    """A piece of work for a helper.

    Attributes:
        what: ``compile``, ``check``, ``try``, ``place``, ``explain``, ``judge``, ``policy``,
            ``test``, ``replay``, ``what_if``, ``verify``, ``spend`` or ``compliance``.
        seconds: how long it may compute.
        megabytes: how much memory it may take.
        path: of ``compile`` and ``test``: the rule file, the folder of them, or the bundle.
        key: of ``compile``: the public key that has to have signed the bundle; empty for files.
        strict: of ``compile``: refuse a policy with warnings.
        text: of ``check``, ``try``, ``place`` and ``what_if``: the policy, as a rule file holds
            it; of ``judge``: the lines about a decision.
        line: of ``place``: the line that is asked about.
        column: of ``place``: the character of the line.
        request: of ``try``: the request to be decided, JSON.
        now: of ``try``: the time of the decision, RFC 3339; the clock's where it is empty.
        revision: of ``policy`` and ``what_if``: that of a policy beside the log.
        against: of ``policy``: the revision of an earlier one.
        log: the folder of the log.
        record: of ``explain``: the record, JSON.
        why_not: of ``explain`` and ``try``: a name that could have been asked for.
        full: of ``explain``: with every pool entry.
        since: the earliest decisions, in microseconds since 1970.
        until: the time before which they are.
        index: of ``compliance``: the file of the index of the log.
        changes: of ``compliance``: the changes of rules of which is asked whom they affected.
    """

    what: str
    seconds: int = 0
    megabytes: int = 0
    path: str = ""
    key: str = ""
    strict: bool = False
    text: str = ""
    log: str = ""
    record: str = ""
    why_not: str | None = None
    full: bool = False
    since: int | None = None
    until: int | None = None
    request: str = ""
    now: str = ""
    revision: str = ""
    against: str = ""
    line: int = 1
    column: int = 1
    index: str = ""
    changes: tuple[Changed, ...] = ()


def perform(task: Task, progress: Progress) -> Any:
    """Do something, and return the report.

    Args:
        task: what to do.
        progress: is called with how many bytes of the log are done, and how many there are.

    Raises:
        Problem: it cannot be done.
    """
    try:
        return _PERFORMED[task.what](task, progress)
    except LogError as problem:
        detail = f"the log cannot be read: {problem.reason}"
        raise Problem(503, "log_unavailable", detail) from None


def _compile(task: Task, _: Progress) -> dict[str, Any]:
    """Compile a policy of files, and run its tests; the policy is in the report."""
    if task.key:
        return _compile_bundle(task)
    policy, found = check(task.path)
    if policy is None or (task.strict and found.warnings):
        return found.to_dict()
    return _tested(policy, found, suites_about(task.path, policy))


def _compile_bundle(task: Task) -> dict[str, Any]:
    try:
        bundle = read(Path(task.path).read_bytes(), read_verifier(task.key.encode()))
        policy = bundle.policy(strict=task.strict)
    except SignatureError as problem:
        raise Problem(422, "bad_policy", str(problem)) from None
    except PolicyError as problem:
        return problem.diagnostics.to_dict()
    told = {"serial": bundle.serial, "sha256": bundle.sha256, "commit": bundle.commit}
    report = _tested(policy, policy.warnings, suites_among(bundle.files, policy))
    return {**report, "bundle": told} if "policy" in report else report


def _tested(policy: Policy, found: Diagnostics, suites: Sequence[Suite]) -> dict[str, Any]:
    """Report a policy only where its tests pass."""
    failure = first_failure(suites)
    if failure is not None:
        return {**found.to_dict(), "reason": failure}
    pickled = base64.b64encode(pickle.dumps(policy)).decode()
    return {**found.to_dict(), "revision": policy.revision, "policy": pickled}


def _check(task: Task, _: Progress) -> dict[str, Any]:
    policy, found = check_text(task.text, name="policy.yaml", now=system_clock())
    made = {} if policy is None else {"name": policy.name, "revision": policy.revision}
    return {**made, **found.to_dict()}


def _try(task: Task, _: Progress) -> dict[str, Any]:
    """Check a policy, decide a request by it where it is good, and explain the decision."""
    policy, found = _checked(task.text)
    report = found.to_dict()
    if policy is None:
        return report
    report |= {"name": policy.name, "revision": policy.revision}
    now = task.now or system_clock()
    try:
        request = Request.from_json(task.request or "{}")
        page = explain(policy, decide(policy, request, now=now), why_not=task.why_not)
    except (RequestError, RecordError) as problem:
        return {**report, "problem": str(problem)}
    return {
        **report,
        "explanation": explanation_as_json(page, full=True),
        "test": suite_of([page.record]),
    }


def _place(task: Task, _: Progress) -> dict[str, Any]:
    """Tell what may stand at a place of a rule file, and what stands there."""
    found = describe(task.text, task.line, task.column)
    return {
        "items": [
            {"text": it.text, "replaced": it.replaced, "type": it.type, "about": it.description}
            for it in complete(task.text, task.line, task.column)[:_MOST_ITEMS]
        ],
        "found": None
        if found is None
        else {
            "name": found.name,
            "type": found.type,
            "about": found.description,
            "start": found.span.position,
            "end": found.span.end_position,
        },
    }


@lru_cache(maxsize=1)
def _checked(text: str) -> tuple[Policy | None, Diagnostics]:
    """Return what a text compiles to; whoever types a request has not changed it."""
    return check_text(text, name="policy.yaml", now=system_clock())


def _explain(task: Task, _: Progress) -> Any:
    record = DecisionRecord.from_json(task.record)
    try:
        policy = _kept(task.log, record.policy.revision)
        page = explain(policy, record, why_not=task.why_not)
    except RecordError as problem:
        raise Problem(422, "not_explainable", str(problem), path="$.record") from None
    return explanation_as_json(page, full=task.full)


def _judge(task: Task, _: Progress) -> list[tuple[str, str]]:
    """Say in words what is wrong with what came of a decision, and what that is about."""
    lines = task.text.encode().split(b"\n")
    return [(WORDS[kind], detail) for kind, detail in wrong_with(_job(task.log), lines)]


@lru_cache(maxsize=1)
def _job(log: str) -> Job:
    """Return one job for all decisions of a log: what a revision holds never changes."""
    return Job.of(LogFolder(log))


@lru_cache(maxsize=4)
def _kept(log: str, revision: str) -> Policy:
    """Return a policy beside a log; many decisions are explained by one."""
    return PolicyStore(LogFolder(log)).load_as_written(revision)


def _replay(task: Task, progress: Progress) -> Any:
    LogFolder.existing(task.log)
    progress(0, 0)
    done = replay_log(task.log, workers=1, progress=progress, since=task.since, until=task.until)
    return msgspec.Raw(done.to_json())


def _what_if(task: Task, progress: Progress) -> Any:
    policy = _candidate(task)
    LogFolder.existing(task.log)
    progress(0, 0)
    done = what_if(
        task.log, policy, workers=1, progress=progress, since=task.since, until=task.until
    )
    return msgspec.Raw(done.to_json())


def _candidate(task: Task) -> Policy:
    if task.revision:
        return _beside(task.log, task.revision)
    policy, found = check_text(task.text, name="candidate.yaml")
    if policy is None:
        raise _bad_policy(found)
    return policy


def _beside(log: str, revision: str) -> Policy:
    """Return a policy beside a log, or the problem that it is not there."""
    try:
        return _kept(log, revision)
    except RecordError as problem:
        raise Problem(404, "unknown_policy", str(problem)) from None


def _policy(task: Task, _: Progress) -> Any:
    against = _beside(task.log, task.against) if task.against else None
    return described(_beside(task.log, task.revision), system_clock(), against)


def _test(task: Task, _: Progress) -> dict[str, Any]:
    """Run the tests of a policy, and say what they look at."""
    policy, found = check(task.path)
    if policy is None:
        raise _bad_policy(found)
    coverages = Coverages()
    done = [run_suite(it, coverages=coverages) for it in suites_about(task.path, policy)]
    covered = coverages.of(policy).report()
    return {
        "suites": [
            {
                "name": Path(it.suite.path).name,
                "passed": it.count(PolicyTestStatus.PASSED),
                "failed": [
                    {"name": each.test.name, "differences": [str(one) for one in each.differences]}
                    for each in it.results
                    if each.status is PolicyTestStatus.FAILED
                ],
                "findings": it.suite.found.to_dict()["diagnostics"],
            }
            for it in done
        ],
        "total": covered.total,
        "covered": covered.covered,
        "percent": round(covered.percent, 1),
        **_analyzed(policy),
    }


def _analyzed(policy: Policy) -> dict[str, Any]:
    """Say of each part of a policy whether it can matter, with a request where it does."""
    from policy_router.analysis.proof.analyzing import analyze
    from policy_router.analysis.proof.report import of_analysis

    try:
        found = analyze(policy, now=system_clock(), seconds=_ANALYSIS_SECONDS)
    except ModuleNotFoundError as problem:
        return {"answers": [], "not_analyzed": str(problem)}
    return {"answers": msgspec.to_builtins(of_analysis(found).answers), "not_analyzed": None}


def _verify(task: Task, progress: Progress) -> Any:
    return msgspec.Raw(verify(task.log, progress=progress).to_json())


def _spend(task: Task, progress: Progress) -> Any:
    return _counting(task).spend(progress)


def _compliance(task: Task, progress: Progress) -> dict[str, Any]:
    index = Index(task.log, task.index)
    return {
        **_counting(task).compliance(progress),
        "affected": {it.after: affected(index, it) for it in task.changes},
    }


def _counting(task: Task) -> Counting:
    return Counting(task.log, task.since, task.until)


def _bad_policy(found: Diagnostics) -> Problem:
    """Return the problem of a policy with errors: the first of them."""
    first = next(iter(found))
    detail = f"the policy has errors: {first.span}: {first.message}"
    return Problem(422, "bad_policy", detail, path="$.policy", help=first.help)


_PERFORMED: Final[dict[str, Callable[[Task, Progress], Any]]] = {
    "compile": _compile,
    "check": _check,
    "try": _try,
    "place": _place,
    "explain": _explain,
    "judge": _judge,
    "policy": _policy,
    "test": _test,
    "verify": _verify,
    "spend": _spend,
    "compliance": _compliance,
    "replay": _replay,
    "what_if": _what_if,
}
