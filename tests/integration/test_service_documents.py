"""What the pages about the service say is so, and what README shows it prints."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from policy_router.server.openapi import OPERATIONS
from policy_router.server.settings import Claims, Issuer, Settings, Tls, settings_of
from tests.integration.test_service import POLICY
from tests.support.commands import ROOT, in_process_of_its_own, in_this_process, write
from tests.support.rows import each
from tests.support.scripted import ScriptedProvider, completion
from tests.support.service import Service

SERVICE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
GATEWAY = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
OPERATION = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = "".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "policy_router" / "server").rglob("*.py")
)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_page_s_configuration_is_one() -> None:
    content = {k: it for text in blocks(SERVICE, "yaml") for k, it in yaml.safe_load(text).items()}
    schema = json.loads((ROOT / "schemas" / "serve.schema.json").read_bytes())
    jsonschema.validate(content, schema)
    assert settings_of(content, {}).workers == 4


@each("kind", [Settings, Issuer, Claims, Tls])
def test_the_page_knows_every_setting(kind: type[Settings | Issuer | Claims | Tls]) -> None:
    missing = [name for name in kind.__struct_fields__ if not re.search(rf"\b{name}\b", SERVICE)]
    assert missing == []


@pytest.mark.parametrize("command", ["serve", "token new"])
def test_the_page_knows_every_option(command: str, tmp_path: Path) -> None:
    ran = in_this_process(*command.split(), "--help", cwd=tmp_path)
    options = set(re.findall(r"--[a-z-]+", ran.out)) - {"--help", "--verbose", "--quiet"}
    assert [option for option in sorted(options) if option not in SERVICE] == []


def test_the_page_knows_every_route_and_its_role() -> None:
    for (path, method), operation in OPERATIONS.items():
        row = next(line for line in SERVICE.splitlines() if re.search(rf"`{method} {path}`", line))
        assert row.endswith(f"| {operation.role or 'none'} |")


def test_the_page_knows_every_code_of_a_problem() -> None:
    codes = set(re.findall(r'(?:Problem|busy)\(\s*(?:\d{3},\s*)?"([a-z_]+)"', CODE))
    assert len(codes) > 20
    assert [code for code in sorted(codes) if f"`{code}`" not in SERVICE] == []


def test_the_page_s_problem_is_what_is_answered(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    (text,) = blocks(SERVICE, "json")
    with Service(tmp_path) as service:
        answer = service.client().post("/v1/decide", json={"task": {"knd": "coding"}})
        assert answer.json() == json.loads(text)


def test_the_metrics_of_the_page_are_those_that_are_counted(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    with Service(tmp_path) as service:
        service.client().post("/v1/decide", json={})
        counted = service.client().get("/metrics").text
    names = {line.split()[2] for line in counted.splitlines() if line.startswith("# TYPE")}
    table = OPERATION[OPERATION.index("| metric | labels |") :].split("\n\n", 1)[0]
    told = set(re.findall(r"`(policy_router_\w+)`", table))
    assert told == {name for name in names if not name.endswith("_created")}
    alerts = OPERATION[OPERATION.index("| alert |") :]
    assert set(re.findall(r"policy_router_\w+", alerts)) <= told


@pytest.mark.slow
def test_readme_s_three_commands_print_what_readme_says(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=blocks(README, "yaml")[0])
    (shown,) = (block for block in blocks(README, "console") if " serve " in block)
    commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    printed = [line for line in shown.splitlines() if not line.startswith("$ ")]
    started, asked, listed = (shlex.split(command.rstrip("& ")) for command in commands)
    with Service(tmp_path, *started[3:]) as service:
        body = json.loads(asked[asked.index("--json") + 1])
        answer = httpx.post(service.url + asked[2].removeprefix("localhost:8080"), json=body)
        assert masked(answer.text).startswith(masked(printed[2]).removesuffix(",..."))
        at, people = service.said[:2]
        assert at.rpartition(":")[0] == printed[0].rpartition(":")[0]
        assert people == printed[1]
    ran = subprocess.run(  # noqa: S603 - our own page
        [sys.executable, "-m", "policy_router.cli", *listed[1:]],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    lines = masked(ran.stdout.decode()).splitlines()
    assert [line.rstrip() for line in lines] == [masked(line).rstrip() for line in printed[3:]]


def masked(text: str) -> str:
    """Return a text without what differs each time."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{3,22}", "ID", text)
    return re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?", "TIME", text)


@pytest.mark.slow
def test_deciding_imports_nothing_of_the_service(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    program = (
        "import sys, policy_router\n"
        "before = {*sys.modules}\n"  # a tracer has modules of its own
        "policy_router.Router(policy_router.load('policy.yaml')).decide({})\n"
        "names = ('uvicorn', 'uvloop', 'httptools', 'jwt', 'prometheus_client', 'sqlite3')\n"
        "names += ('policy_router.server',)\n"
        "print([name for name in names if name in {*sys.modules} - before])\n"
    )
    ran = in_process_of_its_own(cwd=tmp_path, prefix=("-c", program))
    assert ran.out.strip() == "[]"


@pytest.mark.slow
def test_the_command_line_starts_without_the_service(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from policy_router.cli import main\n"
        "main(['schema', 'serve'])\n"
        "names = ('uvicorn', 'jwt', 'prometheus_client', 'policy_router.server')\n"
        "sys.exit(any(name in sys.modules for name in names))\n"
    )
    ran = in_process_of_its_own(cwd=tmp_path, prefix=("-c", program))
    assert ran.code == 0
    shape: dict[str, Any] = json.loads(ran.out)
    assert shape["$id"] == "urn:policy-router:schema:serve:v1"


@pytest.mark.slow
def test_the_report_of_the_page_is_taken(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    (shown,) = (block for block in blocks(SERVICE, "sh") if "/v1/executions" in block)
    report = json.loads(shlex.split(shown)[-1])
    with Service(tmp_path, "--log", "log") as service:
        client = service.client()
        decided = client.post("/v1/decide", json={}).json()["decision_id"]
        answer = client.post("/v1/executions", json={**report, "decision_id": decided})
    assert answer.json() == {"decision_id": decided, "attempt": report["attempt"]}


@pytest.mark.slow
def test_the_gateway_answers_as_its_page_says(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        provider.begin(lambda talk: talk.whole(completion()))
        rules = blocks(README, "yaml")[0].replace("https://llm.example.com/v1", provider.url)
        write(tmp_path, policy_yaml=rules)
        _, making, serving, *_ = "".join(blocks(GATEWAY, "sh")).splitlines()
        token = in_process_of_its_own(*shlex.split(making)[1:], cwd=tmp_path).out.strip()
        environment = {"MAIN_API_KEY": "a-key-of-the-provider"}
        with Service(tmp_path, *shlex.split(serving)[3:], environment=environment) as service:
            client = service.client(token)
            body = json.loads(shlex.split(blocks(GATEWAY, "sh")[1])[-1])
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.json()["choices"][0]["message"]["content"] == "Hello."
            (code,) = blocks(GATEWAY, "python")
            found: dict[str, Any] = {"TOKEN": token}
            exec(code.replace("http://localhost:8080", service.url), found)  # noqa: S102 - our own page
            assert found["answer"].choices[0].message.content == "Hello."
            found["client"].close()
            assert [talk.body["model"] for talk in provider.talks] == ["large-model", "small-model"]
            refused = client.post("/v1/chat/completions", json={**body, "model": "huge"})
            shown = json.loads(blocks(GATEWAY, "json")[0])
            assert masked(json.dumps(refused.json())) == masked(json.dumps(shown))
