"""Conditions as formulas beside the evaluator: each operator, function and macro of the profile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from policy_router import Policy, loads
from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.asking import Asking
from policy_router.cel.evaluate import Truth
from policy_router.decision.request import moment
from tests.support.pinning import pinned, pinned_pieces
from tests.support.rows import each

NOW = moment("2026-01-31T09:00:00Z")
Plain = dict[str, Any]
BASE: Plain = {
    "version": 1,
    "model": "m",
    "provider": "p",
    "providers": {"p": {"base_url": "https://p.example"}},
    "facts": {
        "risk": {"type": "int"},
        "tags": {"type": "list", "default": ["x", "y"]},
        "share": {"type": "double", "default": 1.0},
        "urgent": {"type": "bool", "default": False},
    },
    "tables": {"tiers": {"hr": 1, "it": 2}, "homes": {"hr": "eu", "it": "us"}},
    "variables": {
        "heavy": "size(task.labels.filter(x, caller.roles.exists(y, x == y)))",
        "coding": 'task.kind == "coding"',
        "team": "caller.team",
        "words": 'task.labels + ["x"]',
        "shaky": "1 / parent.depth",
    },
}
REQUESTS: tuple[Plain, ...] = (
    {},
    {"task": {"kind": "coding", "labels": ["a"], "index": 3}, "caller": {"team": "hr"}},
    {
        "task": {"kind": "7", "labels": ["b", "x", "b"], "index": -3},
        "caller": {"team": "7", "roles": ["x"]},
        "facts": {"risk": 2, "urgent": True, "tags": []},
    },
    {
        "task": {"kind": "x", "labels": ["a", "b"], "index": 1, "batch_size": 2},
        "caller": {"team": "x", "roles": ["a", "b1"]},
        "parent": {"depth": 1},
        "budget": {"spent_usd": 1.5},
    },
)


def policy_of(condition: str) -> Policy:
    rule = {"use": "config", "when": condition}
    return loads(json.dumps({**BASE, "precedence": [rule]}))


def wrong(condition: str, requests: Sequence[Plain] = REQUESTS) -> list[str]:
    """Return for which requests the formula does not let the evaluator's answer in, or others."""
    policy = policy_of(condition)
    asking = Asking([policy], now=NOW)
    (walk,) = asking.walks
    when = policy.precedence[0].when
    assert when is not None
    true, false = walk.conditions.condition(when)
    found = []
    for request in requests:
        outcome = Outcome(policy, request, NOW)
        evaluation = outcome.evaluation
        truth = evaluation.truth(when)
        pins = [*pinned(asking, outcome), *pinned_pieces(walk, evaluation)]
        cases = {Truth.TRUE: [true], Truth.FALSE: [false], Truth.ERROR: [-true, -false]}
        if asking.formula.holds([*pins, *cases[truth]]) is not True:
            found.append(f"{truth} is no model for {request}")
        is_open = any(path.startswith("element.") for path in asking.names.terms)
        if is_open or not walk.conditions.is_exact:
            continue
        others = [case for it, case in cases.items() if it is not truth]
        if any(asking.formula.holds([*pins, *case]) is not False for case in others):
            found.append(f"not only {truth} is a model for {request}")
    return found


