"""Peers: other engines on the equivalent rules, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_FOLDER = _HERE / ".venvs"


@dataclass(frozen=True, slots=True)
class Peer:
    """A package to compare with.

    Attributes:
        name: the name of the package.
        version: the version that is installed.
        module: the module that runs in its environment.
    """

    name: str
    version: str
    module: str

    @property
    def python(self) -> Path:
        """Return the interpreter of its environment."""
        folder = _FOLDER / f"{self.name}-{self.version}"
        windows = folder / "Scripts" / "python.exe"
        return windows if sys.platform == "win32" else folder / "bin" / "python"

    def install(self) -> str | None:
        """Make its environment if it is missing, and return why it cannot be made."""
        folder = _FOLDER / f"{self.name}-{self.version}"
        stamp = folder / "installed"
        if stamp.exists():
            return None
        _FOLDER.mkdir(exist_ok=True)
        (_FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
        done = subprocess.run(
            [*pip, f"{self.name}=={self.version}"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return "pip cannot install it"
        stamp.touch()
        return None


PEERS = (
    Peer("zen-engine", "2.1.3", "benchmarks.peer_zen"),
    Peer("cedarpy", "4.12.2", "benchmarks.peer_cedar"),
    Peer("litellm", "1.106.2", "benchmarks.peer_litellm"),
)


class Worker:
    """A peer's process, which decides when it is told to."""

    def __init__(self, peer: Peer) -> None:
        """Start the process."""
        self.peer = peer
        self._process = subprocess.Popen(
            [str(peer.python), "-m", peer.module],
            cwd=_HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **command: Any) -> Any:
        """Send a command, and return the answer.

        Raises:
            RuntimeError: the process has ended.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError(self.peer.name)
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.peer.name} {self.peer.version} does not answer")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@dataclass(frozen=True, slots=True)
class Remote:
    """A decision of a peer, to be timed in the peer's process."""

    worker: Worker
    size: int
    kind: str

    def batch(self, calls: int) -> list[int]:
        """Let the peer decide, each call timed by itself in its own process."""
        found: list[int] = self.worker.ask(size=self.size, run=self.kind, calls=calls)
        return found


def start(say: Callable[[str], None]) -> list[Worker]:
    """Start all peers that can be installed, and say which cannot."""
    workers = []
    for peer in PEERS:
        problem = peer.install()
        if problem:
            say(f"{peer.name} {peer.version} is skipped: {problem}")
        else:
            workers.append(Worker(peer))
    return workers
