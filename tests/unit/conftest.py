from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog
from policy_router.log.write import shutdown
from tests.support.counting import work  # noqa: F401 - a fixture
from tests.support.log_chain import NewLog
from tests.support.log_disk import Disk


@pytest.fixture
def new_log(tmp_path: Path) -> Iterator[NewLog]:
    """Return what makes logs; one that hangs fails its test, and not the process at its end."""
    made: list[DecisionLog] = []

    def new(folder: Path | None = None, **options: Any) -> DecisionLog:
        made.append(DecisionLog(folder or tmp_path / "log", **options))
        return made[-1]

    yield new
    hanging = []
    for log in made:
        closing = threading.Thread(target=log.close, daemon=True)
        closing.start()
        closing.join(10)
        if closing.is_alive():
            shutdown.OPEN.discard(log)  # it would never be closed
            hanging.append(log)
    assert not hanging, "a log cannot be closed"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return the disk that logs are written to: it can wait, and fail."""
    return Disk(monkeypatch)
