"""Bearer tokens of the service: their owners, rights and rates.

The file of the tokens has one JSON object a line. It holds the SHA-256 sum of each token and never
the token: whoever reads it cannot ask with it.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from policy_router.decision.request import Request, moment
from policy_router.domain import FrozenDict
from policy_router.errors import RequestError, reason_of
from policy_router.server.problems import Problem, retry_after
from policy_router.server.settings import (
    Duration,
    Rate,
    Role,
    misfit,
    per_second,
    seconds_of,
)

LOGGER: Final = logging.getLogger("policy_router.server")
PREFIX: Final = "pr_"
MAY: Final[Mapping[str, frozenset[str]]] = {
    "agent": frozenset({"agent"}),
    "host": frozenset({"agent", "host"}),
    "auditor": frozenset({"auditor"}),
    "admin": frozenset({"agent", "host", "auditor", "admin"}),
}
"""What each role may do, as the set of roles that it includes."""
_SUM: Final = r"^[0-9a-f]{64}$"
_BYTES: Final = 32
_MOST_KNOWN: Final = 10_000
_LONGEST_UNIT_SECONDS: Final = 3600.0
_LONGEST_FILE: Final = 64 * 1024 * 1024


class NotBelievedError(Exception):
    """A token of an issuer that is not believed, and why."""


class Credential(Struct, frozen=True, eq=False):
    """Who asks, as the service has verified it.

    Attributes:
        key: tells callers apart where their requests are counted.
        roles: what it may do.
        caller: the section ``caller`` of its requests; empty where nobody is known.
        facts: facts of the policy that come with it.
        expires: when it ends, in seconds since 1970; None is never.
        rate: how many requests it may make in a second, and how many at once.
        concurrency: how many of its requests may run at a time.
        deadline: how many seconds a delegation of its agents may take.
        max_tasks: how many tasks of its agents may be under way at a time.
    """

    key: str
    roles: frozenset[str]
    caller: Mapping[str, Any] = FrozenDict()
    facts: Mapping[str, Any] = FrozenDict()
    expires: float | None = None
    rate: tuple[float, int] | None = None
    concurrency: int | None = None
    deadline: float | None = None
    max_tasks: int | None = None

    @property
    def is_host(self) -> bool:
        """Whether it may state what it has verified itself."""
        return "host" in self.roles


class TokenLine(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of the file of the tokens.

    Attributes:
        sha256: the SHA-256 sum of the token, in hexadecimal.
        role: what it may do.
        caller: the section ``caller`` of its requests: ``id``, ``team`` and ``roles``.
        facts: facts of the policy that come with it.
        expires: when it ends, RFC 3339; absent is never.
        rate: how many requests it may make.
        concurrency: how many of its requests may run at a time.
        deadline: how long a delegation of its agents may take.
        max_tasks: how many tasks of its agents may be under way at a time.
    """

    sha256: Annotated[str, Meta(pattern=_SUM)]
    role: Role
    caller: dict[str, Any]
    facts: dict[str, Any] = {}
    expires: str | None = None
    rate: Rate | None = None
    concurrency: Annotated[int, Meta(ge=1)] | None = None
    deadline: Duration | None = None
    max_tasks: Annotated[int, Meta(ge=1)] | None = None

    def credential(self) -> Credential:
        """Return what the line gives to whoever has the token.

        Raises:
            RequestError: the caller, a fact or the time is malformed.
        """
        request = Request(caller=self.caller, facts=self.facts)
        if not request.given["caller"].get("id"):
            raise RequestError("$.caller.id", "the holder of a token must have an id")
        return Credential(
            self.sha256,
            MAY[self.role],
            request.given["caller"],
            request.given["facts"],
            None if self.expires is None else moment(self.expires).timestamp(),
            None if self.rate is None else per_second(self.rate),
            self.concurrency,
            None if self.deadline is None else seconds_of(self.deadline),
            self.max_tasks,
        )


def new_token(line: Callable[[str], TokenLine], path: str) -> str:
    """Make a token, and add it to a file, which only its owner may read.

    Args:
        line: makes the line of a SHA-256 sum.
        path: the file; it is made if it is not there.

    Returns:
        The token. Nobody can see it again.

    Raises:
        RequestError: the line is malformed, or the file cannot be written.
    """
    token = PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        content = msgspec.json.encode(line(sum_of(token)))
        msgspec.json.decode(content, type=TokenLine).credential()
    except msgspec.ValidationError as problem:
        reason, path = misfit(problem)
        raise RequestError(path.removeprefix("$."), reason) from None
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "rb+") as stream:
            is_whole = stream.seek(0, os.SEEK_END) == 0 or _last_byte(stream) == b"\n"
            stream.write((b"" if is_whole else b"\n") + content + b"\n")
    except (OSError, ValueError) as problem:
        raise RequestError(path, f"cannot be written: {reason_of(problem)}") from None
    return token


