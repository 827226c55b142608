"""The adapter of LiteLLM's proxy: a real proxy process, and providers on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.types_utils.utils import get_instance_fn

from policy_router.cli import main
from policy_router.hosts import PolicyHost
from policy_router.hosts import litellm as litellm_module
from policy_router.hosts.litellm import PolicyHandler
from policy_router.log import LogReader
from policy_router.log.entry import Execution
from tests.support.hosting import GOAL, KEYS, Peers, decisions, executions, is_whole, requests
from tests.support.service import until

pytestmark = pytest.mark.timeout(300)
STARTS_WITHIN = 240.0
"""Seconds: the proxy imports for long on a busy machine."""
MASTER_KEY = f"sk-{secrets.token_hex(24)}"
SWITCHES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_DOCS": "True",
    "DISABLE_ADMIN_UI": "True",
}
AUTH = """
from litellm.proxy._types import UserAPIKeyAuth

KEYS = {
    "sk-ada": UserAPIKeyAuth(api_key="sk-ada", user_id="ada", team_id="research"),
    "sk-bob": UserAPIKeyAuth(api_key="sk-bob", user_id="bob"),
}

async def verify(request, api_key):
    return KEYS[api_key]
"""


class Proxy:
    """A process of LiteLLM's proxy, with three models at three endpoints.

    It has the settings that ``policy-router connect`` writes.
    """

    def __init__(self, folder: Path, peers: Peers, policy: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.log = folder, folder / "log"
        (folder / "auth.py").write_text(AUTH)
        (folder / "policy.json").write_text(policy)
        config = {
            "model_list": [self._model(peers, name) for name in MODELS],
            "litellm_settings": {
                "fallbacks": [{"m-coder": ["m-lead"]}, {"*": ["m-lead"]}],
                "default_fallbacks": ["m-lead"],
            },
            "router_settings": {"num_retries": 2, "disable_cooldowns": True},
            "general_settings": {"custom_auth": "auth.verify", "master_key": MASTER_KEY},
        }
        settings = folder / "config.yaml"
        settings.write_text(json.dumps(config))
        words = ["connect", "litellm", str(folder / "policy.json"), "--settings", str(settings)]
        assert main([*words, "--home", str(self.log)]) == 0
        with (folder / "said").open("w") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own words
                [
                    str(Path(sys.executable).with_name("litellm")),
                    *("--config", str(settings), "--telemetry", "False"),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **SWITCHES},
            )

    def _model(self, peers: Peers, name: str) -> dict[str, Any]:
        at = MODELS[name]
        url = f"{peers.provider.url.removesuffix('/v1')}/{at}/v1"
        params = {"model": f"openai/{name}", "api_base": url, "api_key": KEYS[at]}
        return {"model_name": name, "litellm_params": params}

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                self.ask("GET", "/health/liveliness")
            except OSError:
                assert self.process.poll() is None, self.said
                assert time.monotonic() < end, self.said
                time.sleep(0.2)
            else:
                return

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def ask(
        self, method: str, path: str, body: Any = None, key: str = "sk-bob"
    ) -> tuple[int, bytes]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def chat(self, model: str, *, key: str = "sk-bob", **more: Any) -> tuple[int, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": GOAL}], **more}
        status, content = self.ask("POST", "/v1/chat/completions", body, key)
        return status, content.decode() if more.get("stream") else json.loads(content)

    def stop(self) -> None:
        """End it as its administrator does."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()


MODELS = {"m-small": "near", "m-coder": "far", "m-spare": "near", "m-s": "near", "m-lead": "lead"}


