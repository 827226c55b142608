"""OpenID AuthZEN Authorization API 1.0: may a model be used, and does a task get a target?

An evaluation is a decision like any other. Its request is made of the subject (``caller``), of the
sections in ``context``, and of the resource: a ``model`` is what the task asks for, a ``task`` asks
for nothing more. What a credential may not state is refused as it is everywhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from policy_router.decision.evaluator import decide, permitted
from policy_router.decision.record import DecisionRecord, ReasonCode, Result
from policy_router.decision.request import Request
from policy_router.domain import FrozenDict, Level, Policy
from policy_router.errors import RequestError
from policy_router.files.clock import Clock
from policy_router.log.entry import ACCESS
from policy_router.log.write.drafts import Decided
from policy_router.server.asking import Answer, Asked
from policy_router.server.deciding import AT_A_TIME, DECISION, Agents
from policy_router.server.evaluations import (
    KNOWN,
    KNOWN_OF_SEVERAL,
    MODEL,
    OFFERED,
    Evaluated,
    Evaluation,
    Evaluations,
    Search,
    as_type,
    content_of,
    ignored_in,
    placed,
    sections_of,
    with_defaults,
)
from policy_router.server.problems import Header, Problem, unfit
from policy_router.server.settings import is_loopback

PATH: Final = "/access/v1/"
_ENDPOINTS: Final = {
    "access_evaluation_endpoint": f"{PATH}evaluation",
    "access_evaluations_endpoint": f"{PATH}evaluations",
    "search_resource_endpoint": f"{PATH}search/resource",
}
_CONTROL: Final = (frozenset(range(32)) | {127}) - {9}
"""What no value of a header has; a tab it may have."""
_REASONS: Final[Mapping[ReasonCode, str]] = {
    ReasonCode.LEVEL_NOT_USED: "the policy does not let a task ask for a model",
    ReasonCode.OUTRANKED: "a rule of the policy goes before what the task asks for",
}
_NOT_OFFERED: Final = {
    "code": "not_offered",
    "reason": "there is no such action on such a resource",
}
_NOT_LISTED: Final = {"code": "not_listed", "reason": "these resources cannot be listed"}


class Access:
    """Answers as a policy decision point does."""

    def __init__(
        self, agents: Agents, policy: Callable[[], Policy], clock: Clock, *, has_tls: bool
    ) -> None:
        """Keep what answers need.

        Args:
            agents: decide, and know who is believed.
            policy: returns what decides now.
            clock: tells the time of a search.
            has_tls: whether the service itself is reached over TLS.
        """
        self._agents, self._policy, self._clock = agents, policy, clock
        self._has_tls = has_tls

    async def evaluation(self, asked: Asked) -> Answer:
        """Answer one evaluation."""
        asked.options()
        return await self._one(content_of(asked.body), asked)

    async def evaluations(self, asked: Asked) -> Answer:
        """Answer several evaluations, in order."""
        asked.options()
        content = content_of(asked.body)
        several = as_type(Evaluations, content)
        async with self._agents.turn(len(several.evaluations)):
            return await self._several(content, several, asked)

    async def _several(self, content: dict[str, Any], several: Evaluations, asked: Asked) -> Answer:
        policy = self._policy()
        if not several.evaluations:
            beside = ("evaluations", "options")
            alone = {name: it for name, it in content.items() if name not in beside}
            return await self._one(alone, asked)
        last = {"deny_on_first_deny": False, "permit_on_first_permit": True}
        made, decided = list[Evaluated](), list[Decided]()
        for number, item in enumerate(with_defaults(content, several.evaluations), 1):
            try:
                evaluated, decision = await self._evaluated(policy, item, asked)
                decided += [] if decision is None else [decision]
            except Problem as problem:
                said = f"{problem.path}: {problem.detail}" if problem.path else problem.detail
                error = {"status": problem.status, "message": said}
                evaluated = Evaluated(decision=False, context={"error": error})
            made.append(evaluated)
            if last.get(several.options.evaluations_semantic) == evaluated.decision:
                break
            if not number % AT_A_TIME:
                await asyncio.sleep(0)
        await self._agents.keep(policy, decided)
        ignored = list(ignored_in(content, KNOWN_OF_SEVERAL))
        body = {"evaluations": made, **({"context": {"ignored": ignored}} if ignored else {})}
        return Answer(msgspec.json.encode(body), revision=policy.revision)

    async def resources(self, asked: Asked) -> Answer:
        """List the resources whose evaluation would be true, in the order of the pool."""
        asked.options()
        policy, content = self._policy(), content_of(asked.body)
        search, found = as_type(Search, content), list[str]()
        kind = (search.resource.type, search.action.name)
        context: dict[str, Any] = _NOT_LISTED if kind in OFFERED else _NOT_OFFERED
        if kind == MODEL and policy.pool is not None:
            context, names = {}, dict.fromkeys(entry.name for entry in policy.pool)
            with placed(kind):
                found = await self._usable(policy, search, list(names), asked)
        if ignored := list(ignored_in(content, KNOWN)):
            context = {**context, "ignored": ignored}
        results = [{"type": "model", "id": name} for name in found]
        body = {"results": results, **({"context": context} if context else {})}
        return Answer(msgspec.json.encode(body), revision=policy.revision)

    async def configuration(self, asked: Asked) -> Answer:
        """Name what is offered, at the address that the client calls the service by.

        AuthZEN is spoken over TLS: only on this machine itself, it may be without.
        """
        asked.options()
        place = urlsplit(f"//{asked.headers.get(b'host', b'').decode('ascii')}")
        is_plain = not self._has_tls and is_loopback(place.hostname or "")
        base = f"{'http' if is_plain else 'https'}://{place.netloc}"
        ends = {name: f"{base}{path}" for name, path in _ENDPOINTS.items()}
        return Answer.of({"policy_decision_point": base, **ends})

    async def _one(self, content: dict[str, Any], asked: Asked) -> Answer:
        policy = self._policy()
        evaluated, decided = await self._evaluated(policy, content, asked)
        headers: tuple[Header, ...] = ()
        if decided is not None:
            await self._agents.keep(policy, [decided])
            headers = ((DECISION, decided.decision_id.encode()),)
        body = msgspec.json.encode(evaluated)
        return Answer(body, headers=headers, revision=policy.revision)

    async def _evaluated(
        self, policy: Policy, content: Any, asked: Asked
    ) -> tuple[Evaluated, Decided | None]:
        """Evaluate, and return the decision that is still to be logged, if there is one."""
        wanted = as_type(Evaluation, content)
        kind, decided = (wanted.resource.type, wanted.action.name), None
        if kind in OFFERED:
            model = wanted.resource.id if kind == MODEL else None
            with placed(kind):
                hidden = self._agents.trust.pseudonyms
                sections = sections_of(wanted, asked.credential, model, hidden)
                decided = await self._agents.decided(policy, msgspec.json.encode(sections), asked)
            decided = replace(decided, purpose=ACCESS)
            evaluated = _answer(policy, decided, model)
        else:
            context = {**_NOT_OFFERED, "revision": policy.revision}
            evaluated = Evaluated(decision=False, context=context)
        if ignored := list(ignored_in(content, KNOWN)):
            evaluated.context["ignored"] = ignored
        return evaluated, decided

    async def _usable(
        self, policy: Policy, search: Search, names: list[str], asked: Asked
    ) -> list[str]:
        """Return the names whose evaluation would be true."""
        if not names:
            return []
        hidden, now = self._agents.trust.pseudonyms, self._clock()
        sections = sections_of(search, asked.credential, names[0], hidden)
        asking = replace(asked, body=msgspec.json.encode(sections))
        given = (await self._agents.believed(policy, asking)).given
        task = given["task"]
        try:
            if "provider" not in task:  # what is not permitted needs no decision
                names = list(permitted(policy, Request.of_checked(given), now=now) or ())
            found = []
            for number, name in enumerate(names, 1):
                request = {**given, "task": FrozenDict({**task, "model": name})}
                record = decide(policy, Request.of_checked(request), now=now)
                found += [name] if _selects(record, name) else []
                if not number % AT_A_TIME:
                    await asyncio.sleep(0)
        except RequestError as problem:
            raise unfit(problem) from None
        return found


# What a decision says, as an evaluation.


def _selects(record: DecisionRecord, model: str) -> bool:
    """Tell whether the task level selects what the task asks for: another target is no yes."""
    for step in record.steps:
        if step.result is Result.SELECTED and step.level is Level.TASK:
            return isinstance(step.requested, dict) and step.requested.get("model") == model
    return False


def _answer(policy: Policy, decided: Decided, model: str | None) -> Evaluated:
    record = decided.record
    named = {"decision_id": decided.decision_id, "revision": policy.revision}
    if model is not None and not _selects(record, model):
        return Evaluated(decision=False, context={**_denial(policy, record), **named})
    if model is not None:
        return Evaluated(decision=True, context=named)
    if record.decision.refusal:
        return Evaluated(decision=False, context={**_denial(policy, record), **named})
    return Evaluated(decision=True, context={"target": record.decision.target, **named})


def _denial(policy: Policy, record: DecisionRecord) -> dict[str, Any]:
    """Return the code, the reason and what is permitted, where the task does not get its wish."""
    refusal, code, reason = record.decision.refusal, ReasonCode.OUTRANKED, ""
    names: Any
    if refusal:
        code, reason, names = refusal.code, refusal.message, refusal.permitted
    else:
        for warning in record.decision.warnings:
            if warning.requested and "model" in warning.requested:
                code, reason = warning.code, warning.message or ""
                break
        reason = reason or _REASONS.get(code, "the policy selects another target")
        names = permitted(policy, record.request, now=record.now)
    content = {"code": code, "reason": reason}
    return {**content, "permitted": names} if isinstance(names, tuple) else content


# What surrounds an answer.


def request_id(headers: Iterable[Header]) -> tuple[Header, ...]:
    """Return the header that tells a client which of its requests an answer is to."""
    found = next((value for name, value in headers if name == b"x-request-id"), None)
    if found is None or not _CONTROL.isdisjoint(found):
        return ()
    return ((b"x-request-id", found),)
