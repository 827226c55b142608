"""Files and folders to policies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policy_router import PolicyError, check, load, loads
from policy_router.diagnostics.codes import Code, Severity
from policy_router.files import loader
from policy_router.policy.yaml import MAX_BYTES
from tests.support.rows import each

ROOT = Path(__file__).parents[2]


def written(folder: Path, **files: str) -> Path:
    """Write rule files; two underscores in a name stand for a folder's slash."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def codes(path: Path) -> list[Code]:
    """Return the codes of what is wrong with a policy that cannot be used."""
    policy, found = check(path)
    assert policy is None
    return [item.code for item in found]


# Texts.


@each(
    ("name", "expected"),
    [
        ("acme.yaml", "acme"),
        ("rules/acme.yml", "acme"),
        ("acme.json", "acme"),
        ("acme", "acme"),
        ("acme.v2", "acme.v2"),
        ("<stdin>", "stdin"),
        ("<policy>", "policy"),
        ("<>", "policy"),
        ("", "policy"),
    ],
)
def test_a_text_is_called_by_the_name_that_it_is_given(name: str, expected: str) -> None:
    assert loads("model: m", name=name).name == expected


def test_a_text_may_be_bytes() -> None:
    assert loads("model: \u00e9".encode()).model == "\u00e9"
    with pytest.raises(PolicyError) as caught:
        loads("model: \u00e9".encode("latin-1"))
    assert [item.code for item in caught.value.diagnostics] == [Code.NOT_UTF8]


def test_the_name_of_a_text_stands_in_its_diagnostics() -> None:
    with pytest.raises(PolicyError, match=r"^my\.yaml:1:1: error\[PR201\]"):
        loads("modle: m", name="my.yaml")


# Files.


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_a_policy_called_by_its_name(
    tmp_path: Path,
    as_text: bool,  # noqa: FBT001
) -> None:
    path = written(tmp_path, acme="model: m") / "acme.yaml"
    policy = load(str(path) if as_text else path)
    assert (policy.name, policy.model) == ("acme", "m")


def test_a_file_with_errors_raises_with_all_that_was_found(tmp_path: Path) -> None:
    path = written(tmp_path, acme="modle: m\npool: []") / "acme.yaml"
    with pytest.raises(PolicyError) as caught:
        load(path)
    found = caught.value.diagnostics
    assert (found.errors, found.warnings) == (1, 1)
    assert check(path) == (None, found)
    assert {item.span.source.name for item in found} == {str(path)}


def test_a_good_file_is_checked_with_its_warnings(tmp_path: Path) -> None:
    policy, found = check(written(tmp_path, acme="pool: []") / "acme.yaml")
    assert policy is not None
    assert policy.warnings == found
    assert [item.code for item in found] == [Code.EMPTY_POOL]


def test_a_file_that_is_not_there_is_a_diagnostic(tmp_path: Path) -> None:
    policy, (item,) = check(tmp_path / "none.yaml")
    assert policy is None
    assert item.code is Code.UNREADABLE
    assert item.message == "the file cannot be read: no such file or directory"
    assert item.span.source.name == str(tmp_path / "none.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_a_diagnostic(tmp_path: Path) -> None:
    path = written(tmp_path, acme="model: m") / "acme.yaml"
    path.chmod(0)
    assert codes(path) == [Code.UNREADABLE]


def test_a_path_with_a_nul_character_is_a_diagnostic() -> None:
    policy, (item,) = check("a\x00b.yaml")
    assert policy is None
    assert item.code is Code.UNREADABLE


@pytest.mark.slow
def test_a_file_may_have_just_the_bytes_allowed(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"model: m\n".ljust(MAX_BYTES, b"#"))
    assert load(path).model == "m"
    path.write_bytes(b"model: m\n".ljust(MAX_BYTES + 1, b"#"))
    assert codes(path) == [Code.FILE_TOO_LARGE]


# Warnings.


def test_warnings_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, acme="provider: zai\npool: []\n") / "acme.yaml"
    policy = load(path)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("policy_router", "WARNING")
    message = "the pool is empty: nothing may be asked for"
    assert record.getMessage() == f"{path}:2:7: warning[PR410]: {message}"
    assert policy.warnings.warnings == 1
    caplog.clear()
    check(path)
    assert caplog.records == []
    loads("pool: []\nprovider: zai")
    assert len(caplog.records) == 1


