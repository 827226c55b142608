"""Loads newer versions of a policy: compiled in another process, and used only without errors.

A policy is compiled and checked, and its tests are run, in a process of its own. Where that fails,
the last good policy stays, and says so.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from policy_router.analysis import suite_files
from policy_router.domain import Policy
from policy_router.errors import RequestError
from policy_router.files.rule_files import Stamps, fingerprint
from policy_router.log.sign.keys import SignatureError
from policy_router.server.active import BundleVersion
from policy_router.server.bundles import Bundles
from policy_router.server.credentials import LOGGER
from policy_router.server.helpers import Helpers, policy_in
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

_TURN_SECONDS: Final = 0.0002
POLL_SECONDS: Final = 0.5
"""How often rule files are looked at for changes."""


class RuleFiles(Struct, frozen=True):
    """The rule files of a policy, or the bundle of them.

    Attributes:
        path: the rule file, the folder of them, or the file or the address of the bundle.
        seen: what they were like before they were read.
        bundles: gets the bundle; None where there is none.
        bundle: which bundle decides first; None where there is none.
    """

    path: str
    seen: Stamps = ()
    bundles: Bundles | None = None
    bundle: BundleVersion | None = None

    @classmethod
    def now(cls, path: str) -> RuleFiles:
        """Return what they are like now; to be called before they are read."""
        return cls(path, _seen_in(path))


class NotAdoptedError(Exception):
    """A good policy that the workers do not come up with."""


class Reloads:
    """Loads a policy again when it is told to, or its files change; one at a time."""

    def __init__(
        self,
        files: RuleFiles,
        revision: str,
        helpers: Helpers,
        *,
        strict: bool,
        adopt: Callable[[Policy, BundleVersion | None], Awaitable[None]],
        tell: Callable[[Mapping[str, Any] | None], None],
        count: Callable[[str], None],
    ) -> None:
        """Begin with a policy that decides already.

        Args:
            files: the rule files, as they were before they were read.
            revision: the revision that decides.
            helpers: compile.
            strict: refuse a policy with warnings.
            adopt: lets a policy decide, which is of this bundle.
            tell: is told why a newer version does not decide; None where the newest does.
            count: is told each outcome.
        """
        self._path, self._strict, self._helpers = files.path, strict, helpers
        self._bundles = files.bundles
        self._why_not: Mapping[str, Any] | None = None
        self._is_lost = False
        self.revision, self._adopt, self._tell = revision, adopt, tell
        self._count = count
        self._turn = asyncio.Lock()
        self._seen = files.seen
        self.hurry = asyncio.Event()

    async def reload(self) -> dict[str, Any]:
        """Load the policy again.

        Returns:
            What became of it: ``outcome`` is ``active``, ``unchanged`` or ``rejected``; and the
            findings.
        """
        async with self._turn:
            self._seen = _seen_in(self._path)
            return await self._outcome(only_changed=False)

    async def _outcome(self, *, only_changed: bool) -> dict[str, Any]:
        if self._bundles is not None:
            try:
                is_other = await asyncio.to_thread(self._bundles.fetch, only_changed=only_changed)
            except RequestError as problem:
                # What is wrong with the bundle that was got last is said again once it is there.
                kept, said = self._why_not, self._rejected({"reason": str(problem)})
                self._why_not, self._is_lost = kept, True
                return said
            if self._is_lost:
                self._is_lost = False
                self._tell(self._why_not)
            if not is_other:
                return {"outcome": "unchanged"}
        try:
            return await self._loaded()
        except Problem as problem:
            return self._rejected({"reason": problem.detail})
        except (NotAdoptedError, RequestError, SignatureError) as problem:
            return self._rejected({"reason": str(problem)})

    async def _loaded(self) -> dict[str, Any]:
        """Compile the policy, and let it decide where it is good."""
        task, bundles = Task("compile", path=self._path), self._bundles
        if bundles is not None:
            task = replace(task, path=str(bundles.candidate), key=bundles.verifier.encoded())
        found = await self._helpers.report(task)
        with _short_turns():
            policy = await asyncio.to_thread(policy_in, found)
            if policy is None or (self._strict and found["warnings"]):
                return self._rejected(found)
            version = None
            if bundles is not None:
                told = found["bundle"]
                version = BundleVersion(told["serial"], told["commit"])
                await asyncio.to_thread(bundles.keep, told["serial"], told["sha256"])
            was, new = self.revision, policy.revision
            await self._adopt(policy, version)
        self.revision, self._why_not = new, None
        self._tell(None)
        outcome = "unchanged" if was == self.revision else "active"
        self._count(outcome)
        LOGGER.info("the policy was loaded again (%s): %s", outcome, self.revision[:19])
        return {"outcome": outcome, **found}

    def _rejected(self, found: dict[str, Any]) -> dict[str, Any]:
        first = next(iter(found.get("diagnostics", ())), None)
        reason = found.get("reason") or (
            "it has no place to begin" if first is None else _said(first)
        )
        LOGGER.error("a newer policy is not used, %s decides: %s", self.revision[:19], reason)
        self._why_not = found
        self._tell(found)
        self._count("rejected")
        return {"outcome": "rejected", "active": self.revision, **found}

    async def watch(self) -> None:
        """Load the policy again whenever its files have changed, or :attr:`hurry` is set."""
        if self._bundles is not None and self._bundles.is_address:
            await self._poll(self._bundles.seconds)
        before = self._seen
        while True:
            await _first_of(self.hurry, POLL_SECONDS)
            now = await asyncio.to_thread(_seen_in, self._path)
            # What is being written is left alone until it is as it was half a second ago.
            has_settled, before = now == before, now
            if self.hurry.is_set() or (has_settled and now != self._seen):
                self.hurry.clear()
                await self.reload()

    async def _poll(self, seconds: float) -> None:
        while True:
            is_told = self.hurry.is_set()
            self.hurry.clear()
            async with self._turn:
                await self._outcome(only_changed=not is_told)
            await _first_of(self.hurry, seconds)


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let a thread that makes a policy ready give way often to those who decide."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def for_ever(work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again; what goes wrong with it once is logged, and ends nothing."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - a bug of ours, or a file that is just being changed
            LOGGER.exception("this is tried again")
            await asyncio.sleep(1)


def _said(diagnostic: Mapping[str, Any]) -> str:
    where = "{file}:{line}:{column}: {message}"
    return where.format_map(diagnostic)


async def _first_of(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _seen_in(path: str) -> Stamps:
    """Return what changes with the rule files of a policy, and with its tests."""
    return fingerprint(path, suite_files(path))
