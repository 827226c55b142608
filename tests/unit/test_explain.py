"""The explanation of a decision, and why not another."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest

from policy_router import Explanation, RecordError, Request, decide, explain, loads
from policy_router.cel.frame import FAILURE
from policy_router.cel.timestamps import duration, timestamp
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.explain.trace import shown, trace
from policy_router.decision.explain.wording import (
    REASONS,
    asked,
    spelt_parameters,
    spelt_target,
    spelt_warning,
)
from policy_router.decision.fitting import values_of
from policy_router.decision.record import DecisionWarning, ReasonCode, Requested, Target
from policy_router.decision.request import moment
from policy_router.domain import Level
from tests.support.rows import each

NOW = "2026-01-31T09:00:00Z"
TEXT = """
name: acme
model: small
provider: main
parameters: {max_tokens: 8192}
facts: {risk: {type: int}}
variables: {sensitive: '"pii" in task.labels', quiet: '!variables.sensitive'}
pool:
  - model: large
    name: coder
    pick: task.kind == "coding"
    allow: parent.depth < 2 && variables.quiet
    fallback: [small]
  - model: small
  - model: maths
    provider: other
    supports: [tools]
    context_window: 10000
    limits: {reasoning_effort: [low]}
forbid:
  - id: closed
    when: target.name == "maths" && caller.team == "x"
precedence: %s
"""

_policy = functools.cache(loads)


def explained(
    request: dict[str, Any], why_not: str | None = None, profile: str = "strict"
) -> Explanation:
    """Decide, and explain."""
    policy = _policy(TEXT % profile, name="acme.yaml")
    return explain(policy, decide(policy, request, now=NOW), why_not=why_not)


def answer(request: dict[str, Any], why_not: str, profile: str = "strict") -> str:
    """Return why a name was not selected, without needless spaces."""
    question = explained(request, why_not, profile).why_not
    assert question is not None
    assert question.name == why_not
    return "\n".join(" ".join(line.split()) for line in question.lines)


def test_a_selection_is_told_with_its_rule_entry_parameters_and_fallbacks() -> None:
    text = str(explained({"task": {"kind": "coding"}}))
    first, *_ = text.split("\n")
    assert first == "selected  coder (large at main)"
    for line in (
        "  rule        pool   rules/precedence/strict.yaml:",
        "  entry       acme.yaml:9:5",
        "  parameters  max_tokens=8192",
        "  fallbacks   small at main",
        "  policy acme, sha256:",
        "step by step",
        "  call    nothing asked",
        "  pool    coder selected",
        "  config  not reached",
    ):
        assert line in text


def test_a_refusal_is_told_with_its_rule_and_what_is_permitted() -> None:
    text = str(explained({"task": {"model": "gpt-9"}}))
    assert text.startswith("refused  outside_pool: the task asks for a model outside the pool\n")
    assert "  permitted  coder, small, maths\n" in text
    assert "  task    asked for `gpt-9`: outside the pool; the request is refused\n" in text
    assert "  rule       task   rules/precedence/strict.yaml:" in text


def test_a_warning_is_told_with_its_wish() -> None:
    text = str(explained({"task": {"model": "gpt-9"}}, profile="delegation"))
    assert "  warning     outside_pool at rule `task`: `gpt-9`: outside the pool\n" in text
    assert "asked for `gpt-9`: outside the pool; the next rule is tried\n" in text


STEPS = """
facts: {n: {type: int, default: 0}}
%s
precedence:
  - {use: call, when: facts.n == 1}
  - {use: task}
  - {use: pool}
  - {use: config}
  - {use: parent, when: 1 / facts.n == 1}
