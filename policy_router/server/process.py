"""A worker below a supervisor: its start, and the messages between the two."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import pickle
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from policy_router.errors import PolicyRouterError
from policy_router.server.active import BundleVersion
from policy_router.server.reloading import RuleFiles
from policy_router.server.settings import Settings
from policy_router.server.worker import Worker

_STANDARD_OUTPUT: Final = 1
_STANDARD_ERROR: Final = 2
_LONGEST_LINE: Final = 16 * 1024 * 1024


class Control:
    """Talks with the supervisor."""

    def __init__(self) -> None:
        """Say nothing yet; what a library prints goes to standard error."""
        self._output = os.dup(_STANDARD_OUTPUT)
        os.dup2(_STANDARD_ERROR, _STANDARD_OUTPUT)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    def say(self, what: dict[str, Any]) -> None:
        """Send a line, which is short enough to arrive whole."""
        os.write(self._output, msgspec.json.encode(what) + b"\n")

    async def reload(self) -> dict[str, Any]:
        """Let the supervisor load the policy again, and return what became of it."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self.say({"reload": number})
        try:
            return await self._waiting[number]
        finally:
            del self._waiting[number]

    async def listen(self, worker: Worker) -> None:
        """Hear what the supervisor says until it says no more; then the work is at its end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0)
        )
        while line := await reader.readline():
            said = msgspec.json.decode(line)
            if "rejected" in said:
                worker.active.reject(said["rejected"])
            elif "bundle" in said:
                worker.active.bundle = msgspec.convert(said["bundle"], BundleVersion | None)
            elif "leave" in said:
                worker.end()
            elif said.get("reload") in self._waiting:
                self._waiting[said["reload"]].set_result(said["outcome"])
        worker.end()
        await asyncio.Event().wait()  # there is nothing more to hear


def main() -> None:
    """Answer at a socket that was opened by the supervisor."""
    place, number, shared, policy_file, path, words = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="policy-router: %(message)s")
    for name in (signal.SIGINT, signal.SIGHUP):  # a terminal tells everybody; the supervisor acts
        signal.signal(name, signal.SIG_IGN)
    settings = msgspec.json.decode(words, type=Settings)
    kept = Path(policy_file).read_bytes()
    policy, bundle = pickle.loads(kept)  # noqa: S301 - of the supervisor
    control = Control()
    try:
        worker = Worker(
            RuleFiles(path, bundle=bundle),
            policy,
            settings,
            Path(shared),
            number=int(number),
            reload=control.reload,
        )
    except PolicyRouterError as problem:
        sys.exit(f"policy-router: {problem}")
    listener = socket.socket(fileno=int(place))
    worker.run(listener, lambda: control.say({"ready": True}), lambda: control.listen(worker))


if __name__ == "__main__":
    main()
