"""Reads and checks a request over HTTP before it is answered.

Which name the client calls the service by, and which page it comes from, are always checked: a web
page can let a browser ask a service on the reader's own machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from policy_router.errors import RequestError
from policy_router.files.ids import check_session
from policy_router.log.entry import TAG_RULE, are_tags
from policy_router.server.credentials import Credential
from policy_router.server.problems import NOT_JSON, TYPE, Header, Problem, not_json
from policy_router.server.tracing import TRACEPARENT

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LONGEST_BODY: Final = 1024 * 1024
"""The longest body, in bytes."""
JSON: Final = b"application/json"
FORM: Final = b"application/x-www-form-urlencoded"
"""What a page of the service sends."""
_PLAIN: Final = ((b"content-encoding", b"identity"), (b"transfer-encoding", b"chunked"))
"""How a body may come, if a header says so."""
_Type = TypeVar("_Type")
API_KEY: Final = b"x-api-key"
"""Where clients of Anthropic have their credential."""
SESSION: Final = b"policy-router-session"
TAGS: Final = b"policy-router-tags"
_ONCE: Final = (
    b"host",
    b"origin",
    b"authorization",
    b"content-type",
    b"policy-router-facts",
    b"policy-router-parent",
    SESSION,
    TAGS,
    API_KEY,
)
_LONGEST_QUERY: Final = 4096
_LONGEST_NUMBER: Final = 20


class Asked(Struct, frozen=True, eq=False):
    """What a request asks, and who does.

    Attributes:
        credential: who asks.
        body: its body.
        headers: its headers, by names in lower case.
        query: what stands behind the question mark of its address.
        rest: what of its path the route leaves open.
        gone: returns when the client has hung up.
    """

    credential: Credential
    body: bytes = b""
    headers: Mapping[bytes, bytes] = {}
    query: bytes = b""
    rest: str = ""
    gone: Receive | None = None

    def options(self, *known: str) -> dict[str, str]:
        """Return the parameters of the address.

        Raises:
            Problem: one is given twice, or is none of those that are known.
        """
        found: dict[str, str] = {}
        if not self.query:
            return found
        if len(self.query) > _LONGEST_QUERY:
            raise Problem(400, "bad_query", "the query of the address is too long")
        for name, value in parse_qsl(self.query.decode("latin-1"), keep_blank_values=True):
            if name not in known:
                help_ = f"known: {', '.join(known) or 'none'}"
                raise Problem(400, "bad_query", "there is no such parameter", path=name, help=help_)
            if name in found:
                raise Problem(400, "bad_query", "the parameter is given twice", path=name)
            found[name] = value
        return found

    def flag(self, options: Mapping[str, str], name: str) -> bool:
        """Return a parameter that is ``true`` or ``false``."""
        value = options.get(name, "false")
        if value not in {"true", "false"}:
            raise Problem(400, "bad_query", "expected true or false", path=name)
        return value == "true"


class Marks(Struct, frozen=True):
    """What the log has of decisions besides, as their host says; it decides nothing.

    Attributes:
        session_id: the session that they belong to; None where nobody says.
        tags: up to eight words of the host's own.
    """

    session_id: str | None = None
    tags: tuple[str, ...] = ()


def marks_in(headers: Mapping[bytes, bytes]) -> Marks:
    """Return what headers say of decisions for the log alone.

    Raises:
        Problem: no line can have it.
    """
    session = headers[SESSION].decode("latin-1") if SESSION in headers else None
    tags = tuple(filter(None, map(bytes.strip, headers.get(TAGS, b"").split(b","))))
    try:
        if session is not None:
            check_session(session)
    except RequestError as problem:
        raise Problem(400, "bad_header", problem.reason, path=SESSION.decode()) from None
    try:
        words = tuple(it.decode() for it in tags)
    except UnicodeDecodeError:
        words = ("",)  # no tag is empty
    if not are_tags(words):
        raise Problem(400, "bad_header", TAG_RULE, path=TAGS.decode())
    return Marks(session, words)


class Answer(Struct, frozen=True):
    """What is answered.

    Attributes:
        body: the body.
        status: the HTTP status.
        headers: headers besides those of every answer.
        type: the content type.
        pieces: further pieces of a body whose end is not known yet.
        revision: the revision of the policy that decided, where that is not the newest one.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[Header, ...] = ()
    type: bytes = JSON
    pieces: AsyncGenerator[bytes, None] | None = None
    revision: str | None = None

    @classmethod
    def of(cls, content: Any, status: int = 200) -> Answer:
        """Return an answer of plain data."""
        return cls(msgspec.json.encode(content), status)


class DisconnectedError(Exception):
    """The client has hung up."""


class BrokenOffError(Exception):
    """An answer that has begun cannot be finished."""


def answer_of(problem: Problem) -> Answer:
    """Return the answer that says a problem."""
    return Answer(problem.to_json(), problem.status, problem.headers, TYPE)