"""


@pytest.mark.parametrize(
    ("policy", "request_", "lines"),
    [
        (
            "",
            {},
            [
                "call    skipped, since its condition is false   s.yaml:5:23",
                "task    nothing asked",
                "pool    there is no pool",
                "config  the policy has no default model",
                "parent  its condition cannot be evaluated, so the request is refused",
            ],
        ),
        (
            "pool: [{model: m}]",
            {"facts": {"n": 1}},
            [
                "call    nothing asked",
                "pool    no entry is picked for this task",
                "parent  the parent's model is not given",
            ],
        ),
        (
            "",
            {"facts": {"n": 1}, "task": {"provider": "p"}},
            [
                (
                    "task    asked for provider `p`: no model or no provider is known; "
                    "the next rule is tried"
                )
            ],
        ),
        (
            "model: m\nprovider: p\nforbid: [{id: f, when: true}]",
            {"facts": {"n": 1}, "call": {"model": "x", "provider": "y"}},
            [
                "call    asked for `x` at `y`: x forbidden by `f`; the next rule is tried",
                "config  m forbidden by `f`; the next rule is tried",
            ],
        ),
    ],
)
def test_each_step_is_told(policy: str, request_: dict[str, Any], lines: list[str]) -> None:
    compiled = loads(STEPS % policy, name="s.yaml")
    text = str(explain(compiled, decide(compiled, request_, now=NOW)))
    for line in lines:
        assert f"\n  {line}" in text


def test_a_parameter_that_is_not_allowed_refuses_where_the_rule_does() -> None:
    request = {"task": {"model": "maths", "reasoning_effort": "max"}}
    text = str(explained(request))
    assert "  task    asked for `maths`: maths a parameter asked for is not allowed; " in text
    assert "the request is refused\n" in text
    # Under `delegation` the wish is left out, and nothing is refused.
    text = str(explained(request, profile="delegation"))
    assert text.startswith("selected  maths at other\n")
    warning = "parameter_limited at rule `task`: reasoning_effort `max`: a parameter was limited"
    assert f"  warning     {warning}\n" in text


def test_a_guard_of_a_wish_goes_on_to_the_next_rule_where_its_own_does() -> None:
    policy = loads(
        "model: m\nprovider: p\n"
        "pool: [{model: a, pick: 'true', limits: {top_k: {max: 5}}}, {model: m}]\n"
        "precedence: [{use: task, on_violation: reject}, {use: pool}, {use: config}]"
    )
    record = decide(policy, {"task": {"parameters": {"top_k": 9}}}, now=NOW)
    text = str(explain(policy, record))
    assert "pool    a a parameter asked for is not allowed; the next rule is tried\n" in text
    assert "config  m selected" in text


def test_a_parent_s_effort_that_is_not_taken_over_is_said_to_be_left_out() -> None:
    parent = {"model": "other", "provider": "main", "reasoning_effort": "high"}
    text = str(explained({"task": {"model": "coder"}, "parent": parent}))
    said = "the parent's reasoning effort `high`, which this target does not take over"
    assert f"\n  left out    {said}\n" in text
    # It is taken over, within the limits; there is none; or a wish goes before.
    for request in (
        {"task": {"model": "maths"}, "parent": {**parent, "reasoning_effort": "low"}},
        {"task": {"model": "coder"}},
        {"task": {"model": "coder", "reasoning_effort": "low"}, "parent": parent},
    ):
        assert "left out" not in str(explained(request))


def test_a_target_that_was_asked_for_by_name_says_why_it_has_no_fallbacks() -> None:
    pinned = "\n  fallbacks   none, since it was asked for by name\n"
    assert pinned in str(explained({"task": {"model": "coder"}}))
    # One that names no fallbacks has none anyway, and one that is picked has its own.
    for request in ({"task": {"model": "small"}}, {"task": {"kind": "coding"}}):
        assert pinned not in str(explained(request))


def test_a_guard_that_failed_is_told_from_one_that_is_against_a_candidate() -> None:
    policy = loads(
        "provider: p\npool: [{model: a}, {model: b, allow: 1 / parent.depth > 0}]\n"
        "forbid: [{id: f, when: 'target.name == \"a\" && 1 / parent.depth > 0'}]\n"
        "precedence: [{use: call}, {use: task}]"
    )
    request = {"call": {"model": "a"}, "task": {"model": "b"}}
    text = str(explain(policy, decide(policy, request, now=NOW)))
    failed = "since the condition cannot be evaluated"
    assert f"call  asked for `a`: a forbidden by `f`, {failed}; the next rule is tried" in text
    assert f"task  asked for `b`: b not allowed, {failed}; the next rule is tried" in text
    assert "forbidden at rule `call`: `a`: forbidden by `f`: the rule `f` could not be" in text
    assert "not_allowed at rule `task`: `b`: not allowed\n" in text


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (
            {"call": {"model": "coder"}, "task": {"model": "small"}},
            "outranked at rule `task`: `small`: another rule went before (rule `call`)",
        ),
        (
            {"task": {"parameters": {"seed": 1}}, "call": {"parameters": {"seed": 2}}},
            "outranked at rule `task`: seed `1`: another rule went before (rule `call`)",
        ),
    ],
)
def test_a_wish_that_loses_is_told_with_the_rule_that_went_before(
    request_: dict[str, Any], line: str
) -> None:
    assert f"  warning     {line}\n" in str(explained(request_))


def test_warnings_without_a_rule_say_where() -> None:
    policy = loads(
        "model: m\nprovider: p\nteams: {values: [ops], unknown: drop}\n"
        "forbid: [{id: f, when: true, message: Soon., enforce: false}]\nprecedence: [{use: config}]"
    )
    request = {"caller": {"team": "hunter2"}, "task": {"model": "x"}}
    text = str(explain(policy, decide(policy, request, now=NOW)))
    unknown = "unknown_value at $.caller.team: the value is not in the policy's set"
    assert f"  warning     {unknown}, and counts as not given\n" in text
    unused = "level_not_used at task: `x`: no rule uses what is asked for here"
    assert f"  warning     {unused}\n" in text
    would = "would_forbid at rule `config`: `m`: would be forbidden by `f`: Soon."
    assert f"  warning     {would}\n" in text
    assert "hunter2" not in text


def test_a_rule_with_a_name_of_its_own_shows_its_level() -> None:
    policy = loads("model: m\nprovider: p\nprecedence: [{id: mine, use: config}]")
    text = str(explain(policy, decide(policy, {}, now=NOW)))
    assert "\n  mine (config)  m selected" in text
    assert "\n  rule        mine   <policy>:3:14\n" in text
    assert "\n  entry" not in text
    assert "\n  fallbacks   none\n" in text


def test_what_refuses_without_a_rule_or_a_pool_has_no_such_line() -> None:
    policy = loads("precedence: [{use: config}]")
    text = str(explain(policy, decide(policy, {}, now=NOW)))
    assert text.startswith("refused  no_target: no rule selects a target\n  policy policy, ")


def test_nothing_permitted_is_said() -> None:
    policy = loads("pool: []")
    assert "\n  permitted  nothing\n" in str(explain(policy, decide(policy, {}, now=NOW)))


def test_a_warning_without_a_wish_names_its_entry() -> None:
    policy = loads(
        "model: m\nprovider: p\npool: [{model: a, pick: 1 / parent.depth == 1}, {model: m}]"
    )
    text = str(explain(policy, decide(policy, {}, now=NOW)))
    warning = (
        "  warning     pick_error at rule `pool`: `a`: whether to pick it, or where it comes, "
        "cannot be evaluated\n"
    )
    assert warning in text


def test_the_full_page_has_every_condition_of_every_entry() -> None:
    page = explained({"task": {"kind": "coding", "labels": ["pii"]}, "caller": {"team": "x"}})
    text = page.to_text(full=True)
    for line in (
        "coder   acme.yaml:9:5",
        "  allow is false   acme.yaml:",
        "    parent.depth < 2 && variables.quiet   false",
        "      parent.depth < 2                    true    parent.depth = 0",
        "      variables.quiet                     false",
        "    variables.sensitive is true   acme.yaml:",
        '      "pii" in task.labels   true   task.labels = ["pii"]',
        "    variables.quiet is false   acme.yaml:",
        "  pick is true   acme.yaml:",
        "  forbid closed is false   acme.yaml:",
        "maths   acme.yaml:",
    ):
        assert " ".join(line.split()) in " ".join(text.split())
    assert "allow is" not in str(page)


def test_the_entries_have_their_traces_as_values() -> None:
    entries = explained({}).entries()
    assert [entry.name for entry, _ in entries] == ["coder", "small", "maths"]
    titles = [[item.title for item in traces] for _, traces in entries]
    assert titles == [["allow", "forbid closed", "pick"], ["forbid closed"], ["forbid closed"]]


def test_a_policy_without_a_pool_has_no_entries() -> None:
    policy = loads("model: m")
    assert explain(policy, decide(policy, {}, now=NOW)).entries() == ()


def test_the_page_is_painted() -> None:
    page = explained({"task": {"model": "gpt-9"}}, "coder", "delegation")
    text = page.to_text(lambda text, role: f"<{role}:{text}>", full=True)
    for painted in (
        "<good:selected>",
        "<warning:warning>",
        "<strong:step by step>",
        "<dim:not reached>",
        "<strong:why not `coder`>",
        "<strong:coder>",
    ):
        assert painted in text
    refused = explained({"task": {"model": "gpt-9"}}).to_text(lambda text, role: f"<{role}:{text}>")
    assert "<error:refused>" in refused


# Why not another.


def test_why_not_the_one_that_is_selected() -> None:
    found = answer({"task": {"kind": "coding"}}, "coder")
    assert found == "large at main acme.yaml:9:5\nit is selected"


def test_why_not_one_that_is_not_picked() -> None:
    found = answer({}, "coder")
    assert "large at main acme.yaml:9:5" in found
    assert "call not asked for\ntask not asked for\npool not picked" in found
    assert "config another model\nparent not reached" in found
    assert "asked for at level task, it would be admitted" in found


def test_why_not_one_whose_window_is_too_small_for_the_answer_alone() -> None:
    policy = loads(TEXT.replace("window: 10000", "window: 1000") % "strict", name="acme.yaml")
    question = explain(policy, decide(policy, {}, now=NOW), why_not="maths").why_not
    assert question is not None
    assert question.lines[-1].endswith("(1,000 tokens for 0 and 8,192 for the answer)")


def test_a_forbid_rule_that_only_warns_stands_in_no_way() -> None:
    text = """
    {provider: p, pool: [{model: a, pick: true}, {model: b, allow: "1 > 2"}],
     forbid: [{id: trial, when: true, enforce: false}]}
    """
    policy = loads(text)
    question = explain(policy, decide(policy, {}, now=NOW), why_not="b").why_not
    assert question is not None
    assert [item.title for item in question.traces] == ["allow"]


def test_why_not_one_without_a_pick() -> None:
    assert "pool never picked unasked, since it has no `pick`" in answer({}, "maths")


def test_why_not_one_that_is_forbidden() -> None:
    page = explained({"caller": {"team": "x"}, "task": {"model": "maths"}}, "maths")
    assert page.why_not is not None
    lines = "\n".join(" ".join(line.split()) for line in page.why_not.lines)
    assert "task proposed, and forbidden by `closed`" in lines
    assert "asked for at level task, it would be rejected: forbidden" in lines
    assert [(item.title, item.value) for item in page.why_not.traces] == [("forbid closed", "true")]
    assert "why not `maths`" in str(page)
    assert "forbid closed is true" in str(page)


def test_why_not_one_that_is_not_allowed() -> None:
    page = explained({"parent": {"depth": 2}}, "coder")
    assert page.why_not is not None
    assert "it would be rejected: not allowed" in "\n".join(page.why_not.lines)
    assert [item.title for item in page.why_not.traces] == ["allow", "pick"]


def test_why_not_one_that_lacks_a_capability() -> None:
    found = answer({"task": {"needs": ["tools", "vision", "audio"]}}, "maths")
    assert found.endswith(
        "it would be rejected: lacks a capability that the task needs (vision, audio)"
    )


def test_why_not_one_whose_window_is_too_small() -> None:
    found = answer({"task": {"input_tokens": 2000}}, "maths")
    wanted = (
        "has a context window smaller than input and answer "
        "(10,000 tokens for 2,000 and 8,192 for the answer)"
    )
    assert found.endswith(f"it would be rejected: {wanted}")


@pytest.mark.parametrize(
    ("entry", "request_", "sizes"),
    [
        # The answer alone may be too large; where nothing says its size, it is one token.
        ("parameters: {max_tokens: 200}", {}, "100 tokens for 0 and 200 for the answer"),
        ("", {"task": {"input_tokens": 100}}, "100 tokens for 100 and 1 for the answer"),
    ],
)
def test_why_not_says_what_the_window_had_to_hold(
    entry: str, request_: dict[str, Any], sizes: str
) -> None:
    policy = loads(f"pool: [{{model: m, provider: p, context_window: 100, {entry}}}]")
    question = explain(policy, decide(policy, request_, now=NOW), why_not="m").why_not
    assert question is not None
    assert question.lines[-1].endswith(f"({sizes})")


def test_why_not_one_that_does_not_grant_a_wish() -> None:
    request = {"task": {"reasoning_effort": "max"}}
    assert answer(request, "maths").endswith(
        "it would be rejected: its limits do not allow reasoning_effort `max`"
    )


def test_why_not_one_without_a_provider() -> None:
    policy = loads("pool: [{model: m}]\nprecedence: strict")
    question = explain(policy, decide(policy, {}, now=NOW), why_not="m").why_not
    assert question is not None
    assert question.lines[-1].endswith("it would be rejected: no model or no provider is known")


def test_why_not_is_asked_at_a_level_at_which_an_agent_asks() -> None:
    policy = loads(
        "model: a\npool: [{model: a, allow: target.level == 'task', provider: p}]\nprovider: p"
    )
    found = explain(policy, decide(policy, {}, now=NOW), why_not="a").why_not
    assert found is not None
    assert "  config  proposed, and not allowed" in found.lines
    assert "asked for at level task, it would be admitted" in found.lines
    # What kept it away at its own level has a trace.
    assert [item.title for item in found.traces] == ["allow"]


def test_why_not_one_that_was_asked_for_and_comes_after_the_one_selected() -> None:
    policy = loads("pool: [{model: a, provider: p}, {model: a, provider: q}]")
    record = decide(policy, {"task": {"model": "a"}}, now=NOW)
    question = explain(policy, record, why_not="a").why_not
    assert question is not None
    # The wish means both; the second was asked for, and not looked at.
    assert "  task    not asked for" not in question.lines


def test_why_not_where_the_rule_fails_or_is_skipped_or_proposes_another_alone() -> None:
    policy = loads(
        "pool: [{model: a}, {model: b, pick: 'true'}]\n"
        "precedence:\n"
        "  - {use: call, when: task.index > 0}\n"
        "  - {id: one, use: pool, entry: a, when: task.kind == 'x'}\n"
        "  - {id: two, use: pool, when: 1 / parent.depth == 1}\n"
        "  - {id: three, use: pool}\n"
    )

    def lines(request: dict[str, Any], name: str) -> str:
        question = explain(policy, decide(policy, request, now=NOW), why_not=name).why_not
        assert question is not None
        return "\n".join(" ".join(line.split()) for line in question.lines)

    assert "call the rule is skipped" in lines({}, "a")
    assert "two (pool) the rule's condition cannot be evaluated" in lines({}, "a")
    assert "one (pool) the rule proposes `a` alone" in lines({"task": {"kind": "x"}}, "b")
    assert "three (pool) not reached" in lines({}, "b")


def test_why_not_one_that_comes_after_the_one_selected() -> None:
    policy = loads("provider: p\npool: [{model: a, pick: 'true'}, {model: b, pick: 'true'}]")
    question = explain(policy, decide(policy, {}, now=NOW), why_not="b").why_not
    assert question is not None
    assert any("picked too, but after the one selected" in line for line in question.lines)


def test_why_not_a_name_that_two_entries_share() -> None:
    policy = loads("pool: [{model: a, provider: p}, {model: a, provider: q}]")
    question = explain(policy, decide(policy, {}, now=NOW), why_not="a").why_not
    assert question is not None
    heads = [line.split("   ")[0] for line in question.lines if line.startswith("a at ")]
    assert heads == ["a at p", "a at q"]


def test_why_not_the_other_entry_of_a_shared_name_when_one_is_selected() -> None:
    policy = loads("pool: [{model: a, provider: p}, {model: a, provider: q}]")
    record = decide(policy, {"task": {"model": "a", "provider": "q"}}, now=NOW)
    question = explain(policy, record, why_not="a").why_not
    assert question is not None
    # One of the two is selected, the other is not.
    assert [line.strip() for line in question.lines].count("it is selected") == 1
    assert any(line.startswith("a at p") for line in question.lines)


def test_why_not_an_entry_at_the_parents_provider() -> None:
    policy = loads("pool: [{model: a}]")
    question = explain(policy, decide(policy, {}, now=NOW), why_not="a").why_not
    assert question is not None
    assert question.lines[0].startswith("a at -   ")


def test_why_not_an_alias_means_its_entry() -> None:
    policy = loads("pool: [{model: a, aliases: [b]}]")
    question = explain(policy, decide(policy, {}, now=NOW), why_not="b").why_not
    assert question is not None
    assert question.lines[0].startswith("a at ")


def test_why_not_an_unknown_name_has_a_suggestion() -> None:
    assert answer({}, "coderr") == "`coderr` is not an entry of the pool\ndid you mean `coder`?"
    assert answer({}, "zzz") == "`zzz` is not an entry of the pool"


def test_why_not_without_a_pool() -> None:
    policy = loads("model: m")
    question = explain(policy, decide(policy, {}, now=NOW), why_not="x").why_not
    assert question is not None
    assert question.lines == (
        "there is no pool: it is selected where it is asked for and not forbidden",
    )


# Records.


def test_a_record_of_another_revision_is_an_error_not_a_guess() -> None:
    policy, other = loads("model: m"), loads("model: n")
    with pytest.raises(RecordError) as caught:
        explain(other, decide(policy, {}, now=NOW))
    assert str(caught.value) == (
        f"the record is of the policy `policy` in revision `{policy.revision[:19]}`, "
        f"and this one is `{other.revision[:19]}`"
    )


@each(
    "change",
    [
        {"request": {"tsk": {}}},
        {"request": {"facts": {"unknown": 1}}},
        {"request": {"task": {"model": "gpt-9"}}},
        {"steps": ()},
    ],
)
def test_a_record_that_was_changed_is_an_error_not_a_guess(change: dict[str, Any]) -> None:
    policy = loads("model: m\npool: [{model: m}]")
    record = msgspec.structs.replace(decide(policy, {}, now=NOW), **change)
    with pytest.raises(RecordError):
        explain(policy, record)


def test_a_stored_record_is_explained_like_a_new_one() -> None:
    policy = loads(TEXT % "strict", name="acme.yaml")
    record = decide(policy, {"task": {"kind": "coding"}, "facts": {"risk": 3}}, now=NOW)
    again = type(record).from_json(record.to_json())
    assert str(explain(policy, again, why_not="small")) == str(
        explain(policy, record, why_not="small")
    )


# Traces.


def lines_of(condition: str, request: dict[str, Any]) -> list[str]:
    """Return the trace of a condition about a candidate."""
    policy = loads(f"facts: {{n: {{type: int}}}}\nforbid:\n  - when: >-\n      {condition}\n")
    evaluation = Evaluation(policy, values_of(policy, Request(**request)), moment(NOW))
    candidate = Candidate("m", "p", Level.TASK)
    return list(trace(evaluation, "x", policy.forbid[0].when, candidate).lines())[1:]


@each(
    ("condition", "request_", "lines"),
    [
        # A constant has no parts to tell of.
        ("true", {}, []),
        ("task.index > 0", {"task": {"index": 3}}, ["task.index > 0   true   task.index = 3"]),
        (
            "has(facts.n) && facts.n > 0",
            {},
            [
                "has(facts.n) && facts.n > 0   false",
                "has(facts.n)                false",
                "facts.n > 0                 cannot be evaluated   facts.n = absent",
            ],
        ),
        (
            "!(task.kind == 'x') || true",
            {},
            [
                "!(task.kind == 'x') || true   true",
                "!(task.kind == 'x')         true",
                "task.kind == 'x'          false   task.kind = \"\"",
            ],
        ),
        (
            "(has(facts.n) ? 1 : 2) == 1",
            {"facts": {"n": 1}},
            ["(has(facts.n) ? 1 : 2) == 1   true   facts.n = present"],
        ),
        (
            "(has(facts.n) ? 1 : 2) == 1",
            {},
            ["(has(facts.n) ? 1 : 2) == 1   false   facts.n = absent"],
        ),
        (
            "task.kind == task.model && task.kind == ''",
            {},
            [
                "task.kind == task.model && task.kind == ''   true",
                'task.kind == task.model                    true   task.kind = "", task.model = ""',
                "task.kind == ''                            true   task.kind = \"\"",
            ],
        ),
        ("target.name == 'm'", {}, ["target.name == 'm'   true   target.name = \"m\""]),
        (
            "now >   timestamp('2026-01-01T00:00:00Z')",
            {},
            [
                "now > timestamp('2026-01-01T00:00:00Z')   true   now = 2026-01-31T09:00:00Z",
            ],
        ),
    ],
)
def test_a_condition_is_told_part_by_part_with_the_values_it_reads(
    condition: str, request_: dict[str, Any], lines: list[str]
) -> None:
    assert [line.strip() for line in lines_of(condition, request_)] == lines


@each(
    ("outcome", "text"),
    [
        (True, "true"),
        (1, "1"),
        (1.5, "1.5"),
        ("a", '"a"'),
        ("\u00e9\x1b", '"\u00e9\\u001b"'),
        ("\u202e", '"\ufffd"'),
        ((), "[]"),
        (("a", 1), '["a", 1]'),
        ((("a",),), '[["a"]]'),
        (FAILURE, "cannot be evaluated"),
        (timestamp("2026-01-31T02:00:00+02:00"), "2026-01-31T00:00:00Z"),
        (duration("1m30.5s"), "90.5s"),
        (duration("-1h"), "-3600s"),
        ("a" * 70, f'"{"a" * 70}"'),
        ("a" * 71, f'"{"a" * 68}...'),
        (("a" * 100,), f'["{"a" * 67}...'),
    ],
)
def test_a_value_is_shown_as_it_would_be_written(outcome: Any, text: str) -> None:
    assert shown(outcome) == text


# Words.


@each(
    ("requested", "text"),
    [
        ({"model": "m"}, "`m`"),
        ({"model": "m", "provider": "p"}, "`m` at `p`"),
        ({"provider": "p"}, "provider `p`"),
        ({"reasoning_effort": "max"}, "reasoning_effort `max`"),
        (
            {"model": "m", "provider": "p", "reasoning_effort": "max"},
            "`m` at `p` reasoning_effort `max`",
        ),
        ({"top_k": 5}, "top_k `5`"),
        ({"temperature": 0.5}, "temperature `0.5`"),
        ({"logprobs": True}, "logprobs `True`"),
        ({"model": "m", "provider": "p", "seed": 1}, "`m` at `p` seed `1`"),
        ({}, ""),
    ],
)
def test_a_wish_is_told(requested: Requested, text: str) -> None:
    assert asked(requested) == text


@each(
    ("target", "text"),
    [
        (Target("m", "p", {}), "m at p"),
        (Target("m", "", {}), "m"),
        (Target("m", "p", {}, "m"), "m at p"),
        (Target("m", "p", {}, "e"), "e (m at p)"),
        (Target("m", "", {}, "e\x1b"), "e\ufffd (m)"),
    ],
)
def test_a_target_is_told(target: Target, text: str) -> None:
    assert spelt_target(target) == text


def test_parameters_are_told_in_order() -> None:
    assert spelt_parameters(Target("m", "p", {"b": 1, "a": "x"})) == "a=x, b=1"
    assert spelt_parameters(Target("m", "p", {})) == "none"


@pytest.mark.parametrize(
    ("warning", "text"),
    [
        (
            DecisionWarning(
                ReasonCode.FORBIDDEN, "call", {"model": "m"}, forbid="f", message="No."
            ),
            "`m`: forbidden by `f`: No.",
        ),
        (
            DecisionWarning(ReasonCode.FORBIDDEN, "pool", forbid="f", error=True),
            "forbidden by `f`, since it cannot be evaluated",
        ),
        (
            DecisionWarning(ReasonCode.OUTRANKED, "task", {"model": "m"}, by="call"),
            "`m`: another rule went before (rule `call`)",
        ),
        (
            DecisionWarning(ReasonCode.LEVEL_NOT_USED, level=Level.TASK),
            "at level task: no rule uses what is asked for here",
        ),
        (
            DecisionWarning(ReasonCode.UNKNOWN_VALUE, path="$.caller.team"),
            "$.caller.team: the value is not in the policy's set, and counts as not given",
        ),
        (
            DecisionWarning(ReasonCode.PARAMETER_LIMITED, "pool", parameter="reasoning_effort"),
            "a parameter was limited (reasoning_effort)",
        ),
        (
            DecisionWarning(ReasonCode.PARAMETER_LIMITED, "task", {"top_k": 9}, parameter="top_k"),
            "top_k `9`: a parameter was limited",
        ),
        (DecisionWarning(ReasonCode.PICK_ERROR, "pool", entry="e\x1b"), None),
    ],
)
def test_a_warning_is_told(warning: DecisionWarning, text: str | None) -> None:
    found = spelt_warning(warning)
    assert found == text if text is not None else "\x1b" not in found


def test_every_code_has_words() -> None:
    assert set(REASONS) == set(ReasonCode)


# A target that is no entry.

FORBIDDING = """
model: general
provider: us
forbid:
  - {id: pii, when: '"pii" in task.labels && target.provider == "us"', message: Stays in the EU.}
  - {id: other, when: 'task.kind == "x"'}
