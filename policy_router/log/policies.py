"""Policies beside the log, by their content, so that every record can be replayed.

``policies/<revision>.json`` is the canonical form, whose SHA-256 the revision is. Beside it,
``policies/<revision>/<digest>/`` holds the rule files as they were written, blanks for secrets: for
a reader, and for the places that explanations point at.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from msgspec import Struct

from policy_router.domain import Policy
from policy_router.errors import PolicyError, RecordError, reason_of
from policy_router.files.loader import load_files, load_stored
from policy_router.log.files import open_file, read_file, write_whole
from policy_router.log.folder import LogFolder
from policy_router.log.used_policy import RuleFile, UsedPolicy, annotations_of

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FILES = re.compile(r"[0-9a-f]{32}")
_MOST_BYTES = 64 << 20
_LONGEST_NAME = 50
_UNSAFE = re.compile(r"[^\w. -]")


class PolicyStore:
    """The policies beside a log."""

    def __init__(self, folder: LogFolder) -> None:
        """Take a log's folder; nothing is read or made."""
        self._folder = folder.policies

    def keep(self, policy: Policy) -> None:
        """Store a policy and its rule files, if they are not there yet.

        Raises:
            OSError: it cannot be written.
        """
        path, is_kept = self.path(policy.revision), False
        with suppress(OSError):  # what cannot be read is written again
            is_kept = _holds(path, policy.revision)
        if not is_kept:
            write_whole(path, policy.canonical)
        written = policy.prepared(written_files)
        folder = path.with_suffix("") / written.digest
        for name, content in written.files:
            if not (folder / name).exists():
                write_whole(folder / name, content)

    def path(self, revision: str) -> Path:
        """Return where a policy is: under its revision, where a file can have that name."""
        plain = self._folder / f"{revision}.json"
        portable = self._folder / f"{revision.replace(':', '-')}.json"
        return portable if os.name == "nt" or os.path.exists(portable) else plain  # noqa: PTH110 - it raises nothing

    def has(self, revision: str) -> bool:
        """Tell whether there is a file for a revision."""
        return bool(_DIGEST.fullmatch(revision)) and self.path(revision).exists()

    def load(self, revision: str) -> Policy:
        """Compile the policy of a revision.

        Raises:
            RecordError: it is not there, or it is not what it was.
        """
        if not _DIGEST.fullmatch(revision):
            raise RecordError("the record names no revision of a policy")
        path = self.path(revision)
        try:
            content = read_file(path, _MOST_BYTES)
        except OSError as problem:
            reason = reason_of(problem)
            raise RecordError(f"the policy {revision[:19]} is not kept: {reason}") from None
        if digest(content) != revision:
            reason = "its file was changed"
            raise RecordError(f"the policy {revision[:19]} is not what it was: {reason}")
        try:
            policy = load_stored(path.name, content, name=path.stem)
        except PolicyError:
            reason = "this version finds errors in it"
            raise RecordError(f"the policy {revision[:19]} cannot be used: {reason}") from None
        # Its revision is that of the stored bytes: another edition may write another form.
        return replace(policy, canonical=content, revision=revision)

    def load_as_written(self, revision: str) -> Policy:
        """Compile the policy of a revision from its rule files, if they still give it.

        Raises:
            RecordError: as for :meth:`load`.
        """
        policy = self.load(revision)
        folders = self.path(revision).with_suffix("")
        for folder in sorted(folders.iterdir()) if folders.is_dir() else ():
            try:
                files = [
                    (str(path), read_file(path, _MOST_BYTES))
                    for path in sorted(folder.iterdir())
                    if not path.name.startswith(".")
                ]
                written = load_files(files, name=policy.name)
            except (OSError, PolicyError):
                continue
            if written.revision == revision:
                return written
        return policy

    def altered(self) -> list[str]:
        """Return the names of policies and rule files that do not hold what their names say.

        Raises:
            OSError: one cannot be read.
        """
        if not self._folder.is_dir():
            return []
        files = sorted(self._folder.glob("*.json"))
        found = [file.name for file in files if not _holds(file, _revision_of(file))]
        folders = sorted(it for it in self._folder.glob("*/*") if _FILES.fullmatch(it.name))
        for folder in folders:
            content = ((it.name, _read(it)) for it in sorted(folder.iterdir()))
            if (
                _digest_of_files((name, it) for name, it in content if name[:1] != ".")
                != folder.name
            ):
                found.append(folder.relative_to(self._folder).as_posix())
        return found


class WrittenFiles(Struct, frozen=True):
    """The rule files of a policy as they are kept.

    Attributes:
        digest: the name of their folder.
        files: the name of each, and what it holds, with blanks for secrets.
    """

    digest: str
    files: tuple[tuple[str, bytes], ...]


def written_files(policy: Policy) -> WrittenFiles:
    """Return the rule files of a policy as they are kept."""
    files = tuple(
        (_file_name(number, source.name), source.blanked().encode(errors="replace"))
        for number, source in enumerate(policy.sources)
    )
    return WrittenFiles(_digest_of_files(files), files)


def are_same_files(one: Policy, other: Policy) -> bool:
    """Tell whether two policies are of the same rule files."""
    return one.prepared(written_files).digest == other.prepared(written_files).digest


def used_policy(
    policy: Policy, *, origin_commit: str | None = None, loaded_by: str | None = None
) -> UsedPolicy:
    """Return what a line says of a policy.

    Args:
        policy: what is decided by.
        origin_commit: the commit that its rule files come from.
        loaded_by: who loaded it.
    """
    written = policy.prepared(written_files)
    return UsedPolicy(
        policy.name,
        policy.revision,
        written.digest,
        tuple(RuleFile(name, hashlib.sha256(it).hexdigest()) for name, it in written.files),
        origin_commit,
        loaded_by,
        annotations_of(policy),
    )


def digest(content: bytes) -> str:
    """Return the revision of a canonical form."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _revision_of(path: Path) -> str:
    return path.stem.replace("sha256-", "sha256:", 1)


def _holds(path: Path, revision: str) -> bool:
    if not path.is_file():
        return False
    with open_file(path) as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == revision


def _read(path: Path) -> bytes:
    """Return what a rule file holds; something else where it is none."""
    return read_file(path, _MOST_BYTES) if path.is_file() else b"\0"


def _digest_of_files(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the name of the folder of rule files: 32 digits, where the first edition has 16."""
    found = hashlib.sha256()
    for name, content in files:
        found.update(b"%d %s %d\n%s" % (len(name), name.encode(), len(content), content))
    return found.hexdigest()[:32]


def _file_name(number: int, name: str) -> str:
    """Return a name for a rule file that sorts as it was read, and that any system can have."""
    return f"{number:03d}-{_UNSAFE.sub('_', Path(name).name)[-_LONGEST_NAME:]}"
