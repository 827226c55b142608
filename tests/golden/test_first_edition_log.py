"""A log that the first edition of the language wrote can still be read and replayed."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from policy_router.decision.record import Decision, DecisionRecord, EngineName, PolicyName
from policy_router.decision.replay import Outcome, replay
from policy_router.diagnostics.codes import Code
from policy_router.domain import Policy
from policy_router.errors import PolicyError
from policy_router.files.loader import load_stored, loads
from policy_router.log.folder import LogFolder
from policy_router.log.integrity.verify import verify
from policy_router.log.policies import PolicyStore
from policy_router.log.replay.replaying import replay_log
from tests.support.rows import each

LOG = Path(__file__).parent / "first-edition-log"
FILES = sorted((LOG / "policies").glob("*.json"))
CHANGED = "changed: the policy language has changed since: first difference: "


def stored(file: Path) -> Policy:
    revision = file.stem.replace("-", ":", 1)
    return PolicyStore(LogFolder(LOG)).load(revision)


def as_written(name: str) -> tuple[Path, str]:
    (path,) = LOG.glob(f"policies/*/*/000-{name}.yaml")
    return path, path.parents[1].name.replace("-", ":", 1)


def test_it_replays_with_no_other_reason_than_that_the_language_changed(tmp_path: Path) -> None:
    shutil.copytree(LOG, tmp_path / "log")
    assert verify(tmp_path / "log").is_whole

    report = replay_log(tmp_path / "log")

    assert report.total == 30
    assert report.counts == Counter({Outcome.IDENTICAL: 15, Outcome.CHANGED: 15})
    assert [reason for reason in report.reasons if not reason.startswith(CHANGED)] == []
    assert f"{CHANGED}rule `task`: selected became violated (parameter_not_allowed)" in (
        report.reasons
    )


@each("file", FILES, ids=lambda file: file.stem[:12])
def test_a_stored_policy_keeps_its_revision_and_its_bytes(file: Path) -> None:
    policy = stored(file)

    assert policy.revision == file.stem.replace("-", ":", 1)
    assert policy.canonical == file.read_bytes()


@each("name", ["origin", "rich", "no-pool", "strict-default-outside"])
def test_what_is_new_in_the_language_is_left_out_of_the_canonical_form(name: str) -> None:
    _, revision = as_written(name)
    file = next(file for file in FILES if file.stem == revision.replace(":", "-"))
    assert load_stored(file.name, file.read_bytes(), name=name).revision == revision


def test_what_only_this_edition_finds_wrong_is_a_warning_in_a_stored_policy() -> None:
    path, revision = as_written("loose-parameters")
    with pytest.raises(PolicyError) as caught:
        loads(path.read_text("utf-8"), name=path.name)
    wrong = {Code.RESERVED_PARAMETER, Code.OUTSIDE_LIMITS, Code.WRONG_TYPE}
    assert {item.code for item in caught.value.diagnostics} >= wrong

    policy = PolicyStore(LogFolder(LOG)).load(revision)
    assert policy.warnings.errors == 0
    assert {item.code for item in policy.warnings} >= wrong


@each(
    "text",
    [
        '{"model":"m","quota":5,"version":1}',
        '{"forbid":[{"when":"target.speed > 1"}],"version":1}',
        '{"precedence":[{"use":"moon"}],"version":1}',
        '{"precedence":"moon","version":1}',
    ],
)
def test_a_stored_policy_with_what_cannot_be_read_is_not_used(text: str) -> None:
    with pytest.raises(PolicyError):
        load_stored("stored.json", text.encode(), name="stored")


def test_a_request_that_fits_no_longer_is_a_change_of_the_language() -> None:
    policy = loads("model: m\nprovider: p\nteams: [a]\n")
    record = DecisionRecord(
        policy=PolicyName(policy.name, policy.revision),
        engine=EngineName("0.1.0", "cel-python 0.5.0"),
        now="2026-11-20T09:00:00Z",
        request={"caller": {"team": "b"}},
        decision=Decision("refused", ()),
        steps=(),
    )

    again = replay(policy, record)

    assert again.outcome is Outcome.CHANGED
    assert again.reason is not None
    assert again.reason.startswith("the policy language has changed since: the request does not")
