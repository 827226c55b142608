"""The host's sub-agents run on what the policy decides, and on nothing else."""

from __future__ import annotations

from typing import Any

from gateway.session_context import set_session_vars

from policy_router import load
from policy_router.delegation.tool import tool
from tests.hosts.common.provider import Asked, Said
from tests.hosts.hermes_agent.conftest import KEYS, Scene, last_result
from tests.support.service import until

CODING = {"goal": "Fix the test.", "kind": "coding"}


def test_the_tool_is_that_of_the_policy_with_the_role_of_the_host(scene: Scene) -> None:
    loaded = scene.begin()
    assert loaded.error is None
    wanted = tool(load(scene.home / "policy.yaml"))["function"]
    (offered,) = (
        it["function"] for it in scene.parent().tools if it["function"]["name"] == "delegate_task"
    )
    roles = [offered["parameters"]["properties"].pop("role")]
    roles.append(offered["parameters"]["properties"]["tasks"]["items"]["properties"].pop("role"))
    assert offered["parameters"] == wanted["parameters"]
    assert offered["description"] == wanted["description"]
    assert {tuple(it["enum"]) for it in roles} == {("leaf", "orchestrator")}


def test_three_children_run_at_two_endpoints_each_with_its_own_key(scene: Scene) -> None:
    tasks = [CODING, {"goal": "Write a poem.", "model": "small"}, {**CODING, "goal": "Fix two."}]
    said = scene.delegate({"tasks": tasks})
    assert [it["summary"] for it in said["results"]] == [
        "Done by far.",
        "Done by near.",
        "Done by far.",
    ]
    assert [it["model"] for it in said["results"]] == ["large-model", "small-model", "large-model"]
    assert (scene.near.models(), scene.far.models()) == (["small-model"], ["large-model"] * 2)
    assert (scene.near.keys(), scene.far.keys()) == ({KEYS["NEAR_KEY"]}, {KEYS["FAR_KEY"]})
    assert {it.body["temperature"] for it in scene.far.asked} == {0.5}
    scene.assert_parent_kept_apart()
    log = scene.log()
    assert len(log.decisions) == len(log.ends) == 3
    assert {it.status for it in log.ends} == {"completed"}
    assert {(it.input_tokens, it.output_tokens) for it in log.ends} == {(20, 5)}


def test_a_refusal_starts_no_child_and_names_what_may_be_asked_for(scene: Scene) -> None:
    said = scene.delegate({"tasks": [CODING, {"goal": "Write a poem.", "model": "huge"}]})
    assert said["error"]["code"] == "outside_pool"
    assert said["error"]["task"] == 1
    assert said["error"]["permitted"] == ["small", "large", "spare", "other"]
    assert scene.near.asked == scene.far.asked == []
    scene.assert_parent_kept_apart()


def test_a_fallback_is_one_of_the_plan(scene: Scene) -> None:
    scene.far.answers = lambda _: Said(status=503)
    said = scene.delegate(CODING)
    assert said["results"][0]["summary"] == "Done by near."
    assert said["results"][0]["model"] == "spare-model"
    assert (scene.far.models(), scene.near.models()) == (["large-model"], ["spare-model"])
    scene.assert_parent_kept_apart()
    (end,) = scene.log().ends
    assert [(it.entry, it.failure) for it in end.calls] == [
        ("large", "server_error"),
        ("spare", None),
    ]


def test_a_child_that_calls_tools_runs_by_one_decision_to_its_end(scene: Scene) -> None:
    def answers(asked: Asked) -> Said:
        if not last_result(asked):
            return Said(tools=(("todo", {"todos": []}),))
        return Said("Done in two calls.")

    scene.far.answers = answers
    said = scene.delegate(CODING)
    assert said["results"][0]["summary"] == "Done in two calls."
    assert scene.far.models() == ["large-model"] * 2
    log = scene.log()
    assert len(log.decisions) == 1
    (end,) = log.ends
    assert (end.status, end.input_tokens, end.output_tokens) == ("completed", 40, 10)


def test_a_child_in_the_background_runs_on_its_plan(scene: Scene) -> None:
    set_session_vars(platform="test", async_delivery=True)
    said = scene.delegate(CODING)
    assert said["status"] == "dispatched"
    until(lambda: any("finished" in line for line in written(scene)))
    assert scene.far.models() == ["large-model"]
    scene.assert_parent_kept_apart()
    assert [it.status for it in scene.log().ends] == ["completed"]


def written(scene: Scene) -> list[str]:
    """Return the lines of the log as they are on disk."""
    files = (scene.home / "policy-router").rglob("*.jsonl")
    return [line for it in files for line in it.read_text(encoding="utf-8").splitlines()]


def test_the_text_of_a_child_arrives_in_pieces(scene: Scene) -> None:
    pieces: list[str] = []

    def progress(event: str, _: Any = None, preview: Any = None, *__: Any, **___: Any) -> None:
        if event == "subagent.text":
            pieces.append(str(preview))

    scene.near.answers = lambda _: Said("The quick brown fox jumps.")
    scene.begin()
    scene.delegate({"goal": "Say it.", "model": "small"}, tool_progress_callback=progress)
    assert len(pieces) > 1
    assert "".join(pieces) == "The quick brown fox jumps."


def test_after_the_first_piece_no_other_target_is_tried(scene: Scene) -> None:
    scene.far.answers = lambda _: Said("The quick brown fox", breaks=True)
    said = scene.delegate(CODING)
    assert "refused this task: connection_failed" in said["results"][0]["summary"]
    assert scene.near.asked == []
    scene.assert_parent_kept_apart()
    assert [it.status for it in scene.log().ends] == ["failed"]


def test_a_child_that_delegates_is_the_parent_of_what_it_asks_for(scene: Scene) -> None:
    def answers(asked: Asked) -> Said:
        if "Go deeper" in asked.text or last_result(asked):
            return Said("Done below.")
        return Said(tools=(("delegate_task", {"goal": "Go deeper.", "kind": "deep"}),))

    scene.far.answers = answers
    scene.config["delegation"] = {"max_spawn_depth": 2}
    scene.begin()
    said = scene.delegate({**CODING, "role": "orchestrator"})
    assert said["results"][0]["summary"] == "Done below."
    assert scene.near.models() == ["spare-model"]
    log = scene.log()
    above, below = log.decisions
    assert below.parent == above.id
    assert log.request(below)["parent"] == {
        "model": "large-model",
        "provider": "far",
        "depth": 1,
    }
    assert log.request(above)["parent"]["model"] == "parent-model"


def test_the_caller_comes_from_the_host_alone(scene: Scene) -> None:
    said = scene.delegate({"goal": "Do it.", "caller": {"team": "research"}})
    assert said["error"]["code"] == "bad_request"
    assert "caller" in said["error"]["path"]
    assert scene.near.asked == []


def test_the_host_says_who_the_caller_is(scene: Scene) -> None:
    scene.settings["facts"] = {"caller": {"team": "research"}}
    scene.delegate({"goal": "Do it.", "model": "inner"})
    assert scene.near.models() == ["inner-model"]
    log = scene.log()
    (decision,) = log.decisions
    assert log.request(decision)["caller"] == {"team": "research"}
