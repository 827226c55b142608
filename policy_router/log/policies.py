"""Policies beside the log, by their content, so that every record can be replayed.

``policies/<revision>.json`` is the canonical form, whose SHA-256 the revision is. Beside it,
``policies/<revision>/<digest>/`` holds the rule files as they were written, blanks for secrets: for
a reader, and for the places that explanations point at.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from policy_router.domain import Policy
from policy_router.errors import PolicyError, RecordError, reason_of
from policy_router.files.loader import load_files, load_stored
from policy_router.log.folder import LogFolder, write_whole

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_NAME = 50
_UNSAFE = re.compile(r"[^\w. -]")


class PolicyStore:
    """The policies beside a log."""

    def __init__(self, folder: LogFolder) -> None:
        """Take a log's folder; nothing is read or made."""
        self._folder = folder.policies

    def keep(self, policy: Policy) -> None:
        """Store a policy, if it is not there yet.

        Raises:
            OSError: it cannot be written.
        """
        path, is_kept = self.path(policy.revision), False
        with suppress(OSError):  # what cannot be read is written anew
            is_kept = _holds(path, policy.revision)
        if not is_kept:
            write_whole(path, policy.canonical)
        files = [(source.name, source.blanked()) for source in policy.sources]
        kept = hashlib.sha256(repr(files).encode(errors="surrogatepass")).hexdigest()[:16]
        folder = path.with_suffix("") / kept
        for number, (name, text) in enumerate(files):
            file = folder / _file_name(number, name)
            if not file.exists():
                write_whole(file, text.encode(errors="replace"))

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
            content = path.read_bytes()
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
                    (str(path), path.read_bytes())
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
        """Return the names of the files that do not hold what their names say.

        Raises:
            OSError: one cannot be read.
        """
        if not self._folder.is_dir():
            return []
        files = sorted(self._folder.glob("*.json"))
        return [file.name for file in files if not _holds(file, _revision_of(file))]


def digest(content: bytes) -> str:
    """Return the revision of a canonical form."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _revision_of(path: Path) -> str:
    return path.stem.replace("sha256-", "sha256:", 1)


def _holds(path: Path, revision: str) -> bool:
    return path.is_file() and digest(path.read_bytes()) == revision


def _file_name(number: int, name: str) -> str:
    """Return a name for a rule file that sorts as it was read, and that any system can have."""
    return f"{number:03d}-{_UNSAFE.sub('_', Path(name).name)[-_LONGEST_NAME:]}"
