"""What a key signs, and what it refuses: it remembers, it is handed over, others vouch with it."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog, decide
from policy_router.errors import LogError
from policy_router.log import (
    Accepted,
    NotWholeError,
    SignatureError,
    Signer,
    attest,
    copy_log,
    cosign,
    make_checkpoint,
    prove,
    prove_growth,
    prune,
    publish,
    rotate_key,
    verify,
    verify_growth,
    verify_proof,
)
from policy_router.log.damage import Damage
from policy_router.log.entry import GENESIS, Execution, Kind, Prune
from policy_router.log.folder import LogFolder
from policy_router.log.heads import Head
from policy_router.log.integrity.verify import VerifyReport
from policy_router.log.sign import memory as memory_module
from policy_router.log.sign.merkle import TreeEdge, leaf_hash
from policy_router.log.sign.notes import Checkpoint, cosigned_at, opened, sign, text_of
from policy_router.log.sign.tiles import TileStore
from policy_router.log.write.chain import Chain, Limits
from policy_router.log.write.drafts import Draft
from tests.support.commands import Run
from tests.support.log_auditing import (
    MOMENT,
    NOW,
    SIGNER,
    STRANGER,
    Clock,
    audited,
    id_of,
    lines_of,
    memory_of,
    otherwise,
    policy_of,
    put_lines,
    rewritten,
    segments,
    seq_of,
    sign_log,
)

pytestmark = pytest.mark.usefixtures("counted_lines")

VERIFIER = SIGNER.verifier()
NEXT = Signer("next", b"n" * 32)
WITNESS = Signer("witness.example.com/w1", b"w" * 32)
FAR = 1 << 62


def problems(report: VerifyReport) -> list[tuple[Damage, str]]:
    parts = report.integrity, report.completeness, report.authenticity
    return [(it.damage, it.where) for part in parts for it in part.problems]


def decided(folder: Path, count: int = 1, writer: str = "a") -> None:
    policy = policy_of()
    with DecisionLog(folder, writer=writer) as log:
        for _ in range(count):
            log.decision(policy, decide(policy, {}, now=NOW))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log that was signed."""
    audited(tmp_path / "log")
    sign_log(tmp_path / "log")
    return tmp_path / "log"


# Four ways to let the key of an auditor vouch for a lie.


def test_a_log_that_was_rewritten_without_its_checkpoints_is_not_signed_again(log: Path) -> None:
    """First attack: edit a line, make all hashes anew, and wait for the next checkpoint."""
    rewritten(log, "a", otherwise)
    shutil.rmtree(log / "tree")
    words = (
        r"the tree of the 44 lines that were signed is not there, or damaged"
        r" \(tile/0/000.p/44: no such file or directory\): restore the log, or start a new one"
    )
    with pytest.raises(NotWholeError, match=words):
        make_checkpoint(log, SIGNER, memory=memory_of(log))
    words = "signed a log `auditor` before: --first is wrong; a log that is another one gets a name"
    with pytest.raises(NotWholeError, match=words):
        make_checkpoint(log, SIGNER, memory=memory_of(log), first=True)
    assert not (log / "tree/checkpoint").exists()


def test_a_folder_that_was_rolled_back_is_not_signed_again(log: Path, tmp_path: Path) -> None:
    """First attack, with what the folder was before."""
    shutil.copytree(log, tmp_path / "before")
    decided(log, 300)
    sign_log(log)
    shutil.rmtree(log)
    shutil.move(tmp_path / "before", log)
    decided(log, 300)
    with pytest.raises(LogError):
        sign_log(log)
    assert not list(log.glob("tree/checkpoints/*[1-9].txt"))[1:]


def test_a_forged_tree_is_no_growth(log: Path) -> None:
    """First attack, with a tree that somebody made of the lines that he rewrote."""
    rewritten(log, "a", otherwise)
    shutil.rmtree(log / "tree")
    sign_log(log, STRANGER)
    decided(log, 5, "b")
    with pytest.raises(NotWholeError, match=r"not a growth|not the one that was signed"):
        make_checkpoint(log, SIGNER, memory=memory_of(log))


def test_nothing_is_signed_on_top_of_the_checkpoints_of_a_stranger(tmp_path: Path) -> None:
    audited(tmp_path / "log")
    sign_log(tmp_path / "log", STRANGER)
    memory = memory_of(tmp_path / "log")
    for first in (False, True):
        with pytest.raises(NotWholeError, match="another key" if first else "does not remember"):
            make_checkpoint(tmp_path / "log", SIGNER, memory=memory, first=first)
    with pytest.raises(SignatureError):
        make_checkpoint(
            tmp_path / "log", SIGNER, memory=memory, since=tmp_path / "log/tree/checkpoint"
        )


