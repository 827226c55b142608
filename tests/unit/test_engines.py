"""Which engine evaluates the conditions of a policy, and that it does not matter."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from policy_router import decide, loads
from policy_router.cli import main
from policy_router.runtime import loader

pytest.importorskip("cel_expr_python")

TEXT = """
version: 1
name: both
facts: {risk: {type: int}}
variables: {careful: "has(facts.risk) && 10 / facts.risk > 2"}
pool:
  - {model: a, pick: variables.careful, price: {output: 2.0}}
  - {model: b, pick: 'task.kind == "x"', price: {output: 1.0}}
forbid: [{when: 'target.model == "b" && bucket("s", caller.id) < 50'}]
precedence:
  - {use: pool, order_by: 'has(target.price.output) ? target.price.output : 9.0'}
  - {use: parent}
"""
REQUESTS = [
    {"task": {"kind": "x"}, "facts": {"risk": risk}, "caller": {"id": f"u-{number}"}}
    for number in range(8)
    for risk in (0, 1, 9)
]


def test_both_engines_decide_the_same() -> None:
    policies = [loads(TEXT, engine=engine) for engine in loader.ENGINES[1:]]
    assert len({policy.revision for policy in policies}) == 1
    for request in REQUESTS:
        one, other = (decide(policy, request, now="2026-01-01T00:00:00Z") for policy in policies)
        assert (one.decision, one.steps) == (other.decision, other.steps)


def test_a_record_names_its_engine() -> None:
    for engine in loader.ENGINES[1:]:
        record = decide(loads(TEXT, engine=engine), {}, now="2026-01-01T00:00:00Z")
        assert record.engine.cel.startswith(f"{engine} ")


def test_an_unknown_engine_is_an_error() -> None:
    with pytest.raises(ValueError, match="auto, cel-python, cel-expr-python"):
        loads(TEXT, engine="cel-go")


def test_the_fast_engine_is_chosen_where_it_is_installed() -> None:
    for policy in (loads(TEXT), loads(TEXT, engine="auto")):
        assert policy.engine.name.startswith("cel-expr-python ")


@pytest.fixture
def without_the_fast_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "policy_router.expressions.cel_expr", raising=False)
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    loader._engine.cache_clear()  # noqa: SLF001 - another test may have used the engine
    yield
    loader._engine.cache_clear()  # noqa: SLF001 - and another one may want to


@pytest.mark.usefixtures("without_the_fast_engine")
def test_the_portable_engine_is_chosen_where_the_fast_one_is_not_installed() -> None:
    assert loads(TEXT).engine.name.startswith("cel-python ")


@pytest.mark.usefixtures("without_the_fast_engine")
def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["check", "rules/examples/hermes.yaml", "--engine", "cel-expr-python"]
    assert main(words) == 2
    assert "policy-router[fast]" in capsys.readouterr().err


def test_a_broken_engine_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "policy_router.expressions.cel_expr", None)
    loader._engine.cache_clear()  # noqa: SLF001 - another test may have used the engine
    with pytest.raises(ImportError, match="cel_expr"):
        loads(TEXT)
