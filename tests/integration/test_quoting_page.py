"""The page about quoting: each wrong text has the diagnostic that it shows, each right one none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.commands import ROOT, Run

PAGE = (ROOT / "docs" / "quoting.md").read_text(encoding="utf-8")
_BLOCK = r"```yaml wrong\n(.*?)```\n\n```text\n(.*?)```\n\n```yaml right\n(.*?)```"
EXAMPLES = re.findall(_BLOCK, PAGE, re.DOTALL)
ALONE = PAGE.partition("```yaml right\n")[2].partition("```")[0]


def test_each_wrong_text_is_followed_by_its_diagnostic_and_the_right_text() -> None:
    assert len(EXAMPLES) == PAGE.count("```yaml wrong") > 10
    assert len(EXAMPLES) == PAGE.count("```yaml right") - 1


@pytest.mark.parametrize(("wrong", "shown", "right"), EXAMPLES)
def test_check_prints_what_the_page_shows(
    wrong: str, shown: str, right: str, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "policy.yaml").write_text(wrong, encoding="utf-8")
    printed = run("check", "policy.yaml").out
    assert re.fullmatch(rf"{re.escape(shown)}[12] errors?, 0 warnings\n", printed)
    (tmp_path / "policy.yaml").write_text(right, encoding="utf-8")
    assert run("check", "policy.yaml", "--pedantic").code == 0


def test_the_example_of_a_literal_block_is_right(tmp_path: Path, run: Run) -> None:
    (tmp_path / "policy.yaml").write_text(ALONE, encoding="utf-8")
    assert run("check", "policy.yaml", "--pedantic").code == 0