def test_no_unsigned_file_says_what_the_log_is_called(log: Path) -> None:
    """Second attack: the first line of a file that nobody signed becomes the origin."""
    for name in ("tree/checkpoints/000000000999.txt", "tree/checkpoint"):
        note = sign(f"bank.example.com/payments\n999\n{'A' * 43}=\n", STRANGER)
        (log / name).write_text(note)
    decided(log)
    made = make_checkpoint(log, SIGNER, memory=memory_of(log))
    assert (made.checkpoint.origin, made.checkpoint.size) == ("auditor", 47)
    (log / "tree/checkpoints/000000000999.txt").unlink()
    assert verify(log, verifier=VERIFIER).is_whole


def test_two_origins_in_one_log_are_a_problem(log: Path) -> None:
    checkpoint = Checkpoint.from_text(text_of((log / "tree/checkpoint").read_text()))
    other = Checkpoint("other", checkpoint.size, checkpoint.root)
    (log / "tree/checkpoint").write_text(sign(other.to_text(), SIGNER))
    report = verify(log, verifier=VERIFIER)
    assert [it for it, _ in problems(report)] == [Damage.OTHER_ORIGIN]
    decided(log)
    with pytest.raises(NotWholeError, match="it is signed as"):
        sign_log(log, origin="third")


def test_a_prune_that_somebody_invented_destroys_no_signed_line_in_silence(
    log: Path, run: Run
) -> None:
    """Third attack: a line that says that segments were pruned, and the segments are gone."""
    chain = Chain(LogFolder(log), ["prune"], Limits(10**6, 10.0), 1)
    chain.write([Draft(Kind.PRUNE, 1, prune=Prune(1, 12, ("a/1", "a/2")))])
    chain.release()
    for path in segments(log)[:2]:
        path.unlink()
    report = verify(log)
    assert [it.segments for it in report.pruned] == [(1, 2)]
    assert (report.pruned[0].lines, report.pruned[0].statement) == ((1, 12), "")
    assert problems(verify(log, verifier=VERIFIER)) == [(Damage.BAD_PRUNE, "a/1")]
    # Without the checkpoints, nothing covers what was removed.
    shutil.rmtree(log / "tree")
    assert (Damage.BAD_PRUNE, "a/1") in problems(verify(log))
    assert run("log", "verify", str(log)).code == 1


def test_after_a_second_key_has_signed_the_log_verifies_with_the_hand_over(
    log: Path, tmp_path: Path
) -> None:
    """Fourth attack, or mishap: another key signs, and then neither verifies."""
    kept = (log / "tree/checkpoint").read_text()
    with pytest.raises(NotWholeError):
        make_checkpoint(log, NEXT, memory=tmp_path / "next.state")
    new_memory = tmp_path / "next.state"
    rotate_key(log, SIGNER, NEXT, old_memory=memory_of(log), new_memory=new_memory)
    decided(log, 300)
    made = make_checkpoint(log, NEXT, memory=tmp_path / "next.state")
    for key in (SIGNER, NEXT):
        report = verify(log, verifier=key.verifier())
        assert (problems(report), set(report.keys)) == (
            [],
            {VERIFIER.title, NEXT.verifier().title},
        )
    keys = VERIFIER, NEXT.verifier()
    (tmp_path / "kept.txt").write_text(kept)
    growth = prove_growth(log, tmp_path / "kept.txt")
    assert verify_growth(growth, kept, *keys).size == made.checkpoint.size
    assert verify_proof(prove(log, id_of(3)), *keys).origin == "auditor"
    with pytest.raises(NotWholeError, match="handed over to `next"):
        make_checkpoint(log, SIGNER, memory=memory_of(log))
    # The old key may be stolen: what it signs from now on is not believed.
    late = sign(text_of(made.path.read_text()), SIGNER)
    (log / "tree/checkpoint").write_text(late)
    assert problems(verify(log, verifier=VERIFIER)) == [(Damage.BAD_SIGNATURE, "tree/checkpoint")]


def test_a_key_that_hands_over_twice_is_not_followed(log: Path, tmp_path: Path) -> None:
    other = Signer("other", b"o" * 32)
    shutil.copy(memory_of(log), tmp_path / "stolen.state")
    for key, old in ((NEXT, memory_of(log)), (other, tmp_path / "stolen.state")):
        rotate_key(log, SIGNER, key, old_memory=old, new_memory=tmp_path / key.name)
    found = problems(verify(log, verifier=VERIFIER))
    assert [damage for damage, _ in found] == [Damage.BAD_STATEMENT] * 2


def test_a_key_does_not_hand_over_to_itself(log: Path, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="to itself"):
        rotate_key(log, SIGNER, SIGNER, old_memory=memory_of(log), new_memory=tmp_path / "x")


# What a key remembers.


