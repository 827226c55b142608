"""Questions to a solver: a request is shown that the evaluator confirms, or the reason is said."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import pytest

from policy_router import Policy, loads
from policy_router.analysis import analyze, compare
from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof import asking as asking_module
from policy_router.analysis.proof import loops as loops_module
from policy_router.analysis.proof.asking import Answer, Answered, Asking, Question
from policy_router.analysis.proof.names import text_name
from policy_router.analysis.proof.refining import EXHAUSTED, NOT_FOLLOWED, Refining
from policy_router.analysis.proof.solver import Formula
from policy_router.cel.simplify import literal
from policy_router.decision.request import moment
from policy_router.domain import PoolEntry
from tests.support.pinning import pinned
from tests.support.rows import each

NOW = moment("2026-01-31T09:00:00Z")
Plain = dict[str, Any]
BASE: Plain = {
    "version": 1,
    "model": "m",
    "provider": "p",
    "providers": {"p": {"base_url": "https://p.example"}},
    "facts": {
        "urgent": {"type": "bool", "default": False},
        "share": {"type": "double", "default": 0.5},
        "risk": {"type": "int"},
        "tags": {"type": "list", "default": ["x", "y"]},
    },
}


def policy_of(condition: str, **more: Any) -> Policy:
    precedence = [{"use": "config", "when": condition}]
    return loads(json.dumps({**BASE, "precedence": precedence, **more}))


def asking_of(policy: Policy) -> tuple[Asking, Question]:
    """Ask whether the condition of the first rule is ever true."""
    asking = Asking([policy], now=NOW)
    (walk,) = asking.walks
    when = policy.precedence[0].when
    assert when is not None
    true, _ = walk.conditions.condition(when)
    return asking, Question(
        "it", true, lambda outcomes: outcomes[0].evaluation.evaluate(when) is True
    )


def ask(condition: str, *, small: bool = False, **more: Any) -> Answered:
    asking, question = asking_of(policy_of(condition, **more))
    return asking.ask(question, small=small)


CAN = (
    "has(facts.risk) && facts.risk * task.index == 6",
    "!has(facts.risk) && task.index * parent.depth == 6",
    "facts.urgent != (task.index * parent.depth == 6)",
    "facts.urgent",
    "facts.urgent && !facts.urgent || facts.share > 0.75",
    "facts.share > 0.1 && facts.share < 0.1001",
    "facts.share * facts.share == 0.25",
    "facts.share != 0.5 && facts.share * 2.0 == 1.0 || facts.share > 7.0",
    'task.kind == caller.team && caller.team == caller.id && task.kind.startsWith("q")',
    "task.kind == caller.team && task.kind != caller.id",
    'task.kind.startsWith("q") && task.kind.endsWith("z") && task.kind.contains("xy")',
    'task.kind > "m" && task.kind < "mb"',
    'task.kind < "m" && task.kind > "kz"',
    'task.kind < "a" && task.kind != ""',
    'task.kind.contains("a") && !task.kind.startsWith("a") && !task.kind.endsWith("a")',
    'task.kind.size() == 2 && task.kind != "10" && task.kind != "-1"',
    'task.kind.lowerAscii() == "a" && task.kind != "a"',
    "task.index == parent.depth && task.index > 5",
    "task.index < parent.depth && parent.depth < task.batch_size && task.batch_size < 9",
    "task.index % 7 == 5",
    "task.index % 7 == 5 && task.index % 11 == 3 && task.index > 20",
    "facts.share < double(task.index) && task.index < 1",
    'has(facts.risk) && string(facts.risk) == "-1"',
    'task.labels.join("-") == "b-a"',
    'size(task.labels) == 3 && "a" in task.labels && "b" in task.labels',
    "size(task.labels) > 1200 || size(task.labels) == 1000",
    'task.labels.exists(x, x != "a") && "a" in task.labels',
    "task.kind in task.labels && task.labels.all(x, x in caller.roles)",
    "now.getHours() == 3 && now.getDayOfWeek() == 2",
    "now.getFullYear() == 2031",
    'now > timestamp("2030-01-01T00:00:00Z")',
    'now != timestamp("2026-01-31T09:00:00Z") && now.getMinutes() == 7',
    "1 / parent.depth == 1 && size(facts.tags) == 2",
    "timestamp(task.kind) < now && now < timestamp(caller.team)",
    'timestamp(task.kind) > now && timestamp(task.kind) < timestamp("2030-01-01T00:00:00Z")',
    'timestamp(task.kind) > timestamp("9999-12-31T23:59:59.999999Z")',
    'int(task.kind) == 7 && task.kind != "7"',
    'task.labels[3] == "a" && task.labels[1] == "b"',
    "task.labels == caller.roles && task.labels != []",
    'task.labels == [task.kind, "b"] && task.kind != "b"',
    'task.labels.exists(x, x + task.kind == "ab")',
    "task.labels.exists(x, int(x) < -1) && !task.labels.all(x, int(x) < 9)",
    'task.labels.filter(x, x != "a").size() == 2 && "a" in task.labels',
    "task.labels.exists_one(x, int(x) > 3) && size(task.labels) > 1",
    '"b1" in task.labels.map(x, x + "1")',
    '!("a" in task.labels.filter(x, int(x) > 1)) && size(task.labels) > 1',
    "!task.labels.filter(x, int(x) > 1).exists(y, y in caller.roles) && task.labels != []",
)


@each("condition", CAN)
def test_a_request_is_shown_that_the_evaluator_confirms(condition: str) -> None:
    answered = ask(condition)
    assert answered.answer is Answer.CAN
    assert answered.example is not None


NEVER = (
    'task.kind.startsWith("q") && task.kind == "x"',
    "task.index % 7 == 5 && task.index == 13",
    'task.kind.lowerAscii() == "a" && task.kind == "b"',
    'task.kind + "!" == "a?" && task.kind == "a"',
    "facts.urgent && task.index + task.batch_size == 5 && task.index == 2 && task.batch_size == 2",
    "facts.share * facts.share == 9.0 && facts.share == 2.0",
    "bucket(caller.team, caller.id) > 99",
    'task.kind < ""',
    'task.kind + "1" == "a" || "a" + task.kind + "b" == "a"',
    "int(task.kind) > 1 && timestamp(task.kind) < now",
    'task.labels[1] == "a" && size(task.labels) < 2',
    'task.labels == ["a"] && task.labels[0] == "b"',
    'task.labels == caller.roles && "a" in task.labels && !("a" in caller.roles)',
    'task.labels.filter(x, x == "a").size() == 1 && !("a" in task.labels)',
    'task.labels.filter(x, x != "a").size() == 3 && size(task.labels) == 3 && "a" in task.labels',
    'task.labels.exists_one(x, x == "a") && task.labels[0] == "a" && task.labels[1] == "a"',
    '"a" in task.labels.filter(x, int(x) > 1)',
)


@each("condition", NEVER)
def test_what_is_refuted_by_evaluating_pieces_never_happens(condition: str) -> None:
    assert ask(condition).answer is Answer.NEVER


UNDECIDED = (
    (
        "(has(facts.risk) ? facts.risk : 1) * task.index == 7",
        "(has(facts.risk) ? facts.risk : 1) * task.index",
    ),
    (
        "(facts.urgent ? task.index : parent.depth) * task.batch_size == 6",
        "(facts.urgent ? task.index : parent.depth) * task.batch_size",
    ),
    (
        "facts.share != 0.5 && facts.share * double(task.index) == 4.0",
        "facts.share * double(task.index) == 4.0",
    ),
    (
        'size(task.labels + task.kind.split(",")) == 3',
        'size(task.labels + task.kind.split(","))',
    ),
    pytest.param(
        'task.kind.matches("^q{30}$")',
        "what is asked of `task.kind` is not understood",
        marks=pytest.mark.slow,
    ),
    ('string(task.index) == "123456"', "what is asked of `task.index` is not understood"),
    ("task.index * task.batch_size == 391", "task.index * task.batch_size"),
    ('(task.kind + caller.team).matches("^q{9}$")', '(task.kind + caller.team).matches("^q{9}$")'),
    pytest.param(
        "now.getFullYear() == 9000",
        "what is asked of `now` is not understood",
        marks=pytest.mark.slow,
    ),
    (
        'task.labels.join("-") == "a-a" && "a" in task.labels',
        "what is asked of `task.labels` is not understood",
    ),
)


@pytest.mark.parametrize(("condition", "cause"), UNDECIDED)
def test_what_is_not_understood_is_undecided(condition: str, cause: str) -> None:
    answered = ask(condition)
    assert answered.answer is Answer.UNDECIDED
    assert answered.cause is not None
    assert answered.cause.text == cause


def test_an_example_is_as_small_as_it_goes_and_at_the_usual_time() -> None:
    answered = ask('size(task.labels) > 1 && "a" in task.labels && caller.team != ""', small=True)
    assert answered.example is not None
    assert answered.example.now == "2026-01-31T09:00:00Z"
    assert {*answered.example.request} == {"task", "caller"}
    assert len(answered.example.request["task"]["labels"]) == 2


def test_a_known_request_is_shown_and_made_smaller() -> None:
    asking, question = asking_of(policy_of('task.kind == "a" || now.getHours() == 3'))
    then = NOW + datetime.timedelta(hours=1)
    wishes = {"temperature": 0.5, "top_p": 0.5}
    request = {"task": {"kind": "a", "labels": ["b", "c"], "parameters": wishes}}
    asking.known["it"] = [({"task": {"kind": 7}}, NOW), (request, then)]
    answered = asking.ask(question)
    assert answered.example is not None
    assert answered.example.request == {"task": {"kind": "a"}}
    assert answered.example.now == "2026-01-31T09:00:00Z"
    assert asking.ask(question) is not answered  # with the key that is asked for now
    assert asking.ask(question) == answered


def test_a_request_that_breaks_an_assumption_is_no_example() -> None:
    policy = policy_of("parent.depth > 3", assume=["parent.depth < 9"])
    asking, question = asking_of(policy)
    assert asking.outcomes({"parent": {"depth": 9}}, NOW) is None
    assert asking.outcomes({"parent": {"depth": "9"}}, NOW) is None
    answered = asking.ask(question)
    assert answered.example is not None
    assert 3 < answered.example.request["parent"]["depth"] < 9


def test_of_two_parameters_the_one_that_does_not_matter_is_left_out() -> None:
    asking, _ = asking_of(policy_of("true"))
    wishes = {"temperature": 0.5, "top_p": 0.5}
    question = Question(
        "it", 1, lambda outcomes: "top_p" in outcomes[0].evaluation.values["task"]["parameters"]
    )
    asking.known["it"] = [({"task": {"parameters": wishes}}, NOW)]
    answered = asking.ask(question)
    assert answered.example is not None
    assert answered.example.request == {"task": {"parameters": {"top_p": 0.5}}}


def test_nothing_is_learnt_of_a_request_that_does_not_fit() -> None:
    asking, _ = asking_of(policy_of("task.index * parent.depth == 6"))
    refining = Refining(asking.names, asking.walks)
    learnt = refining.learn([0], {"task": {"index": "six"}}, NOW)
    assert (learnt.cause, learnt.is_new) == (NOT_FOLLOWED, False)


def test_a_list_that_a_variable_makes_is_looked_at() -> None:
    variables = {"words": 'task.labels.filter(x, x != "a")'}
    for condition, answer in (
        ('"b" in variables.words', Answer.CAN),
        ('"a" in variables.words', Answer.NEVER),
        ('variables.words.exists(x, x == "a")', Answer.NEVER),
    ):
        assert ask(condition, variables=variables).answer is answer


WORDS = json.dumps([f"w{it}" for it in range(20)])


def test_a_request_is_shown_whose_lists_use_the_budget_of_a_condition_up() -> None:
    policy = policy_of("task.labels.all(x, caller.roles.all(y, y != x))")
    failing = [it for it in analyze(policy, now=NOW).items if it.item.kind == "fails"]
    assert [it.answered.answer for it in failing] == [Answer.CAN]


@pytest.mark.slow
def test_loops_that_visit_many_elements_end_the_search_at_the_same_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking_module, "MOST_VISITED", 4_000)
    monkeypatch.setattr(loops_module, "MOST_WORK", 4_000)
    text = f"{WORDS}.all(x, {WORDS}.all(y, x + y != task.kind + caller.team + target.name + IT))"
    rules = [{"use": "pool"}, {"use": "config"}]
    pools = [
        [{"name": f"e{it}", "model": f"e{it}", "pick": text.replace("IT", word)} for it in range(3)]
        for word in ('"a"', '"b"')
    ]
    old, new = (loads(json.dumps({**BASE, "pool": it, "precedence": rules})) for it in pools)
    first, again = (compare(old, new, now=NOW) for _ in range(2))
    assert first == again
    assert first.found("newly-refused").answered.answer is Answer.NEVER
    assert first.found("moved").answered.cause == EXHAUSTED


@pytest.mark.stress
def test_each_open_piece_has_the_whole_budget_of_a_decision() -> None:
    words = json.dumps([f"w{it}" for it in range(60)])
    kept = f'{words}.filter(x, {words}.all(y, y != x + caller.id + "IT"))'
    text = f"bucket({kept}.join(task.kind), caller.team) < 100"
    rules = [{"use": "config", "when": text.replace("IT", str(it))} for it in range(1, 400)]
    policy = loads(json.dumps({**BASE, "precedence": rules}))
    asking, _ = asking_of(policy)
    (walk,) = asking.walks
    all_hold = [1] * 100_000
    Refining(asking.names, asking.walks).learn(all_hold, {}, NOW)
    outcome = Outcome(policy, {}, NOW)
    when = policy.precedence[-1].when
    assert when is not None
    assert Outcome(policy, {}, NOW).evaluation.evaluate(when) is True
    true, _ = walk.conditions.condition(when)
    assert asking.formula.holds([*pinned(asking, outcome), true]) is True


def test_a_question_that_is_given_up_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    asking, question = asking_of(policy_of("parent.depth > 3"))
    monkeypatch.setattr(Formula, "holds", lambda *_: None)
    answered = asking.ask(question)
    assert answered.answer is Answer.UNDECIDED
    assert answered.cause is not None
    assert answered.cause.text == "it is too hard for the solver"


POOL = [
    {"name": "low", "model": "a", "limits": {"temperature": {"max": 0.5}}},
    {"name": "few", "model": "b", "limits": {"top_k": {"min": 1, "max": 9}, "format": ["x", 1]}},
    {"name": "calm", "model": "c", "limits": {"reasoning_effort": ["low"]}},
]


@each(
    ("name", "parameter"),
    [("low", "temperature"), ("few", "top_k"), ("few", "format"), ("calm", "reasoning_effort")],
)
def test_a_wish_that_a_target_does_not_grant_is_found(name: str, parameter: str) -> None:
    wanted = json.dumps(name)
    policy = loads(
        json.dumps(
            {
                **BASE,
                "pool": [it for it in POOL if it["name"] == name],
                "precedence": [{"use": "task", "on_violation": "reject"}, {"use": "pool"}],
                "assume": [f"task.model == {wanted}"],
            }
        )
    )
    asking = Asking([policy], now=NOW)
    ended = asking.walks[0].rules[0]
    ((code, refused),) = [it for it in ended.refused.items() if "parameter" in it[0]]
    question = Question("it", refused, lambda outcomes: outcomes[0].code == code)
    answered = asking.ask(question, small=False)
    assert answered.example is not None
    task = answered.example.request["task"]
    assert parameter in {**task, **task.get("parameters", {})}


def selected(text: Plain) -> dict[str, Answer]:
    """Ask of each entry whether the first rule selects it."""
    asking = Asking([loads(json.dumps({**BASE, **text}))], now=NOW)
    found = {}
    for place, chosen in asking.walks[0].rules[0].selected.items():
        entry = place.entry
        assert entry is not None

        def confirm(outcomes: Sequence[Outcome], entry: PoolEntry = entry) -> bool:
            found = outcomes[0].ending.selected
            return found is not None and found.entry is entry

        question = Question(entry.name, chosen, confirm)
        found[entry.name] = asking.ask(question).answer
    return found


@each("number", ["0.0", "double(task.index)", "facts.share", "math.least([0.0, facts.share])"])
def test_an_entry_that_a_number_of_the_request_puts_first_is_selected(number: str) -> None:
    order = f'target.name == task.kind ? {number} : (target.name == "a" ? 1.0 : 2.0)'
    pool = [{"name": it, "model": it, "pick": "true"} for it in ("a", "b")]
    rule = {"use": "pool", "order_by": order}
    assert selected({"pool": pool, "precedence": [rule]}) == {"a": Answer.CAN, "b": Answer.CAN}


def test_a_target_without_a_price_makes_a_condition_fail() -> None:
    has = "has(target.price.output)"
    when = f"(1 / parent.depth == 1 ? {has} : {has}) && target.price.output > 1.0"
    pool = [
        {"name": "a", "model": "a", "pick": "true"},
        {"name": "b", "model": "b", "pick": "true", "price": {"output": 2.0}},
    ]
    text = {"pool": pool, "forbid": [{"id": "dear", "when": when}], "precedence": [{"use": "pool"}]}
    assert selected(text) == {"a": Answer.CAN, "b": Answer.NEVER}


@pytest.mark.parametrize(
    ("condition", "fact"),
    [
        ('facts.place.matches("^h")', {"place": {"type": "string", "default": "h"}}),
        ("facts.place", {"place": {"type": "bool", "default": True}}),
    ],
)
def test_a_fact_that_one_of_two_policies_has_is_its_default(condition: str, fact: Plain) -> None:
    one, other = policy_of(condition, facts=fact), policy_of("true", facts={})
    asking = Asking([one, other], now=NOW)
    when = one.precedence[0].when
    assert when is not None
    true, _ = asking.walks[0].conditions.condition(when)
    question = Question("it", -true, lambda it: it[0].evaluation.evaluate(when) is False)
    assert asking.ask(question).answer is Answer.NEVER


def test_an_entry_with_several_numbers_is_put_in_order_by_each_of_them() -> None:
    order = 'target.name == "a" ? facts.share * facts.share : (task.kind == "k" ? 1.0 : 2.0)'
    pool = [{"name": it, "model": it, "pick": "true"} for it in ("a", "b")]
    rule = {"use": "pool", "order_by": order}
    policy = loads(json.dumps({**BASE, "pool": pool, "precedence": [rule]}))
    asking = Asking([policy], now=NOW)
    walk = asking.walks[0]
    for kind in ("k", "x"):
        outcome = Outcome(policy, {"task": {"kind": kind}, "facts": {"share": 9.0}}, NOW)
        assert outcome.runs[0].name == "b"
        (chosen,) = [it for _, place, it in walk.ends() if place.model == literal("b")]
        is_kind = walk.conditions.is_text(text_name("task.kind"), kind)
        assert asking.formula.holds((chosen, is_kind)) is True


@each(
    ("order", "is_last"),
    [
        ("bucket(target.name, caller.id)", True),
        ("task.index", True),
        ("1 / parent.depth", False),
        ("facts.share * facts.share", False),
    ],
)
def test_an_entry_that_always_has_a_number_is_never_left_out(order: str, *, is_last: bool) -> None:
    pool = [{"name": it, "model": it, "pick": "true"} for it in ("a", "b")]
    rules = [{"use": "pool", "order_by": order}, {"id": "rest", "use": "config"}]
    asking = Asking([loads(json.dumps({**BASE, "pool": pool, "precedence": rules}))], now=NOW)
    rest = asking.walks[0].rules[1].reached
    assert asking.formula.holds((rest,)) is not is_last


@pytest.mark.stress
def test_of_two_policies_one_may_use_the_budget_of_a_decision_up() -> None:
    loops = [f'task.labels.exists(x, x == target.name + "{it}")' for it in range(10)]
    forbid = [{"when": it} for it in (*loops, '!task.labels.exists(x, x == target.name + "!")')]
    entries = [{"name": f"e{it}", "model": f"e{it}", "pick": "true"} for it in range(100)]
    last = {"name": "last", "model": "last", "pick": "true"}
    rules = {"forbid": forbid, "precedence": [{"use": "pool"}]}
    old, new = (
        loads(json.dumps({**BASE, **rules, "pool": it})) for it in ([last], [*entries, last])
    )
    request = {"task": {"labels": [*map(str, range(999)), "last!"]}}
    assert [bool(Outcome(it, request, NOW).runs) for it in (old, new)] == [True, False]
    asking = Asking([old, new], now=NOW)
    one, two = asking.walks
    one, two = asking.walks
    assert asking.formula.holds((*one.rules[0].selected.values(), two.nothing)) is True
