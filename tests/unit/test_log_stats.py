"""What a log comes to, in numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec import Raw
from msgspec.structs import replace

from policy_router import Policy, decide
from policy_router.log.entry import ACCESS, GENESIS, Close, Execution, Gap, Kind, LogEntry
from policy_router.log.read.reading import Line
from policy_router.log.read.stats import Stats, stats
from policy_router.log.write.drafts import Draft, chained, encoded
from tests.support.log_auditing import NOW, finished, policy_of

RULES = policy_of()
WARNING = policy_of(
    """
    name: warning
    model: small
    provider: main
    pool: [{model: small, pick: 1 / task.index == 1}]
    precedence: strict
    """
)


def lines(*drafts: Draft, writer: str = "w1") -> list[Line]:
    made = []
    for number, draft in enumerate(drafts, 1):
        content = chained(draft, number, GENESIS)
        made.append(Line(writer, 1, LogEntry.from_json(content), content))
    return made


def decision(policy: Policy, request: dict[str, object], time: int = 1) -> Draft:
    record = decide(policy, request, now=NOW)
    return Draft(Kind.DECISION, time, "x", record=Raw(record.to_json()))


def ended(executions: Sequence[Execution]) -> list[Draft]:
    return [Draft(Kind.EXECUTION, 5, "x", execution=encoded(it)) for it in executions]


def test_an_empty_log_comes_to_nothing() -> None:
    assert stats([]) == Stats()


def test_decisions_are_counted_by_what_they_are() -> None:
    found = stats(
        [
            *lines(decision(RULES, {}, 7), decision(RULES, {"task": {"kind": "coding"}}, 3)),
            *lines(decision(RULES, {"task": {"model": "gpt-9"}}, 5), writer="w2"),
        ]
    )
    assert found.outcomes == {"selected": 2, "refused": 1}
    assert found.targets == {"small at main": 1, "coder (large at main)": 1, "(refused)": 1}
    assert found.levels == {"config": 1, "pool": 1}
    assert found.codes == {"outside_pool": 1}
    assert found.policies == {f"priced {RULES.revision}": 3}
    assert (found.kinds, found.writers) == ({"decision": 3}, {"w1": 2, "w2": 1})
    assert (found.first, found.last) == (3, 7)


def test_what_only_asks_whether_something_is_allowed_is_left_out() -> None:
    asked = replace(decision(RULES, {}, 1), purpose=ACCESS)
    (line,) = lines(asked)
    assert (line.entry.purpose, line.entry.kind) == (ACCESS, Kind.DECISION)
    assert stats([line]) == Stats(access=1)
    assert stats(lines(asked, decision(RULES, {}))).outcomes == {"selected": 1}


def test_warnings_are_counted_by_code() -> None:
    found = stats(lines(decision(WARNING, {})))
    assert found.codes == {"pick_error": 1}


def test_children_are_counted_by_what_became_of_them() -> None:
    failed = Execution("finished", status="failed", error="timeout")
    found = stats(
        lines(
            *ended([Execution("started"), finished(10, 20, 0.25), finished(1), finished(), failed])
        )
    )
    assert found.statuses == {"completed": 3, "failed": 1}
    assert (found.input_tokens, found.output_tokens) == (11, 20)
    assert (found.cost_usd, found.unknown_costs) == (0.25, 2)


def test_what_is_not_in_the_log_is_counted() -> None:
    gap = Draft(Kind.GAP, 1, gap=Gap("unlogged", 3, 4))
    found = stats(lines(gap, gap, Draft(Kind.CLOSE, 2, close=Close("end"))))
    assert found.unlogged == 6
    assert found.kinds == {"gap": 2, "close": 1}


def test_records_that_cannot_be_read_are_counted() -> None:
    odd = Draft(Kind.DECISION, 1, "x", record=Raw(b"{}")), Draft(Kind.DECISION, 1, "y")
    found = stats(lines(*odd))
    assert (found.unreadable, found.outcomes) == (2, {})


def test_the_numbers_are_json() -> None:
    plain = json.loads(stats(lines(decision(RULES, {}))).to_json())
    assert plain["outcomes"] == {"selected": 1}
    assert plain["first"] == 1
