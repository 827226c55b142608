"""What is signed: notes, the checkpoints of a log in them, and proofs that hold a checkpoint.

The formats are C2SP's ``signed-note``, ``tlog-checkpoint``, ``tlog-cosignature`` and ``tlog-proof``
(https://c2sp.org).
"""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

from msgspec import Struct

from policy_router.log.sign.keys import (
    ID_SIZE,
    KEY_NAME,
    SignatureError,
    Signer,
    Verifier,
    from_base64,
    to_base64,
)
from policy_router.log.sign.merkle import HASH_SIZE

_MAX_SIGNATURES: Final = 100
_MAX_SIZE: Final = 2**64 - 1
_MOST_TIME: Final = 2**63 - 1
_TIME_SIZE: Final = 8
_SIGNATURE_SIZE: Final = 64
_DASH: Final = "\u2014"
# A note is UTF-8, which surrogates are not, without control characters but for the newline.
_TEXT: Final = re.compile(r"[^\x00-\x09\x0b-\x1f\ud800-\udfff]*\n")
_LINE: Final = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")
_CHECKPOINT: Final = re.compile(
    r"(?P<origin>[^\n]+)\n"
    r"(?P<size>0|[1-9][0-9]{0,19})\n"
    r"(?P<root>[^\n]+)\n"
    r"(?P<extensions>(?:[^\n]+\n)*)"
)
_PROOF: Final = re.compile(
    r"c2sp\.org/tlog-proof@v1\n"
    r"extra (?P<line>[^\n]+)\n"
    r"index (?P<index>0|[1-9][0-9]{0,19})\n"
    r"(?P<hashes>(?:[^\n]+\n)*)\n"
    r"(?P<checkpoint>.+)",
    re.DOTALL,
)
_GROWTH: Final = re.compile(
    r"old (?P<size>0|[1-9][0-9]{0,19})\n(?P<hashes>(?:[^\n]+\n)*)\n(?P<checkpoint>.+)", re.DOTALL
)
_EXTRA: Final = re.compile(rb"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}) \{")
_NOT_GROWTH: Final = "malformed proof: expected the old size, hashes and a checkpoint"
_NOT_CHECKPOINT: Final = "malformed checkpoint: expected lines of origin, size and root"
_NOT_PROOF: Final = "malformed proof: expected a line, its index, hashes and a checkpoint"


def sign(text: str, signer: Signer) -> str:
    """Return a note of a text and one signature.

    Args:
        text: ends with a newline, and has no other control characters.
        signer: who signs.

    Raises:
        SignatureError: no note can hold the text.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    if not _TEXT.fullmatch(text):
        raise SignatureError("malformed text: expected lines that end with newlines, in UTF-8")
    signed = to_base64(signer.verifier().key_id + signer.signature(text.encode()))
    return f"{text}\n{_DASH} {signer.name} {signed}\n"


def opened(note: str, verifier: Verifier) -> str:
    """Return the text of a note that a key has signed; what others have signed is not looked at.

    Raises:
        SignatureError: it is no note, the key has not signed it, or has signed another text.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    text, signatures = _parsed(note)
    by = verifier.name, verifier.key_id
    own = [signature.content for signature in signatures if signature[:2] == by]
    if not own:
        raise SignatureError(f"the note has no signature by `{verifier.title}`")
    if not all(verifier.believes(signature, text.encode()) for signature in own):
        raise SignatureError(f"the signature by `{verifier.title}` is not one of this text")
    return text


def cosigned(note: str, signer: Signer, time: int) -> str:
    """Return a note with one more signature, which says when it was made.

    Args:
        note: the note, whose signatures stay.
        signer: who signs.
        time: when, in seconds since 1970.

    Raises:
        SignatureError: it is no note, or has as many signatures as it can have.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    stamp = struct.pack(">Q", time)
    signature = signer.signature(_cosigned_text(text_of(note), time))
    line = to_base64(signer.verifier().cosigner_id + stamp + signature)
    longer = f"{note}{_DASH} {signer.name} {line}\n"
    text_of(longer)
    return longer


def cosigned_at(note: str, verifier: Verifier) -> int | None:
    """Return when a key signed a note, in seconds since 1970; None where it did not say.

    Raises:
        SignatureError: it is no note, or a signature of the key is not one of its text.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    text, signatures = _parsed(note)
    by, found = (verifier.name, verifier.cosigner_id), None
    for signature in signatures:
        if signature[:2] != by:
            continue
        time = int.from_bytes(signature.content[:_TIME_SIZE])
        content = _cosigned_text(text, time)
        if time > _MOST_TIME or not verifier.believes(signature.content[_TIME_SIZE:], content):
            raise SignatureError(f"the cosignature by `{verifier.name}` is not one of this text")
        found = max(found or 0, time)
    return found