def text_of(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def error_of(answer: Any) -> dict[str, Any]:
    """Return the refusal in an answer of the proxy."""
    return dict(answer["error"]["provider_specific_fields"]["policy_router"])


@pytest.fixture(scope="module")
def all_peers() -> Iterator[Peers]:
    with Peers() as peers:
        yield peers


def policy_of(peers: Peers) -> str:
    """Return the policy of a proxy, whose provider is the proxy itself."""
    own = {"base_url": "http://127.0.0.1:4000/v1"}
    policy = json.loads(peers.policy(precedence="strict"))
    policy |= {"provider": "litellm", "providers": {"litellm": own}}
    for entry in policy["pool"]:
        entry["provider"] = "litellm"
    policy["pool"][1]["parameters"] = {"temperature": 0.75}
    return json.dumps(policy)


@pytest.fixture(scope="module")
def proxy(all_peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    made = Proxy(tmp_path_factory.mktemp("proxy"), all_peers, policy_of(all_peers))
    try:
        made.wait()
        yield made
    finally:
        made.stop()


@pytest.fixture
def peers(all_peers: Peers) -> Peers:
    all_peers.faults.clear()
    all_peers.calls.clear()
    all_peers.provider.talks.clear()
    return all_peers


def ended(proxy: Proxy, decision: Any) -> Execution:
    """Return how a call has ended; the proxy tells it after it has answered."""

    def found() -> Execution | None:
        lines = [it.entry for it in LogReader(proxy.log).about(decision)]
        ends = [it.execution for it in lines if it.kind == "execution"]
        return next(
            (it for it in ends if isinstance(it, Execution) and it.event == "finished"), None
        )

    return until(found)


def latest(proxy: Proxy) -> Any:
    return decisions(proxy.log)[-1].id


def test_a_kind_of_task_is_decided(proxy: Proxy, peers: Peers) -> None:
    status, answer = proxy.chat("policy:coding")
    assert (status, text_of(answer)) == (200, "Hello from m-coder.")
    assert peers.asked == [("far", "m-coder")]
    end = ended(proxy, latest(proxy))
    assert (end.status, end.entry) == ("completed", "coder")
    assert (end.input_tokens, end.output_tokens) == (12, 3)


def test_a_stream_is_decided(proxy: Proxy, peers: Peers) -> None:
    status, answer = proxy.chat("policy:coding", stream=True)
    parts = [json.loads(it[6:]) for it in answer.splitlines() if it.startswith("data: {")]
    text = "".join(it["choices"][0]["delta"].get("content") or "" for it in parts if it["choices"])
    assert (status, text) == (200, "Hello from m-coder.")
    assert ended(proxy, latest(proxy)).status == "completed"
    peers.faults["m-coder"] = [503]
    status, answer = proxy.chat("policy:coding", stream=True)
    assert "m-spare" in answer
    assert peers.asked[1:] == [("far", "m-coder"), ("near", "m-spare")]


def test_a_stream_that_breaks_off_is_the_end(proxy: Proxy, peers: Peers) -> None:
    peers.faults["m-coder"] = [200]
    _, answer = proxy.chat("policy:coding", stream=True)
    assert "error" in answer
    assert peers.asked == [("far", "m-coder")]
    assert ended(proxy, latest(proxy)).status == "failed"


def test_names_and_parameters_are_wishes(proxy: Proxy, peers: Peers) -> None:
    assert text_of(proxy.chat("spare", max_completion_tokens=40)[1]) == "Hello from m-spare."
    assert peers.provider.talks[-1].body["max_tokens"] == 40
    assert "max_completion_tokens" not in peers.provider.talks[-1].body
    status, answer = proxy.chat("spare", max_tokens=5000)
    assert (status, error_of(answer)["code"]) == (403, "parameter_not_allowed")
    proxy.chat("auto", temperature=None)
    assert peers.provider.talks[-1].body["temperature"] == 0.5
    assert len(peers.asked) == 2


def test_a_refusal_sends_nothing_and_names_what_is_permitted(proxy: Proxy, peers: Peers) -> None:
    for name in ("huge", "m-s", "secret"):
        status, answer = proxy.chat(name)
        assert status == 403
        assert error_of(answer)["permitted"] == ["small", "coder", "spare", "lead"]
    assert peers.asked == []


def test_the_caller_is_that_of_the_key(proxy: Proxy) -> None:
    claimed: Any = {"user": "ada", "metadata": {"user_api_key_team_id": "research"}}
    assert proxy.chat("secret", **claimed)[0] == 403
    assert text_of(proxy.chat("secret", key="sk-ada")[1]) == "Hello from m-s."
    assert requests(proxy.log)[-1]["caller"] == {"id": "ada", "team": "research"}


@pytest.mark.parametrize(
    "field",
    [
        {"fallbacks": ["m-lead"]},
        {"Api_Key": "sk-mine"},
        {"organization": "mine"},
        {"num_retries": 5},
        {"prompt_id": "stored"},
        {"litellm_credential_name": "other"},
        {"router_settings_override": {"fallbacks": [{"m-small": ["m-lead"]}]}},
        {"extra_body": {"model": "m-lead"}},
    ],
    ids=lambda it: next(iter(it)),
)
def test_no_client_says_where_a_call_goes(proxy: Proxy, peers: Peers, field: Any) -> None:
    status, answer = proxy.chat("auto", **field)
    assert (status, error_of(answer)["path"]) == (400, f"$.{next(iter(field))}")
    assert peers.asked == []


def test_what_the_proxy_forbids_itself_goes_nowhere_else(proxy: Proxy, peers: Peers) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": GOAL}]}
    status, _ = proxy.ask("POST", "/v1/chat/completions", {**body, "api_base": "http://a"})
    assert status >= 400
    assert peers.asked == []
    assert text_of(proxy.chat("auto", mock_response="Mocked.")[1]) == "Hello from m-small."


def test_the_other_apis_have_their_own_names_of_parameters(proxy: Proxy, peers: Peers) -> None:
    asked = {"model": "spare", "input": GOAL, "max_output_tokens": 40}
    assert proxy.ask("POST", "/v1/responses", asked)[0] == 200
    assert peers.provider.talks[-1].body["max_output_tokens"] == 40
    said = [{"role": "user", "content": GOAL}]
    status, content = proxy.ask(
        "POST", "/v1/messages", {"model": "spare", "messages": said, "max_tokens": 30}
    )
    assert (status, json.loads(content)["type"]) == (200, "message")
    assert 30 in peers.provider.talks[-1].body.values()
    assert peers.asked == [("near", "m-spare")] * 2


def test_a_completion_of_a_prompt_is_decided(proxy: Proxy, peers: Peers) -> None:
    asked = {"model": "policy:coding", "prompt": GOAL}
    assert proxy.ask("POST", "/v1/completions", asked)[0] == 200
    assert peers.asked == [("far", "m-coder")]


def test_an_image_is_no_text_and_has_to_be_seen(proxy: Proxy) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 4000}"}}
    body = {"model": "auto", "messages": [{"role": "user", "content": [image]}]}
    assert proxy.ask("POST", "/v1/chat/completions", body)[0] == 200
    task = requests(proxy.log)[-1]["task"]
    assert task["needs"] == ["vision"]
    assert task["input_tokens"] < 10


def test_a_failure_goes_along_the_plan_with_the_parameters_of_each_target(
    proxy: Proxy, peers: Peers
) -> None:
    peers.faults["m-coder"] = [503]
    status, answer = proxy.chat("policy:coding", top_p=0.5)
    assert (status, text_of(answer)) == (200, "Hello from m-spare.")
    assert peers.asked == [("far", "m-coder"), ("near", "m-spare")]
    first, second = (it.body for it in peers.provider.talks)
    assert (first["top_p"], first["temperature"]) == (0.5, 0.75)
    assert second["top_p"] == 0.5
    assert "temperature" not in second
    end = ended(proxy, latest(proxy))
    assert (end.entry, [it.failure for it in end.calls]) == ("spare", ["server_error", None])


def test_when_all_targets_fail_no_fallback_of_the_proxy_is_tried(
    proxy: Proxy, peers: Peers
) -> None:
    peers.faults |= {"m-coder": [503], "m-spare": [503]}
    status, _ = proxy.chat("policy:coding")
    assert status >= 500
    assert peers.asked == [("far", "m-coder"), ("near", "m-spare")]
    end = ended(proxy, latest(proxy))
    assert (end.status, end.error) == ("failed", "server_error")


def test_the_list_of_models_has_what_the_caller_may_ask_for(proxy: Proxy, peers: Peers) -> None:
    def names(key: str) -> list[str]:
        _, content = proxy.ask("GET", "/v1/models", key=key)
        return sorted(it["id"] for it in json.loads(content)["data"])

    assert "m-s" not in names("sk-bob")
    assert peers.asked == []


def test_other_kinds_of_calls_are_refused(proxy: Proxy, peers: Peers) -> None:
    body = {"contents": [{"parts": [{"text": GOAL}]}]}
    status, content = proxy.ask("POST", "/v1beta/models/m-small:generateContent", body)
    assert status == 403
    assert b"other_api" in content
    assert peers.asked == []


def test_the_log_is_whole_and_replays(proxy: Proxy) -> None:
    proxy.chat("auto")
    proxy.stop()
    assert is_whole(proxy.log)
    assert len(executions(proxy.log)) > 5


# Without a proxy.


def test_the_proxy_finds_the_handler_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICY_ROUTER_POLICY", "/nowhere/policy.yaml")
    made = get_instance_fn("policy_router.hosts.litellm.handler")
    assert isinstance(made, PolicyHandler)
    with pytest.raises(AttributeError):
        get_instance_fn("policy_router.hosts.litellm.nothing")


def hook(handler: PolicyHandler, call_type: str = "acompletion") -> Any:
    data = {"model": "auto", "messages": []}
    key = UserAPIKeyAuth(api_key="sk-bob")
    return asyncio.run(handler.async_pre_call_hook(key, None, data, call_type))


def test_a_policy_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    handler = PolicyHandler(tmp_path / "none.yaml")
    with pytest.raises(HTTPException) as caught:
        hook(handler)
    assert caught.value.status_code == 503
    names = handler.async_filter_listed_models(UserAPIKeyAuth(api_key="sk-bob"), ["m-small"])
    assert asyncio.run(names) == []


def test_a_log_that_takes_nothing_refuses(all_peers: Peers, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(policy_of(all_peers))
    (tmp_path / "log").write_text("no folder")
    host = PolicyHost(tmp_path / "policy.json", log=tmp_path / "log")
    with host, pytest.raises(HTTPException) as caught:
        hook(PolicyHandler(host))
    assert caught.value.status_code == 503
    assert "log_unavailable" in str(caught.value.detail)


def test_a_fault_of_the_function_of_facts_refuses(all_peers: Peers, tmp_path: Path) -> None:
    def facts(_: object) -> Any:
        raise KeyError("planted")

    (tmp_path / "policy.json").write_text(policy_of(all_peers))
    handler = PolicyHandler(tmp_path / "policy.json", facts)
    with pytest.raises(HTTPException) as caught:
        hook(handler)
    assert caught.value.status_code == 400
    names = handler.async_filter_listed_models(UserAPIKeyAuth(api_key="sk-bob"), ["m-small"])
    assert asyncio.run(names) == []


def test_a_call_that_writes_no_text_is_left_alone(tmp_path: Path) -> None:
    handler = PolicyHandler(tmp_path / "none.yaml")
    assert hook(handler, "aembedding") == {"model": "auto", "messages": []}


def test_a_target_that_the_proxy_leaves_alone_is_passed_over(
    all_peers: Peers, tmp_path: Path
) -> None:
    (tmp_path / "policy.json").write_text(policy_of(all_peers))
    with PolicyHost(tmp_path / "policy.json", log=tmp_path / "log") as host:
        handler = PolicyHandler(host)
        data = {"model": "policy:coding", "messages": [], "litellm_call_id": "1"}
        key = UserAPIKeyAuth(api_key="sk-bob")
        asyncio.run(handler.async_pre_call_hook(key, None, data, "acompletion"))
        told = {"litellm_call_id": "1", "litellm_params": {"metadata": {"model_group": "m-spare"}}}
        asyncio.run(handler.async_log_success_event(told, None, None, None))
    (end,) = executions(tmp_path / "log")
    assert (end.entry, [it.failure for it in end.calls]) == ("spare", ["server_error", None])


def test_calls_whose_end_is_never_told_are_forgotten(
    all_peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm_module, "_MOST_CALLS", 2)
    (tmp_path / "policy.json").write_text(policy_of(all_peers))
    with PolicyHost(tmp_path / "policy.json", log=tmp_path / "log") as host:
        handler = PolicyHandler(host)
        for number in range(3):
            data = {"model": "auto", "messages": [], "litellm_call_id": str(number)}
            key = UserAPIKeyAuth(api_key="sk-bob")
            asyncio.run(handler.async_pre_call_hook(key, None, data, "acompletion"))
    assert [it.status for it in executions(tmp_path / "log")] == ["cancelled"]
