"""Real clients of OpenAI's API at the gateway: nothing but their base URL and key is set."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from policy_router.hosts.settings_files import NOWHERE
from tests.integration.test_gateway import (
    KEY,
    ORGANIZATION,
    folder,
    one_peer,
    policy,
    service,
    token,
)
from tests.support.scripted import (
    DONE,
    USAGE,
    ScriptedProvider,
    Talk,
    chunk,
    completion,
    response,
    response_events,
)
from tests.support.service import Service, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX only")]

assert all((KEY, ORGANIZATION, folder, one_peer, policy, service, token))  # fixtures of the module
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
SCRIPT = Path(__file__).with_name("clients_of_the_gateway.mjs")


def answering(talk: Talk) -> None:
    """Answer as a provider does: streamed or not, of either API, with a tool where it is asked."""
    if talk.path.endswith("/responses"):
        if talk.body.get("stream"):
            talk.stream(*response_events())
        else:
            talk.whole(response())
    elif talk.body.get("stream"):
        talk.stream(chunk("Hel"), chunk("lo."), chunk(None, "stop"), USAGE, DONE)
    elif "Call the tool." in str(talk.body["messages"]):
        function = {"name": "look", "arguments": '{"at": "it"}'}
        calls = [{"id": "call_1", "type": "function", "function": function}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        talk.whole(completion(choices=[choice]))
    else:
        talk.whole(completion(model=talk.body["model"]))


@pytest.fixture
def peer(one_peer: ScriptedProvider) -> ScriptedProvider:
    one_peer.begin(answering)
    return one_peer


@pytest.fixture
def client(service: Service, token: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=token) as made:
        yield made


def test_the_sdk_for_python_chats(client: openai.OpenAI, peer: ScriptedProvider) -> None:
    assert "large" in [model.id for model in client.models.list()]
    raw = client.chat.completions.with_raw_response.create(model="policy:hard", messages=HELLO)
    assert raw.headers["policy-router-entry"] == "large"
    assert raw.parse().choices[0].message.content == "Hello."
    stream = client.chat.completions.create(model="auto", messages=HELLO, stream=True)
    assert "".join(it.choices[0].delta.content or "" for it in stream) == "Hello."
    extra = {"policy_router": {"task": {"kind": "hard"}}}
    client.chat.completions.create(model="auto", messages=HELLO, extra_body=extra)
    assert peer.talks[-1].body["model"] == "m1"
    facts = {"policy-router-facts": json.dumps({"task": {"kind": "hard"}})}
    client.chat.completions.create(model="auto", messages=HELLO, extra_headers=facts)
    assert peer.talks[-1].body["model"] == "m1"


def test_the_sdk_for_python_speaks_the_responses_api(
    client: openai.OpenAI, peer: ScriptedProvider
) -> None:
    made = client.responses.create(model="responder", input="Say hello.")
    assert made.output_text == "Hello."
    stream = client.responses.create(model="responder", input="Say hello.", stream=True)
    assert [event.type for event in stream][-1] == "response.completed"
    more = client.responses.create(model="auto", input="Go on.", previous_response_id=made.id)
    assert more.output_text == "Hello."
    assert peer.talks[-1].body["previous_response_id"] == made.id


def test_the_sdk_for_python_understands_problems(
    client: openai.OpenAI, peer: ScriptedProvider
) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model="huge", messages=HELLO)
    assert refused.value.code == "outside_pool"
    with pytest.raises(openai.BadRequestError) as forbidden:
        client.chat.completions.create(model="auto", messages=HELLO, service_tier="priority")
    assert forbidden.value.code == "field_not_allowed"
    wrong = openai.OpenAI(base_url=client.base_url, api_key="pr_wrong")
    with wrong, pytest.raises(openai.AuthenticationError):
        wrong.models.list()
    peer.begin(lambda talk: talk.whole({"error": {"message": "wrong key"}}, 401))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="large", messages=HELLO)
    assert len(peer.talks) == 1  # it is not sent again
    peer.begin(lambda talk: talk.whole({"error": {"message": "busy"}}, 503), answering)
    made = client.chat.completions.create(model="large", messages=HELLO)
    assert made.model == "m1"  # it was sent again


def test_the_sdk_for_python_understands_that_a_path_is_not_offered(
    client: openai.OpenAI, service: Service, token: str
) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="auto", input="Say hello.")
    assert missing.value.code == "no_route"
    assert "`/v1/chat/completions`" in missing.value.message
    for place, said in (("", "ends with `/v1`"), ("/v1/v1", "leave `/v1` out")):
        wrong = openai.OpenAI(base_url=f"{service.url}{place}", api_key=token)
        with wrong, pytest.raises(openai.NotFoundError, match=said):
            wrong.chat.completions.create(model="auto", messages=HELLO)
    for path, type_ in (("chat/completions", None), ("messages", "error")):
        answer = service.client().get(f"/v1/{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        found = answer.json()
        assert (found.get("type"), found["error"]["code"]) == (type_, "no_method")


def test_the_sdk_for_python_hears_of_a_stream_that_breaks_off(
    client: openai.OpenAI, peer: ScriptedProvider
) -> None:
    def breaking(talk: Talk) -> None:
        talk.stream(chunk("Hel"), ends=False)
        talk.cut()

    peer.begin(breaking)
    stream = client.chat.completions.create(model="auto", messages=HELLO, stream=True)
    assert next(stream).choices[0].delta.content == "Hel"
    with pytest.raises(openai.APIError) as broken:
        next(stream)
    assert broken.value.code == "stream_broken"


def test_many_streams_at_once(service: Service, token: str, peer: ScriptedProvider) -> None:
    async def one(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model="auto", messages=HELLO, stream=True)
        return "".join([it.choices[0].delta.content or "" async for it in stream])

    async def ask() -> list[str]:
        url = f"{service.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=token, max_retries=0) as client:
            return await asyncio.gather(*(one(client) for _ in range(40)))

    assert asyncio.run(ask()) == ["Hello."] * 40
    assert len(peer.talks) == 40


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_clients_for_node(
    service: Service, token: str, peer: ScriptedProvider, tmp_path: Path
) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("there is no Node")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent"]
    packages = ["openai@6", "ai@6", "@ai-sdk/openai@3", "@openai/agents@0.20"]
    installed = subprocess.run(  # noqa: S603 - our own words
        [*command, *packages], cwd=tmp_path, capture_output=True, timeout=200, check=False
    )
    if installed.returncode:
        pytest.skip("npm cannot install anything here")
    script = shutil.copy(SCRIPT, tmp_path)
    other = {"OPENAI_API_KEY": "sk-of-the-user", "OPENAI_BASE_URL": peer.url}
    ran = subprocess.run(  # noqa: S603 - our own words
        [node, script, f"{service.url}/v1", token, NOWHERE],
        env={**os.environ, **other},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert "small" in said.pop("models")
    assert said == {
        "chat": "Hello.",
        "chatStream": "Hello.",
        "entry": "large",
        "entryModel": "m1",
        "response": "Hello.",
        "refused": {"status": 403, "code": "outside_pool"},
        "aiChat": "Hello.",
        "aiResponse": "Hello.",
        "aiStream": "Hello.",
        "aiTool": [["look", {"at": "it"}]],
        "agentChat": "Hello.",
        "agentResponse": "Hello.",
        "agentRefused": {"status": 403, "code": "outside_pool"},
        "away": ["APIConnectionError", "APICallError", "APIConnectionError"],
    }
    assert until(peer.talks[-1].ended.is_set)
    assert not any("sk-of-the-user" in str(it.headers) for it in peer.talks)
