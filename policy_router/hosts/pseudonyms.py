"""Texts that stand for persons, so that what was logged can be erased by forgetting a key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from policy_router.domain import FrozenDict
from policy_router.errors import RequestError, reason_of

_FEWEST_BYTES: Final = 32
_MOST_BYTES: Final = 4096
_DIGITS: Final = 32
"""128 bits: half of the HMAC, the least that RFC 2104, section 5, recommends."""


class Pseudonyms:
    """Replaces the id of a caller, and facts, by their HMAC-SHA256 under a key of its own.

    Equal texts have equal pseudonyms, so they group, compare and replay as before. Without the
    key, nobody can tell whose they are, or whether they are of a person whose id is known.
    """

    def __init__(self, key: bytes, facts: Collection[str] = ()) -> None:
        """Take a key.

        Args:
            key: a secret that serves nothing else, of at least 32 bytes.
            facts: the names of the facts that are replaced too: texts, or lists of texts.

        Raises:
            RequestError: the key is too short.
        """
        if len(key) < _FEWEST_BYTES:
            raise RequestError("key", f"a key has at least {_FEWEST_BYTES} bytes")
        self._key, self._facts = key, tuple(facts)

    @classmethod
    def from_file(cls, path: str | Path, facts: Collection[str] = ()) -> Pseudonyms:
        """Take the key that a file holds; blanks around it do not count.

        Args:
            path: the file.
            facts: the names of the facts that are replaced too.

        Raises:
            RequestError: the file cannot be read, or holds no such key.
        """
        try:
            with Path(path).open("rb") as stream:
                content = stream.read(_MOST_BYTES + 1)
        except (OSError, ValueError) as problem:
            raise RequestError(str(path), f"cannot be read: {reason_of(problem)}") from None
        if not _FEWEST_BYTES <= len(key := content.strip()) <= _MOST_BYTES:
            remedy = f"openssl rand -hex 32 > {path}"
            reason = f"expected a key of {_FEWEST_BYTES} to {_MOST_BYTES:,} bytes"
            raise RequestError(str(path), reason, remedy)
        return cls(key, facts)

    def of(self, text: str) -> str:
        """Return what stands for a text: 32 hexadecimal digits. Nothing stands for no text."""
        if not text:
            return text
        content = text.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, content, hashlib.sha256).hex()[:_DIGITS]

    def in_request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request with pseudonyms for the caller's id and the facts.

        Args:
            request: its sections, as :func:`policy_router.decide` takes them. What has not the
                shape of a request is left to those who check it.

        Raises:
            RequestError: a fact that is to be replaced is no text, and no list of texts.
        """
        replaced = dict(request)
        if "caller" in request:
            replaced["caller"] = self.in_caller(request["caller"])
        if "facts" in request:
            replaced["facts"] = self.in_facts(request["facts"])
        return replaced

    def in_caller(self, caller: Any) -> Any:
        """Return the section ``caller`` with a pseudonym for its id."""
        if not isinstance(caller, Mapping) or not isinstance(caller.get("id"), str):
            return caller
        return FrozenDict({**caller, "id": self.of(caller["id"])})

    def in_facts(self, facts: Any) -> Any:
        """Return the section ``facts`` with pseudonyms for those that have them.

        Raises:
            RequestError: one of them is no text, and no list of texts.
        """
        if not isinstance(facts, Mapping):
            return facts
        found = {name: self._in_fact(name, facts[name]) for name in self._facts if name in facts}
        return FrozenDict({**facts, **found}) if found else facts

    def _in_fact(self, name: str, value: Any) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return self.of(value)
        if isinstance(value, list | tuple) and all(isinstance(it, str) for it in value):
            return tuple(map(self.of, value))
        reason = "expected a text, or a list of texts: a pseudonym stands for it"
        raise RequestError(f"$.facts.{name}", reason)
