"""Parts of the service by themselves: settings, limits, what is counted, and the index."""

from __future__ import annotations

import asyncio
import codecs
import datetime
import fcntl
import gc
import itertools
import json
import re
import shutil
import socket
import threading
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from policy_router import DecisionLog, Request, RequestError, decide, loads
from policy_router.decision.request import moment
from policy_router.log import Decided, log_report
from policy_router.log.entry import Execution, Kind
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.write.drafts import Draft
from policy_router.server import follower as followers
from policy_router.server.active import Active
from policy_router.server.asking import Asked
from policy_router.server.credentials import Credential, Limits, TokenFile, TokenLine, sum_of
from policy_router.server.deciding import Agents
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.follower import Follower
from policy_router.server.index import Index, acknowledged
from policy_router.server.metrics import Metrics, fold
from policy_router.server.problems import Problem, retry_after
from policy_router.server.serve import listen
from policy_router.server.settings import per_second, seconds_of, settings_of
from policy_router.server.trust import Trust
from tests.support.rows import each
from tests.support.service import until

POLICY = loads("version: 1\nname: acme\nmodel: m\nprovider: p\n")
NOW = "2026-01-31T09:00:00Z"


@each(
    ("duration", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("12h", 43200), ("1d", 86400)],
)
def test_a_duration_has_a_unit(duration: str, seconds: float) -> None:
    assert seconds_of(duration) == seconds


@each("duration", ["", "5", "m", "1w", "-1s", "1.5s", "5m\n", "9999999s"])
def test_what_is_no_duration_is_refused(duration: str) -> None:
    with pytest.raises(RequestError):
        seconds_of(duration)


def test_a_rate_is_so_many_in_a_second_and_at_once() -> None:
    assert per_second("50/s") == (50, 50)
    assert per_second("600/m") == (10, 600)


@each(
    "content",
    [
        {"listne": "x"},
        {"workers": 0},
        {"drain": "soon"},
        {"agent_may_state": ["caller"]},
        {"agent_may_state": ["facts.a b"]},
        {"jwt": [{"issuer": "i"}]},
        {"jwt": [{"issuer": "i", "audience": "a", "jwks": "k", "algorithms": ["HS256"]}]},
        {"jwt": [{"issuer": "i", "audience": "a", "jwks": "k", "algorithms": []}]},
        {"listen": "0.0.0.0:80"},
        {"listen": "router.example.com:80"},
        {"listen": "[::]:80"},
        [],
    ],
)
def test_a_configuration_with_a_mistake_or_a_danger_is_refused(content: Any) -> None:
    with pytest.raises(RequestError):
        settings_of(content, {})


