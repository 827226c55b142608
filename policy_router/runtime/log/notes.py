"""What is signed: notes, the checkpoints of a log in them, and proofs that hold a checkpoint.

The formats are C2SP's ``signed-note``, ``tlog-checkpoint`` and ``tlog-proof``, the keys those of
Ed25519 (RFC 8032). Nothing of the library that signs passes this module: a key is its bytes. The
library is imported with the first key, as most logs are not signed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

from msgspec import Struct

from policy_router.errors import PolicyRouterError
from policy_router.runtime.log.merkle import HASH_SIZE

DEFAULT_NAME: Final = "policy-router"
"""What a key is called that has no name of its own, and is given none."""

_ED25519: Final = b"\x01"
_KEY_SIZE: Final = 32
_ID_SIZE: Final = 4
_MAX_SIGNATURES: Final = 100
_MAX_SIZE: Final = 2**64 - 1
_DASH: Final = "\u2014"
_PRIVATE: Final = "PRIVATE+KEY+"
# A note is UTF-8, which surrogates are not, without control characters but for the newline.
_TEXT: Final = re.compile(r"[^\x00-\x09\x0b-\x1f\ud800-\udfff]*\n")
_LINE: Final = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
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
_NOT_CHECKPOINT: Final = "malformed checkpoint: wanted lines of origin, size and root"
_NOT_PROOF: Final = "malformed proof: wanted a line, its index, hashes and a checkpoint"
_NOT_ED25519: Final = "not an Ed25519 key: wanted one of that algorithm"


class SignatureError(PolicyRouterError, ValueError):
    """What is signed, or a key to it, that cannot be read or is not right.

    No message shows anything of a private key.
    """


@dataclass(frozen=True, slots=True)
class Verifier:
    """Whose signatures are believed.

    Attributes:
        name: the name of the key: not empty, without spaces and plus signs.
        key: the public key, of 32 bytes.

    Raises:
        SignatureError: one of them cannot be.
    """

    name: str
    key: bytes

    def __post_init__(self) -> None:
        _check(self.name, self.key)

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a signature tells its key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:_ID_SIZE]

    @property
    def title(self) -> str:
        """What tells the key from others: its name and its id."""
        return f"{self.name}+{self.key_id.hex()}"

    def encoded(self) -> str:
        """Return the key as ``signed-note`` writes verifier keys, without a newline."""
        return f"{self.title}+{_base64(_ED25519 + self.key)}"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs.

    Attributes:
        name: the name of the key: not empty, without spaces and plus signs.
        key: the private key, of 32 bytes.

    Raises:
        SignatureError: one of them cannot be.
    """

    name: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.name, self.key)

    def verifier(self) -> Verifier:
        """Return what believes this signer.

        Raises:
            ModuleNotFoundError: the extra for signing is not installed.
        """
        with _door():
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        public = Ed25519PrivateKey.from_private_bytes(self.key).public_key()
        return Verifier(self.name, public.public_bytes_raw())

    def encoded(self) -> str:
        """Return the private key as Go's ``sumdb/note`` writes it, without a newline.

        Raises:
            ModuleNotFoundError: the extra for signing is not installed.
        """
        return f"{_PRIVATE}{self.verifier().title}+{_base64(_ED25519 + self.key)}"


def new_signer(name: str) -> Signer:
    """Return a signer with a new key.

    Raises:
        SignatureError: the name cannot be one.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    with _door():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    return Signer(name, Ed25519PrivateKey.generate().private_bytes_raw())


def read_signer(content: bytes, name: str | None = None) -> Signer:
    """Read a private key, from what a file holds.

    Args:
        content: the key as Go's ``sumdb/note`` writes it, in PEM (PKCS #8), or in OpenSSH's form.
        name: what it is called. A key that has a name of its own has to have this one; the others
            are called :data:`DEFAULT_NAME` where none is given.

    Raises:
        SignatureError: it is no such key, not of Ed25519, encrypted, or has another name.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    content = content.strip()
    if not _is_private(content):
        raise SignatureError("not a private key: wanted sumdb/note's form, PKCS #8 PEM or OpenSSH")
    if b"-----BEGIN " in content:
        return Signer(_called(name), _loaded_private(content))
    own_name, key_id, key = _split(content.removeprefix(_PRIVATE.encode()))
    signer = Signer(own_name, key)
    _check_own(signer.verifier(), key_id, name)
    return signer


