"""The active policy, and the state of newer versions of it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from policy_router.decision.prepared import Prepared
from policy_router.decision.request import spelt
from policy_router.domain import Policy
from policy_router.files.clock import Clock


class Rejected(Struct, frozen=True):
    """A newer version that is not used.

    Attributes:
        at: when it was rejected.
        diagnostics: why, as plain data.
    """

    at: datetime.datetime
    diagnostics: Mapping[str, Any]


class BundleVersion(Struct, frozen=True):
    """Which bundle a policy comes from.

    Attributes:
        serial: is higher in a newer bundle.
        commit: the commit that its rule files come from; None where it does not say.
    """

    serial: int
    commit: str | None = None


class Active:
    """The policy that decides now."""

    def __init__(self, policy: Policy, clock: Clock, bundle: BundleVersion | None = None) -> None:
        """Begin with a policy.

        Args:
            policy: what decides.
            clock: tells since when it decides.
            bundle: what it comes from; None for files.
        """
        self._clock = clock
        self.policy, self.since, self.bundle = policy, clock(), bundle
        self.rejected: Rejected | None = None
        policy.prepared(Prepared).warm()

    @property
    def revision(self) -> str:
        """The revision that decides now."""
        return self.policy.revision

    def use(self, policy: Policy, bundle: BundleVersion | None) -> None:
        """Let a policy decide from now on; it is warm already, so that nobody waits."""
        if policy.revision != self.policy.revision:
            self.since = self._clock()
        self.policy, self.bundle, self.rejected = policy, bundle, None

    def reject(self, found: Mapping[str, Any] | None) -> None:
        """Note why a newer version is not used; None where there is none."""
        self.rejected = None if found is None else Rejected(self._clock(), found)

    def status(self) -> dict[str, Any]:
        """Return what an administrator is told."""
        policy, rejected = self.policy, self.rejected
        answer: dict[str, Any] = {
            "name": policy.name,
            "revision": policy.revision,
            "since": spelt(self.since),
            "files": [source.name for source in policy.sources],
            "warnings": policy.warnings.to_dict(),
        }
        if self.bundle is not None:
            answer["bundle"] = msgspec.to_builtins(self.bundle)
        if rejected is not None:
            answer["rejected"] = {"at": spelt(rejected.at), **rejected.diagnostics}
        return answer
