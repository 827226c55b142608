"""Which targets are left alone for a while, shared by all children of an executor.

A target rests where it asked for that (``Retry-After``), or where it failed several times in a row;
a target is a model at a provider. Where an answer is about the whole provider, all of it rests.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.calls.notifications import LOGGER
from policy_router.files.forks import begins_again

IN_A_ROW: Final = 5
"""So many failures without an answer between them, and a target rests."""
FIRST_REST: Final = 5.0
"""Seconds that it rests then; each time that it fails again, twice as long."""
LONGEST_REST: Final = 300.0
"""The longest of these rests, in seconds."""
_MOST: Final = 1000
"""So many targets are remembered; without a pool, agents may name ever more."""
_DOUBLINGS: Final = 10

_COUNTED: Final = frozenset(
    {
        Failing.RATE_LIMITED,
        Failing.PAYMENT_REQUIRED,
        Failing.SERVER_ERROR,
        Failing.CONNECTION_FAILED,
        Failing.TIMEOUT,
    }
)
"""The failures that are a target's own, whatever was asked of it."""
_OF_PROVIDER: Final = frozenset({Failing.PAYMENT_REQUIRED, Failing.CONNECTION_FAILED})
"""The failures of a whole provider: its models share an account and an address."""

_ACCOUNT: Final = re.compile(
    r"(?i)\b(?:account|organi[sz]ation|workspace|project|subscription|api[ -]?key)\b"
)
"""What a limit of a whole account is said to be of; one that names the model is the model's."""


class Rest(Struct, frozen=True):
    """A target is left alone.

    Attributes:
        seconds: for how long from now.
        code: why: the last failure.
    """

    seconds: float
    code: Failing


class HealthStore(Protocol):
    """What is known of targets. A host may have its own, such as one for all of its processes.

    It is called from any thread, and on event loops, so it should not wait. Where it raises, the
    calls go on as if nothing were known.
    """

    def rest(self, provider: str, model: str) -> Rest | None:
        """Return for how long a target is to be left alone; None where it may be called."""

    def failed(self, provider: str, model: str, failure: Failure) -> None:
        """Note a failure of a call that was made."""

    def answered(self, provider: str, model: str) -> None:
        """Note an answer."""


class Health:
    """What is known of targets in this process. Safe to share between threads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, failures: int = IN_A_ROW
    ) -> None:
        """Begin with nothing known.

        Args:
            clock: tells seconds, from any beginning.
            failures: after how many of them without an answer between them a target rests.
        """
        self._clock, self._most = clock, failures
        self.begin_again()
        begins_again(self)

    def begin_again(self) -> None:
        """Forget everything, with a new lock: in a process that was forked."""
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str | None], _Known] = {}

    def rest(self, provider: str, model: str) -> Rest | None:
        """Return for how long a target is to be left alone; None where it may be called."""
        if not self._known:
            return None
        now = self._clock()
        with self._lock:
            found = [self._known.get((provider, name)) for name in (model, None)]
        until = [(it.until, it.code) for it in found if it is not None and it.until > now]
        if not until:
            return None
        moment, code = max(until, key=lambda pair: pair[0])
        return Rest(moment - now, code)

    def failed(self, provider: str, model: str, failure: Failure) -> None:
        """Note a failure of a call that was made."""
        if failure.code not in _COUNTED or failure.streamed:
            return
        key = (provider, None if _is_of_provider(failure, model) else model)
        now = self._clock()
        with self._lock:
            known = self._known.get(key) or self._new(key, now)
            known.code = failure.code
            if failure.retry_after is not None:
                known.asked = max(known.asked, now + failure.retry_after)
            if now >= known.rests:  # those that were under way when a rest began are one failure
                known.count += 1
                if known.count >= self._most:
                    doublings = min(known.count - self._most, _DOUBLINGS)
                    known.rests = now + min(LONGEST_REST, FIRST_REST * 2**doublings)

    def answered(self, provider: str, model: str) -> None:
        """Note an answer: what asked for a rest gets it nevertheless."""
        if not self._known:
            return
        now = self._clock()
        with self._lock:
            for key in ((provider, model), (provider, None)):
                known = self._known.get(key)
                if known is not None and known.asked <= now:
                    del self._known[key]
                elif known is not None:
                    known.count, known.rests = 0, 0.0

    def _new(self, key: tuple[str, str | None], now: float) -> _Known:
        if len(self._known) >= _MOST:
            self._known = {key: it for key, it in self._known.items() if it.until > now}
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        made = self._known[key] = _Known()
        return made


def _is_of_provider(failure: Failure, model: str) -> bool:
    """Tell whether a failure is one of the whole provider: by its class, or since it says so."""
    if failure.code in _OF_PROVIDER:
        return True
    if _ACCOUNT.search(failure.message) is None:
        return False
    names_model = re.search(rf"(?i)(?<!\w){re.escape(model)}(?!\w)", failure.message)
    return names_model is None


class _Known:
    """What is known of a target, or of a provider.

    Attributes:
        count: its failures in a row.
        asked: until when it asked to be left alone.
        rests: until when it rests since it failed so often.
        code: its last failure.
    """

    __slots__ = ("asked", "code", "count", "rests")

    def __init__(self) -> None:
        self.count, self.asked, self.rests = 0, 0.0, 0.0
        self.code = Failing.RATE_LIMITED

    @property
    def until(self) -> float:
        """Until when it is left alone."""
        return max(self.asked, self.rests)


class Guarded:
    """A store whose faults are nobody's: where it raises, nothing is known."""

    def __init__(self, store: HealthStore) -> None:
        """Guard a store."""
        self._store = store

    def rest(self, provider: str, model: str) -> Rest | None:
        """Return for how long a target is to be left alone; None where it may be called."""
        try:
            return self._store.rest(provider, model)
        except Exception as problem:  # noqa: BLE001 - a host's own store may raise what it likes
            _tell(problem)
            return None

    def failed(self, provider: str, model: str, failure: Failure) -> None:
        """Note a failure of a call that was made."""
        try:
            self._store.failed(provider, model, failure)
        except Exception as problem:  # noqa: BLE001 - as above
            _tell(problem)

    def answered(self, provider: str, model: str) -> None:
        """Note an answer."""
        try:
            self._store.answered(provider, model)
        except Exception as problem:  # noqa: BLE001 - as above
            _tell(problem)


def _tell(problem: Exception) -> None:
    what = type(problem).__name__  # its words may hold what no log may
    LOGGER.error("the store of health failed: %s", what)
