"""The commands that delegate: the tool's definition, and what a call of it comes to."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import msgspec

from policy_router.calls.executor import Executor
from policy_router.calls.notifications import LOGGER
from policy_router.calls.results import (
    Delegation,
    Event,
    EventKind,
    Result,
    Status,
    TaskError,
    Tokens,
)
from policy_router.cli import CHILD_FAILED, GOOD, INTERRUPTED, REFUSED
from policy_router.cli.requests import read_requests, read_value
from policy_router.cli.terminal import Lines, err, flush, out, out_bytes, table
from policy_router.cli.writing import log_for
from policy_router.delegation.delegator import Delegator
from policy_router.delegation.outcomes import overall
from policy_router.delegation.tool import tool
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
_LONGEST_NOTE = 200


def print_tool(policy: Policy, options: argparse.Namespace) -> int:
    """Print the definition of the tool, on one line of JSON."""
    out_bytes(msgspec.json.encode(tool(policy, _facts(options.request))))
    return GOOD


def delegate(policy: Policy, options: argparse.Namespace) -> int:
    """Delegate what the options or a file ask for, and print what became of it."""
    arguments, facts = _arguments(options), _facts(options.request)
    lines = Lines(sys.stderr, is_quiet=options.quiet)
    watch = _Watch(lines)
    executor = _executor(policy, options)
    shown = _shown_log(lines, is_verbose=options.verbose > 0)
    interrupted = False
    with shown, _log(options) as log, executor, _delegator(executor, options, watch, log) as maker:
        try:
            if options.dry_run:
                made = maker.plan(arguments, facts, session_id=options.session_id)
            else:
                session_id, parent_id = options.session_id, options.parent_id
                made = maker.delegate(arguments, facts, session_id=session_id, parent_id=parent_id)
        except KeyboardInterrupt:
            interrupted = True
            made = watch.as_far_as(maker.plan(arguments, facts, session_id=options.session_id))
        finally:
            lines.end()
    _deliver(made, options)
    return INTERRUPTED if interrupted else _exit_code(made)


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
        on_refused=options.on_refused,
        watcher=watch,
        clock=lambda: options.now,
        log=log,
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
    """Shows the log's line of each child that begins, among the others."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line; what is a warning is shown as an event."""
        if record.levelno == logging.INFO:
            self._lines.say(record.getMessage(), "dim")


@contextmanager
def _shown_log(lines: Lines, *, is_verbose: bool) -> Iterator[None]:
    """Let the log's lines be seen on standard error."""
    handler, level = _LogLines(lines), LOGGER.level
    if is_verbose:
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def _exit_code(made: Delegation) -> int:
    found = {result.status for result in made.results}
    if Status.REFUSED in found:
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
        raise RequestError("$.tasks", "a list of tasks is wanted, or the arguments of a call")
    return {**given, "tasks": content}


def _facts(path: str | None) -> dict[str, Any] | None:
    """Return what a file says of parent, caller, budget and facts."""
    if path is None:
        return None
    requests, is_batch = read_requests(path)
    if is_batch:
        raise RequestError("$", "one request is wanted, not a batch")
    return dict(requests[0].given)


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
        return Delegation(overall(results), results, plan.session_id)


def _last_word(event: Event, result: Result) -> tuple[str, str]:
    """Return what is said of a child at its end, and the colour of that."""
    where = f"{printable(event.model or '')} at {printable(event.provider or '')}"
    text = f"task {event.task}  {result.status}  {where}  {result.duration_seconds or 0.0:.1f} s"
    if result.error is not None:
        text = f"{text}  {result.error.code}: {printable(result.error.message)}"
    return text, _MARKS.get(result.status, "dim")


def _deliver(made: Delegation, options: argparse.Namespace) -> None:
    """Print results; where standard output takes none, on standard error: they were paid for."""
    try:
        _print(made, options)
        flush()
    except OSError:
        err(made.to_json().decode())
        raise


def _print(made: Delegation, options: argparse.Namespace) -> None:
    if options.format == "json":
        out_bytes(made.to_json())
        return
    if made.error is not None:
        err(f"policy-router: task {made.error.task}: {_refusal(made.error)}")
        if not options.dry_run:
            err("policy-router: nothing was started; --on-refused skip runs the other tasks")
    if options.quiet:
        _print_least(made, options)
    else:
        heads, row = (_PLANNED, _planned_row) if options.dry_run else (_RAN, _ran_row)
        out(table(heads, [row(result) for result in made.results]))
    _print_texts(made)


def _print_least(made: Delegation, options: argparse.Namespace) -> None:
    """Print what nobody may miss: what failed, and of a dry run, what would run."""
    for result in made.results:
        if options.dry_run:
            out(_where(result))
        if result.status is Status.FAILED and result.error is not None:
            err(f"policy-router: task {result.task}: {_refusal(result.error)}")


def _refusal(error: TaskError) -> str:
    message = f"{error.code}: {printable(error.message).rstrip('.')}"
    if error.permitted is None:
        return message
    return f"{message}; permitted: {', '.join(map(printable, error.permitted)) or 'nothing'}"


_RAN = ("task", "status", "ran on", "level", "tokens", "cost", "seconds", "note")
_PLANNED = ("task", "outcome", "would run on", "level", "rule", "tokens", "cost at most", "note")


def _ran_row(result: Result) -> tuple[str, ...]:
    seconds = "-" if result.duration_seconds is None else f"{result.duration_seconds:.1f}"
    note = [*result.warnings]
    if len(result.attempts) > 1:
        note.insert(0, f"{len(result.attempts)} attempts")
    if result.error is not None:
        note.insert(0, _refusal(result.error))
    if result.finish_reason == "length":
        note.append("cut short")
    tokens, cost = _tokens(result.tokens), _dollars(result.cost_usd)
    return (
        str(result.task),
        result.status,
        _where(result),
        result.level or "-",
        tokens,
        cost,
        seconds,
        _note(note),
    )


def _planned_row(result: Result) -> tuple[str, ...]:
    guess = result.estimate
    tokens = _tokens(Tokens(guess.input_tokens, guess.output_tokens)) if guess else "-"
    note = [*result.warnings]
    if result.error is not None:
        note.insert(0, _refusal(result.error))
    cost = _dollars(guess.cost_usd) if guess else "-"
    return (
        str(result.task),
        result.status,
        _where(result),
        result.level or "-",
        printable(result.rule or "-"),
        tokens,
        cost,
        _note(note),
    )


def _where(result: Result) -> str:
    ran = result.effective
    if ran is None:
        return "-"
    name = ran.model if ran.entry in {None, ran.model} else f"{ran.entry} ({ran.model})"
    return printable(f"{name} at {ran.provider}" if ran.provider else name)


def _tokens(tokens: Tokens) -> str:
    if tokens.input is None and tokens.output is None:
        return "unknown"
    parts = ("?" if number is None else f"{number:,}" for number in (tokens.input, tokens.output))
    return " + ".join(parts)


def _dollars(cost: float | None) -> str:
    return "unknown" if cost is None else f"${cost:.6f}"


def _note(parts: list[str]) -> str:
    text = printable("; ".join(parts))
    return text if len(text) <= _LONGEST_NOTE else f"{text[:_LONGEST_NOTE]}..."


def _print_texts(made: Delegation) -> None:
    """Print what the children said: of a batch, each under its number."""
    for result in made.results:
        if result.text is not None:
            head = f"task {result.task}:\n" if len(made.results) > 1 else ""
            out(f"\n{head}{_shown(result.text)}")


def _shown(text: str) -> str:
    """Return a text of several lines as a terminal may show it."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))
