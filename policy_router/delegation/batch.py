"""A batch, decided whole: each task with its decision, and what a result says before it ran."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from policy_router.calls.costs import dearest, ran_on
from policy_router.calls.results import Asked, Result, Status, TaskError
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.wording import spelt_warning
from policy_router.decision.record import DecisionRecord, ReasonCode, Target
from policy_router.decision.request import Request
from policy_router.decision.shape import checked_section
from policy_router.delegation.arguments import Arguments, Assignment, at_place
from policy_router.delegation.budgets import Funds, nano
from policy_router.domain import WISHES, FrozenDict, Policy
from policy_router.errors import RequestError
from policy_router.files.ids import Ids

CountTokens = Callable[[str], int]
"""Estimates the tokens of a text."""

BUDGET_EXCEEDED: Final = "budget_exceeded"
"""The code of a task that may cost more than its budget has left."""
COST_UNKNOWN: Final = "cost_unknown"
"""The code of a task of which nobody knows what it may cost."""
_UNKNOWN_COST: Final = (
    "what it may cost is unknown: a price, `max_tokens` or the size of the input is missing, and"
    " the policy has no `unknown_cost_usd`"
)
_BYTES_A_TOKEN: Final = 4
_UNRUN: Final = frozenset({Status.NOT_STARTED, Status.REFUSED})


def count_tokens(text: str) -> int:
    """Estimate the tokens of a text: one for every four bytes of UTF-8."""
    return -(-len(text.encode(errors="replace")) // _BYTES_A_TOKEN)


class Planned(Struct, frozen=True):
    """A task and its decision.

    Attributes:
        index: its place in the batch, from 0.
        assignment: what is to be done.
        record: the decision.
        decision_id: the id of the decision.
        session_id: the session it belongs to, or None.
        reserved: what a budget has to hold for it, in nano-dollars.
        denied: why its budget does not let it start; None where it does.
    """

    index: int
    assignment: Assignment
    record: DecisionRecord
    decision_id: str
    session_id: str | None
    reserved: int = 0
    denied: TaskError | None = None

    @property
    def target(self) -> Target | None:
        """What it runs on; None where it is refused, by the policy or by its budget."""
        if self.denied is not None:
            return None
        target = self.record.decision.target
        return None if isinstance(target, UnsetType) else target

    def result(self, status: Status, policy: Policy) -> Result:
        """Return what can be said of it before it ran.

        Args:
            status: what becomes of it.
            policy: what decided.
        """
        decision = self.record.decision
        return Result(
            task=self.index,
            status=status,
            requested=_asked(policy, self.record),
            outranked=tuple(
                Asked(warning.requested.get("model"), warning.requested.get("provider"))
                for warning in decision.warnings
                if warning.code is ReasonCode.OUTRANKED and warning.requested
                if warning.parameter is UNSET
            ),
            effective=None if self.target is None or status in _UNRUN else ran_on(self.target),
            level=_given(decision.level),
            rule=self.rule,
            decision_id=self.decision_id,
            session_id=self.session_id,
            warnings=tuple(spelt_warning(warning) for warning in decision.warnings),
            error=self.error,
        )

    @property
    def rule(self) -> str | None:
        """The precedence rule that selected or refused."""
        decision = self.record.decision
        refusal = decision.refusal
        return _given(decision.rule) if isinstance(refusal, UnsetType) else refusal.rule

    @property
    def error(self) -> TaskError | None:
        """Why it is refused; None where it is not."""
        refusal = self.record.decision.refusal
        if isinstance(refusal, UnsetType):
            return self.denied
        permitted, reasons = _given(refusal.permitted), refusal.reasons or ()
        return TaskError(refusal.code, refusal.message, self.index, permitted, reasons)


def planned(
    policy: Policy,
    arguments: Arguments,
    facts: Mapping[str, Any],
    *,
    now: datetime.datetime,
    ids: Ids,
    session_id: str | None = None,
    counts: CountTokens | None = count_tokens,
    funds: Funds | None = None,
) -> list[Planned]:
    """Decide every task of a batch, in order.

    Args:
        policy: what decides.
        arguments: the tasks.
        facts: the sections ``parent``, ``caller``, ``budget`` and ``facts`` of every request.
        now: the time of all decisions.
        ids: gives each its id.
        session_id: the session that the batch belongs to.
        counts: estimates ``task.input_tokens``, which is at least what a task says; None: nobody
            does.
        funds: what the budget has: each task is decided with what the tasks before it leave. None
            is no budget.

    Raises:
        ArgumentsError: what is asked does not fit the policy; its path says which task's.
        RequestError: the facts do not.
    """
    _check_facts(facts, has_funds=funds is not None)
    made: list[Planned] = []
    common = {
        **Request.from_mapping(facts).given,
        **_section("call", arguments.call, arguments.assignments[0]),
    }
    for index, assignment in enumerate(arguments.assignments):
        task = assignment.task
        if counts is not None:
            task = {**task, "input_tokens": _larger(task, counts(_text(assignment)))}
        given = {**common, **_section("task", task, assignment)}
        if funds is not None:
            given["budget"] = funds.section()
        try:
            record = decide(policy, Request.of_checked(given), now=now)
        except RequestError as problem:
            raise at_place(problem, assignment) from None
        reserved, denied = (0, None) if funds is None else _reserved(policy, record, index, funds)
        if funds is not None:
            funds = funds.less(reserved)
        plan = Planned(index, assignment, record, ids(now), session_id, reserved, denied)
        made.append(plan)
    return made


def _check_facts(facts: Any, *, has_funds: bool) -> None:
    if not isinstance(facts, Mapping):
        raise RequestError("$", "expected a mapping of facts")
    for section in ("call", "task"):
        if section in facts:
            reason = "wishes go into the arguments, not into the facts"
            raise RequestError(f"$.{section}", reason)
    if has_funds and "budget" in facts:
        reason = "the budget is the delegator's own: leave it out of the facts"
        raise RequestError("$.budget", reason)


def _section(
    name: str, content: Mapping[str, Any], assignment: Assignment
) -> dict[str, FrozenDict]:
    """Return a section of a request, checked in shape; none where nothing is in it."""
    try:
        return {name: checked_section(name, content)} if content else {}
    except RequestError as problem:
        raise at_place(problem, assignment) from None


def _reserved(
    policy: Policy, record: DecisionRecord, index: int, funds: Funds
) -> tuple[int, TaskError | None]:
    """Return what a budget has to hold for a task; or 0, and why the budget does not let it."""
    target = record.decision.target
    if isinstance(target, UnsetType):
        return 0, None
    tokens = record.request.get("task", {}).get("input_tokens")
    most = dearest(policy, (target, *(record.decision.fallbacks or ())), tokens)
    if most is None:
        return 0, TaskError(COST_UNKNOWN, _UNKNOWN_COST, index)
    amount = nano(most)
    if amount > funds.remaining:
        message = f"it may cost {most:.6f} US dollars, and the budget has less than that left"
        return 0, TaskError(BUDGET_EXCEEDED, message, index)
    return amount, None


def _text(assignment: Assignment) -> str:
    return f"{assignment.goal}\n\n{assignment.context}"


def _larger(task: Mapping[str, Any], counted: int) -> Any:
    """Return the larger size of an input: an agent cannot make its input smaller by saying so."""
    said = task.get("input_tokens", counted)
    is_number = isinstance(said, int) and not isinstance(said, bool)
    return max(said, counted) if is_number else said


def _asked(policy: Policy, record: DecisionRecord) -> Asked:
    """Return what was asked for: the wish that goes first, where both levels have one."""
    order = [rule.use for rule in policy.precedence if rule.use in WISHES]
    for level in (*order, *WISHES):
        wish = record.request.get(level, {})
        if wish.get("model") or wish.get("provider"):
            return Asked(wish.get("model") or None, wish.get("provider") or None)
    return Asked()


def _given(value: Any) -> Any:
    return None if value is UNSET else value
