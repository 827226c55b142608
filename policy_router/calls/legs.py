"""Legs: targets with everything that a call needs, as their endpoints expect it."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec import UnsetType
from msgspec.structs import replace

from policy_router.calls.dialects import Wire, wire
from policy_router.calls.endpoints import Endpoint, endpoint_of, entry_of, merged
from policy_router.calls.failures import Failure
from policy_router.calls.limits import Limits
from policy_router.calls.slots import ENDPOINTS, Slots
from policy_router.decision.record import Target
from policy_router.domain import TIMEOUTS, Dialect, Policy, Timeouts
from policy_router.files.forks import begins_again
from policy_router.files.ids import check_session

SESSION_HEADER: Final = "X-Session-Id"
"""The header with the session's id for a provider, unless the host has its own."""

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TAKEN: Final = frozenset({"authorization", "content-length", "content-type", "host"})
_NO_LIMITS: Final = Limits()
_SHORTEST_SECRET: Final = 8
"""Shorter keys are not starred out: they would be found in ordinary words."""
_MOST_SECRETS: Final = 100
"""So many keys that were read before are starred out too; keys that change would be ever more."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One target of a plan, with all that a call of it needs. Its key and headers are never shown.

    Attributes:
        target: what was decided, with its parameters as the policy calls them.
        endpoint: the address of its provider, with key and headers.
        wire: what is sent besides the messages, as the endpoint calls it.
        dialect: how the endpoint speaks of this model.
        limits: how long the call may take.
        slots: how many calls its provider may get at the same time; None is as many as come.
    """

    target: Target
    endpoint: Endpoint
    wire: Wire = field(repr=False)
    dialect: Dialect = field(repr=False)
    limits: Limits
    slots: Slots | None = field(default=None, repr=False)

    @property
    def model(self) -> str:
        """The model's id at its provider."""
        return self.wire.model

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.endpoint.provider

    @property
    def entry(self) -> str | None:
        """The name of the pool entry; None where it is none."""
        return None if isinstance(self.target.entry, UnsetType) else self.target.entry

    @property
    def base_url(self) -> str:
        """The address of the provider."""
        return self.endpoint.base_url

    @property
    def api_key(self) -> str:
        """The key of the provider; ``""`` where it needs none."""
        return self.endpoint.api_key

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the call besides that of the key: of the endpoint, and of the session.

        One that is called ``Authorization`` stands in place of the key's.
        """
        return {**dict(self.endpoint.headers), **self.wire.headers}

    @property
    def api(self) -> str:
        """The API that is called, as a dialect names it."""
        return self.wire.api

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the call, under the names that the endpoint has for them."""
        return self.wire.parameters

    @property
    def left_out(self) -> tuple[str, ...]:
        """The names of the parameters that the model does not take, sorted."""
        return self.wire.left_out


class Legs:
    """Makes legs of targets, and remembers the keys that were read, so that no text repeats them.

    Attributes:
        secrets: the keys that were read so far, the longest first.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        session_header: str = SESSION_HEADER,
        limits: Limits = _NO_LIMITS,
        streams: bool = False,
        workers: int = 1,
    ) -> None:
        """Prepare to make legs; no key is read yet.

        Args:
            environ: the mapping for ``env:NAME``; None is the process's environment.
            session_header: the header with the session's id for the provider.
            limits: how long a call may take.
            streams: whether the answers are streamed.
            workers: how many processes share the limits of providers' calls.

        Raises:
            ValueError: the header cannot be one.
        """
        if not _HEADER.fullmatch(session_header) or session_header.lower() in _TAKEN:
            raise ValueError("the session_header must be the name of a header that is not in use")
        self._environ, self._session_header = environ, session_header
        self._limits, self._streams, self._workers = limits, streams, workers
        self._read: list[str] = []
        self.secrets: tuple[str, ...] = ()
        self.begin_again()
        begins_again(self)

    def begin_again(self) -> None:
        """Have a new lock: in a process that was forked."""
        self._lock = threading.Lock()

    def endpoint(self, policy: Policy, provider: str) -> Endpoint | Failure:
        """Return the endpoint of a provider, with its key read now; or why there is none."""
        endpoint = endpoint_of(policy, provider, self._environ)
        if isinstance(endpoint, Endpoint):
            self._keep_secret(endpoint)
        return endpoint

    def leg(
        self, policy: Policy, target: Target, session_id: str | None, *, streams: bool | None = None
    ) -> Leg | Failure:
        """Return a target with all that its call needs; or why it cannot be called.

        Args:
            policy: has the endpoint and the entry.
            target: what is called.
            session_id: the session that the call belongs to, or None.
            streams: whether the answer is streamed; None is as usual.

        Raises:
            RequestError: the session's id cannot be sent.
        """
        endpoint = self.endpoint(policy, target.provider)
        if isinstance(endpoint, Failure):
            return endpoint
        entry = entry_of(policy, target)
        dialect = merged(entry.dialect, endpoint.dialect) if entry else endpoint.dialect
        sent = wire(target, entry, dialect, streams=self._streams if streams is None else streams)
        sent = replace(sent, headers=self._session(session_id))
        limits = self._limits if entry is None else _limited(self._limits, entry.timeouts)
        return Leg(target, endpoint, sent, dialect, limits, self._slots(policy, endpoint))

    def _slots(self, policy: Policy, endpoint: Endpoint) -> Slots | None:
        provider = policy.providers.get(endpoint.provider)
        if provider is None or provider.concurrency is None:
            return None
        share = -(-provider.concurrency // self._workers)
        return ENDPOINTS.slots(endpoint.provider, endpoint.base_url, share)

    def _session(self, session_id: str | None) -> dict[str, str]:
        if session_id is None:
            return {}
        check_session(session_id)
        return {self._session_header: session_id}

    def _keep_secret(self, endpoint: Endpoint) -> None:
        """Remember an endpoint's secrets, so that no answer repeats them; longest first."""
        found = [secret for secret in endpoint.secrets if len(secret) >= _SHORTEST_SECRET]
        if not set(found).issubset(self.secrets):
            with self._lock:
                self._read = [it for it in self._read if it not in found][-_MOST_SECRETS:] + found
                self.secrets = tuple(sorted(self._read, key=len, reverse=True))


def _limited(usual: Limits, own: Timeouts) -> Limits:
    """Return the limits of an entry, and where it says nothing, the usual ones."""
    said = ((name, getattr(own, name)) for name in TIMEOUTS)
    return replace(usual, **{name: seconds for name, seconds in said if seconds is not None})
