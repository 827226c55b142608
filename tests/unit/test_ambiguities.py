"""What the first proposal left open, and the answer of the language page to each."""

from __future__ import annotations

import json
from typing import Any

import pytest

import policy_router
from policy_router import RequestError
from tests.support.rows import each

NOW = "2026-01-31T09:00:00Z"
Plain = dict[str, Any]

CODER: Plain = {"model": "glm-5.1", "name": "coder", "provider": "zai"}
THINKER: Plain = {"model": "glm-5", "provider": "zai"}
DEFAULT: Plain = {"model": "glm-5-turbo", "provider": "zai"}


def decision(policy: Plain, request: Plain) -> Plain:
    """Decide, and return the decision as plain data."""
    compiled = policy_router.loads(json.dumps({"version": 1, **policy}), name="test")
    record = policy_router.decide(compiled, request, now=NOW)
    plain: Plain = json.loads(record.to_json())
    return {**plain["decision"], "steps": plain["steps"]}


def target(policy: Plain, request: Plain) -> tuple[str | None, str, str]:
    """Return entry, model and provider of what is selected."""
    found = decision(policy, request)["target"]
    return found.get("entry"), found["model"], found["provider"]


def codes(warnings: list[Plain]) -> list[str]:
    return [warning["code"] for warning in warnings]


# a) Refuse or fall back.

OUTSIDE: Plain = {"task": {"model": "gpt-9"}}


def test_a_refuse_or_fall_back_is_the_rules_on_violation() -> None:
    """`next` falls back and leaves a warning; it is the default."""
    policy = {**DEFAULT, "pool": [CODER]}
    for precedence in ("delegation", [{"use": "task"}, {"use": "config"}]):
        found = decision({**policy, "precedence": precedence}, OUTSIDE)
        assert found["level"] == "config"
        assert found["warnings"] == [
            {"code": "outside_pool", "rule": "task", "requested": {"model": "gpt-9"}}
        ]


@pytest.mark.parametrize("profile", ["strict", "task-first"])
def test_a_refuse_or_fall_back_refuses_under_reject(profile: str) -> None:
    """`reject` ends with a refusal that names the code, the rule and what is permitted."""
    found = decision({"pool": [CODER, THINKER], "precedence": profile}, OUTSIDE)
    assert found["outcome"] == "refused"
    refusal = {key: value for key, value in found["refusal"].items() if key != "message"}
    assert refusal == {"code": "outside_pool", "rule": "task", "permitted": ["coder", "glm-5"]}


# b) Call before task, or task before call.

BOTH: Plain = {"call": {"model": "coder"}, "task": {"model": "glm-5"}}


@each(
    ("profile", "level", "entry"),
    [("delegation", "call", "coder"), ("strict", "call", "coder"), ("task-first", "task", "glm-5")],
)
def test_b_call_or_task_first_is_the_order_of_the_rules(
    profile: str, level: str, entry: str
) -> None:
    """The precedence decides: `call` first by default, `task` first under `task-first`."""
    found = decision({"pool": [CODER, THINKER], "precedence": profile}, BOTH)
    assert (found["level"], found["target"]["entry"]) == (level, entry)


# c) A model without a provider.


def test_c_a_model_without_a_provider_takes_the_entrys() -> None:
    """With a pool the entry brings its provider."""
    policy = {**DEFAULT, "pool": [{"model": "r1", "provider": "openrouter"}]}
    assert target(policy, {"task": {"model": "r1"}}) == ("r1", "r1", "openrouter")


def test_c_a_model_without_a_provider_takes_the_configs_without_a_pool() -> None:
    """Without a pool a missing provider is the config's, before the parent's."""
    request = {"task": {"model": "r1"}, "parent": {"provider": "openrouter"}}
    assert target(DEFAULT, request) == (None, "r1", "zai")


def test_c_a_model_without_a_provider_takes_the_parents_else() -> None:
    """Where the policy names no provider, it is the parent's: of a wish, an entry, the default."""
    request = {"task": {"model": "r1"}, "parent": {"provider": "openrouter"}}
    assert target({}, request) == (None, "r1", "openrouter")
    assert target({"pool": [{"model": "r1"}]}, request) == ("r1", "r1", "openrouter")
    assert target({"model": "glm-5"}, {"parent": {"provider": "zai"}}) == (None, "glm-5", "zai")


# d) One model at two providers.