def read_verifier(content: bytes, name: str | None = None) -> Verifier:
    """Read a public key, from what a file holds, or that of a private key.

    Args:
        content: the key as ``signed-note`` writes it, in PEM (SPKI), in OpenSSH's form, or any
            private key of :func:`read_signer`.
        name: what it is called, as of :func:`read_signer`.

    Raises:
        SignatureError: it is no such key, not of Ed25519, encrypted, or has another name.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    content = content.strip()
    if _is_private(content):
        return read_signer(content, name).verifier()
    # OpenSSH parts a key's kind from the key by a space; a verifier key has none anywhere.
    if b"-----BEGIN " in content or b" " in content:
        return Verifier(_called(name), _loaded_public(content))
    own_name, key_id, key = _split(content)
    verifier = Verifier(own_name, key)
    _check_own(verifier, key_id, name)
    return verifier


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
        raise SignatureError("malformed text: wanted lines that end with newlines, in UTF-8")
    with _door():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    signature = Ed25519PrivateKey.from_private_bytes(signer.key).sign(text.encode())
    signed = _base64(signer.verifier().key_id + signature)
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
    if not all(_is_right(signature, text, verifier) for signature in own):
        raise SignatureError(f"the signature by `{verifier.title}` is not one of this text")
    return text


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
        lines = (self.origin, str(self.size), _base64(self.root), *self.extensions)
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
        root = _from_base64(parts["root"], "checkpoint")
        return cls(parts["origin"], int(parts["size"]), root, extensions)


class Proof(Struct, frozen=True):
    """That a line is in a log, for who has the log's verifier and nothing else.

    Attributes:
        index: the place of the line in the tree, from 0.
        hashes: the inclusion proof.
        checkpoint: the note that signs the tree.
        line: the line; whether it is the one proved is for the hashes to say.

    Raises:
        SignatureError: one of them cannot be.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    line: bytes

    def __post_init__(self) -> None:
        if (
            not 0 <= self.index <= _MAX_SIZE
            or not self.line
            or any(len(node) != HASH_SIZE for node in self.hashes)
        ):
            raise SignatureError(_NOT_PROOF)
        Checkpoint.from_text(text_of(self.checkpoint))

    def to_text(self) -> str:
        """Return the proof as ``tlog-proof`` writes it, with the line as the extra data."""
        head = ("c2sp.org/tlog-proof@v1", f"extra {_base64(self.line)}", f"index {self.index}")
        lines = (*head, *(_base64(node) for node in self.hashes))
        return "".join(f"{line}\n" for line in lines) + f"\n{self.checkpoint}"

    @classmethod
    def from_text(cls, text: str) -> Proof:
        """Read what :meth:`to_text` gave; a proof without the line is not taken.

        Raises:
            SignatureError: it is no such proof.
        """
        parts = _PROOF.fullmatch(text)
        if parts is None:
            raise SignatureError(_NOT_PROOF)
        encoded = (parts["line"], *parts["hashes"].split("\n")[:-1])
        line, *hashes = (_from_base64(item, "proof") for item in encoded)
        return cls(int(parts["index"]), tuple(hashes), parts["checkpoint"], line)


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
        raise SignatureError("malformed note: wanted a text, an empty line and signatures")
    return f"{text}\n", [_signature(line) for line in lines]


