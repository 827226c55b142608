"""Whatever kills a command that signs, or fails under it, nothing is signed twice or lost."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy_router.errors import LogError
from policy_router.log import (
    Accepted,
    attest,
    copy_log,
    cosign,
    prune,
    publish,
    rotate_key,
    verify,
)
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.memory import SignerMemory
from policy_router.log.sign.notes import Checkpoint, text_of
from tests.support.log_auditing import (
    SIGNER,
    audited,
    lines_of,
    memory_of,
    put_lines,
    segments,
    seq_of,
    sign_log,
)

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks"),
]
NEXT = Signer("next", b"n" * 32)
WITNESS = Signer("witness", b"w" * 32)
CALLS = ("open", "write", "fsync", "fdatasync", "rename", "replace", "link", "unlink", "mkdir")
FAR = 1 << 62
Command = Callable[[Path], object]


def checkpoint(log: Path) -> object:
    return sign_log(log)


def cosigned(log: Path) -> object:
    memory = log.parent / "witness.state"
    return cosign(log, WITNESS, memory=memory, first=not memory.exists())


def pruned(log: Path) -> object:
    return prune(log, FAR, SIGNER)


def attested(log: Path) -> object:
    last = verify(log).completeness.problems[0].lines
    assert last is not None
    return attest(log, [Accepted("a", *last)], SIGNER)


def rotated(log: Path) -> object:
    new_memory = log.parent / "next.state"
    return rotate_key(log, SIGNER, NEXT, old_memory=memory_of(log), new_memory=new_memory)


def copied(log: Path) -> object:
    return copy_log(log, log.parent / "copy")


def published(log: Path) -> object:
    return publish(log, log.parent / "public")


COMMANDS: dict[str, Command] = {
    it.__name__: it for it in (checkpoint, cosigned, pruned, attested, rotated, copied, published)
}


class Broken:
    """Ends the process, or fails, at one call of the system among all."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self.number, self.act, self.count = number, act, 0

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts its calls."""

        def call(*words: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self.number:
                self.act()
            return real(*words, **more)

        return call

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Count every call."""
        for name in CALLS:
            patch.setattr(os, name, self.around(getattr(os, name)))
        patch.setattr(builtins, "open", self.around(builtins.open))
        patch.setattr("policy_router.log.write.chain.sync", self.around(os.fsync))


def calls_of(command: Command, log: Path) -> int:
    """Return how many calls a command makes."""
    counting = Broken(0, lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        counting.install(patch)
        command(log)
    return counting.count


def killed_at(number: int, command: Command, log: Path) -> None:
    """Run a command in another process, which ends at one of its calls."""
    child = os.fork()
    if not child:
        Broken(number, lambda: os._exit(9)).install(pytest.MonkeyPatch())
        try:
            command(log)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def failed_at(number: int, command: Command, log: Path) -> None:
    """Let one of a command's calls fail."""

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        Broken(number, full).install(patch)
        try:
            command(log)
        except LogError as problem:
            assert "no space left" in str(problem)  # noqa: PT017 - it need not fail


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a log that was signed, has new lines, and for one of the commands known damage."""
    folder = tmp_path_factory.mktemp("logs")
    for name in ("whole", "damaged"):
        log = folder / name / "log"
        audited(log)
        sign_log(log)
        if name == "damaged":
            path = segments(log)[1]
            lines = lines_of(path)
            put_lines(path, lines[1:])
            assert seq_of(lines[0])
        audited(log, each=3, writers=["c"])
    return folder


@pytest.mark.parametrize("broken", [killed_at, failed_at], ids=["killed", "failed"])
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.timeout(300)
def test_a_command_that_is_broken_off_anywhere_can_be_run_again(
    original: Path, tmp_path: Path, name: str, broken: Callable[..., None]
) -> None:
    source = original / ("damaged" if name == "attested" else "whole")
    shutil.copytree(source, tmp_path / "count")
    command = COMMANDS[name]
    calls = calls_of(command, tmp_path / "count/log")
    assert calls > 5
    for number in range(1, calls + 1):
        base = tmp_path / str(number)
        shutil.copytree(source, base)
        log = base / "log"
        shown = shown_of(log)
        broken(number, command, log)
        assert shown <= shown_of(log)
        assert_remembered(log, number)
        if name == "copied":
            shutil.rmtree(base / ".copy.tmp", ignore_errors=True)
        if name in {"copied", "rotated"} and is_done(name, base):
            continue
        if name != "attested" or not verify(log, verifier=SIGNER.verifier()).is_whole:
            command(log)
        report = verify(log, verifier=SIGNER.verifier())
        assert report.is_whole, (number, report)
        shutil.rmtree(base)


def is_done(name: str, base: Path) -> bool:
    """Tell whether a command that can be done once was done."""
    if name == "copied":
        return (base / "copy").exists() and verify(base / "copy").is_whole
    remembered = SignerMemory(memory_of(base / "log")).of("auditor")
    return bool(remembered and remembered.successor)


def shown_of(log: Path) -> set[tuple[int, bytes]]:
    """Return the checkpoints that are shown."""
    notes = [it.read_text() for it in (log / "tree/checkpoints").glob("*.txt")]
    found = [Checkpoint.from_text(text_of(note)) for note in notes]
    return {(it.size, it.root) for it in found}


def assert_remembered(log: Path, number: int) -> None:
    """Check that no checkpoint is shown that the key does not remember."""
    remembered = SignerMemory(memory_of(log)).of("auditor")
    assert remembered is not None
    size, root = max(shown_of(log))
    assert (size < remembered.size) or (size, root) == (remembered.size, remembered.root), number
