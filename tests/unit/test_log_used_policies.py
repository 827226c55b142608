"""What lines say of the policies that decide, and of the host of a decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from policy_router import Delegator, Reply, Router, loads
from policy_router.files.loader import schema
from policy_router.log.entry import MOST_TAGS, LogEntry, are_tags
from policy_router.log.integrity.verify import verify
from policy_router.log.used_policy import Annotation, annotations_of
from policy_router.log.write.drafts import Decided, TreeRoots
from tests.support.log_chain import (
    NewLog,
    one_writer,
    policy_of,
    problems,
    record_of,
    used_policies,
)

NOTED = """\
owner: platform@example.com
description: What runs where.
model: small
provider: main
pool:
  - {model: small, owner: ada}
  - {model: large}
forbid:
  - {id: no-huge, when: target.model == "huge", description: It is too dear.}
precedence:
  - {id: first, use: task, owner: bob}
  - {use: config}
assert:
  - {id: never-huge, never: target.model == "huge", owner: eve}
"""


def log_of(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_line_says_what_is_decided_by_before_the_first_decision(
    tmp_path: Path, new_log: NewLog
) -> None:
    policy = policy_of()
    with new_log(origin_commit="4f2a91c", loaded_by="ada") as log:
        log.decision(policy, record_of(policy))
        log.decision(policy, record_of(policy))
    folder = log_of(tmp_path)
    assert problems(folder) == []
    (used,) = used_policies(folder)
    assert used["revision"] == policy.revision
    assert (used["origin_commit"], used["loaded_by"]) == ("4f2a91c", "ada")
    (path,) = (folder / "policies").glob("*/*")
    assert used["digest"] == path.name
    assert [it["name"] for it in used["files"]] == [it.name for it in path.iterdir()]
    first = (folder / "w1/00000001.jsonl").read_bytes().splitlines()[0]
    assert LogEntry.from_json(first).kind == "policy"
    Draft7Validator(dict(schema("log"))).validate(json.loads(first))
    assert verify(folder).is_whole


def test_other_rule_files_of_the_same_policy_are_told_too(tmp_path: Path, new_log: NewLog) -> None:
    text = "model: small\nprovider: main\nprecedence: strict\n"
    one, other = loads(text), loads(f"# a comment\n{text}")
    assert one.revision == other.revision
    with new_log() as log:
        for policy in (one, other, one, loads(text)):
            log.decision(policy, record_of(policy))
    first, second = used_policies(log_of(tmp_path))
    assert first["revision"] == second["revision"]
    assert first["digest"] != second["digest"]
    assert len(list((log_of(tmp_path) / "policies").glob("*/*"))) == 2


def test_the_next_process_tells_again(tmp_path: Path, new_log: NewLog) -> None:
    policy = policy_of()
    for _ in range(2):
        with new_log() as log:
            log.decision(policy, record_of(policy))
    assert len(used_policies(log_of(tmp_path))) == 2


def test_annotations_of_a_policy_and_its_parts_are_in_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert annotations_of(loads(NOTED)) == (
        Annotation("", "platform@example.com", "What runs where."),
        Annotation("pool.small", "ada"),
        Annotation("forbid.no-huge", description="It is too dear."),
        Annotation("precedence.first", "bob"),
        Annotation("assert.never-huge", "eve"),
    )
    monkeypatch.setattr("policy_router.log.used_policy.MOST_CHARACTERS", 60)
    assert [it.part for it in annotations_of(loads(NOTED))] == ["", "pool.small"]


@pytest.mark.parametrize(
    "options", [{"origin_commit": ""}, {"origin_commit": "a b"}, {"loaded_by": "a\nb"}]
)
def test_an_origin_that_no_line_can_have_is_an_error(
    new_log: NewLog, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"origin_commit|loaded_by"):
        new_log(**options)


# Roots, sessions, tags.


def test_a_tree_has_the_root_of_its_first_decision(tmp_path: Path, new_log: NewLog) -> None:
    policy = policy_of()
    with new_log() as log:
        first = log.decision(policy, record_of(policy))
        child = log.decision(policy, record_of(policy), parent_id=first)
        log.decision(policy, record_of(policy), parent_id=child)
        log.decision(policy, record_of(policy), parent_id="of-another-process")
        log.decision(policy, record_of(policy), parent_id="of-another-process", root_id="known")
    roots = [it.entry.get("root") for it in one_writer(log_of(tmp_path)) if it.kind == "decision"]
    assert roots == [first, first, first, None, "known"]


def test_so_many_roots_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_router.log.write.drafts._MOST_ROOTS", 2)
    roots, record = TreeRoots(), record_of(policy_of())
    assert roots.of(Decided(record, "a")) == "a"
    assert roots.of(Decided(record, "b", "a")) == "a"
    assert roots.of(Decided(record, "c")) == "c"
    assert roots.of(Decided(record, "d", "a")) == "a"
    for name in "efgh":
        roots.of(Decided(record, name))
    assert roots.of(Decided(record, "i", "a")) is None


def test_a_host_gives_a_session_and_tags(tmp_path: Path, new_log: NewLog) -> None:
    policy = policy_of()
    router = Router(policy, log=(log := new_log()))
    router.decide({}, session_id="s-1", tags=["project:a", "night"])
    router.target({}, session_id="s-2")
    with Delegator(policy, log=log, run_child=lambda *_: Reply("done")) as delegator:
        delegator.delegate({"goal": "a"}, session_id="s-3", tags=["b"])
    log.close()
    found = [it.entry for it in one_writer(log_of(tmp_path)) if it.kind == "decision"]
    assert [(it.get("session"), it.get("tags")) for it in found] == [
        ("s-1", ["project:a", "night"]),
        ("s-2", None),
        ("s-3", ["b"]),
    ]


@pytest.mark.parametrize("tags", [["x"] * (MOST_TAGS + 1), [""], ["a\nb"], ["x" * 101], "text"])
def test_what_is_no_tag_is_an_error(new_log: NewLog, tags: Any) -> None:
    assert not are_tags(tags)
    policy = policy_of()
    with new_log() as log, pytest.raises(ValueError, match="up to 8 tags"):
        log.decision(policy, record_of(policy), tags=tags if isinstance(tags, list) else [""])
    with new_log() as log, pytest.raises(ValueError, match="session"):
        log.decision(policy, record_of(policy), session_id="")
