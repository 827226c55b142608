"""What every stage of the tests shares: options, temporary folders, profiles, signals."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a name of chance is made in it
ROOM_BYTES = 1_000_000_000

# Helpers are imported by their full names, such as `tests.support.commands`. The root goes last,
# so that an installed package wins over the checkout's: CI tests the built wheel.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
for name, examples in {"brief": 15, "ci": 100, "thorough": 2000}.items():
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=SLOW,
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "brief"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the golden tests expect anew; the diff is the review",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary folders in memory, where there is room and no ``--basetemp`` is given."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    if config.option.basetemp is None and has_room and os.access(MEMORY, os.W_OK):
        folder = tempfile.mkdtemp(prefix="pr-tests-", dir=MEMORY)  # the name is in no path
        config.option.basetemp = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish() -> None:
    """Look seldom for garbage, and never among the tests themselves: there are ten thousand."""
    gc.set_threshold(50_000)
    gc.collect()
    gc.freeze()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are written instead of compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let SIGINT interrupt this process and those it starts, even where it came ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
