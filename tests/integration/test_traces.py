"""The trace of a request in the log, and the spans of its decisions, by the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from msgspec import UNSET

from policy_router import load
from policy_router.log import LogReader, verify
from tests.integration.test_service import POLICY
from tests.support.commands import in_process_of_its_own, in_this_process, write
from tests.support.rows import each
from tests.support.service import Service, problem, until
from tests.support.speaking import Lines, on_http

pytestmark = pytest.mark.slow

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
NAMED: Final = f"{TRACE}-{SPAN}"
HEADER: Final = f"00-{NAMED}-01"
UNSAMPLED: Final = f"00-{NAMED}-00"
DECIDE: Final = "policy_router.decide"
MODEL: Final = {
    "subject": {"type": "user", "id": "ada"},
    "action": {"name": "use"},
    "resource": {"type": "model", "id": "small"},
}

CONFIGURATOR: Final = """
import json
import os
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import set_tracer_provider


class Files(SpanExporter):
    def export(self, spans):
        place = Path(__file__).parent / "spans" / str(os.getpid())
        place.parent.mkdir(exist_ok=True)
        with place.open("a") as file:
            for span in spans:
                if os.environ["SPANS"] == "files":
                    print("a library prints this", flush=True)
                file.write(span.to_json(indent=None) + "\\n")
        return SpanExportResult.SUCCESS


class Configurator:
    def configure(self):
        if os.environ.get("SPANS") == "broken":
            raise RuntimeError("no exporter of this name; api_key: sk-secret0123456789abcdef")
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Files(), schedule_delay_millis=50))
        set_tracer_provider(provider)
