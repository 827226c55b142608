"""An agent loop of your own: `python own_loop.py policy.yaml "The goal."`."""

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from policy_router.hosts import PolicyHost, Refused


def call(leg, messages, tools):
    """Make one call of a model."""
    body = {**leg.parameters, "model": leg.model, "messages": messages}
    body |= {"tools": tools} if tools else {}
    headers = {"Authorization": f"Bearer {leg.api_key}", "Content-Type": "application/json"}
    address = f"{leg.base_url}/chat/completions"
    request = urllib.request.Request(address, json.dumps(body).encode(), headers | leg.headers)
    with urllib.request.urlopen(request, timeout=leg.limits.idle) as response:
        return json.load(response)


def run(host, plan, tools=()):
    """Run one agent along its plan, until it answers or no target is left."""
    messages = [{"role": "user", "content": f"{plan.goal}\n\n{plan.context}".strip()}]
    read = written = 0
    while (leg := plan.ready()) is not None:
        try:
            answer = call(leg, messages, tools)
        except Exception as error:
            plan.failed(error)  # goes to the next target, if the policy has one
            continue
        usage, message = answer["usage"], answer["choices"][0]["message"]
        read, written = read + usage["prompt_tokens"], written + usage["completion_tokens"]
        calls = message.get("tool_calls")
        if not calls:
            served = answer["model"]
            counts = {"input_tokens": read, "output_tokens": written}
            return plan.done(message["content"], served_model=served, **counts)
        messages += [message, *(delegate(host, plan, leg, it) for it in calls)]
    return plan.result


def delegate(host, plan, leg, tool_call):
    """Decide a call of `delegate_task` whole, and run its children at the same time."""
    parent = {"model": leg.model, "provider": leg.provider, "depth": 0}
    with plan.scope():  # in the log, the children are below this agent
        plans = host.batch(tool_call["function"]["arguments"], {"parent": parent})
    if isinstance(plans, Refused):
        made = plans.to_dict()  # nothing was started; it names what is permitted
    else:
        with ThreadPoolExecutor(len(plans)) as threads:
            results = threads.map(lambda child: run(host, child), plans)
            made = {"results": [it.to_dict() for it in results]}
    return {"role": "tool", "tool_call_id": tool_call["id"], "content": json.dumps(made)}


if __name__ == "__main__":
    with PolicyHost(sys.argv[1], log="decisions") as host:
        lead = host.plan({"task": {"kind": "lead"}}, goal=sys.argv[2])
        if isinstance(lead, Refused):
            sys.exit(str(lead))
        result = run(host, lead, [host.tool()])
        print(result.text if result.error is None else result.error.message)