def sum_of(token: str) -> str:
    """Return the SHA-256 sum of a token, in hexadecimal."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class TokenFile:
    """The tokens of a file, read again when the file changes."""

    def __init__(self, path: str, hidden: Callable[[Credential], Credential]) -> None:
        """Read a file.

        Args:
            path: the file.
            hidden: returns a credential without the names for which pseudonyms stand.

        Raises:
            RequestError: it cannot be read, or a line of it is malformed.
        """
        self._path, self._seen, self._hidden = Path(path), (0, 0), hidden
        self._known: dict[str, Credential] = {}
        self._problems: list[str] = []
        self._read()
        if self._problems:
            remedy = f"policy-router token new --tokens {path} makes it, with a token"
            is_there = self._path.exists()
            raise RequestError(path, self._problems[0], None if is_there else remedy)

    def get(self, digest: str) -> Credential | None:
        """Return whose token has a SHA-256 sum."""
        return self._known.get(digest)

    def refresh(self) -> None:
        """Read the file again, if it has changed.

        A line that cannot be read gives nobody a token, and nor does a file that is not there.
        """
        before = self._problems
        self._read()
        for problem in self._problems if self._problems != before else ():
            LOGGER.error("%s: %s", self._path, problem)

    def _read(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            with self._path.open("rb") as stream:
                lines = stream.read(_LONGEST_FILE).removeprefix(codecs.BOM_UTF8).splitlines()
        except (OSError, ValueError) as problem:
            self._seen, self._known = (0, 0), {}
            self._problems = [f"cannot be read: {reason_of(problem)}"]
            return
        self._seen, self._known, self._problems = seen, {}, []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                token = msgspec.json.decode(line, type=TokenLine)
                self._known[token.sha256] = self._hidden(token.credential())
            except msgspec.ValidationError as problem:
                reason, place = misfit(problem)
                self._problems.append(f"line {number} is not a token: {place}: {reason}")
            except (msgspec.DecodeError, UnicodeError, RequestError) as problem:
                self._problems.append(f"line {number} is not a token: {problem}")


class _Use(Struct):
    """What a caller has left, and has running."""

    left: float
    at: float
    running: int = 0


class Limits:
    """How often each caller may ask, and how many of its requests run at a time.

    Each worker counts by itself, so each has its share.
    """

    def __init__(self, clock: Callable[[], float], share: int) -> None:
        """Begin with nothing counted.

        Args:
            clock: seconds that only go forward.
            share: by how many workers a limit is divided.
        """
        self._clock, self._share = clock, share
        self._uses: dict[str, _Use] = {}

    @contextmanager
    def use(self, credential: Credential, requests: int = 1) -> Iterator[None]:
        """Count requests of a caller while they run.

        Raises:
            Problem: they are too many.
        """
        if credential.rate is None and credential.concurrency is None:
            yield
            return
        use = self._use(credential)
        self._take(credential, use, requests)
        use.running += 1
        try:
            yield
        finally:
            use.running -= 1

    def _use(self, credential: Credential) -> _Use:
        use = self._uses.get(credential.key)
        if use is None:
            if len(self._uses) >= _MOST_KNOWN:
                self._forget()
            burst = self._burst(credential)
            use = self._uses[credential.key] = _Use(burst, self._clock())
        return use

    def _forget(self) -> None:
        """Forget who has asked for nothing for so long that every rate is whole again."""
        oldest = self._clock() - _LONGEST_UNIT_SECONDS
        self._uses = {key: use for key, use in self._uses.items() if use.running or use.at > oldest}

    def _burst(self, credential: Credential) -> float:
        return 0.0 if credential.rate is None else max(1.0, credential.rate[1] / self._share)

    def _take(self, credential: Credential, use: _Use, requests: int) -> None:
        most = credential.concurrency
        if most is not None and use.running >= max(1, most // self._share):
            raise _too_many(f"at most {most} requests of this credential may run at a time", 1)
        if credential.rate is None:
            return
        now, burst = self._clock(), self._burst(credential)
        a_second = credential.rate[0] / self._share
        left = min(burst, use.left + (now - use.at) * a_second)
        wanted = min(float(requests), burst)  # a batch above that would never have its turn
        use.left, use.at = left, now
        if left < wanted:
            raise _too_many("this credential has used up its rate", (wanted - left) / a_second)
        use.left = left - requests


def _too_many(detail: str, seconds: float) -> Problem:
    return Problem(429, "too_many_requests", detail, headers=(retry_after(seconds),))


def _last_byte(stream: Any) -> bytes:
    stream.seek(-1, os.SEEK_END)
    last: bytes = stream.read(1)
    return last