TWICE: list[Plain] = [
    {"model": "r1", "provider": "zai"},
    {"model": "r1", "provider": "openrouter"},
]


def test_d_one_model_at_two_providers_means_both_in_file_order() -> None:
    """The model alone means both entries; the first that is admitted is selected."""
    request = {"task": {"model": "r1"}}
    assert target({"pool": TWICE}, request) == ("r1", "r1", "zai")
    closed = [{**TWICE[0], "allow": "false"}, TWICE[1]]
    assert target({"pool": closed}, request) == ("r1", "r1", "openrouter")


def test_d_one_model_at_two_providers_is_told_apart_by_the_provider() -> None:
    """The provider asked for picks one of them."""
    request = {"task": {"model": "r1", "provider": "openrouter"}}
    assert target({"pool": TWICE}, request) == ("r1", "r1", "openrouter")


def test_d_one_model_at_two_providers_is_told_apart_by_a_name() -> None:
    """A name goes before a model id: who asks for it means that entry alone."""
    pool = [TWICE[0], {**TWICE[1], "name": "prover"}]
    assert target({"pool": pool}, {"task": {"model": "prover"}}) == ("prover", "r1", "openrouter")


def test_d_one_model_at_two_providers_is_permitted_once() -> None:
    """The names that a refusal permits are unique."""
    found = decision({"pool": TWICE, "precedence": "strict"}, OUTSIDE)
    assert found["refusal"]["permitted"] == ["r1"]


# e) A provider without a model.


def test_e_a_provider_without_a_model_means_all_its_entries() -> None:
    """With a pool it means all entries of that provider, in file order."""
    pool = [CODER, TWICE[1], {"model": "r2", "provider": "openrouter"}]
    request = {"task": {"provider": "openrouter"}}
    assert target({"pool": pool}, request) == ("r1", "r1", "openrouter")
    assert (
        decision({"pool": pool, "precedence": "strict"}, {"task": {"provider": "no"}})["refusal"][
            "code"
        ]
        == "outside_pool"
    )


def test_e_a_provider_without_a_model_takes_the_configs_if_it_is_its_provider() -> None:
    """Without a pool the model is the config's where the config's provider is the one asked."""
    assert target(DEFAULT, {"task": {"provider": "zai"}}) == (None, "glm-5-turbo", "zai")


def test_e_a_provider_without_a_model_is_incomplete_else() -> None:
    """No model is sent to a provider that it was not written for."""
    found = decision({**DEFAULT, "precedence": "strict"}, {"task": {"provider": "openrouter"}})
    assert found["refusal"]["code"] == "incomplete"
    assert "permitted" not in found["refusal"]
    found = decision(DEFAULT, {"task": {"provider": "openrouter"}})
    assert codes(found["warnings"]) == ["incomplete"]
    assert found["level"] == "config"


# f) An empty pool against no pool.


def test_f_no_pool_is_no_restriction() -> None:
    """Without a pool anything may be asked for."""
    assert target({**DEFAULT, "precedence": "strict"}, OUTSIDE) == (None, "gpt-9", "zai")


def test_f_an_empty_pool_means_nothing_may_be_asked_for() -> None:
    """With an empty pool every wish is outside; the default stands where it may be outside."""
    found = decision({"pool": [], "precedence": "strict"}, OUTSIDE)
    assert (found["refusal"]["code"], found["refusal"]["permitted"]) == ("outside_pool", [])
    assert target({**DEFAULT, "pool": []}, {}) == (None, "glm-5-turbo", "zai")


# g) Duplicate entries.


@each(
    "pool",
    [
        [{"model": "a", "name": "x"}, {"model": "b", "name": "x"}],
        [{"model": "a"}, {"model": "b", "name": "a"}],
        [{"model": "a", "provider": "p"}, {"model": "a", "provider": "p"}],
    ],
    ids=["two written names", "a name that is a model", "the same target twice"],
)
def test_g_duplicate_entries_are_an_error(pool: list[Plain]) -> None:
    """Two entries share a name only if both take it from their model and differ in provider."""
    with pytest.raises(policy_router.PolicyError):
        policy_router.loads(json.dumps({"version": 1, "pool": pool}), name="test")


def test_g_duplicate_entries_under_two_names_are_a_warning() -> None:
    """Two entries alike in all but name load; the lint says so."""
    pool = [{"model": "a", "name": "x"}, {"model": "a", "name": "y"}]
    text = json.dumps({"version": 1, "provider": "openai", "pool": pool})
    policy = policy_router.loads(text, name="test")
    assert [item.code for item in policy.warnings] == ["PR406"]


