"""Copies of a log: its tree for everybody, and all of it for an auditor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from policy_router.errors import LogError, reason_of
from policy_router.log.damage import NotWholeError
from policy_router.log.files import open_file, read_file, write_whole
from policy_router.log.folder import LogFolder, readable
from policy_router.log.sign.checkpoints import NEWEST, SignedCheckpoint, newest
from policy_router.log.sign.merkle import EMPTY, WIDTH, consistency_proof, verify_consistency
from policy_router.log.sign.notes import Checkpoint
from policy_router.log.sign.signing import auditing
from policy_router.log.sign.tiles import ENTRIES, TileStore


def newest_checkpoint(folder: str | Path) -> SignedCheckpoint:
    """Return the newest checkpoint of a log: what is to be kept where nobody can change it.

    Raises:
        LogError: there is none.
    """
    log = LogFolder.existing(folder)
    with readable(log):
        found = newest(log)
    if found is None:
        raise LogError(str(log.path), "there is no checkpoint: see log checkpoint")
    return found


def publish(folder: str | Path, destination: str | Path) -> Checkpoint:
    """Copy the tree of a log to a folder that any server of files can offer.

    The entries name writers and hashes of lines, and nothing of what the lines say. The checkpoint
    comes last, so that all it covers is there; what is there already is never changed.

    Args:
        folder: the log.
        destination: the folder.

    Returns:
        The checkpoint.

    Raises:
        NotWholeError: the tree is not what was signed, or another log is there.
        LogError: there is no checkpoint, or something cannot be read or written.
    """
    log, target = LogFolder.existing(folder), _beside(folder, destination)
    found, store = newest_checkpoint(folder), TileStore(log.tree)
    size = found.checkpoint.size
    try:
        old = _published(target, found.checkpoint, store)
        if store.edge(size).root() != found.checkpoint.root:
            raise NotWholeError(str(log.path), "its tree is not the one that was signed")
        _copy_tiles(store, TileStore(target), old, size)
        for name in ("checkpoints", "statements"):
            for path in sorted((log.tree / name).glob("*.txt")):
                if not (target / name / path.name).exists():
                    write_whole(target / name / path.name, read_file(path))
        write_whole(target / NEWEST, found.note.encode(errors="surrogateescape"))
    except OSError as problem:
        raise LogError(str(destination), reason_of(problem)) from None
    return found.checkpoint


def _published(target: Path, checkpoint: Checkpoint, store: TileStore) -> int:
    """Return how many entries a folder has already, of the same log."""
    path, size = target / NEWEST, checkpoint.size
    if not path.exists():
        return 0
    old = SignedCheckpoint.read(path, str(path)).checkpoint
    is_growth = (
        old.origin == checkpoint.origin
        and old.size <= size
        and verify_consistency(
            old.size,
            size,
            old.root if old.size else EMPTY,
            checkpoint.root,
            consistency_proof(store.node(size), old.size, size),
        )
    )
    if not is_growth:
        raise NotWholeError(str(target), "another log is there, or more of this one")
    return old.size


def _copy_tiles(store: TileStore, target: TileStore, old: int, size: int) -> None:
    """Copy tiles and entries that a smaller tree did not have."""
    level = 0
    while rest := size >> 8 * level:
        for number in range((old >> 8 * level) // WIDTH, -(-rest // WIDTH)):
            width = min(WIDTH, rest - number * WIDTH)
            for kind in (level, *(() if level else (ENTRIES,))):
                store.tile(level, number, width)  # It is there, and whole.
                source = store.path(kind, number)
                source = source if source.exists() else store.path(kind, number, width)
                write_whole(target.path(kind, number, width), read_file(source))
        level += 1


def copy_log(folder: str | Path, destination: str | Path) -> int:
    """Copy a log, which may be written meanwhile, so that the copy verifies.

    Args:
        folder: the log.
        destination: a folder that is not there yet.

    Returns:
        How many bytes of lines were copied.

    Raises:
        LogError: something is there, another process signs or prunes, or it cannot be written.
    """
    log, target = LogFolder.existing(folder), _beside(folder, destination).absolute()
    half = target.with_name(f".{target.name}.tmp")
    if target.exists() or half.exists():
        raise LogError(str(destination), "it is there already and is left as it is")
    try:
        with auditing(log):
            # What is signed comes first, then the heads: the lines are never behind them.
            for name in ("tree", "checkpoints", "policies"):
                _copy_files(log.path / name, half / name)
            copied = sum(_copy_writer(log, half, name) for name in _writers(log))
        half.rename(target)
    except OSError as problem:
        raise LogError(str(destination), reason_of(problem)) from None
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return copied


def _beside(folder: str | Path, destination: str | Path) -> Path:
    """Return where a copy is to be: not in the log, of which it would be a part."""
    if Path(destination).resolve().is_relative_to(Path(folder).resolve()):
        raise LogError(str(folder), f"{destination} is in it: name a folder elsewhere")
    return Path(destination)


def _writers(log: LogFolder) -> list[str]:
    return sorted({*log.writers(), *log.known_writers()})


def _copy_files(source: Path, target: Path) -> None:
    """Copy the plain files of a folder, but for those that are hidden."""
    for path in _plain_files(source):
        _copy(path, target / path.relative_to(source))


def _plain_files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for it in sorted(folder.iterdir()):
        if it.name.startswith("."):
            continue
        if it.is_dir() and not it.is_symlink():
            yield from _plain_files(it)
        elif it.is_file():
            yield it


def _copy_writer(log: LogFolder, half: Path, name: str) -> int:
    """Copy a writer up to its head; return how many bytes its lines have."""
    head = log.head(name)
    path, copied = log.heads / name, 0
    if head is not None:
        write_whole(half / "heads" / name, head.to_bytes())
    elif path.is_file():
        _copy(path, half / "heads" / name)
    for segment in log.segments(name):
        source = Path(segment.path)
        stop = head.length if head and segment.number == head.segment else None
        if head is None or segment.number <= head.segment:
            copied += _copy(source, half / name / source.name, stop)
    for path in sorted((log.path / name).glob("*.pruned")):
        _copy(path, half / name / path.name)
    return copied


def _copy(source: Path, target: Path, stop: int | None = None) -> int:
    """Copy a file, or the first bytes of it; return how many they are."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_file(source) as stream, target.open("xb") as copy:
        rest = os.fstat(stream.fileno()).st_size if stop is None else stop
        while rest > 0 and (block := stream.read(min(rest, 1 << 20))):
            copy.write(block)
            rest -= len(block)
        copy.flush()
        os.fsync(copy.fileno())
        return copy.tell()
