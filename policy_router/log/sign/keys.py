"""The keys that sign: of Ed25519 (RFC 8032), in the forms that files hold.

Nothing of the library that signs passes this module: a key is its bytes. The library is imported
with the first key, as most logs are not signed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from policy_router.errors import PolicyRouterError, needs_extra

DEFAULT_NAME: Final = "policy-router"
"""What a key is called that has no name of its own."""
ID_SIZE: Final = 4
"""The bytes of a key's id."""
KEY_NAME: Final = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
"""What a key can be called."""

_ED25519: Final = b"\x01"
_COSIGNATURE: Final = b"\x04"
"""The type of a signature with its time (https://c2sp.org/tlog-cosignature)."""
_KEY_SIZE: Final = 32
_PRIVATE: Final = "PRIVATE+KEY+"
_NOT_ED25519: Final = "not an Ed25519 key: expected one of that algorithm"


class SignatureError(PolicyRouterError, ValueError):
    """A key, a signature or signed data that cannot be read or is wrong.

    No message contains a part of a private key.
    """


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with a name.

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
        """The four bytes in a signature that identify its key."""
        return self._id(_ED25519)

    @property
    def cosigner_id(self) -> bytes:
        """The same in a signature that has its time."""
        return self._id(_COSIGNATURE)

    def _id(self, kind: bytes) -> bytes:
        return sha256(self.name.encode() + b"\n" + kind + self.key).digest()[:ID_SIZE]

    @property
    def title(self) -> str:
        """The name of the key and its id."""
        return f"{self.name}+{self.key_id.hex()}"

    def believes(self, signature: bytes, content: bytes) -> bool:
        """Tell whether a signature of a content is by this key.

        Raises:
            ModuleNotFoundError: the extra for signing is not installed.
        """
        with _door():
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, content)
        except InvalidSignature:
            return False
        return True

    def encoded(self) -> str:
        """Return the key as ``signed-note`` writes verifier keys, without a newline."""
        return f"{self.title}+{to_base64(_ED25519 + self.key)}"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key with a name.

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
        """Return the verifier of this signer.

        Raises:
            ModuleNotFoundError: the extra for signing is not installed.
        """
        with _door():
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        public = Ed25519PrivateKey.from_private_bytes(self.key).public_key()
        return Verifier(self.name, public.public_bytes_raw())

    def signature(self, content: bytes) -> bytes:
        """Return the signature of a content, 64 bytes long.

        Raises:
            ModuleNotFoundError: the extra for signing is not installed.
        """
        with _door():
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        return Ed25519PrivateKey.from_private_bytes(self.key).sign(content)

    def encoded(self) -> str:
        """Return the private key as Go's ``sumdb/note`` writes it, without a newline.

        Raises:
            ModuleNotFoundError: the extra for signing is not installed.
        """
        return f"{_PRIVATE}{self.verifier().title}+{to_base64(_ED25519 + self.key)}"


def new_signer(name: str) -> Signer:
    """Return a signer with a new key.

    Raises:
        SignatureError: the name is empty, or has a space or a plus sign.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    with _door():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    return Signer(name, Ed25519PrivateKey.generate().private_bytes_raw())


def read_signer(content: bytes) -> Signer:
    """Read a private key from the content of a file.

    Args:
        content: the key as Go's ``sumdb/note`` writes it, in PEM (PKCS #8), or in OpenSSH's form;
            the name of the last two is :data:`DEFAULT_NAME`.

    Raises:
        SignatureError: it is no such key, not of Ed25519, or encrypted.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    content = content.strip()
    if not _is_private(content):
        raise SignatureError(
            "not a private key: expected sumdb/note's form, PKCS #8 PEM or OpenSSH"
        )
    if b"-----BEGIN " in content:
        return Signer(DEFAULT_NAME, _loaded_private(content))
    own_name, key_id, key = _split(content.removeprefix(_PRIVATE.encode()))
    if not key.startswith(_ED25519):
        raise SignatureError(_NOT_ED25519)
    signer = Signer(own_name, key[1:])
    _check_id(signer.verifier(), key_id, _ED25519)
    return signer


def read_verifier(content: bytes) -> Verifier:
    """Read a public key from the content of a file with a public or private key.

    Args:
        content: the key as ``signed-note`` writes it, in PEM (SPKI), in OpenSSH's form, or any
            private key of :func:`read_signer`.

    Raises:
        SignatureError: it is no such key, not of Ed25519, or encrypted.
        ModuleNotFoundError: the extra for signing is not installed.
    """
    content = content.strip()
    if _is_private(content):
        return read_signer(content).verifier()
    # OpenSSH parts a key's kind from the key by a space; a verifier key has none anywhere.
    if b"-----BEGIN " in content or b" " in content:
        return Verifier(DEFAULT_NAME, _loaded_public(content))
    own_name, key_id, key = _split(content)
    verifier = Verifier(own_name, key[1:])
    _check_id(verifier, key_id, key[:1])
    return verifier


def read_verifiers(content: bytes) -> list[Verifier]:
    """Read public keys from the content of a file: one in any form, or several, one a line."""
    lines = [line for line in content.splitlines() if line.strip()]
    is_list = len(lines) > 1 and b"-----BEGIN " not in content
    return [read_verifier(line) for line in (lines if is_list else [content])]


def _is_private(content: bytes) -> bool:
    """Say whether something looks like a private key."""
    return content.startswith(_PRIVATE.encode()) or b"PRIVATE KEY-----" in content


def _check(name: str, key: bytes) -> None:
    """Refuse a name or a key that cannot be one."""
    if not KEY_NAME.fullmatch(name):
        raise SignatureError(
            "the name of a key must consist of characters other than spaces and plus signs"
        )
    if len(key) != _KEY_SIZE:
        raise SignatureError(f"a key of Ed25519 has {_KEY_SIZE} bytes, this one {len(key)}")


def _check_id(verifier: Verifier, key_id: str, kind: bytes) -> None:
    """Refuse a key that has another id than it says."""
    own = verifier.key_id if kind == _ED25519 else verifier.cosigner_id
    if own.hex() != key_id:
        raise SignatureError("malformed key: its id is not that of its name and its bytes")


def _split(encoded: bytes) -> tuple[str, str, bytes]:
    """Return the name, the id and the key, after its type, that Go's ``sumdb/note`` writes."""
    # What is not UTF-8 becomes what no name and no base64 has.
    name, _, rest = encoded.decode(errors="surrogateescape").partition("+")
    key_id, _, key = rest.partition("+")
    if not key:
        raise SignatureError("malformed key: expected `name+id+base64`, PEM or OpenSSH's form")
    content = from_base64(key, "key")
    is_cosigner = content.startswith(_COSIGNATURE) and len(content) == 1 + _KEY_SIZE
    if not content.startswith(_ED25519) and not is_cosigner:
        raise SignatureError(_NOT_ED25519)
    return name, key_id, content


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
        problem = "the key is encrypted: expected one without a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        problem = "malformed key: it is damaged, or of a form or an algorithm that is not known"
    # Raised here, so that what the library said of the content is in no context of it.
    raise SignatureError(problem)


def _door() -> AbstractContextManager[None]:
    """Import from the library, or say what installs it."""
    return needs_extra("sign", "cryptography", "signing")


def to_base64(content: bytes) -> str:
    """Return standard base64."""
    return base64.b64encode(content).decode()


def from_base64(text: str, what: str) -> bytes:
    """Read base64, written in the one way that encoders write it."""
    with suppress(ValueError):
        content = base64.b64decode(text, validate=True)
        if to_base64(content) == text:
            return content
    raise SignatureError(f"malformed {what}: expected standard base64")
