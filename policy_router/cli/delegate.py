"""The command ``delegate``: decides the targets of tasks, and runs the tasks."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import msgspec

from policy_router.calls.child_task import Event, EventKind
from policy_router.calls.executor import Executor
from policy_router.calls.notifications import LOGGER
from policy_router.calls.results import Delegation, Result, Status
from policy_router.cli.decision_log import add_logging, log_for
from policy_router.cli.exit_codes import (
    CHILD_FAILED,
    GOOD,
    INTERRUPTED,
    REFUSED,
    TERMINATED,
    USAGE,
)
from policy_router.cli.inputs import read_facts, read_policy, read_value
from policy_router.cli.options import add_format, add_now, add_policy
from policy_router.cli.results import deliver, is_misunderstood
from policy_router.cli.terminal import Lines, err
from policy_router.delegation.budgets import Budget, MemoryBudget
from policy_router.delegation.delegator import Delegator
from policy_router.delegation.outcomes import overall, totals
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.errors import RequestError
from policy_router.log.write.decision_log import DecisionLog

_MARKS = {
    Status.COMPLETED: "good",
    Status.FAILED: "error",
    Status.REFUSED: "error",
    Status.CANCELLED: "warning",
    Status.NOT_STARTED: "dim",
}
_NOTES = {EventKind.WAITING, EventKind.MODEL_MISMATCH, EventKind.PARAMETER_LEFT_OUT}
_MOST = 100_000
_EVERYTHING = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument("--goal", help="the goal of the task; with --tasks, the goal of all tasks")
    parser.add_argument("--context", help="the information that the task needs")
    parser.add_argument("--model", help="ask for this model or entry")
    parser.add_argument("--provider", help="ask for this provider")
    parser.add_argument("--reasoning-effort", metavar="EFFORT", help="ask for this effort")
    parser.add_argument("--kind", help="the kind of work, in one word")
    parser.add_argument("--tasks", metavar="FILE", help="a list of tasks, JSON or YAML, or -")
    parser.add_argument("--request", metavar="FILE", help="parent, caller, budget and facts")
    parser.add_argument(
        "--dry-run", action="store_true", help="decide and estimate, without a model call"
    )
    parser.add_argument(
        "--on-refused",
        choices=["refuse", "skip"],
        default="refuse",
        help="after a refused task: refuse all tasks, or skip this one; default: refuse",
    )
    for name, kind, default, text in (
        ("--concurrency", _whole, 8, "children at the same time"),
        ("--timeout", _seconds, 600.0, "seconds without data from a provider"),
        (
            "--retries",
            _whole_or_none,
            0,
            "how often the plan is repeated after temporary failures",
        ),
    ):
        parser.add_argument(
            name, metavar="N", type=kind, default=default, help=f"{text}; default: {default:g}"
        )
    parser.add_argument(
        "--deadline",
        metavar="N",
        type=_seconds,
        help="seconds for all tasks together; then the finished results are printed",
    )
    parser.add_argument(
        "--max-cost", metavar="USD", type=_dollars, help="what all tasks may cost, in US dollars"
    )
    parser.add_argument(
        "--budget",
        metavar="FILE",
        help="keep what was spent in this file: --max-cost is for all commands that have it",
    )
    add_logging(parser)
    parser.add_argument("--stream", action="store_true", help="stream the answers")
    parser.add_argument("--session-id", metavar="ID", help="continue this session")
    parser.add_argument(
        "--session-header",
        metavar="NAME",
        default="X-Session-Id",
        help="the header with the session's id; default: X-Session-Id",
    )
    add_now(parser)
    formats = "json: all, for a host; answer: what the agent's model needs; default: human"
    add_format(parser, "answer", text=formats)


def _whole(text: str) -> int:
    number = _whole_or_none(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return number


def _whole_or_none(text: str) -> int:
    if not text.isdecimal() or int(text) > _MOST:
        raise argparse.ArgumentTypeError(f"expected a whole number up to {_MOST:,}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MOST:
        raise argparse.ArgumentTypeError(f"expected seconds from above 0 to {_MOST:,}")
    return number


def _dollars(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"expected US dollars from 0 to {_MOST:,}")
    return number


def _budget(options: argparse.Namespace) -> Budget | None:
    """Return what the tasks may cost."""
    if options.max_cost is None:
        if options.budget is not None:
            raise RequestError("--budget", "how much may be spent is not said", "add --max-cost")
        return None
    if options.budget is None:
        return MemoryBudget(options.max_cost)
    return SqliteBudget(options.budget, options.max_cost)


def run(options: argparse.Namespace) -> int:
    """Delegate what the options or a file ask for, and print what became of it."""
    policy = read_policy(options.policy, is_strict=options.strict)
    arguments, facts = _arguments(options), read_facts(options.request)
    lines = Lines(sys.stderr, is_quiet=options.quiet)
    watch = _Watch(lines)
    executor = _executor(policy, options)
    shown = _shown_log(lines, options.verbose)
    interrupted: int | None = None
    with (
        _terminating(),
        shown,
        _log(options) as log,
        executor,
        _delegator(executor, options, watch, log) as maker,
    ):
        try:
            if options.dry_run:
                made = maker.plan(arguments, facts, session_id=options.session_id)
            else:
                made = maker.delegate(
                    arguments,
                    facts,
                    session_id=options.session_id,
                    parent_id=options.parent_id,
                    tags=options.tag,
                )
        except KeyboardInterrupt as problem:
            interrupted = TERMINATED if isinstance(problem, _Terminated) else INTERRUPTED
            made = watch.as_far_as(maker.plan(arguments, facts, session_id=options.session_id))
        finally:
            lines.end()
    deliver(made, options)
    if made.error is not None and is_misunderstood(made):
        err(f"policy-router: {printable(made.error.message)}")
        return USAGE
    return _exit_code(made) if interrupted is None else interrupted


class _Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM), and prints what is finished as if interrupted."""


@contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM interrupt what runs, once; the second one ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, _frame: object) -> None:
        signal.signal(number, before)
        raise _Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _log(options: argparse.Namespace) -> AbstractContextManager[DecisionLog | None]:
    """Return the log that is written, if one is; what is only planned is not logged."""
    is_logged = options.log is not None and not options.dry_run
    return log_for(options) if is_logged else nullcontext()


def _delegator(
    executor: Executor, options: argparse.Namespace, watch: _Watch, log: DecisionLog | None
) -> Delegator:
    return Delegator(
        executor.policy,
        executor=executor,
        concurrency=options.concurrency,
        deadline=options.deadline,
        on_refused=options.on_refused,
        watcher=watch,
        clock=lambda: options.now,
        log=log,
        budget=_budget(options),
    )


def _executor(policy: Policy, options: argparse.Namespace) -> Executor:
    try:
        return Executor(
            policy,
            environ=os.environ,
            timeout=options.timeout,
            retries=options.retries,
            streams=options.stream,
            session_header=options.session_header,
        )
    except ValueError as problem:
        raise RequestError("--session-header", str(problem)) from None


class _LogLines(logging.Handler):
    """Shows the log's line of each child that begins, among the others; or of each answer, too."""

    def __init__(self, lines: Lines, level: int) -> None:
        super().__init__(level)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line; what is a warning is shown as an event."""
        if record.levelno <= logging.INFO:
            self._lines.say(record.getMessage(), "dim")


@contextmanager
def _shown_log(lines: Lines, verbosity: int) -> Iterator[None]:
    """Let the log's lines be seen on standard error: of children, and from 2 on of each call."""
    shown = logging.INFO if verbosity < _EVERYTHING else logging.DEBUG
    handler, level = _LogLines(lines, shown), LOGGER.level
    if verbosity:
        LOGGER.addHandler(handler)
        LOGGER.setLevel(shown)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def _exit_code(made: Delegation) -> int:
    found = {result.status for result in made.results}
    if Status.REFUSED in {made.status, *found}:
        return REFUSED
    return CHILD_FAILED if Status.FAILED in found else GOOD


def _arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is asked for, as an agent's model would write it."""
    asked = {
        "goal": options.goal,
        "context": options.context,
        "model": options.model,
        "provider": options.provider,
        "reasoning_effort": options.reasoning_effort,
        "kind": options.kind,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    if options.tasks is None:
        return given
    content = read_value(options.tasks)
    if isinstance(content, Mapping):
        return {**content, **given}
    if not isinstance(content, list):
        raise RequestError("$.tasks", "expected a list of tasks, or the arguments of a call")
    return {**given, "tasks": content}


class _Watch:
    """Shows what happens, a line for each child, and keeps what is finished."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._results: dict[int, Result] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.result is not None:
                self._results[event.task] = event.result
                self._lines.finish(event.task, *_last_word(event, event.result))
            elif event.kind in _NOTES or (event.attempt or 1) > 1:
                self._lines.say(f"task {event.task}  {event.message}", "warning")
            elif event.kind is not EventKind.TEXT:
                self._lines.put(event.task, f"task {event.task}  {event.message}", "dim")

    def as_far_as(self, plan: Delegation) -> Delegation:
        """Return a delegation that was interrupted: what is finished, and the rest cancelled."""
        results = tuple(
            self._results.get(result.task)
            or msgspec.structs.replace(
                result, status=Status.CANCELLED, estimate=None, decision_id=None
            )
            for result in plan.results
        )
        return Delegation(overall(results), results, plan.session_id, None, totals(results))


def _last_word(event: Event, result: Result) -> tuple[str, str]:
    """Return what is said of a child at its end, and the colour of that."""
    where = f"{printable(event.model or '')} at {printable(event.provider or '')}"
    text = f"task {event.task}  {result.status}  {where}  {result.duration_seconds or 0.0:.1f} s"
    if result.error is not None:
        text = f"{text}  {result.error.code}: {printable(result.error.message)}"
    return text, _MARKS.get(result.status, "dim")
