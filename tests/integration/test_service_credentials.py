"""Who may ask the service, and what is believed: every name forged in every place."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from msgspec import UNSET

from tests.integration.test_service import POLICY
from tests.support.commands import in_this_process, write
from tests.support.rows import each
from tests.support.service import Service, lines_of, problem, until

pytestmark = pytest.mark.slow

ISSUER: Final = "https://login.example.com/"
FORGED: Final[dict[str, Any]] = {
    "caller": {"id": "root", "team": "research", "roles": ["admin"]},
    "parent": {"model": "large-model", "provider": "main", "depth": 0},
    "budget": {"spent_usd": 0.0, "remaining_usd": 1e9},
    "facts": {"region": "us"},
}
"""What an agent must not state, with values that it would like to have."""


def new_token(folder: Path, *words: str) -> str:
    ran = in_this_process("token", "new", "--tokens", "tokens.jsonl", *words, cwd=folder)
    assert ran.code == 0, ran.err
    return ran.out.strip()


@pytest.fixture(scope="module")
def keys() -> dict[str, Any]:
    return {
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "other": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }


def jwks(keys: dict[str, Any], *names: str) -> str:
    algorithms: dict[str, Any] = {"rsa": RSAAlgorithm, "ec": ECAlgorithm, "other": RSAAlgorithm}
    found = []
    for name in names:
        key = json.loads(algorithms[name].to_jwk(keys[name].public_key()))
        found.append({**key, "kid": name, "use": "sig"})
    return json.dumps({"keys": found})


def signed(keys: dict[str, Any], key: str = "rsa", alg: str = "RS256", **claims: Any) -> str:
    standard = {
        "iss": ISSUER,
        "aud": "policy-router",
        "sub": "jo",
        "exp": int(time.time()) + 600,
        "department": "research",
        "groups": ["lead"],
        "clearance": {"risk": 3},
    }
    content = {name: it for name, it in {**standard, **claims}.items() if it is not None}
    return jwt.encode(content, keys[key], algorithm=alg, headers={"kid": key})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Any]) -> Path:
    made = tmp_path_factory.mktemp("credentials")
    config = {
        "tokens": "tokens.jsonl",
        "jwt": [
            {
                "issuer": ISSUER,
                "audience": "policy-router",
                "algorithms": ["RS256", "ES256"],
                "jwks": "keys.json",
                "claims": {
                    "team": "department",
                    "roles": "groups",
                    "facts": {"risk": "clearance.risk"},
                },
                "role_claim": "router_role",
            }
        ],
    }
    write(made, policy_yaml=POLICY, keys_json=jwks(keys, "rsa", "ec"))
    write(made, serve_json=json.dumps(config))
    return made


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    made = {role: new_token(folder, "--id", f"a-{role}", "--role", role) for role in ROLES}
    made["ada"] = new_token(
        folder, "--id", "ada", "--team", "research", "--caller-role", "lead", "--fact", "risk=2"
    )
    return made


ROLES: Final = ("agent", "host", "auditor", "admin")


@pytest.fixture(scope="module")
def service(folder: Path, tokens: dict[str, str]) -> Iterator[Service]:
    assert tokens
    with Service(folder, "--config", "serve.json", "--log", "log") as made:
        yield made


def test_a_token_is_shown_once_and_its_sum_is_kept_for_the_owner_alone(
    folder: Path, tokens: dict[str, str]
) -> None:
    file = folder / "tokens.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    sums = {line["sha256"] for line in lines}
    for token in tokens.values():
        assert token.startswith("pr_")
        assert token not in file.read_text()
        assert hashlib.sha256(token.encode()).hexdigest() in sums


def test_the_caller_is_that_of_the_credential(service: Service, tokens: dict[str, str]) -> None:
    answer = service.client(tokens["ada"]).post("/v1/decide", json={"task": {"model": "secret"}})
    record = answer.json()["record"]
    assert record["decision"]["target"]["model"] == "secret-model"
    assert record["request"]["caller"] == {"id": "ada", "team": "research", "roles": ["lead"]}
    assert record["request"]["facts"] == {"risk": 2}
    other = service.client(tokens["agent"]).post("/v1/decide", json={"task": {"model": "secret"}})
    assert other.json()["record"]["decision"]["refusal"]["code"] == "not_allowed"


@each("name", FORGED)
@each("where", ["decide", "batch", "menu", "tool"])
def test_an_agent_cannot_state_what_only_a_host_may(
    service: Service, tokens: dict[str, str], name: str, where: str
) -> None:
    client, body = service.client(tokens["agent"]), {name: FORGED[name]}
    if where == "batch":
        answer = client.post("/v1/decide/batch", json={"requests": [body]})
        said = answer.json()["decisions"][0]["error"]
    else:
        said = problem(client.post(f"/v1/{where}", json=body))
    place = "$.facts.region" if name == "facts" else f"$.{name}"
    assert (said["status"], said["code"], said["path"]) == (403, "not_verified", place)


@each("empty", [{}, None, [], "x"])
@each("name", FORGED)
def test_an_agent_cannot_state_it_empty_either(
    service: Service, tokens: dict[str, str], name: str, empty: Any
) -> None:
    answer = service.client(tokens["agent"]).post("/v1/decide", json={name: empty})
    if (name, empty) == ("facts", {}):
        assert answer.json()["record"]["request"]["facts"] == {}
    else:
        assert problem(answer)["code"] == "not_verified"


@each("name", [*FORGED, "now"])
def test_a_header_or_parameter_or_other_place_states_nothing(
    service: Service, tokens: dict[str, str], name: str
) -> None:
    client = service.client(tokens["agent"])
    text = json.dumps(FORGED.get(name, "2020-01-01T00:00:00Z"))
    headers = {
        f"policy-router-{name}": text,
        f"x-{name}": text,
        "policy-router-facts": json.dumps(FORGED["facts"]),
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-user": "root",
        "forwarded": "for=127.0.0.1",
    }
    headers.pop("policy-router-parent", None)
    record = client.post("/v1/decide", json={}, headers=headers).json()["record"]
    assert record["request"] == {"caller": {"id": "a-agent"}}
    assert record["now"] > "2026"
    assert client.post(f"/v1/decide?{name}=x", json={}).status_code == 400
    for place in ("metadata", "context", "policy_router"):
        assert client.post("/v1/decide", json={place: {name: text}}).status_code == 422
    assert client.post("/v1/decide", json={name.upper(): {}}).status_code == 422


def test_a_repeated_key_does_not_hide_what_is_forged(
    service: Service, tokens: dict[str, str]
) -> None:
    client, kind = service.client(tokens["agent"]), {"content-type": "application/json"}
    for body in (
        b'{"caller": {"id": "root"}, "caller": {"id": "root"}}',
        b'{"task": {}, "caller": {"id": "root"}, "task": {}}',
        b'{"c\\u0061ller": {"id": "root"}}',
    ):
        answer = client.post("/v1/decide", content=body, headers=kind)
        assert problem(answer)["code"] == "not_verified"


@pytest.mark.parametrize("given", ["x", "0" * 300, "01a22bc5-117d-7fe4-ad55-00dee3480aab", ""])
def test_a_parent_that_is_no_decision_of_the_caller_is_not_believed(
    service: Service, tokens: dict[str, str], given: str
) -> None:
    header = {"policy-router-parent": given}
    answer = service.client(tokens["agent"]).post("/v1/decide", json={}, headers=header)
    assert problem(answer)["code"] == "not_verified"


def test_a_parent_is_only_its_own_caller_s(service: Service, tokens: dict[str, str]) -> None:
    ada, agent = service.client(tokens["ada"]), service.client(tokens["agent"])
    made = ada.post("/v1/decide", json={"task": {"kind": "coding"}}).json()["decision_id"]
    header = {"policy-router-parent": made}
    assert problem(agent.post("/v1/decide", json={}, headers=header))["code"] == "not_verified"
    child = ada.post("/v1/decide", json={}, headers=header).json()["record"]["request"]["parent"]
    assert (child["model"], child["depth"]) == ("large-model", 1)
    refused = ada.post("/v1/decide", json={"task": {"model": "gpt"}}).json()["decision_id"]
    header = {"policy-router-parent": refused}
    assert problem(ada.post("/v1/decide", json={}, headers=header))["code"] == "not_verified"


MARKS: Final = {"policy-router-session": "s-1", "policy-router-tags": "project:a, \u00fc,"}
BODIES: Final = {
    "decide": {},
    "decide/batch": {"requests": [{}, {}]},
    "plan": {"goal": "x"},
    "../access/v1/evaluation": {
        "subject": {"type": "agent", "id": "ada"},
        "action": {"name": "use"},
        "resource": {"type": "model", "id": "small"},
    },
}
"""Requests that are decided, by their paths."""


@each("path", BODIES)
def test_the_log_has_the_session_and_the_tags_that_a_host_states(
    folder: Path, service: Service, tokens: dict[str, str], path: str
) -> None:
    client = service.client(tokens["host"])
    headers = {name.encode(): it.encode() for name, it in MARKS.items()}
    before = len(lines_of(folder / "log"))
    address = f"/v1/{path}" if path[0] != "." else path[2:]
    for given in ({}, headers):
        answer = client.post(address, json=BODIES[path], headers=given)
        assert answer.status_code == 200, answer.text
    new = [it.entry for it in lines_of(folder / "log")[before:] if it.entry.record]
    plain, marked = new[: len(new) // 2], new[len(new) // 2 :]
    assert {(it.session, it.tags) for it in plain} == {(UNSET, UNSET)}
    assert {(it.session, it.tags) for it in marked} == {("s-1", ("project:a", "\u00fc"))}


@each("name", MARKS)
@each("path", BODIES)
def test_an_agent_states_neither_session_nor_tags(
    service: Service, tokens: dict[str, str], name: str, path: str
) -> None:
    address = f"/v1/{path}" if path[0] != "." else path[2:]
    answer = service.client(tokens["agent"]).post(
        address, json=BODIES[path], headers={name: "project:a"}
    )
    assert '"not_verified"' in answer.text
    assert f'"{name}"' in answer.text
    assert "decision_id" not in answer.text


@each(
    ("name", "value"),
    [
        ("session", b""),
        ("session", b"s" * 201),
        ("session", "\u00fc".encode()),
        ("tags", b"a\tb"),
        ("tags", b"\xff"),
        ("tags", b"a" * 101),
        ("tags", b"1,2,3,4,5,6,7,8,9"),
    ],
)
def test_a_session_or_tag_that_no_line_can_have_is_refused(
    service: Service, tokens: dict[str, str], name: str, value: bytes
) -> None:
    headers = {f"policy-router-{name}".encode(): value}
    said = problem(service.client(tokens["host"]).post("/v1/decide", json={}, headers=headers))
    assert (said["status"], said["code"]) == (400, "bad_header")
    assert said["path"] == f"policy-router-{name}"
    twice = [(f"policy-router-{name}", "a"), (f"policy-router-{name}", "b")]
    answer = service.client(tokens["host"]).post("/v1/decide", json={}, headers=twice)
    assert problem(answer)["detail"] == "the header is given twice"


def test_a_host_states_what_it_has_verified(service: Service, tokens: dict[str, str]) -> None:
    answer = service.client(tokens["host"]).post("/v1/decide", json=FORGED)
    assert answer.json()["record"]["request"] == FORGED
    plain = service.client(tokens["host"]).post("/v1/decide", json={})
    assert plain.json()["record"]["request"] == {"caller": {"id": "a-host"}}


@each("role", ROLES)
@each(
    ("route", "needed"),
    [
        ("POST /v1/decide", "agent"),
        ("POST /v1/decide/batch", "agent"),
        ("GET /v1/menu", "agent"),
        ("POST /v1/tool", "agent"),
        ("POST /v1/plan", "agent"),
        ("GET /v1/policy", "admin"),
    ],
)
def test_a_role_may_do_what_is_its_own(
    service: Service, tokens: dict[str, str], role: str, route: str, needed: str
) -> None:
    may = {"agent": {"agent", "host", "admin"}, "auditor": {"auditor", "admin"}, "admin": {"admin"}}
    body: dict[str, Any] = {"requests": []} if "batch" in route else {}
    answer = service.client(tokens[role]).request(*route.split(), json=body)
    assert (answer.status_code != 403) == (role in may[needed])


@each(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer pr_wrong",
        "Basic cHJfeDp5",
        "bearer pr_" + "x" * 20_000,
        "Bearer pr_\xff",
        "Bearer " + base64.urlsafe_b64encode(b"[" * 9_000).decode() + ".e30.x",
        "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUuY29tLyJ9.",
    ],
)
def test_a_credential_that_is_none_is_refused(service: Service, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    answer = service.client().post("/v1/decide", json={}, headers=headers)
    assert problem(answer)["code"] == "unknown_credential"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "pr_" not in answer.text


def test_health_needs_no_credential(service: Service) -> None:
    assert service.client().get("/livez").status_code == 200
    assert service.client().get("/readyz").status_code == 200


def test_tokens_come_and_go_and_expire_while_it_serves(service: Service, folder: Path) -> None:
    token = new_token(folder, "--id", "eve", "--expires", "4s")

    def status() -> int:
        return service.client(token).post("/v1/decide", json={}).status_code

    until(lambda: status() == 200)
    until(lambda: status() == 401)
    new = new_token(folder, "--id", "fay")
    client = service.client(new)
    until(lambda: client.post("/v1/decide", json={}).status_code == 200)
    file = folder / "tokens.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if '"fay"' not in line) + "not JSON\n")
    until(lambda: client.post("/v1/decide", json={}).status_code == 401)
    until(lambda: any("line" in line and "is not a token" in line for line in service.said))
    file.write_text("".join(line for line in lines if '"fay"' not in line))


def test_a_rate_and_a_concurrency_are_held(folder: Path) -> None:
    write(folder, limits_jsonl="")
    words = ("token", "new", "--tokens", "limits.jsonl", "--id", "ada", "--rate", "5/m")
    token = in_this_process(*words, cwd=folder).out.strip()
    with Service(folder, "--tokens", "limits.jsonl") as service:
        client = service.client(token)
        answers = [client.post("/v1/decide", json={}) for _ in range(6)]
        assert [it.status_code for it in answers] == [200] * 5 + [429]
        assert problem(answers[-1])["code"] == "too_many_requests"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
        batch = client.post("/v1/decide/batch", json={"requests": [{}, {}]})
        assert batch.status_code == 429


# Tokens of others.


def test_a_token_of_an_issuer_says_who_calls(service: Service, keys: dict[str, Any]) -> None:
    for key, alg in (("rsa", "RS256"), ("ec", "ES256")):
        answer = service.client(signed(keys, key, alg)).post("/v1/decide", json={})
        assert answer.json()["record"]["request"] == {
            "caller": {"id": "jo", "team": "research", "roles": ["lead"]},
            "facts": {"risk": 3},
        }


@each(
    ("claims", "key", "alg"),
    [
        ({"exp": 1}, "rsa", "RS256"),
        ({"exp": None}, "rsa", "RS256"),
        ({"iss": "https://evil.example.com/"}, "rsa", "RS256"),
        ({"iss": None}, "rsa", "RS256"),
        ({"iss": ["x"]}, "rsa", "RS256"),
        ({"aud": "other"}, "rsa", "RS256"),
        ({"aud": None}, "rsa", "RS256"),
        ({"nbf": 4_000_000_000}, "rsa", "RS256"),
        ({"sub": None}, "rsa", "RS256"),
        ({"sub": ""}, "rsa", "RS256"),
        ({"department": 5}, "rsa", "RS256"),
        ({}, "other", "RS256"),  # a key that is not published
        ({}, "rsa", "RS512"),  # an algorithm that is not pinned
        ({}, "rsa", "PS256"),
    ],
)
def test_a_token_that_is_not_good_is_not_believed(
    service: Service, keys: dict[str, Any], claims: dict[str, Any], key: str, alg: str
) -> None:
    if isinstance(claims.get("iss"), list):
        claims, token = {}, unsafely_signed(keys, iss=claims["iss"])
    else:
        token = signed(keys, key, alg, **claims)
    assert problem(service.client(token).post("/v1/decide", json={}))["status"] == 401


def unsafely_signed(keys: dict[str, Any], **claims: Any) -> str:
    """Sign claims that PyJWT would not, as its encoder looks at their types."""
    return jwt.PyJWS().encode(
        json.dumps({"aud": "policy-router", "exp": 4e9, "sub": "jo", **claims}).encode(),
        keys["rsa"],
        algorithm="RS256",
        headers={"kid": "rsa"},
    )


def test_the_public_key_is_no_secret_to_sign_with(service: Service, keys: dict[str, Any]) -> None:
    head = {"alg": "HS256", "kid": "rsa", "typ": "JWT"}
    public = keys["rsa"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def part(content: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")

    claims = {"iss": ISSUER, "aud": "policy-router", "sub": "root", "exp": 4_000_000_000}
    body = part(head) + b"." + part(claims)
    mac = base64.urlsafe_b64encode(hmac.digest(pem, body, "sha256")).rstrip(b"=")
    token = (body + b"." + mac).decode()
    assert problem(service.client(token).post("/v1/decide", json={}))["status"] == 401


def test_a_token_says_no_place_to_get_keys_from(
    service: Service, keys: dict[str, Any], evil: tuple[str, list[str]]
) -> None:
    url, asked = evil
    for name in ("jku", "x5u"):
        head = {"kid": "other", name: url}
        claims = {"iss": ISSUER, "aud": "policy-router", "sub": "x", "exp": 4_000_000_000}
        token = jwt.encode(claims, keys["other"], algorithm="RS256", headers=head)
        assert problem(service.client(token).post("/v1/decide", json={}))["status"] == 401
    assert asked == []


def test_a_claim_gives_roles_of_the_service_by_their_names_alone(
    service: Service, keys: dict[str, Any]
) -> None:
    admin = service.client(signed(keys, router_role=["admin", "emperor", 5]))
    assert admin.get("/v1/policy").status_code == 200
    for claim in ("emperor", 5, None, {"admin": True}):
        client = service.client(signed(keys, router_role=claim))
        assert problem(client.get("/v1/policy"))["code"] == "role_needed"


@pytest.fixture
def evil(keys: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A place with keys that nobody configured."""
    with published(lambda _path: jwks(keys, "other")) as made:
        yield made