def _cosigned_text(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def signers(note: str) -> list[str]:
    """Return the names and ids of the keys that say that they signed a note, without cosigners.

    Raises:
        SignatureError: it is no note.
    """
    plain = [it for it in _parsed(note)[1] if len(it.content) == _SIGNATURE_SIZE]
    return [f"{it.name}+{it.key_id.hex()}" for it in plain]


def text_of(note: str) -> str:
    """Return the text of a note, whoever has signed it: nothing in it is to be believed.

    Raises:
        SignatureError: it is no note.
    """
    return _parsed(note)[0]


class Checkpoint(Struct, frozen=True):
    """What a log says of itself, to be signed.

    Attributes:
        origin: which log.
        size: how many lines it has.
        root: the root of the tree over them.
        extensions: lines of any meaning.

    Raises:
        SignatureError: one of them cannot be.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lines = (self.origin, *self.extensions)
        if (
            not all(_LINE.fullmatch(line) for line in lines)
            or not 0 <= self.size <= _MAX_SIZE
            or len(self.root) != HASH_SIZE
        ):
            raise SignatureError(_NOT_CHECKPOINT)

    def to_text(self) -> str:
        """Return the text of the note."""
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Read what :meth:`to_text` gave.

        Raises:
            SignatureError: it is no checkpoint.
        """
        parts = _CHECKPOINT.fullmatch(text)
        if parts is None:
            raise SignatureError(_NOT_CHECKPOINT)
        extensions = tuple(parts["extensions"].split("\n")[:-1])
        root = from_base64(parts["root"], "checkpoint")
        return cls(parts["origin"], int(parts["size"]), root, extensions)


class InclusionProof(Struct, frozen=True):
    """Proves that a line is in a log; only the log's verifier is needed.

    Attributes:
        index: the place of the line in the tree, from 0.
        hashes: the inclusion proof.
        checkpoint: the note that signs the tree.
        extra: the writer, a space, and the line; the line alone in a proof of the first edition.

    Raises:
        SignatureError: an attribute has an impossible value.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes

    def __post_init__(self) -> None:
        if (
            not 0 <= self.index <= _MAX_SIZE
            or not self.extra
            or any(len(node) != HASH_SIZE for node in self.hashes)
        ):
            raise SignatureError(_NOT_PROOF)
        Checkpoint.from_text(text_of(self.checkpoint))

    def to_text(self) -> str:
        """Return the proof as ``tlog-proof`` has it."""
        head = ("c2sp.org/tlog-proof@v1", f"extra {to_base64(self.extra)}", f"index {self.index}")
        lines = (*head, *(to_base64(node) for node in self.hashes))
        return "".join(f"{line}\n" for line in lines) + f"\n{self.checkpoint}"

    @classmethod
    def from_text(cls, text: str) -> InclusionProof:
        """Read the result of :meth:`to_text`; a proof without the line is an error.

        Raises:
            SignatureError: it is no such proof.
        """
        parts = _PROOF.fullmatch(text)
        if parts is None:
            raise SignatureError(_NOT_PROOF)
        encoded = (parts["line"], *parts["hashes"].split("\n")[:-1])
        extra, *hashes = (from_base64(item, "proof") for item in encoded)
        return cls(int(parts["index"]), tuple(hashes), parts["checkpoint"], extra)

    @property
    def writer(self) -> str:
        """Whose line it is; empty in a proof of the first edition."""
        found = _EXTRA.match(self.extra)
        return found[1].decode() if found else ""

    @property
    def line(self) -> bytes:
        """The line; :func:`verify_proof` checks it against the hashes."""
        return self.extra[len(self.writer) + 1 :] if self.writer else self.extra


class ConsistencyProof(Struct, frozen=True):
    """Proves that a log only grew between two checkpoints; the log itself is not needed.

    Attributes:
        old_size: how many lines the older checkpoint covers.
        hashes: the consistency proof.
        checkpoint: the note of the newer checkpoint.

    Raises:
        SignatureError: an attribute has an impossible value.
    """

    old_size: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= _MAX_SIZE or any(len(it) != HASH_SIZE for it in self.hashes):
            raise SignatureError(_NOT_GROWTH)
        Checkpoint.from_text(text_of(self.checkpoint))

    def to_text(self) -> str:
        """Return the proof as a request to a witness (https://c2sp.org/tlog-witness)."""
        lines = (f"old {self.old_size}", *(to_base64(node) for node in self.hashes))
        return "".join(f"{line}\n" for line in lines) + f"\n{self.checkpoint}"

    @classmethod
    def from_text(cls, text: str) -> ConsistencyProof:
        """Read what :meth:`to_text` gave.

        Raises:
            SignatureError: it is no such proof.
        """
        parts = _GROWTH.fullmatch(text)
        if parts is None:
            raise SignatureError(_NOT_GROWTH)
        hashes = tuple(from_base64(it, "proof") for it in parts["hashes"].split("\n")[:-1])
        return cls(int(parts["size"]), hashes, parts["checkpoint"])


class _Signature(NamedTuple):
    """A signature line: the name and the id of its key, and what that made."""

    name: str
    key_id: bytes
    content: bytes


def _parsed(note: str) -> tuple[str, list[_Signature]]:
    """Return the text of a note, and its signatures."""
    text, _, block = note.rpartition("\n\n")
    lines = block.removesuffix("\n").split("\n")
    if not _TEXT.fullmatch(note) or note == block or len(lines) > _MAX_SIGNATURES:
        raise SignatureError("malformed note: expected a text, an empty line and signatures")
    return f"{text}\n", [_signature(line) for line in lines]


def _signature(line: str) -> _Signature:
    """Read a signature line."""
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    content = from_base64(encoded, "signature")
    if dash != _DASH or not KEY_NAME.fullmatch(name) or len(content) <= ID_SIZE:
        raise SignatureError("malformed signature: expected a dash, a name and base64")
    return _Signature(name, content[:ID_SIZE], content[ID_SIZE:])
