"""Every policy of the cookbook is clean, and decides what its table says."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import pytest

from policy_router import check, decide
from tests.support.commands import NOW, ROOT

PAGE = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ROW = re.compile(r"^\| `(\{.*\})` \| (\S*) ?\| (\S+) \|$", re.MULTILINE)
_DAY = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)


def _written(recipe: str, folder: Path) -> Path:
    """Write the policy of a recipe, which is one file or, where each is named, several."""
    blocks = _BLOCK.findall(RECIPES[recipe])
    for block in blocks:
        named = re.match(r"# (policy/\S+)\n", block)
        file = folder / (named[1] if named else "policy/policy.yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block, encoding="utf-8")
    return folder / "policy"


def test_the_cookbook_has_its_recipes() -> None:
    assert len(RECIPES) == 8
    assert PAGE.count("```yaml") == sum(len(_BLOCK.findall(text)) for text in RECIPES.values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_clean_and_decides_as_its_table_says(recipe: str, tmp_path: Path) -> None:
    policy, found = check(_written(recipe, tmp_path), now=_DAY)
    assert found.to_text() == ""
    assert policy is not None
    rows = _ROW.findall(RECIPES[recipe])
    assert len(rows) == RECIPES[recipe].count("| `{") >= 3
    for request, now, outcome in rows:
        decision = decide(policy, json.loads(request), now=now or NOW).decision
        came_to = decision.target.entry if decision.target else None
        refusal = decision.refusal.code.value if decision.refusal else None
        assert (came_to or refusal) == outcome, (request, now)
