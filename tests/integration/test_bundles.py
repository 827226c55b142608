"""Bundles: what is taken as one and what is not, and a service that lives on them."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import random
import signal
import socket
import stat
import threading
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from policy_router import load
from policy_router.errors import RequestError
from policy_router.log.sign.keys import SignatureError, Signer, new_signer
from policy_router.log.sign.notes import Checkpoint, sign
from policy_router.log.used_policy import UsedPolicy
from policy_router.server import fetching
from policy_router.server.bundles import MAX_BYTES, Bundles, build, read
from tests.integration.test_service import POLICY
from tests.integration.test_service_operation import Load, admin, served
from tests.support.commands import WARNS, WRONG, Ran, in_this_process, write
from tests.support.service import SECONDS, Service, lines_of, until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX only")

SIGNER: Final = new_signer("rules.example.com")
OTHER: Final = new_signer("rules.example.com")
CHANGED: Final = POLICY.replace("small-model", "tiny-model")
NEWER: Final = POLICY.replace("small-model", "mini-model")

Member = tuple[str | zipfile.ZipInfo, bytes]


FAILING: Final = "tests: [{name: the default, expect: {entry: large}}]\n"
PASSING: Final = FAILING.replace("large", "small")


def manifest(
    files: dict[str, bytes], serial: int = 10, signer: Signer = SIGNER, *, more: str = ""
) -> bytes:
    sums = "".join(f"{sha256(held).hexdigest()} {name}\n" for name, held in files.items())
    text = f"policy-router bundle v1\nserial {serial}\nname acme\n{more}{sums}"
    return sign(text, signer).encode()


def zipped(*members: Member, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(held, "w") as archive:
        warnings.simplefilter("ignore")  # a name that comes twice
        for name, content in members:
            archive.writestr(name, content, how)
    return held.getvalue()


def bundle(
    text: str = POLICY, serial: int = 10, signer: Signer = SIGNER, name: str = "policy.yaml"
) -> bytes:
    files = {name: text.encode()}
    return zipped(("manifest", manifest(files, serial, signer)), *files.items())


def called(name: str) -> bytes:
    """Return a bundle with one file, whose name is signed."""
    return bundle(name=name)


def of_kind(kind: int) -> bytes:
    """Return a bundle with a file that its ZIP says is of another kind."""
    info = zipfile.ZipInfo("policy.yaml")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    target = b"/etc/passwd"
    return zipped(("manifest", manifest({"policy.yaml": target})), (info, target))


def with_size(content: bytes, size: int) -> bytes:
    """Return a bundle whose ZIP says another size of its last file."""
    changed = bytearray(content)
    for head, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.rindex(head) + place
        changed[start : start + 4] = size.to_bytes(4, "little")
    return bytes(changed)


def with_flag(content: bytes, flag: int) -> bytes:
    """Return a bundle whose ZIP sets a flag for each file."""
    changed = bytearray(content)
    for head, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(head)
        while start >= 0:
            changed[start + place] |= flag
            start = content.find(head, start + 1)
    return bytes(changed)


def renamed(content: bytes, name: bytes, other: bytes) -> bytes:
    """Return a bundle whose ZIP calls a file in another way, which zipfile would not write."""
    start = content.index(b"PK\x01\x02")
    return content[:start] + content[start:].replace(name, other)


RULES: Final = {"policy.yaml": POLICY.encode()}
GOOD: Final = ("manifest", manifest(RULES))
ZEROS: Final = b"\0" * (MAX_BYTES + 1)

BAD: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "nothing": (lambda: b"", "malformed bundle"),
    "a rule file": (POLICY.encode, "malformed bundle"),
    "half of one": (lambda: bundle()[:-40], "malformed bundle"),
    "too long": (lambda: bundle() + ZEROS, "at most 16,777,216 bytes"),
    "no manifest": (lambda: zipped(*RULES.items()), "no manifest"),
    "unsigned": (
        lambda: zipped(("manifest", GOOD[1].partition(b"\n\n")[0] + b"\n"), *RULES.items()),
        "malformed note",
    ),
    "of another key": (lambda: bundle(signer=OTHER), "no signature by"),
    "of another name": (
        lambda: bundle(signer=Signer("other", SIGNER.key)),
        "no signature by",
    ),
    "another serial": (
        lambda: zipped(("manifest", GOOD[1].replace(b"serial 10", b"serial 99")), *RULES.items()),
        "is not one of this text",
    ),
    "a checkpoint": (
        lambda: zipped(
            (
                "manifest",
                sign(
                    Checkpoint("policy-router bundle v1", 1, b"0" * 32).to_text(), SIGNER
                ).encode(),
            ),
            *RULES.items(),
        ),
        "malformed manifest",
    ),
    "no files": (lambda: zipped(("manifest", manifest({}))), "malformed manifest"),
    "a tampered file": (
        lambda: zipped(GOOD, ("policy.yaml", CHANGED.encode())),
        "`policy.yaml` is not the one that was signed",
    ),
    "an extra file": (
        lambda: zipped(GOOD, *RULES.items(), ("z.yaml", b"version: 1\n")),
        "the file `z.yaml` is not signed",
    ),
    "a missing file": (lambda: zipped(GOOD), "the file `policy.yaml` is missing"),
    "a name twice": (
        lambda: zipped(GOOD, *RULES.items(), ("policy.yaml", CHANGED.encode())),
        "two files are called `policy.yaml`",
    ),
    "two manifests": (
        lambda: zipped(GOOD, GOOD, *RULES.items()),
        "two files are called `manifest`",
    ),
    "a link": (lambda: of_kind(stat.S_IFLNK), "is not a plain file"),
    "a device": (lambda: of_kind(stat.S_IFCHR), "is not a plain file"),
    "a folder": (lambda: zipped(GOOD, *RULES.items(), ("rules/", b"")), "can be called `rules/`"),
    "above": (lambda: called("../policy.yaml"), "can be called `../policy.yaml`"),
    "above within": (lambda: called("a/../../policy.yaml"), "can be called"),
    "absolute": (lambda: called("/etc/policy.yaml"), "can be called `/etc/policy.yaml`"),
    "of a drive": (lambda: called("C:/policy.yaml"), "can be called"),
    "backslashes": (lambda: called("..\\policy.yaml"), "can be called"),
    "an empty part": (lambda: called("a//policy.yaml"), "can be called"),
    "a zero byte": (lambda: renamed(bundle(), b"policy.yaml", b"policy.yam\0"), "can be called"),
    "hidden": (lambda: called("rules/.policy.yaml"), "can be called"),
    "no rule file": (lambda: called("policy.txt"), "can be called"),
    "a bomb": (
        lambda: zipped(("manifest", manifest({"a.yaml": ZEROS})), ("a.yaml", ZEROS)),
        "more than 16,777,216 bytes together",
    ),
    "a bomb that lies": (
        lambda: with_size(
            zipped(("manifest", manifest({"a.yaml": ZEROS})), ("a.yaml", 3 * ZEROS)), 10
        ),
        "malformed bundle: BadZipFile",
    ),
    "bombs together": (
        lambda: zipped(
            ("manifest", manifest({"a.yaml": ZEROS[:9_000_000], "b.yaml": ZEROS[:9_000_000]})),
            *(("a.yaml", ZEROS[:9_000_000]), ("b.yaml", ZEROS[:9_000_000])),
        ),
        "more than 16,777,216 bytes together",
    ),
    "too many files": (
        lambda: zipped(GOOD, *((f"{number}.yaml", b"") for number in range(10_001))),
        "at most 16,777,216 bytes and 10,000 files",
    ),
    "encrypted": (lambda: with_flag(bundle(), 1), "is encrypted"),
    "another compression": (
        lambda: zipped(GOOD, *RULES.items(), how=zipfile.ZIP_LZMA),
        "compressed in an unknown way",
    ),
}


@functools.cache
def bad(name: str) -> bytes:
    return BAD[name][0]()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rules = tmp_path / "rules"
    rules.mkdir()
    write(rules, policy_yaml=POLICY)
    public = f"{SIGNER.verifier().encoded()}\n"
    write(tmp_path, key=f"{SIGNER.encoded()}\n", key_pub=public, policy_bundle=bundle())
    return tmp_path


def run(folder: Path, words: str) -> Ran:
    return in_this_process(*words.split(), cwd=folder)


# What is a bundle, and what is none.


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_good_bundle_is_refused_in_little_memory(name: str) -> None:
    content, said = bad(name), BAD[name][1]
    tracemalloc.start()
    try:
        with pytest.raises(SignatureError) as caught:
            read(content, SIGNER.verifier())
        assert tracemalloc.get_traced_memory()[1] < 24 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.stress
def test_no_changed_byte_changes_what_is_read() -> None:
    chance, content = random.Random(15), bundle()  # noqa: S311 - the same each time
    good, refused = read(content, SIGNER.verifier()), 0
    for _ in range(2000):
        changed = bytearray(content)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.3:
            del changed[chance.randrange(len(changed)) :]
        try:
            assert read(bytes(changed), SIGNER.verifier()) == good
        except SignatureError:
            refused += 1
    assert refused > 1000


def test_a_bundle_of_the_same_files_and_serial_is_the_same_bytes(folder: Path) -> None:
    (folder / "rules" / "more").mkdir()
    write(folder / "rules" / "more", pool_yml="variables: {hard: task.kind == 'coding'}\n")
    write(folder / "rules", notes_txt="no rule file")
    (folder / "rules" / "policy_test.yaml").write_text("tests: []")
    made = build(folder / "rules", SIGNER, 7)
    for path in (folder / "rules").rglob("*.y*ml"):
        os.utime(path, (1, 1))
    assert build(folder / "rules", SIGNER, 7) == made
    found = read(made, SIGNER.verifier())
    assert (found.serial, found.name) == (7, "rules")
    assert [name for name, _ in found.files] == ["more/pool.yml", "policy.yaml", "policy_test.yaml"]
    assert found.policy().revision == load(folder / "rules").revision


@pytest.mark.parametrize("name", ["a\nb.yaml", "a:b.yaml", "a\\b.yaml", "\udcff.yaml"])
def test_a_name_that_no_bundle_can_hold_is_not_put_into_one(folder: Path, name: str) -> None:
    (folder / "rules" / name).write_text("variables: {}\n")
    with pytest.raises(SignatureError):
        build(folder / "rules", SIGNER, 7)


def test_more_than_16_mib_are_not_put_into_one(folder: Path) -> None:
    for number in range(17):
        (folder / "rules" / f"{number}.yaml").write_bytes(b" " * 1024 * 1024)
    with pytest.raises(SignatureError, match="more than 16,777,216 bytes"):
        build(folder / "rules", SIGNER, 7)


# The commands.


@pytest.mark.slow
def test_what_is_built_verifies(folder: Path) -> None:
    made = run(folder, "bundle build rules --key key -o made.bundle --serial 7")
    assert (made.code, made.err) == (0, "")
    assert made.out.startswith("wrote made.bundle: 1 file of acme, serial 7\n")
    said = run(folder, "bundle verify made.bundle --key key.pub")
    assert said.code == 0
    assert said.out.splitlines() == [
        f"rules, serial 7, signed with {SIGNER.verifier().title}",
        f"{len(POLICY):>12,}  policy.yaml",
    ]
    (folder / "made.bundle").write_bytes(bad("a tampered file"))
    said = run(folder, "bundle verify made.bundle --key key.pub")
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "policy-router: made.bundle: the file `policy.yaml` is not the one that was signed\n"
    )


@pytest.mark.slow
def test_a_bundle_says_the_commit_of_its_files(folder: Path) -> None:
    words = "--key key -o made.bundle --serial 7 --origin-commit"
    assert run(folder, f"bundle build rules {words} 4f2a91c").code == 0
    said = run(folder, "bundle verify made.bundle --key key.pub")
    told = f"rules, serial 7, from commit 4f2a91c, signed with {SIGNER.verifier().title}"
    assert said.out.splitlines()[0] == told
    refused = run(folder, f"bundle build rules {words} a/b")
    assert (refused.code, "--origin-commit" in refused.err) == (2, True)
    for more in ("commit a b\n", "commit \n", "commit a\ncommit b\n", "other a\n"):
        held = {"policy.yaml": POLICY.encode()}
        with pytest.raises(SignatureError, match="malformed manifest"):
            read(zipped(("manifest", manifest(held, more=more)), *held.items()), SIGNER.verifier())


def listed(client: httpx.Client) -> str | None:
    """Return the page of policies once there is an index."""
    answer = client.get("/pages/policies")
    return answer.text if answer.status_code == 200 else None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.stress)])
def test_the_bundle_that_decides_is_told_and_logged(folder: Path, workers: int) -> None:
    def committed(text: str, serial: int) -> bytes:
        held = {"policy.yaml": text.encode()}
        note = manifest(held, serial, more=f"commit c{serial}\n")
        return zipped(("manifest", note), *held.items())

    def told() -> dict[str, Any]:
        found: dict[str, Any] = client.get("/v1/policy").json()["bundle"]
        return found

    put(folder, committed(POLICY, 10))
    with bundled(folder, "--workers", str(workers), "--log", "log") as (_, client):
        assert told() == {"serial": 10, "commit": "c10"}
        assert ", bundle 10</span>" in until(lambda: listed(client))
        model(client)
        put(folder, committed(CHANGED, 11))
        until(lambda: model(client) == "tiny-model" and told()["serial"] == 11)
        put(folder, bundle(CHANGED, 12))  # the same rules, of a bundle that says no commit
        until(lambda: all(told() == {"serial": 12, "commit": None} for _ in range(8)))
    used = [it.entry.policy for it in lines_of(folder / "log") if it.entry.kind == "policy"]
    commits = [it.origin_commit for it in used if isinstance(it, UsedPolicy)]
    assert set(commits) == {"c10", "c11"}


@pytest.mark.slow
def test_the_serial_is_the_time_unless_it_is_given(folder: Path) -> None:
    assert run(folder, "bundle build rules --key key -o made.bundle -q").out == ""
    serial = read((folder / "made.bundle").read_bytes(), SIGNER.verifier()).serial
    assert 0 <= (folder / "made.bundle").stat().st_mtime - serial < 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("rules --key key.pub", 2, "not a private key"),
        ("rules --key missing", 2, "missing: cannot be read"),
        ("rules --key key --serial -1", 2, "a whole number"),
        ("rules --key key --serial 1000000000000000000", 2, "a whole number"),
        ("missing --key key", 2, "there is no file or folder missing"),
        ("rules/policy.yaml --key key", 2, "expected a folder of rule files"),
        ("linked --key key", 2, "a link is not put into a bundle"),
        ("wrong --key key", 1, "unknown name `tsk`"),
        ("warns --key key --strict", 1, "has warnings"),
        ("untested --key key", 1, "the test `the default` fails: entry: expected `large`"),
    ],
)
def test_what_cannot_be_built_leaves_no_file(
    folder: Path, words: str, code: int, said: str
) -> None:
    for name, text in (("wrong", WRONG), ("warns", WARNS), ("untested", POLICY)):
        (folder / name).mkdir()
        write(folder / name, policy_yaml=text)
    (folder / "untested" / "all_test.yaml").write_text(FAILING)
    (folder / "linked").mkdir()
    (folder / "linked" / "policy.yaml").symlink_to(folder / "rules" / "policy.yaml")
    ran = run(folder, f"bundle build {words} -o made.bundle")
    assert ran.code == code, ran.err
    assert said in ran.err
    assert not (folder / "made.bundle").exists()
    assert SIGNER.encoded() not in ran.err


# The service, with a file.


WORDS: Final = ("--policy-key", "key.pub", "--policy-state", "state")


def put(folder: Path, content: bytes) -> None:
    """Put a bundle in the place of the one that is served, at once."""
    (folder / "new").write_bytes(content)
    (folder / "new").rename(folder / "policy.bundle")


@contextmanager
def bundled(
    folder: Path, *words: str, policy: str = "policy.bundle"
) -> Iterator[tuple[Service, httpx.Client]]:
    place = f"unix:{folder / 'service.sock'}"
    with Service(folder, *WORDS, *words, policy=policy, listen=place) as service:
        yield service, admin(folder, service)


def model(client: httpx.Client) -> str:
    answer = client.post("/v1/decide", json={})
    assert answer.status_code == 200
    return str(answer.json()["record"]["decision"]["target"]["model"])


def reloaded(client: httpx.Client) -> dict[str, Any]:
    """Return what became of a reload; one of a busy machine is asked for again."""

    def answered() -> httpx.Response | None:
        answer = client.post("/v1/policy/reload")
        assert answer.status_code in {200, 202, 409}
        return answer if answer.status_code != 202 else None

    said: dict[str, Any] = until(answered).json()
    return said


def refused(folder: Path, words: str) -> str:
    """Return what a service says that does not start."""
    ran = run(folder, f"serve {words} --listen 127.0.0.1:0")
    assert (ran.code, ran.out) == (2, ""), ran.err
    return ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("policy.bundle", "only with --policy-key"),
        ("http://127.0.0.1:9/policy.bundle", "only with --policy-key"),
        ("policy.bundle --policy-key key.pub", "--policy-state DIR"),
        ("policy.bundle --policy-key missing --log log", "missing: cannot be read"),
        ("policy.bundle --policy-key rules/policy.yaml --log log", "malformed key"),
        ("rules --policy-key key.pub --log log", "expected a signed bundle, found a folder"),
        ("rules/policy.yaml --policy-key key.pub --log log", "malformed bundle"),
        ("other.bundle --policy-key key.pub --log log", "no signature by"),
        ("missing --policy-key key.pub --log log", "cannot get a bundle"),
        ("http://rules.example.com/b --policy-key key.pub --log log", "https://"),
        ("https://ada:secret@127.0.0.1/b --policy-key key.pub --log log", "https://127.0.0.1/b:"),
        ("http://127.0.0.1:9/b?secret --policy-key key.pub --log log", "http://127.0.0.1:9/b:"),
        ("https://127.0.0.1:99999/b --policy-key key.pub --log log", "no address"),
        ("https://[::1/b --policy-key key.pub --log log", "no address"),
        ("ftp://127.0.0.1/b --policy-key key.pub --log log", "https://"),
        ("file:///etc/passwd --policy-key key.pub --log log", "https://"),
    ],
)
def test_a_service_starts_with_nothing_but_a_bundle_of_the_key(
    folder: Path, words: str, said: str
) -> None:
    write(folder, other_bundle=bundle(signer=OTHER))
    told = refused(folder, words)
    assert said in told
    assert "secret" not in told
    assert not (folder / "log.policy" / "good.bundle").exists()


def has_said(service: Service, text: str) -> bool:
    return any(text in line for line in service.said)


def hold_to_refusals(folder: Path, names: list[str]) -> None:
    """Let a service meet bundles that are no good, and look at what it does."""
    with bundled(folder) as (service, client):
        active = client.get("/v1/policy").json()["revision"]
        for name in names:
            put(folder, bad(name))
            said = reloaded(client)
            assert (said["outcome"], said["active"]) == ("rejected", active)
            assert BAD[name][1] in said["reason"]
            assert client.get("/v1/policy").json()["rejected"]["reason"] == said["reason"]
            assert model(client) == "small-model"
            until(functools.partial(has_said, service, BAD[name][1]))
        put(folder, bundle(CHANGED, 11))
        assert reloaded(client)["outcome"] in {"active", "unchanged"}
        assert "rejected" not in client.get("/v1/policy").json()
        assert model(client) == "tiny-model"


def with_tests(text: str, tests: str, serial: int) -> bytes:
    """Return a bundle with a suite about all of it, and one about nothing that is in it."""
    other = b"policy: ../other.yaml\n" + FAILING.encode()
    files = {"policy.yaml": text.encode(), "all_test.yaml": tests.encode(), "x/y_test.yaml": other}
    return zipped(("manifest", manifest(files, serial)), *files.items())


@pytest.mark.slow
def test_the_tests_in_a_bundle_are_run_before_it_decides(folder: Path) -> None:
    with bundled(folder) as (_, client):
        put(folder, with_tests(CHANGED, FAILING, 11))
        said = reloaded(client)
        assert (said["outcome"], model(client)) == ("rejected", "small-model")
        assert said["reason"] == (
            "all_test.yaml:1:16: the test `the default` fails:"
            " entry: expected `large`, found `small`"
        )
        put(folder, with_tests(CHANGED, PASSING, 12))
        assert reloaded(client)["outcome"] == "active"
        assert model(client) == "tiny-model"


@pytest.mark.slow
def test_a_bundle_that_is_no_good_is_not_used(folder: Path) -> None:
    hold_to_refusals(folder, ["a tampered file", "a bomb that lies"])


@pytest.mark.stress
@pytest.mark.timeout(180)
def test_no_bundle_that_is_no_good_is_used(folder: Path) -> None:
    known = ("unsigned", "of another key", "another serial", "an extra file", "a missing file")
    hold_to_refusals(folder, [*known, "a link", "above", "absolute", "a name twice", "a bomb"])


@pytest.mark.stress
def test_a_file_is_watched_and_its_policy_is_checked(folder: Path) -> None:
    with bundled(folder, "--strict") as (_, client):
        put(folder, bundle(CHANGED, 11))
        until(lambda: model(client) == "tiny-model")
        put(folder, bundle(WRONG, 12))
        until(lambda: "rejected" in client.get("/v1/policy").json())
        found = client.get("/v1/policy").json()["rejected"]["diagnostics"][0]
        assert (found["file"], found["message"]) == ("policy.yaml", "unknown name `tsk`")
        put(folder, bundle(WARNS, 13))
        assert reloaded(client)["outcome"] == "rejected"
        put(folder, bundle(NEWER, 12))  # what was not good has used up no serial
        assert reloaded(client)["bundle"]["serial"] == 12
        assert model(client) == "mini-model"


@pytest.mark.stress
@pytest.mark.slow
def test_no_older_serial_is_taken_nor_after_a_restart(folder: Path) -> None:
    with bundled(folder) as (_, client):
        put(folder, bundle(CHANGED, 9))
        assert reloaded(client)["reason"] == "its serial 9 is older than 10"
        put(folder, bundle(CHANGED, 10))
        assert reloaded(client)["reason"] == "another bundle had its serial 10 already"
        put(folder, bundle(POLICY, 10))
        assert reloaded(client)["outcome"] == "unchanged"
        assert "rejected" not in client.get("/v1/policy").json()
        put(folder, bundle(CHANGED, 11))
        reloaded(client)
        assert model(client) == "tiny-model"
    put(folder, bundle(POLICY, 10))
    with bundled(folder) as (service, client):
        assert model(client) == "tiny-model"
        assert any("its serial 10 is older than 11" in line for line in service.said)
        until(lambda: "rejected" in client.get("/v1/policy").json())
        reason = client.get("/v1/policy").json()["rejected"]["reason"]
        assert reason == "its serial 10 is older than 11"
    assert sorted(path.name for path in (folder / "state").iterdir()) == [
        "candidate.bundle",
        "good.bundle",
    ]


@pytest.mark.stress
def test_another_key_is_taken_at_a_restart_and_the_highest_serial_stays(folder: Path) -> None:
    with bundled(folder) as (_, client):
        assert model(client) == "small-model"
    write(folder, key_pub=OTHER.verifier().encoded())
    words = f"policy.bundle {' '.join(WORDS)}"
    assert "no signature by" in refused(folder, words)
    put(folder, bundle(CHANGED, 9, OTHER))
    assert "its serial 9 is older than 10" in refused(folder, words)
    put(folder, bundle(CHANGED, 11, OTHER))
    with bundled(folder) as (_, client):
        assert model(client) == "tiny-model"


@pytest.mark.stress
def test_nothing_new_decides_where_the_highest_serial_cannot_be_read_or_stored(
    folder: Path,
) -> None:
    with bundled(folder) as (_, client):
        kept = (folder / "state" / "good.bundle").read_bytes()
        put(folder, bundle(CHANGED, 11))
        (folder / "state" / "good.bundle").write_bytes(kept[:-30])
        assert "the highest serial is not known" in reloaded(client)["reason"]
        (folder / "state" / "good.bundle").write_bytes(kept)
        (folder / "state" / "candidate.bundle").unlink(missing_ok=True)
        (folder / "state" / "candidate.bundle").mkdir()  # so that it cannot be written
        assert "cannot get a bundle" in reloaded(client)["reason"]
        assert model(client) == "small-model"
    (folder / "state" / "candidate.bundle").rmdir()
    (folder / "state" / "good.bundle").write_bytes(b"")
    words = f"policy.bundle {' '.join(WORDS)}"
    assert "the highest serial is not known" in refused(folder, words)


@pytest.mark.stress
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_under_load_loses_nothing(folder: Path, workers: int) -> None:
    with (
        bundled(folder, "--workers", str(workers), "--log", "log") as (service, client),
        Load(lambda: admin(folder, service), 2) as asked,
    ):
        until(lambda: len(asked.answers) > 20)
        for serial, text, name in ((11, CHANGED, "tiny-model"), (12, NEWER, "mini-model")):
            put(folder, bundle(text, serial))
            until(lambda name=name: model(client) == name)  # type: ignore[misc]
            put(folder, bad("a tampered file"))
            assert client.post("/v1/policy/reload").status_code in {202, 409}
    assert asked.failures == []
    assert {answer.status_code for answer in asked.answers} == {200}
    found = [answer.json()["record"]["decision"]["target"]["model"] for answer in asked.answers]
    assert {*found} == {"small-model", "tiny-model", "mini-model"}


# The service, with an address.


class Published:
    """A web server of this machine that has a bundle, and says so by its ETag."""

    def __init__(self, content: bytes) -> None:
        self.content, self.tag = content, '"1"'
        self.status, self.cut = 200, 0
        self.asked: list[tuple[str | None, int]] = []
        published = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tag = self.headers["If-None-Match"]
                same = bool(published.tag) and tag == published.tag
                status = 304 if same and published.status == 200 else published.status
                published.asked.append((tag, status))
                self.send_response(status)
                self.send_header("ETag", published.tag)
                self.send_header("Location", "/policy.bundle")
                body = published.content if status == 200 else b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - published.cut])

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.handler = Handler
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/policy.bundle"
        self.start()

    def start(self) -> None:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, content: bytes, tag: str) -> None:
        self.content, self.tag = content, tag

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def again(self) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.start()


@pytest.fixture
def published() -> Iterator[Published]:
    it = Published(bundle())
    yield it
    it.stop()


def polled(folder: Path) -> tuple[str, ...]:
    write(folder, serve_json=json.dumps({"policy_poll": "100ms"}))
    return ("--config", "serve.json")


@pytest.mark.stress
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_address_is_asked_again_with_its_etag(
    folder: Path, published: Published, workers: int
) -> None:
    words = (*polled(folder), "--workers", str(workers))
    with bundled(folder, *words, policy=published.url) as (service, client):
        until(lambda: published.asked.count(('"1"', 304)) > 2)
        assert published.asked.count((None, 200)) == 1
        published.put(bundle(CHANGED, 11), '"2"')
        until(lambda: model(client) == "tiny-model")
        until(lambda: published.asked.count(('"2"', 304)) > 1)
        assert published.asked.count(('"1"', 200)) == 1
        published.put(bad("a tampered file"), '"3"')
        until(lambda: "rejected" in client.get("/v1/policy").json())
        until(lambda: published.asked.count(('"3"', 304)) > 1)  # it is not got again
        assert "was signed" in client.get("/v1/policy").json()["rejected"]["reason"]
        assert published.asked.count(('"2"', 200)) == 1
        assert reloaded(client)["outcome"] == "rejected"  # told to, it gets it again
        assert published.asked.count((None, 200)) == 2
        os.kill(service.process.pid, signal.SIGHUP)
        until(lambda: published.asked.count((None, 200)) == 3)
        published.put(bundle(NEWER, 12), '"4"')
        until(lambda: model(client) == "mini-model")
        until(lambda: "rejected" not in client.get("/v1/policy").json())


@pytest.mark.stress
def test_an_address_that_does_not_answer_changes_nothing_and_is_told(
    folder: Path, published: Published
) -> None:
    with bundled(folder, *polled(folder), policy=published.url) as (service, client):

        def reason() -> str:
            return str(client.get("/v1/policy").json().get("rejected", {}).get("reason", ""))

        for status, said in ((302, "redirect"), (404, "404"), (500, "500")):
            published.status = status
            until(lambda said=said: said in reason())  # type: ignore[misc]
        published.status = 200
        until(lambda: reason() == "")
        published.cut = 9
        newest = bundle(CHANGED, 11)
        published.put(newest, '"2"')
        until(lambda: "ends too early" in reason())
        published.cut = 0
        until(lambda: model(client) == "tiny-model")
        published.put(bundle() + ZEROS, "")
        until(lambda: "longer than" in reason())
        published.put(newest, "")  # without a tag it is known by its content
        until(lambda: reason() == "")
        loads, asked = sum("loaded again" in line for line in service.said), len(published.asked)
        until(lambda: len(published.asked) > asked + 4)
        assert sum("loaded again" in line for line in service.said) == loads
        published.stop()
        until(lambda: "refused" in reason())
        assert model(client) == "tiny-model"
        published.again()
        until(lambda: reason() == "")


@pytest.mark.stress
@pytest.mark.slow
def test_the_last_good_bundle_decides_where_the_address_is_down_at_the_start(
    folder: Path, published: Published
) -> None:
    published.stop()
    words = f"{published.url} {' '.join(WORDS)}"
    assert "cannot get a bundle" in refused(folder, words)
    published.again()
    with bundled(folder, *polled(folder), policy=published.url) as (_, client):
        assert model(client) == "small-model"
    published.stop()
    with bundled(folder, *polled(folder), policy=published.url) as (service, client):
        assert model(client) == "small-model"
        assert any("the last good bundle decides" in line for line in service.said)
        until(lambda: "rejected" in client.get("/v1/policy").json())
        published.put(bundle(CHANGED, 11), '"2"')
        published.again()
        until(lambda: model(client) == "tiny-model")
        assert "rejected" not in client.get("/v1/policy").json()


@pytest.mark.slow
def test_a_redirect_is_not_followed_at_the_start(folder: Path, published: Published) -> None:
    published.status = 302
    assert "redirect" in refused(folder, f"{published.url} {' '.join(WORDS)}")
    assert len(published.asked) == 1


@pytest.mark.stress
def test_a_service_without_the_key_takes_no_bundle_later_either(folder: Path) -> None:
    write(folder, policy_yaml=POLICY)
    with served(folder) as (_, client):
        (folder / "new").write_bytes(bundle(CHANGED, 11))
        (folder / "new").rename(folder / "policy.yaml")
        assert reloaded(client)["outcome"] == "rejected"
        assert model(client) == "small-model"


# What comes from an address, whatever answers there.


@contextmanager
def answering(*parts: bytes) -> Iterator[str]:
    """Let a socket answer with some bytes, a moment between them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            link, _ = listener.accept()
            with link, suppress(OSError):  # whoever asks may have gone
                link.recv(65536)
                for part in parts:
                    link.sendall(part)
                    time.sleep(0.1)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/policy.bundle"
        thread.join(SECONDS)