def test_g_a_rule_called_like_anothers_default_does_not_lend_its_message() -> None:
    """A repeated id is an error; where it is let pass, the message is that of the right rule."""
    forbid = [
        {"id": "forbid-2", "when": "false", "message": "Wrong."},
        {"when": "true", "message": "Right."},
    ]
    rules = [{"use": "config", "on_violation": "reject"}]
    try:
        found = decision({**DEFAULT, "forbid": forbid, "precedence": rules}, {})
    except policy_router.PolicyError:
        return
    assert found["refusal"]["message"] == "Right."


# h) The config default not in the pool.


def test_h_the_default_need_not_be_in_the_pool() -> None:
    """`in_pool` is false for config: the default is used, and is no entry."""
    assert target({**DEFAULT, "pool": [CODER]}, {}) == (None, "glm-5-turbo", "zai")


def test_h_the_default_must_be_in_the_pool_where_its_rule_says_so() -> None:
    """`in_pool: true` makes the pool a guard for the default too: at load where that is known."""
    rules = [{"use": "config", "in_pool": True, "on_violation": "reject"}]
    for precedence in (rules, "strict", "task-first"):
        with pytest.raises(policy_router.PolicyError, match="PR408"):
            decision({**DEFAULT, "pool": [CODER], "precedence": precedence}, {})
    at_the_parents = {"model": "glm-5.1", "pool": [CODER], "precedence": rules}
    found = decision(at_the_parents, {"parent": {"provider": "openrouter"}})
    assert found["refusal"]["code"] == "outside_pool"


def test_h_the_default_takes_the_attributes_of_the_entry_it_equals() -> None:
    """Precedence never overrides a guard: the entry's `allow` holds for the default too."""
    entry = {"model": "glm-5-turbo", "name": "cheap", "parameters": {"temperature": 0.2}}
    found = decision({**DEFAULT, "pool": [entry]}, {})["target"]
    assert (found["entry"], found["parameters"]) == ("cheap", {"temperature": 0.2})
    found = decision({**DEFAULT, "pool": [{**entry, "allow": "false"}]}, {})
    assert codes(found["warnings"]) == ["not_allowed"]
    assert found["refusal"]["code"] == "no_target"


# i) The parent's model not in the pool.

PARENT: Plain = {"parent": {"model": "opus", "provider": "anthropic"}}


def test_i_the_parents_model_need_not_be_in_the_pool() -> None:
    """`in_pool` is false for parent: a child may run on what its parent runs on."""
    assert target({"pool": [CODER]}, PARENT) == (None, "opus", "anthropic")


def test_i_the_parents_model_must_be_in_the_pool_where_its_rule_says_so() -> None:
    """`in_pool: true` makes the pool a guard for the parent's model too."""
    rules = [{"use": "parent", "in_pool": True}]
    found = decision({"pool": [CODER], "precedence": rules}, PARENT)
    assert codes(found["warnings"]) == ["outside_pool"]
    assert found["refusal"]["code"] == "no_target"


def test_i_the_parents_model_is_forbidden_like_any_other() -> None:
    """A forbid rule beats every level."""
    forbid = [{"when": 'target.provider == "anthropic"'}]
    assert decision({"forbid": forbid}, PARENT)["outcome"] == "refused"


# j) One bad task in a batch.


def test_j_one_bad_task_in_a_batch_is_refused_alone() -> None:
    """Each task is decided on its own: one refusal changes nothing for the others."""
    policy = {"pool": [CODER, THINKER], "precedence": "strict"}
    batch = [
        {"task": {"model": model, "index": index, "batch_size": 3}}
        for index, model in enumerate(["coder", "gpt-9", "glm-5"])
    ]
    outcomes = [decision(policy, request)["outcome"] for request in batch]
    assert outcomes == ["selected", "refused", "selected"]


def test_j_one_malformed_task_in_a_batch_says_where_it_is_wrong() -> None:
    """A malformed request is no refusal but a RequestError with its JSON path."""
    policy = policy_router.loads(json.dumps({"version": 1, "pool": [CODER]}), name="test")
    with pytest.raises(RequestError) as caught:
        policy_router.decide(policy, {"task": {"model": "coder", "needs": "tools"}}, now=NOW)
    assert "$.task.needs" in str(caught.value)


