"""The adapter of LiteLLM's proxy: the policy decides which of its models a call runs on.

::

    # config.yaml of the proxy; the environment has POLICY_ROUTER_POLICY=rules/
    litellm_settings:
      callbacks: policy_router.hosts.litellm.handler

The names of models in the policy are those of the proxy's own list, which has their endpoints and
keys. A call that cannot be decided is refused; LiteLLM's own retries and fallbacks are off.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from policy_router.calls.client_fields import (
    HARMLESS,
    NESTED,
    NOT_ALLOWED,
    SAME,
    WISHES,
    measured,
)
from policy_router.calls.dialects import CHAT, MESSAGES, RESPONSES, wire
from policy_router.calls.legs import Leg
from policy_router.hosts.child_run import ChildRun, Facts, facts_of, host_of, wish_of
from policy_router.hosts.deciding_policy import PolicySource
from policy_router.hosts.host_plan import HostPlan
from policy_router.hosts.policy_host import PolicyHost
from policy_router.hosts.refused import Refused, RefusedError
from policy_router.parameters import named

_APIS: Final = {
    "acompletion": CHAT,
    "atext_completion": CHAT,
    "aresponses": RESPONSES,
    "anthropic_messages": MESSAGES,
}
"""The kinds of calls that are decided, and the API that names their parameters."""
_NO_MODEL_CALLS: Final = ("embedding", "image", "moderation", "speech", "transcription", "mcp")
"""What other kinds of calls have in their names that write no text."""
_STATUS: Final = {"bad_request": 400, "policy_unavailable": 503, "log_unavailable": 503}
_UNAVAILABLE: Final = 503
"""The status of a target that the proxy has left alone."""
_LITELLM_ONLY: Final = frozenset(
    {"litellm_credential_name", "model_info", "num_retries", "prompt_id", "specific_deployment"}
)
"""Fields of LiteLLM that would change which model is called, besides those of others."""
_INPUT: Final = ("messages", "input", "prompt", "system", "instructions")
_TOOLS: Final = ("tools", "functions")
_BYTES_A_TOKEN: Final = 4
_MOST_CALLS: Final = 10_000
"""So many calls are followed; one whose end is never told is forgotten in the end."""


class PolicyHandler(CustomLogger):
    """Lets the policy decide the calls of the proxy."""

    def __init__(
        self,
        policy: PolicyHost | PolicySource,
        facts: Facts = None,
    ) -> None:
        """Read the policy.

        Args:
            policy: a policy, its path, or a host with a log.
            facts: what is stated of a call, or a function of the proxy's verified key that does;
                by default, id and team of the key.
        """
        super().__init__()
        self._host = host_of(policy)
        self._facts: Facts = caller_of if facts is None else facts
        self._plans: OrderedDict[str, HostPlan] = OrderedDict()

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Decide a call, and put its plan into it.

        Raises:
            HTTPException: it is refused.
        """
        if call_type not in _APIS and any(it in call_type for it in _NO_MODEL_CALLS):
            return data
        try:
            run = ChildRun(await self._planned(user_api_key_dict, data, call_type))
            _put(data, run.leg_now(), run.plan.remaining, _APIS[call_type])
        except RefusedError as error:
            raise _answer(error.refused) from None
        self._keep(str(data.get("litellm_call_id", "")), run.plan)
        return data

    async def _planned(self, key: Any, data: Mapping[str, Any], call_type: str) -> HostPlan:
        if call_type not in _APIS:
            raise RefusedError(Refused("other_api", f"no call `{call_type}` is decided here"))
        _check(data, call_type)
        task = wish_of(data.get("model")) | _input_of(data)
        if parameters := _wishes(data):
            task["parameters"] = parameters
        request = {**facts_of(self._host, self._facts, key), "task": task}
        plan = await self._host.plan_async(request)
        if isinstance(plan, Refused):
            raise RefusedError(plan)
        return plan

    def _keep(self, call_id: str, plan: HostPlan) -> None:
        self._plans[call_id] = plan
        while len(self._plans) > _MOST_CALLS:
            self._plans.popitem(last=False)[1].cancelled()

    # What came of it.

    async def async_post_call_failure_deployment_hook(
        self,
        request_data: Mapping[str, Any],
        exception: Exception,
        call_type: Any,
        fallback_depth: int | None = None,
    ) -> None:
        """Note that a target failed."""
        plan = self._plans.get(str(request_data.get("litellm_call_id", "")))
        if plan is not None:
            plan.failed(exception)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """Note that a call failed."""
        plan = self._plans.pop(str(request_data.get("litellm_call_id", "")), None)
        if plan is not None:
            plan.failed(original_exception, has_begun=True)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Note the answer."""
        plan = self._plans.pop(str(kwargs.get("litellm_call_id", "")), None)
        if plan is None:
            return
        _go_to(plan, _group(kwargs))
        usage = getattr(response_obj, "usage", None)
        into = _count(usage, "prompt_tokens", "input_tokens")
        out = _count(usage, "completion_tokens", "output_tokens")
        plan.done(input_tokens=into, output_tokens=out)

    # What may be asked for.

    async def async_filter_listed_models(
        self, user_api_key_dict: Any, model_names: Sequence[str]
    ) -> Sequence[str]:
        """Return the names that this caller may ask for."""
        try:
            names = self._host.permitted(facts_of(self._host, self._facts, user_api_key_dict))
        except RefusedError:
            return []
        if isinstance(names, Refused):
            return []
        return [it for it in model_names if names is None or it in names]


def caller_of(key: Any) -> dict[str, Any]:
    """Return the caller that the proxy has verified: of a key, and of nothing that it was sent.

    Args:
        key: what the proxy knows of the key.
    """
    caller = {
        "id": getattr(key, "user_id", None) or getattr(key, "key_alias", None),
        "team": getattr(key, "team_alias", None) or getattr(key, "team_id", None),
    }
    return {"caller": {name: value for name, value in caller.items() if value}}


def _check(data: Mapping[str, Any], call_type: str) -> None:
    """Check that a client says nothing that would change what is decided."""
    body = (data.get("proxy_server_request") or {}).get("body") or {}
    for given, value in body.items():
        name = SAME.get(given.casefold(), given)
        is_closed = name in NOT_ALLOWED or name in _LITELLM_ONLY or name.startswith("mock_")
        if name == "prompt" and call_type == "atext_completion":
            continue  # the input itself; elsewhere, it is a stored one
        is_harmless = value is None or (name in HARMLESS and value == HARMLESS[name])
        if name != given or (is_closed and not is_harmless):
            words = f"the field `{given}` would change what the policy decides"
            raise RefusedError(Refused("bad_request", words, path=f"$.{given}"))


def _wishes(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a client asks for."""
    wishes = {}
    for path, name in WISHES.items():
        value: Any = data
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            wishes[named(name)] = value
    return wishes


