"""Files and folders to policies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from policy_router import PolicyError, check, load, loads
from policy_router.diagnostics import Code
from policy_router.policy.yaml import MAX_BYTES
from policy_router.runtime import loader

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


@pytest.mark.parametrize(
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
        a="model: m",
        a_test=wrong,
        sub__b_test=wrong,
        **{".hidden": wrong, ".git__c": wrong, "sub__.d__e": wrong},
    )
    for name in ("readme.md", "a.yaml.bak", "b.json", "c.YAML.txt", "_test.yml"):
        (folder / name).write_text(wrong, encoding="utf-8")
    (folder / "folder.yaml").mkdir()
    assert load(folder).model == "m"


def test_a_file_in_a_hidden_place_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path / ".config" / "rules", a="model: m")
    assert load(folder).model == "m"
    assert load(folder / "a.yaml").model == "m"


def test_a_file_of_tests_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    assert load(written(tmp_path, a_test="model: m") / "a_test.yaml").model == "m"


def test_a_folder_without_rule_files_is_a_diagnostic(tmp_path: Path) -> None:
    written(tmp_path, a_test="model: m")
    policy, (item,) = check(tmp_path)
    assert policy is None
    assert (item.code, item.message) == (Code.NO_RULE_FILES, "the folder holds no rule files")
    assert item.span.source.name == str(tmp_path)


def test_a_link_that_leads_nowhere_is_not_a_rule_file(tmp_path: Path) -> None:
    folder = written(tmp_path, a="model: m")
    (folder / "b.yaml").symlink_to(folder / "none.yaml")
    assert load(folder).model == "m"


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


@pytest.mark.parametrize(
    "path",
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "rules").rglob("*.yaml")
        if not path.stem.endswith("_test")
    ),
)
def test_every_rule_file_that_ships_is_good(path: str) -> None:
    policy, found = check(ROOT / path)
    assert policy is not None
    assert list(found) == []
