"""Authenticates a request, by any of its possible credentials."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from policy_router.errors import RequestError
from policy_router.hosts.pseudonyms import Pseudonyms
from policy_router.server.credentials import (
    MAY,
    PREFIX,
    Credential,
    NotBelievedError,
    TokenFile,
    sum_of,
)
from policy_router.server.problems import Problem
from policy_router.server.settings import Settings

if TYPE_CHECKING:
    from policy_router.server.issuers import Issuers

_SCHEME: Final = b"bearer "
_USUAL_SCHEME: Final = b"Bearer "
_LONGEST: Final = 16_384
_MOST_KNOWN: Final = 10_000
_NEW: Final = "`policy-router token new` makes another, in the file that `tokens` names"
_CHALLENGE: Final = ((b"www-authenticate", b"Bearer"),)


class Gate:
    """Knows who may ask."""

    def __init__(self, settings: Settings) -> None:
        """Read the tokens and keys of a configuration.

        Args:
            settings: the configuration.

        Raises:
            RequestError: they cannot be read.
        """
        self.pseudonyms = pseudonyms_of(settings)
        hidden = self.hidden
        self._tokens = None if settings.tokens is None else TokenFile(settings.tokens, hidden)
        self._issuers = _issuers(settings) if settings.jwt else None
        self._believed: dict[str, Credential] = {}
        self._nobody = None if settings.has_credentials else anonymous(settings)

    async def refresh(self) -> None:
        """Read tokens and keys again where they have changed."""
        if self._tokens is not None:
            self._tokens.refresh()
        if self._issuers is not None and await self._issuers.refresh():
            self._believed = {}

    def known(self, headers: Mapping[bytes, bytes]) -> Credential | None:
        """Return who makes a request, where that is known at once."""
        if self._nobody is not None or self._tokens is None:
            return self._nobody
        given = headers.get(b"authorization", b"")
        found = self._tokens.get(hashlib.sha256(given[7:]).hexdigest())
        if found is None or given[:7] != _USUAL_SCHEME:
            return None
        return found if found.expires is None else None  # its end is looked at below

    async def credential(self, headers: Mapping[bytes, bytes]) -> Credential:
        """Return who makes a request.

        Raises:
            Problem: nobody who is known.
        """
        if (known := self.known(headers)) is not None:
            return known
        given = headers.get(b"authorization", b"")
        if given[:7].lower() != _SCHEME or len(given) > _LONGEST:
            help_ = "send the header `Authorization: Bearer TOKEN`"
            raise _unknown("there is no credential", help_)
        token = given[7:].strip().decode("latin-1")
        digest = sum_of(token)
        found = self._tokens.get(digest) if self._tokens else None
        found = found or self._believed.get(digest)
        if found is None:
            found = await self._believe(token, digest)
        if found.expires is not None and found.expires <= time.time():
            raise _unknown("the credential has expired")
        return found

    def hidden(self, credential: Credential) -> Credential:
        """Return a credential without the names for which pseudonyms stand.

        Raises:
            RequestError: a fact is none that a pseudonym can stand for.
        """
        if self.pseudonyms is None:
            return credential
        return replace(
            credential,
            caller=self.pseudonyms.in_caller(credential.caller),
            facts=self.pseudonyms.in_facts(credential.facts),
        )

    @property
    def everybody(self) -> Credential | None:
        """What anybody may do, where no credentials are set up."""
        return self._nobody

    def of_sum(self, digest: str) -> Credential:
        """Return who has signed in with a token of the file, by the SHA-256 sum of the token.

        Raises:
            Problem: the token was taken back, or has expired.
        """
        found = self._tokens.get(digest) if self._tokens else None
        if found is None:
            raise _unknown("the credential is not known")
        if found.expires is not None and found.expires <= time.time():
            raise _unknown("the credential has expired")
        return found

    async def _believe(self, token: str, digest: str) -> Credential:
        """Return whose a token of an issuer is, and remember it."""
        if self._issuers is None or token.startswith(PREFIX):
            raise _unknown("the credential is not known")
        try:
            found = self.hidden(await self._issuers.credential(token))
        except (NotBelievedError, RequestError) as problem:
            raise _unknown(str(problem)) from None
        if len(self._believed) >= _MOST_KNOWN:
            self._believed = {}
        self._believed[digest] = found
        return found


def _issuers(settings: Settings) -> Issuers:
    """Return the issuers; what reads their tokens is imported only where there are any."""
    from policy_router.server.issuers import Issuers

    return Issuers(settings.jwt, time.monotonic)


def pseudonyms_of(settings: Settings) -> Pseudonyms | None:
    """Return what stands for callers and facts; None where they are named.

    Raises:
        RequestError: the key cannot be read.
    """
    found = settings.pseudonyms
    return None if found is None else Pseudonyms.from_file(found.key, found.facts)


def anonymous(settings: Settings) -> Credential:
    """Return what anybody may do where no credentials are set up: on this machine alone.

    What changes the service needs a socket that nobody else can open.
    """
    roles = MAY["host"] | MAY["auditor"]
    return Credential("", roles if settings.socket_path is None else roles | MAY["admin"])


def _unknown(detail: str, help_: str = _NEW) -> Problem:
    return Problem(401, "unknown_credential", detail, help=help_, headers=_CHALLENGE)