@each(
    ("content", "said"),
    [
        ({"drain": "soon"}, "serve: $.drain: expected a duration such as 30s"),
        ({"listne": "x"}, "serve: $: unknown key `listne`; did you mean `listen`?"),
        ({"tls": {"keys": "x"}}, "serve: $.tls: unknown key `keys`; did you mean `key`?"),
        ({"qq": 1}, "serve: $: unknown key `qq`; `policy-router schema serve` has all keys"),
        (
            {"agent_may_state": ["caller"]},
            "serve: $.agent_may_state[0]: expected parent, budget, facts,",
        ),
        ({"workers": "x"}, "serve: $.workers: expected `int`, got `str`"),
    ],
)
def test_a_mistake_is_said_in_words_and_not_as_a_pattern(content: Any, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        settings_of(content, {})
    assert str(caught.value).startswith(said)


@each("listen", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/x"])
def test_without_credentials_only_this_machine_is_served(listen: str) -> None:
    assert settings_of({"listen": listen}, {}).is_local
    assert settings_of({"listen": "0.0.0.0:80", "tokens": "t"}, {}).has_credentials


def test_an_option_goes_before_the_configuration() -> None:
    settings = settings_of({"workers": 2, "log": "a"}, {"workers": 3, "log": None})
    assert (settings.workers, settings.log) == (3, "a")


def test_a_rate_fills_up_with_time_and_a_batch_weighs_what_it_has() -> None:
    now = [0.0]
    limits, credential = Limits(lambda: now[0], 1), Credential("k", frozenset(), rate=(1.0, 5))
    with limits.use(credential, 5):
        pass
    with pytest.raises(Problem) as caught, limits.use(credential):
        pass
    assert (caught.value.status, caught.value.headers) == (429, (retry_after(1),))
    now[0] = 2.0
    with limits.use(credential, 2):
        pass
    now[0] = 100.0
    with limits.use(credential, 1000):  # more than it may ever have at once: it is paid for later
        pass
    now[0] = 200.0
    with pytest.raises(Problem), limits.use(credential):
        pass


def test_requests_of_a_credential_run_so_many_at_a_time() -> None:
    limits = Limits(lambda: 0.0, 1)
    credential = Credential("k", frozenset(), concurrency=1)
    with limits.use(credential):
        with pytest.raises(Problem), limits.use(credential):
            pass
        with limits.use(Credential("other", frozenset(), concurrency=1)):
            pass
    with limits.use(credential):
        pass


def test_no_answer_is_counted_as_a_bug_but_a_bug(tmp_path: Path) -> None:
    counts = Metrics(tmp_path)
    for status in (204, 303, 429, 451, 529, 599, 500):
        counts.request("/v1/chat/completions", status, 0.01)
    text = counts.to_text(Active(POLICY, lambda: moment(NOW))).decode()
    wanted = r'requests_total\{route="/v1/chat/completions",status="(\d+)"\} ([1-9])'
    found = {int(status): int(count) for status, count in re.findall(wanted, text)}
    assert found == {204: 1, 303: 1, 400: 1, 429: 1, 500: 1, 502: 2}


def test_what_a_worker_counted_stays_when_it_has_ended(tmp_path: Path) -> None:
    active = Active(POLICY, lambda: datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC))
    first, second = Metrics(tmp_path, 1), Metrics(tmp_path, 2)
    record = decide(POLICY, {}, now=NOW)
    for metrics in (first, second, second):
        metrics.decided(record)
        metrics.request("/v1/decide", 200, 0.003)
    line = b'policy_router_requests_total{route="/v1/decide",status="200"} 3.0'
    seconds = b'policy_router_request_duration_seconds_bucket{le="0.005",route="/v1/decide"} 3.0'
    for number in (0, 1, 2, 2):
        fold(tmp_path, number)
        text = second.to_text(active)
        assert line in text
        assert seconds in text
    assert sorted(path.name for path in tmp_path.glob("metrics-*")) == ["metrics-ended"]


def written(folder: Path, *callers: str) -> list[str]:
    """Log a decision of each caller, and return their ids."""
    ids = []
    with DecisionLog(folder) as log:
        for caller in callers:
            request = Request(caller={"id": caller})
            ids.append(log.decision(POLICY, decide(POLICY, request, now=NOW)))
    return ids


def found(index: Index, **wanted: str) -> list[str]:
    answer = index.find(wanted, since=None, until=None, limit=100, cursor=None)
    return [json.loads(line)["id"] for line in answer.lines]


def test_an_index_follows_its_log_and_forgets_what_is_gone(tmp_path: Path) -> None:
    log, index = tmp_path / "log", Index(str(tmp_path / "log"), str(tmp_path / "index"))
    first = written(log, "ada", "bob")
    follower = Follower(str(log), str(tmp_path / "index"))
    unread, total = index.unread()
    assert unread == total > 0
    assert follower.catch_up() == 2
    assert index.unread() == (0, total)
    assert follower.catch_up() == 0
    assert found(index) == first[::-1]
    assert found(index, caller="ada") == first[:1]
    later = written(log, "cy")
    assert follower.catch_up() == 1
    assert found(index) == [*later, *first[::-1]]
    assert index.about(first[0])[0][0].startswith(b'{"caller":{"id":"ada"}')
    shutil.rmtree(log)
    other = written(log, "dee")
    follower.catch_up()
    assert found(index) == other
    follower.close()
    again = Follower(str(log), str(tmp_path / "index"))
    assert again.catch_up() == 0
    again.close()


def test_an_index_of_another_log_is_made_anew(tmp_path: Path) -> None:
    for name in ("one", "two"):
        ids = written(tmp_path / name, name)
        follower = Follower(str(tmp_path / name), str(tmp_path / "index"))
        assert follower.catch_up() == 1
        follower.close()
        assert found(Index(str(tmp_path / name), str(tmp_path / "index"))) == ids


@pytest.mark.parametrize("cost", [1e300, 1e12, 2**63 / 1e9, -1e300])
def test_an_index_goes_on_behind_what_it_cannot_hold(tmp_path: Path, cost: float) -> None:
    log, index = tmp_path / "log", Index(str(tmp_path / "log"), str(tmp_path / "index"))
    follower = Follower(str(log), str(tmp_path / "index"))
    (first,) = written(log, "ada")
    with DecisionLog(log) as opened:
        opened.execution(first, Execution("reported", status="completed", cost_usd=cost))
        content = Raw(b'{"event":"started"}')
        opened.act(Draft(Kind.EXECUTION, 2**64, first, execution=content))
    (last,) = written(log, "bob")
    assert follower.catch_up() == 3  # two decisions, and an end whose cost is not known
    follower.close()
    assert found(index) == [last, first]
    assert len(index.about(first)[0]) == 2
    assert log_report(log, "spend").total["measured_nano_usd"] == 0


def test_an_index_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(b"no database" * 1000)
    ids = written(tmp_path / "log", "ada")
    with closing(Follower(str(tmp_path / "log"), str(tmp_path / "index"))) as follower:
        assert follower.catch_up() == 1
    assert found(Index(str(tmp_path / "log"), str(tmp_path / "index"))) == ids


def test_lines_are_taken_in_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, index = tmp_path / "log", Index(str(tmp_path / "log"), str(tmp_path / "index"))
    (first,) = written(log, "ada")
    with DecisionLog(log) as opened:
        record = decide(POLICY, {}, now=NOW)
        child = opened.decision(POLICY, record, parent_id=first)
    with closing(Follower(str(log), str(tmp_path / "index"))) as follower:
        with monkeypatch.context() as changed:
            changed.setattr(followers, "_BLOCK", 64)
            assert follower.catch_up() == 0  # a line that is longer than a block is none of ours
        with monkeypatch.context() as changed:
            changed.setattr(followers, "DAY", 0)
            with pytest.raises(ZeroDivisionError):
                follower.catch_up()
        assert found(index) == []
        assert follower.catch_up() == 2
    assert [json.loads(it)["id"] for it in index.about(first)[1]] == [child]


def test_a_follower_opens_only_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, asked = tmp_path / "log", list[str]()

    def counted(folder: LogFolder, segment: Segment) -> int:
        asked.append(segment.name)
        return acknowledged(folder, segment)

    monkeypatch.setattr(followers, "acknowledged", counted)
    with closing(Follower(str(log), str(tmp_path / "index"))) as follower:
        for writer, name in (("a", "ada"), ("b", "bob"), ("a", "cy")):
            with DecisionLog(log, writer=writer, segment_bytes=1) as opened:
                opened.decision(POLICY, decide(POLICY, {"caller": {"id": name}}, now=NOW))
            asked.clear()
            assert follower.catch_up() == 1
            assert {it.partition("/")[0] for it in asked} == {writer}
            asked.clear()
            assert follower.catch_up() == 0
            assert asked == []


def test_a_socket_that_cannot_listen_is_closed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        warnings.catch_warnings(record=True) as found,
    ):
        warnings.simplefilter("always")
        settings = settings_of({"listen": f"127.0.0.1:{taken.getsockname()[1]}"}, {})
        with pytest.raises(RequestError, match="cannot listen"):
            listen(settings)
        gc.collect()
    assert [str(it.message) for it in found] == []