def test_warnings_that_are_not_shown_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    rules = "\n".join(f"- {{id: r{number}, use: task, entry: a}}" for number in range(150))
    loads(f"provider: zai\npool: [{{model: a}}]\nprecedence:\n{rules}")
    assert len(caplog.records) == 101
    assert caplog.records[-1].getMessage() == "... and 50 more warnings"


def test_strict_refuses_a_policy_with_warnings(tmp_path: Path) -> None:
    path = written(tmp_path, acme="provider: zai\npool: []\n") / "acme.yaml"
    with pytest.raises(PolicyError, match="PR410") as caught:
        load(path, strict=True)
    assert (caught.value.diagnostics.errors, caught.value.diagnostics.warnings) == (0, 1)
    with pytest.raises(PolicyError):
        loads(path.read_text("utf-8"), strict=True)
    assert loads("{model: m, provider: zai}", strict=True).model == "m"


# Folders.


def test_the_files_of_a_folder_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "acme",
        b="pool: [{model: three}]",
        a__z="pool: [{model: two}]",
        a__a="pool: [{model: one}]",
        Z="pool: [{model: zero}]",
        c__a__a="pool: [{model: four}]",
    )
    (folder / "d.yml").write_text("pool: [{model: five}]", encoding="utf-8")
    policy = load(folder)
    assert policy.name == "acme"
    names = [entry.name for entry in policy.pool or ()]
    assert names == ["zero", "one", "two", "three", "four", "five"]


def test_paths_are_sorted_as_texts(tmp_path: Path) -> None:
    names = ["a-b", "a", "a/b-c", "a/b", "a/b/c", "a/b0", "a0", "ab", "b", "b/a", "b_"]
    for name in reversed(names):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"pool: [{{model: {name}}}]", encoding="utf-8")
    assert [entry.name for entry in load(tmp_path).pool or ()] == names


@pytest.mark.parametrize("name", ["acme.d", "acme.v2", ".hidden"])
def test_a_folder_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / name, a="model: m")
    assert load(folder).name == Path(name).stem


def test_tests_hidden_files_and_other_files_are_not_read(tmp_path: Path) -> None:
    wrong = "not: [a policy"
    folder = written(
        tmp_path,
        a="{model: m, provider: zai}",
        a_test=wrong,
        sub__b_test=wrong,
        **{".hidden": wrong, ".git__c": wrong, "sub__.d__e": wrong},
    )
    for name in ("readme.md", "policy.schema.json", "b_test.yml", "_test.yml", "yaml", "a.yamls"):
        (folder / name).write_text(wrong, encoding="utf-8")
    (folder / "folder.yaml").mkdir()
    policy, found = check(folder)
    assert policy is not None
    assert (policy.model, list(found)) == ("m", [])


@pytest.mark.parametrize(
    "name",
    [
        "B.YAML",
        "b.Yml",
        "b.json",
        "b.yml~",
        "b.yaml.bak",
        "sub/b.yaml.txt",
        "b.jsonc",
        "a_test.YML",
    ],
)
def test_what_looks_like_a_rule_file_and_is_not_read_is_a_warning(
    tmp_path: Path, name: str
) -> None:
    folder = written(tmp_path, a="{model: m, provider: zai}")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("forbid: [{when: true}]", encoding="utf-8")
    policy, found = check(folder)
    assert policy is not None
    (item,) = policy.warnings
    assert (item.code, item.severity) == (Code.LOOKS_LIKE_RULES, Severity.WARNING)
    assert item.span.source.name == str(folder / name)
    assert found == policy.warnings


def test_a_file_in_a_hidden_place_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path / ".config" / "rules", a="model: m")
    assert load(folder).model == "m"
    assert load(folder / "a.yaml").model == "m"


def test_a_file_of_tests_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    assert load(written(tmp_path, a_test="model: m") / "a_test.yaml").model == "m"


def test_a_folder_without_rule_files_is_a_diagnostic(tmp_path: Path) -> None:
    written(tmp_path, a_test="tests: []")
    policy, (item,) = check(tmp_path)
    assert policy is None
    assert (item.code, item.message) == (Code.NO_RULE_FILES, "the folder holds no rule files")
    assert item.span.source.name == str(tmp_path)


