"""The policy that decides at the moment, wherever a host has it from."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from policy_router.domain import Policy
from policy_router.files.forks import begins_again
from policy_router.files.loader import load
from policy_router.files.rule_files import Stamps, fingerprint
from policy_router.hosts.refused import (
    POLICY_UNAVAILABLE,
    Refused,
    RefusedError,
    refusal_of,
    refusing,
)

PolicySource: TypeAlias = Policy | str | os.PathLike[str] | Callable[[], Policy]
"""A compiled policy, the path of one, or a function that returns the one of the moment."""

LOOK_SECONDS: Final = 2.0
"""How often files are looked at for changes, where decisions are asked for."""
SETTLE_SECONDS: Final = 0.5
"""How long files that have changed must stay as they are: what is being written is left alone."""


class DecidingPolicy:
    """The policy that decides at the moment. Safe to share between threads."""

    def __init__(self, source: PolicySource) -> None:
        """Begin with a policy; a path is read now.

        Args:
            source: where it is from.
        """
        self._path: Path | None = None
        self._seen: Stamps = ()
        self._before: Stamps = ()
        self._looks_at = 0.0
        self._found: Policy | Callable[[], Policy] | None = None
        self._fault = Refused(POLICY_UNAVAILABLE, "there is no policy")
        self.begin_again()
        begins_again(self)
        self.use(source)

    def begin_again(self) -> None:
        """Have a new lock: in a process that was forked."""
        self._lock = threading.Lock()

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
        path = self._path
        if path is None:
            return None
        try:
            with self._lock:
                self._looks_at = time.monotonic() + LOOK_SECONDS
                # Before it is read: what changes then is seen at the next look.
                self._seen = self._before = fingerprint(path)
                self._found = load(path)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            self._fault = refusal_of(problem)
            return self._fault
        return None

    @property
    def may_have_changed(self) -> bool:
        """Whether it is time to look at the files again."""
        return self._path is not None and time.monotonic() >= self._looks_at

    def look(self) -> None:
        """Read the policy again if its files have changed; a bad one leaves all as it is."""
        path = self._path
        if path is None or not self.may_have_changed:
            return
        with refusing(POLICY_UNAVAILABLE, "the policy cannot be read"):
            before, self._before = self._before, fingerprint(path)
        changed = self._before != self._seen
        self._looks_at = time.monotonic() + (SETTLE_SECONDS if changed else LOOK_SECONDS)
        if changed and self._before == before:
            self.reload()

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
                raise TypeError("this is not a policy")
            return policy
