"""What users import, and what they may rely on about it."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import policy_router
import policy_router.log
from policy_router import (
    NoTarget,
    PolicyError,
    PolicyRouterError,
    ProviderError,
    RecordError,
    RequestError,
    Router,
    loads,
)
from policy_router.version import VERSION
from tests.support.rows import each

MOST = 25


DECLARED_WITH = {"TYPE_CHECKING"}
"""The names by which those that are imported later are declared."""


def exported(package: types.ModuleType) -> list[str]:
    """Return the public names of a package that are not modules."""
    public = {name for name in dir(package) if not name.startswith("_")} - DECLARED_WITH
    return sorted(
        name for name in public if not isinstance(getattr(package, name), types.ModuleType)
    )


def test_the_public_names_are_those_exported_sorted_and_few() -> None:
    assert policy_router.__all__ == exported(policy_router)
    assert len(policy_router.__all__) <= MOST


@pytest.mark.slow
def test_a_public_name_is_imported_once() -> None:
    program = (
        "import policy_router\n"
        "assert 'decide' not in vars(policy_router)\n"
        "assert policy_router.decide is vars(policy_router)['decide']\n"
        "from policy_router import *\n"
        "from policy_router.decision import evaluator\n"
        "assert decide is evaluator.decide\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own program


def test_the_public_names_of_logs_are_those_exported_and_sorted() -> None:
    assert policy_router.log.__all__ == exported(policy_router.log)


def test_the_package_is_typed() -> None:
    assert Path(policy_router.__file__).with_name("py.typed").is_file()


def test_the_version_is_that_of_the_distribution() -> None:
    try:
        installed = importlib.metadata.version("policy-router")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the distribution is not installed")
    assert installed == VERSION


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+|\.dev\d+)?", VERSION)


def test_every_public_name_and_method_has_a_docstring() -> None:
    values = {name: getattr(policy_router, name) for name in policy_router.__all__}
    methods = {
        f"{name}.{method}": value
        for name in policy_router.__all__
        for method, value in inspect.getmembers(values[name], inspect.isfunction)
        if not method.startswith("_")
    }
    assert methods
    assert [name for name, value in (values | methods).items() if not inspect.getdoc(value)] == []


@each("name", ["decide", "permitted", "explain", "load", "loads", "check"])
def test_every_argument_of_a_public_function_is_documented(name: str) -> None:
    function = getattr(policy_router, name)
    documented = inspect.getdoc(function) or ""
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"^\s+{argument}: ", documented, re.MULTILINE), argument


@pytest.mark.slow
def test_what_delegates_is_imported_when_it_is_asked_for_and_the_sdk_is_not() -> None:
    program = (
        "import sys, policy_router\n"
        "print('policy_router.calls.executor' in sys.modules)\n"
        "from policy_router import Delegator, Executor, Reply\n"
        "print(*(name in sys.modules for name in ('openai', 'httpx2', 'pydantic')))\n"
    )
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=60
    )
    assert ran.stdout.decode().split() == ["False"] * 4


FIRST_DECISIONS = """
import sys, policy_router
policy = policy_router.loads(sys.argv[1])
before = set(sys.modules)
requests = [
    {},
    {"task": {"kind": "math", "labels": ["pii"], "model": "b", "reasoning_effort": "high"}},
    {"task": {"model": "none"}, "parent": {"model": "p", "provider": "q"}},
    {"facts": {"region": "eu", "tags": ["a"]}, "budget": {"remaining_usd": 0}},
    {"call": {"model": "c"}, "caller": {"id": "x", "roles": ["admin"]}},
]
records = [
    policy_router.decide(policy, request, now=now)
    for request in requests
    for now in ("2026-01-31T09:00:00Z", "2026-01-31T11:00:00.5+02:00")
]
assert {record.decision.outcome for record in records} == {"selected", "refused"}
assert all(record.to_json() for record in records)
print(*sorted(set(sys.modules) - before))
"""
POLICY = """
model: a
provider: main
facts: {region: {type: string, default: eu}, tags: {type: list, default: []}}
variables:
  late: now.getHours("+02:00") > 9 || now - duration("1h") > timestamp("2026-01-31T08:00:00Z")
pool:
  - model: a
    pick: bucket("s", caller.id) < 50 && task.kind.matches("^m")
    limits: {temperature: {max: 1}}
  - {model: b, allow: 'variables.late && facts.tags.all(t, t.startsWith("a"))', fallback: [a]}
  - {model: c, allow: 'int("x" + string(parent.depth)) == 1'}
forbid:
  - when: '"pii" in task.labels && target.model == "b"'
precedence: strict
"""


@pytest.mark.slow
def test_deciding_imports_nothing_once_a_policy_is_loaded() -> None:
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", FIRST_DECISIONS, POLICY], capture_output=True, check=True
    )
    assert ran.stdout.decode().split() == []


def test_there_are_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Delegate'"):
        policy_router.Delegate  # noqa: B018 - it raises


@each("error", [PolicyError, RequestError, RecordError, NoTarget, ProviderError])
def test_every_exception_is_one_of_ours(error: type[Exception]) -> None:
    assert issubclass(error, PolicyRouterError)


def test_a_router_decides_at_the_time_of_its_clock() -> None:
    times = iter(["2026-01-31T09:00:00Z", "2026-02-01T09:00:00Z"])
    policy = loads("model: m\nprovider: p")
    router = Router(policy, clock=lambda: next(times))  # type: ignore[arg-type,return-value]
    assert router.policy is policy
    assert router.decide({}).now == "2026-01-31T09:00:00Z"
    assert router.target({}).model == "m"
    assert next(times, None) is None


def test_a_router_has_the_systems_clock_unless_it_is_given_another() -> None:
    record = Router(loads("model: m")).decide({})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", record.now)


def test_a_refusal_where_a_target_is_needed_carries_the_record() -> None:
    router = Router(loads("precedence: [{use: config}]"))
    with pytest.raises(NoTarget) as caught:
        router.target({})
    assert caught.value.record.decision.outcome == "refused"
    assert str(caught.value) == "no_target: no rule selects a target"


def test_no_target_of_a_record_that_selects_has_words_too() -> None:
    record = Router(loads("model: m\nprovider: p")).decide({})
    assert str(NoTarget(record)) == "no target"
