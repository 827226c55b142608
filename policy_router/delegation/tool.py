"""The definition of the tool ``delegate_task``, which an agent's model calls.

It is made from a policy and the facts of one caller: the model sees the names that this caller may
ask for, what they are good at, and nothing that could not be used anyway. Each call pays for it:
it is short, and has the same bytes for the same policy and caller.

Five APIs take it, each in its own frame, and with its own part of JSON Schema. What all of them
refuse is left out for all: OpenAI and Anthropic take no ``anyOf`` at the top, so that ``goal`` is
required alone, though ``tasks`` are enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from policy_router.decision.fitting import checked, values_of
from policy_router.decision.menu import menu_entries
from policy_router.decision.request import Request
from policy_router.domain import WISHES, Level, Policy, PoolEntry

NAME: Final = "delegate_task"

Format = Literal["openai", "openai-responses", "anthropic", "gemini", "mcp"]
"""The API that takes a definition."""
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

_DESCRIPTION: Final = (
    "Delegate a task to a sub-agent, or several at once with tasks. "
    "Each starts without your conversation: say all it needs."
)
_EFFORT: Final = "reasoning_effort"


def tool(
    policy: Policy,
    request: Request | Mapping[str, Any] | None = None,
    *,
    format: Format = "openai",  # noqa: A002 - what users call it
    strict: bool = False,
) -> dict[str, Any]:
    """Return the definition of the tool.

    Args:
        policy: says what may be asked for.
        request: the facts of the caller and of its agent: sections ``caller``, ``parent``,
            ``budget`` and ``facts``. What does not change from call to call is best, since the
            definition changes with it.
        format: ``openai`` is Chat Completions, ``openai-responses`` the Responses API,
            ``anthropic`` the Messages API, ``gemini`` a function declaration, ``mcp`` a tool of
            the Model Context Protocol.
        strict: whether arguments have to have every property; what is not asked for is null.

    Returns:
        The definition, as plain data.

    Raises:
        RequestError: the request does not fit the policy.
        ValueError: there is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}")
    request = checked(policy, {} if request is None else request)
    parameters = _parameters(policy, request, strict=strict)
    return _framed(_strict(parameters) if strict else parameters, format, strict=strict)


# What may be asked for.