HEAD: Final = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((b"SSH-2.0\r\n",), "no HTTP (BadStatusLine)"),
        ((), "no HTTP (RemoteDisconnected)"),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",), "no HTTP (IncompleteRead)"),
        ((HEAD + b"Content-Length: 9\r\n\r\n", *[b"a"] * 9), "longer than 0.3 seconds"),
        ((HEAD + b"\r\n", b"a" * 101), "longer than 100 bytes"),
        ((b"HTTP/1.1 304 Same\r\n\r\n",), "the answer is 304"),  # nothing was there already
    ],
)
def test_no_answer_but_a_whole_one_in_time_is_taken(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...], said: str
) -> None:
    monkeypatch.setattr(fetching, "_SECONDS", 0.3)
    with answering(*parts) as url:
        with pytest.raises((OSError, ValueError)) as caught:
            fetching.fetch(url, 100)
        assert isinstance(caught.value, OSError | ValueError)
        assert said in fetching.why(caught.value)


def test_a_candidate_that_is_gone_is_not_kept(folder: Path) -> None:
    place = str(folder / "policy.bundle")
    bundles = Bundles(place, SIGNER.verifier(), folder / "state", 1)
    policy, _, problem = bundles.first(strict=False)
    assert (policy.name, problem) == ("acme", None)
    with pytest.raises(RequestError, match="no such file"):
        bundles.keep(11, "0" * 64)