BOOLS = (
    "facts.urgent || 1 / parent.depth == 1",
    "!facts.urgent && 1 / parent.depth == 1",
    "facts.urgent ? variables.coding : !variables.coding",
    "facts.urgent == variables.coding",
    "facts.urgent != (1 / parent.depth == 1)",
    "has(facts.risk) && facts.risk > 1",
    "variables.shaky == 1 || variables.coding",
    "facts.urgent in [true, variables.coding]",
    'cel.bind(k, task.kind, k == "coding" || k.startsWith("x"))',
    "cel.bind(k, 1 / parent.depth, facts.urgent || k == 1)",
)
TEXTS = (
    *(f'task.kind {sign} "x"' for sign in ("==", "!=", "<", "<=", ">", ">=")),
    *(f'"x" {sign} task.kind' for sign in ("==", "!=", "<", "<=", ">", ">=")),
    *(f"task.kind {sign} caller.team" for sign in ("==", "!=", "<", "<=", ">", ">=")),
    "task.kind < caller.team || caller.team < task.kind",
    "task.kind < task.kind || task.kind <= task.kind",
    *(f'task.kind.{it}("x")' for it in ("startsWith", "endsWith", "contains")),
    'task.kind.startsWith("")',
    "task.kind.startsWith(caller.team)",
    'task.kind.startsWith(variables.coding ? "co" : "7")',
    'caller.team in tables.homes && tables.homes[caller.team].endsWith("u")',
    '(facts.urgent ? "abc" : task.kind).startsWith("a")',
    "task.kind < caller.team || task.kind <= caller.team",
    'variables.coding && "coding" in tables.tiers || task.kind == "x"',
    'task.kind.matches("^[a-z]+$")',
    'task.kind.lowerAscii() == "x" || task.kind.upperAscii().startsWith("CO")',
    'task.kind.trim() < "x"',
    'task.kind + "!" == "x!"',
    'task.kind + caller.team == "xx"',
    'caller.team + task.kind < "cx"',
    'task.kind.replace("x", "7") == "7"',
    'task.kind.indexOf("d") == 2',
    'task.kind.substring(1) == "oding"',
    'task.kind.substring(task.index) == "ing"',
    'task.kind.split("d").size() == 2',
    'task.kind.split("d")[1] == "ing"',
    'task.labels.join("-") == "a-b"',
    'string(task.index) == "3"',
    'bucket("s", task.kind) < 50',
    "bucket(caller.team, task.kind) < 50",
    '(variables.coding ? task.kind : caller.team) == "x"',
    'variables.team == "hr"',
    "variables.team in tables.tiers",
    '"hr" in tables.tiers && caller.team in tables.tiers',
    "caller.team in tables.tiers && tables.tiers[caller.team] == 1",
    'tables.homes["hr"] == task.kind',
)
NUMBERS = (
    "(task.index * parent.depth) % 3 == 2",
    "(task.index * parent.depth) / task.index == 1",
    "cel.bind(k, task.index, k + 1) == 4",
    "(facts.urgent ? 9223372036854775807 : 1) + 1 == 2",
    "variables.heavy + 1 == 1",
    "-variables.heavy == 0",
    "6 / variables.heavy == 6",
    "(facts.urgent ? variables.heavy : 1) == 1",
    '["a", "b"][variables.heavy] == "a"',
    "facts.share in [facts.share * facts.share, 2.0]",
    *(f"task.index {sign} 1" for sign in ("==", "!=", "<", "<=", ">", ">=")),
    *(f"task.index {sign} task.batch_size" for sign in ("==", "!=", "<", "<=", ">", ">=")),
    "task.index == task.index && !(task.index < task.index)",
    "task.index + 1 == 4",
    "1 + task.index < 0",
    "task.index - 1 == 2",
    "1 - task.index > 0",
    "task.index + task.batch_size == 3",
    "task.index + 9223372036854775807 > 0",
    "-task.index == 3",
    "task.index * -2 == 6",
    "2 * task.index > 5",
    "task.index * 0 == 0",
    "task.index * task.index == 9",
    "task.index / 2 == 1",
    "task.index / -1 == 3",
    "task.index / 0 == 1",
    "6 / task.index == 2",
    "-6 / task.index == 2",
    "100 / task.index == 33",
    "7 % task.index == 1",
    "task.index % 2 == 1",
    "task.index % 0 == 1",
    "task.index % task.batch_size == 1",
    "1 / (task.index * task.batch_size) == 0",
    "0 / task.index == 0",
    "(task.index > 1 ? 2 : 0) / 2 == 1",
    "12 / (task.index > 1 ? 2 : task.index) == 6",
    "(variables.coding ? task.index : 5) + 1 == 4",
    "-(variables.coding ? task.index : 5) == -3",
    "int(task.kind) == 7",
    "int(task.index) == 3 && int(2.9) == 2",
    "int(double(task.index)) == 3",
    "double(task.index) > 2.5",
    "double(double(task.index)) <= 1.0",
    "double(task.kind) == 7.0",
    "has(budget.spent_usd) && budget.spent_usd + 1.0 == 2.5",
    "has(budget.spent_usd) && -budget.spent_usd < 0.0",
    "has(budget.spent_usd) && int(budget.spent_usd) == 1",
    "math.least(task.index, 2) == 2",
    "math.greatest(task.index, task.batch_size) == 3",
    "math.least([task.index, 2]) == 1",
    "size(task.labels) > 1",
    "size([]) == 0 && size(task.labels) == 3",
    "size([task.kind]) == 1",
    "size([task.labels[0]]) == 1",
    "size(variables.words) == 2",
    'size(task.labels.filter(x, x != "a")) == 1',
    "[1, 2, 3][task.index] == 2",
    "[1, 1 / parent.depth][0] == 1",
)
TIMES = (
    'duration("1h") > duration("1m") && now.getHours() > 3',
    'duration("1h") < duration("1m") || now.getHours() > 3',
    'duration("1" + "z") > duration("1m") || now.getHours() > 12',
    'now < timestamp("2030-01-01T00:00:00Z")',
    "now.getHours() == 9",
    'now.getHours("+01:00") == 10',
    "timestamp(task.kind) < now",
    'now - duration("1h") < timestamp("2026-01-31T09:00:00Z")',
    'now + duration("1h") > now',
    'duration(task.kind) < duration("1h")',
    "duration(task.kind).getHours() == 0",
    'int(now) > 0 && string(now).startsWith("2026")',
    'timestamp("2030-01-01T00:00:00Z").getFullYear() == 2030',
    '(facts.urgent ? now : timestamp("2020-01-01T00:00:00Z")) < now',
)
LISTS = (
    'sets.contains(task.kind.split(","), ["x"])',
    '"x" in task.labels + task.kind.split(",")',
    '(facts.urgent ? "hr" : "zz") in tables.tiers && tables.tiers[facts.urgent ? "hr" : "zz"] == 1',
    'task.labels.map(x, x == "a").exists(x, x)',
    '(variables.words + cel.bind(k, task.labels, k)).filter(x, x > "a").exists(y, y == "x")',
    '"a" in task.labels',
    'task.kind in ["x", "y"]',
    'task.kind in [caller.team, "coding"]',
    'task.kind in [task.labels[0], "coding"]',
    "task.kind in task.labels",
    "task.kind in (facts.urgent ? task.labels : caller.roles)",
    '"x" in variables.words',
    "task.kind in task.labels + caller.roles",
    '"x" in facts.tags',
    "task.index in [1, 2]",
    "1 in [task.index, 2]",
    'task.kind in task.kind.split(",")',
    'task.kind.split(",")[0] in ["x"]',
    '"x" in cel.bind(k, task.labels, k)',
    "task.labels == [] || [] != caller.roles",
    "task.labels == caller.roles",
    'task.labels == ["a", "b"]',
    "[task.kind] == [caller.team]",
    "(facts.urgent ? task.labels : caller.roles) == []",
    *(f'sets.{it}(task.labels, ["a", "b"])' for it in ("contains", "intersects")),
    *(f'sets.{it}(["a", "b"], task.labels)' for it in ("contains", "intersects")),
    *(f"sets.{it}(task.labels, caller.roles)" for it in ("contains", "intersects")),
    *(f"sets.{it}([task.index, 1], [1])" for it in ("contains", "intersects")),
    *(f"sets.{it}(task.labels, [task.kind])" for it in ("contains", "intersects")),
    *(f"sets.{it}([task.labels[0]], [])" for it in ("contains", "intersects")),
    '(task.labels + caller.roles)[0] == "a"',
    'task.labels[0] == "a"',
    'task.labels[-1] == "a"',
    'task.labels[task.index] == "b"',
    '["p", task.kind, task.labels[0]][task.index] == "x"',
    '(facts.urgent ? ["p"] : ["q", "r"])[task.index] == "r"',
    'task.kind.split("d")[task.index] == "x"',
    'task.labels[task.index * task.index] == "b"',
)
LOOPS = (
    'task.labels.filter(x, x != "a").exists(y, caller.roles.exists(x, x != y))',
    *(f'task.labels.{it}(x, x == "a")' for it in ("all", "exists", "exists_one")),
    *(f"task.labels.{it}(x, 1 / size(x) == 1)" for it in ("all", "exists", "exists_one")),
    *(f"task.labels.{it}(x, 7 / int(x) == 1)" for it in ("all", "exists", "exists_one")),
    *(f'["a", task.kind].{it}(x, x == "a")' for it in ("all", "exists", "exists_one")),
    *(f'[task.labels[0], "a"].{it}(x, x == "a")' for it in ("all", "exists", "exists_one")),
    *(f"[1, 1 / parent.depth].{it}(x, x == 1)" for it in ("all", "exists", "exists_one")),
    *(f"[facts.urgent, variables.shaky == 1].{it}(x, x)" for it in ("all", "exists")),
    *(f'variables.words.{it}(x, x == "a")' for it in ("all", "exists", "exists_one")),
    *(f'task.labels.filter(x, x != "b").{it}(y, y == "a")' for it in ("all", "exists")),
    *(f'task.labels.map(x, x + "1").{it}(y, y == "b1")' for it in ("all", "exists")),
    'task.labels.filter(x, x != "b").exists_one(y, y == "a")',
    "task.labels.map(x, size(x)).exists(y, y == 1)",
    'task.labels.filter(x, 1 / size(x) == 1).all(y, y == "a")',
    'task.kind.split(",").exists(x, x == "x")',
    "task.labels.exists(x, caller.roles.exists(y, x == y))",
    "task.labels.all(x, caller.roles.exists(y, x <= y))",
    '"a" in task.labels.filter(x, x != "b")',
    'task.kind in task.labels.map(x, x == "a" ? "x" : "y")',
    "1 in task.labels.map(x, size(x))",
    '"a" in task.labels.map(x, task.labels[1])',
    "caller.roles[0] in task.labels.filter(x, facts.urgent)",
    'caller.roles[0] in task.labels.map(x, x + "1")',
    'task.labels.map(x, x + "1").exists(y, caller.roles.exists(x, x == y))',
    'task.labels.filter(x, x != "q").exists(y, caller.roles.exists(x, x == y))',
    "task.labels.exists(x, cel.bind(k, x, caller.roles.exists(y, y == k)))",
    'task.labels.map(x, x == "a" ? "x" : "b1").exists(y, caller.roles.exists(x, x == y))',
    'task.labels.filter(x, x != "a").exists(y, caller.roles.exists(x, x == y))',
    'task.labels.filter(x, x != "a").exists(y, cel.bind(x, task.kind, x == y))',
    'caller.roles[0] in task.labels.map(x, x == "a" ? "x" : "y")',
    '"a" in (task.labels + [task.labels[0]]).filter(x, facts.urgent)',
    "cel.bind(k, task.labels, k.exists(x, x == task.kind))",
    '(variables.coding ? task.labels : ["p", "q"]).all(x, x != "a")',
    'task.kind in cel.bind(k, task.labels, k + ["x"])',
    "task.labels.exists(x, x in caller.roles)",
    "task.kind in tables.tiers && task.labels.exists(x, tables.tiers[task.kind] == size(x))",
)  # fmt: skip

