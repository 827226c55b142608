"""For whoever runs decisions: a gateway, or a host that runs its sub-agents itself.

::

    from policy_router.hosts import PolicyHost, Refused

    host = PolicyHost("rules/", log="decisions")
    plan = host.plan({"task": {"kind": "coding"}, "caller": {"team": "research"}})
    if isinstance(plan, Refused):
        return plan.to_dict()
    while (leg := plan.ready()) is not None:
        try:
            answer = call(leg.model, leg.base_url, leg.api_key, leg.headers, leg.parameters)
        except Exception as error:  # of any SDK
            plan.failed(error)
        else:
            plan.done(served_model=answer.model, input_tokens=..., output_tokens=...)
            return answer
    return plan.error

A host builds on this package and on nothing else of ``policy_router``. Nothing here raises for a
fault of the policy, the log or the request: each is a refusal, so that no child runs without a
decision because something broke. Every name is imported when it is first asked for (PEP 562).
"""

from typing import TYPE_CHECKING

from policy_router import public_names

if TYPE_CHECKING:
    from policy_router.calls.health import Health, Rest
    from policy_router.calls.legs import Leg
    from policy_router.calls.limits import Limits
    from policy_router.hosts.host_plan import HostPlan
    from policy_router.hosts.policy_host import PolicyHost
    from policy_router.hosts.pseudonyms import Pseudonyms
    from policy_router.hosts.refused import Refused, RefusedError

__all__ = [
    "Health",
    "HostPlan",
    "Leg",
    "Limits",
    "PolicyHost",
    "Pseudonyms",
    "Refused",
    "RefusedError",
    "Rest",
]

_MODULES = {
    "Health": "calls.health",
    "HostPlan": "hosts.host_plan",
    "Leg": "calls.legs",
    "Limits": "calls.limits",
    "PolicyHost": "hosts.policy_host",
    "Pseudonyms": "hosts.pseudonyms",
    "Refused": "hosts.refused",
    "RefusedError": "hosts.refused",
    "Rest": "calls.health",
}
"""The module of each public name."""

__getattr__, __dir__ = public_names.of(__name__, _MODULES, globals())
