"""JSON Web Tokens of others, taken as credentials: the only door to PyJWT.

A token is believed where its signature, issuer, audience and expiry are right. The keys come from
the configuration; nothing in a token says where to get one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jwt

from policy_router.decision.request import Request
from policy_router.errors import RequestError
from policy_router.server.credentials import LOGGER, MAY, Credential, NotBelievedError
from policy_router.server.fetching import check_address, fetch, is_address, shown, why
from policy_router.server.settings import Issuer, per_second, seconds_of

_LEEWAY_SECONDS: Final = 30
_LONGEST: Final = 1024 * 1024
_PATIENCE_SECONDS: Final = 60.0
_OLD_SECONDS: Final = 3600.0


class Keys:
    """The public keys of an issuer, from a file or an address."""

    def __init__(self, place: str, clock: Callable[[], float]) -> None:
        """Get the keys.

        Args:
            place: the file, or the address.
            clock: seconds that only go forward.

        Raises:
            RequestError: they cannot be got, or the address is not safe.
        """
        self.place, self._clock = place, clock
        self._is_address = is_address(place)
        if self._is_address:
            check_address(place)
        self._at, self._content = clock(), b""
        self.by_id: Mapping[str, Any] = {}
        try:
            self._take(self._got())
        except (OSError, ValueError) as problem:
            raise RequestError(shown(place), f"cannot get keys: {why(problem)}") from None

    async def refresh(self, *, hurry: bool = False) -> bool:
        """Get the keys again, where they may have changed.

        Args:
            hurry: a key is missing: ask at the address now, but at most once a minute.

        Returns:
            Whether there are other keys now.
        """
        wait = _PATIENCE_SECONDS if hurry else _OLD_SECONDS
        if self._is_address and self._clock() - self._at < wait:
            return False
        self._at = self._clock()
        try:
            return self._take(await asyncio.to_thread(self._got))
        except (OSError, ValueError) as problem:
            LOGGER.error("%s: cannot get keys: %s", shown(self.place), why(problem))
            return False

    def _got(self) -> bytes:
        if not self._is_address:
            return Path(self.place).read_bytes()
        content, _ = fetch(self.place, _LONGEST)
        return content or b""

    def _take(self, content: bytes) -> bool:
        if content == self._content:
            return False
        try:
            keys = jwt.PyJWKSet.from_json(content.decode()).keys
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError):
            raise ValueError("this is not a set of public keys (JWKS)") from None
        self.by_id = {str(key.key_id): key for key in keys if key.public_key_use in {None, "sig"}}
        self._content = content
        return True


class Issuers:
    """Whose tokens are taken."""

    def __init__(self, issuers: Sequence[Issuer], clock: Callable[[], float]) -> None:
        """Get the keys of issuers.

        Raises:
            RequestError: they cannot be got.
        """
        self._issuers = {it.issuer: (it, Keys(it.jwks, clock)) for it in issuers}

    async def refresh(self) -> bool:
        """Get keys again where they may have changed; return whether they have."""
        return any([await keys.refresh() for _, keys in self._issuers.values()])

    async def credential(self, token: str) -> Credential:
        """Return who has a token.

        Raises:
            NotBelievedError: it is not good.
        """
        try:
            header = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False})
            issuer, keys = self._issuers[claimed.get("iss", "")]
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError):
            raise NotBelievedError(
                "the token is not from this service or one of its issuers"
            ) from None
        key = await self._key(keys, str(header.get("kid")))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(issuer.algorithms),
                issuer=issuer.issuer,
                audience=issuer.audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as problem:
            raise NotBelievedError(f"the token is not valid ({type(problem).__name__})") from None
        return _credential(issuer, claims)

    async def _key(self, keys: Keys, key_id: str) -> Any:
        if key_id not in keys.by_id:
            await keys.refresh(hurry=True)
        try:
            return keys.by_id[key_id]
        except KeyError:
            raise NotBelievedError("the token is signed with a key that is not known") from None


def _credential(issuer: Issuer, claims: Mapping[str, Any]) -> Credential:
    wanted = issuer.claims
    caller = {
        key: value
        for key, name in (("id", wanted.id), ("team", wanted.team), ("roles", wanted.roles))
        if name is not None and (value := _claim(claims, name)) is not None
    }
    if isinstance(caller.get("roles"), str):
        caller["roles"] = [caller["roles"]]
    found = {fact: _claim(claims, name) for fact, name in wanted.facts.items()}
    facts = {fact: value for fact, value in found.items() if value is not None}
    try:
        given = Request(caller=caller, facts=facts).given
    except RequestError as problem:
        raise NotBelievedError(f"a claim of the token cannot be used: {problem}") from None
    if not given["caller"].get("id"):
        raise NotBelievedError(f"the token has no claim `{wanted.id}`, which says who calls")
    return Credential(
        f"{issuer.issuer} {given['caller']['id']}",
        _roles(issuer, claims),
        given["caller"],
        given["facts"],
        float(claims["exp"]),
        None if issuer.rate is None else per_second(issuer.rate),
        issuer.concurrency,
        None if issuer.deadline is None else seconds_of(issuer.deadline),
        issuer.max_tasks,
    )


def _roles(issuer: Issuer, claims: Mapping[str, Any]) -> frozenset[str]:
    named = None if issuer.role_claim is None else _claim(claims, issuer.role_claim)
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    known = [MAY[name] for name in names if isinstance(name, str) and name in MAY]
    return MAY[issuer.role].union(*known)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a path of names with dots between them."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