FAILING = (
    "task.labels[0] in tables.tiers",
    '(facts.urgent ? [task.labels[0]] : ["b"]).exists(x, x == "a")',
    "([task.labels[0]] + task.labels).all(x, x == x)",
    '([task.labels[0]] + caller.roles)[1] == "a"',
    "sets.contains(task.labels, []) && !sets.intersects([], task.labels)",
    "sets.intersects([], [task.labels[0]])",
    'task.labels.filter(x, x != "a")[0] == "b"',
    'cel.bind(k, task.labels[0], facts.urgent || k == "a")',
    'cel.bind(k, task.labels.filter(x, x != "a"), k.exists(y, y == "b"))',
    'task.labels.map(x, task.labels[1]).all(y, y == "a")',
    'task.labels.filter(x, x in [task.labels[2]]).exists(y, y == "b")',
    '[task.labels[0]].map(x, "q").exists(y, y == "q")',
    "[1 / parent.depth].filter(x, true).all(y, y == 1)",
    '(task.labels + [task.labels[0]]).exists(x, x == "b")',
    "size([1 / parent.depth, 2]) == 2",
    "math.least([1, 1 / parent.depth]) == 1",
    "task.kind in [task.kind, task.labels[0]]",
    "[facts.urgent, 1 / parent.depth == 1][0]",
    "[task.labels[0]] + [] == []",
    "(task.labels + caller.roles) != []",
    '"x" in [task.labels[0]].filter(x, facts.urgent)',
    "task.index in [1, 2, 3].filter(x, x > 1)",
    '"x" in (facts.urgent ? task.labels : [task.labels[0]])',
    "has(facts.risk) && [facts.risk, 1 / parent.depth][0] == 2",
    'variables.shaky in [1] || ["a"].exists(x, x == task.labels[0])',
    '[].all(x, x == task.labels[0]) || [task.labels[0]] == ["a"]',
    '["a"].filter(x, x == "b").all(y, y == task.labels[0])',
    'task.labels.filter(x, x == "q").exists(y, y == caller.roles[0])',
    "[1, 2].map(x, x + 1).exists(y, y == task.index)",
    '["a", "b"].map(x, x == task.kind ? 1 : 2).all(y, y > 1 / parent.depth)',
    "(facts.urgent ? 1 / parent.depth : 2) == 2",
    "(1 / parent.depth == 1 ? task.labels : caller.roles) == []",
    '(1 / parent.depth == 1 ? task.kind : caller.team) in ["x"]',
    "(1 / parent.depth == 1 ? task.index : 3) * 2 == 6",
    "!(1 / parent.depth == 1) == !facts.urgent",
    'string(1 / parent.depth) == "1"',
    'task.labels[1 / parent.depth] == "b"',
    "[4, 5][1 / parent.depth] == 5",
    'size(task.labels[0]) == 1 && bucket("s", task.labels[0]) < 100',
    "double(1 / parent.depth) == 1.0 || facts.share > 0.5",
    "math.greatest(1 / parent.depth, 7) == 7",
    'task.labels[0].startsWith("") && task.labels[0].contains(task.labels[1])',
    "-(1 / parent.depth) == -1 || 5 % task.index == 2",
)
"""Where an operand, an element or a list can fail."""
LOOSE = (
    'task.kind.replace("x", caller.team) == "x" && task.kind + "" != caller.team + ""',
    "size(task.kind) == task.index",
    "has(budget.spent_usd) && budget.spent_usd > double(task.index)",
)
"""What the formula compares and a request cannot pin: more than the evaluator's answer fits."""
LONG: Plain = {"task": {"labels": [str(it) for it in range(1000)]}}


