"""The command ``compare``: is any request decided differently by two policies?"""

from __future__ import annotations

import argparse

from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS, UNDECIDED
from policy_router.cli.inputs import read_policy
from policy_router.cli.options import POLICY, add_proof, example_time
from policy_router.cli.terminal import Bar

_WAYS = ("newly-allowed", "newly-refused", "moved", "dearer", "fallbacks")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("before", metavar="OLD", help=POLICY)
    parser.add_argument("after", metavar="NEW", help=POLICY)
    parser.add_argument(
        "--strict", action="store_true", help="compare rules, parameters and warnings, too"
    )
    parser.add_argument(
        "--fail-on",
        metavar="WAY",
        action="append",
        choices=_WAYS,
        default=[],
        help="fail if a request is decided differently in this way (can be given again):"
        f" {', '.join(_WAYS)}",
    )
    parser.add_argument(
        "--allow-undecided", action="store_true", help="let a way without an answer pass"
    )
    add_proof(parser)


def run(options: argparse.Namespace) -> int:
    """Print in which ways requests are decided differently."""
    from policy_router.analysis.proof.asking import Answer
    from policy_router.analysis.proof.comparing import compare
    from policy_router.analysis.proof.report import of_comparison
    from policy_router.cli.proof_reports import write

    before, after = (read_policy(path, is_strict=False) for path in (options.before, options.after))
    with Bar("asked", is_quiet=options.quiet) as bar:
        comparison = compare(
            before,
            after,
            now=example_time(options),
            strict=options.strict,
            seconds=options.seconds,
            progress=bar,
        )
    report = of_comparison(comparison)
    write(report, options.format, verbose=bool(options.verbose), quiet=options.quiet)
    answers = [comparison.found(way).answered.answer for way in options.fail_on]
    if Answer.CAN in answers:
        return POLICY_ERRORS
    return UNDECIDED if Answer.UNDECIDED in answers and not options.allow_undecided else GOOD
