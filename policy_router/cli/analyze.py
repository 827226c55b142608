"""The command ``analyze``: can each part of a policy matter to any request?"""

from __future__ import annotations

import argparse

from policy_router.cli.exit_codes import GOOD
from policy_router.cli.inputs import read_policy
from policy_router.cli.options import add_policy, add_proof, example_time
from policy_router.cli.terminal import Bar


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    add_proof(parser)


def run(options: argparse.Namespace) -> int:
    """Print what was found; findings are no failure."""
    from policy_router.analysis.proof.analyzing import analyze
    from policy_router.analysis.proof.report import of_analysis
    from policy_router.cli.proof_reports import write

    policy = read_policy(options.policy, is_strict=options.strict)
    with Bar("asked", is_quiet=options.quiet) as bar:
        found = analyze(policy, now=example_time(options), seconds=options.seconds, progress=bar)
    report = of_analysis(found)
    write(report, options.format, verbose=bool(options.verbose), quiet=options.quiet)
    return GOOD
