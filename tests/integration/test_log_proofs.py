"""Proofs of decisions with what came of them: complete or not, and verified by one file alone."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import subprocess
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from benchmarks.audit_log import write_audit_log
from policy_router import DecisionLog, decide
from policy_router.errors import LogError
from policy_router.log import (
    LinesProof,
    NotWholeError,
    proof_bundle,
    prove_decisions,
    prove_line,
    prune,
)
from policy_router.log.entry import Call, Execution, Kind
from policy_router.log.sign import standalone
from policy_router.log.sign.keys import SignatureError
from policy_router.log.sign.notes import InclusionProof, sign
from policy_router.log.sign.standalone import NotProved, read_keys, verify
from policy_router.log.write.drafts import Draft
from tests.support.commands import Run
from tests.support.log_auditing import NOW, SIGNER, STRANGER, Clock, id_of, policy_of, sign_log
from tests.support.rows import each

KEYS = read_keys(SIGNER.verifier().encoded())
ROUTED = ("--key", "auditor.pub")


def logged(folder: Path, *numbers: int) -> None:
    policy, clock = policy_of(), Clock()
    with DecisionLog(folder, clock=clock, origin_commit="4f2a", loaded_by="ada") as log:
        for number in numbers:
            record = decide(policy, {"task": {"kind": "coding"}}, now=clock())
            log.decision(policy, record, decision_id=id_of(number))
            target: dict[str, Any] = {"provider": "main", "model": "large", "entry": "coder"}
            log.execution(id_of(number), Execution("started", **target))
            if number == 2:
                target |= {"provider": "main", "model": "small", "entry": "small"}
            log.execution(id_of(number), Execution("finished", status="completed", **target))
            log.flush()


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """Return a log of three decisions, the second of which ran outside its plan."""
    folder = tmp_path / "log"
    logged(folder, 1, 2, 3)
    sign_log(folder)
    (tmp_path / "auditor").write_text(SIGNER.encoded())
    (tmp_path / "auditor.pub").write_text(SIGNER.verifier().encoded())
    return folder


def files_in(bundle: bytes) -> dict[str, bytes]:
    return standalone.unpacked(io.BytesIO(bundle))


# What is proved.


def test_a_decision_is_proved_with_every_line_of_it(signed: Path) -> None:
    proof = prove_decisions(signed, [id_of(2)])
    assert [json.loads(it.line)["kind"] for it in proof.proofs] == [
        *("policy", "decision", "execution", "execution"),
    ]
    result = verify(proof.to_text(), KEYS)
    (made,) = result.made
    assert (made.decision.plain["id"], len(made.events), made.is_complete) == (id_of(2), 2, False)
    assert (result.origin, result.size, result.stated) == ("auditor", 11, None)
    assert "completeness: not proved; there may be more lines of these decisions" in (
        standalone.in_words(result)
    )


def test_the_key_states_that_there_are_no_more_lines(signed: Path) -> None:
    clock = Clock()
    proof = prove_decisions(signed, [id_of(2), id_of(1)], signer=SIGNER, clock=clock)
    result = verify(proof.to_text(), KEYS)
    assert [it.decision.plain["id"] for it in result.made] == [id_of(2), id_of(1)]
    assert all(it.is_complete for it in result.made)
    assert (result.stated, result.unread) == (int(clock.now.timestamp()), 0)
    words = standalone.in_words(result)
    assert "complete  every line of them up to there, as stated at 2026-01-31T09:00:01Z" in words
    assert words.count("          THIS IS OUTSIDE THE PLAN OF THE DECISION") == 1


def test_a_failed_call_outside_the_plan_is_told(tmp_path: Path) -> None:
    policy, clock, provider, model = policy_of(), Clock(), "main", "large"
    calls = (
        Call(1, "abroad", "huge", failure="server_error", status=503),
        Call(2, "abroad", "never", is_sent=False, failure="unavailable"),
        Call(3, provider, model, status=200),
    )
    with DecisionLog(tmp_path / "log", clock=clock) as log:
        record = decide(policy, {"task": {"kind": "coding"}}, now=clock())
        log.decision(policy, record, decision_id=id_of(1))
        done = Execution("finished", provider, model, status="completed", calls=calls)
        log.execution(id_of(1), done)
    sign_log(tmp_path / "log")
    words = standalone.in_words(
        verify(prove_decisions(tmp_path / "log", [id_of(1)]).to_text(), KEYS)
    )
    place = words.index("          call 1 was sent to huge at abroad")
    assert words[place + 1] == "          THIS IS OUTSIDE THE PLAN OF THE DECISION"
    assert "\n".join(words).count("OUTSIDE") == 1


def test_what_it_cost_and_what_was_served_are_told(tmp_path: Path) -> None:
    policy = policy_of()
    with DecisionLog(tmp_path / "log", clock=Clock()) as log:
        record = decide(policy, {"task": {"kind": "coding"}}, now=NOW)
        log.decision(policy, record, decision_id=id_of(1))
        ends = (
            Execution("finished", "main", "large", served_model="mini\x1b[2J", cost_usd=0.25),
            Execution("waiting"),
        )
        for end in ends:
            content = Raw(msgspec.json.encode(end))
            log.act(Draft(Kind.EXECUTION, 10**18, id_of(1), execution=content))
    sign_log(tmp_path / "log")
    words = standalone.in_words(
        verify(prove_decisions(tmp_path / "log", [id_of(1)]).to_text(), KEYS)
    )
    assert words[-5:] == [
        "  there   w1, line 3, at no time",
        "          finished, on large at main, $0.250000",
        "          the provider says that it served mini\ufffd[2J",
        "  there   w1, line 5, at no time",
        "          waiting",
    ]


def test_decisions_without_a_line_about_their_rules_are_told(signed: Path) -> None:
    proof = prove_decisions(signed, [id_of(1)], signer=SIGNER)
    revision = policy_of().revision[:19]
    said = f"rules     not proved: no line names the rule files of {revision}"
    assert said not in standalone.in_words(verify(proof.to_text(), KEYS))
    without_policy = LinesProof(proof.proofs[1:], proof.statement)
    assert said in standalone.in_words(verify(without_policy.to_text(), KEYS))


def test_lines_behind_the_checkpoint_are_not_proved(signed: Path) -> None:
    with DecisionLog(signed) as log:
        log.execution(id_of(1), Execution("finished", status="failed"))
    proof = prove_decisions(signed, [id_of(1)], signer=SIGNER)
    assert len(verify(proof.to_text(), KEYS).made[0].events) == 2
    logged(signed, 4)
    with pytest.raises(LogError, match="no checkpoint covers the decision yet"):
        prove_decisions(signed, [id_of(4)])
    with pytest.raises(LogError, match=f"{id_of(9)}: there is no decision with this id"):
        prove_decisions(signed, [id_of(1), id_of(9)])
    with pytest.raises(LogError, match="1 to 100,000 decisions"):
        prove_decisions(signed, [])


# Who states it has read every line.


def test_a_changed_line_of_somebody_else_keeps_the_key_from_stating(signed: Path) -> None:
    (path,) = (signed / "w1").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(id_of(3).encode(), id_of(2).encode()))
    assert prove_decisions(signed, [id_of(1)]).proofs
    with pytest.raises(NotWholeError, match=r"w1/1, line 8: it is not as it was signed"):
        prove_decisions(signed, [id_of(1)], signer=SIGNER)


def test_a_line_that_is_missing_keeps_the_key_from_stating(signed: Path) -> None:
    (path,) = (signed / "w1").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:9]))
    with pytest.raises(NotWholeError, match=r"w1, line 10 is missing"):
        prove_decisions(signed, [id_of(1)], signer=SIGNER)
    path.write_bytes(b"")
    with pytest.raises(LogError, match="there is no decision"):
        prove_decisions(signed, [id_of(1)], signer=SIGNER)
    path.write_bytes(b"no line\n" + b"".join(lines[1:]))
    with pytest.raises(NotWholeError, match="its first line cannot be read"):
        prove_decisions(signed, [id_of(1)], signer=SIGNER)


def test_a_tree_that_is_not_the_signed_one_keeps_the_key_from_stating(signed: Path) -> None:
    (path,) = (signed / "tree/tile/entries").glob("*/*")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"w1 10 ", b"w2 10 "))
    with pytest.raises(NotWholeError, match="its tree is not the one that was signed"):
        prove_decisions(signed, [id_of(1)], signer=SIGNER)
    path.write_bytes(content.replace(b"w1 10 ", b"w1 -1 "))
    with pytest.raises(NotWholeError, match="an entry of its tree is damaged"):
        prove_decisions(signed, [id_of(1)], signer=SIGNER)


def test_another_key_states_nothing(signed: Path) -> None:
    with pytest.raises(SignatureError):
        prove_decisions(signed, [id_of(1)], signer=STRANGER)


def test_what_was_pruned_is_counted_in_the_statement(tmp_path: Path) -> None:
    policy, clock = policy_of(), Clock()
    folder = tmp_path / "log"
    for writer in ("a", "b"):
        with DecisionLog(folder, clock=clock, writer=writer) as log:
            record = decide(policy, {}, now=clock())
            log.decision(policy, record, decision_id=id_of(ord(writer)))
    sign_log(folder)
    before = int((clock.now.timestamp() - 2) * 1e6)
    assert prune(folder, before, SIGNER).segments == ("a/1",)
    result = verify(prove_decisions(folder, [id_of(98)], signer=SIGNER).to_text(), KEYS)
    assert result.unread == 3
    assert "          but for 3 lines that had been removed" in standalone.in_words(result)
    for path in (folder / "tree/statements").iterdir():
        path.unlink()
    with pytest.raises(NotWholeError, match="a, line 1 is missing"):
        prove_decisions(folder, [id_of(98)], signer=SIGNER)


# What does not hold.


Change = Callable[[list[InclusionProof], list[InclusionProof]], list[InclusionProof]]


def without(place: int) -> Change:
    return lambda proofs, _: [*proofs[:place], *proofs[place + 1 :]]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without(1), r"w1, line 3: its decision \S+1 is not proved here"),
        (without(3), r"w1, line 4: it is of \S+1, and left out here"),
        (lambda proofs, more: [*proofs, more[-1]], r"w1, line 10: its decision \S+3 is not proved"),
        (lambda proofs, more: [*proofs, *more], r"w1, line 1: it is there twice"),
        (lambda proofs, more: [*proofs, *more[1:]], r"w1, line 8: the statement does not have"),
        (lambda proofs, _: [*proofs, proofs[2]], r"w1, line 3: it is there twice"),
        (lambda proofs, more: [*proofs[:3], more[3]], r"w1, line 10: its decision"),
    ],
)
def test_a_line_left_out_added_or_exchanged_is_named(
    signed: Path, change: Change, why: str
) -> None:
    proof = prove_decisions(signed, [id_of(1)], signer=SIGNER)
    more = prove_decisions(signed, [id_of(3)], signer=SIGNER)
    changed = LinesProof(tuple(change(list(proof.proofs), list(more.proofs))), proof.statement)
    with pytest.raises(NotProved, match=why):
        verify(changed.to_text(), KEYS)


def test_a_line_that_was_changed_is_named(signed: Path) -> None:
    proof = prove_decisions(signed, [id_of(1)])
    ended = proof.proofs[3]
    forged = InclusionProof(
        ended.index, ended.hashes, ended.checkpoint, ended.extra.replace(b"large", b"small")
    )
    with pytest.raises(NotProved, match=r"w1, line 4: it is not the line that was signed"):
        verify(LinesProof((*proof.proofs[:3], forged)).to_text(), KEYS)


def test_a_statement_of_another_checkpoint_or_key_says_nothing(signed: Path) -> None:
    proof = prove_decisions(signed, [id_of(1)], signer=SIGNER)
    logged(signed, 5)
    sign_log(signed)
    later = prove_decisions(signed, [id_of(1)], signer=SIGNER)
    with pytest.raises(NotProved, match="the statement is of another checkpoint"):
        verify(LinesProof(later.proofs, proof.statement).to_text(), KEYS)
    with pytest.raises(NotProved, match="proof 2 is of another checkpoint"):
        verify(LinesProof((later.proofs[0], *proof.proofs[1:])).to_text(), KEYS)
    with pytest.raises(NotProved, match="signed by none of the keys"):
        verify(proof.to_text(), read_keys(STRANGER.verifier().encoded()))
    assert proof.statement is not None
    forged = proof.statement.replace("unread 0", "unread 1")
    with pytest.raises(NotProved, match=r"the signature by auditor\S+ is not one of this text"):
        verify(LinesProof(proof.proofs, forged).to_text(), KEYS)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("unread 0", "unread x"), "the statement is malformed"),
        (lambda text: text.replace(f"decision {id_of(1)}\n", ""), "the statement is malformed"),
        (lambda text: re.sub(r"line w1 2 \S+", "line w1", text), "the statement is malformed"),
        (lambda text: f"{text}decision x\n", "decision x is stated, and left out here"),
        (
            lambda text: re.sub(r"line w1 4 \S+\n", "", text),
            r"w1, line 4: it is not among the lines",
        ),
    ],
    ids=["number", "no decision", "no entry", "left out", "added"],
)
def test_a_statement_is_held_to_the_lines_even_if_the_key_signed_it(
    signed: Path, change: Callable[[str], str], why: str
) -> None:
    proof = prove_decisions(signed, [id_of(1)], signer=SIGNER)
    text = str(proof.statement).partition("\n\n")[0] + "\n"
    assert change(text) != text
    with pytest.raises(NotProved, match=why):
        verify(LinesProof(proof.proofs, sign(change(text), SIGNER)).to_text(), KEYS)


def test_a_line_about_no_decision_is_not_among_proofs(signed: Path) -> None:
    (path,) = (signed / "w1").glob("*.jsonl")
    close = path.read_bytes().splitlines()[-1]
    proof = prove_decisions(signed, [id_of(1)])
    with pytest.raises(NotProved, match="w1, line 11: it is about no decision"):
        verify(LinesProof((*proof.proofs, prove_line(signed, "w1", 11, close))).to_text(), KEYS)


@pytest.mark.parametrize(("old", "new"), [(b'"time"', b'"tame"'), (b'"kind"', b"kind")])
def test_what_is_no_line_of_a_log_proves_nothing(signed: Path, old: bytes, new: bytes) -> None:
    first, *more = prove_decisions(signed, [id_of(1)]).proofs[1:]
    assert old in first.extra
    odd = InclusionProof(first.index, first.hashes, first.checkpoint, first.extra.replace(old, new))
    with pytest.raises(NotProved, match="proof 1 has no line of a log"):
        verify(LinesProof((odd, *more)).to_text(), KEYS)


def test_a_checkpoint_that_is_none_proves_nothing(signed: Path) -> None:
    first = prove_decisions(signed, [id_of(1)]).proofs[0]
    odd = first.to_text().replace(first.checkpoint, sign("auditor\n11\n", SIGNER))
    with pytest.raises(NotProved, match="the checkpoint is malformed"):
        verify(odd, KEYS)
    assert standalone.root_of(b"the only leaf", 0, 1, [b"h" * 32]) is None


@each("text", ["", "nonsense", "policy-router/lines/v1\n", "\n\n\n"])
def test_what_is_no_proof_proves_nothing(text: str) -> None:
    with pytest.raises(NotProved):
        verify(text, KEYS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("extra ", "extra !"),
        ("extra ", "extra AAAA"),
        ("index 1\n", "index 99\n"),
        ("index 1\n", "index x\n"),
        ("auditor\n11\n", "auditor\n1\n"),
        ("\u2014 auditor ", "\u2014 auditor x "),
        ("\u2014 auditor ", "\u2014 auditor !"),
    ],
)
def test_a_proof_that_was_changed_proves_nothing(signed: Path, old: str, new: str) -> None:
    text = prove_decisions(signed, [id_of(1)]).to_text()
    assert old in text
    with pytest.raises(NotProved):
        verify(text.replace(old, new), KEYS)


@each(
    "text", ["", "auditor", f"auditor+00000000+{'A' * 43}=", SIGNER.verifier().encoded()[:-1] + "!"]
)
def test_what_is_no_key_is_no_key(text: str) -> None:
    with pytest.raises(NotProved):
        read_keys(text)


# Bundles.


def test_a_bundle_has_the_policies_and_rule_files_that_decided(signed: Path) -> None:
    proof = prove_decisions(signed, [id_of(1), id_of(2)], signer=SIGNER)
    bundle = proof_bundle(signed, proof)
    assert bundle == proof_bundle(signed, proof)
    files = files_in(bundle)
    revision, policy = policy_of().revision.replace(":", "-"), policy_of()
    assert files[f"policies/{revision}.json"] == policy.canonical
    (rules,) = (it for name, it in files.items() if name.startswith(f"policies/{revision}/"))
    assert rules.decode() == policy.sources[0].text
    assert files["verify.py"] == Path(standalone.__file__).read_bytes()
    readme = files["README.txt"].decode()
    assert re.findall(r"^    (\S+\+[0-9a-f]{8})$", readme, re.MULTILINE) == [KEYS[0].title]
    assert max(map(len, readme.splitlines())) <= 100
    result = verify(files["proof.txt"].decode(), KEYS, files)
    assert result.has_rules
    used = json.loads(result.policies[0].content)["policy"]
    assert (used["origin_commit"], used["loaded_by"]) == ("4f2a", "ada")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (r"lines\.jsonl", r"lines\.jsonl, line 1: it is not w1, line 1, which is proved"),
        (r"policies/\S+\.json", r"it is not the policy that its name says"),
        (r"policies/\S+/000-\S+", r"no line says that a process decided by this rule file"),
    ],
)
def test_a_file_of_a_bundle_that_was_changed_is_named(signed: Path, name: str, why: str) -> None:
    files = files_in(proof_bundle(signed, prove_decisions(signed, [id_of(1)])))
    (found,) = (it for it in files if re.fullmatch(name, it))
    text = files["proof.txt"].decode()
    with pytest.raises(NotProved, match=why):
        verify(text, KEYS, {**files, found: files[found].replace(b"a", b"b")})
    with pytest.raises(NotProved):
        verify(text, KEYS, {it: content for it, content in files.items() if it != found})


def test_a_line_that_only_the_readable_copy_has_is_named(signed: Path) -> None:
    files = files_in(proof_bundle(signed, prove_decisions(signed, [id_of(1)])))
    files["lines.jsonl"] += b"{}\n"
    with pytest.raises(NotProved, match=r"lines\.jsonl, line 5: it is not proved"):
        verify(files["proof.txt"].decode(), KEYS, files)


def test_a_bundle_without_its_policy_is_not_made(signed: Path) -> None:
    proof = prove_decisions(signed, [id_of(1)])
    for path in (signed / "policies").glob("*.json"):
        path.unlink()
    with pytest.raises(LogError, match="is not kept"):
        proof_bundle(signed, proof)


def zipped(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as bundle:
        bundle.writestr("proof.txt", content)
    return held.getvalue()


def test_a_damaged_bundle_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotProved, match="damaged"):
        files_in(b"PK\x03\x04nonsense")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as bundle:
        bundle.writestr("proof.txt", "a")
        with pytest.warns(UserWarning, match="Duplicate"):
            bundle.writestr("proof.txt", "b")
    with pytest.raises(NotProved, match="twice"):
        files_in(content.getvalue())
    monkeypatch.setattr(standalone, "_MOST_BYTES", 1)
    with pytest.raises(NotProved, match="more than 1 GiB"):
        files_in(zipped(b"ab"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotProved, match=r"there is no proof\.txt"):
        standalone.files_of(tmp_path / "empty")


# The commands.


@pytest.mark.usefixtures("signed")
def test_the_commands_make_and_verify_bundles(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(f"\ufeff{id_of(1)}\r\n{id_of(3)}\r\n".encode())
    words = ("log", "prove", "log", "--ids", "ids.txt", "--key", "auditor", "--output", "some.zip")
    ran = run(*words)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "wrote some.zip: 2 decisions, 7 lines",
        "next: policy-router log verify-proof some.zip --key FILE",
    ]
    ran = run("log", "verify-proof", "some.zip", *ROUTED)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("proved    2 decisions of auditor\n")
    assert max(map(len, ran.out.splitlines())) <= 80
    plain = json.loads(run("log", "verify-proof", "some.zip", *ROUTED, "--format", "json").out)
    assert (plain["proved"], plain["complete"], plain["rule_files"]) == (True, True, True)
    assert [it["id"] for it in plain["decisions"]] == [id_of(1), id_of(3)]
    assert [len(it["events"]) for it in plain["decisions"]] == [2, 2]
    assert len(plain["policies"]) == 1
    (tmp_path / "some.zip").write_bytes((tmp_path / "some.zip").read_bytes()[:-100])
    ran = run("log", "verify-proof", "some.zip", *ROUTED)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "policy-router: not proved: the bundle is damaged\n"


def test_decisions_are_chosen_by_ids_or_by_a_filter(signed: Path, run: Run) -> None:
    def chosen(*words: str) -> list[str]:
        ran = run("log", "prove", *words, "--output", "x.zip")
        assert ran.code == 0, ran.err
        plain = json.loads(run("log", "verify-proof", "x.zip", *ROUTED, "--format", "json").out)
        return [it["id"] for it in plain["decisions"]]

    assert signed.is_dir()
    assert chosen("log", id_of(2)) == [id_of(2)]
    assert chosen(id_of(3), "log", id_of(1)) == [id_of(3), id_of(1)]
    assert chosen("--log", "log", id_of(3), id_of(1)) == [id_of(3), id_of(1)]
    assert chosen("log", "--where", "kind=coding") == [id_of(1), id_of(2), id_of(3)]
    assert chosen("log", "--after", "2026-01-31T09:00:04Z", "--before", "2026-01-31T09:00:08Z") == [
        id_of(2)
    ]
    ran = run("log", "prove", "log", "--where", "kind=other", "-o", "x.zip")
    assert "there are no such decisions" in ran.err
    assert (
        "--output: several decisions give a ZIP"
        in run("log", "prove", "log", id_of(1), id_of(2)).err
    )
    assert run("log", "prove", "--where", "kind=other", "--output", "x.zip").code == 2
    odd = run("log", "prove", "log", "--ids", "-", "--output", "x.zip", stdin="a b/c")
    assert "standard input" in odd.err or "-: id 2" in odd.err


def test_one_decision_is_printed_with_its_statement(signed: Path, run: Run, tmp_path: Path) -> None:
    ran = run("log", "prove", "log", id_of(2), "--key", "auditor")
    (tmp_path / "two.proof").write_text(ran.out)
    ran = run("log", "verify-proof", "two.proof", *ROUTED)
    assert "complete  every line of them up to there" in ran.out
    assert "THIS IS OUTSIDE THE PLAN OF THE DECISION" in ran.out
    assert signed.is_dir()


# The one file.


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has `cryptography`, and nothing of this package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    (site,) = (folder / "env/lib").glob("python*/site-packages")
    for name in ("cryptography", "cffi"):
        source = Path(str(importlib.util.find_spec(name).origin)).parent  # type: ignore[union-attr]
        (site / name).symlink_to(source)
        for extension in source.parent.glob("_cffi_backend*"):
            (site / extension.name).unlink(missing_ok=True)
            (site / extension.name).symlink_to(extension)
    return folder / "env/bin/python"


@pytest.mark.slow
def test_the_one_file_needs_nothing_but_python_and_cryptography(
    signed: Path, bare: Path, tmp_path: Path
) -> None:
    proof = prove_decisions(signed, [id_of(1), id_of(2)], signer=SIGNER)
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(proof_bundle(signed, proof))
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(bare), "-I", *words]
        return subprocess.run(  # noqa: S603 - the words are the test's own
            command, capture_output=True, text=True, cwd=folder, check=False, timeout=50
        )

    assert "No module named" in python("-c", "import policy_router").stderr
    ran = python("verify.py", "../auditor.pub")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == standalone.in_words(
        verify(proof.to_text(), KEYS, files_in(bundle.read_bytes()))
    )
    assert python("verify.py", "../auditor.pub", "../bundle.zip").stdout == ran.stdout
    assert python("verify.py", "../auditor.pub", "proof.txt").returncode == 0
    assert "KEY [PROOF]" in python("verify.py").stderr
    assert python("verify.py", "none").returncode == 2
    (folder / "lines.jsonl").write_text("{}\n")
    ran = python("verify.py", "../auditor.pub")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("not proved: lines.jsonl, line 1: ")


def test_the_program_runs_in_this_process_too(
    signed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.proof").write_text(prove_decisions(signed, [id_of(1)]).to_text())
    key = str(tmp_path / "auditor.pub")
    assert standalone.main([key, str(tmp_path / "one.proof")]) == 0
    assert "completeness: not proved" in capsys.readouterr().out
    assert standalone.main([key, str(tmp_path / "auditor.pub")]) == 1
    (tmp_path / "one.zip").write_bytes(zipped((tmp_path / "one.proof").read_bytes()))
    assert standalone.main([key, str(tmp_path / "one.zip")]) == 1
    assert "lines.jsonl" in capsys.readouterr().err
    assert standalone.main([]) == standalone.main([key]) + 1 == 2
    assert standalone.main([str(tmp_path / "gone"), key]) == 2


@pytest.mark.slow
def test_decisions_of_a_large_log_are_proved(tmp_path: Path) -> None:
    write_audit_log(tmp_path / "log", 3_000)
    sign_log(tmp_path / "log")
    lines = (tmp_path / "log/w1").glob("*.jsonl")
    found = [json.loads(line) for path in sorted(lines) for line in path.read_bytes().splitlines()]
    ids = [it["id"] for it in found if it["kind"] == "decision"][::9]
    proof = prove_decisions(tmp_path / "log", ids, signer=SIGNER)
    result = verify(proof.to_text(), KEYS, files_in(proof_bundle(tmp_path / "log", proof)))
    assert [it.decision.plain["id"] for it in result.made] == ids
    assert len(result.policies) == 2
