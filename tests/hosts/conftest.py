"""The tests of a host run in its own environment only: `make hosts`."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
_ENVIRONMENTS = _HERE.parents[1] / ".hosts"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the folders of hosts that this environment does not hold."""
    if collection_path.parent != _HERE or not collection_path.is_dir():
        return None
    home = _ENVIRONMENTS / collection_path.name.replace("_", "-")
    return True if Path(sys.prefix) != home and collection_path.name != "common" else None