# k) A fallback that is unusable too.


def test_k_an_unusable_fallback_is_not_in_the_plan() -> None:
    """Fallbacks are admitted on the same terms as the target; the rest stay in order."""
    pool = [
        {**CODER, "pick": "true", "fallback": ["b", "c", "d"]},
        {"model": "b"},
        {"model": "c", "allow": "false"},
        {"model": "d", "supports": ["tools"]},
    ]
    policy = {"provider": "zai", "pool": pool}
    found = decision(policy, {"task": {"needs": ["tools"]}})
    assert [it["entry"] for it in found["fallbacks"]] == ["b", "d"]
    found = decision(policy, {"task": {"needs": ["vision"]}})
    assert [it["entry"] for it in found["fallbacks"]] == ["b"]


def test_k_a_pinned_child_does_not_become_another() -> None:
    """A wish gets no fallbacks unless its rule says `fallback: true`."""
    pool = [{**CODER, "fallback": ["glm-5"]}, THINKER]
    request = {"task": {"model": "coder"}}
    assert decision({"pool": pool}, request)["fallbacks"] == []
    planned = decision({"pool": pool, "precedence": [{"use": "task", "fallback": True}]}, request)
    assert [it["entry"] for it in planned["fallbacks"]] == ["glm-5"]


def test_k_a_fallback_that_would_refuse_the_wish_is_not_in_the_plan() -> None:
    """A limit that refuses a wish refuses it for a fallback too."""
    pool = [
        {**CODER, "fallback": ["b"]},
        {"model": "b", "provider": "zai", "limits": {"reasoning_effort": ["low"]}},
    ]
    rules: list[Plain] = [{"use": "task", "on_violation": "reject", "fallback": True}]
    request = {"task": {"model": "coder", "reasoning_effort": "high"}}
    assert decision({"pool": pool, "precedence": rules}, request)["fallbacks"] == []
    request["task"]["reasoning_effort"] = "low"
    planned = decision({"pool": pool, "precedence": rules}, request)["fallbacks"]
    assert [it["entry"] for it in planned] == ["b"]


def test_k_an_entry_is_planned_once() -> None:
    """`fallback: candidates` adds the other candidates after the entry's own list, each once."""
    pool: list[Plain] = [
        {**CODER, "pick": "true", "fallback": ["c", "b", "c"]},
        {"model": "b", "provider": "zai", "pick": "true"},
        {"model": "c", "provider": "zai"},
        {"model": "d", "provider": "zai", "pick": "true"},
    ]
    rules = [{"use": "pool", "fallback": "candidates"}]
    found = decision({"pool": pool, "precedence": rules}, {})
    assert [it["entry"] for it in found["fallbacks"]] == ["c", "b", "d"]


def test_k_the_plan_is_what_was_written() -> None:
    """The entries named, in order: one that names itself is warned of, and stands in the plan."""
    pool = [{**CODER, "pick": "true", "fallback": ["coder", "glm-5"]}, THINKER]
    found = decision({"pool": pool}, {})
    assert [it["entry"] for it in found["fallbacks"]] == ["coder", "glm-5"]


def test_k_one_model_falls_back_to_its_other_provider() -> None:
    """Names of their own tell the entries of one model apart."""
    pool = [
        {**TWICE[0], "name": "r1-zai", "pick": "true", "fallback": ["r1-openrouter"]},
        {**TWICE[1], "name": "r1-openrouter"},
    ]
    found = decision({"pool": pool}, {})
    assert found["target"]["provider"] == "zai"
    assert [it["provider"] for it in found["fallbacks"]] == ["openrouter"]


# l) Case, alias and `vendor/` prefix of a name.


@each("model", ["Coder", "GLM-5.1", "zai/glm-5.1", "coder ", "glm-5"])
def test_l_a_name_is_taken_as_it_is_written(model: str) -> None:
    """Names, models and aliases are compared as they are: no case, prefix or space is guessed."""
    found = decision({"pool": [CODER], "precedence": "strict"}, {"task": {"model": model}})
    assert found["refusal"]["code"] == "outside_pool"


@each("model", ["coder", "glm-5.1", "zai/glm-5.1", "Coder"])
def test_l_an_alias_is_another_way_to_ask(model: str) -> None:
    """Every other spelling is an alias that the admin writes."""
    entry = {**CODER, "aliases": ["zai/glm-5.1", "Coder"]}
    assert target({"pool": [entry]}, {"task": {"model": model}}) == ("coder", "glm-5.1", "zai")


