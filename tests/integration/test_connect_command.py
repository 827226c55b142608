"""The command ``connect``: a host's settings get what they need, and lose nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from policy_router.cli import main
from policy_router.hosts import claude_code_hook
from policy_router.hosts.settings_files import HOSTS, NOWHERE

POLICY = "{model: m, provider: p, providers: {p: {base_url: 'http://localhost'}}}"
SETTINGS = """{
  // mine
  "model": "sonnet",
  "hooks": {
    "PreToolUse": [
      {"matcher": "Bash", "hooks": [{"type": "command", "command": "true"}]}
    ]
  }
}
"""
CONFIG = """# mine
model: {default: m}  # the best
plugins:
  enabled: [other]
"""
PROXY = """# mine
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_key: os.environ/KEY}
litellm_settings:
  callbacks:
    - prometheus  # counts
"""


class Folder:
    """A folder with a policy and a host's settings."""

    def __init__(self, path: Path, host: str, text: str | None) -> None:
        self.path, self.host = path, host
        self.policy = path / "policy.yaml"
        self.policy.write_text(POLICY, encoding="utf-8")
        self.file = path / HOSTS[host].file
        if text is not None:
            self.file.write_text(text, encoding="utf-8")
        self.backup = path / f"{self.file.name}.before-policy-router"

    def connect(self, *words: str) -> int:
        given = [self.host, str(self.policy), "--settings", str(self.file)]
        return main(["connect", *given, *words])

    def undo(self, *words: str) -> int:
        return main(["connect", self.host, "--undo", "--settings", str(self.file), *words])

    @property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")


TEXTS = {"claude-code": SETTINGS, "hermes-agent": CONFIG, "litellm": PROXY}


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name, since the path of a socket has to be short."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture(params=TEXTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    host = str(request.param)
    return Folder(tmp_path, host, TEXTS[host])


