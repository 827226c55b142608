"""Every diagnostic, as a person and as a program see it.

A case is a folder `diagnostics/CODE-what-it-shows` (`loads-...` where nothing is wrong) with one of

- `policy.yaml`; as `policy.bin` or `policy.crlf.yaml` where its bytes are the point;
- a folder `policy`, for a policy of several files;
- `suite_test.yaml` beside a good policy, for what is wrong with the suite;
- nothing, where the input is made by a function below or the missing file is the point;

and with `expected.txt` and `expected.json`. `pytest --update-golden` writes these two anew.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from policy_router.analysis import read_suite
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import SHOWN, Diagnostics
from policy_router.domain import Policy
from policy_router.files.loader import check, check_text
from tests.support.rows import each

CASES = Path(__file__).parent / "diagnostics"
SECRET = "hunter2"  # noqa: S105 - the word that all secrets of the cases hold
NOW = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
LONGEST = 30.0
"""Seconds of the processor that a case may take: a bound against bombs, not a figure.

Coverage alone triples what a case takes.
"""


class Result(NamedTuple):
    policy: Policy | None
    found: Diagnostics

    @property
    def text(self) -> str:
        text = self.found.to_text()
        return f"{text}\n" if text else ""

    @property
    def json(self) -> str:
        return f"{self.found.to_json()}\n"


# --- Inputs that are better made than stored ------------------------------------------------------


def _picking(condition: str) -> str:
    return f"pool:\n  - model: glm-5\n    pick: {json.dumps(condition)}\nprovider: zai\n"


def _nested_maps(depth: int) -> str:
    expression = "l0"
    for level in reversed(range(depth)):
        expression = f"task.labels.map(l{level}, {expression})"
    return f"size({expression}) > 0"


GENERATED: dict[str, Callable[[], str]] = {
    "PR102-one-byte-too-many": lambda: "# " + "x" * (1_048_577 - 2),
    "PR102-ten-megabytes": lambda: "pool:\n" + "  - model: glm-5\n" * 600_000,
    "PR102-many-bytes-a-character": lambda: "# " + "語" * 400_000,
    "PR109-ten-thousand-open-brackets": lambda: "parameters: " + "[" * 10_000,
    "PR109-ten-thousand-lists": lambda: "parameters: {a: " + "[" * 10_000 + "]" * 10_000 + "}\n",
    "PR109-ten-thousand-mappings": lambda: "parameters: " + "{a: " * 10_000 + "}" * 10_000 + "\n",
    "PR109-deep-host": lambda: "host: " + "[" * 300 + "]" * 300 + "\ndelegation: {model: glm-5}\n",
    "PR110-many-items": lambda: "parameters:\n  a: [" + "1," * 200_000 + "]\n",
    "PR110-many-keys": lambda: "parameters:\n" + "".join(f"  k{i}:\n" for i in range(100_001)),
    "PR201-more-than-a-hundred": lambda: "".join(f"unknown{i:03}: 1\n" for i in range(150)),
    "PR201-errors-before-warnings": lambda: (
        "delegation:\n" + "".join(f"  unknown{i:03}: 1\n" for i in range(120)) + "  model: 5\n"
    ),
    "PR106-two-thousand-anchors": lambda: (
        "parameters:\n" + "".join(f"  k{i}: &a{i} 1\n" for i in range(2_000))
    ),
    "PR301-hundreds-in-one-condition": lambda: _picking(" || ".join(f"x{i}" for i in range(240))),
    "PR301-long-name": lambda: _picking("x" * 4_000),
    "PR309-too-many-characters": lambda: _picking("task.kind == '" + "x" * 4_083 + "'"),
    "PR309-ten-thousand-terms": lambda: _picking(" || ".join(["task.index > 1"] * 10_000)),
    "PR309-ten-thousand-short-terms": lambda: _picking("+".join(["1"] * 10_000) + " > 1"),
    "PR309-sum": lambda: _picking("+".join(["1"] * 2_000) + " > 1"),
    "PR309-too-many-nodes": lambda: _picking(
        " || ".join(["1 < 2"] * 400),
    ),
    "PR309-long-list": lambda: _picking(
        "task.index in [" + ",".join(["1"] * 1_000) + "]",
    ),
    "PR309-three-hundred-parentheses": lambda: _picking(
        "(" * 300 + "task.index > 1" + ")" * 300,
    ),
    "PR309-two-thousand-parentheses": lambda: _picking("(" * 2_000 + "1" + ")" * 2_000),
    "PR309-two-thousand-lists": lambda: _picking("[" * 2_000 + "]" * 2_000 + " == []"),
    "PR309-two-thousand-minus-signs": lambda: _picking("-" * 2_000 + "1 == 1"),
    "PR309-two-thousand-indexes": lambda: _picking("task.labels" + "[0]" * 1_300 + " == ''"),
    "PR309-nested-choices": lambda: _picking(
        "task.index > 1 ? true : " * 101 + "task.index > 3",
    ),
    "PR309-map-three-deep": lambda: _picking(_nested_maps(3)),
    "PR309-map-thirty-deep": lambda: _picking(_nested_maps(30)),
    "PR302-two-thousand-open-parentheses": lambda: _picking("(" * 2_000),
    "PR311-repetition-bomb": lambda: _picking(
        'task.kind.matches("' + "(" * 10 + "a{100}" + "){100}" * 10 + '")',
    ),
    "loads-thousand-groups": lambda: _picking(
        'task.kind.matches("' + "(" * 1_900 + "a" + ")" * 1_900 + '")',
    ),
    "PR311-program-too-large": lambda: _picking(
        'task.kind.matches("' + "(?:" * 2 + "[\\\\p{L}\\\\p{N}]{30}" + "){30}" * 2 + '")',
    ),
    "loads-backtracking-pattern": lambda: _picking(
        'task.kind.matches("^(a+)+(a|aa)*(x+x+)+y$") && task.kind.matches("(.*)*=(.*)*")',
    ),
    "loads-hundred-choices": lambda: _picking(
        "task.index > 1 ? task.index > 2 : " * 100 + "task.index > 3",
    ),
    "loads-hundred-sums": lambda: _picking("task.index" + " + 1" * 100 + " > 150"),
    "loads-most-of-everything": lambda: (
        "parameters:\n  a: [" + "1," * 100_000 + "]\n  b: " + "[" * 30 + "]" * 30 + "\n"
        "pool:\n  - model: glm-5\n    pick: "
        + json.dumps(" || ".join(["task.index > 1"] * 100))
        + "\nprovider: zai\n"
    ),
}


# --- Running a case -------------------------------------------------------------------------------


def _input(case: Path) -> Path:
    return next(case.glob("policy*"), case / "policy.yaml")


def _read(case: Path) -> Result:
    """Check the input of a case; the folder of the case is the current one."""
    given = _input(case)
    if (suite := case / "suite_test.yaml").is_file():
        read = read_suite(suite.name)
        return Result(read.policy if read.usable else None, read.found)
    if case.name in GENERATED:
        return Result(*check_text(GENERATED[case.name](), name="policy.yaml", now=NOW))
    if given.is_file():
        return Result(*check_text(given.read_bytes(), name=given.name, now=NOW))
    return Result(*check(given.relative_to(case), now=NOW))


def _timed(case: Path) -> tuple[Result, float]:
    begin = time.process_time()
    return _read(case), time.process_time() - begin


def _cases() -> list[str]:
    stored = {case.name for case in CASES.iterdir()} if CASES.is_dir() else set()
    return sorted(stored | GENERATED.keys())


def _codes(case: str) -> set[str]:
    expected = json.loads((CASES / case / "expected.json").read_text(encoding="utf-8"))
    return {item["code"] for item in expected["diagnostics"]}


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Load what the first policy loads, so that it does not count for the first case."""
    check_text(_picking("task.kind.matches('a')"))


