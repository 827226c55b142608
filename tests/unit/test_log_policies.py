"""Policies are kept beside the log by their content, and loaded only if they are what they were."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from policy_router import Policy, decide, load, loads
from policy_router.errors import RecordError
from policy_router.log import policies as policies_module
from policy_router.log.files import write_whole
from policy_router.log.folder import LogFolder
from policy_router.log.policies import PolicyStore, digest
from tests.support.log_chain import NOW, everything, policy_of, record_of

POLICY = policy_of()
KEY = "sk-ant-api03-PLANTED0123456789abcdef"
NOBODY = 65534
PLAIN = """\
model: small  # the default
provider: main
pool: [{model: small}]
precedence: strict
"""


def store_in(folder: Path) -> PolicyStore:
    return PolicyStore(LogFolder(folder))


def kept(folder: Path, policy: Policy) -> PolicyStore:
    """Return a store that holds a policy."""
    store = store_in(folder)
    store.keep(policy)
    return store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def written(store: PolicyStore, policy: Policy) -> list[Path]:
    """Return the rule files of a policy as they were written."""
    folder = store.path(policy.revision).with_suffix("")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def two_files(folder: Path, comment: str = "one") -> Policy:
    """Return a policy of two rule files."""
    folder.mkdir(exist_ok=True)
    (folder / "a.yaml").write_text(f"model: small  # {comment}\nprovider: main\nname: two\n")
    (folder / "b.yaml").write_text("pool: [{model: small}]\nprecedence: strict\n")
    return load(folder)


# Keeping.


def test_a_policy_is_kept_in_canonical_form_under_its_revision(tmp_path: Path) -> None:
    store = kept(tmp_path, POLICY)
    path = store.path(POLICY.revision)
    assert path == tmp_path / "policies" / f"{POLICY.revision}.json"
    assert path.read_bytes() == POLICY.canonical
    assert POLICY.revision == f"sha256:{hashlib.sha256(POLICY.canonical).hexdigest()}"
    assert digest(POLICY.canonical) == POLICY.revision


def test_a_policy_that_is_kept_is_not_written_again(tmp_path: Path) -> None:
    store = kept(tmp_path, POLICY)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    store.keep(POLICY)
    kept(tmp_path, policy_of())
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 10], ids=["empty", "other", "NUL"])
def test_a_kept_policy_that_was_changed_is_kept_again(tmp_path: Path, content: bytes) -> None:
    store = kept(tmp_path, POLICY)
    store.path(POLICY.revision).write_bytes(content)
    assert store.altered() == [f"{POLICY.revision}.json"]
    store.keep(POLICY)
    assert store.altered() == []
    assert store.load(POLICY.revision).revision == POLICY.revision


def test_rule_files_are_kept_as_they_were_written_and_in_order(tmp_path: Path) -> None:
    policy = two_files(tmp_path / "rules")
    store = kept(tmp_path / "log", policy)
    files = written(store, policy)
    assert [path.name for path in files] == ["000-a.yaml", "001-b.yaml"]
    for path in files:
        assert path.read_text() == (tmp_path / "rules" / path.name[4:]).read_text()
    assert files[0].parent.parent == store.path(policy.revision).with_suffix("")


def test_each_way_to_write_a_policy_is_kept(tmp_path: Path) -> None:
    one, two = two_files(tmp_path / "1"), two_files(tmp_path / "2", "another comment")
    other_name = load(tmp_path / "1/a.yaml").revision
    assert one.revision == two.revision != other_name
    store = kept(tmp_path / "log", one)
    store.keep(two)
    assert len(written(store, one)) == 4
    assert len(list((tmp_path / "log/policies").glob("*.json"))) == 1


def test_rule_files_that_were_kept_in_part_are_kept_again(tmp_path: Path) -> None:
    policy = two_files(tmp_path / "rules")
    store = kept(tmp_path / "log", policy)
    written(store, policy)[1].unlink()
    store.keep(policy)
    assert [path.name for path in written(store, policy)] == ["000-a.yaml", "001-b.yaml"]


def test_rule_files_for_which_there_was_no_space_are_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = two_files(tmp_path / "rules")
    count = iter(range(10))

    def fail(path: Path, content: bytes) -> None:
        if next(count) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr(policies_module, "write_whole", fail)
    store = store_in(tmp_path / "log")
    with pytest.raises(OSError, match="No space left"):
        store.keep(policy)
    store.keep(policy)
    assert [path.name for path in written(store, policy)] == ["000-a.yaml", "001-b.yaml"]
    assert store.load_as_written(policy.revision).sources[0].text.startswith("model: small  # one")


def test_what_a_killed_process_left_half_written_is_no_rule_file(tmp_path: Path) -> None:
    policy = two_files(tmp_path / "rules")
    store = kept(tmp_path / "log", policy)
    (written(store, policy)[0].parent / ".0123456789abcdef.tmp").write_text("pool: [{mod")
    found = store.load_as_written(policy.revision)
    assert [source.text for source in found.sources] == [source.text for source in policy.sources]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("<policy>", "000-_policy_"),
        ("", "000-"),
        ("..", "000-.."),
        ("/a/b c.yaml", "000-b c.yaml"),
        ("a\x00b\nc:d", "000-a_b_c_d"),
        ("caf\u00e9.yaml", "000-caf\u00e9.yaml"),
        ("\udcff.yaml", "000-_.yaml"),
        ("x" * 300 + ".yaml", "000-" + "x" * 45 + ".yaml"),
    ],
    ids=range(8),
)
def test_a_rule_file_has_a_name_that_any_system_can_have(
    tmp_path: Path, name: str, expected: str
) -> None:
    policy = loads(f"name: x\n{PLAIN}", name=name)
    store = kept(tmp_path, policy)
    assert [path.name for path in written(store, policy)] == [expected]


@pytest.mark.parametrize("character", ["\u9577", "\U00020000"], ids=["3 bytes", "4 bytes"])
def test_a_long_name_of_wide_characters_is_shortened(tmp_path: Path, character: str) -> None:
    policy = loads(PLAIN, name=character * 200)
    (path,) = written(kept(tmp_path, policy), policy)
    assert path.name.startswith("000-")


def test_a_text_that_cannot_be_encoded_is_kept_as_far_as_it_can(tmp_path: Path) -> None:
    policy = loads(PLAIN)
    (source,) = policy.sources
    object.__setattr__(source, "text", source.text + "# \ud800\n")
    (path,) = written(kept(tmp_path, policy), policy)
    assert path.read_text().endswith("# ?\n")


# Secrets.


SECRETS = {
    "a key in a comment": f"# {KEY}\n{PLAIN}",
    "a key behind a value": PLAIN.replace("the default", f"with {KEY}"),
    "a password in a comment": f"# password: {KEY}\n{PLAIN}",
    "an address in a comment": f"# https://me:{KEY}@example.com/\n{PLAIN}",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_a_comment_is_blanked(tmp_path: Path, text: str) -> None:
    policy = loads(text)
    store = kept(tmp_path, policy)
    assert KEY.encode() not in everything(tmp_path)
    assert KEY[7:30].encode() not in everything(tmp_path)
    (path,) = written(store, policy)
    seen = path.read_text()
    assert [len(line) for line in seen.split("\n")] == [len(line) for line in text.split("\n")]
    assert seen.split() == [word for word in seen.split() if word in text]
    assert seen.split("\n")[1:] == text.split("\n")[1:]
    found = store.load_as_written(policy.revision)
    assert (found.revision, found.sources[0].text) == (policy.revision, seen)


def test_where_a_value_is_blanked_the_canonical_form_is_loaded(tmp_path: Path) -> None:
    policy = loads("model: m\nprovider: p\npool: [{model: m, parameters: {prompt_cache_key: x}}]\n")
    store = kept(tmp_path, policy)
    (path,) = written(store, policy)
    assert "{prompt_cache_key:  }" in path.read_text()
    found = store.load_as_written(policy.revision)
    assert found.revision == policy.revision
    assert [source.name for source in found.sources] == [f"{policy.revision}.json"]


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["CRLF", "CR"])
def test_line_ends_stay_as_they_were(tmp_path: Path, end: str) -> None:
    text = f"# password: {KEY}\n{PLAIN}".replace("\n", end)
    policy = loads(text)
    (path,) = written(kept(tmp_path, policy), policy)
    content = path.read_bytes()
    assert content.count(end.encode()) == text.count(end)
    assert b"*" not in content
    assert KEY.encode() not in content


# Loading.


def test_a_kept_policy_decides_the_same(tmp_path: Path) -> None:
    found = kept(tmp_path, POLICY).load(POLICY.revision)
    assert (found.revision, found.name) == (POLICY.revision, POLICY.name)
    for kind in ("", "coding"):
        expected = record_of(POLICY, kind, team="x")
        assert decide(found, dict(expected.request), now=NOW).to_json() == expected.to_json()


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "x",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "G" * 64,
        "sha256:" + "0" * 64 + "\n",
        "../../x",
        "0" * 64,
    ],
)
def test_what_is_no_revision_names_no_policy(tmp_path: Path, revision: str) -> None:
    with pytest.raises(RecordError, match="the record names no revision of a policy"):
        store_in(tmp_path).load(revision)


def test_a_policy_that_is_not_kept_is_an_error(tmp_path: Path) -> None:
    expected = f"^the policy {POLICY.revision[:19]} is not kept: no such file or directory$"
    with pytest.raises(RecordError, match=expected):
        store_in(tmp_path).load(POLICY.revision)


def test_a_policy_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.path(POLICY.revision).mkdir(parents=True)
    with pytest.raises(RecordError, match="is not kept: is a directory"):
        store.load(POLICY.revision)


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    store = kept(tmp_path, POLICY)
    folder, user = tmp_path / "policies", os.geteuid()
    folder.chmod(0)
    try:
        os.seteuid(user or NOBODY)
        with pytest.raises(RecordError, match="is not kept: permission denied"):
            store.load(POLICY.revision)
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


@pytest.mark.parametrize("way", ["load", "load_as_written"])
@pytest.mark.parametrize("content", [b"", b"{}", b"garbage\xff", POLICY.canonical + b" "])
def test_a_policy_that_was_changed_is_an_error(tmp_path: Path, content: bytes, way: str) -> None:
    store = kept(tmp_path, POLICY)
    store.path(POLICY.revision).write_bytes(content)
    with pytest.raises(RecordError, match="is not what it was: its file was changed"):
        getattr(store, way)(POLICY.revision)


@pytest.mark.parametrize("content", [b"", b"{}x", b"\xff\x00", b'{"model":1}'], ids=range(4))
def test_a_policy_with_errors_cannot_be_used(tmp_path: Path, content: bytes) -> None:
    store = store_in(tmp_path)
    path = store.path(digest(content))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert store.altered() == []
    with pytest.raises(RecordError, match="cannot be used: this version finds errors in it"):
        store.load(digest(content))


# As written.


def test_a_policy_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    policy = two_files(tmp_path / "rules")
    found = kept(tmp_path / "log", policy).load_as_written(policy.revision)
    assert found.revision == policy.revision
    assert [source.text for source in found.sources] == [source.text for source in policy.sources]
    assert [Path(source.name).name for source in found.sources] == ["000-a.yaml", "001-b.yaml"]


@pytest.mark.parametrize("damage", ["missing", "changed", "wrong", "a file", "a folder in it"])
def test_without_its_rule_files_the_canonical_form_is_loaded(tmp_path: Path, damage: str) -> None:
    policy = two_files(tmp_path / "rules")
    store = kept(tmp_path / "log", policy)
    files = written(store, policy)
    folder = files[0].parent
    if damage == "changed":
        files[1].write_text("pool: [{model: small}, {model: large}]\nprecedence: strict\n")
    elif damage == "wrong":
        files[1].write_text("pool: 7\n")
    elif damage == "a folder in it":
        (folder / "002-c.yaml").mkdir()
    else:
        for path in files:
            path.unlink()
        folder.rmdir()
        if damage == "a file":
            folder.write_text("mine")
        else:
            folder.parent.rmdir()
    found = store.load_as_written(policy.revision)
    assert found.revision == policy.revision
    assert [source.name for source in found.sources] == [f"{policy.revision}.json"]


def test_of_several_ways_to_write_a_policy_one_that_still_gives_it_is_loaded(
    tmp_path: Path,
) -> None:
    one, two = two_files(tmp_path / "rules"), two_files(tmp_path / "rules", "two")
    store = kept(tmp_path / "log", one)
    store.keep(two)
    first = min({path.parent for path in written(store, one)})
    (first / "000-a.yaml").write_text("model: other\nprovider: main\n")
    found = store.load_as_written(one.revision)
    assert found.revision == one.revision
    assert len(found.sources) == 2


# Where the names of files may hold no colon, and what was altered.


def test_a_log_from_a_system_without_colons_in_names_is_read(tmp_path: Path) -> None:
    store = kept(tmp_path, POLICY)
    plain = store.path(POLICY.revision)
    portable = plain.with_name(plain.name.replace(":", "-"))
    plain.rename(portable)
    plain.with_suffix("").rename(portable.with_suffix(""))
    assert store.path(POLICY.revision) == portable
    assert store.load(POLICY.revision).revision == POLICY.revision
    assert store.load_as_written(POLICY.revision).sources[0].text == POLICY.sources[0].text
    store.keep(POLICY)
    assert not plain.exists()
    assert store.altered() == []


def test_on_a_system_without_colons_in_names_a_dash_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    expected = store.path(POLICY.revision)
    monkeypatch.setattr(os, "name", "nt")
    found = store.path(POLICY.revision)
    monkeypatch.undo()
    assert found == expected.with_name(expected.name.replace(":", "-"))


def test_files_that_do_not_hold_what_they_say_are_named(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.altered() == []
    store.keep(POLICY)
    other = loads(PLAIN)
    store.keep(other)
    assert store.altered() == []
    store.path(other.revision).write_bytes(b"{}")
    (tmp_path / "policies/x.json").write_bytes(b"{}")
    (tmp_path / "policies/y.json").mkdir()
    assert store.altered() == sorted([f"{other.revision}.json", "x.json", "y.json"])
