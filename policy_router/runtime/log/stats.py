"""What a log comes to, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct, field

from policy_router.decision.what_if import named
from policy_router.errors import RecordError
from policy_router.runtime.log.entry import Execution, Gap, Kind, LogEntry
from policy_router.runtime.log.reading import Line


class Stats(Struct):
    """What the lines of a log come to.

    Attributes:
        kinds: lines by kind.
        outcomes: decisions by outcome.
        levels: selected decisions by the level that decided.
        targets: decisions by target; a refusal counts as one.
        codes: refusals and warnings by code.
        policies: decisions by the name and revision of the policy.
        statuses: children that ended, by what became of them.
        writers: lines by writer.
        first: the time of the first line, in microseconds since 1970; None without any.
        last: the time of the last line.
        unlogged: decisions that are not in the log, as its gaps say.
        input_tokens: what providers counted.
        output_tokens: what providers counted.
        cost_usd: US dollars of the children whose cost is known.
        unknown_costs: children that completed, and whose cost is unknown.
        unreadable: lines and records that cannot be read.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    first: int | None = None
    last: int | None = None
    unlogged: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unknown_costs: int = 0
    unreadable: int = 0

    def add(self, line: Line) -> None:
        """Count a line."""
        entry = line.entry
        self.kinds[entry.kind.value] += 1
        self.writers[line.writer] += 1
        self.first = entry.time if self.first is None else min(self.first, entry.time)
        self.last = entry.time if self.last is None else max(self.last, entry.time)
        if isinstance(entry.gap, Gap):
            self.unlogged += entry.gap.decisions
        if isinstance(entry.execution, Execution):
            self._execution(entry.execution)
        if entry.kind is Kind.DECISION:
            self._decision(entry)

    def _decision(self, entry: LogEntry) -> None:
        try:
            record = entry.decision_record
        except RecordError:
            self.unreadable += 1
            return
        decision = record.decision
        self.outcomes[decision.outcome] += 1
        self.targets[named(decision)] += 1
        self.policies[f"{record.policy.name} {record.policy.revision}"] += 1
        if decision.level:
            self.levels[decision.level.value] += 1
        if decision.refusal:
            self.codes[decision.refusal.code.value] += 1
        self.codes.update(warning.code.value for warning in decision.warnings)

    def _execution(self, execution: Execution) -> None:
        if execution.status is None:
            return
        self.statuses[execution.status] += 1
        self.input_tokens += execution.input_tokens or 0
        self.output_tokens += execution.output_tokens or 0
        self.cost_usd += execution.cost_usd or 0.0
        self.unknown_costs += execution.status == "completed" and execution.cost_usd is None

    def to_json(self) -> bytes:
        """Return JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return msgspec.json.encode(plain, order="sorted")


def stats(lines: Iterable[Line]) -> Stats:
    """Count lines."""
    found = Stats()
    for line in lines:
        found.add(line)
    return found
