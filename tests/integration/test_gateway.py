"""The gateway: the real service in a process of its own, and a provider that does as it is told."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy_router.log.entry import LogEntry
from tests.support.commands import in_this_process
from tests.support.rows import each
from tests.support.scripted import (
    DONE,
    USAGE,
    ScriptedProvider,
    Talk,
    chunk,
    completion,
    message,
    message_events,
    response,
    response_events,
)
from tests.support.service import PLAIN, Service, lines_of, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX only")]

KEY = "planted-key-of-the-provider-0123456789"
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Say hello."}]
ORGANIZATION = "planted-header-of-the-endpoint-0123456789"


def policy(url: str) -> str:
    providers = {
        "near": {
            "base_url": url,
            "api_key": "env:NEAR_KEY",
            "headers": {"X-Organization": "env:ORGANIZATION"},
        },
        "far": {"base_url": url, "api_key": "env:NEAR_KEY"},
        "other": {"base_url": url, "dialect": {"api": "responses"}},
        "none": {"base_url": url, "api_key": "env:NOT_THERE"},
        "claude": {
            "base_url": url,
            "api_key": "env:NEAR_KEY",
            "dialect": {"api": "anthropic_messages"},
        },
    }
    price = {"input": 1.0, "output": 2.0}
    pool = [
        {
            "name": "small",
            "model": "m0",
            "provider": "near",
            "pick": 'task.kind == "" || task.kind == "easy"',
            "fallback": ["large"],
            "price": price,
        },
        {
            "name": "large",
            "model": "m1",
            "provider": "far",
            "pick": 'task.kind == "hard"',
            "limits": {"max_tokens": {"max": 100}},
            "parameters": {"reasoning_effort": "low"},
            "dialect": {"max_tokens": "max_completion_tokens"},
        },
        {"name": "blind", "model": "m2", "provider": "near", "supports": ["tools"]},
        {"name": "narrow", "model": "m3", "provider": "near", "context_window": 100},
        {"name": "responder", "model": "m4", "provider": "other", "fallback": ["responder-2"]},
        {"name": "responder-2", "model": "m7", "provider": "other"},
        {
            "name": "mixed",
            "model": "m8",
            "provider": "other",
            "pick": 'task.kind == "mixed"',
            "fallback": ["small", "responder-2"],
        },
        {
            "name": "messenger",
            "model": "m9",
            "provider": "claude",
            "limits": {"thinking_budget": {"max": 2000}},
        },
        {"name": "keyless", "model": "m5", "provider": "none"},
        {"name": "secret", "model": "m6", "provider": "near", "allow": "facts.cleared"},
    ]
    facts = {"cleared": {"type": "bool", "default": False}}
    given = {"version": 1, "providers": providers, "pool": pool, "facts": facts}
    return json.dumps({**given, "precedence": "strict"})


@pytest.fixture(scope="module")
def one_peer() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as made:
        yield made


@pytest.fixture
def peer(one_peer: ScriptedProvider) -> ScriptedProvider:
    one_peer.begin(lambda talk: talk.whole(completion()))
    return one_peer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_peer: ScriptedProvider) -> Path:
    made = tmp_path_factory.mktemp("gateway")
    (made / "policy.yaml").write_text(policy(one_peer.url), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def token(folder: Path) -> str:
    return token_of(folder, "ada")


def token_of(folder: Path, name: str, *words: str) -> str:
    command = ("token", "new", "--tokens", "tokens.jsonl", "--id", name, *words)
    return in_this_process(*command, cwd=folder).out.strip()


@pytest.fixture(scope="module")
def service(folder: Path, token: str) -> Iterator[Service]:
    assert token
    environment = {"NEAR_KEY": KEY, "ORGANIZATION": ORGANIZATION}
    words = ("--run", "--tokens", "tokens.jsonl", "--log", "log")
    with Service(folder, *words, environment=environment) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service, token: str) -> httpx.Client:
    return service.client(token)


def ask(client: httpx.Client, model: str = "auto", **more: Any) -> httpx.Response:
    headers = more.pop("headers", None)
    body = {"model": model, "messages": HELLO, **more}
    return client.post(CHAT, json=body, headers=headers)


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["error"]
    return found


def logged(folder: Path) -> list[LogEntry]:
    return [line.entry for line in lines_of(folder / "log")]


def decision_of(folder: Path, answer: httpx.Response) -> dict[str, Any]:
    """Return the record of the decision of an answer."""
    name = answer.headers["policy-router-decision-id"]
    found = until(lambda: [it for it in logged(folder) if it.id == name])
    record: dict[str, Any] = json.loads(bytes(found[0].record))
    return record


def end_of(folder: Path, name: str) -> Any:
    """Return the last event of the child of a decision, once it is in the log."""

    def found() -> Any:
        entries = [it.execution for it in logged(folder) if it.id == name]
        return next((it for it in entries if getattr(it, "event", "") == "finished"), None)

    return until(found)


# Passing on.


def test_a_call_is_decided_logged_and_passed_on(
    client: httpx.Client, peer: ScriptedProvider, folder: Path
) -> None:
    answer = ask(client, stop=["x"], logprobs=True)
    assert answer.status_code == 200
    assert answer.json() == completion()
    headers = answer.headers
    assert headers["policy-router-entry"] == "small"
    assert headers["policy-router-model"] == "m0"
    assert headers["policy-router-provider"] == "near"
    assert headers["policy-router-attempts"] == "1"
    (talk,) = peer.talks
    assert talk.path == "/v1/chat/completions"
    assert talk.body == {"model": "m0", "messages": HELLO, "stop": ["x"], "logprobs": True}
    record = decision_of(folder, answer)
    assert record["request"]["caller"] == {"id": "ada"}
    end = end_of(folder, headers["policy-router-decision-id"])
    assert (end.status, end.served_model, end.finish_reason) == ("completed", "m0", "stop")
    assert (end.input_tokens, end.output_tokens) == (12, 3)
    assert end.cost_usd == pytest.approx((12 + 2 * 3) / 1e6)


def test_every_other_field_passes_byte_for_byte(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    odd = '{"a": 1e400, "b": 123456789012345678901234567890, "c": "\\u00e9", "d": 1.50}'
    body = f'{{"model": "auto", "messages": [], "odd": {odd}}}'
    answer = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert f'"odd":{odd}'.encode() in peer.talks[0].content


def test_the_key_of_the_endpoint_replaces_that_of_the_client(
    client: httpx.Client, peer: ScriptedProvider, token: str
) -> None:
    sent = {"cookie": "a=b", "x-forwarded-for": "10.0.0.1", "x-client-request-id": "mine"}
    ask(client, headers={**sent, "openai-organization": "org", "openai-beta": "x=v1"})
    headers = peer.talks[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-organization"] == ORGANIZATION
    assert headers["openai-beta"] == "x=v1"
    assert headers["x-client-request-id"] == "mine"
    for name in ("cookie", "x-forwarded-for", "openai-organization", "policy-router-facts"):
        assert name not in headers
    assert token not in str(headers)


def test_the_credential_may_come_as_an_api_key(
    service: Service, peer: ScriptedProvider, token: str
) -> None:
    nobody = service.client()
    assert ask(nobody, headers={"x-api-key": token}).status_code == 200
    assert "x-api-key" not in peer.talks[0].headers
    assert (
        error(ask(nobody, headers={"x-api-key": "pr_wrong"}), 401)["code"] == "unknown_credential"
    )
    assert error(ask(nobody), 401)["code"] == "unknown_credential"
    both = {"x-api-key": token, "authorization": "Bearer other"}
    assert error(ask(nobody, headers=both), 400)["code"] == "stated_twice"


def test_an_answer_loses_what_is_about_its_connection_and_the_account(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    own = {"set-cookie": "a=b", "openai-organization": "org", "x-hop": "1", "connection": "x-hop"}
    kept = {"x-request-id": "r1", "x-ratelimit-remaining-requests": "5", "x-key": f"k {KEY}"}
    forged = {"policy-router-entry": "forged"}
    peer.begin(lambda talk: talk.whole(completion(), headers=own | kept | forged))
    headers = ask(client).headers
    assert headers["x-request-id"] == "r1"
    assert headers["x-ratelimit-remaining-requests"] == "5"
    assert headers.get_list("policy-router-entry") == ["small"]
    for name in ("set-cookie", "openai-organization", "x-hop", "x-key"):
        assert name not in headers


# Wishes and facts.


def test_the_model_is_a_wish(client: httpx.Client, peer: ScriptedProvider, folder: Path) -> None:
    assert ask(client, "large").headers["policy-router-model"] == "m1"
    answer = ask(client, "policy:hard")
    assert answer.headers["policy-router-entry"] == "large"
    assert decision_of(folder, answer)["request"]["task"]["kind"] == "hard"
    assert [talk.body["model"] for talk in peer.talks] == ["m1", "m1"]
    assert "large" in [it["id"] for it in client.get("/v1/models").json()["data"]]


@each("model", [None, "", 5, "policy:", ["auto"]])
def test_a_model_is_a_name(client: httpx.Client, model: Any) -> None:
    answer = client.post(CHAT, json={"model": model, "messages": HELLO})
    assert error(answer, 400)["param"] == "$.model"


def test_parameters_are_wishes_which_are_bounded(
    client: httpx.Client, peer: ScriptedProvider, folder: Path
) -> None:
    answer = ask(client, "large", max_tokens=50, temperature=0.5)
    assert answer.status_code == 200
    wished = decision_of(folder, answer)["request"]["task"]["parameters"]
    assert wished == {"max_tokens": 50, "temperature": 0.5}
    sent = peer.talks[0].body
    assert sent["max_completion_tokens"] == 50
    assert "max_tokens" not in sent
    assert (sent["temperature"], sent["reasoning_effort"]) == (0.5, "low")
    refused = ask(client, "large", max_tokens=5000)
    assert error(refused, 403)["code"] == "parameter_not_allowed"
    assert error(ask(client, temperature="hot"), 422)["code"] == "bad_request"


def test_a_wish_in_two_spellings_is_one_or_an_error(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    assert ask(client, max_tokens=5, max_completion_tokens=5).status_code == 200
    assert peer.talks[0].body["max_tokens"] == 5
    answer = ask(client, max_tokens=5, max_completion_tokens=6)
    assert error(answer, 400)["code"] == "stated_twice"
    nested = ask(client, reasoning={"effort": "low", "exclude": True}, reasoning_effort="high")
    assert error(nested, 400)["code"] == "stated_twice"
    passes = ask(client, reasoning={"effort": "low", "exclude": True}, temperature=None)
    assert passes.status_code == 200
    assert peer.talks[-1].body["reasoning"] == {"exclude": True}
    assert peer.talks[-1].body["reasoning_effort"] == "low"
    assert "temperature" not in peer.talks[-1].body


def test_more_of_the_task_comes_in_one_of_three_places(
    client: httpx.Client, peer: ScriptedProvider, folder: Path
) -> None:
    more = {"task": {"kind": "hard", "labels": ["a"]}}
    text = json.dumps(more)
    for answer in (
        ask(client, headers={"policy-router-facts": text}),
        ask(client, policy_router=more),
        ask(client, metadata={"policy_router": text, "mine": "1"}),
        ask(client, metadata={"policy_router": text}),
    ):
        assert answer.headers["policy-router-entry"] == "large"
        assert decision_of(folder, answer)["request"]["task"]["labels"] == ["a"]
    bodies = [talk.body for talk in peer.talks]
    assert all("policy_router" not in json.dumps(body) for body in bodies)
    assert bodies[2]["metadata"] == {"mine": "1"}
    assert "metadata" not in bodies[3]
    twice = ask(client, policy_router=more, headers={"policy-router-facts": text})
    assert error(twice, 400)["code"] == "stated_twice"
    assert len(peer.talks) == 4


@pytest.mark.parametrize(
    ("stated", "status", "code"),
    [
        ({"task": {"model": "large"}}, 400, "bad_request"),
        ({"task": []}, 400, "bad_request"),
        ([], 400, "bad_request"),
        ({"task": {"parameters": []}}, 400, "bad_request"),
        ({"task": {"parameters": {"temperature": 1}}}, 400, "stated_twice"),
        ({"task": {"knd": "hard"}}, 422, "bad_request"),
        ({"facts": {"cleared": True}}, 403, "not_verified"),
        ({"caller": {"id": "root"}}, 403, "not_verified"),
        ({"parent": {"depth": 0}}, 403, "not_verified"),
        ({"budget": {"remaining_usd": 9.0}}, 403, "not_verified"),
    ],
)
def test_nobody_states_more_than_they_may(
    client: httpx.Client, peer: ScriptedProvider, stated: Any, status: int, code: str
) -> None:
    text = json.dumps(stated)
    for more in (
        {"headers": {"policy-router-facts": text}},
        {"policy_router": stated},
        {"metadata": {"policy_router": text}},
    ):
        assert error(ask(client, temperature=0.5, **more), status)["code"] == code
    assert peer.talks == []


def test_what_is_stated_is_json(client: httpx.Client) -> None:
    assert error(ask(client, headers={"policy-router-facts": "{"}), 400)["code"] == "not_json"
    assert error(ask(client, metadata={"policy_router": "{"}), 400)["code"] == "not_json"
    assert error(ask(client, metadata={"policy_router": {}}), 400)["code"] == "bad_request"
    assert error(ask(client, policy_router=None), 400)["code"] == "bad_request"
    raw = client.post(CHAT, content="{", headers={"content-type": "application/json"})
    assert error(raw, 400)["code"] == "not_json"
    assert error(client.post(CHAT, json=[]), 400)["code"] == "bad_request"
    twice = ask(client, "policy:hard", policy_router={"task": {"kind": "easy"}})
    assert error(twice, 400)["code"] == "stated_twice"


def test_tools_and_images_are_needs_and_the_input_is_measured(
    client: httpx.Client, folder: Path
) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 9000}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "é" * 100}, image]}]
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    answer = ask(client, messages=messages, tools=tools)
    task = decision_of(folder, answer)["request"]["task"]
    assert task["needs"] == ["tools", "vision"]
    assert 50 <= task["input_tokens"] <= 100
    assert error(ask(client, "blind", messages=messages), 403)["code"] == "lacks_capability"
    assert ask(client, "blind", tools=tools).status_code == 200
    long = [{"role": "user", "content": "word " * 200}]
    refused = ask(client, "narrow", messages=long, policy_router={"task": {"input_tokens": 1}})
    assert error(refused, 403)["code"] == "context_too_small"
    said = ask(client, policy_router={"task": {"input_tokens": 50_000, "needs": ["tools"]}})
    task = decision_of(folder, said)["request"]["task"]
    assert (task["input_tokens"], task["needs"]) == (50_000, ["tools"])


@pytest.mark.parametrize(
    "forged",
    [
        {"models": ["m9"]},
        {"route": "fallback"},
        {"provider": {"order": ["x"]}},
        {"plugins": [{"id": "web"}]},
        {"fallbacks": ["m9"]},
        {"api_base": "http://evil.example"},
        {"base_url": "http://evil.example"},
        {"api_key": "k"},
        {"service_tier": "priority"},
        {"n": 2},
        {"Model": "m9"},
        {"MODELS": ["m9"]},
        {"\u017ftream": True},
        {"tools": [{"type": "image_generation", "model": "m9"}]},
    ],
)
def test_nothing_names_another_target(
    client: httpx.Client, peer: ScriptedProvider, forged: dict[str, Any]
) -> None:
    found = error(ask(client, **forged), 400)
    assert found["code"] == "field_not_allowed"
    assert next(iter(forged)) in found["param"]
    assert peer.talks == []


def test_harmless_values_pass(client: httpx.Client, peer: ScriptedProvider) -> None:
    assert ask(client, n=1, service_tier="default", models=None).status_code == 200
    assert peer.talks[0].body["n"] == 1


def test_the_configuration_lets_fields_through(tmp_path: Path, peer: ScriptedProvider) -> None:
    (tmp_path / "policy.yaml").write_text(policy(peer.url), encoding="utf-8")
    settings = "run: true\ngateway: {pass: [service_tier, n]}\n"
    (tmp_path / "serve.yaml").write_text(settings, encoding="utf-8")
    place = f"unix:{tmp_path / 'service.sock'}"
    environment = {"NEAR_KEY": KEY, "ORGANIZATION": ORGANIZATION}
    with Service(tmp_path, "--config", "serve.yaml", listen=place, environment=environment) as own:
        transport = httpx.HTTPTransport(uds=str(tmp_path / "service.sock"), verify=PLAIN)
        client = httpx.Client(transport=transport, base_url="http://localhost", timeout=20)
        own.clients.append(client)
        assert ask(client, service_tier="flex", n=2).status_code == 200
        assert error(ask(client, models=["m9"]), 400)["code"] == "field_not_allowed"


# Refusals and failures.


def test_a_refusal_is_said_as_openai_says_errors(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    answer = ask(client, "huge")
    found = error(answer, 403)
    assert (found["code"], found["type"]) == ("outside_pool", "permission_error")
    assert found["permitted"][:2] == ["small", "large"]
    assert found["decision_id"] == answer.headers["policy-router-decision-id"]
    assert answer.headers["x-should-retry"] == "false"
    assert peer.talks == []


def test_before_the_first_byte_the_plan_goes_on(
    client: httpx.Client, peer: ScriptedProvider, folder: Path
) -> None:
    for first in (
        lambda talk: talk.whole({"error": {"message": "no"}}, 503),
        lambda talk: talk.cut(),
        lambda talk: talk.whole({"error": {"message": "busy", "code": 503}}),
        lambda talk: talk.stream({"error": {"message": "busy", "code": 502}}),
        lambda talk: talk.stream(b": comment\n\n", {"error": {"message": "busy"}}),
    ):
        peer.begin(first, lambda talk: talk.whole(completion(model="m1")))
        answer = ask(client)
        assert answer.status_code == 200, answer.text
        assert answer.headers["policy-router-entry"] == "large"
        assert answer.headers["policy-router-attempts"] == "2"
        end = end_of(folder, answer.headers["policy-router-decision-id"])
        assert [call.failure is None for call in end.calls] == [False, True]


FAILURES: dict[str, tuple[Any, int, str, str]] = {
    "400": (lambda it: it.whole({"error": {"message": "No."}}, 400), 400, "bad_request", "false"),
    "401": (lambda it: it.whole({"error": {"message": "No."}}, 401), 502, "unauthorized", "false"),
    "429": (lambda it: it.whole({"error": {"message": "No."}}, 429), 429, "rate_limited", "true"),
    "500": (lambda it: it.whole(b"<html>", 500), 500, "server_error", "true"),
    "cut": (lambda it: it.cut(), 502, "connection_failed", "true"),
    "302": (
        lambda it: it.whole({}, 302, headers={"location": "http://x"}),
        502,
        "http_error",
        "false",
    ),
    "html": (lambda it: it.whole(b"<html>", type_="text/html"), 502, "bad_response", "false"),
    "nothing": (lambda it: it.stream(), 502, "bad_response", "false"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_last_failure_is_told(client: httpx.Client, peer: ScriptedProvider, name: str) -> None:
    first, status, code, retries = FAILURES[name]
    peer.begin(first)
    answer = ask(client, "large")
    assert error(answer, status)["code"] == code
    assert answer.headers["x-should-retry"] == retries
    assert answer.headers["policy-router-attempts"] == "1"


def test_a_target_of_another_api_or_without_a_key_is_told(client: httpx.Client) -> None:
    found = error(ask(client, "responder"), 400)
    assert found["code"] == "other_api"
    assert "/v1/responses" in found["message"]
    assert error(ask(client, "keyless"), 502)["code"] == "no_credential"


def test_nothing_repeats_a_key(client: httpx.Client, peer: ScriptedProvider) -> None:
    peer.begin(lambda talk: talk.whole({"error": {"message": f"wrong key {KEY}"}}, 400))
    assert KEY not in ask(client, "large").text
    peer.begin(lambda talk: talk.whole(completion(f"your key is {KEY}")))
    answer = ask(client)
    assert answer.status_code == 200
    assert KEY not in answer.text
    peer.begin(lambda talk: talk.stream(chunk(f"it is {KEY}"), chunk(None, "stop"), DONE))
    answer = ask(client, stream=True)
    assert KEY not in answer.text
    assert "it is ***" in answer.text


# Streams.


def streamed(peer: ScriptedProvider, *events: Any, **more: Any) -> None:
    peer.begin(lambda talk: talk.stream(*events, **more))


def test_a_stream_passes_event_by_event(
    client: httpx.Client, peer: ScriptedProvider, folder: Path
) -> None:
    waits = threading.Event()

    def answering(talk: Talk) -> None:
        talk.stream(chunk("Hel"), ends=False)
        assert waits.wait(10)
        for event in (chunk("lo."), chunk(None, "stop"), USAGE, DONE):
            talk.send(event)
        talk.end()

    peer.begin(answering)
    body = {"model": "auto", "messages": HELLO, "stream": True}
    with client.stream("POST", CHAT, json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        pieces = answer.iter_raw()
        first = next(pieces)
        assert first == b"data: %b\n\n" % json.dumps(chunk("Hel")).encode()
        waits.set()
        rest = b"".join(pieces)
    assert rest.endswith(DONE)
    assert b'"usage"' not in rest  # nobody asked for it but the gateway
    assert peer.talks[0].body["stream_options"] == {"include_usage": True}
    end = end_of(folder, answer.headers["policy-router-decision-id"])
    assert (end.status, end.input_tokens, end.output_tokens) == ("completed", 12, 2)


def test_the_usage_passes_where_the_client_asks_for_it(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    streamed(peer, chunk("x"), chunk(None, "stop"), USAGE, DONE)
    options = {"include_usage": True, "include_obfuscation": False}
    answer = ask(client, stream=True, stream_options=options)
    assert json.dumps(USAGE).encode() in answer.content
    assert peer.talks[0].body["stream_options"] == options


def test_events_in_pieces_pass_whole(client: httpx.Client, peer: ScriptedProvider) -> None:
    whole = b"".join(
        b"data: %b\r\n\r\n" % json.dumps(it).encode()
        for it in (chunk("a"), chunk("b", "stop"), USAGE)
    )
    pieces = [whole[place : place + 7] for place in range(0, len(whole), 7)]
    streamed(peer, *pieces, DONE)
    answer = ask(client, stream=True, stream_options={"include_usage": True})
    assert answer.content == whole + DONE


def test_a_stream_that_breaks_off_is_seen_to(
    client: httpx.Client, peer: ScriptedProvider, folder: Path, service: Service
) -> None:
    def answering(talk: Talk) -> None:
        talk.stream(chunk("Hel"), ends=False)
        talk.cut()

    peer.begin(answering)
    body = {"model": "auto", "messages": HELLO, "stream": True}
    got: list[bytes] = []
    with client.stream("POST", CHAT, json=body) as answer:
        name = answer.headers["policy-router-decision-id"]
        with pytest.raises(httpx.RemoteProtocolError):
            got.extend(answer.iter_raw())
    last = json.loads(b"".join(got).split(b"data: ")[-1])
    assert last["error"]["code"] == "stream_broken"
    end = end_of(folder, name)
    assert (end.status, end.error) == ("failed", "stream_broken")
    assert len(peer.talks) == 1  # nothing is tried after the first byte
    assert not any("Traceback" in line for line in service.said)


@pytest.mark.parametrize(
    "events", [(chunk("Hel"),), (chunk("Hel"), {"error": {"message": "it broke", "code": 500}})]
)
def test_a_stream_without_an_end_is_no_answer(
    client: httpx.Client, peer: ScriptedProvider, folder: Path, events: tuple[Any, ...]
) -> None:
    streamed(peer, *events)
    answer = ask(client, stream=True)
    assert b"Hel" in answer.content
    end = end_of(folder, answer.headers["policy-router-decision-id"])
    assert (end.status, end.error) == ("failed", "stream_broken")


def test_a_stream_that_is_answered_whole_passes(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    answer = ask(client, stream=True)
    assert peer.talks[0].body["stream"] is True
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == completion()


def test_a_client_that_hangs_up_ends_the_call(
    service: Service, peer: ScriptedProvider, folder: Path, token: str
) -> None:
    hung_up: list[bool] = []

    def answering(talk: Talk) -> None:
        talk.stream(chunk("Hel"), ends=False)
        hung_up.append(talk.hung_up())

    def silent(talk: Talk) -> None:
        hung_up.append(talk.hung_up())

    for way, streams in ((answering, True), (silent, True), (silent, False)):
        peer.begin(way)
        body = json.dumps({"model": "auto", "messages": HELLO, "stream": streams}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        with socket.create_connection(service.address, timeout=20) as link:
            link.sendall(head.encode() + body)
            if way is answering:
                assert b"200" in link.recv(65536)
            until(lambda: peer.talks)
        assert peer.talks[0].ended.wait(15)
    assert hung_up == [True, True, True]

    def ends() -> list[str]:
        found: list[Any] = [it.execution for it in logged(folder) if it.kind == "execution"]
        return [it.status for it in found if it.event == "finished"][-3:]

    assert until(lambda: ends() == ["cancelled"] * 3, ends)
    assert not any("Traceback" in line for line in service.said)


def test_a_client_that_does_not_read_stops_the_provider(
    service: Service, peer: ScriptedProvider, token: str
) -> None:
    sent = 0

    def answering(talk: Talk) -> None:
        nonlocal sent
        talk.stream(ends=False)
        event = b"data: %b\n\n" % json.dumps(chunk("x" * 60_000)).encode()
        for _ in range(2000):  # 120 MB
            talk.send(event)
            sent += 1

    peer.begin(answering)
    body = json.dumps({"model": "auto", "messages": HELLO, "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(service.address, timeout=20) as link:
        link.sendall(head.encode() + body)
        assert b"200" in link.recv(1024)
        before = -1
        while before != sent:
            before = sent
            time.sleep(0.5)
        assert 0 < sent < 1000
        while sent == before:  # it reads again, and the provider goes on
            assert link.recv(65536)
    assert peer.talks[0].ended.wait(15)


# The Responses API.

RESPONSES = "/v1/responses"


def respond(client: httpx.Client, model: str = "responder", **more: Any) -> httpx.Response:
    return client.post(RESPONSES, json={"model": model, "input": "Say hello.", **more})


def test_a_response_is_passed_on(
    client: httpx.Client, peer: ScriptedProvider, folder: Path
) -> None:
    peer.begin(lambda talk: talk.whole(response()))
    text = {"verbosity": "low", "format": {"type": "text"}}
    reasoning = {"effort": "high", "summary": "auto"}
    answer = respond(client, max_output_tokens=50, text=text, reasoning=reasoning, store=True)
    assert answer.json() == response()
    (talk,) = peer.talks
    assert talk.path == "/v1/responses"
    assert talk.body == {
        "model": "m4",
        "input": "Say hello.",
        "store": True,
        "max_output_tokens": 50,
        "text": text,
        "reasoning": reasoning,
    }
    wished = decision_of(folder, answer)["request"]["task"]["parameters"]
    assert wished == {"max_tokens": 50, "reasoning_effort": "high", "verbosity": "low"}
    end = end_of(folder, answer.headers["policy-router-decision-id"])
    assert (end.finish_reason, end.input_tokens, end.output_tokens) == ("completed", 20, 4)


def test_a_response_is_streamed(client: httpx.Client, peer: ScriptedProvider, folder: Path) -> None:
    streamed(peer, *response_events())
    answer = respond(client, stream=True)
    assert answer.content == b"".join(response_events())
    assert "stream_options" not in peer.talks[0].body
    end = end_of(folder, answer.headers["policy-router-decision-id"])
    assert (end.status, end.input_tokens, end.output_tokens) == ("completed", 20, 4)


def test_a_response_that_fails_at_once_is_tried_elsewhere(
    client: httpx.Client, peer: ScriptedProvider, folder: Path
) -> None:
    failed = response(status="failed", output=[], error={"code": "server_error", "message": "x"})
    event = {"type": "response.failed", "response": failed}
    for first in (lambda it: it.stream(event), lambda it: it.whole(failed)):
        peer.begin(first, lambda talk: talk.whole(response()))
        answer = respond(client, "policy:mixed")
        assert answer.headers["policy-router-entry"] == "responder-2"
        assert answer.headers["policy-router-attempts"] == "3"  # `small` has another API
        end = end_of(folder, answer.headers["policy-router-decision-id"])
        assert [call.is_sent for call in end.calls] == [True, False, True]


def test_a_stream_that_breaks_off_tells_it_in_its_own_words(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    def answering(talk: Talk) -> None:
        talk.stream(response_events()[0], ends=False)
        talk.cut()

    peer.begin(answering)
    got: list[bytes] = []
    body = {"model": "responder", "input": "x", "stream": True}
    asked = client.stream("POST", RESPONSES, json=body)
    with asked as answer, pytest.raises(httpx.RemoteProtocolError):
        got.extend(answer.iter_raw())
    *_, name, data = b"".join(got).strip().splitlines()
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["code"] == "stream_broken"


def test_what_goes_on_from_an_answer_goes_to_its_target_alone(
    client: httpx.Client, peer: ScriptedProvider, service: Service, folder: Path
) -> None:
    peer.begin(lambda talk: talk.stream(*response_events("resp_a")))
    assert respond(client, "responder-2", stream=True).status_code == 200
    peer.begin(lambda talk: talk.whole(response("resp_b")))
    for model in ("auto", "policy:mixed", "responder-2"):
        answer = respond(client, model, previous_response_id="resp_a")
        assert answer.headers["policy-router-entry"] == "responder-2", answer.text
    assert peer.talks[0].body["previous_response_id"] == "resp_a"
    found = error(respond(client, previous_response_id="resp_a"), 409)
    assert found["code"] == "other_target"
    assert error(respond(client, previous_response_id="resp_x"), 404)["code"] == "unknown_response"
    assert error(respond(client, conversation="c"), 404)["code"] == "unknown_conversation"
    assert error(respond(client, previous_response_id=5), 400)["code"] == "bad_request"
    stranger = service.client(token_of(folder, "carl"))
    until(lambda: stranger.get("/v1/models").status_code == 200)
    asked = respond(stranger, "auto", previous_response_id="resp_a")
    assert error(asked, 404)["code"] == "unknown_response"


def test_no_fallback_knows_the_answer_to_go_on_from(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    peer.begin(lambda talk: talk.whole(response("resp_m")))
    assert respond(client, "policy:mixed").headers["policy-router-entry"] == "mixed"
    peer.begin(lambda talk: talk.whole({"error": {"message": "busy"}}, 503))
    assert respond(client, "auto", previous_response_id="resp_m").status_code == 503
    assert len(peer.talks) == 1


def test_another_process_on_the_same_log_knows_the_answer(
    client: httpx.Client, peer: ScriptedProvider, folder: Path, token: str
) -> None:
    peer.begin(lambda talk: talk.whole(response("resp_l")))
    assert respond(client, "responder-2").status_code == 200
    environment = {"NEAR_KEY": KEY, "ORGANIZATION": ORGANIZATION}
    words = ("--run", "--tokens", "tokens.jsonl", "--log", "log")
    with Service(folder, *words, environment=environment) as own:
        other = own.client(token)
        answer = respond(other, "auto", previous_response_id="resp_l")
        assert answer.headers["policy-router-entry"] == "responder-2", answer.text


# Anthropic's Messages API.

MESSAGES = "/v1/messages"


def tell(client: httpx.Client, model: str = "messenger", **more: Any) -> httpx.Response:
    headers = more.pop("headers", None)
    body = {"model": model, "max_tokens": 100, "messages": HELLO, **more}
    return client.post(MESSAGES, json=body, headers=headers)


def test_a_message_is_passed_on(
    service: Service, peer: ScriptedProvider, token: str, folder: Path
) -> None:
    peer.begin(lambda talk: talk.whole(message()))
    thinking = {"type": "enabled", "budget_tokens": 1500}
    answer = tell(
        service.client(),
        headers={"x-api-key": token, "anthropic-version": "2023-06-01", "anthropic-beta": "b1"},
        system="Be brief.",
        thinking=thinking,
        output_config={"effort": "low", "format": {"type": "text"}},
    )
    assert answer.json() == message()
    (talk,) = peer.talks
    assert talk.path == "/v1/messages"
    assert talk.body == {
        "model": "m9",
        "max_tokens": 100,
        "messages": HELLO,
        "system": "Be brief.",
        "thinking": thinking,
        "output_config": {"effort": "low", "format": {"type": "text"}},
    }
    assert talk.headers["x-api-key"] == KEY
    assert talk.headers["anthropic-beta"] == "b1"
    assert "authorization" not in talk.headers
    wished = decision_of(folder, answer)["request"]["task"]["parameters"]
    assert wished == {"max_tokens": 100, "reasoning_effort": "low", "thinking_budget": 1500}
    end = end_of(folder, answer.headers["policy-router-decision-id"])
    assert (end.finish_reason, end.input_tokens, end.output_tokens) == ("end_turn", 40, 4)


def test_a_message_is_streamed(client: httpx.Client, peer: ScriptedProvider, folder: Path) -> None:
    streamed(peer, *message_events())
    answer = tell(client, stream=True)
    assert answer.content == b"".join(message_events())
    assert peer.talks[0].headers["anthropic-version"] == "2023-06-01"
    end = end_of(folder, answer.headers["policy-router-decision-id"])
    assert (end.status, end.finish_reason) == ("completed", "end_turn")
    assert (end.input_tokens, end.output_tokens) == (40, 4)


def test_problems_of_messages_are_said_as_anthropic_says_them(
    client: httpx.Client, peer: ScriptedProvider, service: Service
) -> None:
    refused = tell(client, "huge")
    assert refused.json()["type"] == "error"
    found = error(refused, 403)
    assert (found["type"], found["code"]) == ("permission_error", "outside_pool")
    assert error(tell(client, thinking={"budget_tokens": 9000}), 403)["code"]
    assert error(tell(client, speed="fast"), 400)["code"] == "field_not_allowed"
    nobody = error(tell(service.client()), 401)
    assert nobody["type"] == "authentication_error"
    assert error(tell(client, "small"), 400)["code"] == "other_api"
    assert error(ask(client, "messenger"), 400)["code"] == "other_api"
    assert len(peer.talks) == 0
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}
    for first in (
        lambda talk: talk.whole(overloaded, 529),
        lambda talk: talk.stream(b"event: error\ndata: %b\n\n" % json.dumps(overloaded).encode()),
    ):
        peer.begin(first)
        found = error(tell(client, stream=True), 502)
        assert found["code"] == "server_error"


def test_a_stream_of_messages_that_breaks_off_tells_it(
    client: httpx.Client, peer: ScriptedProvider
) -> None:
    def answering(talk: Talk) -> None:
        talk.stream(message_events()[0], ends=False)
        talk.cut()

    peer.begin(answering)
    got: list[bytes] = []
    body = {"model": "messenger", "max_tokens": 9, "messages": HELLO, "stream": True}
    asked = client.stream("POST", MESSAGES, json=body)
    with asked as answer, pytest.raises(httpx.RemoteProtocolError):
        got.extend(answer.iter_raw())
    *_, name, data = b"".join(got).strip().splitlines()
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["error"]["code"] == "stream_broken"


# Who may.


def test_without_credentials_no_money_is_spent_over_tcp(
    tmp_path: Path, peer: ScriptedProvider
) -> None:
    (tmp_path / "policy.yaml").write_text(policy(peer.url), encoding="utf-8")
    with Service(tmp_path, "--run") as own:
        client = own.client()
        found = error(ask(client), 401)
        assert found["code"] == "credential_needed"
        assert "token new" in found["message"]
        assert any("token new" in line for line in own.said)
        assert client.get("/v1/models").status_code == 200
    assert peer.talks == []


def test_without_run_no_model_is_called(tmp_path: Path, peer: ScriptedProvider) -> None:
    (tmp_path / "policy.yaml").write_text(policy(peer.url), encoding="utf-8")
    with Service(tmp_path) as own:
        found = error(ask(own.client()), 501)
        assert found["code"] == "not_offered"
    assert peer.talks == []


def test_a_role_that_may_not_ask_is_told_so(
    service: Service, folder: Path, peer: ScriptedProvider
) -> None:
    auditor = token_of(folder, "eve", "--role", "auditor")
    asked = until(lambda: (it := ask(service.client(auditor))).status_code != 401 and it)
    assert error(asked, 403)["code"] == "role_needed"
    assert peer.talks == []


def test_a_limit_of_concurrency_holds_while_a_stream_runs(
    service: Service, folder: Path, peer: ScriptedProvider
) -> None:
    one = token_of(folder, "bob", "--concurrency", "1")
    goes_on = threading.Event()

    def answering(talk: Talk) -> None:
        talk.stream(chunk("x"), ends=False)
        assert goes_on.wait(10)
        talk.send(chunk(None, "stop"))
        talk.end()

    client = service.client(one)
    until(lambda: client.get("/v1/models").status_code == 200)
    peer.begin(answering)
    body = {"model": "auto", "messages": HELLO, "stream": True}
    with client.stream("POST", CHAT, json=body) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        assert error(ask(client), 429)["code"] == "too_many_requests"
        goes_on.set()
        list(pieces)
    peer.begin(lambda talk: talk.whole(completion()))
    assert until(lambda: ask(client).status_code == 200)


def test_a_decision_that_cannot_be_logged_sends_nothing(
    folder: Path, tmp_path: Path, peer: ScriptedProvider, token: str
) -> None:
    (tmp_path / "policy.yaml").write_text(policy(peer.url), encoding="utf-8")
    (tmp_path / "log").write_text("no folder", encoding="utf-8")
    tokens = str(folder / "tokens.jsonl")
    with Service(tmp_path, "--run", "--tokens", tokens, "--log", "log") as own:
        found = error(ask(own.client(token)), 503)
        assert found["code"] == "log_unavailable"
    assert peer.talks == []


def test_bodies_may_be_long_but_not_too_long(
    client: httpx.Client, peer: ScriptedProvider, service: Service, token: str
) -> None:
    long = [{"role": "user", "content": [{"type": "input_audio", "data": "A" * 4_000_000}]}]
    assert ask(client, messages=long).status_code == 200
    assert len(peer.talks[0].content) > 4_000_000
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {33 * 1024 * 1024}\r\n\r\n"
    with socket.create_connection(service.address, timeout=20) as link:
        link.sendall(head.encode())
        assert b"413" in link.recv(65536)
    assert client.post("/v1/decide", content=b" " * 2_000_000).status_code == 413


def test_no_log_of_the_process_has_a_key(service: Service, folder: Path, token: str) -> None:
    assert service.said
    written = "\n".join(service.said)
    written += "".join(
        path.read_text("utf-8", "replace") for path in (folder / "log").rglob("*") if path.is_file()
    )
    for planted in (KEY, ORGANIZATION, token):
        assert planted not in written
    assert "Traceback" not in written