def _parameters(policy: Policy, request: Request, *, strict: bool) -> dict[str, Any]:
    """Return the shape of the arguments; a value that is left out is not asked for."""
    unasked = "null" if strict else "Leave out"
    texts = {
        "goal": {"type": "string", "description": "What to do; with tasks: their common goal."},
        "context": {"type": "string", "description": "What the sub-agent has to know."},
    }
    whole = {**texts, **_wishes(policy, request, Level.CALL, unasked), **_kind(policy)}
    each = {**texts, **_wishes(policy, request, Level.TASK, unasked), **_kind(policy)}
    tasks = {
        "type": "array",
        "description": _said_of_tasks(policy, is_twofold="model" in whole and "model" in each),
        "items": _object(_said_once(each, whole, is_repeated=strict)),
    }
    return _object({**whole, "tasks": tasks})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the shape of a call or of a task: each has a goal."""
    return {
        "type": "object",
        "properties": properties,
        "required": ["goal"],
        "additionalProperties": False,
    }


def _said_of_tasks(policy: Policy, *, is_twofold: bool) -> str:
    """Say of two wishes for one task which goes first, where that is always the same one."""
    said = "Several tasks, run at the same time; values as above."
    first = next((rule for rule in policy.precedence if rule.use in WISHES), None)
    if not is_twofold or first is None or first.when is not None:
        return said
    if first.use is Level.CALL:
        return f"{said} The model above goes before a task's own."
    return f"{said} A task's own model goes before the one above."


def _said_once(each: dict[str, Any], whole: dict[str, Any], *, is_repeated: bool) -> dict[str, Any]:
    """Leave out what the same property of the whole call says already.

    Args:
        each: the properties of a task.
        whole: those of the call.
        is_repeated: say equal values again, for a decoder that is held to them.
    """

    def shortened(name: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        above, values = whole.get(name), schema.get("enum")
        if above is None or not set(values or ()) <= set(above.get("enum", values or ())):
            return schema
        is_same = values == above.get("enum") and not is_repeated
        return {
            key: schema[key] for key in ("type", "enum")[: 1 if is_same else 2] if key in schema
        }

    return {name: shortened(name, schema) for name, schema in each.items()}


def _wishes(policy: Policy, request: Request, level: Level, unasked: str) -> dict[str, Any]:
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
    return {
        "model": _choice(
            names if is_closed else [], _strengths(entries, unasked, is_closed=is_closed)
        ),
        **_provider(policy, request, entries, is_closed=is_closed),
        **_effort(policy),
    }


def _provider(
    policy: Policy, request: Request, entries: Sequence[PoolEntry], *, is_closed: bool
) -> dict[str, Any]:
    """Return the providers of names that several have; any, where wishes may leave the pool."""
    if not is_closed:
        return {"provider": {"type": "string"}}
    parent = values_of(policy, request)["parent"]["provider"]
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        found.setdefault(entry.name, {})[entry.provider or parent] = None
    several = [name for names in found.values() if len(names) > 1 for name in names]
    if not several:
        return {}
    # An agent's own provider may be unknown as yet.
    return {"provider": _choice(list(dict.fromkeys(several)) if all(several) else [])}


def _choice(values: Sequence[Any], description: str = "") -> dict[str, Any]:
    """Return a string of some values, or where there are none, any string."""
    closed = {"enum": list(values)} if values else {}
    return {"type": "string", **closed, **({"description": description} if description else {})}


def _strengths(entries: Sequence[PoolEntry], unasked: str, *, is_closed: bool) -> str:
    """Return what names are good at, with those of equal strengths together.

    A name without strengths is said only where no list of values has it.
    """
    said = {entry.name: entry.strengths for entry in reversed(entries)}
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(entry.name for entry in entries):
        groups.setdefault(said[name], []).append(name)
    if is_closed:
        groups.pop((), None)
    lines = [
        f"{', '.join(names)}: {', '.join(strengths)}" if strengths else ", ".join(names)
        for strengths, names in groups.items()
    ]
    return " ".join(f"{unasked} for the default. {'; '.join(lines)}".split())


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


# How APIs take it.


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Require every property, and let null be what is left out otherwise; a task has its goal."""
    made = _required(schema)
    made["properties"]["goal"] = _nullable(made["properties"]["goal"])
    return made


def _required(schema: dict[str, Any]) -> dict[str, Any]:
    """Require every property of an object and of the objects in it."""
    if schema["type"] == "array":
        return {**schema, "items": _required(schema["items"])}
    if schema["type"] != "object":
        return schema
    properties = {name: _required(it) for name, it in schema["properties"].items()}
    return {
        **schema,
        "properties": {
            name: it if name in schema["required"] else _nullable(it)
            for name, it in properties.items()
        },
        "required": list(properties),
    }


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a value be null."""
    made = {**schema, "type": [schema["type"], "null"]}
    return {**made, "enum": [*schema["enum"], None]} if "enum" in schema else made


def _framed(parameters: dict[str, Any], format_: Format, *, strict: bool) -> dict[str, Any]:
    """Put the parameters into the frame of an API."""
    said = {"name": NAME, "description": _DESCRIPTION}
    match format_:
        case "openai":
            function = {**said, "parameters": parameters, "strict": strict}
            return {"type": "function", "function": function}
        case "openai-responses":
            return {"type": "function", **said, "parameters": parameters, "strict": strict}
        case "anthropic":
            return {**said, "input_schema": parameters, "strict": strict}
        case "gemini":
            return {**said, "parameters": _of_gemini(parameters)}
        case _:
            return {**said, "inputSchema": parameters}


def _of_gemini(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of the subset of OpenAPI 3.0 that Gemini's ``Schema`` has.

    It has ``nullable`` in place of a list of types, and no ``additionalProperties``.
    """
    made = {key: it for key, it in schema.items() if key != "additionalProperties"}
    if isinstance(schema["type"], list):
        made |= {"type": schema["type"][0], "nullable": True}
    if "enum" in schema:
        made["enum"] = [value for value in schema["enum"] if value is not None]
    if "items" in schema:
        made["items"] = _of_gemini(schema["items"])
    if "properties" in schema:
        made["properties"] = {name: _of_gemini(it) for name, it in schema["properties"].items()}
    return made
