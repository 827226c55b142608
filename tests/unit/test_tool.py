"""The tool's definition: what this caller may ask for, and the same bytes each time."""

from __future__ import annotations

import datetime
import functools
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import policy_router
from policy_router import RequestError, loads
from policy_router.delegation.arguments import arguments_of
from policy_router.delegation.batch import planned
from policy_router.delegation.tool import FORMATS, NAME, tool
from policy_router.files.ids import uuid7
from tests.support.examples import examples
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
ROOT = Path(__file__).parents[2]
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
CONTRACT = re.findall(r"```yaml\n(.*?)```", LANGUAGE, re.DOTALL)[0]
EMBEDDED = next(it for it in re.findall(r"```yaml\n(.*?)```", LANGUAGE, re.DOTALL) if "deleg" in it)

Plain = dict[str, Any]
ANY: Plain = {"type": "string"}
EFFORT: Plain = {"type": "string", "description": "Such as low, medium or high."}

_policy = functools.cache(loads)


def defined(text: str, facts: Plain | None = None) -> Plain:
    """Return the definition by a policy in YAML."""
    return tool(_policy(text, name="policy"), facts)


def parameters_of(text: str, facts: Plain | None = None, **options: Any) -> Plain:
    """Return the parameters in the format of MCP, which adds nothing to them."""
    found: Plain = tool(_policy(text), facts, format="mcp", **options)["inputSchema"]
    return found


def wishes(text: str, facts: Plain | None = None) -> Plain:
    """Return what may be wished for the whole call."""
    properties: Plain = defined(text, facts)["function"]["parameters"]["properties"]
    return {key: it for key, it in properties.items() if key not in {"goal", "context", "tasks"}}


def wishes_of_a_task(text: str, facts: Plain | None = None) -> Plain:
    properties = defined(text, facts)["function"]["parameters"]["properties"]
    found: Plain = properties["tasks"]["items"]["properties"]
    return {key: it for key, it in found.items() if key not in {"goal", "context"}}


def names(text: str, facts: Plain | None = None) -> list[str]:
    found: list[str] = wishes(text, facts)["model"]["enum"]
    return found


CALL_FIRST = " The model above goes before a task's own."
TASK_FIRST = " A task's own model goes before the one above."


def whole(call: Plain, task: Plain, order: str = "") -> Plain:
    """Return the whole definition, with what is offered for the call and for a task."""
    return {
        "type": "function",
        "function": {
            "name": "delegate_task",
            "description": (
                "Delegate a task to a sub-agent, or several at once with tasks."
                " Each starts without your conversation: say all it needs."
            ),
            "parameters": {
                "type": "object",
                "properties": {
                    "goal": {
                        "type": "string",
                        "description": "What to do; with tasks: their common goal.",
                    },
                    "context": {"type": "string", "description": "What the sub-agent has to know."},
                    **call,
                    "tasks": {
                        "type": "array",
                        "description": "Several tasks, run at the same time; values as above."
                        + order,
                        "items": {
                            "type": "object",
                            "properties": {"goal": ANY, "context": ANY, **task},
                            "required": ["goal"],
                            "additionalProperties": False,
                        },
                    },
                },
                "required": ["goal"],
                "additionalProperties": False,
            },
            "strict": False,
        },
    }


def kind_of(*kinds: str) -> tuple[Plain, Plain]:
    """Return how the sort of work is offered, for the call and for a task."""
    closed = {"enum": list(kinds)} if kinds else {}
    said = {"type": "string", **closed, "description": "One word for the sort of work."}
    return said, ANY


KIND, KIND_OF_TASK = kind_of()

# Whole definitions.


