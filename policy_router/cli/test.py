"""The command ``test``: do policies decide as their tests say?"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from policy_router.analysis import (
    Coverages,
    PolicyTestStatus,
    SuiteResult,
    run_tests,
)
from policy_router.analysis.drafting import suite_of
from policy_router.analysis.mutation import Mutant, chosen
from policy_router.analysis.running import Wanted
from policy_router.analysis.suites import Suite, suite_files, with_suites
from policy_router.analysis.trials import Memory, Trial, survivors_of
from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS, USAGE
from policy_router.cli.inputs import UsageError, existing, read_policy, read_requests
from policy_router.cli.options import LOG, add_format, add_now, example_time, number
from policy_router.cli.terminal import Bar, counted, err, out
from policy_router.cli.test_reports import REPORTS, Mutation, coverages_of
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.log.entry import Kind
from policy_router.policy.yaml import flow

_HERE = "."
_OTHERS = frozenset({"junit", "github"})


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
        "--coverage", action="store_true", help="list what of the policies no test covers"
    )
    parser.add_argument(
        "--threshold",
        metavar="N",
        type=_percentage,
        help="with --coverage: fail if less than N percent of a policy is covered",
    )
    parser.add_argument(
        "--mutate",
        metavar="N",
        nargs="?",
        const=0,
        type=number,
        help="make N small changes, or all there are, and list those that no test notices",
    )
    parser.add_argument(
        "--prove",
        action="store_true",
        help="with --mutate: ask for a request that shows each of these changes",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=number,
        default=1,
        help="with --mutate N: the seed by which the N changes are chosen; default: 1",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=number,
        help="with --mutate: processes; default: one per core",
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="with --mutate: store results in FILE, and continue from it",
    )
    parser.add_argument(
        "--suggest",
        action="store_true",
        help="print tests for what no test covers, with today's decisions to confirm",
    )
    _add_new(parser)
    add_format(parser, "junit", "github")


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--new",
        metavar="REQUEST|ID",
        help="print the test that the decision of a request would be, by the policy PATH;"
        " or that a decision of --log would be",
    )
    parser.add_argument("--log", metavar="DIR", help=f"for --new: {LOG}")
    add_now(parser, "for --new, --suggest and --prove: time of the decision")


def run(options: argparse.Namespace) -> int:
    """Run the tests, or print a new one.

    A failure is exit code 1, and no test at all is 2.
    """
    if options.new is not None:
        out(_new(options))
        return GOOD
    if options.mutate is None and (options.resume or options.workers or options.prove):
        raise UsageError("--prove, --resume and --workers need --mutate")
    if options.log is not None:
        raise UsageError("--log needs --new and the id of a decision")
    if options.is_now_given and not (options.prove or options.suggest):
        raise UsageError("--now needs --new, --prove or --suggest: tests have a `now` of their own")
    if options.suggest:
        return _suggest(options)
    options.coverages = None
    options.mutations = []
    if options.coverage or options.threshold is not None:
        options.coverages = Coverages()
    paths = [existing(path) for path in options.paths]
    found = run_tests(
        *paths,
        wanted=_wanted(options),
        fail_fast=options.fail_fast,
        coverages=options.coverages,
    )
    if options.mutate is not None:
        found = _mutated(found, options)
    results = list(REPORTS[options.format](found, options))
    if not any(result.results or not result.suite.usable for result in results):
        named = f" with {printable(options.only)!r} in its name" if options.only else ""
        err(f"policy-router: no test{named} was found in {', '.join(map(printable, paths))}")
        return USAGE
    is_good = all(result.passed for result in results)
    return GOOD if is_good and _covers_enough(options) else POLICY_ERRORS


def _suggest(options: argparse.Namespace) -> int:
    """Run the tests, and print further ones for what they do not cover."""
    from policy_router.cli.suggestions import suggested, write

    if options.mutate is not None or options.threshold is not None or options.format in _OTHERS:
        raise UsageError("--suggest takes no --mutate and no --threshold; it prints human or json")
    # A file that the output is directed into is there already, and empty.
    paths = [existing(path) for path in options.paths]
    suites = {path: [it for it in suite_files(path) if not _is_empty(it)] for path in paths}
    untested = [path for path in paths if not suites[path]]
    coverages = Coverages()
    files = [file for found in suites.values() for file in found]
    results = [*run_tests(*files, wanted=_wanted(options), coverages=coverages)]
    for result in results:
        if not result.suite.usable:
            err(result.suite.found.to_text())
        elif not result.passed:
            failed = counted(result.count(PolicyTestStatus.FAILED), "test")
            err(f"policy-router: {printable(result.suite.path)}: {failed} failed")
    policies = [(path, read_policy(path, is_strict=False)) for path in untested]
    with Bar("asked", is_quiet=options.quiet) as bar:
        write(suggested(results, coverages, policies, example_time(options), bar), options.format)
    return GOOD if all(result.passed for result in results) else POLICY_ERRORS


def _is_empty(file: Path) -> bool:
    return file.is_file() and not file.stat().st_size


def _wanted(options: argparse.Namespace) -> Wanted:
    """Return what tells which tests to run."""
    part = (options.only or "").casefold()
    return lambda test: part in test.name.casefold()


def _mutated(found: Iterable[SuiteResult], options: argparse.Namespace) -> Iterator[SuiteResult]:
    """Pass results on, and in the end try the mutants of each policy whose tests all pass."""
    by_policy: dict[str, tuple[Policy, list[SuiteResult]]] = {}
    for result in found:
        yield result
        if (policy := result.suite.policy) is not None:
            by_policy.setdefault(policy.revision, (policy, []))[1].append(result)
    for policy, results in by_policy.values():
        path = policy.sources[0].name
        if not all(result.passed for result in results):
            err(f"policy-router: {printable(path)}: no change is tried, since a test fails")
            continue
        tried = chosen(policy, options.mutate or None, options.seed)
        suites = [
            replace(it.suite, tests=tuple(each.test for each in it.results)) for it in results
        ]
        lasting = _surviving(suites, tried, options)
        shown = _shown_by(policy, lasting, suites, options) if options.prove else ()
        options.mutations.append(Mutation(path, len(tried), lasting, shown))


def _shown_by(
    policy: Policy, lasting: list[Mutant], suites: list[Suite], options: argparse.Namespace
) -> tuple[str, ...]:
    """Say of each change that no test notices which request shows it, if any does."""
    from policy_router.analysis.proof.asking import Answer
    from policy_router.analysis.proof.comparing import compare

    found = []
    with Bar("asked", is_quiet=options.quiet) as bar:
        for number, mutant in enumerate(lasting, start=1):
            pair = (with_suites(it, suites) for it in (policy, mutant.policy))
            comparison = compare(*pair, now=example_time(options))
            answered = comparison.answered(mutant.name)
            if answered.example is not None:
                found.append(f"shown by {flow(answered.example.request)}")
            elif answered.answer is Answer.NEVER:
                assumed = " that is as assumed" if comparison.before.assumptions else ""
                found.append(f"no request{assumed} has another target or other fallbacks by it")
            else:
                found.append("undecided")
            bar(number, len(lasting))
    return tuple(found)


def _surviving(
    suites: list[Suite], tried: list[Mutant], options: argparse.Namespace
) -> list[Mutant]:
    """Try mutants, go on from what is kept in a file, and say how far they are."""
    trial = Trial.of(suites, options.mutate or None, options.seed)
    memory = Memory(options.resume, trial, suites) if options.resume else None
    if memory is not None and memory.known and not options.quiet:
        known = f"{len(memory.known)} of {counted(len(tried), 'change')}"
        err(f"policy-router: {known} were tried before")
    with Bar("tried", is_quiet=options.quiet) as bar:
        return survivors_of(
            trial, suites, tried, workers=options.workers, memory=memory, progress=bar
        )


def _percentage(text: str) -> float:
    """Return a part in percent; it is the type of an option."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text, re.ASCII) or float(text) > 100:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("expected a number from 0 to 100")
    return float(text)


def _covers_enough(options: argparse.Namespace) -> bool:
    """Tell whether enough of each policy is looked at, and say of which it is not."""
    if options.threshold is None:
        return True
    low = [it for it in coverages_of(options) if it[1].percent < options.threshold]
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