def problem_of(folder: Path) -> tuple[str, str]:
    """Return which file of a folder is an error, and why."""
    policy, (item,) = check(folder)
    assert policy is None
    assert item.code is Code.UNREADABLE
    return item.span.source.name, item.message


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    link = written(tmp_path, a="model: m") / "b.yaml"
    link.symlink_to(tmp_path / "none.yaml")
    message = "the link cannot be read: no such file or directory"
    assert problem_of(tmp_path) == (str(link), message)


def test_a_circular_link_is_an_error(tmp_path: Path) -> None:
    link = written(tmp_path, a="model: m") / "b"
    link.symlink_to(link)
    message = "the link cannot be read: too many levels of symbolic links"
    assert problem_of(tmp_path) == (str(link), message)


def test_a_linked_folder_is_an_error(tmp_path: Path) -> None:
    written(tmp_path / "other", b="forbid: [{when: true}]")
    folder = written(tmp_path / "rules", a="model: m")
    (folder / "more").symlink_to(tmp_path / "other", target_is_directory=True)
    assert problem_of(folder) == (str(folder / "more"), "a linked folder is not read")


def test_a_linked_file_and_a_folder_that_is_a_link_itself_are_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "rules", a="model: m")
    (folder / "b.yaml").symlink_to(written(tmp_path, b="name: linked") / "b.yaml")
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert (load(folder).name, load(tmp_path / "link").model) == ("linked", "m")


def test_what_is_no_regular_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(written(tmp_path, a="model: m") / "b.yaml")
    path = str(tmp_path / "b.yaml")
    assert problem_of(tmp_path) == (path, "this is not a file that can be read")


def test_a_folder_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, a="model: m", sub__b="forbid: [{when: true}]")
    listed = Path.iterdir

    def denied(self: Path) -> Iterator[Path]:
        if self.name == "sub":
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", denied)
    message = "the folder cannot be read: permission denied"
    assert problem_of(folder) == (str(folder / "sub"), message)


def test_every_file_of_a_folder_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, a="model: m", b="name: n", c="modle: x")
    opened = Path.open

    def denied(self: Path, *args: Any, **options: Any) -> Any:
        if self.name in {"a.yaml", "b.yaml"}:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", denied)
    assert codes(folder) == [Code.UNREADABLE, Code.UNREADABLE, Code.UNKNOWN_KEY]


# What ships.


def test_in_a_wheel_the_folders_are_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "policy_router"
    for name in ("rules", "schemas"):
        shutil.copytree(loader.data_folder(name), package / "_data" / name)
    monkeypatch.setattr(loader, "_PACKAGE", package)
    for cached in (loader.schema, loader.profiles):
        cached.cache_clear()
    try:
        assert loader.data_folder("rules") == package / "_data" / "rules"
        assert loader.schema("policy")["title"] == "policy-router policy"
        assert set(loader.profiles()) == {"delegation", "strict", "task-first"}
        assert loads("precedence: strict").precedence[0].reject
    finally:
        for cached in (loader.schema, loader.profiles):
            cached.cache_clear()


def test_in_a_checkout_the_folders_are_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_PACKAGE", tmp_path / "policy_router")
    assert loader.data_folder("schemas") == tmp_path / "schemas"


def test_the_profiles_are_called_by_their_files() -> None:
    assert {name: file for name, (file, _) in loader.profiles().items()} == {
        "delegation": "rules/precedence/delegation.yaml",
        "strict": "rules/precedence/strict.yaml",
        "task-first": "rules/precedence/task-first.yaml",
    }


@each(
    "path",
    # A folder of `examples` is one policy.
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in (
            *(ROOT / "rules").glob("*.yaml"),
            *(ROOT / "rules" / "precedence").glob("*.yaml"),
            *(ROOT / "rules" / "examples").iterdir(),
        )
        if path.is_dir() or path.suffix == ".yaml"
        if not path.stem.endswith("_test")
    ),
)
def test_every_rule_file_that_ships_is_good(path: str) -> None:
    policy, found = check(ROOT / path)
    assert policy is not None
    assert list(found) == []