def test_the_policy_of_the_page_about_the_language_with_a_caller() -> None:
    """Entries with conditions about the caller are there where these hold."""
    facts = {"parent": {"depth": 1}, "caller": {"team": "research"}, "facts": {"region": "us"}}
    models = ["coder", "glm-5-turbo", "deepseek-r1"]
    said = (
        "Leave out for the default. coder: coding, debugging, implementation;"
        " glm-5-turbo: general-purpose, writing, quick tasks; deepseek-r1: math, formal proofs"
    )
    assert defined(CONTRACT, facts) == whole(
        {
            "model": {"type": "string", "enum": models, "description": said},
            "reasoning_effort": EFFORT,
            "kind": KIND,
        },
        {"model": ANY, "reasoning_effort": ANY, "kind": KIND_OF_TASK},
        CALL_FIRST,
    )


@each(
    "facts", [{"facts": {"region": "us"}, "parent": {"depth": 2}}, {}, {"facts": {"region": "eu"}}]
)
def test_what_the_caller_may_not_use_for_any_task_is_left_out(facts: Plain) -> None:
    assert names(CONTRACT, facts) == ["coder", "glm-5-turbo"]
    assert "provider" not in wishes(CONTRACT, facts)
    assert "deepseek" not in json.dumps(defined(CONTRACT, facts))


def test_the_policy_that_the_product_began_with() -> None:
    models = ["glm-5.1", "glm-5", "glm-5-turbo"]
    said = (
        "Leave out for the default. glm-5.1: coding, debugging, implementation;"
        " glm-5: research, analysis, reasoning, math;"
        " glm-5-turbo: general-purpose, writing, quick tasks"
    )
    assert defined(EMBEDDED) == whole(
        {
            "model": {"type": "string", "enum": models, "description": said},
            "reasoning_effort": EFFORT,
            "kind": KIND,
        },
        {"model": ANY, "reasoning_effort": ANY, "kind": KIND_OF_TASK},
        CALL_FIRST,
    )


def test_without_a_pool_anything_may_be_asked_for() -> None:
    open_ = {"model": ANY, "provider": ANY}
    assert defined("{model: m, provider: p}") == whole(
        {**open_, "reasoning_effort": EFFORT, "kind": KIND},
        {**open_, "reasoning_effort": ANY, "kind": KIND_OF_TASK},
        CALL_FIRST,
    )


def test_with_an_empty_pool_no_model_may_be_asked_for() -> None:
    assert defined("{model: m, provider: p, pool: []}") == whole(
        {"reasoning_effort": EFFORT, "kind": KIND},
        {"reasoning_effort": ANY, "kind": KIND_OF_TASK},
    )


def test_what_no_rule_asks_for_is_not_offered() -> None:
    text = "pool: [{model: a, provider: p}]\nkinds: [coding, math]\nprecedence: [{use: config}]"
    kind, kind_of_task = kind_of("coding", "math")
    assert defined(text) == whole({"kind": kind}, {"kind": kind_of_task})


# Levels.


@each(
    ("precedence", "call", "task"),
    [
        ("[{use: call}, {use: task}]", True, True),
        ("[{use: call}, {use: config}]", True, False),
        ("[{use: task}]", False, True),
        ("[]", False, False),
        ("strict", True, True),
        ("task-first", True, True),
    ],
)
def test_a_level_that_the_precedence_lacks_is_not_offered(
    precedence: str, *, call: bool, task: bool
) -> None:
    text = f"{{pool: [{{model: a, provider: p}}], precedence: {precedence}}}"
    wished = {"model", "reasoning_effort"}
    assert set(wishes(text)) - {"kind"} == (wished if call else set())
    assert set(wishes_of_a_task(text)) - {"kind"} == (wished if task else set())


def test_an_entry_for_one_level_is_offered_there() -> None:
    text = """
    pool:
      - {model: a, allow: target.level == "call"}
      - {model: b, allow: target.level == "task"}
      - {model: c, allow: target.level == "pool"}
      - {model: d}
    """
    assert names(text) == ["a", "d"]
    assert wishes_of_a_task(text)["model"]["enum"] == ["b", "d"]


