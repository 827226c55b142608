"""Reads from a line of the log only the fields that find and list it.

A field that a line does not have is empty; the fields are those of the line and of its record.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType


class ListedCaller(Struct, frozen=True):
    """Who called."""

    id: str = ""
    team: str = ""


class ListedTask(Struct, frozen=True):
    """What was asked for."""

    kind: str = ""
    labels: tuple[str, ...] = ()


class ListedBudget(Struct, frozen=True):
    """What was left to spend."""

    remaining_usd: float | None = None


class ListedRequest(Struct, frozen=True):
    """The request."""

    caller: ListedCaller = ListedCaller()
    task: ListedTask = ListedTask()
    budget: ListedBudget = ListedBudget()


class ListedTarget(Struct, frozen=True):
    """What a task runs on."""

    model: str = ""
    provider: str = ""
    entry: str = ""


class ListedCode(Struct, frozen=True):
    """A warning, or the refusal."""

    code: str = ""
    rule: str | None = None


class ListedDecision(Struct, frozen=True):
    """The outcome."""

    outcome: str
    level: str = ""
    rule: str = ""
    target: ListedTarget = ListedTarget()
    warnings: tuple[ListedCode, ...] = ()
    refusal: ListedCode = ListedCode()


class ListedPolicy(Struct, frozen=True):
    """Which policy decided."""

    name: str
    revision: str


class ListedRecord(Struct, frozen=True):
    """The record of a decision."""

    decision: ListedDecision
    policy: ListedPolicy
    request: ListedRequest


class ListedExecution(Struct, frozen=True):
    """What came of a decision."""

    answer_id: str | None = None
    cost_usd: float | None = None
    provider: str | None = None


class ListedLine(Struct, frozen=True):
    """A line; its time is one that an index can hold."""

    kind: str
    time: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    id: str = ""
    parent: str | None = None
    root: str | None = None
    record: ListedRecord | UnsetType = UNSET
    execution: ListedExecution = ListedExecution()


LINES: Final = msgspec.json.Decoder(ListedLine)
"""Reads lines."""