SLOW = {
    "PR110-many-items",
    "PR110-many-keys",
    "PR309-sum",
    "PR309-two-thousand-lists",
    "PR309-two-thousand-parentheses",
    "loads-most-of-everything",
}


def _params() -> list[pytest.ParameterSet]:
    """Return the cases of each code, and each slow case by itself."""
    quick = [name for name in _cases() if name not in SLOW]
    codes = itertools.groupby(quick, lambda name: name.partition("-")[0])
    slow = [pytest.param([name], id=name, marks=pytest.mark.slow) for name in sorted(SLOW)]
    return [pytest.param([*names], id=code) for code, names in codes] + slow


@pytest.mark.parametrize("names", _params())
def test_cases(names: list[str], monkeypatch: pytest.MonkeyPatch, *, update_golden: bool) -> None:
    each("name", names)(functools.partial(_judge, monkeypatch, update_golden=update_golden))()


def _judge(monkeypatch: pytest.MonkeyPatch, name: str, *, update_golden: bool) -> None:
    case = CASES / name
    case.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(case)

    result, took = _timed(case)
    if update_golden:
        (case / "expected.txt").write_text(result.text, encoding="utf-8", newline="\n")
        (case / "expected.json").write_text(result.json, encoding="utf-8", newline="\n")
    assert result.text == (case / "expected.txt").read_text(encoding="utf-8")
    assert result.json == (case / "expected.json").read_text(encoding="utf-8")
    assert (result.policy is None) == (result.found.errors > 0)
    assert SECRET not in result.text + result.json
    assert took < LONGEST