def _signature(line: str) -> _Signature:
    """Read a signature line."""
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    content = _from_base64(encoded, "signature")
    if dash != _DASH or not _NAME.fullmatch(name) or len(content) <= _ID_SIZE:
        raise SignatureError("malformed signature: wanted a dash, a name and base64")
    return _Signature(name, content[:_ID_SIZE], content[_ID_SIZE:])


def _is_right(signature: bytes, text: str, verifier: Verifier) -> bool:
    """Say whether a key made a signature of a text."""
    with _door():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        Ed25519PublicKey.from_public_bytes(verifier.key).verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


def _is_private(content: bytes) -> bool:
    """Say whether something looks like a private key."""
    return content.startswith(_PRIVATE.encode()) or b"PRIVATE KEY-----" in content


def _called(name: str | None) -> str:
    """Return the name of a key that has none of its own."""
    return DEFAULT_NAME if name is None else name


def _check(name: str, key: bytes) -> None:
    """Refuse a name or a key that cannot be one."""
    if not _NAME.fullmatch(name):
        raise SignatureError("the name of a key has to be of characters but spaces and plus signs")
    if len(key) != _KEY_SIZE:
        raise SignatureError(f"a key of Ed25519 has {_KEY_SIZE} bytes, this one {len(key)}")


def _check_own(verifier: Verifier, key_id: str, name: str | None) -> None:
    """Refuse a key that has another id than it says, or another name than is wanted."""
    if verifier.key_id.hex() != key_id:
        raise SignatureError("malformed key: its id is not that of its name and its bytes")
    if name not in {None, verifier.name}:
        raise SignatureError(f"the key's name is `{verifier.name}`, and `{name}` was wanted")


def _split(encoded: bytes) -> tuple[str, str, bytes]:
    """Return the name, the id and the key that Go's ``sumdb/note`` writes in one."""
    # What is not UTF-8 becomes what no name and no base64 has.
    name, _, rest = encoded.decode(errors="surrogateescape").partition("+")
    key_id, _, key = rest.partition("+")
    if not key:
        raise SignatureError("malformed key: wanted `name+id+base64`, PEM or OpenSSH's form")
    content = _from_base64(key, "key")
    if not content.startswith(_ED25519):
        raise SignatureError(_NOT_ED25519)
    return name, key_id, content.removeprefix(_ED25519)


def _loaded_private(content: bytes) -> bytes:
    """Return the private key in PEM or in OpenSSH's form."""
    with _door():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    openssh = b"BEGIN OPENSSH PRIVATE KEY" in content
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    key = _loaded(lambda: load(content, None))
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(_NOT_ED25519)
    return key.private_bytes_raw()


def _loaded_public(content: bytes) -> bytes:
    """Return the public key in PEM or in OpenSSH's form."""
    with _door():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    pem = b"-----BEGIN " in content
    load = serialization.load_pem_public_key if pem else serialization.load_ssh_public_key
    key = _loaded(lambda: load(content))
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(_NOT_ED25519)
    return key.public_bytes_raw()


def _loaded(load: Callable[[], object]) -> object:
    """Return what a function of the library makes of a key."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except TypeError:
        problem = "the key is encrypted: wanted one without a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        problem = "malformed key: it is damaged, or of a form or an algorithm that is not known"
    # Raised here, so that what the library said of the content is in no context of it.
    raise SignatureError(problem)


@contextmanager
def _door() -> Iterator[None]:
    """Import from the library, or say what installs it."""
    try:
        yield
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "cryptography":
            raise
        message = "signing needs the extra policy-router[sign]"
        raise ModuleNotFoundError(message, name="cryptography") from None


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _from_base64(text: str, what: str) -> bytes:
    """Read base64, written in the one way that encoders write it."""
    with suppress(ValueError):
        content = base64.b64decode(text, validate=True)
        if _base64(content) == text:
            return content
    raise SignatureError(f"malformed {what}: wanted standard base64")