def test_an_entry_for_tasks_alone_is_described_there() -> None:
    text = "pool: [{model: a, strengths: math, allow: 'target.level == \"task\"'}, {model: b}]"
    assert "a: math" in json.dumps(defined(text))


def test_where_no_task_can_say_more_than_the_call_a_description_of_its_own_stays() -> None:
    text = "{pool: [{model: a, strengths: math, provider: p}], precedence: [{use: task}]}"
    said = {"type": "string", "enum": ["a"], "description": "Leave out for the default. a: math"}
    assert wishes_of_a_task(text)["model"] == said


# Names.


def test_an_entry_whose_guard_depends_on_the_task_stays() -> None:
    text = """
    facts: {risk: {type: int}}
    pool:
      - {model: a, allow: task.kind == "coding"}
      - {model: b, allow: '"x" in task.labels && caller.team == "research"'}
      - {model: c, allow: now > timestamp("2030-01-01T00:00:00Z")}
      - {model: d, allow: has(task.input_tokens) && task.input_tokens < 10}
      - {model: e, allow: size(task.needs) > 100 || parent.depth > 0}
      - {model: f, allow: task.batch_size > 1 && 1 / task.index > 0}
    """
    assert names(text, {"caller": {"team": "research"}}) == ["a", "b", "c", "d", "e", "f"]
    assert names(text, {"caller": {"team": "other"}}) == ["a", "c", "d", "e", "f"]


def test_an_entry_that_a_forbid_rule_is_against_in_any_case_is_left_out() -> None:
    text = """
    facts: {residency: {type: string, default: eu}}
    pool: [{model: a, provider: p}, {model: b, provider: q}, {model: c, provider: r}]
    forbid:
      - {when: facts.residency == "eu" && target.provider == "q"}
      - {when: '"pii" in task.labels && target.provider == "r"'}
    """
    assert names(text) == ["a", "c"]
    assert names(text, {"facts": {"residency": "us"}}) == ["a", "b", "c"]


def test_a_forbid_rule_that_only_warns_leaves_all_entries_there() -> None:
    text = """
    pool: [{model: a, provider: p}, {model: b, provider: q}]
    forbid: [{when: 'target.provider == "q"', enforce: false}]
    """
    assert names(text) == ["a", "b"]


def test_a_condition_on_the_budget_is_about_the_budget_that_was_given() -> None:
    text = """
    pool:
      - {model: a, allow: '!has(budget.remaining_usd) || budget.remaining_usd > 1.0'}
      - {model: b, allow: has(budget.remaining_usd) && budget.remaining_usd > 1.0}
      - {model: c}
    """
    assert names(text, {"budget": {"remaining_usd": 2}}) == ["a", "b", "c"]
    assert names(text, {"budget": {"remaining_usd": 0.5}}) == ["c"]
    # A budget that was not given may be given with the task.
    assert names(text) == ["a", "b", "c"]


def test_wishes_and_the_task_of_a_request_are_not_looked_at() -> None:
    text = "pool: [{model: a, allow: task.kind == 'coding'}, {model: b, allow: call.model == 'b'}]"
    asked = {"call": {"model": "a"}, "task": {"kind": "math", "model": "a"}}
    assert defined(text, asked) == defined(text)
    assert names(text) == ["a", "b"]


def test_a_name_that_two_entries_share_is_there_once_and_its_providers_are() -> None:
    text = """
    pool:
      - {model: a, provider: p, strengths: first}
      - {model: a, provider: q, strengths: second}
      - {model: b, provider: p}
    """
    said = {
        "type": "string",
        "enum": ["a", "b"],
        "description": "Leave out for the default. a: first",
    }
    assert wishes(text)["model"] == said
    assert wishes(text)["provider"]["enum"] == ["p", "q"]


def test_of_two_that_share_a_name_the_one_that_may_be_used_is_described() -> None:
    text = """
    pool:
      - {model: a, provider: p, strengths: first, allow: caller.team == "x"}
      - {model: a, provider: q, strengths: second}
    """
    assert wishes(text)["model"]["description"] == "Leave out for the default. a: second"
    assert "provider" not in wishes(text)


