"""One policy for many threads, many policies in one process, and no trace left in the process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from policy_router import Router, decide, explain, load, loads
from tests.support.commands import NOW, ROOT, STRICT

THREADS = 8
POLICY = """\
version: 1
name: threads
model: even
provider: p
facts: {n: {type: int, default: 0}}
variables:
  rest: facts.n % 4
  odd: variables.rest == 1 || variables.rest == 3
pool:
  - {model: even}
  - {model: one, pick: variables.rest == 1}
  - {model: three, pick: "variables.odd && task.labels.exists(l, l == 'three')"}
  - {model: late, allow: parent.depth < 2}
precedence: strict
"""


def request_of(number: int) -> dict[str, Any]:
    labels = ["x", "three"] if number % 4 == 3 else ["x"]
    request: dict[str, Any] = {"task": {"labels": labels}, "facts": {"n": number}}
    if number % 10 == 9:
        request |= {"call": {"model": "late"}, "parent": {"depth": number % 4}}
    return request


def answer_to(number: int) -> str | None:
    if number % 10 == 9:
        return "late" if number % 4 < 2 else None
    return ("even", "one", "even", "three")[number % 4]


def test_threads_share_a_policy_and_get_the_right_answers() -> None:
    policy = loads(POLICY)
    start = threading.Barrier(THREADS)

    def work(first: int) -> list[int]:
        start.wait(20)
        wrong = []
        for number in range(first, 4000, THREADS):
            target = decide(policy, request_of(number), now=NOW).decision.target
            if (target.model if target else None) != answer_to(number):
                wrong.append(number)
        return wrong

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            assert [n for wrong in threads.map(work, range(THREADS)) for n in wrong] == []
    finally:
        sys.setswitchinterval(interval)


def test_threads_can_load_and_explain_at_the_same_time() -> None:
    start = threading.Barrier(THREADS)

    def work(number: int) -> tuple[str, str]:
        start.wait(20)
        policy = loads(POLICY)
        record = decide(policy, request_of(3), now=NOW)
        return policy.revision, str(explain(policy, record, why_not=("late", "one")[number % 2]))

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(work, range(THREADS)))
    assert len({revision for revision, _ in found}) == 1
    assert len({page for _, page in found}) == 2


def test_two_policies_in_one_process_do_not_touch_each_other() -> None:
    one = loads(
        "version: 1\nname: one\nmodel: a\nprovider: p\nfacts: {x: {type: int, default: 1}}\n"
    )
    first = decide(one, {}, now=NOW).to_json()
    other = loads(
        "version: 1\nname: two\nmodel: b\nprovider: p\nfacts: {x: {type: string, default: y}}\n"
        "variables: {z: facts.x == 'y'}\nforbid: [{id: f, when: variables.z}]\n"
    )
    assert decide(other, {}, now=NOW).decision.outcome == "refused"
    assert decide(one, {}, now=NOW).to_json() == first
    assert decide(one, {"facts": {"x": 2}}, now=NOW).decision.outcome == "selected"


def test_a_request_that_is_changed_later_changes_no_record() -> None:
    request = {"task": {"kind": "coding", "labels": ["x"]}}
    record = decide(loads(STRICT), request, now=NOW)
    before = record.to_json()
    request["task"]["labels"].append("y")  # type: ignore[attr-defined]
    request["task"]["kind"] = "other"
    assert record.to_json() == before


def test_a_record_cannot_be_changed() -> None:
    record = decide(loads(STRICT), {"task": {"kind": "coding"}}, now=NOW)
    with pytest.raises(AttributeError):
        record.now = ""  # type: ignore[misc]
    with pytest.raises(TypeError):
        record.request["task"]["kind"] = "other"
    with pytest.raises(TypeError):
        record.request["task"] = {}
    assert record.decision.target
    with pytest.raises(TypeError):
        record.decision.target.parameters["a"] = 1


def test_the_process_is_left_as_it_was() -> None:
    root = logging.getLogger()

    def state() -> tuple[Any, ...]:
        levels = [logging.getLogger(name).level for name in ("celpy", "lark", "asyncio")]
        return sys.getrecursionlimit(), root.level, list(root.handlers), root.disabled, levels

    before = state()
    policy = load(ROOT / "rules/starter.yaml")
    record = decide(policy, {"task": {"kind": "coding"}}, now=NOW)
    str(explain(policy, record, why_not="small"))
    assert state() == before


def test_a_router_tells_the_time_of_its_clock() -> None:
    router = Router(loads(STRICT))
    assert router.decide({}).now.endswith("Z")


PROBE = """
import json, logging, sys
before = (sys.getrecursionlimit(), logging.root.level, len(logging.root.handlers))
import policy_router
print(json.dumps([name for name in NAMES if name in sys.modules]))
policy = policy_router.loads(TEXT)
policy_router.decide(policy, {"task": {"kind": "coding"}}, now="2026-01-31T09:00:00Z")
after = (sys.getrecursionlimit(), logging.root.level, len(logging.root.handlers))
print(json.dumps([name for name in NAMES if name in sys.modules]))
print(json.dumps(before == after))
"""


def test_importing_is_light_and_deciding_needs_no_sdk(tmp_path: Path) -> None:
    heavy = ["openai", "httpx", "httpx2", "requests", "urllib3", "anthropic"]
    lazy = ["lark", "celpy", "re2", "yaml", "jsonschema"]
    script = f"NAMES = {heavy + lazy!r}\nTEXT = {STRICT!r}\n{PROBE}"
    done = subprocess.run(  # noqa: S603 - the script is above
        [sys.executable, "-c", script], capture_output=True, cwd=tmp_path, check=True, timeout=60
    )
    imported, used, unchanged = map(json.loads, done.stdout.splitlines())
    assert imported == []
    assert set(used) <= set(lazy)
    assert unchanged