class Edges:
    """The names and pages that clients may come from."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        """Take those of the configuration; this machine and plain addresses are always among them.

        Args:
            hosts: names without ports.
            origins: such as ``https://console.example.com``.
        """
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self._good: set[bytes] = set()

    def headers(self, raw: list[Header]) -> Mapping[bytes, bytes]:
        """Return the headers of a request, by their names.

        Raises:
            Problem: it calls the service by another name, comes from another page, or has a header
                twice that decides.
        """
        headers = dict(raw)
        if len(headers) != len(raw):
            names = [name for name, _ in raw]
            if names.count(TRACEPARENT) > 1:
                del headers[TRACEPARENT]  # as if it were malformed
            for name in _ONCE:
                if names.count(name) > 1:
                    detail = "the header is given twice"
                    raise Problem(400, "bad_header", detail, path=name.decode())
        host = headers.get(b"host", b"")
        if host not in self._good:
            self._check_host(host)
        origin = headers.get(b"origin")
        if origin is not None:
            self._check_origin(origin.decode("latin-1").lower(), host.decode("latin-1").lower())
        return headers

    def _check_host(self, host: bytes) -> None:
        try:
            parts = urlsplit(f"//{host.decode('ascii')}")
            is_plain = parts.netloc.encode() == host and b"@" not in host and parts.port != 0
            name = (parts.hostname or "") if is_plain else ""
        except ValueError:  # not ASCII, too, is such an error
            name = ""
        if name not in self._hosts and not _is_address(name):
            raise Problem(
                421 if name else 400,
                "unknown_host",
                "the service is not called by this name",
                path="host",
                help="`hosts` in the configuration lists the names that clients may use",
            )
        if len(self._good) < 1000:  # noqa: PLR2004 - there are few names, and ports of chance
            self._good.add(host)

    def _check_origin(self, origin: str, host: str) -> None:
        if origin not in self._origins and origin not in {f"http://{host}", f"https://{host}"}:
            raise Problem(
                403,
                "unknown_origin",
                "a page of another origin may not ask",
                path="origin",
                help="`origins` in the configuration lists the pages that may",
            )


def with_bearer(headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """Return headers in which a credential stands where it usually does.

    Raises:
        Problem: there are two.
    """
    key = headers.get(API_KEY)
    if key is None:
        return headers
    bearer = b"Bearer " + key
    if headers.get(b"authorization", bearer) != bearer:
        detail = "a credential is given twice: in this header and in `authorization`"
        raise Problem(400, "stated_twice", detail, path=API_KEY.decode())
    return {**headers, b"authorization": bearer}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def length_of(headers: Mapping[bytes, bytes], longest: int) -> int:
    """Return how many bytes of a body are announced; a body without a length may be the longest.

    Raises:
        Problem: they are too many.
    """
    length = headers.get(b"content-length")
    if length is None:
        return longest if b"transfer-encoding" in headers else 0
    if len(length) > _LONGEST_NUMBER or not length.isdigit() or int(length) > longest:
        raise _too_long(longest)
    return int(length)


async def body_of(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    longest: int = LONGEST_BODY,
    *,
    type_: bytes = JSON,
) -> bytes:
    """Return the body of a request, which has to be of one type.

    Args:
        headers: the headers of the request.
        receive: returns the pieces of the body.
        longest: how many bytes it may have.
        type_: its content type.

    Raises:
        Problem: it is something else, or too long.
        DisconnectedError: the client has hung up before its end, or was too slow.
    """
    length_of(headers, longest)
    message = await receive()
    content: bytes = message.get("body", b"")
    if message.get("more_body") or message["type"] != "http.request":
        content = await _rest(message, receive, longest)
    if len(content) > longest:
        raise _too_long(longest)
    kind = headers.get(b"content-type", b"")
    if kind != type_ and (content or kind):
        _check_type(kind, type_)
    for name, plain in _PLAIN:
        if name in headers and headers[name].lower() != plain:
            detail = "the body is compressed, or in a form that is not known"
            raise Problem(415, "unsupported_type", detail, path=name.decode())
    return content


def decoded(body: bytes, type_: type[_Type]) -> _Type:
    """Return the content of a body.

    Raises:
        Problem: it is not JSON, or of another shape.
    """
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as problem:
        reason, _, place = str(problem).partition(" - at ")
        reason, path = reason[:1].lower() + reason[1:], place.strip("`") or "$"
        raise Problem(422, "bad_request", reason, path=path) from None
    except NOT_JSON as problem:
        raise not_json(problem) from None


async def _rest(message: MutableMapping[str, Any], receive: Receive, longest: int) -> bytes:
    parts, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise DisconnectedError
        part = message.get("body", b"")
        size += len(part)
        if size > longest:
            raise _too_long(longest)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _check_type(kind: bytes, wanted: bytes) -> None:
    name, _, parameter = kind.lower().partition(b";")
    is_plain = parameter.strip() in {b"", b"charset=utf-8", b'charset="utf-8"'}
    if name.strip() != wanted or not is_plain:
        called = "JSON" if wanted == JSON else "a form"
        detail = f"expected {called} in UTF-8: {wanted.decode()}"
        help_ = f"send the header `Content-Type: {wanted.decode()}`"
        raise Problem(415, "unsupported_type", detail, path="content-type", help=help_)


def _too_long(longest: int) -> Problem:
    detail = f"the body is longer than {longest:,} bytes"
    return Problem(413, "too_large", detail, headers=((b"connection", b"close"),))
