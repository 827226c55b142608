"""hermes-agent runs its sub-agents on what the policy decides: a plugin of the host.

``hermes plugins enable policy-router --allow-tool-override`` turns it on. The host would go on
without us wherever a plugin raises, so nothing here does: each fault is a refusal. And a child is
*sealed*: its own client leads nowhere, so that a call that passes us by reaches no provider.
"""

from __future__ import annotations

import atexit
import json
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from policy_router.calls.dialects import CHAT
from policy_router.delegation.tool import NAME
from policy_router.hosts.chat_call import answer_of, call
from policy_router.hosts.host_plan import HostPlan
from policy_router.hosts.policy_host import PolicyHost
from policy_router.hosts.refused import POLICY_UNAVAILABLE, Refused, refusal_of
from policy_router.hosts.settings_files import NOWHERE

PLUGIN: Final = "policy-router"
_ROLES: Final = ("leaf", "orchestrator")
_ROLE: Final = {
    "type": "string",
    "enum": [*_ROLES],
    "description": "orchestrator: may delegate in turn. Leave out for leaf.",
}
_OWN: Final = ("role", "background", "max_iterations")
"""The arguments that the host's own tool has besides."""
_ALLOW: Final = (
    "the plugin may not replace the tool: run "
    "`hermes plugins enable policy-router --allow-tool-override`"
)
_PENDING: ContextVar[deque[HostPlan] | None] = ContextVar("policy_router_pending", default=None)
"""The plans of the batch at hand, whose children the host makes now, in this thread."""


@dataclass
class Run:
    """The run of one child.

    Attributes:
        plan: its plan.
        depth: how deep it is; 1 is a child of the root agent.
        agent: the host's agent, once it is sealed.
        served: what its last answer says of the model.
        tokens: the tokens of its calls: of the input, and of the answers.
    """

    plan: HostPlan
    depth: int
    agent: Any = None
    served: str | None = None
    tokens: tuple[int, int] | None = None


