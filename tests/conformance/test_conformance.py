"""The evaluator, and the oracles, against tables of expressions and what they come to.

A table is a YAML file beside this one; its head explains the columns. One whose name ends in
``_ext`` is about CEL's extension libraries, which an oracle may lack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy_router.cel.ast import BOOL, DOUBLE, INT, STRING, STRINGS, Node
from policy_router.cel.checker import check
from policy_router.cel.vocabulary import Name, Vocabulary
from tests.support.evaluating import FAILURE, PRODUCT
from tests.support.oracles import ORACLES
from tests.support.oracles.engine import Engine

TABLES = Path(__file__).parent
TYPES = {bool: BOOL, int: INT, float: DOUBLE, str: STRING, list: STRINGS}
LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
ENGINES: list[Engine] = [PRODUCT, *ORACLES]


def tree_of(text: str, facts: Mapping[str, Any]) -> Node:
    """Parse and check an expression that reads some facts."""
    names = [Name(f"facts.{name}", TYPES[type(value)]) for name, value in facts.items()]
    checked, problems = check(text, Vocabulary.of(names))
    assert not problems, problems
    assert checked.node is not None
    return checked.node


def tables() -> Iterator[Any]:
    """Yield the tables, for each engine that has what they are about."""
    for table in sorted(TABLES.glob("*.yaml")):
        for engine in ENGINES:
            if engine.has_extensions or not table.stem.endswith("_ext"):
                marks = () if engine is PRODUCT else pytest.mark.slow
                yield pytest.param(
                    engine, table, id=f"{engine.name.split()[0]} {table.stem}", marks=marks
                )


def outcome_of(engine: Engine, text: str, facts: Mapping[str, Any]) -> Any:
    """Return what an expression comes to, or whatever is raised in place of it."""
    try:
        return engine.compile(tree_of(text, facts)).evaluate(engine.bind({"facts": facts}))
    except Exception as problem:  # noqa: BLE001 - it is told with its row
        return problem


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are alike, type and all: 1 is not 1.0, and 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@pytest.mark.parametrize(("engine", "table"), [*tables()])
def test_the_expressions_of_a_table_come_to_their_values(engine: Engine, table: Path) -> None:
    rows = yaml.load(table.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - a safe one
    wrong = []
    for row in rows:
        outcome = outcome_of(engine, row["expression"], row.get("facts", {}))
        if not same(outcome, FAILURE if row.get("error") else row["value"]):
            wrong.append((row, outcome))
    assert rows
    assert wrong == []
