"""The policy that decides at the moment, wherever a host has it from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from policy_router.domain import Policy
from policy_router.files.loader import load
from policy_router.hosts.refused import (
    POLICY_UNAVAILABLE,
    Refused,
    RefusedError,
    refusal_of,
    refusing,
)

PolicySource: TypeAlias = Policy | str | os.PathLike[str] | Callable[[], Policy]
"""A compiled policy, the path of one, or a function that returns the one of the moment."""


class DecidingPolicy:
    """The policy that decides at the moment. Safe to share between threads."""

    def __init__(self, source: PolicySource) -> None:
        """Begin with a policy; a path is read now.

        Args:
            source: where it is from.
        """
        self._path: Path | None = None
        self._found: Policy | Callable[[], Policy] | None = None
        self._fault = Refused(POLICY_UNAVAILABLE, "there is no policy")
        self.use(source)

    def use(self, source: PolicySource) -> Refused | None:
        """Let another policy decide from now on.

        Args:
            source: where it is from.

        Returns:
            Why it cannot be used; then the last good one goes on deciding, if there is one.
        """
        if isinstance(source, str | os.PathLike):
            self._path = Path(source)
            return self.reload()
        self._path, self._found = None, source
        return None

    def reload(self) -> Refused | None:
        """Read the policy again, where it is from a path; returns what :meth:`use` does."""
        if self._path is None:
            return None
        try:
            self._found = load(self._path)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            self._fault = refusal_of(problem)
            return self._fault
        return None

    def policy(self) -> Policy:
        """Return the policy that decides now.

        Raises:
            RefusedError: there is none that can be used.
        """
        found = self._found
        if found is None:
            raise RefusedError(self._fault)
        if isinstance(found, Policy):
            return found
        with refusing(POLICY_UNAVAILABLE, "the policy cannot be read"):
            policy = found()
            if not isinstance(policy, Policy):
                raise TypeError("this is no policy")
            return policy