def test_the_change_is_shown_and_written_and_can_be_undone(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folder.text
    assert folder.connect() == 0
    said = capsys.readouterr().out
    assert str(folder.policy) in said
    assert said.endswith(f"{folder.host} is connected\n")
    assert str(folder.policy) in folder.text
    assert "mine" in folder.text
    assert folder.undo() == 0
    assert folder.text == before
    assert not folder.backup.exists()


def test_a_dry_run_writes_nothing(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    before = folder.text
    assert folder.connect("--dry-run") == 0
    assert "--dry-run" in capsys.readouterr().out
    assert (folder.text, folder.backup.exists()) == (before, False)


def test_a_second_time_changes_what_the_first_has_written(folder: Folder) -> None:
    before = folder.text
    folder.connect()
    once = folder.text
    folder.connect()
    assert folder.text == once
    folder.connect("--home", str(folder.path / "elsewhere"))
    assert folder.text == once.replace(
        str(folder.path / "policy-router"), str(folder.path / "elsewhere")
    )
    folder.undo()
    assert folder.text == before


def test_what_the_user_has_changed_since_stays(folder: Folder) -> None:
    before = folder.text
    folder.connect()
    changed = folder.text.replace("mine", "mine, and new")
    folder.file.write_text(changed, encoding="utf-8")
    folder.undo()
    assert "mine, and new" in folder.text
    assert "policy" not in folder.text
    assert {*before.split()} - {*folder.text.split()} <= {"mine", "]"}


def test_a_file_that_is_not_there_comes_and_goes(tmp_path: Path) -> None:
    for host in HOSTS:
        folder = Folder(tmp_path, host, None)
        assert folder.connect() == 0
        assert folder.file.stat().st_mode & 0o777 == 0o600
        assert folder.undo() == 0
        assert not folder.file.exists()


def test_to_undo_what_is_not_there_changes_nothing(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folder.text
    assert folder.undo() == 0
    assert folder.text == before
    assert capsys.readouterr().out == "there is nothing to change\n"


def test_claude_code_gets_its_hooks(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "claude-code", None)
    facts = tmp_path / "facts.json"
    facts.write_text('{"caller": {"team": "a"}}', encoding="utf-8")
    folder.connect("--facts", str(facts), "-q")
    hooks = json.loads(folder.text)["hooks"]
    assert [*hooks] == ["PreToolUse", "PostToolUse", "SubagentStop"]
    assert hooks["PreToolUse"][0]["matcher"] == "Agent|Task|Workflow"
    command = hooks["PreToolUse"][0]["hooks"][0]["command"]
    assert command.startswith(f"{sys.executable} -I -S {claude_code_hook.__file__} --policy ")
    assert f"--facts {facts} || " in command
    assert command.endswith("exit 2; }")


def test_hermes_gets_its_plugin_and_sub_agents_that_lead_nowhere_without_it(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path, "hermes-agent", CONFIG)
    facts = tmp_path / "facts.json"
    facts.write_text('{"caller": {"team": "a"}}', encoding="utf-8")
    folder.connect("--facts", str(facts))
    for part in ('enabled: [other, "policy-router"]', '"allow_tool_override": true', NOWHERE):
        assert part in folder.text
    assert '"facts": {"caller": {"team": "a"}}' in folder.text


def test_the_proxy_gets_its_callback_and_its_variables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, "litellm", PROXY)
    monkeypatch.chdir(tmp_path)
    assert main(["connect", "litellm", "policy.yaml"]) == 0
    assert (
        '    - prometheus  # counts\n    - "policy_router.hosts.litellm.handler"\n' in folder.text
    )
    assert f'"POLICY_ROUTER_POLICY": "{folder.policy}"' in folder.text
    facts = tmp_path / "facts.json"
    facts.write_text("{}", encoding="utf-8")
    assert "that of a key of the proxy" in said_of(capsys, folder.connect("--facts", str(facts)))


def test_the_place_of_the_settings_is_that_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    for host, variable in (("claude-code", "CLAUDE_CONFIG_DIR"), ("hermes-agent", "HERMES_HOME")):
        monkeypatch.delenv(variable, raising=False)
        assert main(["connect", host, str(policy), "-q"]) == 0
        monkeypatch.setenv(variable, str(tmp_path / host))
        assert main(["connect", host, str(policy), "-q"]) == 0
    made = {str(it.relative_to(tmp_path)) for it in tmp_path.rglob("*") if it.is_file()}
    assert made >= {
        ".claude/settings.json",
        "claude-code/settings.json",
        ".hermes/config.yaml",
        "hermes-agent/config.yaml",
    }


def test_a_link_stays_a_link(folder: Folder) -> None:
    real = folder.path / "real"
    folder.file.rename(real)
    folder.file.symlink_to(real)
    folder.connect()
    assert folder.file.is_symlink()
    assert str(folder.policy) in real.read_text(encoding="utf-8")


def said_of(capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert code in {1, 2}
    return capsys.readouterr().err


def test_a_policy_with_errors_is_not_connected(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folder.text
    folder.policy.write_text("pool: [", encoding="utf-8")
    assert "the policy has errors" in said_of(capsys, folder.connect())
    folder.policy.unlink()
    assert "there is no file" in said_of(capsys, folder.connect())
    assert "which policy is to decide?" in said_of(
        capsys, main(["connect", folder.host, "--settings", str(folder.file)])
    )
    assert folder.text == before


def test_settings_that_say_something_else_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "delegation: {model: mine}\n"
    folder = Folder(tmp_path, "hermes-agent", text)
    said = said_of(capsys, folder.connect())
    assert f"{folder.file}: `delegation.model` says something else already" in said
    assert folder.text == text


def test_a_home_whose_path_no_socket_can_have_is_refused(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    code = folder.connect("--home", str(folder.path / ("x" * 100)))
    assert "too long for a socket" in said_of(capsys, code)


def test_facts_that_cannot_be_read_are_refused(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = folder.path / "facts.json"
    assert "there is no file" in said_of(capsys, folder.connect("--facts", str(facts)))
    facts.write_text("{", encoding="utf-8")
    assert str(facts) in said_of(capsys, folder.connect("--facts", str(facts)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{}]", "expected one request"),
        ('{"caller": 7}', "caller"),
        ('{"task": {}}', "the agent states `task` itself"),
        ("caller: {team: research}", "facts are in JSON"),
    ],
)
def test_facts_with_which_nothing_could_be_decided_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    folder = Folder(tmp_path, "claude-code", "{}")
    facts = folder.path / "facts.json"
    facts.write_text(content, encoding="utf-8")
    assert said in said_of(capsys, folder.connect("--facts", str(facts)))
    assert folder.text == "{}"


def test_a_file_that_cannot_be_written_is_said(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.file.unlink()
    folder.file.mkdir()
    assert str(folder.file) in said_of(capsys, folder.connect())


def test_a_read_only_file_is_left_alone(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    before = folder.text
    folder.file.chmod(0o444)
    assert f"{folder.file}: the file is read-only" in said_of(capsys, folder.connect())
    assert folder.text == before
    assert not folder.backup.exists()


def test_line_ends_are_those_of_the_file(folder: Folder) -> None:
    before = folder.text.replace("\n", "\r\n").encode()
    folder.file.write_bytes(before)
    assert folder.connect() == 0
    written = folder.file.read_bytes()
    assert written.count(b"\n") == written.count(b"\r\n") > before.count(b"\r\n")
    assert folder.undo() == 0
    assert folder.file.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe{", "as UTF-8"), (b"\xef\xbb\xbf{}", "without a byte order mark")],
)
def test_a_file_of_another_encoding_is_left_alone(
    folder: Folder, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    folder.file.write_bytes(content)
    assert said in said_of(capsys, folder.connect())
    assert said in said_of(capsys, folder.undo())
    assert folder.file.read_bytes() == content


@pytest.mark.parametrize(
    ("host", "text", "missing"),
    [
        ("claude-code", "{}", "m"),
        ("claude-code", '{"env": {"ANTHROPIC_DEFAULT_HAIKU_MODEL": "m"}}', None),
        ("claude-code", '{"env": 1}', "m"),
        ("litellm", "model_list: [{model_name: other}]", "m"),
        ("litellm", "model_list: [{model_name: m}]", None),
        ("litellm", "model_list: [7, {model_name: '*'}]", None),
        ("litellm", "include: [models.yaml]", None),
        ("hermes-agent", "{}", None),
    ],
)
def test_a_model_that_the_host_does_not_have_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, text: str, missing: str | None
) -> None:
    assert Folder(tmp_path, host, text).connect() == 0
    warned = f"policy-router: warning: {host} has no model `{missing}`\n"
    assert capsys.readouterr().err == (warned if missing else "")