precedence: [{use: task}, {use: config}, {use: parent}]
"""


@each(
    ("request_", "rules"),
    [
        ({"task": {"labels": ["pii"]}}, ["config"]),
        (
            {"task": {"labels": ["pii"], "model": "general", "provider": "us"}},
            ["task", "config"],
        ),
        (
            {"task": {"labels": ["pii"]}, "parent": {"model": "general", "provider": "us"}},
            ["config", "parent"],
        ),
    ],
)
def test_a_forbid_rule_shows_its_values_for_a_target_without_an_entry(
    request_: dict[str, Any], rules: list[str]
) -> None:
    policy = loads(FORBIDDING)
    record = decide(policy, request_, now=NOW)
    shown = str(explain(policy, record, why_not="general")).partition("why not `general`\n")[2]
    head, *lines = shown.splitlines()
    assert head == "  general   not in the pool"
    said = [line.split()[0] for line in lines if "proposed, and forbidden by `pii`" in line]
    assert said == rules
    assert '"pii" in task.labels                            true   task.labels = ["pii"]' in shown
    assert "other" not in shown
    full = explain(policy, record).to_text(full=True)
    assert full.count("general   not in the pool") == len(rules)
    assert full.count('target.provider = "us"') == len(rules)


def test_without_a_rule_in_its_way_a_model_outside_the_pool_is_no_entry() -> None:
    policy = loads(FORBIDDING)
    record = decide(policy, {"task": {"labels": ["pii"]}}, now=NOW)
    shown = str(explain(policy, record, why_not="another"))
    assert "there is no pool: it is selected where it is asked for and not forbidden" in shown