@pytest.mark.parametrize("condition", [*BOOLS, *TEXTS, *NUMBERS, *TIMES, *LISTS, *LOOPS, *FAILING])
def test_a_condition_comes_to_what_the_evaluator_says(condition: str) -> None:
    assert wrong(condition) == []


@each("condition", LOOSE)
def test_what_cannot_be_pinned_lets_the_answer_of_the_evaluator_in(condition: str) -> None:
    assert not [it for it in wrong(condition) if "is no model" in it]


def test_lists_that_are_too_long_together_fail() -> None:
    many = " + ".join(["task.labels"] * 11)
    assert wrong(f'"a" in {many}', [LONG, REQUESTS[1]]) == []


@pytest.mark.parametrize(
    "condition",
    [
        'task.labels.exists(x, x == "a" || x == "b")',
        'cel.bind(k, task.kind, k == "a" || k == "x")',
        'cel.bind(k, task.kind, k == "a" ? k : "x") == "x"',
        '"x" in cel.bind(k, task.kind, k == "a" ? [k] : ["x"])',
        'task.labels.exists(x, x == task.kind) && task.labels.exists(y, y == "b") && "a" < "b"',
    ],
)
def test_a_piece_that_is_too_large_is_left_open(
    condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("conditions", "loops", "trees"):
        monkeypatch.setattr(f"policy_router.analysis.proof.{module}.MOST_PIECES", 3)
    assert wrong(condition) == []