def test_the_memory_is_written_before_the_checkpoint_is_shown(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    decided(log)
    before = (log / "tree/checkpoint").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(memory_module, "write_whole", full)
        with pytest.raises(LogError, match="no space left"):
            sign_log(log)
    assert (log / "tree/checkpoint").read_bytes() == before
    assert verify(log, verifier=VERIFIER).is_whole
    assert sign_log(log).new_lines == 3


def test_a_checkpoint_that_was_remembered_and_never_shown_is_made_again(log: Path) -> None:
    decided(log)
    lost = sign_log(log)
    for path in (lost.path, log / "tree/checkpoint"):
        path.unlink()
    again = sign_log(log)
    assert (again.checkpoint, again.new_lines) == (lost.checkpoint, 3)
    assert verify(log, verifier=VERIFIER).is_whole


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not what a key remembers"),
        (b"[]", "not what a key remembers"),
        (b'{"logs":{},"schema":"policy-router/signer/v9"}', "schema"),
        (None, "is a directory"),
    ],
)
def test_a_memory_that_cannot_be_read_signs_nothing(
    log: Path, content: bytes | None, reason: str
) -> None:
    memory = memory_of(log)
    memory.unlink()
    memory.write_bytes(content) if content is not None else memory.mkdir()
    with pytest.raises(LogError, match=reason):
        make_checkpoint(log, SIGNER, memory=memory, first=True)


def test_only_one_process_signs_with_a_memory(log: Path) -> None:
    with memory_module.SignerMemory(memory_of(log)).held(), pytest.raises(LogError, match="signs"):
        sign_log(log)


def test_one_memory_serves_several_logs(tmp_path: Path) -> None:
    memory = tmp_path / "state"
    for name in ("one", "two"):
        audited(tmp_path / name)
        make_checkpoint(tmp_path / name, SIGNER, memory=memory, first=True, origin=name)
    for name in ("one", "two"):
        decided(tmp_path / name)
        assert make_checkpoint(tmp_path / name, SIGNER, memory=memory).checkpoint.origin == name
    with pytest.raises(NotWholeError, match="it is signed as `two`"):
        make_checkpoint(tmp_path / "two", SIGNER, memory=memory, origin="one")


