"""Runs a command, and reports errors in one way for all."""

from __future__ import annotations

import argparse
import sys

from policy_router.cli import terminal
from policy_router.cli.exit_codes import GOOD, NOT_WHOLE, POLICY_ERRORS, REFUSED, USAGE
from policy_router.cli.terminal import err, paint_for
from policy_router.decision.request import moment
from policy_router.diagnostics.model import printable
from policy_router.errors import LogError, PolicyError, PolicyRouterError, reason_of
from policy_router.files.clock import system_clock


def run(options: argparse.Namespace) -> int:
    """Run the command that was asked for, and return its exit code."""
    terminal.begin()
    try:
        code = _run(options)
        terminal.flush()
    except OSError as problem:
        terminal.give_up_output()
        where = problem.filename or "standard output"  # what is printed has no name
        err(f"policy-router: {where}: {reason_of(problem)}")
        return USAGE
    return code


def _run(options: argparse.Namespace) -> int:
    try:
        now = getattr(options, "now", None)
        options.is_now_given = now is not None
        options.now = system_clock() if now is None else moment(now)
        return int(options.run(options) or GOOD)
    except PolicyError as problem:
        err(problem.diagnostics.to_text(paint_for(sys.stderr)))
        strict = "has warnings, and is refused with --strict"
        what = "has errors and cannot be used" if problem.diagnostics.errors else strict
        err(f"policy-router: the policy {what}")
        return POLICY_ERRORS
    except LogError as problem:
        err(f"policy-router: {printable(str(problem))}")
        return _log_error_code(options, problem)
    except (PolicyRouterError, ModuleNotFoundError) as problem:
        err(f"policy-router: {printable(str(problem))}")
        return USAGE


def _log_error_code(options: argparse.Namespace, problem: LogError) -> int:
    """Return what a log that cannot be used comes to: what would be logged there is refused."""
    from policy_router.log.damage import NotWholeError

    if isinstance(problem, NotWholeError):
        return NOT_WHOLE
    return REFUSED if options.command in {"decide", "delegate"} else USAGE