class published:  # noqa: N801 - it is used like a function
    """A server of keys on this machine."""

    def __init__(self, content: Any) -> None:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                text = content(self.path)
                self.send_response(302 if text is None else 200)
                if text is None:
                    self.send_header("location", "/elsewhere")
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.asked = asked

    def __enter__(self) -> tuple[str, list[str]]:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/keys", self.asked

    def __exit__(self, *_problem: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def configured(folder: Path, place: str) -> str:
    config = {
        "jwt": [
            {
                "issuer": ISSUER,
                "audience": "policy-router",
                "algorithms": ["RS256"],
                "jwks": place,
            }
        ]
    }
    write(folder, address_json=json.dumps(config))
    return "address.json"


def test_keys_of_an_address_are_got_again_for_an_unknown_one_but_seldom(
    folder: Path, keys: dict[str, Any]
) -> None:
    with (
        published(lambda _path: jwks(keys, "rsa")) as (url, asked),
        Service(folder, "--config", configured(folder, url)) as service,
    ):
        assert service.client(signed(keys)).post("/v1/decide", json={}).status_code == 200
        unknown = service.client(signed(keys, "other"))
        for _ in range(5):
            assert unknown.post("/v1/decide", json={}).status_code == 401
        assert asked == ["/keys"]


@each(
    ("place", "said"),
    [
        ("http://login.example.com/keys", "https"),
        ("ftp://127.0.0.1/keys", "https"),
        ("file:///etc/passwd", "https"),
        ("missing.json", "cannot get keys"),
        ("policy.yaml", "cannot get keys"),
    ],
)
def test_keys_come_from_no_unsafe_place(folder: Path, place: str, said: str) -> None:
    config = configured(folder, place)
    ran = in_this_process("serve", "policy.yaml", "--config", config, cwd=folder)
    assert ran.code == 2
    assert said in ran.err


def test_keys_are_followed_to_no_other_address(folder: Path, keys: dict[str, Any]) -> None:
    def content(path: str) -> str | None:
        return None if path == "/keys" else jwks(keys, "rsa")

    with published(content) as (url, asked):
        config = configured(folder, url)
        ran = in_this_process("serve", "policy.yaml", "--config", config, cwd=folder)
        assert ran.code == 2
        assert "cannot get keys" in ran.err
        assert asked == ["/keys"]


def test_a_configuration_may_let_agents_state_more(folder: Path) -> None:
    write(folder, more_json=json.dumps({"agent_may_state": ["parent", "facts.region"]}))
    token = new_token(folder, "--id", "gil", "--fact", "risk=1")
    words = ("--config", "more.json", "--tokens", "tokens.jsonl")
    with Service(folder, *words) as service:
        client = service.client(token)
        body = {"parent": {"depth": 3}, "facts": {"region": "us"}}
        request = client.post("/v1/decide", json=body).json()["record"]["request"]
        assert request["parent"] == {"depth": 3}
        assert request["facts"] == {"region": "us", "risk": 1}
        for name in ("caller", "budget"):
            said = problem(client.post("/v1/decide", json={name: FORGED[name]}))
            assert said["code"] == "not_verified"
            assert "parent" in said["help"]
        for facts in ({"risk": 9}, {"region": "us", "risk": 9}):
            said = problem(client.post("/v1/decide", json={"facts": facts}))
            assert (said["code"], said["path"]) == ("not_verified", "$.facts.risk")


def test_no_secret_is_in_what_the_service_says_or_logs(
    service: Service, tokens: dict[str, str], folder: Path
) -> None:
    spoilt = f"{tokens['ada']}x"
    for token in (*tokens.values(), spoilt):
        service.client(token).post("/v1/decide", json={})
    text = "".join(service.said)
    text += "".join(line.content.decode() for line in lines_of(folder / "log"))
    assert '"id":"ada"' in text
    for token in tokens.values():
        assert token not in text


def test_a_token_needs_an_id_and_a_good_rate(folder: Path) -> None:
    for words, said in (
        (("--id", ""), "must have an id"),
        (("--id", "a", "--rate", "x"), "rate: expected a rate such as 50/s"),
        (("--id", "a", "--expires", "soon"), "--expires: expected a duration such as 30s"),
        (("--id", "a", "--fact", "x"), "NAME=VALUE"),
    ):
        ran = in_this_process("token", "new", "--tokens", "t.jsonl", *words, cwd=folder)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err
    assert not (folder / "t.jsonl").exists()
