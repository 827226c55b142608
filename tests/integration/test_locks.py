"""A lock is whole: whatever its packages need is in it, so that pip has nothing to resolve."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[2] / "requirements"
LOCKS = sorted(FOLDER.glob("*.txt"))


def locked(lock: Path) -> dict[str, Requirement]:
    """Return what a lock pins for this system and Python, by name."""
    lines = lock.read_text("utf-8").replace("\\\n", "").splitlines()
    pins = [Requirement(line.split("--hash")[0]) for line in lines if line[:1].isalnum()]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): pin for pin in here}


def needed(pin: Requirement) -> Iterator[Requirement]:
    """Yield what an installed package needs, with the extras that the pin asks for."""
    installed = importlib.metadata.distribution(pin.name)
    if installed.version not in pin.specifier:
        return
    for requirement in map(Requirement, installed.requires or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *pin.extras)):
            yield requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_all_that_its_packages_need_with_their_extras(lock: Path) -> None:
    pins = locked(lock)
    assert pins
    present = {canonicalize_name(d.name) for d in importlib.metadata.distributions()}
    for name in pins.keys() & present:
        for requirement in needed(pins[name]):
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is not None, f"{name} needs {requirement}"
            assert requirement.extras <= pin.extras, f"{name} needs {requirement}"


def test_the_lowest_sdk_is_the_lowest_that_the_extra_accepts() -> None:
    requires = map(Requirement, importlib.metadata.requires("policy-router") or [])
    accepted = next(it.specifier for it in requires if it.name == "openai")
    (lowest,) = (bound.version for bound in accepted if bound.operator == ">=")
    assert lowest in locked(FOLDER / "sdk-lowest.txt")["openai"].specifier