def test_a_lost_memory_is_made_again_from_a_checkpoint_that_was_kept(
    log: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.txt"
    shutil.copy(log / "tree/checkpoint", kept)
    decided(log, 300)
    sign_log(log)
    memory_of(log).unlink()
    decided(log, 3)
    for first in (False, True):
        with pytest.raises(NotWholeError):
            make_checkpoint(log, SIGNER, memory=memory_of(log), first=first)
    made = make_checkpoint(log, SIGNER, memory=memory_of(log), since=kept)
    assert (made.new_lines, made.left_out) == (4, ())
    assert verify(log, verifier=VERIFIER, checkpoint=kept).is_whole


def test_a_restored_memory_takes_back_nothing(log: Path) -> None:
    shutil.copy(memory_of(log), memory_of(log).with_suffix(".old"))
    decided(log, 300)
    sign_log(log)
    shutil.copy(memory_of(log).with_suffix(".old"), memory_of(log))
    decided(log, 2)
    made = sign_log(log)
    assert (made.checkpoint.size, made.new_lines) == (verify(log).lines, 3)
    assert verify(log, verifier=VERIFIER).is_whole


def test_an_idle_log_gets_a_new_time(log: Path) -> None:
    later = MOMENT + datetime.timedelta(days=300)
    before = (log / "tree/checkpoints/000000000044.txt").read_bytes()
    assert sign_log(log, clock=lambda: later).new_lines == 0
    assert (log / "tree/checkpoints/000000000044.txt").read_bytes() == before
    note = (log / "tree/checkpoint").read_text()
    assert cosigned_at(note, VERIFIER) == int(later.timestamp())


# The tree.


@pytest.mark.parametrize("sizes", [(1, 1, 1), (250, 10), (255, 1, 1), (256, 256), (600, 1, 90)])
def test_the_tree_on_disk_is_that_of_its_entries_at_each_size(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    log, made = tmp_path / "log", []
    for size in sizes:
        with DecisionLog(log, writer="a") as writing:
            policy = policy_of()
            for _ in range(size):
                writing.decision(policy, decide(policy, {}, now=NOW))
        made.append(sign_log(log).checkpoint)
    store, lines = TileStore(log / "tree"), b"".join(it.read_bytes() for it in segments(log))
    entries = [it for _, bundle in store.entries(made[-1].size) for it in bundle]
    assert len(entries) == lines.count(b"\n") == made[-1].size
    for checkpoint in made:
        edge = TreeEdge()
        list(edge.extend(list(map(leaf_hash, entries[: checkpoint.size]))))
        assert edge.root() == checkpoint.root
        assert store.edge(checkpoint.size).root() == checkpoint.root
    for kept in sorted((log / "tree/checkpoints").iterdir()):
        growth = prove_growth(log, kept)
        assert verify_growth(growth, kept.read_text(), VERIFIER) == made[-1]
    assert verify(log, verifier=VERIFIER).is_whole


@pytest.mark.parametrize("name", ["runs", "tile/entries/000.p/44", "tile/0/000.p/44"])
@pytest.mark.parametrize("what", ["gone", "garbled", "link", "pipe"])
def test_a_file_of_the_tree_that_was_touched_signs_nothing_wrong(
    log: Path, name: str, what: str
) -> None:
    path = log / "tree" / name
    content = path.read_bytes()
    path.unlink()
    if what == "garbled":
        path.write_bytes(content[::-1])
    elif what == "link":
        path.symlink_to(log / "none")
    elif what == "pipe":
        os.mkfifo(path)
    is_hint = name == "runs"
    assert verify(log, verifier=VERIFIER).is_whole is is_hint
    decided(log)
    if is_hint:
        assert verify_proof(prove(log, id_of(3)), VERIFIER).size == 44
        return
    with pytest.raises(LogError):
        sign_log(log)
    assert problems(verify(log, verifier=VERIFIER))[0][0] is Damage.BAD_TREE


# After damage.


def cut(log: Path) -> tuple[int, int]:
    """Cut the last two lines of a writer off, and let it go on; return their numbers."""
    path = segments(log)[-1]
    lines = lines_of(path)
    put_lines(path, lines[:-2])
    decided(log, 3)
    return seq_of(lines[-2]), seq_of(lines[-1])


@pytest.mark.parametrize("is_signed", [True, False], ids=["of signed lines", "of new lines"])
def test_a_log_goes_on_after_damage_that_is_attested(
    tmp_path: Path, run: Run, *, is_signed: bool
) -> None:
    log = tmp_path / "log"
    audited(log)
    if is_signed:
        sign_log(log)
    else:
        decided(log, 2, "b")
        sign_log(log)
        decided(log, 3)
    first, last = cut(log)
    made = sign_log(log)
    assert bool(made.left_out) is not is_signed
    with pytest.raises(LogError, match="nothing is known to be wrong with a:1-2"):
        attest(log, [Accepted("a", 1, 2)], SIGNER)
    # Beyond what is wrong, too: otherwise nobody would look at the lines that are to come.
    with pytest.raises(LogError, match=rf"wrong with a:{last + 1}-{last + 99}: name only what"):
        attest(log, [Accepted("a", first, last + 99)], SIGNER)
    with pytest.raises(LogError, match=rf"a:{last}-{first} names no line"):
        attest(log, [Accepted("a", last, first)], SIGNER)
    with pytest.raises(LogError, match=rf"wrong with a:1-{last}:"):
        attest(log, [Accepted("a", 1, last)], SIGNER)
    assert not (log / "tree/statements").exists()
    (tmp_path / "auditor").write_text(SIGNER.encoded())
    ran = run("log", "attest", "log", "--key", "auditor", "--accept", f"a:{first}-{last}")
    assert (ran.code, ran.err) == (0, "")
    assert sign_log(log).left_out == ()
    decided(log, 3)
    assert sign_log(log).left_out == ()
    words = ("log", "verify", "log", "--key", "auditor")
    ran = run(*words)
    assert ran.code == 0
    assert "accepted      " in ran.out
    assert f": lines {first} to {last}: removed" in ran.out
    assert run(*words, "--strict").code == 1
    assert json.loads(run(*words, "--format", "json").out)["accepted"]
    # Who removes the statement has the problem again, and who has no key states nothing.
    for path in (log / "tree/statements").iterdir():
        path.write_text(sign(text_of(path.read_text()), STRANGER))
    assert run(*words).code == 1


@pytest.mark.parametrize("text", ["a", "a:0", "a:2-1", "a:1-2-3", ":1", "a:x", "-:1"])
def test_lines_are_named_as_the_help_says(log: Path, run: Run, text: str) -> None:
    ran = run("log", "attest", str(log), "--key", "k", f"--accept={text}")
    assert (ran.code, "lines are written as w1:4711-4720" in ran.err) == (2, True)


def test_what_else_is_wrong_stays_a_problem(log: Path, tmp_path: Path, run: Run) -> None:
    first, last = cut(log)
    (log / "b/00000002.jsonl").unlink()
    (tmp_path / "auditor").write_text(SIGNER.encoded())
    words = ("log", "attest", "log", "--key", "auditor", "--accept", f"a:{first}-{last}")
    ran = run(*words, "--format", "json")
    assert (ran.code, json.loads(ran.out)["whole"]) == (1, False)
    assert "something else is wrong" in ran.err


# Others who vouch.


def test_a_witness_signs_what_only_grew(log: Path, tmp_path: Path, run: Run) -> None:
    memory = tmp_path / "witness.state"
    witnessed: Callable[..., Any] = lambda **more: cosign(  # noqa: E731 - it is called often
        log, WITNESS, memory=memory, verifiers=[VERIFIER], **more
    )
    with pytest.raises(NotWholeError, match="first time"):
        witnessed()
    assert problems(verify(log, witness=WITNESS.verifier())) == [
        (Damage.UNWITNESSED, "tree/checkpoint")
    ]
    assert witnessed(first=True).new_lines == 44
    decided(log, 300)
    sign_log(log)
    report = verify(log, verifier=VERIFIER, witness=WITNESS.verifier())
    assert (report.is_whole, report.witnesses) == (True, {WITNESS.verifier().title: 44})
    assert witnessed().new_lines == 302
    report = verify(log, verifier=VERIFIER, witness=WITNESS.verifier())
    assert (report.witnesses, report.uncovered) == ({WITNESS.verifier().title: 346}, 0)
    (tmp_path / "w.pub").write_text(WITNESS.verifier().encoded())
    (tmp_path / "a.pub").write_text(VERIFIER.encoded())
    ran = run("log", "verify", "log", "--key", "a.pub", "--witness", "w.pub")
    assert (ran.code, f"witness {WITNESS.verifier().title}: 346 lines" in ran.out) == (0, True)
    # The key of the log alone does not fool the witness.
    shutil.rmtree(log / "tree")
    rewritten(log, "a", otherwise)
    decided(log, 2)
    sign_log(log, memory=tmp_path / "new.state", first=True)
    with pytest.raises(NotWholeError, match="not a growth"):
        witnessed()
    with pytest.raises(SignatureError):
        cosign(log, WITNESS, memory=memory, verifiers=[STRANGER.verifier()])
    assert Damage.UNWITNESSED in {
        it for it, _ in problems(verify(log, verifier=VERIFIER, witness=WITNESS.verifier()))
    }


def test_witnesses_of_the_same_name_are_told_apart(log: Path, tmp_path: Path) -> None:
    names = [Signer("policy-router", bytes([it]) * 32) for it in (1, 2)]
    one, other = (it.verifier() for it in names)
    cosign(log, names[1], memory=tmp_path / "w", first=True)
    for witnesses in ([one, other], [other, one]):
        report = verify(log, verifier=VERIFIER, witness=witnesses)
        assert [it.message for it in report.authenticity.problems] == [
            f"no checkpoint is signed by `{one.title}`"
        ]
        assert report.witnesses == {other.title: 44}


def test_a_key_of_the_log_is_no_witness_of_it(log: Path, tmp_path: Path) -> None:
    memory = tmp_path / "w"
    for verifiers in ([], [VERIFIER]):
        with pytest.raises(NotWholeError, match="a key of the log itself"):
            cosign(log, SIGNER, memory=memory, verifiers=verifiers, first=True)
    report = verify(log, verifier=VERIFIER, witness=VERIFIER)
    assert problems(report) == [(Damage.UNWITNESSED, "tree/checkpoint")]
    words = "is a key of the log itself, and no witness of it"
    assert words in report.authenticity.problems[0].message
    rotate_key(log, SIGNER, NEXT, old_memory=memory_of(log), new_memory=tmp_path / "next.state")
    with pytest.raises(NotWholeError, match="a key of the log itself"):
        cosign(log, NEXT, memory=memory, verifiers=[VERIFIER], first=True)
    cosign(log, WITNESS, memory=memory, verifiers=[VERIFIER], first=True)
    witnesses = [WITNESS.verifier(), NEXT.verifier()]
    report = verify(log, verifier=VERIFIER, witness=witnesses)
    assert [it.damage for it in report.authenticity.problems] == [Damage.UNWITNESSED] * 2


def test_a_log_without_a_checkpoint_has_nothing_to_witness(tmp_path: Path) -> None:
    audited(tmp_path / "log")
    with pytest.raises(LogError, match="there is no checkpoint"):
        cosign(tmp_path / "log", WITNESS, memory=tmp_path / "w", first=True)


@pytest.mark.parametrize(("hours", "code"), [(1, 0), (3, 1)])
def test_an_old_checkpoint_is_told(
    log: Path, tmp_path: Path, hours: int, code: int, run: Run
) -> None:
    (tmp_path / "a.pub").write_text(VERIFIER.encoded())
    sign_log(log, clock=lambda: MOMENT)
    now = MOMENT + datetime.timedelta(hours=hours)
    report = verify(log, verifier=VERIFIER, max_age=7200, clock=lambda: now)
    assert report.checkpoint_age is not None
    ran = run("log", "verify", "log", "--max-age", "2h")
    assert (ran.code, "no key that is given says how old" in ran.out) == (1, True)
    shutil.rmtree(log / "tree")
    memory_of(log).unlink()
    sign_log(log, clock=lambda: MOMENT)
    report = verify(log, verifier=VERIFIER, max_age=7200, clock=lambda: now)
    assert (report.checkpoint_age, report.is_whole) == (hours * 3600, not code)
    assert run("log", "verify", "log", "--max-age", "soon").code == 2
    assert run("log", "verify", "log", "--max-age", f"{'9' * 9}w").code == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(65, r"\d+ seconds"), (130, "2 minutes"), (90_000, "25 hours"), (200_000, "2 days")],
)
def test_the_checkpoint_that_a_log_was_compared_with_is_named_with_its_age(
    log: Path, tmp_path: Path, seconds: int, words: str, run: Run
) -> None:
    (tmp_path / "a.pub").write_text(VERIFIER.encoded())
    shutil.rmtree(log / "tree")
    memory_of(log).unlink()
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    sign_log(log, clock=lambda: then)
    kept = tmp_path / "kept.txt"
    kept.write_bytes((log / "tree" / "checkpoint").read_bytes())
    found = verify(log, verifier=VERIFIER, checkpoint=kept).compared
    assert found is not None
    assert (found.name, found.lines, found.time) == (str(kept), 44, int(then.timestamp()))
    assert verify(log, verifier=VERIFIER).compared is None
    command = ("log", "verify", "log", "--checkpoint", "kept.txt")
    out = run(*command, "--key", "a.pub").out
    assert "\ncompared      kept.txt: 44 lines\n" in out
    assert len(re.findall(rf"\n +at {then:%Y-%m-%dT%H:%M:%S}Z, {words} ago\n", out)) == 2
    assert run("-q", *command).out.endswith("\ncompared      kept.txt: 44 lines\n")
    kept.write_text(kept.read_text().replace("\u2014 auditor ", "\u2014 auditor A"))
    assert "\ncompared " not in run(*command, "--key", "a.pub").out