"""
ENTRY: Final = "[opentelemetry_configurator]\nfiles = configuring:Configurator\n"


def with_spans(folder: Path, how: str = "files") -> dict[str, str]:
    """Return an environment in which a package is installed that configures OpenTelemetry."""
    installed = folder / "installed"
    about = installed / "configuring-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: configuring\nVersion: 1\n")
    (about / "entry_points.txt").write_text(ENTRY)
    (installed / "configuring.py").write_text(CONFIGURATOR)
    return {"PYTHONPATH": str(installed), "SPANS": how}


def spans_in(folder: Path, *, named: str = DECIDE) -> list[dict[str, Any]]:
    files = sorted((folder / "installed" / "spans").glob("*"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [it for it in map(json.loads, lines) if it["name"] == named]


def span_of(folder: Path, decision_id: str) -> dict[str, Any]:
    """Return the span of a decision, once it is there."""

    def found() -> list[dict[str, Any]]:
        return [
            it
            for it in spans_in(folder)
            if it["attributes"]["policy_router.decision.id"] == decision_id
        ]

    (span,) = until(found)
    return dict(span)


def trace_in(folder: Path, decision_id: str) -> object:
    """Return the trace that the log has of a decision."""
    (line,) = LogReader(folder / "log").about(decision_id)
    assert (b'"trace"' in line.content) == (line.entry.trace is not UNSET)
    return line.entry.trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("traces")
    write(made, policy_yaml=POLICY)
    return made


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with Service(folder, "--log", "log", environment=with_spans(folder)) as made:
        yield made


def decided(client: httpx.Client, *headers: tuple[str, str | bytes], **body: Any) -> str:
    raw = [(name, it if isinstance(it, bytes) else it.encode()) for name, it in headers]
    coded = [(name.encode(), value) for name, value in raw]
    answer = client.post("/v1/decide", json=body, headers=coded)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["decision_id"])


# What a decision says.


def test_a_selection_is_a_span_of_the_trace_that_asked(client: httpx.Client, folder: Path) -> None:
    body = {"task": {"kind": "coding"}, "caller": {"id": "ada"}, "facts": {"region": "moon"}}
    decision_id = decided(client, ("traceparent", HEADER), **body)
    span = span_of(folder, decision_id)
    assert span["context"]["trace_id"] == f"0x{TRACE}"
    assert span["parent_id"] == f"0x{SPAN}"
    assert (span["kind"], span["status"]) == ("SpanKind.INTERNAL", {"status_code": "UNSET"})
    assert span["attributes"] == {
        "policy_router.decision.id": decision_id,
        "policy_router.decision.outcome": "selected",
        "policy_router.decision.level": "pool",
        "policy_router.decision.rule": "pool",
        "policy_router.policy.name": "acme",
        "policy_router.policy.revision": load(folder / "policy.yaml").revision,
        "policy_router.target.entry": "large",
        "policy_router.target.model": "large-model",
        "policy_router.target.provider": "main",
    }
    assert not {"ada", "moon", "coding"} & set(json.dumps(span).split('"'))
    assert trace_in(folder, decision_id) == NAMED


def test_a_refusal_is_no_error_and_says_its_code(client: httpx.Client, folder: Path) -> None:
    decision_id = decided(client, ("traceparent", HEADER), task={"model": "gpt-9"})
    span = span_of(folder, decision_id)
    assert span["status"] == {"status_code": "UNSET"}
    said = span["attributes"]
    assert said["policy_router.decision.outcome"] == "refused"
    assert said["policy_router.refusal.code"] == "outside_pool"
    assert said["policy_router.decision.rule"] == "task"
    assert not [name for name in said if ".target." in name or name.endswith(".level")]


def test_a_span_lasts_from_the_decision_until_it_is_logged(
    client: httpx.Client, folder: Path
) -> None:
    decision_id = decided(client)
    (line,) = LogReader(folder / "log").about(decision_id)
    span = span_of(folder, decision_id)
    assert span["start_time"].rstrip("0Z") == line.entry.decision_record.now.rstrip("0Z")
    assert span["start_time"] < span["end_time"]


def test_what_is_no_good_request_has_no_span(client: httpx.Client, folder: Path) -> None:
    before = len(spans_in(folder))
    headers = {"traceparent": HEADER}
    assert client.post("/v1/decide", json={"task": {"knd": "x"}}, headers=headers).is_error
    span_of(folder, decided(client))
    assert len(spans_in(folder)) == before + 1


def test_a_long_name_of_the_caller_s_is_cut(tmp_path: Path) -> None:
    policy = "version: 1\nmodel: m\nprovider: p\nprecedence: strict\n"
    write(tmp_path, policy_yaml=policy)
    environment = with_spans(tmp_path)
    with Service(tmp_path, environment=environment) as service:
        answer = service.client().post("/v1/decide", json={"task": {"model": "m" * 60_000}})
        assert answer.json()["record"]["decision"]["target"]["model"] == "m" * 60_000
        span = span_of(tmp_path, answer.json()["decision_id"])
    assert span["attributes"]["policy_router.target.model"] == "m" * 256


# The header.


@each(
    "header",
    [HEADER, f"00-{NAMED}-ff", f"cc-{NAMED}-01", f"cc-{NAMED}-01-{'é' * 30}"],
)
def test_a_good_header_is_taken_over(client: httpx.Client, folder: Path, header: str) -> None:
    decision_id = decided(client, ("TraceParent", header))
    assert trace_in(folder, decision_id) == NAMED
    assert span_of(folder, decision_id)["parent_id"] == f"0x{SPAN}"


def test_spaces_around_a_header_are_none_of_it(service: Service, folder: Path) -> None:
    head = "POST /v1/decide HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    content = f"{head}TRACEPARENT: \t {HEADER}\t \r\nContent-Length: 2\r\n"
    answer = service.raw(f"{content}Content-Type: application/json\r\n\r\n{{}}".encode())
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert trace_in(folder, body["decision_id"]) == NAMED


@each(
    "header",
    [
        "",
        "00",
        f"ff-{NAMED}-01",
        f"0-{NAMED}-01",
        f"{NAMED}-01",
        f"00-{NAMED.upper()}-01",
        f"00-{NAMED}-0A",
        f"CC-{NAMED}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{NAMED}-01-more",
        f"00-{NAMED}-01-",
        f"00-{NAMED}-0",
        f"00-{NAMED}-011",
        f"cc-{NAMED}-011",
        f"cc-{NAMED}-01.more",
        f"00-{NAMED}",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}_{SPAN}-01",
        f"00 {NAMED} 01",
        f"{HEADER},{HEADER}",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"00-{TRACE[:-2]}é-{SPAN}-01",
        "00-" + "4" * 50_000,
        HEADER * 900,
    ],
)
def test_a_malformed_header_is_ignored_and_a_new_trace_begins(
    client: httpx.Client, folder: Path, header: str
) -> None:
    decision_id = decided(client, ("traceparent", header))
    assert trace_in(folder, decision_id) is UNSET
    span = span_of(folder, decision_id)
    assert span["parent_id"] is None
    assert TRACE not in span["context"]["trace_id"]


@each("second", [HEADER, f"00-{'a' * 32}-{'b' * 16}-01", "x"])
def test_two_headers_are_none(client: httpx.Client, folder: Path, second: str) -> None:
    decision_id = decided(client, ("traceparent", HEADER), ("Traceparent", second))
    assert trace_in(folder, decision_id) is UNSET
    assert span_of(folder, decision_id)["parent_id"] is None


def test_each_request_of_a_connection_has_its_own_trace(client: httpx.Client, folder: Path) -> None:
    first, second = decided(client, ("traceparent", HEADER)), decided(client)
    assert span_of(folder, first)["parent_id"] == f"0x{SPAN}"
    assert span_of(folder, second)["parent_id"] is None
    assert trace_in(folder, second) is UNSET


def test_who_does_not_sample_gets_no_span_but_a_line(client: httpx.Client, folder: Path) -> None:
    decision_id = decided(client, ("traceparent", UNSAMPLED))
    span_of(folder, decided(client, ("traceparent", HEADER)))
    said = [it["attributes"]["policy_router.decision.id"] for it in spans_in(folder)]
    assert decision_id not in said
    assert trace_in(folder, decision_id) == NAMED


# Each way to ask.


def test_each_item_of_a_batch_has_a_span(client: httpx.Client, folder: Path) -> None:
    body = {"requests": [{"task": {"kind": "coding"}}, {"task": {"knd": "x"}}, {}]}
    answer = client.post("/v1/decide/batch", json=body, headers={"traceparent": HEADER})
    ids = [it["decision_id"] for it in answer.json()["decisions"] if "decision_id" in it]
    assert len(ids) == 2
    for decision_id in ids:
        assert span_of(folder, decision_id)["parent_id"] == f"0x{SPAN}"
        assert trace_in(folder, decision_id) == NAMED


def test_each_item_of_a_long_batch_has_one_span(client: httpx.Client, folder: Path) -> None:
    before = len(spans_in(folder))
    answer = client.post("/v1/decide/batch", json={"requests": [{}] * 120})
    ids = [it["decision_id"] for it in answer.json()["decisions"]]
    until(lambda: len(spans_in(folder)) == before + 120)
    made = spans_in(folder)[before:]
    assert [it["attributes"]["policy_router.decision.id"] for it in made] == ids


def test_each_evaluation_of_authzen_has_a_span(client: httpx.Client, folder: Path) -> None:
    headers = {"traceparent": HEADER}
    one = client.post("/access/v1/evaluation", json=MODEL, headers=headers).json()
    body = {**MODEL, "evaluations": [{}, {"resource": {"type": "model", "id": "gpt-9"}}]}
    several = client.post("/access/v1/evaluations", json=body, headers=headers).json()
    made = [one, *several["evaluations"]]
    assert [it["decision"] for it in made] == [True, True, False]
    for it in made:
        decision_id = it["context"]["decision_id"]
        assert span_of(folder, decision_id)["parent_id"] == f"0x{SPAN}"
        assert trace_in(folder, decision_id) == NAMED


def test_a_decision_over_mcp_is_below_the_call_of_the_tool(service: Service, folder: Path) -> None:
    with on_http(service.url, traceparent=HEADER) as session:
        result = session.call("decide", task={"kind": "coding"})
    decision_id = result.structured_content["decision_id"]
    span = span_of(folder, decision_id)
    calls = until(lambda: spans_in(folder, named="tools/call decide"))
    assert span["parent_id"] in {it["context"]["span_id"] for it in calls}
    assert {it["context"]["trace_id"] for it in [span, *calls]} == {f"0x{TRACE}"}
    assert {it["parent_id"] for it in calls} == {f"0x{SPAN}"}
    assert trace_in(folder, decision_id) == NAMED


def test_log_show_prints_the_trace(client: httpx.Client, folder: Path) -> None:
    decision_id = decided(client, ("traceparent", HEADER))
    ran = in_this_process("log", "show", "log", decision_id, cwd=folder)
    assert f"trace    {NAMED}" in ran.out.splitlines()[:4]
    ran = in_this_process("log", "show", "log", decided(client), cwd=folder)
    assert "trace " not in ran.out
    assert verify(folder / "log").is_whole


# Other processes.


@pytest.mark.stress
def test_each_worker_makes_spans_and_may_print(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    with Service(tmp_path, "--workers", "2", environment=with_spans(tmp_path)) as service:

        def both() -> bool:
            decided(service.client(), ("traceparent", HEADER))
            return len([*(tmp_path / "installed" / "spans").glob("*")]) == 2

        until(both)
        last = decided(service.client(), ("traceparent", HEADER))
        assert service.stop() == 0
        assert [line for line in service.said if "Traceback" in line] == []
    said = [it["attributes"]["policy_router.decision.id"] for it in spans_in(tmp_path)]
    assert last in said  # the end of a worker loses none
    assert {it["parent_id"] for it in spans_in(tmp_path)} == {f"0x{SPAN}"}


@pytest.mark.stress
def test_a_decision_that_is_not_logged_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY, log="a file where a folder should be")
    with Service(tmp_path, "--log", "log", environment=with_spans(tmp_path)) as service:
        answer = service.client().post("/v1/decide", json={})
        assert problem(answer)["code"] == "log_unavailable"
        (span,) = until(lambda: spans_in(tmp_path))
    assert span["status"] == {"status_code": "ERROR"}
    assert span["attributes"]["error.type"] == "log_unavailable"


@pytest.mark.stress
def test_over_standard_input_the_call_of_the_tool_is_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, policy_yaml=POLICY)
    for name, value in with_spans(tmp_path, "quiet").items():
        monkeypatch.setenv(name, value)
    with Lines(tmp_path) as lines:
        lines.call(1, "decide", {})
        made = lines.answer(1)["result"]["structuredContent"]
        assert lines.end() == ""
    span = span_of(tmp_path, made["decision_id"])
    (call,) = spans_in(tmp_path, named="tools/call decide")
    assert span["parent_id"] == call["context"]["span_id"]


@pytest.mark.stress
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_configuration_that_fails_is_said_without_its_secrets(
    tmp_path: Path, workers: str
) -> None:
    write(tmp_path, policy_yaml=POLICY)
    environment = with_spans(tmp_path, "broken")
    words = ("serve", "policy.yaml", "--listen", "127.0.0.1:0", "--workers", workers)
    ran = in_process_of_its_own(*words, cwd=tmp_path, environment=environment)
    first = ran.err.splitlines()[0]
    assert ran.code == 2
    assert first.startswith("policy-router: OpenTelemetry: it cannot be configured: no exporter")
    assert "sk-secret" not in ran.err


# Without OpenTelemetry, or with its API alone.

NOTHING: Final = 'raise ModuleNotFoundError("No module named opentelemetry", name="opentelemetry")'
LOADED: Final = """
import sys
from policy_router.server.tracing import Spans

print(Spans.installed(), *sorted(it for it in sys.modules if it.startswith("opentelemetry")))
"""


@pytest.mark.stress
@pytest.mark.parametrize("is_there", [False, True])
def test_without_spans_the_log_has_the_trace(tmp_path: Path, *, is_there: bool) -> None:
    write(tmp_path, policy_yaml=POLICY)
    if not is_there:
        (tmp_path / "opentelemetry").mkdir()
        (tmp_path / "opentelemetry" / "__init__.py").write_text(NOTHING)
    environment = {"PYTHONPATH": str(tmp_path)}
    with Service(tmp_path, "--log", "log", environment=environment) as service:
        client = service.client()
        assert trace_in(tmp_path, decided(client, ("traceparent", HEADER))) == NAMED
        assert trace_in(tmp_path, decided(client, ("traceparent", "x"))) is UNSET
    ran = in_process_of_its_own(cwd=tmp_path, environment=environment, prefix=("-c", LOADED))
    assert ran.out.split()[0] == "None"
    assert len(ran.out.split()) > 1 if is_there else ran.out == "None\n"
