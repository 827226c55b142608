"""Mutants in several processes, and from where somebody was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from policy_router.analysis import Suite, read_suite, trials
from policy_router.analysis.mutation import Mutant, chosen, survivors
from policy_router.analysis.trials import Memory, Trial, survivors_of
from policy_router.errors import PolicyRouterError

RULES = """\
version: 1
model: small
provider: p
providers: {p: {base_url: "https://p.example.com"}}
pool:
  - {model: small}
  - name: large
    model: big
    allow: parent.depth < 2
    pick: task.kind in ["coding", "math"]
  - {name: odd, model: odd, pick: task.index > 3 && task.batch_size > 5}
"""
TESTS = """\
tests:
  - {name: coding, request: {task: {kind: coding}}, expect: {entry: large}}
  - {name: deep, request: {task: {kind: coding}, parent: {depth: 2}}, expect: {entry: small}}
  - {name: nothing, expect: {entry: small}}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "acme.yaml").write_text(RULES)
    (tmp_path / "acme_test.yaml").write_text(TESTS)
    return read_suite(tmp_path / "acme_test.yaml")


def all_of(suite: Suite) -> list[Mutant]:
    assert suite.policy is not None
    return chosen(suite.policy, None, 1)


@pytest.mark.slow
def test_processes_find_what_one_does(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_FEW", 0)
    monkeypatch.setattr(trials, "_SHARE", 2)
    tried, seen = all_of(suite), []
    trial = Trial.of([suite], None, 1)
    found = survivors_of(trial, [suite], tried, workers=2, progress=lambda *it: seen.append(it))
    assert found == survivors([suite], tried)
    assert 0 < len(found) < len(tried)
    assert seen[-1] == (len(tried), len(tried))
    assert seen == sorted(seen)


@pytest.mark.slow
def test_a_process_says_that_a_file_was_changed(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_FEW", 0)
    trial = Trial.of([suite], None, 1)
    tried = all_of(suite)
    Path(suite.path).with_name("acme.yaml").write_text(RULES.replace("> 3", "> 4"))
    with pytest.raises(PolicyRouterError, match="acme was changed while its tests were run"):
        survivors_of(trial, [suite], tried, workers=2)
    Path(suite.path).write_text("tests: []\n")
    with pytest.raises(PolicyRouterError, match=r"acme_test\.yaml was changed"):
        trial.again()


def test_few_mutants_take_no_process(suite: Suite) -> None:
    tried = all_of(suite)
    found = survivors_of(Trial.of([suite], None, 1), [suite], tried, workers=2)
    assert found == survivors([suite], tried)


def test_what_is_kept_is_not_tried_again(suite: Suite, tmp_path: Path) -> None:
    tried, trial = all_of(suite), Trial.of([suite], None, 1)
    file = tmp_path / "kept.jsonl"
    memory = Memory(file, trial, [suite])
    assert memory.known == {}
    memory.note({0: True, 2: False})
    with file.open("a") as stream:
        stream.write('{"trial": "interr')  # upted
    again = Memory(file, trial, [suite])
    assert again.known == {0: True, 2: False}
    again.note({0: True, 2: False, 1: True})
    third = Memory(file, trial, [suite])
    assert third.known == {0: True, 1: True, 2: False}
    # What is kept counts: the second one is said to survive, whatever it is.
    seen: list[tuple[int, int]] = []
    found = survivors_of(trial, [suite], tried, memory=third, progress=lambda *it: seen.append(it))
    assert tried[2] in found
    assert seen[0] == (4, len(tried))
    assert len(Memory(file, trial, [suite]).known) == len(tried)
    nothing_left = survivors_of(trial, [suite], tried, memory=Memory(file, trial, [suite]))
    assert nothing_left == found


def test_what_is_kept_is_about_this_policy_and_these_tests(suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    trial = Trial.of([suite], None, 1)
    Memory(file, trial, [suite]).note({0: True})
    for other in (Trial.of([suite], 5, 1), Trial.of([suite], None, 2)):
        assert Memory(file, other, [suite]).known == {}
    fewer = replace(suite, tests=suite.tests[:1])
    assert Memory(file, Trial.of([fewer], None, 1), [fewer]).known == {}
    Path(suite.path).write_text(TESTS.replace("depth: 2", "depth: 3"))
    changed = read_suite(suite.path)
    assert Memory(file, Trial.of([changed], None, 1), [changed]).known == {}
    Memory(file, Trial.of([changed], None, 1), [changed]).note({0: False})
    assert Memory(file, trial, [suite]).known == {0: True}  # a file holds several


@pytest.mark.parametrize("content", ["hello", "hello\nworld\n", '{"a": 1}\n[]\n', "[]\n[]\n"])
def test_another_file_is_no_memory(suite: Suite, tmp_path: Path, content: str) -> None:
    file = tmp_path / "other"
    file.write_text(content)
    with pytest.raises(PolicyRouterError, match=":1: this is not a trial of a change"):
        Memory(file, Trial.of([suite], None, 1), [suite])
    assert file.read_text() == content


def test_a_device_is_no_memory(suite: Suite) -> None:
    with pytest.raises(PolicyRouterError, match="/dev/zero is not a file"):
        Memory("/dev/zero", Trial.of([suite], None, 1), [suite])


def test_the_lines_of_a_memory_are_json(suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    Memory(file, Trial.of([suite], None, 1), [suite]).note({3: False})
    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["mutant"], line["noticed"], len(line["trial"])) == (3, False, 64)
