"""The layer of whoever runs decisions: plans, legs, failures of SDKs, a refusal for each fault."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import UNSET, UnsetType

import policy_router.hosts
from policy_router import DecisionLog, Executor, Policy, Request, decide, loads
from policy_router.calls.child_task import Event, EventKind
from policy_router.calls.results import Status
from policy_router.hosts import HostPlan, PolicyHost, Refused, deciding_policy
from policy_router.log import LogReader
from policy_router.log.entry import Execution
from tests.support.rows import each

KEYS = {"NEAR_KEY": "key-of-near-0123456789", "FAR_KEY": "key-of-far-0123456789"}
POLICY = loads(
    """
    model: small
    provider: near
    parameters: {max_tokens: 100}
    providers:
      near:
        base_url: https://near.example/v1
        api_key: env:NEAR_KEY
        headers: {X-Team: research}
        dialect: {max_tokens: max_completion_tokens, unsupported: [temperature]}
      far: {base_url: https://far.example/v1, api_key: env:FAR_KEY, dialect: {api: responses}}
      lost: {base_url: https://lost.example/v1, api_key: env:LOST_KEY}
    pool:
      - {model: small, price: {input: 1, output: 2}, parameters: {temperature: 0.5}}
      - name: coder
        model: large
        pick: task.kind == "coding"
        fallback: [spare]
        fallback_on: [400]
      - {name: spare, model: large-2, provider: far}
      - {name: keyless, model: k, provider: lost, pick: task.kind == "keyless"}
      - {name: secret, model: s, allow: caller.team == "research"}
    precedence: strict
    """
)


class StatusError(Exception):
    """What SDKs raise for a status: openai, anthropic and others."""

    def __init__(self, status: int, body: Any = None, headers: Any = None) -> None:
        """Have a status, as they do."""
        super().__init__(f"status {status}")
        self.status_code, self.body = status, body
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


def host(policy: Any = POLICY, **options: Any) -> PolicyHost:
    return PolicyHost(policy, environ=KEYS, **options)


TINY = "{model: %s, provider: p, providers: {p: {base_url: 'http://localhost'}}}"
POOLED = f"{TINY[:-1] % 'c'}, pool: [{{name: small, model: c}}], precedence: strict}}"


def written(path: Path, model: str) -> PolicyHost:
    """Return a host of a policy in a file."""
    path.write_text(TINY % model)
    return host(path)


def planned(made: HostPlan | Refused) -> HostPlan:
    assert isinstance(made, HostPlan), made
    return made


def refused(made: object) -> Refused:
    assert isinstance(made, Refused), made
    return made


# A leg has all that its call needs.


def test_a_leg_has_the_endpoint_with_its_key_and_the_parameters_in_its_dialect() -> None:
    leg = planned(host().plan({}, session_id="s-1")).leg
    assert leg is not None
    assert (leg.entry, leg.model, leg.provider) == ("small", "small", "near")
    assert (leg.base_url, leg.api_key) == ("https://near.example/v1", KEYS["NEAR_KEY"])
    assert leg.headers == {"X-Team": "research", "X-Session-Id": "s-1"}
    assert (leg.api, leg.parameters) == ("chat_completions", {"max_completion_tokens": 100})
    assert leg.left_out == ("temperature",)


def test_a_leg_never_shows_its_key() -> None:
    leg = planned(host().plan({})).leg
    assert KEYS["NEAR_KEY"] not in repr(leg)


def test_the_next_leg_is_of_the_fallback_in_its_own_dialect() -> None:
    plan = planned(host().plan({"task": {"kind": "coding"}}))
    assert plan.failed(StatusError(503))
    assert plan.leg is not None
    assert (plan.leg.provider, plan.leg.api) == ("far", "responses")
    assert plan.leg.parameters == {"max_output_tokens": 100}


# What came of the calls.


def test_a_plan_is_gone_along_and_its_end_is_a_result() -> None:
    plan = planned(host().plan({"task": {"kind": "coding"}}))
    assert plan.attempts == ()
    assert plan.failed(TimeoutError())
    result = plan.done("text", served_model="large-2", input_tokens=5, output_tokens=7)
    assert result is plan.result
    assert (result.status, result.text) == (Status.COMPLETED, "text")
    assert [(it.entry, it.failure) for it in result.attempts] == [
        ("coder", "timeout"),
        ("spare", None),
    ]
    assert plan.leg is None
    assert plan.attempts == result.attempts


def test_a_plan_that_its_host_denies_never_runs(tmp_path: Path) -> None:
    with host(log=tmp_path) as kept:
        plan = planned(kept.plan({}))
        result = plan.refused("budget_exceeded", "nothing is left")
        assert (result.status, result.attempts, result.is_free) == (Status.REFUSED, (), True)
        assert result.error is not None
        assert (result.error.code, result.error.message) == ("budget_exceeded", "nothing is left")
        assert (plan.leg, plan.ready(), plan.pause, plan.failed(503)) == (None, None, 0.0, False)
        assert asyncio.run(plan.ready_async()) is None
        assert plan.done("text") is result
    lines = LogReader(tmp_path).about(plan.decision_id)
    (end,) = [it.entry.execution for it in lines if it.entry.kind == "execution"]
    assert isinstance(end, Execution)
    assert (end.event, end.status, end.error) == ("finished", "refused", "budget_exceeded")
    assert end.duration_seconds is not None
    assert end.duration_seconds < 10


def test_a_plan_that_is_cancelled_before_its_first_call_cost_nothing() -> None:
    waiting, called = planned(host().plan({})), planned(host().plan({}))
    assert called.leg is not None
    ends = [waiting.cancelled(), called.cancelled()]
    assert [(it.effective is None, it.is_free) for it in ends] == [(True, True), (False, False)]


def test_a_plan_that_has_begun_is_not_denied() -> None:
    plan = planned(host().plan({}))
    assert plan.leg is not None
    assert plan.refused("budget_exceeded", "nothing is left").status is Status.CANCELLED


def test_what_a_call_cost_is_in_the_result() -> None:
    result = planned(host().plan({})).done(input_tokens=1_000_000, output_tokens=500_000)
    assert result.cost_usd == 2.0


def test_another_served_model_is_a_warning() -> None:
    events: list[Event] = []
    plan = planned(host(watcher=events.append).plan({}))
    result = plan.done(served_model="tiny")
    assert result.warnings[-1] == "tiny was served in place of small"
    assert result.cost_usd is None
    assert EventKind.MODEL_MISMATCH in {event.kind for event in events}


def test_after_the_last_failure_there_is_no_leg_and_the_result_says_why() -> None:
    plan = planned(host().plan({}))
    assert not plan.failed(StatusError(503, {"error": {"message": "too busy"}}))
    assert plan.leg is None
    assert plan.ready() is None
    assert plan.error is not None
    assert plan.error.code == "server_error"
    assert plan.error.message == "too busy (small at near)"
    assert not plan.failed(StatusError(503))


def test_a_key_that_is_missing_ends_a_plan_before_a_call() -> None:
    plan = planned(host().plan({"task": {"kind": "keyless"}}))
    assert plan.leg is None
    assert plan.error is not None
    assert plan.error.code == "no_credential"
    assert [it.is_sent for it in plan.attempts] == [False]


def test_after_the_end_nothing_changes_it() -> None:
    plan = planned(host().plan({}))
    result = plan.done("text")
    assert plan.done("another") is result
    assert plan.cancelled() is result
    assert not plan.failed(StatusError(500))


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()])
def test_a_cancelled_child_is_no_failed_call(error: BaseException) -> None:
    plan = planned(host().plan({"task": {"kind": "coding"}}))
    assert not plan.failed(error)
    assert plan.result is not None
    assert plan.result.status is Status.CANCELLED


def test_after_a_part_of_an_answer_nothing_is_tried() -> None:
    plan = planned(host().plan({"task": {"kind": "coding"}}))
    assert plan.leg is not None
    assert not plan.failed(ConnectionError(), partial="so f")
    assert plan.result is not None
    assert plan.result.text == "so f"


def test_after_anything_of_an_answer_nothing_is_tried() -> None:
    plan = planned(host().plan({"task": {"kind": "coding"}}))
    assert not plan.failed(StatusError(503), has_begun=True)
    assert plan.leg is None


def test_what_a_child_decides_in_its_turn_is_below_it(tmp_path: Path) -> None:
    with DecisionLog(tmp_path / "log") as log:
        kept = host(log=log)
        plan = planned(kept.plan({}))
        with plan.scope():
            planned(kept.plan({}))
        planned(kept.plan({}))
    entries = [line.entry for line in LogReader(tmp_path / "log").lines()]
    parents = [it.parent for it in entries if it.kind == "decision"]
    assert parents == [UNSET, plan.decision_id, UNSET]


@each("count", [-1, "7", 1.5, True])
def test_a_count_that_is_none_is_unknown_after_an_answer_that_was_paid(count: Any) -> None:
    result = planned(host().plan({})).done("text", input_tokens=count, output_tokens=3)
    assert result.tokens.input is None
    assert result.tokens.output == 3


def test_a_host_may_be_asked_on_an_event_loop() -> None:
    async def run() -> Status:
        plan = planned(await host().plan_async({"task": {"kind": "coding"}}))
        assert await plan.ready_async() is not None
        plan.failed(429, headers={"Retry-After": "0"})
        leg = await plan.ready_async()
        assert leg is not None
        assert leg.entry == "spare"
        return plan.done("text").status

    assert asyncio.run(run()) is Status.COMPLETED


def test_the_log_has_the_decision_and_what_came_of_it_and_no_word(tmp_path: Path) -> None:
    with DecisionLog(tmp_path / "log") as log:
        kept = host(log=log)
        plan = planned(kept.plan({"task": {"kind": "coding"}}, goal="planted-7f3a9c"))
        plan.failed(StatusError(503))
        plan.done("planted-7f3a9c", served_model="large-2", input_tokens=3, output_tokens=4)
        kept.flush()
        refused(kept.plan({"task": {"model": "huge"}}))
    entries = [line.entry for line in LogReader(tmp_path / "log").lines()]
    told = [
        it.kind if isinstance(it.execution, UnsetType) else it.execution.event
        for it in entries
        if it.kind not in {"close", "policy"}
    ]
    assert told == ["decision", "started", "attempt", "attempt", "finished", "decision"]
    assert {it.id for it in entries[1:6]} == {plan.decision_id}
    end = entries[5].execution
    assert not isinstance(end, UnsetType)
    assert (end.status, end.entry, end.input_tokens) == ("completed", "spare", 3)
    assert [call.failure for call in end.calls] == ["server_error", None]
    assert b"planted" not in b"".join(it.read_bytes() for it in tmp_path.rglob("*.jsonl"))


def test_a_plan_has_the_deadline_of_its_host_and_the_limits_of_its_entry() -> None:
    leg = planned(host(deadline=20, timeout=30).plan({})).leg
    assert leg is not None
    assert (leg.limits.first_byte, leg.limits.idle) == (30, 30)
    assert leg.limits.total is not None
    assert 19 < leg.limits.total <= 20


def test_plans_share_what_is_known_of_targets() -> None:
    kept = host()
    planned(kept.plan({"task": {"kind": "coding"}})).failed(429, headers={"Retry-After": "300"})
    plan = planned(kept.plan({"task": {"kind": "coding"}}))
    assert plan.leg is not None
    assert plan.leg.entry == "spare"
    assert [it.is_sent for it in plan.done("text").attempts] == [False, True]


@each(
    "options",
    [{"timeout": 0}, {"retries": -1}, {"longest_wait": -1}, {"deadline": 0}, {"workers": 0}],
)
def test_an_option_without_such_a_value_is_an_error(options: Any) -> None:
    with pytest.raises(ValueError, match="above 0"):
        host(**options)
    with pytest.raises(ValueError, match="above 0"):
        Executor(POLICY, **options)


def test_the_plan_of_a_decision_that_was_made_elsewhere() -> None:
    record = decide(POLICY, {"task": {"kind": "coding"}}, now="2026-01-31T09:00:00Z")
    plan = planned(host().plan_of(POLICY, record, "id-1", goal="a"))
    assert plan.leg is not None
    assert (plan.leg.entry, plan.decision_id, plan.goal) == ("coder", "id-1", "a")
    assert plan.cancelled().status is Status.CANCELLED
    refusal = decide(POLICY, {"task": {"model": "huge"}}, now="2026-01-31T09:00:00Z")
    assert refused(host().plan_of(POLICY, refusal, "id-2")).code == "outside_pool"
    other = refused(host().plan_of(loads(TINY % "a"), record, "id-1"))
    assert (other.code, other.decision_id) == ("policy_unavailable", "id-1")
    assert refused(host().plan_of(POLICY, record, "id-1", session_id="")).code == "bad_request"


@each(("workers", "share"), [(1, 5), (2, 3), (5, 1), (9, 1)])
def test_of_several_workers_each_takes_its_share_of_a_providers_calls(
    workers: int, share: int
) -> None:
    text = "{model: a, provider: p, providers: {p: {base_url: 'http://w%d', concurrency: 5}}}"
    leg = planned(host(loads(text % workers), workers=workers).plan({})).leg
    assert leg is not None
    assert leg.slots is not None
    assert leg.slots.limit == share


# Who decides, and what is refused.


def test_a_refusal_of_the_policy_has_its_code_and_the_permitted_names() -> None:
    made = refused(host().plan({"task": {"model": "huge"}}))
    assert made.code == "outside_pool"
    assert made.permitted == ("small", "coder", "spare", "keyless")
    assert made.record is not None
    plain = made.to_dict()
    assert plain["status"] == "refused"
    assert plain["decision_id"] == made.decision_id
    assert plain["error"]["permitted"] == ["small", "coder", "spare", "keyless"]


def test_what_the_host_states_counts_and_is_stated_once() -> None:
    kept = host(facts={"caller": {"team": "research"}})
    assert planned(kept.plan({"task": {"model": "secret"}})).leg is not None
    made = refused(kept.plan({"caller": {"team": "research"}}))
    assert (made.code, made.path) == ("bad_request", "$.caller")


@each("request_", [[], {"task": 1}, {"nothing": {}}, {"task": {"kind": 1}}])
def test_a_malformed_request_is_refused(request_: Any) -> None:
    assert refused(host().plan(request_)).code == "bad_request"


def test_a_session_that_no_header_can_carry_is_refused() -> None:
    assert refused(host().plan({}, session_id="a\nb")).code == "bad_request"


@pytest.mark.parametrize("text", ["model: [", "modle: m", None])
def test_a_policy_that_cannot_be_read_refuses(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "policy.yaml"
    if text is not None:
        path.write_text(text)
    made = refused(host(path).plan({}))
    assert made.code == "policy_unavailable"


def test_a_function_that_has_no_policy_refuses() -> None:
    def broken() -> Policy:
        raise OSError("the disk says /secret/path")

    made = refused(host(broken).plan({}))
    assert (made.code, made.message) == (
        "policy_unavailable",
        "the policy cannot be read (OSError)",
    )
    assert refused(host(lambda: None).plan({})).code == "policy_unavailable"


def test_the_last_good_policy_goes_on_deciding(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    kept = written(path, "a")
    path.write_text("model: [")
    assert refused(kept.reload()).code == "policy_unavailable"
    leg = planned(kept.plan({})).leg
    assert leg is not None
    assert leg.model == "a"
    path.write_text(TINY % "b")
    assert kept.reload() is None
    leg = planned(kept.plan({})).leg
    assert leg is not None
    assert leg.model == "b"


@pytest.mark.parametrize("on_loop", [False, True])
def test_files_that_change_are_read_again_once_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on_loop: bool
) -> None:
    path = tmp_path / "policy.yaml"
    kept = written(path, "a")

    def model() -> str:
        plan = planned(asyncio.run(kept.plan_async({})) if on_loop else kept.plan({}))
        assert plan.leg is not None
        return plan.leg.model

    assert model() == "a"
    monkeypatch.setattr(deciding_policy, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(deciding_policy, "SETTLE_SECONDS", 0.0)
    kept.reload()
    path.write_text(TINY % "bb")
    assert model() == "a"  # it is being written, for all that one knows
    assert model() == "bb"
    path.write_text(POOLED)
    assert [kept.permitted() for _ in range(2)] == [None, ("small",)]
    path.write_text(TINY % "bb")
    assert ["small" in str(kept.tool()) for _ in range(2)] == [True, False]
    path.write_text("model: [")
    assert [model() for _ in range(3)] == ["bb"] * 3
    made = [kept.batch({"goal": "x"}), asyncio.run(kept.batch_async({"goal": "x"}))]
    assert not any(isinstance(it, Refused) for it in made)
    path.unlink()
    assert [model() for _ in range(3)] == ["bb"] * 3


def test_another_policy_may_decide_from_now_on_and_plans_keep_theirs() -> None:
    kept = host(loads(TINY % "a"))
    before = planned(kept.plan({}))
    kept.use(POLICY)
    after = planned(kept.plan({}))
    assert before.leg is not None
    assert after.leg is not None
    assert (before.leg.model, after.leg.model) == ("a", "small")


def test_a_log_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("no folder")
    with DecisionLog(tmp_path / "log") as log:
        made = refused(host(log=log).plan({}))
        assert made.code == "log_unavailable"
        assert refused(asyncio.run(host(log=log).plan_async({}))).code == "log_unavailable"


def test_a_log_that_is_closed_refuses(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log")
    log.close()
    assert refused(host(log=log).plan({})).code == "log_unavailable"


# A call of the tool.


def test_a_batch_is_decided_whole() -> None:
    made = host().batch({"tasks": [{"goal": "a"}, {"goal": "b", "kind": "coding"}]})
    assert not isinstance(made, Refused)
    assert [(plan.task, plan.goal) for plan in made] == [(0, "a"), (1, "b")]
    assert [plan.leg.entry if plan.leg else None for plan in made] == ["small", "coder"]
    refusal = refused(host().batch({"tasks": [{"goal": "a"}, {"goal": "b", "model": "huge"}]}))
    assert (refusal.code, refusal.task) == ("outside_pool", 1)


def test_the_arguments_of_a_hosts_own_tool_are_kept_for_each_task() -> None:
    asked = '{"role": "tester", "tasks": [{"goal": "a"}, {"goal": "b", "role": "writer"}]}'
    made = host().batch(asked, own=("role",))
    assert not isinstance(made, Refused)
    assert [plan.own for plan in made] == [{"role": "tester"}, {"role": "writer"}]
    assert refused(host().batch(asked)).path == "$.role"


def test_a_batch_on_an_event_loop_is_decided_the_same() -> None:
    made = asyncio.run(host().batch_async({"goal": "a", "role": "tester"}, own=("role",)))
    assert not isinstance(made, Refused)
    assert [plan.own for plan in made] == [{"role": "tester"}]


@each("arguments", ["[", "[]", 7, {}, {"tasks": [1]}, {"goal": 1}])
def test_malformed_arguments_are_refused(arguments: Any) -> None:
    assert refused(host().batch(arguments, own=("role",))).code == "bad_request"


# The names.


def test_the_public_names_are_imported_when_they_are_asked_for() -> None:
    assert sorted(policy_router.hosts.__all__) == policy_router.hosts.__all__
    assert {*policy_router.hosts.__all__} <= {*dir(policy_router.hosts)}
    with pytest.raises(AttributeError, match="no attribute 'Legs'"):
        policy_router.hosts.Legs  # noqa: B018 - it raises


@pytest.mark.slow
def test_a_plan_needs_no_sdk() -> None:
    program = (
        "import sys\n"
        "from policy_router import loads\n"
        "from policy_router.hosts import PolicyHost\n"
        "policy = loads('{model: m, provider: p, providers: {p: {base_url: \"http://h\"}}}')\n"
        "plan = PolicyHost(policy).plan({})\n"
        "assert plan.ready() is not None\n"
        "assert not plan.failed(TimeoutError())\n"
        "assert plan.error.code == 'timeout', plan.error\n"
        "print(*(name in sys.modules for name in ('openai', 'httpx', 'httpx2', 'pydantic')))\n"
    )
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=60
    )
    assert ran.stdout.decode().split() == ["False"] * 4


# What is not asked for every day.


def test_a_host_says_which_policy_decides_if_one_does(tmp_path: Path) -> None:
    assert host().policy is POLICY
    assert host(tmp_path / "none.yaml").policy is None
    assert host().reload() is None


def test_a_refusal_of_a_place_names_it_and_one_may_print_it() -> None:
    made = refused(host().plan({"task": {"kind": 1}}))
    assert made.to_dict()["error"]["path"] == "$.task.kind"
    assert str(made) == f"bad_request: {made.message}"


def test_a_fault_that_nobody_expected_refuses_without_its_words() -> None:
    def broken() -> Any:
        raise ZeroDivisionError("a secret")

    kept = host(clock=broken)
    for made in (
        kept.plan({}),
        kept.batch({"goal": "a"}),
        asyncio.run(kept.plan_async({})),
        asyncio.run(kept.batch_async({"goal": "a"})),
    ):
        assert refused(made).code == "policy_unavailable"
        assert refused(made).message == "no decision can be made (ZeroDivisionError)"


def test_facts_of_a_host_are_joined_by_name() -> None:
    policy = loads(
        "{model: m, provider: p, providers: {p: {base_url: 'http://h'}},"
        " facts: {a: {type: int}, b: {type: int}}}"
    )
    kept = host(policy, facts={"facts": {"a": 1}})
    assert planned(kept.plan({"facts": {"b": 2}})).record.request["facts"] == {"a": 1, "b": 2}
    stated: list[Any] = [{"a": 2}, [], {"a": 1}]
    for again in stated:
        assert refused(kept.plan({"facts": again})).path == "$.facts"


def test_a_goal_is_an_estimate_of_the_input_and_a_request_may_be_checked_before() -> None:
    request = Request(task={"input_tokens": 3})
    assert planned(host().plan(request)).record.request["task"]["input_tokens"] == 3
    made = planned(host().plan(request, goal="x" * 40))
    assert made.record.request["task"]["input_tokens"] == 11
    made = planned(host(counts=None).plan(request, goal="x" * 40))
    assert made.record.request["task"]["input_tokens"] == 3


def test_a_pause_of_a_plan_can_be_asked_for(tmp_path: Path) -> None:
    with DecisionLog(tmp_path / "log") as log:
        kept = host(log=log, retries=1)
        plan = planned(kept.plan({}))
        assert plan.pause == 0
        plan.failed(503, headers={"Retry-After": "5"})
        assert 4 < plan.pause <= 5
        asyncio.run(kept.flush_async())
    host().flush()
    asyncio.run(host().flush_async())


def test_a_log_may_be_given_as_its_folder(tmp_path: Path) -> None:
    with host(log=tmp_path / "log") as kept:
        planned(kept.plan({})).done("text")
    kinds = [line.entry.kind for line in LogReader(tmp_path / "log").lines()]
    assert (kinds[0], kinds[1], kinds[-1]) == ("policy", "decision", "close")
    assert refused(kept.plan({})).code == "log_unavailable"

    async def run() -> None:
        async with host(log=str(tmp_path / "another")) as made:
            planned(await made.plan_async({}))

    asyncio.run(run())
    with DecisionLog(tmp_path / "own") as log:
        with host(log=log):
            pass
        planned(host(log=log).plan({}))


def test_the_tool_and_the_names_are_those_of_the_caller() -> None:
    research = host(facts={"caller": {"team": "research"}})
    names = {"small", "coder", "spare", "keyless", "secret"}
    for kept, facts, expected in (
        (research, None, names),
        (host(), {"caller": {"team": "sales"}}, names - {"secret"}),
    ):
        found = kept.permitted(facts)
        assert isinstance(found, tuple)
        assert {*found} == expected
    made = research.tool(format="anthropic", strict=True)
    assert isinstance(made, dict)
    assert made["name"] == "delegate_task"
    assert "secret" in str(made)
    assert "secret" not in str(host().tool())
    assert refused(host().tool({"caller": 1})).code == "bad_request"
    assert refused(research.permitted({"caller": {}})).path == "$.caller"
    assert refused(host(lambda: None).permitted()).code == "policy_unavailable"
