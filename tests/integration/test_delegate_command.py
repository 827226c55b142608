"""`policy-router delegate` and `policy-router tool`, against a provider that answers over HTTP."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from policy_router import Delegator, load
from policy_router.calls.connections import prepare_http
from policy_router.delegation.budgets import nano
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.delegation.tool import FORMATS
from tests.support.commands import Ran, Run, in_process_of_its_own, write
from tests.support.provider import KEYS, Provider, chain, policy_text

PRICE = {"input": 3.0, "output": 15.0}
HELLO = (
    "Hello! You said: You are a sub-agent. Do the task, and answer with its result alone. hi there"
)
GOAL = ("--goal", "hi there")
TOKENS = {"input": 18, "output": 23, "cached": None}
JSON = ("--format", "json")


@pytest.fixture
def delegate(peer: Provider, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `policy-router delegate` with a policy of two models: the first has a price."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    limits = {"reasoning_effort": ["low", "high"]}
    first, second = chain("near", "far", price=PRICE, limits=limits, parameters={"max_tokens": 64})
    kinds = {"kinds": ["coding", "research"], "precedence": "strict"}
    write(tmp_path, peers_json=policy_text(peer, first, second, **kinds))

    def delegate(*words: str, stdin: str | bytes = b"") -> Ran:
        return run("delegate", "peers.json", *words, stdin=stdin)

    return delegate


def results(ran: Ran) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ran.out)["results"]
    return found


def without_times(text: str) -> str:
    """Return a text in which every number of seconds is a letter."""
    return re.sub(r"\b\d+\.\d( s\b|(?=  |$))", r"N\1", text, flags=re.MULTILINE)


# What is printed


def test_a_person_gets_a_table_and_the_text(delegate: Run) -> None:
    ran = delegate(*GOAL)
    assert ran.code == 0
    assert without_times(ran.out) == (
        "task  status     ran on      level  tokens   cost       seconds  note\n"
        "0     completed  m0 at near  pool   18 + 23  $0.000399  N\n"
        f"\n{HELLO}\n"
    )
    assert without_times(ran.err) == "task 0  completed  m0 at near  N s\n"


def test_of_a_batch_each_text_is_under_its_number(delegate: Run) -> None:
    ran = delegate("--tasks", "-", stdin='[{"goal": "a"}, {"goal": "b", "model": "m1"}]')
    assert ran.code == 0
    assert without_times(ran.out) == (
        "task  status     ran on      level  tokens   cost       seconds  note\n"
        "0     completed  m0 at near  pool   16 + 21  $0.000363  N\n"
        "1     completed  m1 at far   task   16 + 21  unknown    N\n"
        f"\ntask 0:\n{HELLO.replace('hi there', 'a')}\n"
        f"\ntask 1:\n{HELLO.replace('hi there', 'b')}\n"
    )
    assert sorted(without_times(ran.err).splitlines()) == [
        "task 0  completed  m0 at near  N s",
        "task 1  completed  m1 at far  N s",
    ]


def test_a_program_gets_what_an_agent_would(delegate: Run) -> None:
    ran = delegate(*GOAL, *JSON, "--session-id", "s-1")
    made = json.loads(ran.out)
    (result,) = made.pop("results")
    assert (ran.code, ran.out.count("\n")) == (0, 1)
    totals = {"input_tokens": 18, "output_tokens": 23, "cost_usd": 0.000399}
    unknown = {"unknown_tokens": 0, "unknown_costs": 0, "overrun_usd": None}
    assert made == {
        "status": "completed",
        "session_id": "s-1",
        "error": None,
        "totals": {**totals, **unknown},
    }
    assert list(result) == [
        *("task", "status", "text", "requested", "outranked", "effective", "level", "rule"),
        *("decision_id", "session_id", "served_model", "finish_reason", "attempts", "tokens"),
        *(
            "cost_usd",
            "cost_is_upper_bound",
            "cost_status",
            "reserved_usd",
            "overrun_usd",
            "estimate",
            "duration_seconds",
            "warnings",
            "error",
        ),
    ]
    assert (result["text"], result["session_id"]) == (HELLO, "s-1")
    assert (result["tokens"], result["cost_usd"]) == (TOKENS, 0.000399)


def test_quiet_prints_the_text_alone(peer: Provider, delegate: Run) -> None:
    peer.fail(503, "m0")
    assert delegate(*GOAL, "-q") == Ran(0, f"\n{HELLO}\n", "")


def test_a_further_attempt_is_told_once(peer: Provider, delegate: Run) -> None:
    peer.fail(503, "m0")
    ran = delegate(*GOAL)
    assert ran.code == 0
    assert without_times(ran.err) == (
        "task 0  attempt 2 of 2 at far after 503\ntask 0  completed  m1 at far  N s\n"
    )
    assert without_times(ran.out).splitlines()[1] == (
        "0     completed  m1 at far  pool   18 + 23  unknown  N      2 attempts"
    )


def test_in_a_process_of_its_own_a_further_attempt_is_told_once_too(
    peer: Provider, delegate: Run, tmp_path: Path
) -> None:
    assert delegate("--goal", "x", "--dry-run").code == 0
    for quiet, told in (((), 1), (("-q",), 0)):
        peer.fail(503, "m0")
        words = ("delegate", "peers.json", *GOAL, *quiet)
        ran = in_process_of_its_own(*words, cwd=tmp_path)
        assert ran.code == 0
        assert ran.err.count("attempt 2") == told


@pytest.mark.usefixtures("delegate")
@pytest.mark.parametrize("words", [(), JSON])
def test_where_the_disk_is_full_the_results_are_told_all_the_same(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(  # noqa: S603 - the words are the test's own
            [sys.executable, "-m", "policy_router.cli", "delegate", "peers.json", *GOAL, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            check=False,
            timeout=60,
        )
    _, made, problem = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert json.loads(made)["results"][0]["text"] == HELLO
    assert problem == "policy-router: standard output: no space left on device"


def test_what_a_terminal_would_act_on_is_not_printed(peer: Provider, delegate: Run) -> None:
    peer.say("\x1b[31mred\x07\tand\nmore\x9b")
    ran = delegate(*GOAL)
    peer.fail(400, "m0", message="\x1b[31mred\x07\nmore")
    failed = delegate(*GOAL)
    assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.out + ran.err + failed.out)
    assert "red" in ran.out
    assert "bad_request" in failed.out


# A dry run


def test_a_dry_run_calls_nobody_and_estimates(peer: Provider, delegate: Run) -> None:
    batch = '[{"goal": "hi there"}, {"goal": "hi", "model": "m1", "context": "x"}]'
    ran = delegate("--tasks", "-", "--dry-run", stdin=batch)
    assert ran == Ran(
        0,
        "task  outcome  would run on  level  rule  tokens  cost at most  note\n"
        "0     decided  m0 at near    pool   pool  3 + 64  $0.000969\n"
        "1     decided  m1 at far     task   task  2 + ?   unknown\n",
        "",
    )
    ran = delegate("--tasks", "-", "--dry-run", *JSON, stdin=batch)
    made = json.loads(ran.out)
    assert (ran.code, made["status"]) == (0, "decided")
    assert [result["estimate"] for result in made["results"]] == [
        {"input_tokens": 3, "output_tokens": 64, "cost_usd": 0.000969},
        {"input_tokens": 2, "output_tokens": None, "cost_usd": None},
    ]
    for result in made["results"]:
        assert (result["status"], result["attempts"], result["text"]) == ("decided", [], None)
        assert (result["tokens"], result["cost_usd"]) == (dict.fromkeys(TOKENS), None)
    assert peer.requests() == []


def test_a_dry_run_of_what_is_refused_says_why(peer: Provider, delegate: Run) -> None:
    ran = delegate(*GOAL, "--model", "huge", "--dry-run")
    assert ran.code == 3
    assert ran.out.splitlines()[1:] == [
        "0     refused  -             -      call  -       -",
        "      outside_pool: the call asks for a model outside the pool; permitted: m0,",
        "      m1",
    ]
    assert "nothing was started" not in ran.err
    assert peer.requests() == []


# What is asked for


def test_the_tasks_may_be_a_list_or_all_arguments_in_json_or_yaml(
    delegate: Run, tmp_path: Path
) -> None:
    write(
        tmp_path,
        list_json='[{"goal": "a"}, {"goal": "b"}]',
        list_yaml="- {goal: a}\n- goal: b\n",
        all_json='{"tasks": [{"goal": "a"}, {"goal": "b"}], "context": "c"}',
        all_yml="context: c\ntasks: [{goal: a}, {goal: b}]\n",
        lines_json='{"goal": "a"}\n{"goal": "b"}\n',
    )
    for name in ("list.json", "list.yaml", "all.json", "all.yml", "lines.json"):
        ran = delegate("--tasks", name, *JSON)
        texts = [result["text"] for result in results(ran)]
        after = " c" if name.startswith("all") else ""
        assert ran.code == 0
        assert texts == [HELLO.replace("hi there", f"{letter}{after}") for letter in "ab"]
        content = (tmp_path / name).read_bytes()
        ran = delegate("--tasks", "-", *JSON, stdin=content)
        assert [result["text"] for result in results(ran)] == texts


def test_what_the_options_say_goes_for_the_whole_call(peer: Provider, delegate: Run) -> None:
    words = ("--tasks", "-", "--model", "m1", "--provider", "far", "--kind", "coding", *JSON)
    ran = delegate(*words, stdin='[{"goal": "a"}, {"goal": "b", "kind": "research"}]')
    assert ran.code == 0
    for result in results(ran):
        assert result["level"] == "call"
        assert result["requested"] == {"model": "m1", "provider": "far"}
        assert result["effective"] == {"model": "m1", "provider": "far", "entry": "m1"}
    assert peer.models() == ["m1", "m1"]


def test_a_reasoning_effort_goes_into_the_call(peer: Provider, delegate: Run) -> None:
    assert delegate(*GOAL, "--reasoning-effort", "high").code == 0
    assert peer.requests()[0]["body"]["reasoning_effort"] == "high"
    ran = delegate(*GOAL, "--reasoning-effort", "huge", "--model", "m0")
    assert ran.code == 3
    assert len(peer.requests()) == 1


def test_the_goal_and_the_context_are_what_the_child_is_told(peer: Provider, delegate: Run) -> None:
    assert delegate("--goal", "do it", "--context", "with care").code == 0
    (request,) = peer.requests()
    assert request["body"]["messages"][-1] == {"role": "user", "content": "do it\n\nwith care"}
    assert request["body"]["max_tokens"] == 64


def test_facts_come_from_a_file(delegate: Run, tmp_path: Path) -> None:
    write(tmp_path, facts_yaml="parent: {depth: 1}\ncaller: {team: research}\n")
    assert delegate(*GOAL, "--request", "facts.yaml").code == 0
    for content in ("task: {kind: coding}\n", "call: {model: m0}\n", "[]\n", "parnt: {}\n"):
        write(tmp_path, facts_yaml=content)
        ran = delegate(*GOAL, "--request", "facts.yaml")
        assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("words", [(), ("--stream",)])
def test_a_stream_ends_in_the_same_text(
    peer: Provider, delegate: Run, words: tuple[str, ...]
) -> None:
    (result,) = results(delegate(*GOAL, *JSON, *words))
    assert (result["text"], result["tokens"]) == (HELLO, TOKENS)
    assert peer.requests()[0]["stream"] is bool(words)


def test_the_session_goes_into_its_header(delegate: Run) -> None:
    words = ("--session-id", "418", "--session-header", "X-LLMock-Force-Status")
    ran = delegate(*GOAL, *words, *JSON)
    assert ran.code == 5
    assert results(ran)[0]["attempts"][0]["status"] == 418
    assert json.loads(ran.out)["session_id"] == "418"


def test_retries_and_the_timeout_are_as_one_says(peer: Provider, delegate: Run) -> None:
    peer.fail(503, "*", times=2, retry_after=0.01)
    assert delegate(*GOAL, "--retries", "1").code == 0
    assert peer.models() == ["m0", "m1", "m0"]
    peer.reset()
    peer.delay(20, "m0")
    ran = delegate(*GOAL, "--timeout", "0.5", *JSON)
    assert [attempt["failure"] for attempt in results(ran)[0]["attempts"]] == ["timeout", None]


# Exit codes


def test_what_is_refused_ends_with_3_and_nothing_was_started(peer: Provider, delegate: Run) -> None:
    batch = '[{"goal": "a"}, {"goal": "b", "model": "huge"}]'
    ran = delegate("--tasks", "-", stdin=batch)
    assert ran.code == 3
    assert ran.err == (
        "policy-router: task 1: outside_pool: the task asks for a model outside the pool;"
        " permitted: m0, m1\n"
        "policy-router: nothing was started; --on-refused skip runs the other tasks\n"
    )
    rows = [line.split()[:2] for line in ran.out.splitlines()[1:] if line[0] != " "]
    assert rows == [["0", "not_started"], ["1", "refused"]]
    made = json.loads(delegate("--tasks", "-", *JSON, stdin=batch).out)
    assert (made["status"], made["error"]) == ("refused", made["results"][1]["error"])
    assert made["error"]["permitted"] == ["m0", "m1"]
    assert peer.requests() == []


def test_a_refused_task_may_be_skipped(peer: Provider, delegate: Run) -> None:
    batch = '[{"goal": "a"}, {"goal": "b", "model": "huge"}]'
    ran = delegate("--tasks", "-", "--on-refused", "skip", *JSON, stdin=batch)
    assert (ran.code, json.loads(ran.out)["status"]) == (3, "partial")
    assert [result["status"] for result in results(ran)] == ["completed", "refused"]
    assert peer.models() == ["m0"]


@pytest.mark.parametrize(
    ("words", "stdin", "told"),
    [
        ((), "", "$.goal: there is nothing to do; send a `goal`, or `tasks`"),
        (("--goal", " "), "", "$.goal: there is nothing to do"),
        (("--tasks", "-"), "3", "$.tasks: "),
        (("--tasks", "-"), "[{]", "standard input: this is not JSON"),
        (("--tasks", "-"), '[{"gaol": "a"}]', "$.tasks[0].gaol: unknown key"),
        (("--tasks", "-"), '[{"goal": "a"}, {"goal": 3}]', "$.tasks[1].goal: "),
        (("--tasks", "nowhere.json"), "", "nowhere.json: cannot be read"),
        (("--goal", "x", "--kind", "poetry"), "", "$.kind: "),
        (("--goal", "x", "--session-id", ""), "", "$.session_id: "),
        (("--goal", "x", "--session-id", "a\nb"), "", "$.session_id: "),
        (("--goal", "x", "--session-header", "a b"), "", "header"),
        (("--goal", "x", "--session-header", "Authorization"), "", "header"),
    ],
)
def test_what_is_malformed_ends_with_2_and_one_line(
    peer: Provider, delegate: Run, words: tuple[str, ...], stdin: str, told: str
) -> None:
    ran = delegate(*words, stdin=stdin)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert peer.requests() == []


@pytest.mark.parametrize(
    "words",
    [
        ("--concurrency", "0"),
        ("--concurrency", "x"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--timeout", "inf"),
        ("--retries", "-1"),
        ("--on-refused", "x"),
    ],
)
def test_an_option_without_such_a_value_is_a_usage_error(
    delegate: Run, words: tuple[str, ...]
) -> None:
    ran = delegate(*GOAL, *words)
    assert (ran.code, ran.out) == (2, "")
    assert words[0] in ran.err


def test_where_every_target_fails_it_ends_with_5(peer: Provider, delegate: Run) -> None:
    peer.fail(500, "m0", message="It is 500.", times=None)
    peer.fail(404, "m1", message="It is 404.", times=None)
    ran = delegate(*GOAL)
    assert ran.code == 5
    assert without_times(ran.out).splitlines()[1:] == [
        "0     failed  m1 at far  pool   unknown  unknown  N",
        "      model_not_found: It is 404. (m1 at far); 2 attempts",
    ]
    made = delegate(*GOAL, *JSON)
    assert (made.code, json.loads(made.out)["status"]) == (5, "failed")
    assert [attempt["status"] for attempt in results(made)[0]["attempts"]] == [500, 404]


def test_a_batch_of_which_one_task_fails_ends_with_5(peer: Provider, delegate: Run) -> None:
    peer.fail(400, "m0")
    ran = delegate("--tasks", "-", *JSON, stdin='[{"goal": "a"}, {"goal": "b", "model": "m1"}]')
    assert (ran.code, json.loads(ran.out)["status"]) == (5, "partial")


@pytest.mark.parametrize("key", [None, "", " "])
def test_a_missing_key_ends_with_5_and_is_named(
    peer: Provider, delegate: Run, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    if key is None:
        monkeypatch.delenv("NEAR_KEY")
    else:
        monkeypatch.setenv("NEAR_KEY", key)
    ran = delegate(*GOAL)
    assert ran.code == 5
    assert "no_credential" in ran.out
    assert "env:NEAR_KEY" in ran.out
    assert peer.requests() == []


def test_a_policy_with_errors_ends_with_1(peer: Provider, run: Run) -> None:
    ran = run("delegate", "wrong.yaml", *GOAL)
    assert (ran.code, ran.out) == (1, "")
    assert peer.requests() == []


# Secrets


SECRET = "planted 0123456789 zyxwvut 9876543210"  # noqa: S105 - of no provider


@pytest.mark.parametrize("words", [(), ("-vv",), ("-vv", *JSON), ("-vv", "--stream")])
@pytest.mark.parametrize("says", ["answer", "error"])
def test_no_key_is_printed(
    peer: Provider,
    delegate: Run,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.setenv("NEAR_KEY", SECRET)
    if says == "answer":
        peer.say(f"The key is {SECRET}.")
    else:
        peer.fail(400, "m0", message=f"The key is {SECRET}.")
    ran = delegate(*GOAL, *words)
    assert ran.code == (0 if says == "answer" else 5)
    assert "The key is ***." in ran.out
    assert SECRET[:18] not in ran.out + ran.err


# Time, and how closely one looks


@pytest.mark.slow
def test_after_its_deadline_it_prints_what_is_finished(peer: Provider, delegate: Run) -> None:
    prepare_http()
    peer.delay(30, "m0", times=None)
    batch = json.dumps([{"goal": "a", "model": "m1"}, {"goal": "b"}])
    ran = delegate("--tasks", "-", "--deadline", "0.5", *JSON, stdin=batch)
    assert ran.code == 5
    made = json.loads(ran.out)
    assert made["status"] == "partial"
    assert [result["status"] for result in made["results"]] == ["completed", "failed"]
    assert made["results"][1]["error"]["code"] == "timeout"


@pytest.mark.parametrize("text", ["0", "-1", "soon"])
def test_a_deadline_is_a_number_of_seconds(delegate: Run, text: str) -> None:
    ran = delegate(*GOAL, "--deadline", text)
    assert (ran.code, ran.out) == (2, "")
    assert "seconds from above 0" in ran.err


def test_one_may_look_more_and_more_closely(peer: Provider, delegate: Run) -> None:
    seen = []
    for words in ((), ("-v",), ("-vv",)):
        peer.fail(500, "m0")
        seen.append(re.sub(r"decision \S+", "decision ID", delegate(*GOAL, *words).err))
    few, more, all_ = (set(text.splitlines()[:-1]) for text in seen)
    assert few < more < all_
    assert more - few == {"decision ID task 0 level pool provider near model m0"}
    failed, answered = sorted(all_ - more)
    assert failed.startswith("decision ID task 0 m0 at near failed: server_error, ")
    assert answered == "decision ID task 0 m1 at far answered: stop, 18 + 23 tokens"


# Interrupts


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, JSON),
        (signal.SIGTERM, 143, ()),
        pytest.param(signal.SIGINT, 130, (), marks=pytest.mark.stress),
        pytest.param(signal.SIGTERM, 143, JSON, marks=pytest.mark.stress),
    ],
)
def test_an_interrupt_prints_what_is_finished_and_what_is_not(
    peer: Provider,
    delegate: Run,
    tmp_path: Path,
    *,
    words: tuple[str, ...],
    number: signal.Signals,
    code: int,
) -> None:
    assert delegate("--goal", "x", "--dry-run").code == 0
    peer.delay(30, "m0", times=None)
    batch = [{"goal": "a", "model": "m1"}, *({"goal": "b"} for _ in range(30))]
    write(tmp_path, batch_json=json.dumps(batch))
    words = ("delegate", "peers.json", "--tasks", "batch.json", *words)
    with subprocess.Popen(  # noqa: S603 - the words are the test's own
        [sys.executable, "-m", "policy_router.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"task 0  completed  m1 at far")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code, err.decode()
    assert b"Traceback" not in err
    if "json" in words:
        made = json.loads(out)
        assert made["status"] == "partial"
        assert [result["status"] for result in made["results"]] == [
            "completed",
            *["cancelled"] * 30,
        ]
        assert made["results"][0]["text"] == HELLO.replace("hi there", "a")
        assert {result["text"] for result in made["results"][1:]} == {None}
    else:
        rows = [line.split()[:2] for line in out.decode().splitlines()[1:32]]
        assert rows == [["0", "completed"], *([str(n), "cancelled"] for n in range(1, 31))]
        assert HELLO.replace("hi there", "a") in out.decode()


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_of_one_task_is_told_too(
    peer: Provider, delegate: Run, tmp_path: Path
) -> None:
    assert delegate("--goal", "x", "--dry-run").code == 0
    peer.delay(30, "m0", times=None)
    peer.fail(503, "m0")
    peer.delay(30, "m1", times=None)
    with subprocess.Popen(  # noqa: S603 - the words are the test's own
        [sys.executable, "-m", "policy_router.cli", "delegate", "peers.json", *GOAL, *JSON],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it is at its second attempt
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err.decode()
    made = json.loads(out)
    assert (made["status"], made["results"][0]["status"]) == ("cancelled", "cancelled")


def test_the_answer_for_the_agent_s_model_has_what_it_needs_alone(delegate: Run) -> None:
    asked = '[{"goal": "a"}, {"goal": "b", "model": "huge"}]'
    words = ("--tasks", "-", "--format", "answer", "--on-refused", "skip")
    ran = delegate(*words, stdin=asked)
    first, second = json.loads(ran.out)["results"]
    assert first == {"task": 0, "model": "m0", "text": HELLO.replace("hi there", "a")}
    assert second["error"]["permitted"] == ["m0", "m1"]
    assert set(second) == {"task", "status", "error"}


# The tool


def test_the_tool_has_the_same_bytes_in_every_process(
    peer: Provider, delegate: Run, tmp_path: Path
) -> None:
    assert delegate("--goal", "x", "--dry-run").code == 0
    texts = {
        in_process_of_its_own(
            "tool", "peers.json", cwd=tmp_path, environment={"PYTHONHASHSEED": seed}
        )
        for seed in ("1", "42")
    }
    (ran,) = texts
    assert (ran.code, ran.err) == (0, "")
    with Delegator(load(tmp_path / "peers.json")) as delegator:
        assert json.loads(ran.out) == delegator.tool()
    properties = json.loads(ran.out)["function"]["parameters"]["properties"]
    assert properties["model"]["enum"] == ["m0", "m1"]
    assert properties["kind"]["enum"] == ["coding", "research"]
    assert peer.requests() == []


def test_what_the_tool_offers_can_be_delegated(delegate: Run, run: Run) -> None:
    properties = json.loads(run("tool", "peers.json").out)["function"]["parameters"]["properties"]
    for model in properties["model"]["enum"]:
        assert delegate(*GOAL, "--model", model, "--dry-run").code == 0
    for kind in properties["kind"]["enum"]:
        assert delegate(*GOAL, "--kind", kind, "--dry-run").code == 0


def test_the_tool_comes_in_the_format_of_an_api(delegate: Run, run: Run, tmp_path: Path) -> None:
    assert delegate(*GOAL, "--dry-run").code == 0
    with Delegator(load(tmp_path / "peers.json")) as delegator:
        for format_ in FORMATS:
            ran = run("tool", "peers.json", "--format", format_)
            assert json.loads(ran.out) == delegator.tool(format=format_)
            strict = run("tool", "peers.json", "--format", format_, "--strict-arguments")
            assert json.loads(strict.out) == delegator.tool(format=format_, strict=True)
    assert run("tool", "peers.json", "--format", "xml").code == 2


# Money.

PRICED = (*GOAL, "--model", "m0")
"""A wish by name has no fallbacks; the fallback of this entry has no price."""


def test_what_may_be_spent_is_said_on_the_command_line(delegate: Run, peer: Provider) -> None:
    ran = delegate(*PRICED, "--max-cost", "0.0001", *JSON)
    assert ran.code == 3
    made = json.loads(ran.out)
    assert made["error"]["code"] == "budget_exceeded"
    assert peer.requests() == []
    ran = delegate(*PRICED, "--max-cost", "1", *JSON)
    assert ran.code == 0
    (result,) = results(ran)
    assert result["overrun_usd"] == 0.0
    assert result["reserved_usd"] >= result["cost_usd"] > 0


def test_a_file_keeps_what_commands_spent(delegate: Run, tmp_path: Path) -> None:
    money = ("--max-cost", "0.0015", "--budget", "money.db")
    runs = [delegate(*PRICED, *money, *JSON) for _ in range(3)]
    assert [ran.code for ran in runs] == [0, 0, 3]
    assert json.loads(runs[2].out)["error"]["code"] == "budget_exceeded"
    spent = sum(result["cost_usd"] for ran in runs for result in results(ran)[:1] if result["text"])
    assert SqliteBudget(tmp_path / "money.db", 0.0015).remaining() == nano(0.0015) - nano(spent)


def test_a_budget_that_cannot_be_used_starts_nothing(
    delegate: Run, peer: Provider, tmp_path: Path
) -> None:
    write(tmp_path, money_txt="no database, and long enough to be told from one" * 20)
    ran = delegate(*GOAL, "--max-cost", "1", "--budget", "money.txt")
    assert (ran.code, ran.out) == (3, "")
    assert "budget_unavailable: the budget cannot be used now" in ran.err
    assert peer.requests() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "money.db"), "--budget: how much may be spent is not said; add --max-cost"),
        (("--max-cost", "-1"), "expected US dollars from 0 to 100,000"),
        (("--max-cost", "much"), "expected US dollars from 0 to 100,000"),
    ],
)
def test_a_budget_needs_an_amount(delegate: Run, words: tuple[str, ...], said: str) -> None:
    ran = delegate(*GOAL, *words)
    assert ran.code == 2
    assert said in ran.err


def test_a_dry_run_says_what_cannot_be_called_now(
    delegate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    ran = delegate(*GOAL, "--dry-run", *JSON)
    assert ran.code == 0
    (result,) = results(ran)
    assert re.fullmatch(
        r"cannot be called now: the key is missing: env:\w+ is not set", result["warnings"][-1]
    )