# Providers.


def test_a_provider_may_be_asked_for_where_a_name_has_more_than_one() -> None:
    text = "pool: [{model: a, provider: p}, {model: b, provider: q}, {model: c, provider: r}"
    assert "provider" not in wishes(f"{text}]")
    assert wishes(f"{text}, {{model: b, provider: p}}]")["provider"]["enum"] == ["q", "p"]


def test_an_entry_at_the_agent_s_own_provider_counts_where_that_is_known() -> None:
    text = "pool: [{model: a}, {model: a, provider: q}]"
    assert wishes(text)["provider"] == ANY
    assert wishes(text, {"parent": {"provider": "p"}})["provider"]["enum"] == ["p", "q"]
    assert "provider" not in wishes(text, {"parent": {"provider": "q"}})


# Which of two wishes goes first.


@each(
    ("precedence", "said"),
    [
        ("[{use: call}, {use: task}]", CALL_FIRST),
        ("[{use: task}, {use: call}]", TASK_FIRST),
        ("strict", CALL_FIRST),
        ("task-first", TASK_FIRST),
        ("[{use: config}, {use: task}, {use: call}]", TASK_FIRST),
        ("[{use: task, when: parent.depth > 0}, {use: call}, {id: t, use: task}]", ""),
        ("[{use: task}]", ""),
        ("[{use: call}]", ""),
    ],
)
def test_the_tool_says_whether_the_wish_for_a_task_or_for_the_call_goes_first(
    precedence: str, said: str
) -> None:
    text = f"{{pool: [{{model: a, provider: p}}], precedence: {precedence}}}"
    tasks = parameters_of(text)["properties"]["tasks"]["description"]
    assert tasks == f"Several tasks, run at the same time; values as above.{said}"


# Out of the pool.


def test_where_wishes_may_leave_the_pool_any_name_may_be_asked_for() -> None:
    text = """
    pool: [{model: a, provider: p, strengths: math}]
    precedence: [{use: call, in_pool: false}, {use: task}]
    """
    said = {"type": "string", "description": "Leave out for the default. a: math"}
    assert wishes(text)["model"] == said
    assert wishes(text)["provider"] == ANY
    assert wishes_of_a_task(text)["model"] == {"type": "string", "enum": ["a"]}


def test_one_of_several_rules_of_a_level_that_may_leave_the_pool_is_enough() -> None:
    text = """
    pool: [{model: a, provider: p}]
    precedence: [{use: call}, {id: free, use: call, when: parent.depth == 0, in_pool: false}]
    """
    assert "enum" not in wishes(text)["model"]


@pytest.mark.parametrize("pool", ["[]", "[{model: a, allow: false}]"])
def test_where_wishes_may_leave_the_pool_they_may_where_nothing_in_it_may_be_asked_for(
    pool: str,
) -> None:
    text = f"{{model: m, provider: p, pool: {pool}, precedence: [{{use: call, in_pool: false}}]}}"
    record = policy_router.decide(loads(text), {"call": {"model": "other"}}, now=NOW)
    assert record.decision.outcome == "selected"
    assert wishes(text)["model"]["type"] == "string"


# Efforts.


@each(
    ("limits", "expected"),
    [
        (["[low, high]", "[max, low]"], {"type": "string", "enum": ["low", "high", "max"]}),
        (["[low, high]", ""], EFFORT),
        ([""], EFFORT),
        (["[low]", "[]"], {"type": "string", "enum": ["low"]}),
        (["[]", "[]"], None),
    ],
    ids=range(5),
)
def test_the_efforts_are_those_that_some_entry_allows(
    limits: list[str], expected: Plain | None
) -> None:
    entries = [
        f"{{model: m{place}{f', limits: {{reasoning_effort: {it}}}' if it else ''}}}"
        for place, it in enumerate(limits)
    ]
    assert wishes(f"pool: [{', '.join(entries)}]").get("reasoning_effort") == expected


