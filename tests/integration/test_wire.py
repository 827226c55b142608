"""What goes over the wire, to the byte: which key to which host, which words in which body.

Every call is made in four ways: in a thread and on an event loop, streamed and not.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from msgspec.structs import replace

from policy_router import Delegator, Executor, Policy, ProviderError, Reply, decide, loads
from policy_router.calls.child_task import Event, EventKind
from policy_router.calls.executor import INSTRUCTIONS
from policy_router.calls.failing import Failing
from policy_router.calls.results import Delegation
from policy_router.decision.record import DecisionRecord, Target
from policy_router.version import VERSION
from tests.support.commands import NOW
from tests.support.rows import each

if TYPE_CHECKING:
    import httpx2 as httpx
else:  # that of the SDK which is installed
    from policy_router.calls.exchange import httpx

ENV = {
    "ONE_KEY": "key-of-one-0123456789",
    "TWO_KEY": "key-of-two-0123456789",
    "THREE_KEY": "key-of-three-0123456789",
    "MORE": "more-of-one-0123456789",
}
ONE = {"base_url": "https://one.example/v1", "api_key": "env:ONE_KEY"}
TWO = {"base_url": "https://two.example/v1", "api_key": "env:TWO_KEY"}
THREE = {"base_url": "https://three.example/api", "api_key": "env:THREE_KEY"}
SYSTEM = {"role": "system", "content": INSTRUCTIONS}
USER = {"role": "user", "content": "the goal"}
RESPONSES = {"api": "responses"}
MESSAGES = {"api": "anthropic_messages"}

Answer = Callable[[httpx.Request], httpx.Response]


# --- Providers ------------------------------------------------------------------------------------


def sse(*events: Any) -> bytes:
    """Return a stream of events; bytes are put as they are."""
    lines = [it if isinstance(it, bytes) else json.dumps(it).encode() for it in events]
    return b"".join(b"data: " + line + b"\n\n" for line in lines)


def _events(api: str, text: str, model: str) -> list[Any]:
    if api == "chat/completions":
        return [
            {"model": model, "choices": [{"delta": {"role": "assistant", "content": text}}]},
            {"model": model, "choices": [{"delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}},
            b"[DONE]",
        ]
    if api == "messages":
        usage = {"input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 1}
        return [
            {"type": "message_start", "message": {"model": model, "usage": usage}},
            {"type": "ping"},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
             "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
        ]  # fmt: skip
    usage = {"input_tokens": 5, "output_tokens": 7}
    response = {"model": model, "status": "completed", "usage": usage}
    return [
        {"type": "response.created", "response": {"model": model, "status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": text},
        {"type": "response.completed", "response": response},
    ]


def _whole(api: str, text: str, model: str) -> Any:
    if api == "chat/completions":
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 7}
        return {"model": model, "choices": [choice], "usage": usage}
    if api == "messages":
        usage = {"input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 7}
        part = {"type": "text", "text": text}
        return {"model": model, "content": [part], "stop_reason": "end_turn", "usage": usage}
    content = [{"type": "output_text", "text": text}]
    usage = {"input_tokens": 5, "output_tokens": 7}
    output = [{"type": "message", "content": content}]
    return {"model": model, "status": "completed", "output": output, "usage": usage}


def says(text: str = "the answer", *, model: str | None = None) -> Answer:
    """Answer in the way that is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        path = request.url.path
        apis = ("chat/completions", "responses", "messages")
        api = next(api for api in apis if path.endswith(f"/{api}"))
        if body.get("stream"):
            content = sse(*_events(api, text, model or body["model"]))
            return httpx.Response(
                200, content=content, headers={"content-type": "text/event-stream"}
            )
        return httpx.Response(200, json=_whole(api, text, model or body["model"]))

    return answer


def status(number: int, body: Any = None, **headers: str) -> Answer:
    """Answer with a status; bytes and texts are put as they are."""
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request: httpx.Response(number, content=content, headers=named)


def fails(error: type[httpx.TransportError]) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error("no more than this", request=request)

    return answer


class Breaking(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, *parts: bytes, error: type[httpx.TransportError] = httpx.ReadError) -> None:
        self.parts, self.error = parts, error

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        raise self.error("it broke")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


@dataclass
class Net:
    """What stands in place of the network: the answers of hosts, and what they were sent.

    A host is called by the first word of its name. It gives its answers one after the other, and
    the last one from then on; one that is not named has the usual answer.
    """

    answers: Mapping[str, list[Answer]] = field(default_factory=dict)
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host.partition(".")[0]
        before = self.hosts.count(host)
        self.seen.append(request)
        answers = self.answers.get(host, [says()])
        return answers[min(before, len(answers) - 1)](request)

    @property
    def hosts(self) -> list[str]:
        return [request.url.host.partition(".")[0] for request in self.seen]

    @property
    def sent(self) -> httpx.Request:
        """The only request."""
        (request,) = self.seen
        return request

    @property
    def body(self) -> Any:
        """The body of the only request."""
        return json.loads(self.sent.content)


def net(**answers: Answer | list[Answer]) -> Net:
    return Net({host: it if isinstance(it, list) else [it] for host, it in answers.items()})


def all_of(request: httpx.Request) -> str:
    """Return everything that a request tells whoever gets it."""
    headers = [f"{name}: {value}" for name, value in request.headers.multi_items()]
    return "\n".join([str(request.url), *headers, request.content.decode()])


# --- Calls ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One of the four ways to make a call."""

    on_loop: bool
    streams: bool

    def reply(
        self,
        policy: Policy,
        hosts: Net,
        /,
        *,
        environ: Mapping[str, str] | None = ENV,
        record: DecisionRecord | None = None,
        options: Mapping[str, Any] | None = None,
        **call: Any,
    ) -> Reply:
        """Make the call that is decided, and return the answer."""
        executor = Executor(
            policy,
            environ=environ,
            streams=self.streams,
            transport=httpx.MockTransport(hosts),
            **(options or {}),
        )
        decided = record or decide(policy, {}, now=NOW)
        if self.on_loop:
            return asyncio.run(self._reply(executor, decided, call))
        with executor:
            return executor.run(decided, "the goal", **call)

    async def _reply(
        self, executor: Executor, record: DecisionRecord, call: dict[str, Any]
    ) -> Reply:
        async with executor:
            return await executor.run_async(record, "the goal", **call)

    def error(self, policy: Policy, hosts: Net, /, **options: Any) -> ProviderError:
        """Make a call that fails, and return how."""
        with pytest.raises(ProviderError) as caught:
            self.reply(policy, hosts, **options)
        return caught.value

    def delegation(self, policy: Policy, hosts: Net, tasks: list[dict[str, Any]]) -> Delegation:
        """Delegate a batch."""
        transport = httpx.MockTransport(hosts)
        executor = Executor(policy, environ=ENV, streams=self.streams, transport=transport)
        if self.on_loop:
            return asyncio.run(self._delegation(policy, executor, tasks))
        with executor, Delegator(policy, executor=executor) as delegator:
            return delegator.delegate({"tasks": tasks})

    async def _delegation(
        self, policy: Policy, executor: Executor, tasks: list[dict[str, Any]]
    ) -> Delegation:
        async with executor, Delegator(policy, executor=executor) as delegator:
            return await delegator.delegate_async({"tasks": tasks})


