"""Bundles: the rule files of a policy in one signed file, and where a service gets them.

A bundle is a ZIP of plain files. One of them, ``manifest``, is a signed note: a serial, the
policy's name, the commit of its files where that is known, and the SHA-256 sum of every other
file. It is read in memory, and never unpacked.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from policy_router.diagnostics.model import quote
from policy_router.domain import Policy
from policy_router.errors import PolicyError, RequestError, reason_of
from policy_router.files.loader import load_files
from policy_router.files.rule_files import is_suite, rule_files, suites_in
from policy_router.log.files import sync_folder, write_whole
from policy_router.log.sign.keys import SignatureError, Signer, Verifier
from policy_router.log.sign.notes import opened, sign, text_of
from policy_router.server.active import BundleVersion
from policy_router.server.fetching import check_address, fetch, is_address, shown, why

MAX_BYTES: Final = 16 * 1024 * 1024
"""The most bytes of a bundle, and of the files in it together."""
MAX_SERIAL: Final = 10**18 - 1
"""The highest serial that a manifest can have."""

_MANIFEST: Final = "manifest"
_MAX_MANIFEST: Final = 1024 * 1024
_MAX_FILES: Final = 10_000
_FILE: Final = b"PK\x01\x02"  # begins what a ZIP says of one of its files
_TEXT: Final = re.compile(
    r"policy-router bundle v1\n"
    r"serial (?P<serial>0|[1-9][0-9]{0,17})\n"
    r"name (?P<name>[^\n]+)\n"
    r"(?:commit (?P<commit>[A-Za-z0-9_.:-]{1,200})\n)?"
    r"(?P<files>(?:[0-9a-f]{64} [^\n]+\n)+)"
)
_PART: Final = r"[^/\\:.\x00-\x1f][^/\\:\x00-\x1f]*"
_RULE_FILE: Final = re.compile(rf"(?:{_PART}/)*{_PART}\.ya?ml")
_PLAIN: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(RuntimeError, ValueError, OSError, EOFError, OverflowError),
)
"""What is raised for a ZIP that is damaged, or of a kind that is not known."""


class Bundle(Struct, frozen=True):
    """The content of a bundle whose signature and sums are right.

    Attributes:
        serial: is higher in a newer bundle.
        sha256: of the manifest without its signatures, so that it tells one content from another.
        name: the policy's, where no rule file has one.
        files: the rule files and the suites of policy tests: names and contents, sorted.
        commit: the commit that they come from; None where it does not say.
    """

    serial: int
    sha256: str
    name: str
    files: tuple[tuple[str, bytes], ...]
    commit: str | None = None

    @property
    def version(self) -> BundleVersion:
        """Which bundle it is."""
        return BundleVersion(self.serial, self.commit)

    def policy(self, *, strict: bool = False) -> Policy:
        """Compile the policy.

        Raises:
            PolicyError: it has errors, or ``strict`` refuses its warnings.
        """
        rules = [(name, held) for name, held in self.files if not is_suite(Path(name))]
        policy = load_files(rules, name=self.name)
        if strict and policy.warnings.warnings:
            raise PolicyError(policy.warnings)
        return policy


def build(folder: Path, signer: Signer, serial: int, commit: str | None = None) -> bytes:
    """Return a bundle of the rule files of a folder, and of the suites of tests in it.

    Args:
        folder: the folder.
        signer: signs it.
        serial: is higher in a newer bundle.
        commit: the commit that the files come from.

    Raises:
        RequestError: a file is a link.
        OSError: a file cannot be read.
        SignatureError: no bundle can hold the files.
    """
    found = sorted([*rule_files(folder, []), *suites_in(folder)])
    files = [(it.relative_to(folder).as_posix(), _read(it)) for it in found]
    sums = "".join(f"{sha256(content).hexdigest()} {name}\n" for name, content in files)
    head = f"policy-router bundle v1\nserial {serial}\nname {folder.name or 'policy'}\n"
    head += f"commit {commit}\n" if commit is not None else ""
    note = sign(f"{head}{sums}", signer).encode()
    bundle = _zipped([(_MANIFEST, note), *files])
    read(bundle, signer.verifier())  # what nobody would take is not made
    return bundle


def _read(path: Path) -> bytes:
    if path.is_symlink():
        raise RequestError(str(path), "a link is not put into a bundle")
    return path.read_bytes()


def _zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a ZIP, the same for the same files."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return held.getvalue()


def read(content: bytes, verifier: Verifier) -> Bundle:
    """Read a bundle, and verify all of it.

    Raises:
        SignatureError: it is none, or not signed, or its files are not exactly those signed.
    """
    if len(content) > MAX_BYTES or content.count(_FILE) > _MAX_FILES:
        raise SignatureError(f"a bundle has at most {MAX_BYTES:,} bytes and {_MAX_FILES:,} files")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive)
            text = opened(_manifest_in(archive, members), verifier)
            said, sums = _parsed(text)
            _check_names(members, sums)
            files = tuple((it, _content(archive, members[it])) for it in sorted(sums))
    except SignatureError:
        raise
    except _BROKEN as problem:
        raise SignatureError(f"malformed bundle: {type(problem).__name__}") from None
    for file, held in files:
        if sha256(held).hexdigest() != sums[file]:
            raise SignatureError(f"the file {quote(file)} is not the one that was signed")
    sum_ = sha256(text.encode()).hexdigest()
    return Bundle(int(said["serial"]), sum_, said["name"], files, said["commit"])


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the files of a ZIP by their names, where each of them is plain."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename
        if name in found:
            raise SignatureError(f"two files are called {quote(name)}")
        if name != _MANIFEST and not _RULE_FILE.fullmatch(name):
            raise SignatureError(f"no rule file can be called {quote(name)}")
        if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG}:
            raise SignatureError(f"{quote(name)} is not a plain file")
        if info.flag_bits & 1 or info.compress_type not in _PLAIN:
            raise SignatureError(f"{quote(name)} is encrypted, or compressed in an unknown way")
        found[name] = info
    if sum(info.file_size for info in found.values()) > MAX_BYTES:
        raise SignatureError(f"its files have more than {MAX_BYTES:,} bytes together")
    return found


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        return stream.read(info.file_size + 1)  # a read of all would unpack more than that first


def _manifest_in(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> str:
    if _MANIFEST not in members or members[_MANIFEST].file_size > _MAX_MANIFEST:
        raise SignatureError("malformed bundle: it has no manifest, or too long a one")
    return _content(archive, members[_MANIFEST]).decode()


def _parsed(text: str) -> tuple[re.Match[str], dict[str, str]]:
    """Return the serial, the name and the commit, and the sums by file, of a manifest."""
    if (parts := _TEXT.fullmatch(text)) is None:
        raise SignatureError("malformed manifest: expected a serial, a name, sums and files")
    lines = [line.partition(" ") for line in parts["files"].split("\n")[:-1]]
    return parts, {name: found for found, _, name in lines}


def _check_names(there: Mapping[str, Any], signed: Mapping[str, Any]) -> None:
    if wrong := sorted((there.keys() - {_MANIFEST}) ^ signed.keys()):
        what = "is missing" if wrong[0] in signed else "is not signed"
        raise SignatureError(f"the file {quote(wrong[0])} {what}")


class Bundles:
    """Where a service gets its bundles, and its folder with the last good one."""

    def __init__(self, place: str, verifier: Verifier, folder: Path, seconds: float) -> None:
        """Get nothing yet.

        Args:
            place: the file of a bundle, or its address.
            verifier: has to have signed it.
            folder: keeps the last good bundle, and so the highest serial.
            seconds: how often the address is asked for a newer one.

        Raises:
            RequestError: the place can have no bundle.
        """
        self.is_address = is_address(place)
        if self.is_address:
            check_address(place)
        elif Path(place).is_dir():
            raise RequestError(place, "expected a signed bundle, found a folder")
        self.seconds, self.verifier = max(0.1, seconds), verifier
        self.candidate, self._good = folder / "candidate.bundle", folder / "good.bundle"
        self._place, self._etag, self._seen = place, "", b""

    def fetch(self, *, only_changed: bool = False) -> bool:
        """Get the bundle, and write it to :attr:`candidate`.

        Args:
            only_changed: leave a bundle that was got before.

        Returns:
            Whether there is one to be looked at.

        Raises:
            RequestError: it cannot be got, or not be written.
        """
        try:
            content, etag = self._got(self._etag if only_changed else "")
            if content is None or (only_changed and sha256(content).digest() == self._seen):
                return False
            write_whole(self.candidate, content)
        except (OSError, ValueError) as problem:
            reason = f"cannot get a bundle: {why(problem)}"
            raise RequestError(shown(self._place), reason) from None
        self._etag, self._seen = etag or "", sha256(content).digest()
        return True

    def _got(self, etag: str) -> tuple[bytes | None, str | None]:
        if self.is_address:
            return fetch(self._place, MAX_BYTES, etag or None)
        with Path(self._place).open("rb") as stream:
            return stream.read(MAX_BYTES + 1), None

    def keep(self, serial: int, sha256: str) -> None:
        """Let the candidate be the last good bundle, and its serial the highest.

        Args:
            serial: of the candidate.
            sha256: of its manifest.

        Raises:
            SignatureError: a newer one was good already, or another one with its serial.
            RequestError: the folder cannot be read or written.
        """
        highest, content = self._highest()
        if serial < highest:
            raise SignatureError(f"its serial {serial} is older than {highest}")
        if serial == highest and sha256 != content:
            raise SignatureError(f"another bundle had its serial {serial} already")
        try:
            self.candidate.replace(self._good)
            sync_folder(self._good.parent)
        except OSError as problem:
            raise RequestError(str(self._good), reason_of(problem)) from None

    def _highest(self) -> tuple[int, str]:
        """Return the highest serial and the sum of its manifest, whoever signed it."""
        try:
            with zipfile.ZipFile(self._good) as archive:
                text = text_of(_manifest_in(archive, _members(archive)))
                serial = int(_parsed(text)[0]["serial"])
        except FileNotFoundError:
            return -1, ""
        except _BROKEN:
            reason = "the last good bundle cannot be read, so the highest serial is not known"
            raise RequestError(str(self._good), reason) from None
        return serial, sha256(text.encode()).hexdigest()

    def first(self, *, strict: bool) -> tuple[Policy, BundleVersion, Exception | None]:
        """Return the policy to begin with.

        Returns:
            It and its bundle, and what was wrong with the newest one where that is the last good.

        Raises:
            RequestError: cannot get a bundle; as the others, where no good one is on the disk.
            SignatureError: the bundle is not good.
            PolicyError: the policy in it is not good.
        """
        try:
            self.fetch()
            bundle = read(self.candidate.read_bytes(), self.verifier)
            policy = bundle.policy(strict=strict)
            self.keep(bundle.serial, bundle.sha256)
        except (RequestError, SignatureError, PolicyError) as problem:
            self._etag, self._seen = "", b""
            try:
                bundle = read(self._good.read_bytes(), self.verifier)
                return bundle.policy(strict=strict), bundle.version, problem
            except (OSError, SignatureError, PolicyError):
                raise problem from None
        return policy, bundle.version, None