def test_one_of_several_followers_has_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "_TURN_SECONDS", 0.01)
    ids, ends = written(tmp_path / "log", "ada"), threading.Event()
    words = (str(tmp_path / "log"), str(tmp_path / "index"))
    second = threading.Thread(target=followers.follow, args=(*words, ends))
    with (tmp_path / "index.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second.start()
        time.sleep(0.05)
        assert not (tmp_path / "index").exists()
    until(lambda: (tmp_path / "index").exists() and found(Index(*words)) == ids)
    ends.set()
    second.join(10)
    with (tmp_path / "index.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        followers.follow(*words, ends)  # it is told to end while it waits
    assert not second.is_alive()


def test_a_decided_record_is_logged_as_its_content_says(tmp_path: Path) -> None:
    record = decide(POLICY, {}, now=NOW)
    with DecisionLog(tmp_path / "log") as log:
        log.decisions(POLICY, [Decided(record, "a", None, record.to_json())])
    (segment,) = (tmp_path / "log").glob("w1/*.jsonl")
    assert record.to_json() in segment.read_bytes()


def test_the_tokens_of_an_editor_on_windows_are_read(tmp_path: Path) -> None:
    lines = [TokenLine(sum_of(name), "agent", {"id": name}) for name in ("ada", "jo")]
    content = b"\r\n".join(map(msgspec.json.encode, lines))
    file = tmp_path / "tokens.jsonl"
    file.write_bytes(codecs.BOM_UTF8 + content + b"\r\n")
    tokens = TokenFile(str(file), lambda it: it)
    assert [getattr(tokens.get(sum_of(name)), "caller", None) for name in ("ada", "jo")] == [
        {"id": "ada"},
        {"id": "jo"},
    ]


def test_a_line_that_is_no_token_is_named_in_words(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    line = {"sha256": sum_of("a"), "role": "agent", "caller": {"id": "a"}, "rate": "much"}
    file.write_bytes(msgspec.json.encode(line))
    with pytest.raises(
        RequestError, match=r"line 1 is not a token: \$\.rate: expected a rate such as 50/s"
    ):
        TokenFile(str(file), lambda it: it)


def test_of_many_long_batches_a_few_are_decided_at_a_time_and_short_ones_at_once() -> None:
    """Or each of them would hold all its records at the same time."""
    seconds = itertools.count()
    earlier = EarlierDecisions(None)
    agents = Agents(
        lambda: POLICY,
        Trust(earlier),
        log=None,
        clock=lambda: moment(NOW) + datetime.timedelta(seconds=next(seconds)),
        earlier=earlier,
        unlogged=lambda: None,
    )
    bodies = [msgspec.json.encode({"requests": [{}] * size}) for size in (*[60] * 30, 2)]

    async def all_of_them() -> list[tuple[str, str]]:
        asked = [Asked(Credential("", frozenset({"agent"})), body) for body in bodies]
        answers = await asyncio.gather(*map(agents.batch, asked))
        return [(records[0].now, records[-1].now) for _, records in answers]

    *long, (short, _) = asyncio.run(all_of_them())
    assert max(sum(a <= first <= b for a, b in long) for first, _ in long) == 8
    assert short < max(first for first, _ in long)