def test_a_published_tree_is_what_a_monitor_reads(log: Path, tmp_path: Path, run: Run) -> None:
    target = tmp_path / "public"
    for count in (1, 300, 40):
        decided(log, count)
        made = sign_log(log).checkpoint
        ran = run("log", "publish", "log", "public")
        assert (ran.code, ran.err) == (0, "")
        store = TileStore(target)
        note = (target / "checkpoint").read_text()
        assert Checkpoint.from_text(opened(note, VERIFIER)) == made
        assert store.edge(made.size).root() == made.root
        assert sum(len(it) for _, it in store.entries(made.size)) == made.size
    assert not list(target.rglob("*.jsonl"))
    assert publish(log, target) == made
    # Neither another history nor an older one is put in its place.
    other = tmp_path / "other"
    audited(other)
    sign_log(other)
    for folder in (other, log):
        before = (target / "checkpoint").read_bytes()
        if folder == log:
            shutil.copy(log / "tree/checkpoints/000000000044.txt", log / "tree/checkpoint")
            for path in sorted((log / "tree/checkpoints").iterdir())[1:]:
                path.unlink()
        with pytest.raises(NotWholeError, match="another log is there"):
            publish(folder, target)
        assert (target / "checkpoint").read_bytes() == before


def test_an_anchor_is_the_newest_checkpoint(log: Path, run: Run) -> None:
    ran = run("log", "anchor", "log")
    note = (log / "tree/checkpoint").read_text()
    assert (ran.code, ran.out) == (0, note)
    assert ran.err.startswith("SHA-256 ")
    assert json.loads(run("log", "anchor", "log", "--format", "json").out)["checkpoint"] == note
    shutil.rmtree(log / "tree")
    assert run("log", "anchor", "log").code == 2


