"""What policies and requests of the reference model say: conditions, defaults, wishes, faults.

It is written from the words of the language pages alone, on plain data: a policy in its native
form as a mapping, a request as a mapping. It knows no CEL. A condition is one of the texts of
:data:`CONDITIONS` and a sort key is one of :data:`ORDERS`; here each stands beside its meaning.

Where the pages leave a choice, a comment that begins with "Reading:" says which one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Policy: TypeAlias = Mapping[str, Any]
Request: TypeAlias = Mapping[str, Any]
Entry: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Mapping[str, Any]
Plain: TypeAlias = dict[str, Any]

WISHES: Final = ("call", "task")
"""The levels at which an agent asks for something."""

WHOLE: Final = ("max_tokens", "top_k", "seed", "thinking_budget")
TEXTS: Final = ("reasoning_effort", "verbosity")
NUMBERS: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
KNOWN: Final = (*WHOLE, *TEXTS, *NUMBERS)
"""The parameters that may be wished whatever the limits say."""

SPELLINGS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
NO_PARAMETERS: Final = (
    *("model", "models", "route", "messages", "input", "instructions", "stream", "tools"),
    *("extra_body", "extra_headers", "extra_query", "base_url", "api_base", "api_key"),
)
"""What would replace what was decided."""


@dataclass(frozen=True)
class Candidate:
    """Something that a level proposes.

    Attributes:
        level: the level that proposes it.
        model: the model's id.
        provider: the provider's name, ``""`` where nothing names one.
        entry: the pool entry it is, or None.
        place: the place of that entry in the pool.
    """

    level: str
    model: str
    provider: str
    entry: Entry | None = None
    place: int | None = None

    @property
    def name(self) -> str:
        return name_of(self.entry) if self.entry is not None else self.model

    def says(self, key: str) -> Any:
        """Return an attribute of its entry; None where there is none."""
        return None if self.entry is None else self.entry.get(key)

    def named(self) -> Plain:
        """Return the name of its entry, as records have it."""
        return {} if self.entry is None else {"entry": self.name}


# Conditions: their text, and what they are for a candidate and a request. An error is None.

ERROR: Final = "1 / 0 == 1"
CONSTANTS: Final = ("true", "false", ERROR)
"""The conditions that look at nothing."""

ABOUT_REQUESTS: Final[Mapping[str, Callable[[Request], bool | None]]] = {
    "true": lambda _: True,
    "false": lambda _: False,
    ERROR: lambda _: None,
    'task.kind == "k1"': lambda request: said(request, "task", "kind") == "k1",
    'caller.team != "t1"': lambda request: said(request, "caller", "team") != "t1",
    '"r1" in caller.roles': lambda request: "r1" in listed(request, "caller", "roles"),
    '"l1" in task.labels': lambda request: "l1" in listed(request, "task", "labels"),
    'task.reasoning_effort == "high"': lambda request: effort_asked(request, "task") == "high",
    'call.reasoning_effort != ""': lambda request: effort_asked(request, "call") != "",
    'task.model == "b"': lambda request: said(request, "task", "model") == "b",
    'call.model != "" && call.provider == ""': lambda request: (
        said(request, "call", "model") != "" and said(request, "call", "provider") == ""
    ),
    f'task.kind == "k2" && {ERROR}': lambda request: (
        None if said(request, "task", "kind") == "k2" else False
    ),
}
ABOUT_TARGETS: Final[Mapping[str, Callable[[Candidate], bool | None]]] = {
    'target.level == "call"': lambda it: it.level == "call",
    'target.level == "config"': lambda it: it.level == "config",
    'target.name == "a"': lambda it: it.name == "a",
    'target.model == "b"': lambda it: it.model == "b",
    'target.provider == "q"': lambda it: it.provider == "q",
    '"tools" in target.supports': lambda it: "tools" in (it.says("supports") or ()),
    f'target.provider == "p" && {ERROR}': lambda it: None if it.provider == "p" else False,
}
CONDITIONS: Final = (*ABOUT_REQUESTS, *ABOUT_TARGETS)
LITERALS: Final[Mapping[str, tuple[str, ...]]] = {
    "kinds": ("k1", "k2"),
    "teams": ("t1",),
    "roles": ("r1",),
    "labels": ("l1",),
    "needs": ("tools", "vision"),
}
"""The words that conditions and entries use, which a closed set has to hold."""


def _output_price(it: Candidate) -> float | None:
    price: float | None = (it.says("price") or {}).get("output")
    return price


ORDERS: Final[Mapping[str, Callable[[Candidate], float | None]]] = {
    "1.0": lambda _: 1.0,
    "has(target.price.output) ? target.price.output : 2.0": lambda it: (
        2.0 if _output_price(it) is None else _output_price(it)
    ),
    "has(target.price.output) ? target.price.output : double(1 / 0)": _output_price,
    "has(target.price.output) ? -target.price.output : 0.0 / 0.0": lambda it: (
        -price if (price := _output_price(it)) is not None else math.nan
    ),
    "has(target.context_window) ? target.context_window : 1 / 0": lambda it: it.says(
        "context_window"
    ),
}
"""The sort keys of ``order_by``, and their value for a candidate. An error is None."""


def truth(condition: str | None, request: Request, it: Candidate | None = None) -> bool | None:
    """Return what a condition is. One that is not written is true."""
    if condition is None:
        return True
    if condition in ABOUT_REQUESTS:
        return ABOUT_REQUESTS[condition](request)
    if it is None:
        raise ValueError(condition)
    return ABOUT_TARGETS[condition](it)


# What a policy says, with its defaults.


def rules_of(policy: Policy) -> list[Rule]:
    """Return the precedence rules; a profile's name stands for its rules."""
    precedence = policy.get("precedence", "delegation")
    if not isinstance(precedence, str):
        return list(precedence)
    first, second = ("task", "call") if precedence == "task-first" else ("call", "task")
    strict = precedence != "delegation"
    wish = {"on_violation": "reject" if strict else "next"}
    default = {"in_pool": strict}
    return [
        {"use": first, **wish},
        {"use": second, **wish},
        {"use": "pool"},
        {"use": "config", **default},
        {"use": "parent", **default},
    ]


