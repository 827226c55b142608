"""A model for crewai: the policy decides what the agent of each task calls."""

from collections import defaultdict

import openai
from crewai import BaseLLM
from crewai.events import TaskCompletedEvent, TaskFailedEvent, crewai_event_bus
from pydantic import PrivateAttr

from policy_router.hosts import Refused, RefusedError


class PolicyLLM(BaseLLM):
    """Answers along the plan of a task, which is decided once; its kind is the agent's role."""

    _host = PrivateAttr()
    _plans = PrivateAttr(default_factory=dict)
    _usages = PrivateAttr(default_factory=lambda: defaultdict(list))

    def __init__(self, host):
        super().__init__(model="policy")
        self._host = host
        for event in (TaskCompletedEvent, TaskFailedEvent):
            crewai_event_bus.on(event)(self.ended)

    def call(self, messages, tools=None, callbacks=None, available_functions=None, **about):
        """Make one call of a model."""
        task, agent = about.get("from_task"), about.get("from_agent")
        if task is None or agent is None:
            raise PermissionError("outside a task of a crew, nothing is decided")
        plan = self._plans.get(task.id)
        if plan is None:
            request = {"task": {"kind": agent.role.strip()}}
            plan = self._plans[task.id] = self._host.plan(request, goal=task.description)
        if isinstance(plan, Refused):
            raise RefusedError(plan)
        said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        while (leg := plan.ready()) is not None:
            options = {"api_key": leg.api_key, "default_headers": leg.headers, "max_retries": 0}
            try:
                with openai.OpenAI(base_url=leg.base_url, **options) as client:
                    answer = client.chat.completions.create(
                        model=leg.model, messages=said, extra_body=leg.parameters
                    )
            except Exception as error:
                plan.failed(error)
            else:
                self._usages[task.id].append(answer.usage)
                return answer.choices[0].message.content
        raise PermissionError(str(plan.error))

    def supports_function_calling(self):
        """Let the host describe its tools in words."""
        return False

    def ended(self, _source, event):
        """Note the end of a task."""
        plan = self._plans.pop(event.task.id, None)
        usages = self._usages.pop(event.task.id, [])
        if plan is None or isinstance(plan, Refused):
            return
        if isinstance(event, TaskCompletedEvent):
            plan.done(**tokens_of(usages))
        else:
            plan.cancelled()


def tokens_of(usages):
    """Return the tokens of all calls of a task; unknown of one is unknown of all."""
    if not all(usages):
        return {}
    return {
        "input_tokens": sum(it.prompt_tokens for it in usages),
        "output_tokens": sum(it.completion_tokens for it in usages),
    }
