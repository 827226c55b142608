"""Decisions for a host: what it states itself, what is asked, and how large the input is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from policy_router.decision.evaluator import decide
from policy_router.decision.request import Request
from policy_router.delegation.arguments import Assignment, arguments_of
from policy_router.delegation.batch import CountTokens, Planned, planned
from policy_router.domain import Policy
from policy_router.errors import RequestError
from policy_router.files.clock import Clock
from policy_router.files.ids import Ids, check_session

_Facts = Mapping[str, Any]


class Deciding(Struct, frozen=True):
    """Makes the decisions of a host.

    Attributes:
        facts: sections of every request that the host states once.
        counts: estimates the input tokens of goal and context, or None.
        clock: the time of decisions.
        ids: the ids of decisions.
    """

    facts: _Facts
    counts: CountTokens | None
    clock: Clock
    ids: Ids

    def single(
        self,
        policy: Policy,
        request: Request | _Facts | None,
        goal: str,
        context: str,
        session_id: str | None,
    ) -> Planned:
        """Decide one run of a child.

        Raises:
            RequestError: the request does not fit the policy.
        """
        check_given_session(session_id)
        given = self._completed(request, goal, context)
        now = self.clock()
        record = decide(policy, given, now=now)
        task = Assignment(goal, context, dict(record.request.get("task", {})))
        return Planned(0, task, record, self.ids(now), session_id)

    def _completed(self, request: Request | _Facts | None, goal: str, context: str) -> Request:
        """Return a request with what the host states, and with the size of its input."""
        if isinstance(request, Request) and not self.facts and not (goal or context):
            return request
        given = (
            request.given if isinstance(request, Request) else {} if request is None else request
        )
        whole = Request.from_mapping(self._with_facts(given))
        if self.counts is None or not (goal or context):
            return whole
        task = whole.given.get("task", {})
        least = self.counts(f"{goal}\n\n{context}")
        size = max(task.get("input_tokens", least), least)
        return Request.from_mapping({**whole.given, "task": {**task, "input_tokens": size}})

    def stated(self, facts: _Facts | None) -> dict[str, Any]:
        """Return what a host states of a request, with what it states of every request.

        Raises:
            RequestError: something is stated twice.
        """
        return self._with_facts({} if facts is None else facts)

    def _with_facts(self, given: _Facts) -> dict[str, Any]:
        """Return the sections of a request with those of the host; nothing is stated twice."""
        if not isinstance(given, Mapping):
            raise RequestError("$", "expected a mapping of sections")
        sections = dict(given)
        for name, stated in self.facts.items():
            if name not in sections:
                sections[name] = stated
                continue
            ours, theirs = stated, sections[name]
            if name != "facts" or not isinstance(theirs, Mapping) or {*ours} & {*theirs}:
                raise RequestError(f"$.{name}", "the host states this for every request already")
            sections[name] = {**ours, **theirs}
        return sections

    def batch(
        self,
        policy: Policy,
        arguments: _Facts | str | bytes,
        facts: _Facts | None,
        own: Sequence[str],
        session_id: str | None,
    ) -> tuple[list[Planned], list[dict[str, Any]]]:
        """Return the decisions of a call of the tool, and what of it is the host's own."""
        check_given_session(session_id)
        asked, kept = _split(arguments, own)
        made = planned(
            policy,
            arguments_of(asked),
            self.stated(facts),
            now=self.clock(),
            ids=self.ids,
            session_id=session_id,
            counts=self.counts,
        )
        return made, kept


def _split(
    arguments: _Facts | str | bytes, own: Sequence[str]
) -> tuple[_Facts | str | bytes, list[dict[str, Any]]]:
    """Return the arguments without those of the host's own tool, and these for each task.

    What a task says itself goes before what is said of all.
    """
    given: Any = arguments
    if isinstance(arguments, str | bytes):
        try:
            given = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise RequestError("$", "the arguments are not JSON") from None
    if not isinstance(given, Mapping):
        return given, [{}]
    shared = {name: given[name] for name in own if name in given}
    asked = {key: value for key, value in given.items() if key not in shared}
    tasks = asked.get("tasks")
    if not isinstance(tasks, list | tuple) or not tasks:
        return asked, [shared]
    kept = [
        {**shared, **{name: task[name] for name in own if name in task}}
        if isinstance(task, Mapping)
        else shared
        for task in tasks
    ]
    asked["tasks"] = [
        {key: value for key, value in task.items() if key not in own}
        if isinstance(task, Mapping)
        else task
        for task in tasks
    ]
    return asked, kept


def check_given_session(session_id: str | None) -> None:
    """Refuse the id of a session that no header can carry; None is no session."""
    if session_id is not None:
        check_session(session_id)
