"""The specification's own tests (https://github.com/google/cel-spec, ``tests/simple``).

They stay outside this repository: ``CEL_SPEC_TESTS`` names a file that has one a line, as JSON with
``id`` (file/section/name), ``expr``, and ``value`` (by type) or ``error``. ``cel_spec_ids.txt``
names those within the profile of policies, at commit 508bd98 of the specification.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from policy_router.cel.checker import check
from policy_router.cel.vocabulary import Vocabulary
from tests.conformance.test_conformance import ENGINES, same
from tests.support.evaluating import FAILURE
from tests.support.oracles.engine import Engine

WITHIN = Path(__file__).with_name("cel_spec_ids.txt").read_text(encoding="utf-8").split()
PATH = os.environ.get("CEL_SPEC_TESTS")
ASKED = [
    pytest.param(engine, name, id=f"{engine.name.split()[0]} {name}")
    for engine in ENGINES
    for name in WITHIN
    if PATH and (engine.has_extensions or "_ext/" not in name)
]
NOTHING = Vocabulary.of([])


@pytest.fixture(scope="module")
def spec() -> dict[str, list[Any]]:
    """Return the tests by id, which two may share; those that bind names have no place here."""
    if not PATH:
        pytest.skip("CEL_SPEC_TESTS names no file")
    rows = map(json.loads, Path(PATH).read_text(encoding="utf-8").splitlines())
    found: dict[str, list[Any]] = {}
    for row in rows:
        if not row.get("bindings"):
            found.setdefault(row["id"], []).append(row)
    return found


def plain(value: dict[str, Any]) -> Any:
    """Return a value of the tests as a plain one."""
    ((type_, content),) = value.items()
    if type_ == "list":
        return [plain(item) for item in content]
    return float(content) if type_ == "double" else content


def test_the_profile_has_lost_none_of_them(spec: dict[str, list[Any]]) -> None:
    accepted = {
        name
        for name, rows in spec.items()
        if not any(check(row["expr"], NOTHING)[1] for row in rows)
    }
    assert accepted >= set(WITHIN)


@pytest.mark.parametrize(("engine", "name"), ASKED)
def test_an_expression_comes_to_the_value_of_the_specification(
    spec: dict[str, list[Any]], engine: Engine, name: str
) -> None:
    for row in spec[name]:
        tree = check(row["expr"], NOTHING)[0].node
        assert tree is not None
        outcome = engine.compile(tree).evaluate(engine.bind({}))
        assert same(outcome, FAILURE if "error" in row else plain(row["value"]))