def test_l_a_name_goes_before_a_model_and_an_alias() -> None:
    """Only where no entry has the name asked for do models and aliases count."""
    pool = [
        {"model": "glm-5", "name": "old", "aliases": ["glm-5.1"]},
        {"model": "glm-5.2", "name": "glm-5"},
    ]
    policy = {"provider": "zai", "pool": pool}
    assert target(policy, {"task": {"model": "glm-5"}})[:2] == ("glm-5", "glm-5.2")
    assert target(policy, {"task": {"model": "glm-5.1"}})[:2] == ("old", "glm-5")


def test_l_a_name_that_hides_a_model_does_not_hide_its_guards() -> None:
    """With `in_pool: false` a wish may leave the pool, but not pass by the guards of an entry."""
    pool = [
        {"model": "a", "provider": "p", "name": "b"},
        {"model": "b", "provider": "q", "name": "closed", "allow": "false"},
    ]
    rules = [{"use": "task", "in_pool": False, "on_violation": "reject"}]
    request = {"task": {"model": "b", "provider": "q"}}
    found = decision({"pool": pool, "precedence": rules}, request)
    assert found["outcome"] == "refused"
    assert found["refusal"]["code"] == "not_allowed"


# m) A target without a provider.


def test_m_a_target_without_a_provider_is_incomplete() -> None:
    """No call can be made without knowing where: such a target is not admitted."""
    found = decision({"model": "glm-5", "precedence": [{"use": "config"}]}, {})
    assert codes(found["refusal"]["reasons"]) == ["incomplete"]
    found = decision({"pool": [{"model": "r1"}], "precedence": "strict"}, {"task": {"model": "r1"}})
    assert (found["refusal"]["code"], found["refusal"]["permitted"]) == ("incomplete", [])


# n) A wish that is not granted as it is.

LIMITED: list[Plain] = [
    {**CODER, "pick": "true", "limits": {"top_k": {"max": 5}}},
    {**THINKER, "pick": "true"},
]
TOP_9: Plain = {"task": {"parameters": {"top_k": 9}}}


def test_n_a_wish_beyond_a_limit_is_lowered_where_its_rule_goes_on() -> None:
    """`next`: the nearest bound, and a warning."""
    found = decision({"pool": LIMITED}, TOP_9)
    assert (found["target"]["entry"], found["target"]["parameters"]) == ("coder", {"top_k": 5})
    assert codes(found["warnings"]) == ["parameter_limited"]


def test_n_a_wish_beyond_a_limit_passes_its_entry_over_where_its_rule_rejects() -> None:
    """`reject`: the limit is a guard, and the next candidate is looked at."""
    found = decision({"pool": LIMITED, "precedence": "strict"}, TOP_9)
    assert (found["target"]["entry"], found["target"]["parameters"]) == ("glm-5", {"top_k": 9})
    found = decision({"pool": LIMITED[:1], "precedence": "strict"}, TOP_9)
    assert codes(found["refusal"]["reasons"]) == ["parameter_not_allowed"]


def test_n_a_wish_for_what_is_no_parameter_is_malformed() -> None:
    """Nothing among the parameters may replace what was decided."""
    for name in ("model", "base_url", "api_key", "tools", "unheard_of"):
        with pytest.raises(RequestError) as caught:
            decision({"pool": LIMITED}, {"task": {"parameters": {name: "x"}}})
        assert caught.value.path == f"$.task.parameters.{name}"


# o) A wish that loses.


def test_o_a_wish_that_another_went_before_is_told_so() -> None:
    """Nobody loses without being told: `outranked` names who lost and who won."""
    found = decision({"pool": [CODER, THINKER]}, BOTH)
    lost = {"code": "outranked", "rule": "task", "by": "call", "requested": {"model": "glm-5"}}
    assert found["warnings"] == [lost]


def test_o_a_wish_that_no_rule_hears_is_told_so() -> None:
    """Without a rule for its level a wish is `level_not_used`."""
    policy = {**DEFAULT, "precedence": [{"use": "config"}]}
    found = decision(policy, {"task": {"model": "coder"}})
    unused = {"code": "level_not_used", "level": "task", "requested": {"model": "coder"}}
    assert found["warnings"] == [unused]
