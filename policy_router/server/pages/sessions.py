"""Who reads a page: a signed cookie in place of a credential in each request.

The cookie of a token of the service holds the token's SHA-256 sum, so that a token that is taken
back ends its sessions. That of another issuer's token holds that token, which has an end of its
own. A form has a second value that no other page can know (CSRF).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from policy_router.server.credentials import PREFIX, Credential, sum_of
from policy_router.server.gate import Gate
from policy_router.server.problems import Header, Problem

COOKIE: Final = "policy_router_session"
PATH: Final = "/pages"
_SECONDS: Final = 12 * 3600
_BYTES: Final = 32
_LONGEST: Final = 16_384
_LONGEST_TOKEN: Final = 2_900
"""Browsers keep 4,096 bytes of a cookie, and the token is in it as Base64."""
_AUTHORIZATION: Final = b"authorization"


class _Signed(Struct, frozen=True, array_like=True):
    """What a cookie says.

    Attributes:
        kind: ``sum`` or ``token``, or ``nobody`` who has not signed in.
        subject: the sum or the token, or chance.
        expires: when the session ends, in seconds since 1970.
    """

    kind: str
    subject: str
    expires: float


class Session(Struct, frozen=True):
    """A session of a reader.

    Attributes:
        cookie: the signed value.
        is_new: whether the reader's browser has to be told of it.
        kind: of what it is.
        subject: whose it is.
    """

    cookie: str
    is_new: bool
    kind: str
    subject: str


class Sessions:
    """Makes and knows sessions."""

    def __init__(
        self, gate: Gate, secret: bytes, clock: Callable[[], float], *, has_tls: bool = False
    ) -> None:
        """Keep what they need.

        Args:
            gate: knows credentials.
            secret: signs the cookies.
            clock: seconds since 1970.
            has_tls: whether the service is reached by TLS alone.
        """
        self._gate, self._secret, self._clock = gate, secret, clock
        self._flags = f"Path={PATH}; HttpOnly; SameSite=Lax{'; Secure' * has_tls}"

    def of(self, headers: Mapping[bytes, bytes]) -> Session:
        """Return the session of a request, or a new one of nobody."""
        with suppress(CookieError):
            found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
            said = None if found is None else self._read(found.value)
            if found is not None and said is not None:
                return Session(found.value, is_new=False, kind=said.kind, subject=said.subject)
        return self._new("nobody", secrets.token_urlsafe(_BYTES))

    async def signed_in(self, token: str) -> Session:
        """Begin the session of whoever has a token.

        Raises:
            Problem: the token is not known, or may not read anything here.
        """
        credential = await self._gate.credential({_AUTHORIZATION: b"Bearer " + token.encode()})
        if "auditor" not in credential.roles:
            detail = "this token may not read the log: the role auditor is needed"
            raise Problem(403, "role_needed", detail)
        if token.startswith(PREFIX):
            return self._new("sum", sum_of(token))
        if len(token) > _LONGEST_TOKEN:
            detail = f"no browser keeps a session of a token of more than {_LONGEST_TOKEN:,} bytes"
            raise Problem(413, "too_large", detail)
        return self._new("token", token)

    async def credential(self, session: Session) -> Credential:
        """Return who reads.

        Raises:
            Problem: nobody who has signed in, or the credential has ended.
        """
        if (everybody := self._gate.everybody) is not None:
            return everybody
        if session.kind == "sum":
            return self._gate.of_sum(session.subject)
        if session.kind == "token":
            given = b"Bearer " + session.subject.encode()
            return await self._gate.credential({_AUTHORIZATION: given})
        raise Problem(401, "unknown_credential", "nobody has signed in")

    def for_forms(self, session: Session) -> str:
        """Return the value that a form of a session has to bring."""
        return self._sum(b"form", session.cookie.encode())

    def check_form(self, session: Session, value: str) -> None:
        """Refuse what comes from another page than one of ours.

        Raises:
            Problem: the value is not that of the session's forms.
        """
        if not hmac.compare_digest(self.for_forms(session).encode(), value.encode()):
            detail = "the form is not of this session: load the page again"
            raise Problem(403, "unknown_form", detail)

    def header(self, session: Session) -> Header:
        """Return the header that gives a session to a browser."""
        value = f"{COOKIE}={session.cookie}; Max-Age={_SECONDS}; {self._flags}"
        return b"set-cookie", value.encode()

    def end_header(self) -> Header:
        """Return the header that takes a session from a browser."""
        return b"set-cookie", f"{COOKIE}=; Max-Age=0; {self._flags}".encode()

    def _new(self, kind: str, subject: str) -> Session:
        said = msgspec.json.encode(_Signed(kind, subject, self._clock() + _SECONDS))
        content = base64.urlsafe_b64encode(said).decode().rstrip("=")
        cookie = f"{content}.{self._sum(b'cookie', content.encode())}"
        return Session(cookie, is_new=True, kind=kind, subject=subject)

    def _read(self, cookie: str) -> _Signed | None:
        content, _, signature = cookie.partition(".")
        right = self._sum(b"cookie", content.encode())
        if len(cookie) > _LONGEST or not hmac.compare_digest(right.encode(), signature.encode()):
            return None
        said = msgspec.json.decode(base64.urlsafe_b64decode(content + "=="), type=_Signed)
        return said if said.expires > self._clock() else None

    def _sum(self, what: bytes, content: bytes) -> str:
        return hmac.new(self._secret, what + b"\0" + content, hashlib.sha256).hexdigest()


def secret_in(shared: Path) -> bytes:
    """Return the secret that the workers of a service share for as long as it runs.

    Args:
        shared: their folder.
    """
    path, own = shared / "sessions", shared / f"sessions-{secrets.token_hex(8)}"
    if not path.exists():
        own.touch(mode=0o600)
        own.write_bytes(secrets.token_bytes(_BYTES))
        with suppress(FileExistsError):  # another worker was quicker
            os.link(own, path)
        own.unlink()
    return path.read_bytes()