def test_a_log_is_not_copied_into_itself(log: Path) -> None:
    """It would be a writer, or checkpoints, of the log."""
    before = sorted(log.rglob("*"))
    for destination in (log, log / "tree", log / "copy", log / "w1/../copy"):
        for copied in (publish, copy_log):
            with pytest.raises(LogError, match="is in it: name a folder elsewhere"):
                copied(log, destination)
    assert sorted(log.rglob("*")) == before


def test_a_file_that_is_no_checkpoint_is_named(log: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("nothing\n")
    with pytest.raises(SignatureError, match=r"^\S+/kept\.txt: malformed"):
        verify(log, verifier=VERIFIER, checkpoint=kept)
    kept.unlink()
    with pytest.raises(SignatureError, match=r"^\S+/kept\.txt: no such file or directory$"):
        verify(log, verifier=VERIFIER, checkpoint=kept)


def test_a_copy_of_a_log_that_is_written_verifies(log: Path, tmp_path: Path, run: Run) -> None:
    prune(log, FAR, SIGNER)
    with DecisionLog(log, writer="live", clock=Clock()) as writing:
        policy = policy_of()
        for _ in range(5):
            writing.decision(policy, decide(policy, {}, now=NOW))
        with (log / "live/00000001.jsonl").open("ab") as stream:
            stream.write(b'{"half')
        assert run("log", "copy", "log", "copied").code == 0
        report = verify(tmp_path / "copied", verifier=VERIFIER)
        assert (problems(report), report.completeness.notes) == ([], ())
        assert report.lines == verify(log).lines
    with pytest.raises(LogError, match="it is there already"):
        copy_log(log, tmp_path / "copied")
    assert sorted(it.name for it in tmp_path.iterdir() if it.name.endswith(".tmp")) == []


# Care.


def test_a_log_of_the_first_edition_goes_on_where_its_heads_are(tmp_path: Path) -> None:
    audited(tmp_path / "log")
    (tmp_path / "log/heads").rename(tmp_path / "log/.heads")
    decided(tmp_path / "log", 2)
    assert not (tmp_path / "log/heads").exists()
    assert verify(tmp_path / "log").is_whole
    sign_log(tmp_path / "log")
    copy_log(tmp_path / "log", tmp_path / "copied")
    assert verify(tmp_path / "copied", verifier=VERIFIER).is_whole


@pytest.mark.parametrize("name", ["prune", "tree", "heads", "policies", "checkpoints", "-x", "a/b"])
def test_the_names_that_a_log_needs_are_no_writers(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a writer's name"):
        DecisionLog(tmp_path, writer=name)


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["w1/00000001.jsonl", "heads/w1", "w1", "heads"])
def test_no_writer_follows_a_link_or_opens_a_pipe(tmp_path: Path, name: str, what: str) -> None:
    log, policy, elsewhere = tmp_path / "log", policy_of(), tmp_path / "elsewhere"
    (log / name).parent.mkdir(parents=True)
    if what == "link":
        elsewhere.mkdir() if "/" not in name else elsewhere.write_text("mine")
        (log / name).symlink_to(elsewhere)
    elif what == "pipe":
        os.mkfifo(log / name)
    elif "/" in name:
        (log / name).mkdir()
    else:
        return
    with DecisionLog(log, writer="w1") as writing, pytest.raises(LogError):
        writing.decision(policy, decide(policy, {}, now=NOW))
    assert not elsewhere.exists() or elsewhere.is_dir() or elsewhere.read_text() == "mine"
    assert not elsewhere.is_dir() or list(elsewhere.iterdir()) == []


def test_a_segment_that_shrank_is_noticed(tmp_path: Path) -> None:
    policy = policy_of()
    with DecisionLog(tmp_path, writer="a") as log:
        for _ in range(3):
            log.decision(policy, decide(policy, {}, now=NOW))
        (path,) = segments(tmp_path)
        put_lines(path, lines_of(path)[:1])
        with pytest.raises(LogError, match="lines were cut off"):
            log.decision(policy, decide(policy, {}, now=NOW))
        log.decision(policy, decide(policy, {}, now=NOW))
    assert b"\0" not in path.read_bytes()
    found = verify(tmp_path).completeness.problems
    assert [(it.damage, it.lines) for it in found] == [(Damage.REMOVED, (2, 3))]


@pytest.mark.parametrize("on_log_failure", ["deny", "allow_unlogged"])
def test_a_line_that_would_be_too_long_is_not_logged(tmp_path: Path, on_log_failure: Any) -> None:
    policy = policy_of()
    long = decide(policy, {"caller": {"id": "x" * 3000}}, now=NOW)
    with DecisionLog(tmp_path, on_log_failure=on_log_failure, line_bytes=2048) as log:
        log.decision(policy, decide(policy, {}, now=NOW))
        if on_log_failure == "deny":
            with pytest.raises(LogError, match="a line would have more than 2,048 bytes"):
                log.decision(policy, long)
            with pytest.raises(LogError, match="a line would have more than 2,048 bytes"):
                asyncio.run(log.decision_async(policy, long))
        else:
            log.decision(policy, long)
            asyncio.run(log.decision_async(policy, long))
        log.execution(id_of(1), Execution("started", model="m" * 3000))
    report = verify(tmp_path)
    assert (report.is_whole, report.unlogged) == (True, 0 if on_log_failure == "deny" else 2)
    assert "1 execution events" in report.completeness.notes[0]
    with pytest.raises(ValueError, match="at most 16 MiB"):
        DecisionLog(tmp_path, line_bytes=1 << 30)


def test_a_policy_that_somebody_removed_is_stored_again(tmp_path: Path) -> None:
    policy = policy_of()
    with DecisionLog(tmp_path, clock=Clock()) as log:
        log.decision(policy, decide(policy, {}, now=NOW))
        shutil.rmtree(tmp_path / "policies")
        log.decision(policy, decide(policy, {}, now=NOW))
    assert verify(tmp_path).is_whole


def test_a_rule_file_that_was_changed_is_told(log: Path) -> None:
    (path,) = (log / "policies").glob("*/*/*")
    path.write_text(path.read_text() + "# more\n")
    ((damage, where),) = problems(verify(log))
    assert (damage, where) == (
        Damage.CHANGED_POLICY,
        f"policies/{path.parent.relative_to(log / 'policies')}",
    )


def test_an_id_that_several_decisions_have_is_told(log: Path, run: Run) -> None:
    policy = policy_of()
    with DecisionLog(log, writer="z") as writing:
        writing.decision(policy, decide(policy, {}, now=NOW), decision_id=id_of(7))
    assert verify(log).duplicate_ids == (id_of(7),)
    ran = run("log", "verify", str(log))
    assert (ran.code, f"several decisions have one id, such as {id_of(7)}" in ran.out) == (0, True)


def test_a_head_is_never_there_without_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[bytes] = []
    link = os.link

    def noted(source: Path, target: Path) -> None:
        link(source, target)
        contents.append(target.read_bytes())

    monkeypatch.setattr(os, "link", noted)
    decided(tmp_path / "log")
    assert contents == [Head(1, 0, 0, GENESIS).to_bytes()]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="it becomes another user")
