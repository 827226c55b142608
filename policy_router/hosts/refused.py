"""A refusal, as a host shows it to the agent that asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.decision.record import DecisionRecord, Reason
from policy_router.delegation.batch import Planned
from policy_router.errors import LogError, PolicyError, PolicyRouterError, RequestError

BAD_REQUEST: Final = "bad_request"
"""What was asked does not fit the policy, or is malformed."""
LOG_UNAVAILABLE: Final = "log_unavailable"
"""The decision cannot be logged, so it is denied."""
POLICY_UNAVAILABLE: Final = "policy_unavailable"
"""No policy can be used, so nothing is permitted."""


class Refused(Struct, frozen=True):
    """Why a task does not run.

    Attributes:
        code: a reason of the policy (``outside_pool``, ...), or ``bad_request``,
            ``log_unavailable`` or ``policy_unavailable``.
        message: for the agent: no keys, no values of facts.
        permitted: the names that may be asked for instead; None where any may, or none helps.
        task: the index of the task in its batch.
        reasons: for ``no_target``: the reason at each rule that proposed something.
        path: for ``bad_request``: the place of the problem.
        decision_id: the id of the decision in the log; None where nothing was decided.
        record: the decision; None where nothing was decided.
    """

    code: str
    message: str
    permitted: tuple[str, ...] | None = None
    task: int = 0
    reasons: tuple[Reason, ...] = ()
    path: str | None = None
    decision_id: str | None = None
    record: DecisionRecord | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for a tool's answer, in the form of a delegation's results."""
        permitted = None if self.permitted is None else [*self.permitted]
        error: dict[str, Any] = {"code": self.code, "message": self.message, "task": self.task}
        error |= {"permitted": permitted, "reasons": msgspec.to_builtins(self.reasons)}
        if self.path is not None:
            error["path"] = self.path
        return {"status": "refused", "decision_id": self.decision_id, "error": error}

    def __str__(self) -> str:
        """Return code and message on one line."""
        return f"{self.code}: {self.message}"


class RefusedError(PolicyRouterError):
    """A refusal where a host takes nothing but an exception; no method of the layer raises it.

    Attributes:
        refused: the refusal.
    """

    def __init__(self, refused: Refused) -> None:
        """Carry a refusal."""
        super().__init__(refused)
        self.refused = refused

    def __str__(self) -> str:
        """Return the refusal on one line, with the names that may be asked for."""
        permitted = self.refused.permitted
        names = f"; permitted: {', '.join(permitted)}" if permitted else ""
        return f"{self.refused}{names}"


def refused_by(plan: Planned) -> Refused | None:
    """Return the refusal of a decision; None where it selects a target."""
    error = plan.error
    if error is None:
        return None
    return Refused(
        error.code,
        error.message,
        error.permitted,
        plan.index,
        error.reasons,
        decision_id=plan.decision_id,
        record=plan.record,
    )


def refusal_of(problem: Exception) -> Refused:
    """Return the refusal that an exception stands for: every fault restricts."""
    match problem:
        case RefusedError():
            return problem.refused
        case RequestError():
            help_ = f"; {problem.help}" if problem.help else ""
            return Refused(BAD_REQUEST, f"{problem.reason}{help_}", path=problem.path)
        case PolicyError():
            count = problem.diagnostics.errors
            found = "an error" if count == 1 else f"{count} errors"
            words = f"the policy cannot be used: it has {found}; `policy-router check` shows it"
            return Refused(POLICY_UNAVAILABLE, words)
        case LogError():
            return Refused(LOG_UNAVAILABLE, "the decision cannot be logged, so it is denied")
        case _:  # its words may hold what no agent may read
            what = type(problem).__name__
            return Refused(POLICY_UNAVAILABLE, f"no decision can be made ({what})")


@contextmanager
def refusing(code: str, message: str) -> Iterator[None]:
    """Turn whatever goes wrong, for a reason that is not known, into a refusal of a code."""
    try:
        yield
    except (RefusedError, RequestError, PolicyError, LogError):
        raise
    except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
        words = f"{message} ({type(problem).__name__})"
        raise RefusedError(Refused(code, words)) from None
