"""The agent loop in docs/examples: a program of its own, with providers on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ROOT
from tests.support.hosting import (
    GOAL,
    OUTSIDE,
    SECRETS,
    THREE,
    Peers,
    decisions,
    executions,
    is_whole,
    result_of,
)

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "docs" / "examples" / "own_loop.py"


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as peers:
        yield peers


def said(peers: Peers, folder: Path, *calls: Any) -> str:
    """Return what the program says, whose agent makes these calls of its tool first."""
    (folder / "policy.json").write_text(peers.policy(precedence="strict"))
    peers.calls["m-lead"] = [("delegate_task", it) for it in calls]
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, str(EXAMPLE), "policy.json", "Lead."],
        cwd=folder,
        env={**os.environ, **SECRETS},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return ran.stdout + ran.stderr


def test_three_children_run_on_two_endpoints(peers: Peers, tmp_path: Path) -> None:
    assert said(peers, tmp_path, THREE) == "Hello from m-lead.\n"
    assert peers.asked[0] == peers.asked[-1] == ("lead", "m-lead")
    children = [("far", "m-coder"), ("near", "m-small"), ("near", "m-spare")]
    assert sorted(peers.asked[1:-1]) == children
    results = result_of(peers.provider.talks[-1])["results"]
    assert [it["served_model"] for it in results] == ["m-coder", "m-small", "m-spare"]
    first, *others = decisions(tmp_path / "decisions")
    assert [it.parent for it in others] == [first.id] * 3
    ends = executions(tmp_path / "decisions")
    assert [(it.status, it.input_tokens) for it in ends] == [("completed", 12)] * 3 + [
        ("completed", 24)
    ]
    assert is_whole(tmp_path / "decisions")


def test_a_refusal_starts_nothing(peers: Peers, tmp_path: Path) -> None:
    assert said(peers, tmp_path, OUTSIDE) == "Hello from m-lead.\n"
    assert peers.asked == [("lead", "m-lead")] * 2
    error = result_of(peers.provider.talks[-1])["error"]
    assert error["permitted"] == ["small", "coder", "spare", "lead"]


def test_failures_go_along_the_plan_and_never_outside(peers: Peers, tmp_path: Path) -> None:
    peers.faults |= {"m-coder": [503], "m-spare": [503]}
    said(peers, tmp_path, {"goal": GOAL, "kind": "coding"})
    assert peers.asked[1:-1] == [("far", "m-coder"), ("near", "m-spare")]
    (result,) = result_of(peers.provider.talks[-1])["results"]
    assert (result["status"], result["error"]["code"]) == ("failed", "server_error")


def test_what_stops_the_first_agent_is_said(peers: Peers, tmp_path: Path) -> None:
    peers.faults["m-lead"] = [503]
    assert "HTTP Error 503" in said(peers, tmp_path)
    (tmp_path / "policy.json").write_text("model: [")
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, str(EXAMPLE), "policy.json", "Lead."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (ran.returncode, ran.stderr[:18]) == (1, "policy_unavailable")
