"""How the gateway speaks to providers: TLS, proxies, addresses that do not answer, time."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import os
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.provider import dead_port
from tests.support.scripted import DONE, ScriptedProvider, Talk, chunk, completion
from tests.support.service import PLAIN, Service

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX only")]

CHAT = "/v1/chat/completions"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}


def certificate(folder: Path) -> None:
    """Write a certificate of this machine that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextmanager
def served(
    folder: Path, url: str, environment: Mapping[str, str] | None = None, **entry: Any
) -> Iterator[httpx.Client]:
    """Serve a policy with one provider at a Unix socket."""
    policy = {
        "version": 1,
        "providers": {"near": {"base_url": url}},
        "pool": [{"name": "m0", "model": "m0", "provider": "near", "pick": "true", **entry}],
    }
    (folder / "policy.yaml").write_text(json.dumps(policy), encoding="utf-8")
    place = folder / "service.sock"
    none = {"NO_PROXY": "", "HTTP_PROXY": "", "HTTPS_PROXY": "", "ALL_PROXY": ""}
    clean = {**none, **{name.lower(): "" for name in none}, **(environment or {})}
    with Service(folder, "--run", listen=f"unix:{place}", environment=clean) as service:
        transport = httpx.HTTPTransport(uds=str(place), verify=PLAIN)
        client = httpx.Client(transport=transport, base_url="http://localhost", timeout=20)
        service.clients.append(client)
        yield client


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.fixture
def peer() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(lambda talk: talk.whole(completion())) as made:
        yield made


def test_a_provider_has_to_be_who_it_says(tmp_path: Path) -> None:
    certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    peer = ScriptedProvider(lambda talk: talk.stream(chunk("Hello.", "stop"), DONE))
    peer.server.socket = context.wrap_socket(peer.server.socket, server_side=True)
    url = peer.url.replace("http:", "https:")
    with peer:
        with served(tmp_path, url) as client:
            answer = client.post(CHAT, json=BODY)
            assert (answer.status_code, code(answer)) == (502, "connection_failed")
        assert peer.talks == []
        trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem")}
        with served(tmp_path, url, trusted) as client:
            for _ in range(2):  # the second one over the same connection
                answer = client.post(CHAT, json={**BODY, "stream": True})
                assert answer.status_code == 200, answer.text
                assert answer.content.endswith(DONE)


def test_an_address_where_nobody_listens_is_told(tmp_path: Path) -> None:
    with dead_port() as port, served(tmp_path, f"http://127.0.0.1:{port}/v1") as client:
        answer = client.post(CHAT, json=BODY)
        assert (answer.status_code, code(answer)) == (502, "connection_failed")


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    tmp_path: Path, peer: ScriptedProvider
) -> None:
    def closing(talk: Talk) -> None:
        talk.whole(completion())
        talk.cut()

    with served(tmp_path, peer.url) as client:
        peer.begin(closing)
        for _ in range(3):
            assert client.post(CHAT, json=BODY).status_code == 200
            time.sleep(0.1)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Forwards requests, and notes where they go."""

    asked: ClassVar[list[str]] = []
    signed: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.signed.append(self.headers["proxy-authorization"])
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {"content-type": "application/json"}
        answer = httpx.post(self.path, content=body, headers=headers, trust_env=False, verify=PLAIN)
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.stress
def test_the_proxy_of_the_environment_is_used(tmp_path: Path, peer: ScriptedProvider) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    place = f"127.0.0.1:{server.server_address[1]}"
    try:
        for proxy, signed in ((place, False), (f"http://ada:secret@{place}", True)):
            Proxy.asked, Proxy.signed = [], []
            with served(tmp_path, peer.url, {"http_proxy": proxy}) as client:
                assert client.post(CHAT, json=BODY).status_code == 200
            assert Proxy.asked == [f"{peer.url}/chat/completions"]
            assert (Proxy.signed[0] is not None) is signed
        around = {"http_proxy": place, "no_proxy": "127.0.0.1"}
        with served(tmp_path, peer.url, around) as client:
            assert client.post(CHAT, json=BODY).status_code == 200
        assert len(Proxy.asked) == 1
    finally:
        server.shutdown()
        server.server_close()


def dripping(talk: Talk) -> None:
    """Send comments for ever."""
    talk.stream(chunk("x"), ends=False)
    while True:
        talk.send(b": still there\n\n")
        time.sleep(0.1)


def silent(talk: Talk) -> None:
    talk.hung_up()


@pytest.mark.parametrize(
    ("way", "limits", "streams", "expected"),
    [
        pytest.param(silent, {"first_byte": 0.5}, False, "timeout", marks=pytest.mark.stress),
        (silent, {"first_byte": 0.5}, True, "timeout"),
        pytest.param(silent, {"total": 0.5}, False, "timeout", marks=pytest.mark.stress),
        pytest.param(dripping, {"idle": 0.5}, True, "stream_broken", marks=pytest.mark.stress),
        (dripping, {"total": 0.8}, True, "stream_broken"),
    ],
    ids=["first byte", "first byte of a stream", "total", "idle", "total of a stream"],
)
def test_time_ends_a_call(
    tmp_path: Path,
    peer: ScriptedProvider,
    way: Any,
    limits: dict[str, float],
    *,
    streams: bool,
    expected: str,
) -> None:
    peer.begin(way)
    with served(tmp_path, peer.url, timeouts=limits) as client:
        began, got = time.monotonic(), b""
        try:
            with client.stream("POST", CHAT, json={**BODY, "stream": streams}) as answer:
                for piece in answer.iter_raw():
                    got += piece
        except httpx.RemoteProtocolError:
            assert expected == "stream_broken"
        assert 0.4 < time.monotonic() - began < 15
    assert expected in got.decode()
    assert peer.talks[0].ended.wait(15)


def test_a_body_that_is_never_whole_ends_with_its_time(
    tmp_path: Path, peer: ScriptedProvider
) -> None:
    def half(talk: Talk) -> None:
        talk.head(200, "application/json", {"content-length": "1000"})
        talk.hung_up()

    peer.begin(half)
    with served(tmp_path, peer.url, timeouts={"idle": 0.5}) as client:
        answer = client.post(CHAT, json=BODY)
        assert (answer.status_code, code(answer)) == (504, "timeout")


def test_many_connections_do_not_wait_for_each_other(
    tmp_path: Path, peer: ScriptedProvider
) -> None:
    meets = threading.Barrier(20)

    def together(talk: Talk) -> None:
        meets.wait(15)
        talk.whole(completion())

    peer.begin(together)
    with served(tmp_path, peer.url) as client:
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(client.post(CHAT, json=BODY).status_code))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert found == [200] * 20
