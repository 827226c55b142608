"""How lines of a log are shown, in ``ls``, ``show`` and ``tail``."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UnsetType

from policy_router.cli.terminal import counted, err
from policy_router.decision.compare import named
from policy_router.decision.record import DecisionRecord
from policy_router.diagnostics.model import printable
from policy_router.log.entry import moment_of
from policy_router.log.read.reading import Line, LogReader

HEADS = ("time", "id", "target", "rule", "caller", "note")
SHORTEST = 17
"""How much of an id is shown at least: the time in a UUID of version 7, and some of its chance."""
UNREADABLE = "of a newer version, or damaged: see log verify"


def warn(reader: LogReader) -> None:
    """Say that there were lines that could not be read."""
    if reader.unreadable:
        err(f"policy-router: {counted(reader.unreadable, 'line')} cannot be read: {UNREADABLE}")


def caller_of(record: DecisionRecord) -> dict[str, str | None]:
    """Return who asked, whatever the request of a record looks like."""
    caller = record.request.get("caller")
    words = {key: caller.get(key) if isinstance(caller, dict) else None for key in ("id", "team")}
    return {key: word if isinstance(word, str) else None for key, word in words.items()}


def row(line: Line, record: DecisionRecord) -> tuple[str, ...]:
    """Return a decision as a row under ``HEADS``."""
    decision = record.decision
    refusal = None if isinstance(decision.refusal, UnsetType) else decision.refusal
    notes = [refusal.code.value] if refusal else []
    notes += [warning.code.value for warning in decision.warnings]
    rule = refusal.rule if refusal else decision.rule
    return (
        short_time(line.entry.time),
        printable(str(line.entry.id)),
        printable(named(decision)),
        printable(str(rule or "-")),
        printable(caller_of(record)["id"] or "-"),
        f"{notes[0]} +{len(notes) - 1}" if len(notes) > 1 else "".join(notes),
    )


def beginnings(ids: Sequence[str], least: int) -> dict[str, str]:
    """Return how much of each id tells it from the others: that many characters at least."""
    ordered, found = sorted(ids), {}
    for place, it in enumerate(ordered):
        beside = ordered[max(0, place - 1) : place] + ordered[place + 1 : place + 2]
        alike = max((_common(it, other) for other in beside), default=0)
        found[it] = it[: max(least, alike + 1)]
    return found


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    shorter = min(len(one), len(other))
    return next((n for n in range(shorter) if one[n] != other[n]), shorter)


def event_row(line: Line) -> tuple[str, str, str]:
    """Return what came of a decision: time, event, and what is known of it."""
    found = line.entry.execution
    if isinstance(found, UnsetType):  # pragma: no cover - only executions come here
        return "", "", ""
    where = " at ".join(part for part in (found.model, found.provider) if part)
    tokens = [
        f"{number:,} tokens {way}"
        for number, way in ((found.input_tokens, "in"), (found.output_tokens, "out"))
        if number is not None
    ]
    words = [
        found.status,
        where,
        f"attempt {found.attempt}" if found.attempt else None,
        f"{found.seconds:.1f} s" if found.seconds else None,
        found.error,
        *tokens,
        None if found.cost_usd is None else f"${found.cost_usd:.6f}",
        None if found.duration_seconds is None else f"{found.duration_seconds:.1f} s",
    ]
    what = ", ".join(word for word in words if word)
    return spelt_time(line.entry.time), printable(found.event), printable(what)


def short_time(time: int) -> str:
    """Return a time to the second, in UTC."""
    return f"{moment_of(time):%Y-%m-%d %H:%M:%S}"


def spelt_time(time: int) -> str:
    """Return a time that is always as long."""
    return f"{moment_of(time):%Y-%m-%dT%H:%M:%S.%fZ}"