def id_of(rule: Rule) -> str:
    identity: str = rule.get("id", rule["use"])
    return identity


def rejects(rule: Rule) -> bool:
    return bool(rule.get("on_violation", "next") == "reject")


def must_be_in_pool(rule: Rule) -> bool:
    required: bool = rule.get("in_pool", rule["use"] in WISHES)
    return required


def plan_of(rule: Rule) -> bool | str:
    """Return what a rule says of fallbacks: true, false or ``candidates``."""
    planned: bool | str = rule.get("fallback", rule["use"] not in WISHES)
    return planned


def forbids_of(policy: Policy) -> list[Rule]:
    """Return the forbid rules, each with an id."""
    rules = policy.get("forbid", ())
    return [{"id": f"forbid-{number}", **rule} for number, rule in enumerate(rules, start=1)]


def enforced(forbid: Rule) -> bool:
    holds: bool = forbid.get("enforce", True)
    return holds


def name_of(entry: Entry) -> str:
    name: str = entry.get("name", entry["model"])
    return name


def spelt(parameters: Mapping[str, Any]) -> Plain:
    """Return parameters or limits with one spelling of ``max_tokens``."""
    return {"max_tokens" if name in SPELLINGS else name: it for name, it in parameters.items()}


def general_parameters(policy: Policy) -> Plain:
    short = {key: policy[key] for key in ("reasoning_effort",) if key in policy}
    return short | spelt(policy.get("parameters", {}))


def own_parameters(it: Candidate) -> Plain:
    return spelt(it.says("parameters") or {})


def limits_of(it: Candidate) -> Plain:
    return spelt(it.says("limits") or {})


def bounded_names(policy: Policy) -> set[str]:
    """Return the parameters that some entry limits."""
    return {name for entry in policy.get("pool", ()) for name in spelt(entry.get("limits", {}))}


# What a request says.


def said(request: Request, section: str, key: str) -> str:
    """Return a word of a request; ``""`` where it is not given."""
    word: str = request.get(section, {}).get(key, "")
    return word


def listed(request: Request, section: str, key: str) -> list[str]:
    """Return a list of a request; ``[]`` where it is not given."""
    words: list[str] = request.get(section, {}).get(key, [])
    return words


def target_wish(request: Request, level: str) -> dict[str, str]:
    """Return what was asked for as a target at a level."""
    return {key: word for key in ("model", "provider") if (word := said(request, level, key))}


def parameter_wishes(request: Request, level: str) -> Plain:
    """Return the parameters that were asked for at a level, with their common names."""
    wishes = spelt(request.get(level, {}).get("parameters", {}))
    if effort := said(request, level, "reasoning_effort"):
        wishes["reasoning_effort"] = effort
    # Reading: an empty effort is one that was not asked for, at its new place as at its old.
    return {name: it for name, it in wishes.items() if (name, it) != ("reasoning_effort", "")}


def effort_asked(request: Request, level: str) -> str:
    """Return what conditions see as the effort of a level, wherever it was given."""
    effort: str = parameter_wishes(request, level).get("reasoning_effort", "")
    return effort


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are one; true and false are no numbers, 1 and 1.0 are one."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_number(it: Any) -> bool:
    return isinstance(it, int | float) and not isinstance(it, bool)


