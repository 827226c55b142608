"""A plugin for google-adk: the policy decides what each agent of an invocation calls."""

from collections import defaultdict

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.plugins.base_plugin import BasePlugin

from policy_router.hosts import Refused, RefusedError


class PolicyPlugin(BasePlugin):
    """Answers every model call along the plan of its agent; the agent's own model is not called."""

    def __init__(self, host):
        super().__init__(name="policy-router")
        self.host, self.plans, self.usages = host, {}, defaultdict(list)

    async def before_agent_callback(self, *, agent, callback_context):
        """Decide what an agent runs on; its name is the kind of its task."""
        if isinstance(agent, LlmAgent):
            said = callback_context.user_content
            goal = "".join(it.text or "" for it in said.parts) if said else ""
            request = {"task": {"kind": agent.name}}
            self.plans[key_of(callback_context)] = await self.host.plan_async(request, goal=goal)

    async def before_model_callback(self, *, callback_context, llm_request):
        """Make a model call, so that the host makes none."""
        plan = self.plans.get(key_of(callback_context))
        if plan is None:
            raise PermissionError("nothing was decided for this call")
        if isinstance(plan, Refused):
            raise RefusedError(plan)
        while (leg := await plan.ready_async()) is not None:
            model = LiteLlm(
                f"openai/{leg.model}",
                api_base=leg.base_url,
                api_key=leg.api_key,
                extra_headers=leg.headers,
                extra_body=leg.parameters,
                num_retries=0,
            )
            request = llm_request.model_copy(update={"model": model.model})
            try:
                answers = [it async for it in model.generate_content_async(request)]
            except Exception as error:
                plan.failed(error)
            else:
                self.usages[key_of(callback_context)].append(answers[-1].usage_metadata)
                return answers[-1]
        raise PermissionError(str(plan.error))

    async def after_agent_callback(self, *, agent, callback_context):
        """Note the end of an agent's run."""
        plan = self.plans.pop(key_of(callback_context), None)
        usages = self.usages.pop(key_of(callback_context), [])
        if plan is not None and not isinstance(plan, Refused):
            plan.done(**tokens_of(usages))


def key_of(context):
    """Return what tells the runs of agents apart."""
    return context.invocation_id, context.agent_name


def tokens_of(usages):
    """Return the tokens of all calls of a run; unknown of one is unknown of all."""
    if not all(usages):
        return {}
    return {
        "input_tokens": sum(it.prompt_token_count or 0 for it in usages),
        "output_tokens": sum(it.candidates_token_count or 0 for it in usages),
    }