def test_a_process_of_another_user_is_the_next_writer(tmp_path: Path) -> None:
    log, policy = tmp_path / "log", policy_of()
    decided(log, writer="w1")
    for path in (log, log / "heads", log / "policies", *(log / "policies").rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    for path in (tmp_path, *tmp_path.parents[:-1]):
        if path.stat().st_mode & 0o055 != 0o055:
            path.chmod(path.stat().st_mode | 0o055)
    (log / "heads/w1").chmod(0o600)
    os.seteuid(65534)
    try:
        with DecisionLog(log) as writing:
            writing.decision(policy, decide(policy, {}, now=NOW))
            assert writing.writer == "w2"
    finally:
        os.seteuid(0)
    assert verify(log).is_whole


# The same on the command line, and what is odd.


def test_a_witness_and_a_new_key_on_the_command_line(log: Path, tmp_path: Path, run: Run) -> None:
    for name, key in (("auditor", SIGNER), ("next", NEXT), ("w", WITNESS)):
        (tmp_path / name).write_text(key.encoded())
        (tmp_path / f"{name}.pub").write_text(key.verifier().encoded())
    memory_of(log).rename(tmp_path / "auditor.state")
    words = ("log", "cosign", "log", "--key", "w", "--log-key", "auditor.pub")
    assert run(*words).code == 1
    path = log / "tree/checkpoints/000000000044.txt"
    assert run(*words, "--first").out == f"cosigned 44 lines of auditor: {path}\n"
    ran = run(*words, "--format", "json")
    assert json.loads(ran.out) == {
        "path": str(path),
        "origin": "auditor",
        "lines": 44,
        "new_lines": 0,
    }
    ran = run("log", "rotate-key", "log", "auditor", "next")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("handed over auditor: tree/statements/")
    assert run("log", "rotate-key", "auditor", "next", "--log", "log").code == 1
    assert run("log", "rotate-key", "auditor", "next").code == 2
    decided(log)
    assert run("-q", "log", "checkpoint", "log", "--key", "next").code == 0
    assert run("log", "checkpoint", "log", "--key", "auditor").code == 1
    (tmp_path / "both.pub").write_text(
        "".join(f"{it.verifier().encoded()}\n" for it in (SIGNER, NEXT))
    )
    assert run("log", "verify", "log", "--key", "both.pub", "--witness", "w.pub").code == 0
    run("log", "prove", "log", id_of(3), "--output", "one.proof")
    assert run("log", "verify-proof", "one.proof", "--key", "auditor.pub").code == 1
    assert run("log", "verify-proof", "one.proof", "--key", "both.pub").code == 0


def test_ids_are_found_twice_among_very_many(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_router.log.integrity.duplicates._MOST", 5)
    assert verify(log).duplicate_ids == ()
    policy = policy_of()
    with DecisionLog(log, writer="z") as writing:
        for number in (3, 117):
            record = decide(policy, {}, now=NOW)
            writing.decision(policy, record, decision_id=id_of(number))
    assert verify(log).duplicate_ids == (id_of(3), id_of(117))


HEAD = "policy-router/statement/v1\nauditor\ntime 1\n"


@pytest.mark.parametrize(
    "text",
    [
        "policy-router/statement/v2\nauditor\ntime 1\naccept a 1 2\n",
        HEAD,
        f"{HEAD}accept a 1\n",
        f"{HEAD}accept a 1 2\nprune a 1 1 2 3 4\n",
        f"{HEAD}prune a 1 1 2 3\n",
        f"{HEAD}handover 1 {'A' * 43}= x y\n",
        f"{HEAD}erase a 1 2\n",
        f"{HEAD}" + "accept a 1 2\n" * 10_001,
    ],
    ids=["schema", "nothing", "short", "mixed", "prune", "keys", "unknown", "many"],
)
def test_what_is_no_statement_is_told(log: Path, text: str) -> None:
    (log / "tree/statements").mkdir()
    (log / "tree/statements/1-x.txt").write_text(sign(text, SIGNER))
    assert problems(verify(log, verifier=VERIFIER)) == [
        (Damage.BAD_STATEMENT, "tree/statements/1-x.txt")
    ]
    assert sign_log(log).left_out == ()


def test_a_statement_by_a_stranger_is_told_and_states_nothing(log: Path) -> None:
    (log / "tree/statements").mkdir()
    text = f"{HEAD}accept a 1 22\n"
    (log / "tree/statements/1-x.txt").write_text(sign(text, STRANGER))
    rewritten(log, "a", otherwise)
    found = {it for it, _ in problems(verify(log, verifier=VERIFIER))}
    assert found == {Damage.BAD_SIGNATURE, Damage.REWRITTEN}


def test_a_prune_that_is_about_other_lines_is_told(log: Path) -> None:
    (log / "tree/statements").mkdir()
    text = f"{HEAD}prune a 1 1 3 1 2\n"
    (log / "tree/statements/1-x.txt").write_text(sign(text, SIGNER))
    assert verify(log, verifier=VERIFIER).is_whole
    segments(log)[0].unlink()
    assert problems(verify(log, verifier=VERIFIER)) == [(Damage.BAD_PRUNE, "a/1")]


def test_tiles_that_are_full_replace_their_parts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for count in (100, 100, 100):
        decided(log, count)
        sign_log(log)
    assert not (log / "tree/tile/0/000.p").exists()
    assert not (log / "tree/tile/entries/000.p").exists()
    assert (log / "tree/tile/0/000").stat().st_size == 256 * 32
    kept = log / "tree/checkpoints/000000000101.txt"
    assert verify_growth(prove_growth(log, kept), kept.read_text(), VERIFIER).size == 303