def test_a_limit_of_another_parameter_is_none_of_the_effort() -> None:
    text = "pool: [{model: a, limits: {max_tokens: {max: 5}}}]"
    assert wishes(text)["reasoning_effort"] == EFFORT


def test_entries_that_only_the_pool_may_choose_have_a_say_in_the_efforts() -> None:
    text = """
    pool:
      - {model: a, limits: {reasoning_effort: [low]}}
      - {model: b, limits: {reasoning_effort: [max]}, pick: true, allow: target.level == "pool"}
    """
    assert names(text) == ["a"]
    assert wishes(text)["reasoning_effort"]["enum"] == ["low", "max"]


def test_where_none_may_be_asked_for_the_efforts_are_those_of_the_pool() -> None:
    text = "pool: [{model: a, pick: true, allow: false, limits: {reasoning_effort: [low]}}]"
    assert wishes(text)["reasoning_effort"] == {"type": "string", "enum": ["low"]}
    assert "model" not in wishes(text)


# Kinds.


def test_a_closed_set_of_kinds_is_offered_as_one() -> None:
    text = "kinds: [math, coding]"
    assert wishes(text)["kind"] == kind_of("math", "coding")[0]
    assert wishes_of_a_task(text)["kind"] == kind_of("math", "coding")[1]
    assert wishes("model: m")["kind"] == KIND


def test_a_closed_set_of_no_kinds_is_offered_as_none() -> None:
    assert "kind" not in wishes("kinds: []")


# Words.

HOSTILE = [
    'say "yes"',
    "it's",
    "back\\slash",
    "\U0001f600 \u00e9\u4e2d",
    "a\u2028b",
    "}, {",
    "</tool>",
    "ignore: all; the rest",
    "#",
    "\u202eright",
    "%s {0} ${x}",
]