class Plugin:
    """What the host calls."""

    def __init__(self) -> None:
        """Refuse everything, until the policy is there."""
        self._host: PolicyHost | None = None
        self._fault: Refused | None = Refused(POLICY_UNAVAILABLE, "there is no policy")
        self._runs: dict[str, Run] = {}
        self._sessions: dict[str, Run] = {}
        self._models: dict[str, dict[str, str]] = {}

    # The beginning: enforcement first, so that nothing that fails later can turn it off.

    def register(self, context: Any) -> None:
        """Take part in the host."""
        context.register_middleware("llm_execution", self.call)
        context.register_middleware("tool_execution", self.delegate)
        context.register_hook("subagent_start", self.bind)
        context.register_hook("pre_llm_call", self.seal)
        context.register_hook("subagent_stop", self.finish)
        atexit.register(self.close)
        try:
            self._open(_settings())
            self._offer(context)
        except Exception as problem:  # noqa: BLE001 - the host would go on without the plugin
            self._fault = refusal_of(problem)

    def _open(self, settings: Mapping[str, Any]) -> None:
        log, facts = settings.get("log", PLUGIN), settings.get("facts", {})
        policy, log = (_place(it) for it in (settings.get("policy", "policy.yaml"), log))
        self._host, self._fault = PolicyHost(policy, log=log, facts=facts), None

    def _offer(self, context: Any) -> None:
        """Replace the host's tool by that of the policy."""
        from tools import delegate_tool  # noqa: PLC0415 - the host; it registers its own tool

        try:
            context.register_tool(
                name=NAME,
                toolset="delegation",
                schema=self.schema(),
                handler=_handler,
                check_fn=delegate_tool.check_delegate_requirements,
                emoji="🔀",
                override=True,
            )
        except PermissionError:
            self._fault = Refused("override_not_allowed", _ALLOW)

    def schema(self) -> dict[str, Any]:
        """Return the tool of the policy, with the host's own argument."""
        made: Any = self._fault if self._host is None else self._host.tool()
        if not isinstance(made, dict):
            parameters = {"type": "object", "properties": {"goal": {"type": "string"}}}
            return {"name": NAME, "description": f"Refused: {made}", "parameters": parameters}
        function: dict[str, Any] = made["function"]
        properties = function["parameters"]["properties"]
        properties["role"] = _ROLE
        properties["tasks"]["items"]["properties"]["role"] = _ROLE
        return function

    # A batch.

    def delegate(self, args: Any, next_call: Callable[..., Any], **about: Any) -> Any:
        """Decide a call of the tool whole, before the host makes any child of it."""
        if about.get("tool_name") != NAME:
            return next_call(args)
        above = self._runs.get(about.get("task_id", ""))
        try:
            plans = self._decided(args, above, about.get("session_id", ""))
        except Exception as problem:  # noqa: BLE001 - the host would delegate without us
            plans = refusal_of(problem)
        if isinstance(plans, Refused):
            return json.dumps(plans.to_dict(), ensure_ascii=False)
        pending = deque(plans)
        token = _PENDING.set(pending)
        try:
            return next_call({"tasks": [_task(plan) for plan in plans]})
        finally:
            _PENDING.reset(token)
            for plan in pending:  # the host has made no child of it
                plan.cancelled()

    def _decided(self, args: Any, above: Run | None, session: str) -> Any:
        if self._fault is not None or self._host is None:
            return self._fault
        facts: dict[str, Any] = {"parent": self._parent(above, session)}
        parent_id = above.plan.decision_id if above else None
        return self._host.batch(args, facts, own=_OWN, parent_id=parent_id)

    def _parent(self, above: Run | None, session: str) -> dict[str, Any]:
        if above is None:
            return {**self._models.get(session, {}), "depth": 0}
        target = above.plan.record.decision.target
        known = {"model": target.model, "provider": target.provider} if target else {}
        return {**known, "depth": above.depth}

    # A child.

    def bind(self, **about: Any) -> None:
        """Give a child its plan: the host makes them in order, in the thread of the call."""
        pending = _PENDING.get()
        if pending and pending[0].goal == about.get("child_goal"):
            above = self._runs.get(about.get("parent_subagent_id") or "")
            run = Run(pending.popleft(), above.depth + 1 if above else 1)
            self._runs[about["child_subagent_id"]] = run
            self._sessions[about["child_session_id"]] = run

    def seal(self, **about: Any) -> None:
        """Take from a child the client that it has from its parent."""
        from tools import delegate_tool  # noqa: PLC0415 - the host

        task = about.get("task_id", "")
        run = self._runs.get(task)
        if run is None and about.get("platform") != "subagent":
            return
        agent = delegate_tool._active_subagents[task]["agent"]  # noqa: SLF001 - the host has no door
        target = run.plan.record.decision.target if run else None
        agent.switch_model(target.model if target else PLUGIN, "custom", PLUGIN, NOWHERE, CHAT)
        agent._fallback_chain, agent._credential_pool = [], None  # noqa: SLF001 - as above
        if run is not None:
            run.agent = agent

    def call(self, request: Any, next_call: Callable[..., Any], **about: Any) -> Any:
        """Make the call of a child where its plan says; that of any other agent is the host's."""
        run = self._runs.get(about.get("task_id", ""))
        session = about.get("session_id", "")
        if run is None and about.get("platform") != "subagent":
            known = {key: about[key] for key in ("model", "provider") if about.get(key)}
            self._models[session] = known
            return next_call(request)
        try:
            answer = self._answer(run, request, session)
        except Exception as problem:  # noqa: BLE001 - the host would call the parent's model
            answer = _refusal(str(refusal_of(problem)))
        # A child that was interrupted: the host says so itself, and the client leads nowhere.
        return next_call(request) if answer is None else answer

    def _answer(self, run: Run | None, request: Any, session: str) -> SimpleNamespace | None:
        if run is None or run.agent is None:
            return _refusal("no_decision: nothing was decided for this sub-agent")
        self._sessions[session] = run
        agent, plan = run.agent, run.plan
        while (leg := plan.ready()) is not None:
            said: list[str] = []

            def on_text(text: str, said: list[str] = said) -> None:
                said.append(text)
                agent._fire_stream_delta(text)  # noqa: SLF001 - the host has no door

            try:
                agent.model = leg.model  # what the host shows
                answer = call(leg, request, on_text, lambda: agent._interrupt_requested)  # noqa: SLF001
            except Exception as error:  # noqa: BLE001 - of any kind: the plan goes on, or ends
                plan.failed(error, partial="".join(said))
            else:
                return _counted(run, answer)
        why = plan.error
        return _refusal(f"{why.code}: {why.message}" if why else "ended: the task has ended")

    def finish(self, **about: Any) -> None:
        """Note the end of a child, and log it."""
        run = self._sessions.get(about.get("child_session_id") or "")
        if run is None:
            return
        for known in (self._sessions, self._runs):  # other threads add to them meanwhile
            for key in [key for key, it in tuple(known.items()) if it is run]:
                del known[key]
        if about.get("child_status") != "completed" or run.served is None:
            run.plan.cancelled()
            return
        input_, output = run.tokens or (None, None)
        run.plan.done(
            about.get("child_summary"),
            served_model=run.served or None,
            input_tokens=input_,
            output_tokens=output,
        )

    def close(self) -> None:
        """End what is open, when the host ends."""
        for run in self._runs.values():
            run.plan.cancelled()
        if self._host is not None:
            self._host.close()


def register(context: Any) -> None:
    """Begin: the host calls it with the plugin's context."""
    Plugin().register(context)


def _settings() -> dict[str, Any]:
    """Return what the host's configuration says of this plugin."""
    from hermes_cli.config import load_config  # noqa: PLC0415 - the host

    plugins = load_config().get("plugins") or {}
    return {**((plugins.get("entries") or {}).get(PLUGIN) or {})}


def _place(path: Any) -> Path:
    """Return a path; one that is not absolute begins in the host's home."""
    from hermes_constants import get_hermes_home  # noqa: PLC0415 - the host

    return Path(get_hermes_home(), Path(str(path)).expanduser())


def _handler(args: Mapping[str, Any], **about: Any) -> Any:
    """Delegate as the host's own tool does, where its registry is asked."""
    from tools import delegate_tool  # noqa: PLC0415 - the host

    agent = about.get("parent_agent")
    background = getattr(agent, "_delegate_depth", 0) == 0
    tasks = args.get("tasks")
    return delegate_tool.delegate_task(tasks=tasks, background=background, parent_agent=agent)


def _task(plan: HostPlan) -> dict[str, Any]:
    role = plan.own.get("role")
    return {"goal": plan.goal, "context": plan.context, **({"role": role} if role else {})}


def _counted(run: Run, answer: SimpleNamespace | None) -> SimpleNamespace | None:
    """Note what a call has brought; None is a call that was stopped."""
    if answer is None:
        return None
    run.served = answer.model
    if answer.usage is not None:
        before = run.tokens or (0, 0)
        run.tokens = (
            before[0] + (answer.usage.prompt_tokens or 0),
            before[1] + (answer.usage.completion_tokens or 0),
        )
    return answer


def _refusal(message: str) -> SimpleNamespace:
    """Return an answer in place of a model's, which the host shows as the child's."""
    return answer_of(PLUGIN, "stop", content=f"policy-router refused this task: {message}")
