"""Problems as RFC 9457 defines them, for requests that cannot be answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from policy_router.errors import LogError, RequestError

Header = tuple[bytes, bytes]
"""A header of an answer: its name in lower case, and its value."""

TYPE: Final = b"application/problem+json"
TITLES: Final = {
    400: "Bad request",
    401: "Who asks is not known",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    421: "Not the service that is meant",
    415: "Unsupported content type",
    422: "The request does not fit the policy",
    429: "Too many requests",
    500: "Internal error",
    501: "Not implemented",
    502: "The provider failed",
    503: "Not available",
    504: "The provider did not answer in time",
}


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """Why a request has no other answer.

    Attributes:
        status: the HTTP status.
        code: tells problems apart; a program may rely on it.
        detail: what is wrong, without any secret or fact's value.
        path: the JSON path of what is wrong, or the name of a header.
        help: what to do about it.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        path: str | None = None,
        help: str | None = None,  # noqa: A002 - the word that diagnostics use too
        headers: tuple[Header, ...] = (),
    ) -> None:
        """Make the problem of a status and a reason."""
        super().__init__(status, code, detail)
        self.status, self.code, self.detail = status, code, detail
        self.path, self.help, self.headers = path, help, headers

    def plain(self) -> dict[str, Any]:
        """Return the problem as plain data."""
        said = {
            "type": f"urn:policy-router:problem:{self.code}",
            "title": TITLES[self.status],
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "path": self.path,
            "help": self.help,
        }
        return {key: value for key, value in said.items() if value is not None}

    def to_json(self) -> bytes:
        """Return the body of the answer."""
        return msgspec.json.encode(self.plain())


NOT_JSON: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What is raised for bytes that are not JSON."""


def not_json(problem: Exception | None = None) -> Problem:
    """Return the problem of a body that is not JSON, with the place in it; it holds no value."""
    reason = "" if problem is None else str(problem).removeprefix("JSON is malformed: ")
    if isinstance(problem, UnicodeError):
        reason = "it is not UTF-8"
    elif isinstance(problem, RecursionError):
        reason = "it is nested too deep"
    said = f": {reason[:1].lower()}{reason[1:]}" if reason else ""
    return Problem(400, "not_json", f"the body is not JSON{said}", path="$")


def unfit(problem: RequestError) -> Problem:
    """Return the problem of a request that does not fit the policy."""
    return Problem(422, "bad_request", problem.reason, path=problem.path, help=problem.help)


@contextmanager
def fitting() -> Iterator[None]:
    """Say what does not fit a policy as a problem."""
    try:
        yield
    except RequestError as problem:
        raise unfit(problem) from None


def unlogged(problem: LogError | RuntimeError) -> Problem:
    """Return the problem of a decision that cannot be logged, so that it is not given."""
    reason = problem.reason if isinstance(problem, LogError) else "it is closed"
    return busy("log_unavailable", f"the decision log cannot be written: {reason}")


def busy(code: str, detail: str) -> Problem:
    """Return the problem of what may be tried again after a second."""
    return Problem(503, code, detail, headers=(retry_after(1),))


def role_needed(role: str) -> Problem:
    """Return the problem of a credential that may not do something."""
    detail = f"this credential may not do that: the role {role} is needed"
    help_ = f"`policy-router token new --role {role}` makes a token for `serve --tokens FILE`"
    return Problem(403, "role_needed", detail, help=help_)


def credential_needed() -> Problem:
    """Return the problem of a request that spends money where anybody may ask."""
    detail = "what spends money needs a credential, or a service at a Unix socket"
    help_ = (
        "make a token with `policy-router token new --tokens FILE --id NAME`, and serve with"
        " `--tokens FILE`"
    )
    return Problem(401, "credential_needed", detail, help=help_)


def retry_after(seconds: float) -> Header:
    """Return the header that says when to try again: whole seconds, at least one."""
    return b"retry-after", str(max(1, -int(-seconds // 1))).encode()


def not_verified(path: str, *, may_state: tuple[str, ...]) -> Problem:
    """Return the problem of an agent that states what only a host may."""
    known = ", ".join(("call", "task", *may_state))
    return Problem(
        403,
        "not_verified",
        "an agent may not state this: it comes from the credential or from the service",
        path=path,
        help=f"this credential may state {known}; `agent_may_state` in the configuration adds more",
    )
