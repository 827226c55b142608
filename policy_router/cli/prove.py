"""The command ``prove``: do the assertions of a policy hold for all requests?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from policy_router.analysis.suites import Suite, read_suite, suite_files, with_suites
from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS, UNDECIDED
from policy_router.cli.inputs import UsageError, read_policy
from policy_router.cli.options import add_policy, add_proof, example_time
from policy_router.cli.terminal import Bar
from policy_router.errors import PolicyError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument(
        "--allow-undecided", action="store_true", help="let an assertion without an answer pass"
    )
    add_proof(parser)


def run(options: argparse.Namespace) -> int:
    """Prove the assertions; exit code 1 is for one that is violated, 6 for one without answer."""
    from policy_router.analysis.proof.asking import Answer
    from policy_router.analysis.proof.proving import prove
    from policy_router.analysis.proof.report import of_proofs
    from policy_router.cli.proof_reports import write

    policy = read_policy(options.policy, is_strict=options.strict)
    policy = with_suites(policy, _suites(options.policy))
    if not policy.assertions:
        raise UsageError("there is no assertion: write one under `assert`")
    with Bar("asked", is_quiet=options.quiet) as bar:
        proofs = prove(policy, now=example_time(options), seconds=options.seconds, progress=bar)
    report = of_proofs(proofs)
    write(report, options.format, verbose=bool(options.verbose), quiet=options.quiet)
    if proofs.count(Answer.CAN):
        return POLICY_ERRORS
    return UNDECIDED if proofs.count(Answer.UNDECIDED) and not options.allow_undecided else GOOD


def _suites(path: str) -> Iterator[Suite]:
    for suite in map(read_suite, suite_files(path)):
        if suite.found.errors:
            raise PolicyError(suite.found)
        yield suite
