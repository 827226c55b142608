"""The locks of the hosts: each pins its host, installs with the package, and names no index."""

from __future__ import annotations

from pathlib import Path

from tests.support.rows import each

LOCKS = Path(__file__).parents[2] / "requirements" / "hosts"


@each("source", sorted(LOCKS.glob("*.in")), ids=lambda it: it.stem)
def test_a_lock_pins_its_host_with_hashes_and_without_an_address(source: Path) -> None:
    pinned = source.read_text(encoding="utf-8").splitlines()[0]
    name, _, version = pinned.partition("==")
    assert version
    lock = source.with_suffix(".txt").read_text(encoding="utf-8")
    assert f"\n{name}=={version} \\\n    --hash=sha256:" in lock
    assert "://" not in lock
    assert "\npolicy-router" not in lock


def test_every_host_has_tests() -> None:
    tests = LOCKS.parents[1] / "tests" / "hosts"
    assert [
        it for it in LOCKS.glob("*.in") if not (tests / it.stem.replace("-", "_")).is_dir()
    ] == []
