"""Files that a service gets from the addresses in its configuration.

An address begins with ``https://`` or is on this machine. No redirect is followed, no proxy is
asked, and the length and the time of an answer are bounded.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from typing import Any, Final

from policy_router.errors import RequestError, reason_of
from policy_router.server.settings import is_loopback

_SECONDS: Final = 10.0
_PART: Final = 64 * 1024


def is_address(place: str) -> bool:
    """Tell whether a place is an address, and no file."""
    return "://" in place


def check_address(place: str) -> None:
    """Refuse an address that others could answer for.

    Raises:
        RequestError: it is neither https nor on this machine, or has a password in it.
    """
    try:
        parts = urllib.parse.urlsplit(place)
        is_good = parts.port != 0 and parts.username is None
    except ValueError:
        is_good = False
    if not is_good:
        raise RequestError(shown(place), "no address, or one with a user's name in it")
    if parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    ):
        raise RequestError(shown(place), "an address begins with https://, or is on this machine")


def shown(place: str) -> str:
    """Return an address without what may be a secret: a user, a password, a query."""
    scheme, separator, rest = place.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def fetch(place: str, longest: int, etag: str | None = None) -> tuple[bytes | None, str | None]:
    """Get a file.

    Args:
        place: an address that was checked.
        longest: how many bytes the file may have.
        etag: of the file that is there already.

    Returns:
        The file, None where it is the one of the ``etag``; and its own ``etag``.

    Raises:
        OSError: there is no good answer, or it takes too long.
        ValueError: the file is too long.
    """
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))
    headers = {} if etag is None else {"If-None-Match": etag}
    request = urllib.request.Request(place, headers=headers)  # noqa: S310 - checked
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return _content(answer, longest), answer.headers.get("ETag")
    except urllib.error.HTTPError as problem:
        problem.close()
        if problem.code == HTTPStatus.NOT_MODIFIED and etag is not None:
            return None, etag
        raise urllib.error.URLError(f"the answer is {problem.code}") from None
    except TimeoutError:
        raise urllib.error.URLError(f"it takes longer than {_SECONDS:g} seconds") from None
    except http.client.HTTPException as problem:
        raise urllib.error.URLError(f"no HTTP ({type(problem).__name__})") from None


def _content(answer: http.client.HTTPResponse, longest: int) -> bytes:
    end, content = time.monotonic() + _SECONDS, bytearray()
    while part := answer.read1(_PART):
        content += part
        if len(content) > longest:
            raise ValueError(f"it is longer than {longest:,} bytes")
        if time.monotonic() > end:
            raise TimeoutError
    if answer.length:
        raise urllib.error.URLError("the answer ends too early")
    return bytes(content)


def why(problem: OSError | ValueError) -> str:
    """Return why a file cannot be got, on one line."""
    if isinstance(problem, urllib.error.URLError):
        return str(problem.reason)
    return reason_of(problem) if isinstance(problem, OSError) else str(problem)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: files come from where the configuration says."""

    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:
        """Refuse."""
        raise urllib.error.URLError("it answers with a redirect")
