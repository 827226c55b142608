"""The log that a host has left: it is whole, and it replays."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from policy_router.cli import main
from policy_router.log import LogReader
from policy_router.log.entry import Execution


class Log:
    """A log that was checked.

    Attributes:
        entries: its entries, in order.
    """

    def __init__(self, folder: Path) -> None:
        """Verify and replay it, as its user would."""
        for words in (["log", "verify", str(folder)], ["replay", str(folder)]):
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said):
                code = main(words)
            assert code == 0, said.getvalue()
        self.entries = [it.entry for it in LogReader(folder).lines()]

    @property
    def decisions(self) -> list[Any]:
        """The decisions."""
        return [it for it in self.entries if it.kind == "decision"]

    @property
    def ends(self) -> list[Execution]:
        """The ends of executions."""
        return [it for it in self._executions() if it.event == "finished"]

    @property
    def reports(self) -> list[Execution]:
        """What a host has reported."""
        return [it for it in self._executions() if it.event == "reported"]

    @staticmethod
    def request(decision: Any) -> dict[str, Any]:
        """Return the request of a decision."""
        found: dict[str, Any] = json.loads(bytes(decision.record))["request"]
        return found

    def _executions(self) -> Iterator[Execution]:
        for entry in self.entries:
            if isinstance(entry.execution, Execution):
                yield entry.execution
