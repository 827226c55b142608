"""Claude Code's sub-agents run on what the policy decides.

A command of its settings, which ``policy-router connect claude-code`` writes, asks a service or
this module (see ``claude_code_hook``). A program that uses the SDK has the same in its process::

    from claude_agent_sdk import ClaudeAgentOptions
    from policy_router.hosts.claude_code import hooks

    options = ClaudeAgentOptions(hooks=hooks("rules/", log="decisions"))

Claude Code makes the calls itself, so a decision is one model for the whole run of a sub-agent;
what came of it is noted from what Claude Code tells at its end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from policy_router.errors import PolicyRouterError
from policy_router.hosts import claude_code_hook as hook
from policy_router.log.entry import Execution
from policy_router.log.write.decision_log import DecisionLog
from policy_router.log.write.drafts import Decided

if TYPE_CHECKING:
    from claude_agent_sdk.types import HookEvent, HookMatcher

    from policy_router.hosts.deciding_policy import PolicySource
    from policy_router.hosts.host_plan import HostPlan
    from policy_router.hosts.policy_host import PolicyHost
    from policy_router.hosts.refused import Refused

_STARTS: Final = "Agent|Task"
_MOST_OPEN: Final = 10_000
"""So many sub-agents are remembered whose end was never heard of."""


def decide_once(request: Mapping[str, Any], policy: str, log: str) -> dict[str, Any]:
    """Decide what a sub-agent runs on, and log it; for the hook, in a process of its own.

    It imports no more than that takes: a quarter of a second is what a user may wait.

    Args:
        request: the request.
        policy: the path of the policy.
        log: the folder of the log.

    Returns:
        ``decision_id`` and ``record``, as the service answers; or ``refused``: why there is none.
    """
    try:
        return _decided_once(request, policy, log)
    except PolicyRouterError as problem:
        from policy_router.hosts.refused import refusal_of  # noqa: PLC0415 - as above

        return {"refused": str(refusal_of(problem))}


def _decided_once(request: Mapping[str, Any], policy: str, log: str) -> dict[str, Any]:
    from policy_router.decision.evaluator import decide  # noqa: PLC0415 - as above
    from policy_router.files.clock import system_clock  # noqa: PLC0415 - as above
    from policy_router.files.ids import uuid7  # noqa: PLC0415 - as above
    from policy_router.files.loader import load  # noqa: PLC0415 - as above

    now = system_clock()
    loaded, id_ = load(policy), uuid7(now)
    record = decide(loaded, dict(request), now=now)
    with DecisionLog(Path(log)) as kept:
        kept.decisions(loaded, [Decided(record, id_)])
    return {"decision_id": id_, "record": json.loads(record.to_json())}


def report_once(report: Mapping[str, Any], log: str) -> None:
    """Log what came of a sub-agent; for the hook, in a process of its own."""
    with DecisionLog(Path(log)) as kept:
        _log_report(kept, report)


def _log_report(log: DecisionLog, report: Mapping[str, Any]) -> None:
    known = {key: value for key, value in report.items() if key != "decision_id"}
    log.execution(report["decision_id"], Execution("reported", attempt=1, **known))


def _said(plan: HostPlan | Refused) -> dict[str, Any]:
    if plan.record is None:
        return {"refused": str(plan)}
    return {"decision_id": plan.decision_id, "record": json.loads(plan.record.to_json())}


def hooks(
    policy: PolicySource,
    *,
    log: DecisionLog | str | os.PathLike[str] | None = None,
    facts: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[HookEvent, list[HookMatcher]]:
    """Return the hooks for the options of claude-agent-sdk, from version 0.2.

    Args:
        policy: as for :class:`PolicyHost`.
        log: every decision is logged before the sub-agent starts: a log, or the folder of one.
        facts: sections of every request that the host states: ``caller`` and others.
        environ: the variables that Claude Code gets, such as ``ANTHROPIC_DEFAULT_HAIKU_MODEL``.
    """
    from claude_agent_sdk.types import HookMatcher  # noqa: PLC0415 - the host

    from policy_router.hosts.policy_host import PolicyHost  # noqa: PLC0415 - see decide_once

    kept = DecisionLog(Path(log)) if isinstance(log, str | os.PathLike) else log
    guard = Guard(PolicyHost(policy, log=kept, facts=facts), kept, environ or {})
    return {
        "PreToolUse": [
            HookMatcher(hook.TOOLS, [guard.before], timeout=float(hook.TIMEOUT), on_failure="block")
        ],
        "PostToolUse": [HookMatcher(_STARTS, [guard.after])],
        "SubagentStop": [HookMatcher(None, [guard.stopped])],
    }


class Guard:
    """What the hooks of one program do."""

    def __init__(
        self, host: PolicyHost, log: DecisionLog | None, environ: Mapping[str, str]
    ) -> None:
        """Have no sub-agents yet.

        Args:
            host: decides, and logs.
            log: takes the ends of sub-agents; None where nothing is logged.
            environ: the variables that Claude Code gets.
        """
        self._host, self._log, self._environ = host, log, environ
        self._known: dict[str, dict[str, Any]] = {}

    async def before(self, asked: Any, _id: Any, _context: Any) -> Any:
        """Decide before a sub-agent starts; every fault is a denial."""
        try:
            given = asked["tool_input"]
            why = hook.impossible(asked["tool_name"], given)
            if why is not None:
                return hook.denied(why)
            plan = await self._host.plan_async(hook.request_of(given))
            answer = hook.answer_of(_said(plan), given, self._environ)
            if "updatedInput" in answer["hookSpecificOutput"]:
                self._keep(asked["tool_use_id"], plan)
        except Exception as problem:  # noqa: BLE001 - the sub-agent would start without us
            return hook.denied(f"no decision can be made ({type(problem).__name__})")
        return answer

    def _keep(self, call: str, plan: HostPlan | Refused) -> None:
        target = plan.record.decision.target if plan.record else UNSET
        if not isinstance(target, UnsetType):
            known = {"model": target.model, "provider": target.provider}
            self._known[call] = {"decision_id": plan.decision_id, **known}
        if len(self._known) > _MOST_OPEN:
            del self._known[next(iter(self._known))]

    async def after(self, notice: Any, _id: Any, _context: Any) -> Any:
        """Note the end of a sub-agent, or under which id it goes on in the background."""
        with suppress(KeyError, TypeError, AttributeError):  # it has another shape
            known = self._known.pop(notice["tool_use_id"])
            agent = hook.running(notice)
            if agent is not None:
                self._known[agent] = known
            else:
                self._end(known, hook.outcome_of(notice["tool_response"]))
        return {}

    async def stopped(self, notice: Any, _id: Any, _context: Any) -> Any:
        """Note the end of a sub-agent that ran in the background."""
        import asyncio  # noqa: PLC0415 - see decide_once

        with suppress(KeyError, TypeError, AttributeError, OSError, ValueError):
            known = self._known.pop(notice["agent_id"])
            self._end(known, await asyncio.to_thread(hook.transcript_of, notice))
        return {}

    def _end(self, known: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        if self._log is not None:
            _log_report(self._log, {**known, **outcome})