WAYS = {
    "thread": Way(on_loop=False, streams=False),
    "thread, streamed": Way(on_loop=False, streams=True),
    "loop": Way(on_loop=True, streams=False),
    "loop, streamed": Way(on_loop=True, streams=True),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def policy_of(provider: Mapping[str, Any] = ONE, /, *, model: str = "m", **sections: Any) -> Policy:
    """Return a policy whose default is a model at the provider `one`."""
    given: dict[str, Any] = {"version": 1, "model": model, "provider": "one"}
    given["providers"] = {"one": provider}
    return loads(json.dumps({**given, **sections}), name="wire.yaml")


def entry_of(**entry: Any) -> Policy:
    """Return a policy whose pool has one model, at the provider `one`."""
    provider = entry.pop("at", ONE)
    return policy_of(provider, pool=[{"model": "m", "pick": "true", **entry}])


def chain(*providers: Mapping[str, Any], **first: Any) -> Policy:
    """Return a policy that falls back from each provider to the next."""
    named = dict(zip(("one", "two", "three"), providers, strict=False))
    names = [f"m-{name}" for name in named]
    pool: list[dict[str, Any]] = [
        {"model": model, "provider": name} for model, name in zip(names, named, strict=True)
    ]
    pool[0] |= {"pick": "true", "fallback": names[1:], **first}
    return loads(json.dumps({"version": 1, "providers": named, "pool": pool}), name="wire.yaml")


# --- Keys -----------------------------------------------------------------------------------------


def test_in_a_mixed_batch_each_key_goes_to_its_own_host_and_no_other(way: Way) -> None:
    named = {"one": ONE, "two": TWO, "three": THREE}
    pool = [
        {"model": f"m-{name}", "provider": name, "pick": f"task.index % 3 == {place}"}
        for place, name in enumerate(named)
    ]
    policy = loads(json.dumps({"version": 1, "providers": named, "pool": pool}))
    hosts = net(three=status(429, {"error": "slow down"}, retry_after="0"))
    made = way.delegation(policy, hosts, [{"goal": f"goal {number}"} for number in range(12)])
    assert [result.status for result in made.results] == ["completed", "completed", "failed"] * 4
    assert sorted(hosts.hosts) == ["one"] * 4 + ["three"] * 4 + ["two"] * 4
    for request, host in zip(hosts.seen, hosts.hosts, strict=True):
        key = ENV[f"{host.upper()}_KEY"]
        assert request.headers.get_list("authorization") == [f"Bearer {key}"]
        assert [other for other in ENV.values() if other in all_of(request)] == [key]
        assert json.loads(request.content)["model"] == f"m-{host}"


@each("first", [429, 500, 402, 404])
def test_a_fallback_is_sent_its_own_key_alone(way: Way, first: int) -> None:
    hosts = net(one=status(first, {}), two=status(503, {}))
    reply = way.reply(chain(ONE, TWO, THREE), hosts)
    assert hosts.hosts == ["one", "two", "three"]
    for request, key in zip(hosts.seen, ENV.values(), strict=False):
        assert [other for other in ENV.values() if other in all_of(request)] == [key]
    assert [attempt.provider for attempt in reply.attempts] == ["one", "two", "three"]
    assert [attempt.status for attempt in reply.attempts] == [first, 503, 200]


def test_a_fallback_without_a_key_is_sent_none(way: Way) -> None:
    hosts = net(one=status(503, {}))
    way.reply(chain(ONE, {"base_url": "https://two.example/v1"}), hosts)
    assert "authorization" not in hosts.seen[1].headers
    assert [key for key in ENV.values() if key in all_of(hosts.seen[1])] == []


PLANTED = {
    "OPENAI_API_KEY": "planted-api-key",
    "OPENAI_ADMIN_KEY": "planted-admin-key",
    "OPENAI_ORG_ID": "planted-organization",
    "OPENAI_PROJECT_ID": "planted-project",
    "OPENAI_BASE_URL": "https://planted.example/v1",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer planted-bearer\nX-Planted: planted-header",
    "OPENAI_WEBHOOK_SECRET": "planted-webhook-secret",
}


@pytest.fixture
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_planted")
@pytest.mark.parametrize(
    "provider", [ONE, {"base_url": ONE["base_url"]}, {**ONE, "dialect": RESPONSES}]
)
def test_nothing_of_the_sdks_environment_is_sent(way: Way, provider: dict[str, Any]) -> None:
    hosts = net()
    way.reply(policy_of(provider), hosts, environ=None)
    assert hosts.hosts == ["one"]
    assert "planted" not in all_of(hosts.sent).casefold()
    key = [f"Bearer {ENV['ONE_KEY']}"] if "api_key" in provider else []
    assert hosts.sent.headers.get_list("authorization") == key


@pytest.mark.usefixtures("_planted")
def test_a_known_provider_is_sent_its_usual_key_at_its_usual_address_alone(way: Way) -> None:
    hosts = net()
    way.reply(loads("{version: 1, model: m, provider: openai}"), hosts, environ=None)
    assert str(hosts.sent.url) == "https://api.openai.com/v1/chat/completions"
    assert hosts.sent.headers["authorization"] == "Bearer planted-api-key"
    assert all_of(hosts.sent).count("planted") == 1


@pytest.mark.usefixtures("_planted")
def test_a_known_provider_at_an_address_of_its_own_is_sent_no_usual_key(way: Way) -> None:
    hosts = net()
    providers = {"openai": {"base_url": "https://one.example/v1"}}
    way.reply(policy_of(provider="openai", providers=providers), hosts, environ=None)
    assert hosts.hosts == ["one"]
    assert "authorization" not in hosts.sent.headers
    assert "planted" not in all_of(hosts.sent)


@each("number", [301, 302, 303, 307, 308])
@each("place", ["https://two.example/v1", "/elsewhere"])
def test_a_redirect_is_not_followed(way: Way, number: int, place: str) -> None:
    hosts = net(one=status(number, "", location=place))
    error = way.error(chain(ONE, TWO), hosts)
    assert hosts.hosts == ["one"]
    assert (error.code, error.attempts[0].status) == (Failing.HTTP_ERROR, number)


@each("word", ["authorization", "Authorization", "AUTHORIZATION"])
@each("with_key", [True, False])
def test_an_authorization_of_its_own_goes_in_place_of_the_key(
    way: Way,
    word: str,
    with_key: bool,  # noqa: FBT001 - of the table
) -> None:
    provider = {**ONE} if with_key else {"base_url": ONE["base_url"]}
    hosts = net()
    way.reply(policy_of({**provider, "headers": {word: "env:MORE"}}), hosts)
    assert hosts.sent.headers.get_list("authorization") == [ENV["MORE"]]
    assert ENV["ONE_KEY"] not in all_of(hosts.sent)


def test_headers_of_a_provider_are_sent_to_it_alone(way: Way, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key-in-a-file-0123\n")
    headers = {
        "api-key": "env:MORE",
        "X-File-Key": f"file:{tmp_path}/key",
        "X-Title": "a title",
        "user-agent": "mine/1",
    }
    hosts = net(one=status(503, {}))
    way.reply(chain({"base_url": ONE["base_url"], "headers": headers}, TWO), hosts)
    first, second = hosts.seen
    assert first.headers["api-key"] == ENV["MORE"]
    assert first.headers["x-file-key"] == "key-in-a-file-0123"
    assert first.headers["x-title"] == "a title"
    assert first.headers.get_list("user-agent") == ["mine/1"]
    assert "authorization" not in first.headers
    assert not {"api-key", "x-file-key", "x-title"} & set(second.headers)
    assert second.headers["user-agent"] == f"policy-router/{VERSION}"


BAD_KEYS = {
    "missing": None,
    "empty": "",
    "blank": " \n",
    "newline": "key-of-one\nX-Other: 1",
    "not ASCII": "clé-of-one",
    "control": "key\x00of-one",
}


@each("case", BAD_KEYS)
def test_without_a_key_that_can_be_sent_nothing_is(way: Way, case: str) -> None:
    content = BAD_KEYS[case]
    environ = {} if content is None else {"ONE_KEY": content}
    for provider in (ONE, {"base_url": ONE["base_url"], "headers": {"X-Key": "env:ONE_KEY"}}):
        hosts = net()
        error = way.error(chain(provider, TWO), hosts, environ={**environ, "TWO_KEY": "two"})
        assert hosts.seen == []
        assert error.code == Failing.NO_CREDENTIAL
        assert (error.attempts[0].status, error.attempts[0].is_sent) == (None, False)
        assert content is None or not content.strip() or content not in str(error)


def test_a_missing_file_of_a_key_is_said_and_nothing_is_sent(way: Way, tmp_path: Path) -> None:
    hosts = net()
    error = way.error(policy_of({**ONE, "api_key": f"file:{tmp_path}/key"}), hosts)
    assert hosts.seen == []
    assert str(error) == (
        f"no_credential: the key is missing: file:{tmp_path}/key cannot be read "
        "(No such file or directory) (m at one)"
    )


def test_a_fallback_without_its_key_is_passed_over(way: Way) -> None:
    hosts = net(one=status(503, {}))
    environ = {name: key for name, key in ENV.items() if name != "TWO_KEY"}
    reply = way.reply(chain(ONE, TWO, THREE), hosts, environ=environ)
    assert hosts.hosts == ["one", "three"]
    assert [attempt.failure for attempt in reply.attempts] == [
        Failing.SERVER_ERROR,
        Failing.NO_CREDENTIAL,
        None,
    ]


def test_without_its_key_one_goes_on_where_401_is_named(way: Way) -> None:
    hosts = net()
    way.reply(chain(ONE, TWO, fallback_on=[401]), hosts, environ={"TWO_KEY": ENV["TWO_KEY"]})
    assert hosts.hosts == ["two"]


def test_a_key_that_has_changed_is_sent_with_the_next_call() -> None:
    environ, hosts, policy = dict(ENV), net(), policy_of()
    record = decide(policy, {}, now=NOW)
    transport = httpx.MockTransport(hosts)
    with Executor(policy, environ=environ, transport=transport) as executor:
        executor.run(record, "the goal")
        environ["ONE_KEY"] = "another-key-0123456789"
        executor.run(record, "the goal")
    keys = [request.headers["authorization"] for request in hosts.seen]
    assert keys == [f"Bearer {ENV['ONE_KEY']}", "Bearer another-key-0123456789"]


@pytest.mark.parametrize("provider", [ONE, {**ONE, "dialect": RESPONSES}])
def test_a_client_of_the_host_has_address_key_and_headers_and_no_more(
    provider: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    hosts = net()
    policy = policy_of({**provider, "headers": {"X-Title": "a title"}})
    transport = httpx.MockTransport(hosts)
    with Executor(policy, environ=ENV, transport=transport) as executor:
        executor.client("one").chat.completions.create(model="m", messages=[])
    assert str(hosts.sent.url) == "https://one.example/v1/chat/completions"
    assert hosts.sent.headers["authorization"] == f"Bearer {ENV['ONE_KEY']}"
    assert hosts.sent.headers["x-title"] == "a title"
    assert "planted" not in all_of(hosts.sent)


def test_a_client_of_the_host_works_without_a_key_too() -> None:
    hosts = net()
    policy = policy_of({"base_url": ONE["base_url"]})
    with Executor(policy, environ=ENV, transport=httpx.MockTransport(hosts)) as executor:
        executor.client("one").chat.completions.create(model="m", messages=[])
    assert "authorization" not in hosts.sent.headers


def test_a_client_of_the_host_may_be_given_other_options() -> None:
    hosts, policy = net(), policy_of()
    with Executor(policy, environ=ENV, transport=httpx.MockTransport(hosts)) as executor:
        client = executor.client("one").with_options(timeout=5)
        client.chat.completions.create(model="m", messages=[])
    assert hosts.sent.headers["authorization"] == f"Bearer {ENV['ONE_KEY']}"


def test_a_client_of_a_provider_without_an_endpoint_is_an_error() -> None:
    with Executor(policy_of(), environ={}) as executor:
        with pytest.raises(ProviderError, match=r"^no_credential: .*ONE_KEY is not set"):
            executor.client("one")
        with pytest.raises(ProviderError, match=r"^no_endpoint: .*`nobody` is not one of"):
            executor.client("nobody")


# --- Address and headers --------------------------------------------------------------------------


@each(
    ("address", "chat"),
    [
        ("https://one.example/v1", "https://one.example/v1/chat/completions"),
        ("https://one.example/v1/", "https://one.example/v1/chat/completions"),
        ("https://one.example", "https://one.example/chat/completions"),
        ("https://one.example/a/b", "https://one.example/a/b/chat/completions"),
        ("http://one.example:8080/v1", "http://one.example:8080/v1/chat/completions"),
    ],
)
def test_a_call_goes_below_its_address(way: Way, address: str, chat: str) -> None:
    hosts = net()
    way.reply(policy_of({"base_url": address}), hosts)
    assert (hosts.sent.method, str(hosts.sent.url)) == ("POST", chat)
    hosts = net()
    way.reply(policy_of({"base_url": address, "dialect": RESPONSES}), hosts)
    assert str(hosts.sent.url) == chat.replace("chat/completions", "responses")


@pytest.mark.parametrize("dialect", [{}, RESPONSES])
def test_no_other_headers_are_sent(way: Way, dialect: dict[str, Any]) -> None:
    hosts = net()
    way.reply(policy_of({**ONE, "dialect": dialect}), hosts, session_id="s-1")
    headers = dict(hosts.sent.headers)
    assert headers.pop("accept-encoding") == "gzip, deflate"
    assert headers == {
        "host": "one.example",
        "connection": "keep-alive",
        "accept": "application/json",
        "authorization": f"Bearer {ENV['ONE_KEY']}",
        "content-type": "application/json",
        "content-length": str(len(hosts.sent.content)),
        "user-agent": f"policy-router/{VERSION}",
        "x-session-id": "s-1",
    }
    assert len(hosts.sent.headers.multi_items()) == len(hosts.sent.headers)


def test_the_session_goes_in_the_header_that_the_host_wants(way: Way) -> None:
    hosts = net(one=status(503, {}))
    way.reply(chain(ONE, TWO), hosts, session_id="s 1~", options={"session_header": "X-Thread"})
    for request in hosts.seen:
        assert request.headers["x-thread"] == "s 1~"
        assert "x-session-id" not in request.headers


def test_without_a_session_there_is_no_header_of_one(way: Way) -> None:
    hosts = net()
    way.reply(policy_of(), hosts)
    assert "x-session-id" not in hosts.sent.headers


def test_a_provider_may_be_silent_as_long_as_the_host_says(way: Way) -> None:
    hosts = net()
    way.reply(policy_of(), hosts)
    way.reply(policy_of(), hosts, options={"timeout": 2.5})
    timeouts = [request.extensions["timeout"] for request in hosts.seen]
    assert timeouts == [
        {"connect": 10.0, "read": 600.0, "write": 600.0, "pool": 600.0},
        {"connect": 2.5, "read": 2.5, "write": 2.5, "pool": 2.5},
    ]


# --- Bodies ---------------------------------------------------------------------------------------

PARAMETERS = {
    "temperature": 0.5,
    "max_tokens": 100,
    "reasoning_effort": "low",
    "top_k": 40,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop": ["a", "b"],
    "nothing": None,
}
KEPT = {
    "temperature": 0.5,
    "top_k": 40,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop": ["a", "b"],
    "nothing": None,
}


def streamed_chat(way: Way) -> dict[str, Any]:
    """Return what the body of a completion has more where it is streamed."""
    return {"stream": True, "stream_options": {"include_usage": True}} if way.streams else {}


def test_the_body_of_a_completion_is_exactly_this(way: Way) -> None:
    hosts = net()
    reply = way.reply(policy_of(parameters=PARAMETERS), hosts, context="the context")
    assert hosts.body == {
        "model": "m",
        "messages": [SYSTEM, {"role": "user", "content": "the goal\n\nthe context"}],
        "max_tokens": 100,
        "reasoning_effort": "low",
        **KEPT,
        **streamed_chat(way),
    }
    assert (reply.text, reply.finish_reason, reply.served_model) == ("the answer", "stop", "m")
    assert (reply.input_tokens, reply.output_tokens, reply.warnings) == (5, 7, ())


def test_the_body_of_a_response_is_exactly_this(way: Way) -> None:
    hosts = net()
    policy = policy_of({**ONE, "dialect": RESPONSES}, parameters=PARAMETERS)
    reply = way.reply(policy, hosts, context="the context")
    assert hosts.body == {
        "model": "m",
        "input": [SYSTEM, {"role": "user", "content": "the goal\n\nthe context"}],
        "max_output_tokens": 100,
        "reasoning": {"effort": "low"},
        **KEPT,
        **({"stream": True} if way.streams else {}),
    }
    assert (reply.text, reply.finish_reason, reply.served_model) == ("the answer", "completed", "m")
    assert (reply.input_tokens, reply.output_tokens, reply.warnings) == (5, 7, ())


def test_the_body_and_headers_of_a_message_are_exactly_these(way: Way) -> None:
    hosts = net()
    policy = policy_of({**ONE, "dialect": MESSAGES}, parameters=PARAMETERS)
    reply = way.reply(policy, hosts, session_id="s-1")
    cached = {"type": "ephemeral"}
    assert hosts.body == {
        "model": "m",
        "system": [{"type": "text", "text": INSTRUCTIONS, "cache_control": cached}],
        "messages": [USER],
        "max_tokens": 100,
        "output_config": {"effort": "low"},
        "stop_sequences": ["a", "b"],
        **{name: value for name, value in KEPT.items() if name != "stop"},
        **({"stream": True} if way.streams else {}),
    }
    assert str(hosts.sent.url) == "https://one.example/v1/messages"
    assert hosts.sent.headers["x-api-key"] == ENV["ONE_KEY"]
    assert hosts.sent.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in hosts.sent.headers
    assert (reply.text, reply.finish_reason, reply.served_model) == ("the answer", "end_turn", "m")
    assert (reply.input_tokens, reply.output_tokens, reply.cached_tokens) == (5, 7, 3)


@each(
    ("headers", "expected"),
    [
        ({"x-api-key": "env:MORE"}, {"x-api-key": ENV["MORE"]}),
        ({"Authorization": "env:MORE"}, {"authorization": ENV["MORE"]}),
        ({"anthropic-version": "2030-01-01"}, {"anthropic-version": "2030-01-01"}),
    ],
)
def test_headers_of_a_message_that_a_provider_names_go_before_ours(
    way: Way, headers: dict[str, str], expected: dict[str, str]
) -> None:
    hosts = net()
    way.reply(policy_of({**ONE, "dialect": MESSAGES, "headers": headers}), hosts)
    assert hosts.sent.headers.items() >= expected.items()
    keys = [name for name in ("x-api-key", "authorization") if name in hosts.sent.headers]
    assert len(keys) == 1


def test_the_known_provider_of_messages_is_asked_by_its_own_api(way: Way) -> None:
    hosts = net()
    policy = loads("{version: 1, model: m, provider: anthropic}")
    way.reply(policy, hosts, environ={"ANTHROPIC_API_KEY": ENV["ONE_KEY"]})
    assert str(hosts.sent.url) == "https://api.anthropic.com/v1/messages"
    assert hosts.body["max_tokens"] == 8192


def test_without_parameters_there_is_nothing_more(way: Way) -> None:
    hosts = net()
    way.reply(policy_of(), hosts, options={"instructions": ""})
    assert hosts.body == {"model": "m", "messages": [USER], **streamed_chat(way)}


def test_texts_go_over_the_wire_as_they_are(way: Way) -> None:
    hosts = net()
    text = 'quotes " \\ \n\t \u2028 \U0001f600 é \x00 </script>'
    way.reply(policy_of(), hosts, context=text, options={"instructions": text})
    system, user = hosts.body["messages"]
    assert system == {"role": "system", "content": text}
    assert user == {"role": "user", "content": f"the goal\n\n{text}"}


@each(
    ("model", "role"),
    [
        ("gpt-5-mini", "developer"),
        ("openai/GPT-5", "developer"),
        ("Codex-mini", "developer"),
        ("gpt-4.1", "system"),
        ("glm-5", "system"),
    ],
)
@each("dialect", [{}, RESPONSES])
def test_the_system_message_has_the_role_of_its_model(
    way: Way, model: str, role: str, dialect: dict[str, Any]
) -> None:
    hosts = net()
    way.reply(policy_of({**ONE, "dialect": dialect}, model=model), hosts)
    messages = hosts.body["input" if dialect else "messages"]
    assert messages == [{"role": role, "content": INSTRUCTIONS}, USER]
    assert hosts.body["model"] == model


@each(
    ("provider", "entry", "role"),
    [
        (None, None, "developer"),
        ("system", None, "system"),
        (None, "system", "system"),
        ("developer", "system", "system"),
        ("system", "developer", "developer"),
    ],
)
def test_an_entrys_role_goes_before_its_providers(
    way: Way, provider: str | None, entry: str | None, role: str
) -> None:
    hosts = net()
    at = {**ONE, "dialect": {"system_role": provider} if provider else {}}
    own = {"system_role": entry} if entry else {}
    way.reply(entry_of(model="gpt-5", at=at, dialect=own), hosts)
    assert hosts.body["messages"][0]["role"] == role


@each(
    ("name", "at", "entry", "sent"),
    [
        ("one", {}, {}, "max_tokens"),
        ("one", {"max_tokens": "max_completion_tokens"}, {}, "max_completion_tokens"),
        (
            "one",
            {"max_tokens": "max_completion_tokens"},
            {"max_tokens": "max_tokens"},
            "max_tokens",
        ),
        ("one", {}, {"max_tokens": "max_completion_tokens"}, "max_completion_tokens"),
        ("one", RESPONSES, {"max_tokens": "max_tokens"}, "max_output_tokens"),
        ("one", RESPONSES, {"api": "chat_completions"}, "max_tokens"),
        ("groq", {}, {}, "max_completion_tokens"),
        ("groq", {"max_tokens": "max_tokens"}, {}, "max_tokens"),
        ("perplexity", {}, {}, "max_output_tokens"),
        ("deepseek", {}, {}, "max_tokens"),
    ],
)
def test_the_length_of_the_answer_is_spelt_for_its_endpoint(
    way: Way, name: str, at: dict[str, Any], entry: dict[str, Any], sent: str
) -> None:
    hosts = net()
    provider = {**ONE, "dialect": at}
    pool = [{"model": "m", "provider": name, "pick": "true", "dialect": entry}]
    policy = policy_of(
        provider=name, providers={name: provider}, pool=pool, parameters={"max_tokens": 9}
    )
    way.reply(policy, hosts)
    lengths = {key: value for key, value in hosts.body.items() if key.endswith("_tokens")}
    assert lengths == {sent: 9}


@each("name", ["input", "instructions", "messages", "model", "stream"])
@each("dialect", [{}, RESPONSES])
def test_no_parameter_overrides_what_was_decided(
    way: Way, name: str, dialect: dict[str, Any]
) -> None:
    # A policy of today cannot say so; one that was stored with an older log can.
    plain, hosts = net(), net()
    policy = policy_of({**ONE, "dialect": dialect})
    way.reply(policy, plain)
    record = decide(policy, {}, now=NOW)
    assert isinstance(record.decision.target, Target)
    target = replace(record.decision.target, parameters={name: "mine"})
    record = replace(record, decision=replace(record.decision, target=target))
    reply = way.reply(policy, hosts, record=record)
    assert hosts.sent.content == plain.sent.content
    assert reply.warnings == (f"the model does not take `{name}`",)


def test_what_a_model_does_not_take_is_left_out_and_told(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    hosts = net()
    policy = entry_of(
        at={**ONE, "dialect": {"unsupported": ["top_k"]}},
        dialect={"unsupported": ["temperature"]},
        supports=["vision"],
        parameters=PARAMETERS,
    )
    with caplog.at_level(logging.WARNING):
        reply = way.reply(policy, hosts, watcher=events.append)
    left_out = ["reasoning_effort", "temperature", "top_k"]
    assert set(hosts.body) & set(left_out) == set()
    assert hosts.body["thinking"] == PARAMETERS["thinking"]
    assert reply.warnings == tuple(f"the model does not take `{name}`" for name in left_out)
    told = [event for event in events if event.kind is EventKind.PARAMETER_LEFT_OUT]
    assert [event.message for event in told] == [
        f"m does not take `{name}`, which is left out" for name in left_out
    ]
    assert [event.parameter for event in told] == left_out
    assert {(event.provider, event.model, event.task) for event in told} == {("one", "m", 0)}
    assert len([line for line in caplog.messages if "is left out" in line]) == len(left_out)


def test_what_was_left_out_is_a_warning_of_the_result(way: Way) -> None:
    policy = entry_of(dialect={"unsupported": ["top_k"]}, parameters={"top_k": 1})
    (result,) = way.delegation(policy, net(), [{"goal": "the goal"}]).results
    assert result.warnings == ("the model does not take `top_k`",)


def test_a_dialect_leaves_no_trace_in_the_record(way: Way) -> None:
    dialect = {"api": "responses", "system_role": "developer", "unsupported": ["top_k"]}
    plain = entry_of(parameters=PARAMETERS)
    spoken = entry_of(at={**ONE, "dialect": dialect}, parameters=PARAMETERS)
    record = decide(spoken, {}, now=NOW)
    before = record.to_json()
    way.reply(spoken, net(), record=record)
    assert record.to_json() == before
    assert record.decision == decide(plain, {}, now=NOW).decision
    assert json.loads(before)["decision"]["target"]["parameters"] == PARAMETERS


def test_a_fallback_is_put_in_its_own_dialect(way: Way) -> None:
    hosts = net(one=status(500, {}))
    dialect = {"api": "responses", "system_role": "developer"}
    pool = [
        {"model": "m-1", "provider": "one", "pick": "true", "fallback": ["m-2"]},
        {"model": "m-2", "provider": "two"},
    ]
    providers = {"one": ONE, "two": {**TWO, "dialect": dialect}}
    policy = policy_of(providers=providers, pool=pool, parameters={"max_tokens": 9})
    way.reply(policy, hosts)
    first, second = (json.loads(request.content) for request in hosts.seen)
    assert (first["max_tokens"], first["messages"][0]["role"]) == (9, "system")
    assert (second["max_output_tokens"], second["input"][0]["role"]) == (9, "developer")
    assert hosts.seen[1].url.path == "/v1/responses"


# --- One request an attempt -----------------------------------------------------------------------


@each("number", [400, 408, 409, 429, 500, 503])
@each("should_retry", ["true", None])
def test_an_attempt_is_one_request(way: Way, number: int, should_retry: str | None) -> None:
    more = {"x_should_retry": should_retry} if should_retry else {}
    hosts = net(one=status(number, {}, retry_after="0", retry_after_ms="0", **more))
    error = way.error(policy_of(), hosts)
    assert len(hosts.seen) == len(error.attempts) == 1
    assert error.attempts[0].status == number


@each("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_an_attempt_without_an_answer_is_one_request(
    way: Way, error: type[httpx.TransportError]
) -> None:
    hosts = net(one=fails(error))
    assert len(way.error(policy_of(), hosts).attempts) == len(hosts.seen) == 1


def test_what_is_begun_anew_is_an_attempt_of_ours(way: Way) -> None:
    hosts = net(one=[*[status(503, {}, retry_after="0")] * 2, says()])
    reply = way.reply(policy_of(), hosts, options={"retries": 2})
    assert [attempt.number for attempt in reply.attempts] == [1, 2, 3]
    assert len(hosts.seen) == 3


@each(
    ("headers", "hosts_called"),
    [
        ({"retry_after": "0"}, 2),
        ({"retry_after": "61"}, 1),
        ({"retry_after_ms": "61000", "retry_after": "0"}, 1),
        ({"retry_after": "Sat, 31 Jan 2026 09:01:01 GMT"}, 1),
        ({"retry_after": "Sat, 31 Jan 2026 08:59:00 GMT"}, 2),
    ],
)
def test_a_target_that_asks_for_too_long_is_not_called_again(
    way: Way, headers: dict[str, str], hosts_called: int
) -> None:
    hosts = net(one=[status(429, {}, **headers), says()])
    pool = [{"model": "m", "pick": "true", "fallback": ["n"]}, {"name": "n", "model": "m"}]
    policy = policy_of(pool=pool)
    if hosts_called == 2:
        assert len(way.reply(policy, hosts, options={"clock": _clock}).attempts) == 2
    else:
        error = way.error(policy, hosts, options={"clock": _clock})
        assert error.code == Failing.RATE_LIMITED
        assert [attempt.is_sent for attempt in error.attempts] == [True, False]
        assert "left alone for 6" in (error.attempts[1].message or "")
    assert len(hosts.seen) == hosts_called


def _clock() -> datetime.datetime:
    return datetime.datetime.fromisoformat("2026-01-31T09:00:00Z")


# --- Failures -------------------------------------------------------------------------------------


def bodies(message: str, name: Any) -> dict[str, Any]:
    """Return the bodies that providers have for one error."""
    return {
        "under error": {"error": {"message": message, "type": "t", "code": name}},
        "in a list": [{"error": {"message": message, "code": name}}],
        "code and text": {"code": name, "error": message},
        "flat": {"message": message, "type": "t", "code": name},
        "problem": {"status": 400, "title": message, "detail": message, "code": name},
    }


class Understood(NamedTuple):
    """An answer, and what it means."""

    number: int
    message: str
    name: Any
    code: Failing
    goes_on: bool = False


UNDERSTOOD = [
    Understood(400, "no such thing", "x", Failing.BAD_REQUEST),
    Understood(400, "The model `m-one` does not exist", "x", Failing.MODEL_NOT_FOUND, goes_on=True),
    Understood(400, "no such thing", "model_not_found", Failing.MODEL_NOT_FOUND, goes_on=True),
    Understood(400, "Credit balance is too low", None, Failing.PAYMENT_REQUIRED, goes_on=True),
    Understood(401, "wrong key", "invalid_api_key", Failing.UNAUTHORIZED),
    Understood(402, "pay", 402, Failing.PAYMENT_REQUIRED, goes_on=True),
    Understood(403, "not you", "x", Failing.HTTP_ERROR),
    Understood(403, "Insufficient credits", "x", Failing.PAYMENT_REQUIRED, goes_on=True),
    Understood(404, "nothing here", None, Failing.MODEL_NOT_FOUND, goes_on=True),
    Understood(408, "too late", None, Failing.TIMEOUT, goes_on=True),
    Understood(409, "conflict", None, Failing.HTTP_ERROR),
    Understood(413, "too much", None, Failing.HTTP_ERROR),
    Understood(422, "cannot", None, Failing.HTTP_ERROR),
    Understood(429, "slow down", "rate_limit_exceeded", Failing.RATE_LIMITED, goes_on=True),
    Understood(429, "slow down", "insufficient_quota", Failing.PAYMENT_REQUIRED, goes_on=True),
    Understood(500, "sorry", None, Failing.SERVER_ERROR, goes_on=True),
    Understood(529, "overloaded", "overloaded_error", Failing.SERVER_ERROR, goes_on=True),
]


@each("case", UNDERSTOOD)
def test_an_answer_that_is_an_error_is_understood(way: Way, case: Understood) -> None:
    _understand(way, case, bodies(case.message, case.name)["under error"])


@pytest.mark.parametrize("shape", bodies("", ""))
@each("case", [case for case in UNDERSTOOD if case.number in {400, 429}])
@each("name", ["thread", "loop, streamed"])
def test_an_error_is_understood_in_whatever_shape_it_comes(
    name: str, case: Understood, shape: str
) -> None:
    _understand(WAYS[name], case, bodies(case.message, case.name)[shape])


def _understand(way: Way, case: Understood, body: Any) -> None:
    """Hold what is made of an answer against what it means."""
    hosts = net(one=status(case.number, body))
    policy = chain(ONE, TWO)
    if case.goes_on:
        first, second = way.reply(policy, hosts).attempts
        assert second.failure is None
    else:
        error = way.error(policy, hosts)
        (first,) = error.attempts
        assert error.code == case.code
    assert (first.failure, first.status, first.message) == (case.code, case.number, case.message)
    assert hosts.hosts == (["one", "two"] if case.goes_on else ["one"])


@each("number", [400, 401, 403, 409, 422, 499])
def test_one_goes_on_after_the_statuses_that_the_entry_names(way: Way, number: int) -> None:
    hosts = net(one=status(number, {}))
    reply = way.reply(chain(ONE, TWO, fallback_on=[number]), hosts)
    assert [attempt.status for attempt in reply.attempts] == [number, 200]


@each(
    ("body", "message"),
    [
        (b"<html><body><h1>502 Bad Gateway</h1></body></html>", None),
        (b"", None),
        (b"null", None),
        (b"[]", None),
        (b"{broken", "{broken"),
        (b"upstream connect error", "upstream connect error"),
        (b"\xff\xfe\x00", "\ufffd\ufffd\ufffd"),
        (b"<" + b"x" * 1_000_000, None),
        (b'{"error": {"message": "' + b"x" * 1_000_000 + b'"}}', "x" * 500 + "..."),
        (b"[" * 100_000, "[" * 500 + "..."),
    ],
)
def test_an_error_without_words_is_told_by_its_status(
    way: Way, body: bytes, message: str | None
) -> None:
    (attempt,) = way.error(policy_of(), net(one=status(502, body))).attempts
    assert attempt.message == (message or "the provider answered with status 502")
    assert (attempt.failure, attempt.status) == (Failing.SERVER_ERROR, 502)


@each(
    ("error", "code", "message"),
    [
        (httpx.ConnectError, "connection_failed", "failed (ConnectError)"),
        (httpx.ConnectTimeout, "timeout", "did not answer in time"),
        (httpx.ReadTimeout, "timeout", "did not answer in time"),
        (httpx.PoolTimeout, "timeout", "did not answer in time"),
        (httpx.ReadError, "connection_failed", "failed (ReadError)"),
        (httpx.RemoteProtocolError, "connection_failed", "failed (RemoteProtocolError)"),
        (httpx.ProxyError, "connection_failed", "failed (ProxyError)"),
    ],
)
def test_no_answer_at_all_is_a_failure_after_which_one_goes_on(
    way: Way, error: type[httpx.TransportError], code: str, message: str
) -> None:
    hosts = net(one=fails(error))
    first, second = way.reply(chain(ONE, TWO), hosts).attempts
    assert (first.failure, first.status, second.failure) == (code, None, None)
    assert first.message is not None
    assert first.message.endswith(message)


def test_a_body_that_breaks_off_is_a_failure_after_which_one_goes_on() -> None:
    for name in ("thread", "loop"):
        stream = Breaking(b'{"choices": [')
        hosts = net(one=lambda _, it=stream: httpx.Response(200, stream=it))  # type: ignore[misc]
        reply = WAYS[name].reply(chain(ONE, TWO), hosts)
        assert reply.attempts[0].failure is Failing.CONNECTION_FAILED


@each("number", [400, 429, 502])
def test_a_long_text_of_an_error_is_not_read_and_its_status_tells_what_follows(
    way: Way, number: int
) -> None:
    hosts = net(one=status(number, b"x" * 2_000_000))
    if number == 400:
        (first,) = way.error(chain(ONE, TWO), hosts).attempts
    else:
        first, _ = way.reply(chain(ONE, TWO), hosts).attempts
    assert (first.failure, first.status) == (Failing.ANSWER_TOO_LARGE, number)


@each("content", [b"<html>", b"{}", b'{"choices": []}', b"[" * 100_000])
def test_after_an_answer_that_is_none_one_goes_on(way: Way, content: bytes) -> None:
    hosts = net(one=status(200, content))
    first, second = way.reply(chain(ONE, TWO), hosts).attempts
    assert (first.failure, second.failure) == (Failing.BAD_RESPONSE, None)


UNDERSTOOD_AT_200 = [
    Understood(429, "it says", 429, Failing.RATE_LIMITED, goes_on=True),
    Understood(429, "it says", "429", Failing.RATE_LIMITED, goes_on=True),
    Understood(402, "it says", 402, Failing.PAYMENT_REQUIRED, goes_on=True),
    Understood(502, "it says", 502, Failing.SERVER_ERROR, goes_on=True),
    Understood(500, "it says", "server_error", Failing.SERVER_ERROR, goes_on=True),
    Understood(400, "it says", 400, Failing.BAD_REQUEST),
    Understood(401, "it says", 401, Failing.UNAUTHORIZED),
]


@pytest.mark.parametrize("name", ["thread", "loop"])
@pytest.mark.parametrize("dialect", [{}, RESPONSES])
@each("case", UNDERSTOOD_AT_200)
def test_an_error_under_a_status_of_success_is_as_under_its_own(
    name: str, dialect: dict[str, Any], case: Understood
) -> None:
    body = {"error": {"code": case.name, "message": case.message}, "user_id": "u"}
    hosts = net(one=status(200, body))
    policy = chain({**ONE, "dialect": dialect}, TWO)
    if case.goes_on:
        first = WAYS[name].reply(policy, hosts).attempts[0]
    else:
        (first,) = WAYS[name].error(policy, hosts).attempts
    assert (first.failure, first.status, first.message) == (case.code, case.number, case.message)


def test_no_failure_repeats_a_key(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    key = ENV["ONE_KEY"]
    hosts = net(one=status(401, {"error": {"message": f"Bearer {key} is not {key}"}}))
    with caplog.at_level(logging.DEBUG):
        error = way.error(policy_of(), hosts, watcher=events.append)
    for shown in (str(error), repr(error), repr(error.attempts), repr(events), caplog.text):
        assert key not in shown
    assert error.attempts[0].message == "Bearer *** is not ***"
    cause = error.__cause__ or error.__context__
    assert cause is None


def test_of_a_header_with_a_scheme_the_secret_itself_is_not_repeated(way: Way) -> None:
    secret = "secret-0123456789"  # noqa: S105 - it is planted
    provider = {"base_url": ONE["base_url"], "headers": {"Authorization": "env:BEARER"}}
    hosts = net(one=says(f"the key is {secret}"))
    reply = way.reply(policy_of(provider), hosts, environ={"BEARER": f"Bearer {secret}"})
    assert secret not in (reply.text or "")


@pytest.mark.parametrize("on_loop", [False, True], ids=["thread", "loop"])
def test_no_cookie_of_one_child_goes_out_with_the_next(on_loop: bool) -> None:  # noqa: FBT001 - of the table
    seen: list[httpx.Request] = []
    answer = says()

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        response = answer(request)
        response.headers["Set-Cookie"] = "sid=child-1; Path=/"
        return response

    policy = policy_of()
    record = decide(policy, {}, now="2026-01-31T09:00:00Z")
    transport = httpx.MockTransport(handle)

    async def twice() -> None:
        async with Executor(policy, environ=ENV, transport=transport) as executor:
            for session in ("alice", "bob"):
                await executor.run_async(record, "a", session_id=session)

    if on_loop:
        asyncio.run(twice())
    else:
        with Executor(policy, environ=ENV, transport=transport) as executor:
            for session in ("alice", "bob"):
                executor.run(record, "a", session_id=session)
    assert [request.headers["X-Session-Id"] for request in seen] == ["alice", "bob"]
    assert [request.headers.get("Cookie") for request in seen] == [None, None]


# --- Streams --------------------------------------------------------------------------------------

STREAMED = [name for name, way in WAYS.items() if way.streams]


@pytest.fixture(params=STREAMED)
def stream(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def chunk(content: str | None = None, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content}, "finish_reason": reason}]}


def breaks(*parts: bytes, error: type[httpx.TransportError] = httpx.ReadError) -> Answer:
    return lambda _request: httpx.Response(200, stream=Breaking(*parts, error=error))


def texts(events: list[Event]) -> list[str]:
    return [event.message for event in events if event.kind is EventKind.TEXT]


def test_the_text_is_told_as_it_comes(stream: Way) -> None:
    events: list[Event] = []
    content = sse(chunk("a "), chunk(), chunk("b"), chunk(None, "stop"), b"[DONE]")
    reply = stream.reply(policy_of(), net(one=status(200, content)), watcher=events.append)
    assert texts(events) == ["a ", "b"]
    assert (reply.text, reply.finish_reason) == ("a b", "stop")


@pytest.mark.parametrize("dialect", [{}, RESPONSES])
def test_a_key_in_two_pieces_is_starred_out(stream: Way, dialect: dict[str, Any]) -> None:
    events: list[Event] = []
    key = ENV["ONE_KEY"]
    if dialect:
        parts = [
            {"type": "response.output_text.delta", "delta": f"it is {key[:9]}"},
            {"type": "response.output_text.delta", "delta": f"{key[9:]}!"},
            {"type": "response.completed", "response": {"status": "completed"}},
        ]
    else:
        parts = [chunk(f"it is {key[:9]}"), chunk(f"{key[9:]}!"), chunk(None, "stop")]
    hosts = net(one=status(200, sse(*parts)))
    reply = stream.reply(policy_of({**ONE, "dialect": dialect}), hosts, watcher=events.append)
    assert texts(events) == ["it is ", "***!"]
    assert reply.text == "it is ***!"


BEGUN = sse(chunk("a "), chunk("b"))
BROKEN = {
    "no reason": status(200, BEGUN),
    "no JSON": status(200, BEGUN + sse(b"{broken")),
    "no UTF-8": status(200, BEGUN + sse(b"\xff")),
    "an error": status(200, BEGUN + sse({"error": {"message": "m", "code": 502}})),
    "an error that is a text": status(200, BEGUN + sse({"error": "a text"})),
    "no connection": breaks(BEGUN),
    "half an event": breaks(BEGUN, b"data: {", error=httpx.RemoteProtocolError),
}


@each("case", BROKEN)
def test_a_stream_that_breaks_after_its_first_piece_is_the_end(stream: Way, case: str) -> None:
    events: list[Event] = []
    hosts = net(one=BROKEN[case])
    error = stream.error(chain(ONE, TWO), hosts, watcher=events.append)
    assert (error.code, error.partial) == (Failing.STREAM_BROKEN, "a b")
    assert texts(events) == ["a ", "b"]
    assert hosts.hosts == ["one"]


def test_silence_after_the_first_piece_is_the_end(stream: Way) -> None:
    hosts = net(one=breaks(BEGUN, error=httpx.ReadTimeout))
    error = stream.error(chain(ONE, TWO), hosts)
    assert (error.code, error.partial, hosts.hosts) == (Failing.TIMEOUT, "a b", ["one"])


NOT_BEGUN = {
    "nothing": status(200, b""),
    "only an end": status(200, sse(b"[DONE]")),
    "a comment": status(200, b": a comment\n\n"),
    "half an event": status(200, b'data: {"cut":'),
    "no connection": breaks(),
    "no connection after a comment": breaks(b": a comment\n\n"),
    "silence": breaks(error=httpx.ReadTimeout),
}


@each("case", NOT_BEGUN)
def test_a_stream_that_breaks_before_its_first_piece_is_gone_on_after(
    stream: Way, case: str
) -> None:
    hosts = net(one=NOT_BEGUN[case])
    first, second = stream.reply(chain(ONE, TWO), hosts).attempts
    assert first.failure in {Failing.CONNECTION_FAILED, Failing.TIMEOUT}
    assert second.failure is None


def test_a_partial_answer_is_in_the_result(stream: Way) -> None:
    hosts = net(one=status(200, sse(chunk("a "), chunk("b"))))
    (result,) = stream.delegation(policy_of(), hosts, [{"goal": "the goal"}]).results
    assert (result.status, result.text) == ("failed", "a b")
    assert result.error is not None
    assert result.error.code == "stream_broken"


@each(
    ("error", "number"),
    [
        ({"code": 429, "message": "it says"}, 429),
        ({"code": "server_error", "message": "it says"}, 500),
        ({"message": "it says", "type": "t"}, 500),
    ],
)
def test_an_error_in_the_stream_is_told_in_its_words(
    stream: Way, error: dict[str, Any], number: int
) -> None:
    hosts = net(one=status(200, sse(chunk("a"), {"error": error})))
    (attempt,) = stream.error(policy_of(), hosts).attempts
    assert (attempt.message, attempt.status) == ("it says", number)


FAILED_RESPONSES = [
    {"type": "error", "code": "server_error", "message": "it says"},
    {"type": "error", "error": {"code": "server_error", "message": "it says"}},
    {
        "type": "response.failed",
        "response": {"status": "failed", "error": {"code": "x", "message": "it says"}},
    },
]


@each("event", FAILED_RESPONSES)
def test_an_error_in_a_streamed_response_is_told_in_its_words(
    stream: Way, event: dict[str, Any]
) -> None:
    content = sse({"type": "response.output_text.delta", "delta": "a"}, event)
    error = stream.error(policy_of({**ONE, "dialect": RESPONSES}), net(one=status(200, content)))
    assert (error.code, error.partial) == (Failing.STREAM_BROKEN, "a")
    assert error.attempts[0].message == "it says"


def test_an_error_whose_body_breaks_off_is_a_failure_after_which_one_goes_on(stream: Way) -> None:
    hosts = net(one=lambda _: httpx.Response(503, stream=Breaking(b"part")))
    assert len(stream.reply(chain(ONE, TWO), hosts).attempts) == 2


def test_an_event_that_is_nested_too_deep_breaks_the_stream(stream: Way) -> None:
    hosts = net(one=status(200, sse(chunk("a"), b"[" * 100_000)))
    assert stream.error(policy_of(), hosts).code == Failing.STREAM_BROKEN


def test_a_text_with_half_a_character_can_be_given_on(stream: Way) -> None:
    hosts = net(one=status(200, sse(chunk("a\ud83d"), chunk("\ude00"), chunk("", "stop"))))
    made = stream.delegation(policy_of(), hosts, [{"goal": "the goal"}])
    assert json.loads(made.to_json())["results"][0]["status"] == "completed"


@pytest.mark.parametrize("charset", ["hex", "undefined"])
def test_an_error_in_a_charset_that_is_none_is_a_failure(way: Way, charset: str) -> None:
    answer = status(503, b"abc", content_type=f"text/html; charset={charset}")
    assert len(way.reply(chain(ONE, TWO), net(one=answer)).attempts) == 2


# --- What was served ------------------------------------------------------------------------------


@each("dialect", [{}, RESPONSES])
@each(
    ("routed", "served", "is_same"),
    [
        ("gpt-5", "gpt-5-2025-08-07", True),
        ("vendor/m", "M-latest", True),
        ("glm-5", "glm-5-turbo", False),
        ("gpt-5", "gpt-5-mini", False),
    ],
)
def test_a_model_that_was_served_in_place_of_another_is_told(
    way: Way,
    dialect: dict[str, Any],
    routed: str,
    served: str,
    is_same: bool,  # noqa: FBT001 - of the table
) -> None:
    events: list[Event] = []
    hosts = net(one=says(model=served))
    policy = policy_of({**ONE, "dialect": dialect}, model=routed)
    reply = way.reply(policy, hosts, watcher=events.append)
    message = f"{served} was served in place of {routed}"
    assert reply.served_model == served
    assert reply.warnings == (() if is_same else (message,))
    told = [event.message for event in events if event.kind is EventKind.MODEL_MISMATCH]
    assert told == ([] if is_same else [message])


def test_a_provider_that_does_not_say_what_it_served_is_believed(way: Way) -> None:
    content = (
        sse(chunk("a", "stop"))
        if way.streams
        else json.dumps({"choices": [{"message": {"content": "a"}}]}).encode()
    )
    reply = way.reply(policy_of(), net(one=status(200, content)))
    assert (reply.text, reply.served_model, reply.warnings) == ("a", None, ())


def test_a_served_model_is_held_against_the_fallback_that_ran(way: Way) -> None:
    hosts = net(one=status(503, {}), two=says(model="m-one"))
    reply = way.reply(chain(ONE, TWO), hosts)
    assert reply.warnings == ("m-one was served in place of m-two",)
    assert reply.ran is not None
    assert (reply.ran.model, reply.ran.provider) == ("m-two", "two")


# --- Answers that are no results ------------------------------------------------------------------


def completion(content: Any, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """Return a whole answer, which is read in place of a stream, too."""
    said = {"role": "assistant", "content": content, **message}
    return {"model": "m-one", "choices": [{"message": said, "finish_reason": reason}]}


@each(
    ("answer", "code"),
    [
        (completion(""), Failing.EMPTY_ANSWER),
        (completion(None), Failing.EMPTY_ANSWER),
        (completion("", "length"), Failing.EMPTY_ANSWER),
        (b"<html>busy</html>", Failing.BAD_RESPONSE),
    ],
)
def test_after_an_answer_without_text_the_fallback_has_its_turn(
    way: Way, answer: Any, code: Failing
) -> None:
    reply = way.reply(chain(ONE, TWO), net(one=status(200, answer)))
    assert [attempt.failure for attempt in reply.attempts] == [code, None]
    assert (reply.text, reply.ran and reply.ran.model) == ("the answer", "m-two")


FILTERED = completion(None, "content_filter")
REFUSED = completion(None, refusal="I will not.")
ASKS = completion(None, "tool_calls", tool_calls=[{"id": "1"}])


@each(
    ("answer", "code"),
    [
        (FILTERED, Failing.CONTENT_FILTERED),
        (REFUSED, Failing.REFUSED_BY_MODEL),
        (ASKS, Failing.WANTS_TOOL),
    ],
)
def test_after_these_answers_one_goes_on_only_where_the_entry_says_so(
    way: Way, answer: Any, code: Failing
) -> None:
    hosts = net(one=status(200, answer))
    error = way.error(chain(ONE, TWO), hosts)
    assert (error.code, hosts.hosts) == (code, ["one"])
    reply = way.reply(chain(ONE, TWO, fallback_on=[code]), net(one=status(200, answer)))
    assert [attempt.failure for attempt in reply.attempts] == [code, None]


@each(
    ("rule", "number", "answer"),
    [("-empty_answer", 200, completion("")), ("-rate_limited", 429, {}), (-429, 429, {})],
)
def test_an_entry_may_say_after_what_one_does_not_go_on(
    way: Way, rule: int | str, number: int, answer: dict[str, Any]
) -> None:
    hosts = net(one=status(number, answer))
    way.error(chain(ONE, TWO, fallback_on=[rule]), hosts)
    assert hosts.hosts == ["one"]


def test_a_model_that_was_retired_is_gone_on_after(way: Way) -> None:
    words = "The supported API model names are next-flash or next-pro, but you passed m-one"
    reply = way.reply(chain(ONE, TWO), net(one=status(400, {"error": {"message": words}})))
    assert [attempt.failure for attempt in reply.attempts] == [Failing.MODEL_NOT_FOUND, None]


def test_a_used_up_limit_of_a_key_is_no_credit(way: Way) -> None:
    words = "Key limit exceeded (total limit). Manage it using https://one.example/keys"
    error = {"error": {"message": words, "code": 403}}
    reply = way.reply(chain(ONE, TWO), net(one=status(403, error)))
    assert [attempt.failure for attempt in reply.attempts] == [Failing.PAYMENT_REQUIRED, None]


@pytest.mark.parametrize(
    ("windows", "expected"), [((100, 100), ["one"]), ((100, 200), ["one", "two"])]
)
def test_an_input_that_is_too_long_goes_to_a_larger_window_alone(
    way: Way, windows: tuple[int, int], expected: list[str]
) -> None:
    policy = policy_of(
        providers={"one": ONE, "two": TWO},
        pool=[
            {"model": "m", "pick": "true", "fallback": ["n"], "context_window": windows[0]},
            {"model": "n", "provider": "two", "context_window": windows[1]},
        ],
    )
    words = "This model's maximum context length is 100 tokens."
    hosts = net(one=status(400, {"error": {"message": words}}))
    if len(expected) == 1:
        error = way.error(policy, hosts)
        assert (error.code, error.attempts[1].is_sent) == (Failing.CONTEXT_OVERFLOW, False)
    else:
        way.reply(policy, hosts)
    assert hosts.hosts == expected


def test_an_id_that_an_entry_serves_is_its_model(way: Way) -> None:
    policy = entry_of(model="acme-v4-flash", serves=["acme-flash"])
    reply = way.reply(policy, net(one=says(model="acme-flash")))
    assert (reply.served_model, reply.warnings) == ("acme-flash", ())


@each(
    ("usage", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 900}}, 900),
        ({"prompt_tokens_details": {"cached_tokens": 0}}, 0),
        ({"cache_read_input_tokens": 900}, 900),
        ({"prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100}, 900),
        ({"cached_tokens": 900}, 900),
        ({"prompt_tokens_details": {"cached_tokens": 2000}}, 1000),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, None),
        ({"prompt_tokens_details": None}, None),
        ({}, None),
    ],
)
def test_tokens_that_came_from_a_cache_are_counted(
    way: Way, usage: dict[str, Any], cached: int | None
) -> None:
    counts = {"prompt_tokens": 1000, "completion_tokens": 100, **usage}
    reply = way.reply(policy_of(), net(one=status(200, {**completion("a"), "usage": counts})))
    assert (reply.input_tokens, reply.output_tokens) == (1000, 100)
    assert reply.cached_tokens == cached


def test_tokens_of_a_response_that_came_from_a_cache_are_counted(way: Way) -> None:
    usage = {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 8}}
    answer = {"status": "completed", "output": [{"type": "message", "content": "a"}]}
    hosts = net(one=status(200, {**answer, "usage": usage}))
    reply = way.reply(policy_of({**ONE, "dialect": RESPONSES}), hosts)
    assert (reply.input_tokens, reply.cached_tokens) == (9, 8)


def test_half_a_character_of_a_goal_can_be_sent(way: Way) -> None:
    hosts = net()
    way.reply(policy_of(), hosts, context="a \ud83d b")
    assert b"a \\ud83d b" in hosts.sent.content