def test_the_same_findings_in_the_same_order_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PR401-two-files", "PR301-all-sections", "PR412-two-files"):
        monkeypatch.chdir(CASES / name)
        assert _read(CASES / name).json == _read(CASES / name).json


# --- What must be there ---------------------------------------------------------------------------


def test_every_code_has_a_case_and_every_case_shows_its_code() -> None:
    shown = {name.partition("-")[0] for name in _cases()} - {"loads"}

    assert shown == {code.value for code in Code}
    for name in _cases():
        code = name.partition("-")[0]
        assert (code in _codes(name)) if code != "loads" else not _codes(name), name


def test_every_case_has_an_input() -> None:
    missing = [name for name in _cases() if not _input(CASES / name).exists()]

    assert set(missing) - GENERATED.keys() == {"PR113-missing-file"}


def test_the_style_of_messages() -> None:
    for name in _cases():
        _judge_style(json.loads((CASES / name / "expected.json").read_text(encoding="utf-8")))


def _judge_style(expected: dict[str, Any]) -> None:
    for item in expected["diagnostics"]:
        for text in (item["message"], item["help"] or "x"):
            assert text[0] == text[0].lower()
            assert text == text.strip()
            assert not text.endswith(".")
            assert text.isprintable()
            assert "``" not in text
            assert "None" not in text
        assert (item["line"], item["column"]) <= (item["end_line"], item["end_column"])
        assert item["path"].startswith("$")
    assert len(expected["diagnostics"]) <= SHOWN
    total = expected["errors"] + expected["warnings"] + expected["hints"]
    assert expected.get("omitted", 0) == total - len(expected["diagnostics"])


def test_carets_of_golden_files_stand_under_the_word() -> None:
    """In these cases the words that are wrong are `tsk`, `tusk` and `tesk`, and nothing else is."""
    for case in CASES.glob("PR301-caret-*"):
        given = _input(case).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        lines = given.split("\n")
        expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
        assert expected["diagnostics"], case.name
        for item in expected["diagnostics"]:
            line = lines[item["line"] - 1]
            marked = line[item["column"] - 1 : item["end_column"] - 1]
            assert marked in {"tsk", "tusk", "tesk"}, case.name
            assert item["line"] == item["end_line"], case.name


def test_scalars_mean_what_yaml_1_2_says() -> None:
    case = CASES / "loads-yaml-1.2-scalars"
    policy, _ = check_text(_input(case).read_bytes())

    assert policy is not None
    assert (policy.model, policy.provider, policy.name) == ("no", "on", "yes")
    assert policy.kinds == (
        *("y", "n", "off", "Yes", "NO", "12:30:45", "1_000", "2026-01-31", "0b1", "0o8"),
        *("08:00", "=", "."),
    )
    assert dict(policy.parameters) == {
        "ten": 10,
        "thousand": 1000.0,
        "half": 0.5,
        "octal": 15,
        "hexadecimal": 31,
        "plus": 7,
        "truth": True,
        "nothing": None,
    }
