"""The service as it lives: reloads, overload, its end under load, a full disk, a killed worker."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from policy_router import load
from policy_router.log import LogReader, verify
from policy_router.log.used_policy import UsedPolicy
from tests.integration.test_service import POLICY
from tests.support.commands import in_process_of_its_own, in_this_process, write
from tests.support.rows import each
from tests.support.service import PLAIN, SECONDS, Service, lines_of, problem, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX only")]

CHANGED = POLICY.replace("small-model", "tiny-model")
BROKEN = POLICY.replace("task.kind", "tsk.kind")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, policy_yaml=POLICY)
    return tmp_path


A_KEY = {"kty": "RSA", "kid": "a", "e": "AQAB", "n": "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt"}


def replace_policy(folder: Path, text: str) -> None:
    """Put a policy in the place of the one that is served, at once."""
    write(folder, new=text)
    (folder / "new").rename(folder / "policy.yaml")


def admin(folder: Path, service: Service) -> httpx.Client:
    """Return a client of a Unix socket, who may do everything."""
    transport = httpx.HTTPTransport(uds=str(folder / "service.sock"), verify=PLAIN)
    client = httpx.Client(transport=transport, base_url="http://localhost", timeout=20)
    service.clients.append(client)
    return client


@contextmanager
def served(folder: Path, *words: str) -> Iterator[tuple[Service, httpx.Client]]:
    with Service(folder, *words, listen=f"unix:{folder / 'service.sock'}") as service:
        yield service, admin(folder, service)


class Load:
    """Threads that ask again and again, each over its own connection."""

    def __init__(self, client: Callable[[], httpx.Client], threads: int = 4) -> None:
        self.answers: list[httpx.Response] = []
        self.failures: list[str] = []
        self._stops = threading.Event()
        self._client = client
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        client = self._client()
        while not self._stops.is_set():
            try:
                self.answers.append(client.post("/v1/decide", json={"task": {"kind": "x"}}))
            except httpx.HTTPError as problem:
                self.failures.append(repr(problem))
                if isinstance(problem, httpx.ConnectError):
                    return

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._stops.set()
        for thread in self._threads:
            thread.join(30)


def checked(answers: list[httpx.Response], revisions: set[str]) -> None:
    """Hold each answer against the revision that it names."""
    models = {"tiny-model": CHANGED, "small-model": POLICY}
    assert answers
    for answer in answers:
        assert answer.status_code == 200, answer.text
        record = answer.json()["record"]
        assert answer.headers["policy-router-policy"] == record["policy"]["revision"]
        assert record["policy"]["revision"] in revisions
        assert record["decision"]["target"]["model"] in models


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.stress)])
def test_a_change_of_the_files_is_followed_and_each_answer_names_its_revision(
    folder: Path, workers: int
) -> None:
    before = load(folder / "policy.yaml").revision
    words = ("--workers", str(workers), "--log", "log")
    with served(folder, *words) as (service, client), Load(lambda: admin(folder, service)) as asked:
        until(lambda: len(asked.answers) > 20)
        replace_policy(folder, CHANGED)
        after = load(folder / "policy.yaml").revision
        until(lambda: asked.answers[-1].headers["policy-router-policy"] == after)
        until(lambda: client.get("/v1/policy").json()["revision"] == after)
    assert asked.failures == []
    checked(asked.answers, {before, after})
    for answer in asked.answers:
        record = answer.json()["record"]
        is_new = record["policy"]["revision"] == after
        assert record["decision"]["target"]["model"] == ("tiny-model" if is_new else "small-model")
    assert verify(folder / "log").is_whole


@pytest.mark.stress
@pytest.mark.parametrize("workers", [1, 2])
def test_a_policy_that_breaks_is_not_used_and_the_last_good_one_says_so(
    folder: Path, workers: int
) -> None:
    good = load(folder / "policy.yaml").revision
    with (
        served(folder, "--workers", str(workers)) as (service, client),
        Load(lambda: admin(folder, service)) as asked,
    ):
        replace_policy(folder, BROKEN)
        answer = client.post("/v1/policy/reload")
        if answer.status_code != 202:  # as it is where that takes more than 10 seconds
            assert answer.status_code == 409
            assert answer.json()["outcome"] == "rejected"
            assert answer.json()["diagnostics"][0]["message"] == "unknown name `tsk`"
        until(lambda: "rejected" in client.get("/v1/policy").json())
        status = client.get("/v1/policy").json()
        assert status["revision"] == good
        assert status["rejected"]["diagnostics"][0]["line"] == 11
        until(lambda: "policy_router_policy_rejected 1.0" in client.get("/metrics").text)
        assert any("unknown name `tsk`" in line for line in service.said)
        replace_policy(folder, POLICY)
        again = client.post("/v1/policy/reload", json={}).json()
        assert again["outcome"] in {"unchanged", "pending"}
        until(lambda: "rejected" not in client.get("/v1/policy").json())
    assert asked.failures == []
    checked(asked.answers, {good})


@pytest.mark.stress
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_log_has_the_commit_of_the_rule_files_at_the_start_alone(
    folder: Path, workers: int
) -> None:
    write(folder, serve_json=json.dumps({"loaded_by": "deploy", "workers": workers}))
    words = ("--config", "serve.json", "--log", "log", "--origin-commit", "4f2a91c")
    with served(folder, *words) as (_service, client):
        client.post("/v1/decide", json={})
        client.post("/v1/policy/reload")
        client.post("/v1/decide", json={})
        replace_policy(folder, CHANGED)
        after = load(folder / "policy.yaml").revision
        until(lambda: client.get("/v1/policy").json()["revision"] == after)
        until(lambda: client.post("/v1/decide", json={}).headers["policy-router-policy"] == after)
    each = [it.entry.policy for it in lines_of(folder / "log")]
    told = [it for it in each if isinstance(it, UsedPolicy)]
    said = {(it.revision == after, it.origin_commit, it.loaded_by) for it in told}
    assert said == {(False, "4f2a91c", "deploy"), (True, None, "deploy")}


@pytest.mark.parametrize("commit", ["", "a b", "x" * 201])
def test_a_commit_that_no_line_can_have_ends_the_start(folder: Path, commit: str) -> None:
    ran = in_this_process("serve", "policy.yaml", "--origin-commit", commit, cwd=folder)
    assert ran.code == 2
    assert "1 to 200 letters, digits" in ran.err


@pytest.mark.slow
def test_the_tests_of_a_policy_are_run_before_a_change_decides(folder: Path) -> None:
    good = load(folder / "policy.yaml").revision
    suite = "tests: [{name: the default, expect: {model: %s}}]\n"
    (folder / "policy_test.yaml").write_text(suite % "small-model")
    (folder / "other_test.yaml").write_text(f"policy: other.yaml\n{suite % 'none'}")
    with served(folder) as (service, client):
        replace_policy(folder, CHANGED)
        answer = client.post("/v1/policy/reload")
        assert (answer.status_code, answer.json()["outcome"]) == (409, "rejected")
        assert answer.json()["reason"] == (
            "policy_test.yaml:1:16: the test `the default` fails:"
            " model: expected `small-model`, found `tiny-model`"
        )
        status = client.get("/v1/policy").json()
        assert status["revision"] == good
        assert "the test `the default` fails" in status["rejected"]["reason"]
        assert any("the test `the default` fails" in line for line in service.said)
        # A suite that is wrong stops a change too; and a change of the tests alone is noticed.
        (folder / "policy_test.yaml").write_text(suite.replace("model:", "modle:") % "tiny-model")
        reason = client.post("/v1/policy/reload").json()["reason"]
        assert reason == "policy_test.yaml:1:38: unknown key `modle`"
        (folder / "policy_test.yaml").write_text(suite % "tiny-model")
        after = load(folder / "policy.yaml").revision
        until(lambda: client.get("/v1/policy").json()["revision"] == after)
        assert "rejected" not in client.get("/v1/policy").json()


@pytest.mark.stress
@pytest.mark.timeout(120)
def test_a_worker_that_does_not_come_up_stops_the_change(folder: Path) -> None:
    issuer = {"issuer": "i", "audience": "a", "algorithms": ["RS256"], "jwks": "keys.json"}
    keys = json.dumps({"keys": [A_KEY]})
    write(folder, serve_json=json.dumps({"jwt": [issuer], "workers": 2}), keys_json=keys)
    token_of = ("token", "new", "--id", "ada", "--role", "admin", "--tokens", "tokens.jsonl")
    token = in_this_process(*token_of, cwd=folder).out.strip()
    good = load(folder / "policy.yaml").revision
    words = ("--config", "serve.json", "--tokens", "tokens.jsonl")
    with Service(folder, *words) as service:
        (folder / "keys.json").write_text("no keys")  # those who serve keep what they have
        replace_policy(folder, CHANGED)
        until(lambda: any("did not come up" in line for line in service.said))
        for _ in range(4):
            status = service.client(token).get("/v1/policy").json()
            assert status["revision"] == good
            assert status["rejected"]["reason"] == "a worker did not come up with it"
            assert service.client(token).post("/v1/decide", json={}).status_code == 200
        (folder / "keys.json").write_text(keys)
        answer = service.client(token).post("/v1/policy/reload")
        assert answer.status_code in {200, 202}
        after = load(folder / "policy.yaml").revision
        until(lambda: service.client(token).get("/v1/policy").json()["revision"] == after)


def test_a_signal_loads_the_policy_again(folder: Path) -> None:
    with served(folder) as (service, client):
        replace_policy(folder, CHANGED)
        os.kill(service.process.pid, signal.SIGHUP)
        after = load(folder / "policy.yaml").revision
        until(lambda: client.get("/v1/policy").json()["revision"] == after)


def test_a_policy_that_is_no_policy_is_not_used(folder: Path) -> None:
    with served(folder) as (_, client):

        @each("content", ["", "\x00", "delegation: {pool: 5}", "&a [*a, *a]", None])
        def not_used(content: str | None) -> None:
            replace_policy(folder, POLICY)
            assert client.post("/v1/policy/reload").json()["outcome"] == "unchanged"
            if content is None:
                (folder / "policy.yaml").unlink()
            else:
                replace_policy(folder, content)
            assert client.post("/v1/policy/reload").json()["outcome"] == "rejected"
            assert client.post("/v1/decide", json={}).status_code == 200

        not_used()


def test_strict_refuses_warnings_when_a_policy_is_loaded_again_too(folder: Path) -> None:
    with served(folder, "--strict") as (_, client):
        replace_policy(folder, "version: 1\nmodel: m\nprovider: p\npool: []\n")
        answer = client.post("/v1/policy/reload").json()
        assert (answer["outcome"], answer["errors"]) == ("rejected", 0)
        assert answer["warnings"] > 0


@pytest.mark.stress
@pytest.mark.timeout(240)
def test_many_reloads_under_load_fail_no_request(folder: Path) -> None:
    texts = [POLICY, CHANGED, BROKEN]
    good = set()
    for text in texts[:2]:
        replace_policy(folder, text)
        good.add(load(folder / "policy.yaml").revision)
    with served(folder) as (service, client), Load(lambda: admin(folder, service), 2) as asked:
        for number in range(12):
            replace_policy(folder, texts[number % 3])
            client.post("/v1/policy/reload")
    assert asked.failures == []
    checked(asked.answers, good)


def test_a_policy_is_checked_as_text_alone(folder: Path) -> None:
    with served(folder) as (_, client):
        good = client.post("/v1/policy/check", json={"policy": POLICY}).json()
        assert (good["name"], good["errors"]) == ("acme", 0)
        bad = client.post("/v1/policy/check", json={"policy": BROKEN}).json()
        assert bad["diagnostics"][0]["code"] == "PR301"
        assert "revision" not in bad
        assert problem(client.post("/v1/policy/check", json={"path": "/etc"}))["status"] == 422


# The end.


@pytest.mark.parametrize(
    "workers",
    [pytest.param(1, marks=pytest.mark.stress), pytest.param(2, marks=pytest.mark.stress)],
)
def test_what_was_answered_before_the_end_is_in_the_log(folder: Path, workers: int) -> None:
    words = ("--workers", str(workers), "--log", "log")
    with Service(folder, *words) as service, Load(service.client, 8) as asked:
        until(lambda: len(asked.answers) > 50)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
    # No request that was taken is lost: whoever comes later is told so at once.
    assert [it for it in asked.failures if not it.startswith("ConnectError")] == []
    logged = {str(line.entry.id) for line in LogReader(folder / "log").lines()}
    answered = {answer.json()["decision_id"] for answer in asked.answers}
    assert all(answer.status_code == 200 for answer in asked.answers)
    assert answered <= logged
    assert verify(folder / "log").is_whole


def test_a_request_that_runs_at_the_end_is_answered(folder: Path) -> None:
    with Service(folder, "--log", "log") as service:
        head = b"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(service.address, timeout=20) as link:
            link.sendall(head + b"Content-Length: 2\r\n\r\n{")
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            link.sendall(b"}")
            answer = link.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        assert service.stop() == 0


@pytest.mark.stress
def test_a_service_that_is_killed_leaves_a_log_that_goes_on(folder: Path) -> None:
    with Service(folder, "--log", "log", "--workers", "2") as service:
        answered = [service.client().post("/v1/decide", json={}) for _ in range(20)]
        service.process.kill()
        service.process.wait(20)
        until(lambda: is_refused(service.address))  # the workers end with their supervisor
    with Service(folder, "--log", "log") as service:
        answered.append(service.client().post("/v1/decide", json={}))
        shown = service.client()
        first = answered[0].json()["decision_id"]
        until(lambda: shown.get(f"/v1/decisions/{first}").status_code == 200)
    logged = {str(line.entry.id) for line in LogReader(folder / "log").lines()}
    assert {answer.json()["decision_id"] for answer in answered} <= logged
    assert verify(folder / "log").is_whole


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return True
    return False


@pytest.mark.stress
def test_a_worker_that_is_killed_is_replaced(folder: Path) -> None:
    with served(folder, "--workers", "2", "--log", "log") as (service, _):

        def workers() -> set[int]:
            place = Path("/proc") / str(service.process.pid) / "task" / str(service.process.pid)
            children = map(int, (place / "children").read_text().split())
            return {pid for pid in children if b"server.process" in command_of(pid)}

        before = until(lambda: it if len(it := workers()) == 2 else None)
        with Load(lambda: admin(folder, service)) as asked:
            until(lambda: len(asked.answers) > 20)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            until(lambda: len(workers() - before) == 2)
            count = len(asked.answers)
            until(lambda: len(asked.answers) > count + 20)
        counted = admin(folder, service).get("/metrics").text
        (total,) = (
            float(line.rpartition(" ")[2])
            for line in counted.splitlines()
            if line.startswith('policy_router_requests_total{route="/v1/decide",status="200"}')
        )
        # It is counted when it was answered: a worker that is killed may not come to that.
        assert len(asked.answers) - 8 <= total <= len(asked.answers) + len(asked.failures)
    logged = {str(line.entry.id) for line in LogReader(folder / "log").lines()}
    assert {answer.json()["decision_id"] for answer in asked.answers} <= logged
    assert verify(folder / "log").is_whole


def command_of(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


# What is full.


def test_what_cannot_be_logged_is_not_answered(folder: Path) -> None:
    with Service(folder, "--log", "log") as service:
        client = service.client()
        assert client.post("/v1/decide", json={}).status_code == 200
        room = sum(it.stat().st_size for it in (folder / "log").rglob("*") if it.is_file())
        # As on a disk that is full: no file may become longer than this.
        _, most = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (room, most))
        answers = [client.post("/v1/decide", json={}) for _ in range(40)]
        denied = [answer for answer in answers if answer.status_code != 200]
        assert denied
        said = problem(denied[0])
        assert (said["status"], said["code"]) == (503, "log_unavailable")
        assert "retry-after" in denied[0].headers
        assert "record" not in denied[0].text
        batch = client.post("/v1/decide/batch", json={"requests": [{}]})
        assert batch.status_code == 503
        counted = client.get("/metrics").text
        assert f"policy_router_unlogged_requests_total {len(denied) + 1:.1f}" in counted
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (most, most))
        again = until(lambda: (it := client.post("/v1/decide", json={})).status_code == 200 and it)
    good = [answer for answer in [*answers, again] if answer.status_code == 200]
    logged = {str(line.entry.id) for line in LogReader(folder / "log").lines()}
    assert {answer.json()["decision_id"] for answer in good} <= logged
    assert verify(folder / "log").is_whole


def test_a_log_that_cannot_be_written_makes_the_service_not_ready(folder: Path) -> None:
    (folder / "log").write_text("a file where a folder should be")
    with Service(folder, "--log", "log") as service:
        client = service.client()
        said = problem(client.get("/readyz"))
        assert (said["status"], said["code"]) == (503, "not_ready")
        assert client.get("/livez").status_code == 200
        assert problem(client.post("/v1/decide", json={}))["code"] == "log_unavailable"


def test_too_many_requests_at_a_time_are_turned_away_at_once(folder: Path) -> None:
    write(folder, serve_json=json.dumps({"queue": 3}))
    with Service(folder, "--config", "serve.json") as service:
        head = b"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        links = [socket.create_connection(service.address, timeout=20) for _ in range(3)]
        for link in links:
            link.sendall(head + b"Content-Length: 2\r\n\r\n{")
        client = service.client()
        answer = until(lambda: (it := client.post("/v1/decide", json={})).status_code == 503 and it)
        assert problem(answer)["code"] == "overloaded"
        assert answer.headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200
        for link in links:
            link.sendall(b"}")
            assert link.recv(65536).startswith(b"HTTP/1.1 200")
            link.close()
        assert client.post("/v1/decide", json={}).status_code == 200


def test_what_is_counted_is_named_as_prometheus_wants_it(folder: Path) -> None:
    with Service(folder) as service:
        client = service.client()
        bodies: list[dict[str, Any]] = [{}, {"task": {"kind": "coding"}}, {"task": {"model": "x"}}]
        for body in bodies:
            client.post("/v1/decide", json=body)
        client.post("/v1/decide/batch", json={"requests": [{}]})
        client.get("/nothing")
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        for line in (
            'policy_router_requests_total{route="/v1/decide",status="200"} 3.0',
            'policy_router_requests_total{route="other",status="404"} 1.0',
            'policy_router_decisions_total{level="config",outcome="selected"} 2.0',
            'policy_router_decisions_total{level="pool",outcome="selected"} 1.0',
            'policy_router_decisions_total{level="",outcome="refused"} 1.0',
            'policy_router_refusals_total{code="outside_pool"} 1.0',
            'policy_router_request_duration_seconds_count{route="/v1/decide"} 3.0',
        ):
            assert line in answer.text.splitlines()


@pytest.mark.stress
def test_an_index_that_cannot_be_kept_is_said_once(folder: Path) -> None:
    command = [sys.executable, "-m", "policy_router.server.follower"]
    with subprocess.Popen(  # noqa: S603 - our own
        [*command, "log", "policy.yaml/index"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        time.sleep(2.5)  # it is tried again after two seconds
        _, more = process.communicate(timeout=SECONDS)
    assert said.startswith(b"policy-router: the index policy.yaml/index: ")
    assert more == b""


def test_a_usual_limit_of_open_files_drops_no_connection(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        service = Service(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with service, ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(socket.create_connection(service.address))
        assert service.client().get("/livez").status_code == 200


@pytest.mark.stress
def test_connections_that_do_nothing_harm_nobody(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = min(2000, (hard if hard > 0 else soft) // 2 - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * many + 200), hard))
    try:
        with Service(folder) as service:
            links = [socket.create_connection(service.address, timeout=20) for _ in range(many)]
            for link in links[: many // 2]:
                link.sendall(b"POST /v1/decide HTTP/1.1\r\nHost: loc")
            assert service.client().post("/v1/decide", json={}).status_code == 200
            for link in links:
                link.close()
            assert service.client().post("/v1/decide", json={}).status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.stress
def test_a_request_that_does_not_come_to_its_end_is_closed(folder: Path) -> None:
    head = b"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with Service(folder) as service:
        parts = (b"POST /v1/de", head, head + b"Content-Length: 20\r\n\r\n{")
        links = [socket.create_connection(service.address, timeout=30) for _ in parts]
        began = time.monotonic()
        for link, part in zip(links, parts, strict=True):
            link.sendall(part)
        drips = socket.create_connection(service.address, timeout=30)
        drips.sendall(head + b"Content-Length: 200\r\n\r\n")
        while time.monotonic() - began < 25 and not is_closed(drips):
            drips.send(b" ")
            time.sleep(0.5)
        for link in (*links, drips):
            assert b"200 OK" not in link.recv(65536)
            link.close()
        assert 10 < time.monotonic() - began < 25


def is_closed(link: socket.socket) -> bool:
    ready, _, _ = select.select([link], [], [], 0)
    return bool(ready)


@pytest.mark.stress
def test_a_client_that_does_not_read_holds_up_nobody(folder: Path) -> None:
    body = json.dumps({"requests": [{"task": {"labels": ["x" * 900]}}] * 900}).encode()
    head = b"POST /v1/decide/batch HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Service(folder) as service:
        links = [socket.create_connection(service.address, timeout=30) for _ in range(5)]
        for link in links:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.sendall(head + body)
        assert service.client().post("/v1/decide", json={}).status_code == 200
        for link in links:
            link.close()


def test_a_flood_of_headers_is_refused(folder: Path) -> None:
    with Service(folder) as service:
        head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
        flood = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(2000))
        try:
            answer = service.raw(head + flood + b"Connection: close\r\n\r\n")
        except ConnectionError:  # it is closed before all of it was sent
            answer = b"HTTP/1.1 400"
        assert answer.split()[1] == b"400"
        assert service.client().get("/livez").status_code == 200


def test_the_extra_is_named_where_it_is_not_installed(folder: Path) -> None:
    program = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'uvicorn', 'uvloop', 'jwt'}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from policy_router.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    ran = in_process_of_its_own("serve", "policy.yaml", cwd=folder, prefix=("-c", program))
    assert ran.code == 2
    assert "pip install 'policy-router[serve]'" in ran.err


def test_a_log_that_cannot_be_written_is_told_at_the_start(folder: Path) -> None:
    write(folder, log="no folder")
    with Service(folder, "--log", "log") as service:
        assert any("not ready: the decision log cannot be written" in it for it in service.said)
        answer = service.client().post("/v1/decide", json={})
        assert (answer.status_code, problem(answer)["code"]) == (503, "log_unavailable")


def test_a_configuration_that_cannot_be_read_is_named(folder: Path) -> None:
    write(folder, serve_yaml="")
    ran = in_this_process("serve", "policy.yaml", "--config", "serve.yaml", cwd=folder)
    assert ran.code == 2
    assert ran.err == "policy-router: serve.yaml: the file is empty (line 1, column 1)\n"