# Closed sets.


@dataclass(frozen=True)
class Closed:
    """A closed set of a policy.

    Attributes:
        values: what it holds.
        drops: whether another value counts as not given.
    """

    values: tuple[str, ...]
    drops: bool = False


PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "kinds": ("task", "kind"),
    "teams": ("caller", "team"),
    "roles": ("caller", "roles"),
    "labels": ("task", "labels"),
    "needs": ("task", "needs"),
}
"""The root keys of closed sets, and what of a request each is about."""


def closed(policy: Policy, key: str) -> Closed | None:
    written = policy.get(key)
    if written is None:
        return None
    if isinstance(written, list):
        return Closed(tuple(written))
    return Closed(tuple(written["values"]), written.get("unknown", "refuse") == "drop")


def words_at(request: Request, section: str, key: str) -> list[tuple[str, str]]:
    """Return the words at a place of a request, each with its path; an empty word is none."""
    found = request.get(section, {}).get(key, "")
    path = f"$.{section}.{key}"
    if isinstance(found, list):
        return [(f"{path}[{index}]", word) for index, word in enumerate(found)]
    return [(path, found)] if found else []


def unknown_values(policy: Policy, request: Request, *, dropped: bool) -> list[str]:
    """Return the paths of values outside closed sets that are dropped, or else refused."""
    return [
        path
        for key, (section, name) in PLACES.items()
        if (known := closed(policy, key)) is not None and known.drops == dropped
        for path, word in words_at(request, section, name)
        if word not in known.values
    ]


def as_seen(policy: Policy, request: Request) -> Plain:
    """Return a request without the values that count as not given."""
    seen = {section: dict(part) for section, part in request.items()}
    for key, (section, name) in PLACES.items():
        known = closed(policy, key)
        if known is None or not known.drops or name not in seen.get(section, {}):
            continue
        found = seen[section].pop(name)
        if isinstance(found, list):
            seen[section][name] = [word for word in found if word in known.values]
        elif found in known.values:
            seen[section][name] = found
    return seen


# What is wrong with a request.


def faults(policy: Policy, request: Request) -> list[str]:
    """Return the path of everything in a request that does not fit the policy.

    The pages do not say which of several faults is told: each may be.
    """
    return [
        *(path for level in WISHES for path in faults_of_wishes(policy, request, level)),
        *unknown_values(policy, request, dropped=False),
        *missing(policy, as_seen(policy, request)),
        *(f"$.facts.{it}" for it in request.get("facts", {}) if it not in policy.get("facts", {})),
    ]


def faults_of_wishes(policy: Policy, request: Request, level: str) -> Iterator[str]:
    wishes: Plain = request.get(level, {}).get("parameters", {})
    path = f"$.{level}.parameters"
    spellings = [name for name in wishes if name in SPELLINGS]
    for name, value in wishes.items():
        twice = name in SPELLINGS and len(spellings) > 1
        if twice or not may_be_wished(policy, name) or not fits(name, value):
            yield f"{path}.{name}"
    # Reading: two spellings are a fault even where they say the same; which one is told is open.
    if len(spellings) > 1:
        yield path
    old, new = said(request, level, "reasoning_effort"), wishes.get("reasoning_effort", "")
    if old and new and old != new:
        yield from (f"{path}.reasoning_effort", f"$.{level}.reasoning_effort")


def may_be_wished(policy: Policy, name: str) -> bool:
    return name in SPELLINGS or name in KNOWN or name in bounded_names(policy)


def fits(name: str, value: Any) -> bool:
    """Tell whether a wished value has the type that its parameter takes."""
    if name in SPELLINGS or name in WHOLE:
        return isinstance(value, int) and not isinstance(value, bool)
    if name in TEXTS:
        return isinstance(value, str) and len(value) <= 64
    if name in NUMBERS:
        return is_number(value) and math.isfinite(value)
    if isinstance(value, str):
        return len(value) <= 64
    return isinstance(value, bool) or (is_number(value) and math.isfinite(value))


def missing(policy: Policy, request: Request) -> list[str]:
    """Return the paths of required facts that a request is without."""
    facts = policy.get("facts", {})
    wanted = [f"facts.{name}" for name in facts if facts[name].get("required")]
    wanted += policy.get("require", ())
    found = []
    for name in wanted:
        section, key = name.split(".")
        # Reading: an empty word or list is not given, but for a fact; nor is what is dropped.
        given = request.get(section, {}).get(key)
        if given is None or (given in ("", []) and section != "facts"):
            found.append(f"$.{name}")
    return found