@each("word", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_the_strengths_are_the_definition_is_json_of_one_line(word: str) -> None:
    entry = {"model": "a", "strengths": [word, "math"], "provider": "p"}
    policy = json.dumps({"pool": [entry]}, ensure_ascii=not word.isprintable())
    made = defined(policy)
    said = wishes(policy)["model"]["description"]
    assert said == f"Leave out for the default. a: {' '.join(word.split())}, math"
    assert json.loads(json.dumps(made)) == made
    assert not re.search(r"[\x00-\x1f\x7f\u2028\u2029]", said)


def test_equal_strengths_are_said_once_and_a_name_without_any_stands_in_the_list_alone() -> None:
    text = """
    pool:
      - {model: a, strengths: math}
      - {model: b, strengths: writing}
      - {model: c, strengths: math}
      - {model: d}
    """
    assert names(text) == ["a", "b", "c", "d"]
    said = wishes(text)["model"]["description"]
    assert said == "Leave out for the default. a, c: math; b: writing"
    said = wishes(f"{text}precedence: [{{use: call, in_pool: false}}]")["model"]["description"]
    assert said == "Leave out for the default. a, c: math; b: writing; d"


def test_strengths_on_several_lines_are_written_on_one() -> None:
    text = "pool:\n  - model: a\n    strengths: >-\n      quick tasks,\n      writing\n"
    said = wishes(text)["model"]["description"]
    assert said == "Leave out for the default. a: quick tasks, writing"


def test_names_are_spelt_as_the_policy_spells_them() -> None:
    odd = ['a "b"', "vendor/a:free", "a, b; c", "\u4e2d", "a\\b"]
    text = json.dumps({"pool": [{"model": it} for it in odd]})
    assert names(text) == odd


def test_the_definition_is_short() -> None:
    assert len(json.dumps(defined("{model: m, provider: p}"))) < 1200
    assert defined("model: m")["function"]["name"] == NAME == "delegate_task"


# The same bytes.

SPELLINGS = [
    """
    model: a
    kinds: [x, y]
    pool:
      - {model: a, strengths: "one, two", provider: p, limits: {reasoning_effort: [low, high]}}
      - {model: b, allow: caller.team == "x" || task.kind == "y"}
    precedence: strict
    """,
    """
    # a comment
    precedence: strict   # another
    pool:
      - limits: {reasoning_effort: [low, high]}
        provider: p
        strengths: [one, two]
        model: "a"
      - allow: >-
          caller.team ==
          "x" || task.kind == "y"
        model: b
    "kinds":
      - x
      - y
    model: a
    """,
]
CALLER: Plain = {
    "parent": {"model": "a", "provider": "p"},
    "caller": {"team": "x", "roles": ["r", "s"]},
}


def encoded(text: str, facts: Plain) -> bytes:
    return json.dumps(defined(text, facts)).encode()


def test_it_has_the_same_bytes_each_time_for_the_same_policy_and_caller() -> None:
    policy = loads(SPELLINGS[0])
    first = json.dumps(tool(policy, CALLER))
    policy_router.decide(policy, {"task": {"kind": "x"}}, now=NOW)
    assert json.dumps(tool(policy, CALLER)) == first
    assert json.dumps(tool(policy, dict(reversed(CALLER.items())))) == first
    assert json.dumps(tool(policy, policy_router.Request(**CALLER))) == first


def test_it_has_the_same_bytes_however_the_policy_is_spelt() -> None:
    policy = loads(SPELLINGS[0])
    texts = [*SPELLINGS, policy.canonical.decode()]
    assert len({encoded(text, CALLER) for text in texts}) == 1


def test_it_has_the_same_bytes_after_the_policy_is_read_again(tmp_path: Path) -> None:
    made = []
    for number, text in enumerate(SPELLINGS):
        place = tmp_path / str(number) / "policy.yaml"
        place.parent.mkdir()
        place.write_text(text, encoding="utf-8")
        made.append(json.dumps(tool(policy_router.load(place), CALLER)))
    assert len(set(made)) == 1


def test_what_was_made_is_the_caller_s_to_change() -> None:
    policy = loads(SPELLINGS[0])
    first = tool(policy)
    before = json.dumps(first)
    first["function"]["parameters"]["properties"]["tasks"]["items"]["properties"].clear()
    first["function"]["parameters"]["properties"]["goal"]["description"] = "x"
    assert json.dumps(tool(policy)) == before


# What does not fit the policy.


@each(
    ("facts", "path"),
    [
        ({"caler": {}}, "$.caler"),
        ({"facts": {"x": 1}}, "$.facts.x"),
        ({"parent": {"depth": "1"}}, "$.parent.depth"),
        ([], "$"),
    ],
)
def test_facts_that_do_not_fit_the_policy_are_refused(facts: Any, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        tool(loads("pool: [{model: a}]"), facts)
    assert caught.value.path == path


# As a schema.

POLICIES = [
    CONTRACT,
    EMBEDDED,
    *SPELLINGS,
    "model: m",
    "pool: []",
    "kinds: []",
    "{kinds: [x], pool: [{model: a, limits: {reasoning_effort: []}}]}",
    "{pool: [{model: a}], precedence: [{use: config}]}",
    "{pool: [{model: a, allow: false}]}",
]


def schemas(schema: Any) -> Iterator[Plain]:
    """Yield a schema and those in it."""
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from schemas(part)


@each("text", POLICIES, ids=range(len(POLICIES)))
@each("facts", [{}, {"parent": {"provider": "p", "depth": 1}}], ids=["no", "yes"])
def test_it_is_a_json_schema_in_which_every_choice_has_something_to_choose(
    text: str, facts: Plain
) -> None:
    parameters = parameters_of(text, facts)
    jsonschema.Draft202012Validator.check_schema(parameters)
    for schema in schemas(parameters):
        choices = schema.get("enum")
        if isinstance(choices, list):
            assert choices
            assert len(set(choices)) == len(choices)
            assert all(isinstance(it, str) and it for it in choices)
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == ["goal"]


def filled(schema: Plain) -> st.SearchStrategy[Any]:
    """Return strategies for what a schema allows."""
    if isinstance(schema["type"], list):
        values = [value for value in schema.get("enum", ()) if value is not None]
        closed = {"enum": values} if values else {}
        return st.none() | filled({**schema, "type": schema["type"][0], **closed})
    if schema["type"] == "array":
        return st.lists(filled(schema["items"]), max_size=3)
    if schema["type"] == "object":
        parts = {key: filled(part) for key, part in schema["properties"].items()}
        needed = {key: parts.pop(key) for key in schema.get("required", ())}
        return st.fixed_dictionaries(needed, optional=parts)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)


CALLERS: list[Plain] = [
    {},
    {"caller": {"team": "x"}, "parent": {"model": "a", "provider": "p", "depth": 2}},
]


@pytest.mark.slow
@examples(150)
@given(st.data())
def test_arguments_that_the_definition_allows_are_taken_and_decided(data: st.DataObject) -> None:
    """And none of them asks for what is outside the pool, where the names are a closed set."""
    text = data.draw(st.sampled_from(POLICIES))
    facts = data.draw(st.sampled_from(CALLERS))
    policy = loads(text)
    strict = data.draw(st.booleans())
    parameters = tool(policy, facts, format="mcp", strict=strict)["inputSchema"]
    properties = parameters["properties"]
    content = data.draw(filled(parameters))
    closed = {name: it["enum"] for name, it in properties.items() if "enum" in it}
    for task in (content, *(content.get("tasks") or [])):
        task["goal"] = f"Do {task.get('goal', '')}"
        for name, values in closed.items():  # what a task may ask for is said above
            if name in task and task[name] not in values:
                task[name] = data.draw(st.sampled_from(values))
    jsonschema.Draft202012Validator(parameters).validate(content)
    made = planned(policy, arguments_of(json.dumps(content)), facts, now=NOW, ids=uuid7)
    assert len(made) == max(1, len(content.get("tasks") or []))
    if policy.pool and "model" in closed:
        for plan, task in zip(made, content.get("tasks") or [{}], strict=True):
            if not task.get("provider") and not content.get("provider"):
                codes = {step.code for step in plan.record.steps}
                assert "outside_pool" not in codes


# Strict, and in the formats of APIs.


def test_a_strict_definition_requires_everything_and_lets_all_but_a_task_s_goal_be_null() -> None:
    text = """
    kinds: [x]
    pool: [{model: a, provider: p, strengths: math}, {model: a, provider: q}]
    """
    names_ = {"type": ["string", "null"], "enum": ["a", None]}
    providers = {"type": ["string", "null"], "enum": ["p", "q", None]}
    kinds = {"type": ["string", "null"], "enum": ["x", None]}
    free = {"type": ["string", "null"]}
    made = parameters_of(text, strict=True)
    assert made["required"] == list(made["properties"])
    assert made["properties"]["model"] == {
        **names_,
        "description": "null for the default. a: math",
    }
    assert made["properties"]["goal"]["type"] == ["string", "null"]
    assert made["properties"]["tasks"]["type"] == ["array", "null"]
    task = made["properties"]["tasks"]["items"]
    assert task == {
        "type": "object",
        "properties": {
            "goal": ANY,
            "context": free,
            "model": names_,
            "provider": providers,
            "reasoning_effort": free,
            "kind": kinds,
        },
        "required": list(task["properties"]),
        "additionalProperties": False,
    }


@each("text", POLICIES, ids=range(len(POLICIES)))
def test_nulls_alone_ask_for_nothing(text: str) -> None:
    """What a strict definition makes a model say is what it could have left out."""
    policy = loads(text)
    made = tool(policy, format="mcp", strict=True)["inputSchema"]
    nothing = dict.fromkeys(made["properties"])
    content = {**nothing, "goal": "Do it."}
    jsonschema.Draft202012Validator(made).validate(content)
    assert arguments_of(content) == arguments_of({"goal": "Do it."})


@pytest.mark.parametrize("strict", [False, True])
def test_a_definition_is_one_of_the_type_of_its_api(*, strict: bool) -> None:
    """By the types of the SDKs; the frames of Anthropic and Gemini are in the next test."""
    policy = loads(CONTRACT)
    chat = tool(policy, format="openai", strict=strict)
    _is_typed(chat, "openai.types.chat.ChatCompletionToolParam")
    assert chat["function"]["strict"] is strict
    responses = tool(policy, format="openai-responses", strict=strict)
    _is_typed(responses, "openai.types.responses.FunctionToolParam")
    assert responses == {"type": "function", **chat["function"]}
    mcp = tool(policy, format="mcp", strict=strict)
    types = pytest.importorskip("mcp_types", reason="the types of MCP are not installed")
    parsed = types.Tool.model_validate(mcp)
    assert parsed.model_dump(by_alias=True, exclude_none=True) == mcp
    assert "strict" not in mcp


def _is_typed(value: Plain, path: str) -> None:
    """Hold a value against a type of the SDK; no key is beside it."""
    pydantic = pytest.importorskip("pydantic", reason="the SDK brings it")
    module, _, name = path.rpartition(".")
    adapter = pydantic.TypeAdapter(getattr(importlib.import_module(module), name))
    assert adapter.validate_python(value) == value


@pytest.mark.parametrize("strict", [False, True])
def test_the_frames_of_anthropic_and_of_gemini(*, strict: bool) -> None:
    policy = loads(CONTRACT)
    plain = tool(policy, format="mcp", strict=strict)
    anthropic = tool(policy, format="anthropic", strict=strict)
    assert anthropic == {
        "name": plain["name"],
        "description": plain["description"],
        "input_schema": plain["inputSchema"],
        "strict": strict,
    }
    gemini = tool(policy, format="gemini", strict=strict)
    assert set(gemini) == {"name", "description", "parameters"}
    assert gemini["parameters"]["properties"].keys() == plain["inputSchema"]["properties"].keys()


GEMINI = {
    *("type", "format", "title", "description", "nullable", "enum", "items", "properties"),
    *("required", "maxItems", "minItems", "propertyOrdering", "anyOf", "default", "example"),
}
"""The fields of ``Schema`` in Gemini's API, as far as a definition could use them."""


@each("text", POLICIES, ids=range(len(POLICIES)))
def test_gemini_gets_nothing_that_its_subset_lacks(text: str) -> None:
    for strict in (False, True):
        made = tool(loads(text), format="gemini", strict=strict)["parameters"]
        for schema in gemini_schemas(made):
            assert set(schema) <= GEMINI
            assert isinstance(schema["type"], str)
            assert all(isinstance(value, str) and value for value in schema.get("enum", ()))
        assert (made["properties"]["tasks"].get("nullable", False)) is strict


def gemini_schemas(schema: Plain) -> Iterator[Plain]:
    yield schema
    for part in (*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])):
        yield from gemini_schemas(part)


def test_every_format_has_the_same_bytes_each_time() -> None:
    policy = loads(SPELLINGS[0])
    for format_ in FORMATS:
        for strict in (False, True):
            made = [tool(policy, CALLER, format=format_, strict=strict) for _ in range(2)]
            assert json.dumps(made[0]) == json.dumps(made[1])


def test_another_format_is_an_error() -> None:
    wrong: Any = "xml"
    with pytest.raises(ValueError, match="the format must be one of openai, openai-responses, "):
        tool(loads("model: m"), format=wrong)


def test_no_definition_has_a_choice_at_its_top_which_apis_refuse() -> None:
    for format_ in FORMATS:
        made = json.dumps(tool(loads(CONTRACT), format=format_, strict=True))
        assert not re.search("anyOf|oneOf|allOf|[$]ref", made)
