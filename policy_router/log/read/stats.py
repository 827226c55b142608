"""What a log comes to, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec
from msgspec import Struct, field

from policy_router.decision.compare import named
from policy_router.errors import RecordError
from policy_router.log.entry import ACCESS, Execution, Gap, Kind, LogEntry
from policy_router.log.read.reading import Line
from policy_router.log.replay.what_if_money import BILLION


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
        access: decisions that only answer whether something is allowed; no other count has them.
        input_tokens: what providers counted.
        output_tokens: what providers counted.
        billionths: of a US dollar: what children cost, as far as that is known.
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
    access: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    billionths: int = 0
    unknown_costs: int = 0
    unreadable: int = 0

    @property
    def cost_usd(self) -> float:
        """What children cost, in US dollars, as far as that is known."""
        return self.billionths / BILLION

    def add(self, line: Line) -> None:
        """Count a line, but for decisions that nothing runs by."""
        entry = line.entry
        if entry.purpose == ACCESS:
            self.access += 1
            return
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
        if execution.cost_usd is not None and isfinite(execution.cost_usd * BILLION):
            self.billionths += round(execution.cost_usd * BILLION)
        self.unknown_costs += execution.status == "completed" and execution.cost_usd is None

    def to_json(self, total: dict[str, int] | None = None) -> bytes:
        """Return JSON; the cost is in US dollars.

        Args:
            total: what every report on the log has; left out where it is not known.
        """
        plain: dict[str, Any] = msgspec.to_builtins(self)
        del plain["billionths"]
        plain["cost_usd"] = self.cost_usd
        if total is not None:
            plain["total"] = total
        return msgspec.json.encode(plain, order="sorted")


def stats(lines: Iterable[Line]) -> Stats:
    """Count lines."""
    found = Stats()
    for line in lines:
        found.add(line)
    return found