def _input_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Say how large the input of a call is, and what it needs."""
    size, has_images = measured([data.get(name) for name in (*_INPUT, *_TOOLS)])
    needs = ["tools"] * any(data.get(name) for name in _TOOLS) + ["vision"] * has_images
    return {"input_tokens": -(-size // _BYTES_A_TOKEN), **({"needs": needs} if needs else {})}


def _put(data: dict[str, Any], leg: Leg, remaining: Sequence[Leg], api: str) -> None:
    """Put a plan into a call: its targets in order, each with its own parameters."""
    for path in WISHES:
        if len(path) == 1:
            data.pop(path[0], None)
        elif isinstance(data.get(path[0]), Mapping):
            data[path[0]] = {it: value for it, value in data[path[0]].items() if it != path[1]}
    for name in NESTED:
        if data.get(name) == {}:
            del data[name]
    sent = [_parameters(it, api) for it in (leg, *remaining)]
    unset = dict.fromkeys({name for one in sent for name in one})
    data |= {**sent[0], "model": leg.model, "num_retries": 0}
    data |= {"context_window_fallbacks": [], "content_policy_fallbacks": []}
    data["fallbacks"] = [
        {**unset, **one, "model": it.model} for it, one in zip(remaining, sent[1:], strict=True)
    ]


def _parameters(leg: Leg, api: str) -> dict[str, Any]:
    """Return what is decided for a target, as the API that the proxy was called by has it."""
    return wire(leg.target, None, replace(leg.dialect, api=api)).parameters


def _answer(refused: Refused) -> HTTPException:
    """Return a refusal as the proxy answers it: in words, and as data."""
    data = msgspec.to_builtins(refused.to_dict()["error"])
    detail = {"error": str(RefusedError(refused)), "policy_router": data}
    return HTTPException(_STATUS.get(refused.code, 403), detail)


def _group(kwargs: Mapping[str, Any]) -> str | None:
    """Return the name in the proxy's list of the model that answered."""
    params = kwargs.get("litellm_params") or {}
    found = [params.get(it) or {} for it in ("metadata", "litellm_metadata")]
    return next((it["model_group"] for it in found if it.get("model_group")), None)


def _go_to(plan: HostPlan, name: str | None) -> None:
    """Go to the target that answered: one that the proxy leaves alone is passed over untold."""
    if name in {it.model for it in plan.remaining}:
        while (leg := plan.leg) is not None and leg.model != name:
            plan.failed(_UNAVAILABLE)


def _count(usage: Any, *names: str) -> int | None:
    return next((it for name in names if (it := getattr(usage, name, None)) is not None), None)


def __getattr__(name: str) -> Any:
    """Make the handler when LiteLLM asks for it, by what the environment says."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    environ = os.environ  # noqa: TID251 - the proxy makes a handler by its name alone
    host = PolicyHost(
        environ.get("POLICY_ROUTER_POLICY", "policy.yaml"), log=environ.get("POLICY_ROUTER_LOG")
    )
    return PolicyHandler(host)
