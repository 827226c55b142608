"""The definition of ``delegate_task``: the tool by which an agent's model delegates.

Every call of that model pays for each word of it, and its prompt cache lives on its not changing:
it is short, and has the same bytes for the same policy and caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from policy_router.decision.menu import menu_entries
from policy_router.decision.request import Request, checked, values_of
from policy_router.domain import Level, Policy, PoolEntry

NAME: Final = "delegate_task"

_DESCRIPTION: Final = (
    "Delegate a task to a sub-agent, or several at once with tasks. "
    "Each starts without your conversation: say all it needs."
)
_EFFORT: Final = "reasoning_effort"


def tool(policy: Policy, request: Request | Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the definition of the tool, in the format of OpenAI's Chat Completions API.

    Args:
        policy: says what may be asked for.
        request: the facts of the caller and of its agent: sections ``caller``, ``parent``,
            ``budget`` and ``facts``. What does not change from call to call is best, since the
            definition changes with it.

    Returns:
        The definition, as plain data.

    Raises:
        RequestError: the request does not fit the policy.
    """
    request = checked(policy, {} if request is None else request)
    texts = {
        "goal": {"type": "string", "description": "What to do; with tasks: their common goal."},
        "context": {"type": "string", "description": "What the sub-agent has to know."},
    }
    whole = {**texts, **_wishes(policy, request, Level.CALL), **_kind(policy)}
    each = {**texts, **_wishes(policy, request, Level.TASK), **_kind(policy)}
    tasks = {
        "type": "array",
        "description": "Several tasks, run at the same time.",
        "items": _object(_said_once(each, whole), required=["goal"]),
    }
    parameters = _object({**whole, "tasks": tasks})
    function = {"name": NAME, "description": _DESCRIPTION, "parameters": parameters}
    return {"type": "function", "function": function}


def _object(properties: dict[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": False}


def _said_once(each: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the same property of the whole call says already, but for its values."""

    def is_said(name: str, schema: Mapping[str, Any]) -> bool:
        values = schema.get("enum", ())
        return name in whole and set(values) <= set(whole[name].get("enum", values))

    return {
        name: {key: value for key, value in schema.items() if key != "description"}
        if is_said(name, schema)
        else schema
        for name, schema in each.items()
    }


def _wishes(policy: Policy, request: Request, level: Level) -> dict[str, Any]:
    """Return what may be wished at a level; nothing where no rule asks for a wish."""
    rules = [rule for rule in policy.precedence if rule.use is level]
    if not rules:
        return {}
    entries = menu_entries(policy, request, level)
    is_closed = all(rule.in_pool for rule in rules)
    if entries is None or not (entries or is_closed):
        return {"model": {"type": "string"}, "provider": {"type": "string"}, **_effort(policy)}
    if not entries:
        return _effort(policy)
    names = list(dict.fromkeys(entry.name for entry in entries))
    parent = values_of(policy, request)["parent"]["provider"]
    providers = list(dict.fromkeys(entry.provider or parent for entry in entries))
    return {
        "model": _choice(names if is_closed else [], _strengths(entries)),
        "provider": _choice(providers if is_closed and all(providers) else []),
        **_effort(policy),
    }


def _choice(values: Sequence[Any], description: str = "") -> dict[str, Any]:
    """Return a string of some values, or where there are none, any string."""
    closed = {"enum": list(values)} if values else {}
    return {"type": "string", **closed, **({"description": description} if description else {})}


def _strengths(entries: Sequence[PoolEntry]) -> str:
    """Return what each name is good at."""
    said = {
        entry.name: f"{entry.name}: {', '.join(entry.strengths)}" if entry.strengths else entry.name
        for entry in reversed(entries)
    }
    lines = [said[name] for name in dict.fromkeys(entry.name for entry in entries)]
    return " ".join(f"Leave out for the default. {'; '.join(lines)}".split())


def _effort(policy: Policy) -> dict[str, Any]:
    """Return the efforts that some entry allows; any, where one of them has no list of its own.

    A wish for one goes for entries, too, that only the pool itself may choose.
    """
    limits = [entry.limits.get(_EFFORT) for entry in policy.pool or ()]
    allowed = [limit.allowed if limit else None for limit in limits]
    if not allowed or None in allowed:
        return {_EFFORT: {"type": "string", "description": "Such as low, medium or high."}}
    every = dict.fromkeys(value for values in allowed for value in values or ())
    return {_EFFORT: _choice(list(every))} if every else {}


def _kind(policy: Policy) -> dict[str, Any]:
    if policy.kinds == ():
        return {}
    return {"kind": _choice(policy.kinds or (), "One word for the sort of work.")}
