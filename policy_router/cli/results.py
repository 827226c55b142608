"""The results of a delegation on the command line."""

from __future__ import annotations

import argparse

from policy_router.calls.results import Delegation, Result, Status, TaskError, Tokens
from policy_router.cli.fitting import noted
from policy_router.cli.terminal import err, flush, out, out_bytes
from policy_router.delegation.outcomes import BAD_REQUEST
from policy_router.diagnostics.model import printable

_LONGEST_NOTE = 200


def deliver(made: Delegation, options: argparse.Namespace) -> None:
    """Print results; where standard output takes none, on standard error: they were paid for."""
    try:
        _print(made, options)
        flush()
    except OSError:
        err(made.to_json().decode())
        raise


def is_misunderstood(made: Delegation) -> bool:
    """Tell whether the arguments were not understood, so that nothing was decided."""
    return made.error is not None and made.error.code == BAD_REQUEST and not made.results


def _print(made: Delegation, options: argparse.Namespace) -> None:
    if options.format == "json":
        out_bytes(made.to_json())
        return
    if options.format == "answer":
        out(made.to_tool_answer())
        return
    if is_misunderstood(made):
        return
    if made.error is not None:
        where = "" if made.error.task is None else f"task {made.error.task}: "
        err(f"policy-router: {where}{_refusal(made.error)}")
        if made.error.task is None:
            return
        if not options.dry_run:
            err("policy-router: nothing was started; --on-refused skip runs the other tasks")
    if options.quiet:
        _print_least(made, options)
    else:
        heads = _PLANNED if options.dry_run else _RAN
        out(noted(heads, [_row(result, is_planned=options.dry_run) for result in made.results]))
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


def _row(result: Result, *, is_planned: bool) -> tuple[str, ...]:
    notes = [] if result.error is None else [_refusal(result.error)]
    if len(result.attempts) > 1:
        notes.append(f"{len(result.attempts)} attempts")
    notes += result.warnings
    if result.finish_reason == "length":
        notes.append("cut short")
    start = (str(result.task), result.status, _where(result), result.level or "-")
    if not is_planned:
        tokens, cost = _tokens(result.tokens), _dollars(result.cost_usd)
        seconds = "-" if result.duration_seconds is None else f"{result.duration_seconds:.1f}"
        return (*start, tokens, cost, seconds, _note(notes))
    tokens, cost, guess = "-", "-", result.estimate
    if guess is not None:
        tokens = _tokens(Tokens(guess.input_tokens, guess.output_tokens))
        cost = _dollars(guess.cost_usd)
    return (*start, printable(result.rule or "-"), tokens, cost, _note(notes))


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
