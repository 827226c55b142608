"""The reference model of a decision: slow, sorted, obviously right.

It is written from the words of the language page alone, on plain data: a policy in its native
form as a mapping, a request as a mapping. It knows no CEL. A condition is one of the texts of
:data:`CONDITIONS` and a sort key is one of :data:`ORDERS`; here each stands beside its meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Policy: TypeAlias = Mapping[str, Any]
Request: TypeAlias = Mapping[str, Any]
Entry: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Mapping[str, Any]
Wish: TypeAlias = dict[str, str]

WISHES: Final = ("call", "task")
"""The levels at which an agent asks for something."""


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


# Conditions: their text, and what they are for a candidate. An error is None.

ERROR: Final = "1 / 0 == 1"
CONDITIONS: Final[Mapping[str, Callable[[Candidate], bool | None]]] = {
    "true": lambda _: True,
    "false": lambda _: False,
    ERROR: lambda _: None,
    'target.level == "call"': lambda it: it.level == "call",
    'target.level == "config"': lambda it: it.level == "config",
    'target.name == "a"': lambda it: it.name == "a",
    'target.model == "b"': lambda it: it.model == "b",
    'target.provider == "q"': lambda it: it.provider == "q",
    '"tools" in target.supports': lambda it: "tools" in (it.says("supports") or ()),
    f'target.provider == "p" && {ERROR}': lambda it: None if it.provider == "p" else False,
}
CONSTANTS: Final = ("true", "false", ERROR)
"""The conditions that do not look at the candidate."""


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


def truth(condition: str | None, candidate: Candidate) -> bool | None:
    """Return what a condition is for a candidate. One that is not written is true."""
    return True if condition is None else CONDITIONS[condition](candidate)


# What a policy says, with its defaults.


def rules_of(policy: Policy) -> list[Rule]:
    """Return the precedence rules; a profile's name stands for its rules."""
    precedence = policy.get("precedence", "delegation")
    if not isinstance(precedence, str):
        return list(precedence)
    wish = {"on_violation": "next" if precedence == "delegation" else "reject"}
    first, second = ("task", "call") if precedence == "task-first" else ("call", "task")
    return [
        {"use": first, **wish},
        {"use": second, **wish},
        {"use": "pool"},
        {"use": "config"},
        {"use": "parent"},
    ]


def id_of(rule: Rule) -> str:
    identity: str = rule.get("id", rule["use"])
    return identity


def rejects(rule: Rule) -> bool:
    return bool(rule.get("on_violation", "next") == "reject")


def must_be_in_pool(rule: Rule) -> bool:
    required: bool = rule.get("in_pool", rule["use"] in WISHES)
    return required


def plans_fallbacks(rule: Rule) -> bool:
    planned: bool = rule.get("fallback", rule["use"] not in WISHES)
    return planned


def name_of(entry: Entry) -> str:
    name: str = entry.get("name", entry["model"])
    return name


def said(request: Request, section: str, key: str) -> str:
    """Return a word of a request; ``""`` where it is not given."""
    word: str = request.get(section, {}).get(key, "")
    return word


def wish_of(request: Request, level: str) -> Wish:
    """Return what was asked for at a level."""
    keys = ("model", "provider", "reasoning_effort")
    return {key: word for key in keys if (word := said(request, level, key))}


def asks(request: Request, level: str) -> bool:
    """Tell whether a target was asked for at a level; an effort alone asks for none."""
    return bool(said(request, level, "model") or said(request, level, "provider"))


def entries(policy: Policy, request: Request, level: str) -> list[Candidate]:
    """Return every pool entry as a candidate of a level, in file order."""
    general = policy.get("provider") or said(request, "parent", "provider")
    return [
        Candidate(level, entry["model"], entry.get("provider") or general, entry, place)
        for place, entry in enumerate(policy.get("pool") or ())
    ]


def as_entry(policy: Policy, request: Request, candidate: Candidate) -> Candidate:
    """Return a candidate with the attributes of the pool entry it equals, if any."""
    target = (candidate.model, candidate.provider)
    alike = [
        it for it in entries(policy, request, candidate.level) if (it.model, it.provider) == target
    ]
    return alike[0] if alike else candidate


# Step 2: what the levels propose.


@dataclass(frozen=True)
class Proposal:
    """What a level proposes: candidates, or a wish that none stands for and the reason."""

    candidates: tuple[Candidate, ...] = ()
    failed: str | None = None

    @property
    def nothing(self) -> bool:
        return not self.candidates and self.failed is None


def meant(policy: Policy, request: Request, level: str) -> list[Candidate]:
    """Return the entries that a wish means."""
    wish, pool = wish_of(request, level), entries(policy, request, level)
    model, provider = wish.get("model"), wish.get("provider")
    if model:
        named = [it for it in pool if it.name == model]
        others = [it for it in pool if model in (it.model, *(it.says("aliases") or ()))]
        pool = named or others
    return [it for it in pool if not provider or it.provider == provider]


def as_asked(policy: Policy, request: Request, level: str) -> Proposal:
    """Return the one candidate that a wish is, with what is missing filled in."""
    wish = wish_of(request, level)
    parents = said(request, "parent", "provider")
    provider = wish.get("provider") or policy.get("provider") or parents
    model = wish.get("model")
    if not model and policy.get("provider") == wish.get("provider"):
        model = policy.get("model")
    if not model:
        return Proposal(failed="incomplete")
    return Proposal((as_entry(policy, request, Candidate(level, model, provider)),))


def asked_for(policy: Policy, request: Request, rule: Rule) -> Proposal:
    """Return what a rule of level ``call`` or ``task`` proposes."""
    level = rule["use"]
    if not asks(request, level):
        return Proposal()
    if "pool" not in policy:
        return as_asked(policy, request, level)
    found = meant(policy, request, level)
    if found:
        return Proposal(tuple(found))
    if must_be_in_pool(rule):
        return Proposal(failed="outside_pool")
    return as_asked(policy, request, level)


def picked(policy: Policy, request: Request, rule: Rule, warn: Warn) -> Proposal:
    """Return what a rule of level ``pool`` proposes."""
    pool = entries(policy, request, "pool")
    if "entry" in rule:
        return Proposal(tuple(it for it in pool if it.name == rule["entry"]))
    chosen = []
    for it in pool:
        pick = it.says("pick")
        truth_of_pick = False if pick is None else truth(pick, it)
        key = ORDERS[rule["order_by"]](it) if "order_by" in rule else 0.0
        if truth_of_pick is None or (truth_of_pick and (key is None or math.isnan(key))):
            warn("pick_error", rule, entry=it.name)
        elif truth_of_pick:
            chosen.append((key, it.place, it))
    return Proposal(tuple(it for _, _, it in sorted(chosen, key=lambda row: row[:2])))


def default(policy: Policy, request: Request, level: str) -> Proposal:
    """Return what a rule of level ``config`` or ``parent`` proposes."""
    parents = said(request, "parent", "provider")
    if level == "config":
        model, provider = policy.get("model"), policy.get("provider") or parents
    else:
        model, provider = said(request, "parent", "model"), parents
    if not model:
        return Proposal()
    return Proposal((as_entry(policy, request, Candidate(level, model, provider)),))


# Step 4: guards.


@dataclass(frozen=True)
class Objection:
    """Why a candidate is not admitted."""

    code: str
    forbid: Rule | None = None


def objection(policy: Policy, request: Request, rule: Rule, it: Candidate) -> Objection | None:
    """Return the first reason not to admit a candidate, in the order of the language page."""
    task = request.get("task", {})
    if it.entry is not None and truth(it.says("allow"), it) is not True:
        return Objection("not_allowed")
    for forbid in policy.get("forbid", ()):
        if truth(forbid["when"], it) is not False:
            return Objection("forbidden", forbid)
    supports, window = it.says("supports"), it.says("context_window")
    if supports is not None and not set(task.get("needs", ())) <= set(supports):
        return Objection("lacks_capability")
    if window is not None and task.get("input_tokens", 0) > window:
        return Objection("context_too_small")
    if "pool" in policy and rule["use"] != "pool" and must_be_in_pool(rule) and it.entry is None:
        return Objection("outside_pool")
    return None


def admitted_names(policy: Policy, request: Request, level: str) -> list[str] | None:
    """Return ``permitted``: what may be asked for at a level; None without a pool."""
    if "pool" not in policy:
        return None
    rule = {"use": level, "in_pool": True}
    pool = entries(policy, request, level)
    names = [it.name for it in pool if objection(policy, request, rule, it) is None]
    return sorted(set(names), key=names.index)


# Step 8: parameters and fallbacks.


def effort_wish(policy: Policy, request: Request) -> tuple[Rule, str] | None:
    """Return the first wish for ``reasoning_effort``, and the rule of the level it was made at."""
    for rule in rules_of(policy):
        if rule["use"] in WISHES and (effort := said(request, rule["use"], "reasoning_effort")):
            return rule, effort
    return None


def parameters(
    policy: Policy, request: Request, it: Candidate
) -> tuple[dict[str, Any], str | None]:
    """Return the parameters of a target, and the code of what became of a wish, if it failed."""
    values: dict[str, Any] = {}
    if parents := said(request, "parent", "reasoning_effort"):
        values["reasoning_effort"] = parents
    if "reasoning_effort" in policy:
        values["reasoning_effort"] = policy["reasoning_effort"]
    values |= policy.get("parameters", {})
    values |= it.says("parameters") or {}
    wish = effort_wish(policy, request)
    if wish is None:
        return values, None
    rule, effort = wish
    limit = (it.says("limits") or {}).get("reasoning_effort")
    if limit is None or effort in limit:
        return {**values, "reasoning_effort": effort}, None
    return values, "parameter_not_allowed" if rejects(rule) else "parameter_limited"


def target_of(policy: Policy, request: Request, it: Candidate) -> dict[str, Any]:
    target = {"entry": it.name} if it.entry is not None else {}
    values, _ = parameters(policy, request, it)
    return {**target, "model": it.model, "provider": it.provider, "parameters": values}


def fallbacks(
    policy: Policy, request: Request, rule: Rule, selected: Candidate
) -> list[dict[str, Any]]:
    """Return the plan: what a selected target falls back to."""
    if not plans_fallbacks(rule):
        return []
    pool, plan = entries(policy, request, rule["use"]), []
    for name in selected.says("fallback") or ():
        for it in pool:
            if it.name != name:
                continue
            _, failed = parameters(policy, request, it)
            refused = objection(policy, request, rule, it) is not None
            if not refused and failed != "parameter_not_allowed":
                plan.append(target_of(policy, request, it))
    return plan


# The walk.


Warn: TypeAlias = Callable[..., None]


@dataclass
class Walk:
    """What has been found out so far."""

    policy: Policy
    request: Request
    warnings: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def warn(self, code: str, rule: Rule, **about: Any) -> None:
        self.warnings.append({"code": code, "rule": id_of(rule), **about})

    def step(self, rule: Rule, result: str, **about: Any) -> None:
        step = {"rule": id_of(rule), "level": rule["use"], "result": result, **about}
        self.steps.append(step)

    def requested(self, rule: Rule) -> dict[str, Any]:
        """Return the wish that a rule stood for, where one asked for a target."""
        if rule["use"] not in WISHES or not asks(self.request, rule["use"]):
            return {}
        wish = wish_of(self.request, rule["use"])
        return {"requested": {key: wish[key] for key in ("model", "provider") if key in wish}}

    def ended(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """Return the whole answer: what was not reached is said to be so."""
        for rule in rules_of(self.policy)[len(self.steps) :]:
            self.step(rule, "not_reached")
        return {**outcome, "warnings": self.warnings, "steps": self.steps}

    def refused(self, code: str, rule: Rule | None, forbid: Rule | None = None) -> dict[str, Any]:
        level = "task" if rule is None else rule["use"]
        refusal: dict[str, Any] = {"code": code, "rule": None if rule is None else id_of(rule)}
        names = admitted_names(self.policy, self.request, level)
        if names is not None:
            refusal["permitted"] = names
        if forbid and forbid.get("message"):
            refusal["message"] = forbid["message"]
        return self.ended({"outcome": "refused", "refusal": refusal})


def propose(walk: Walk, rule: Rule) -> Proposal:
    if rule["use"] in WISHES:
        return asked_for(walk.policy, walk.request, rule)
    if rule["use"] == "pool":
        return picked(walk.policy, walk.request, rule, walk.warn)
    return default(walk.policy, walk.request, rule["use"])


def decide(policy: Policy, request: Request) -> dict[str, Any]:
    """Decide, in the eight steps of the language page.

    Returns:
        ``outcome``, ``warnings`` and ``steps``; with ``level``, ``rule``, ``target`` and
        ``fallbacks`` where something is selected, with ``refusal`` where nothing is. A refusal
        has a ``message`` where it is a forbid rule's own.
    """
    walk = Walk(policy, request)
    for rule in rules_of(policy):
        answer = visit(walk, rule)
        if answer is not None:
            return answer
    return walk.refused("no_target", None)  # step 7


def visit(walk: Walk, rule: Rule) -> dict[str, Any] | None:
    """Walk one rule; return the answer where it ends the walk."""
    when = rule.get("when", "true")
    if when == ERROR:  # step 1
        walk.step(rule, "error", code="evaluation_error")
        return walk.refused("evaluation_error", rule)
    if when == "false":
        walk.step(rule, "skipped")
        return None
    proposal = propose(walk, rule)  # step 2
    if proposal.nothing:  # step 3
        walk.step(rule, "no_proposal")
        return None
    rejected: list[tuple[Candidate, Objection]] = []
    for it in proposal.candidates:
        against = objection(walk.policy, walk.request, rule, it)  # step 4
        if against is None:
            return select(walk, rule, it, rejected)  # step 5
        rejected.append((it, against))
    return violate(walk, rule, rejected, proposal.failed)


def looked_at(
    rejected: list[tuple[Candidate, Objection]], selected: Candidate | None = None
) -> dict[str, Any]:
    """Return the candidates that were looked at, and what became of them."""
    looked = [
        {"name": it.name, "verdict": "rejected", "code": against.code} for it, against in rejected
    ]
    if selected is not None:
        looked.append({"name": selected.name, "verdict": "selected"})
    return {"candidates": looked} if looked else {}


def violate(
    walk: Walk, rule: Rule, rejected: list[tuple[Candidate, Objection]], failed: str | None
) -> dict[str, Any] | None:
    """Step 6: nothing that the rule proposed is admitted."""
    first = rejected[0][1] if rejected else Objection(str(failed))
    about = walk.requested(rule)
    walk.step(rule, "violated", code=first.code, **about, **looked_at(rejected))
    if rejects(rule):
        return walk.refused(first.code, rule, first.forbid)
    walk.warn(first.code, rule, **about)
    return None


def select(
    walk: Walk, rule: Rule, it: Candidate, rejected: list[tuple[Candidate, Objection]]
) -> dict[str, Any]:
    """Step 8: parameters and fallbacks of the selected candidate."""
    wish = effort_wish(walk.policy, walk.request)
    _, failed = parameters(walk.policy, walk.request, it)
    if wish is not None and failed == "parameter_not_allowed":
        looked = looked_at([*rejected, (it, Objection(failed))])
        walk.step(rule, "violated", code=failed, **walk.requested(rule), **looked)
        return walk.refused(failed, wish[0])
    if wish is not None and failed == "parameter_limited":
        asked = {"reasoning_effort": wish[1]}
        walk.warn(failed, wish[0], parameter="reasoning_effort", requested=asked)
    walk.step(rule, "selected", **walk.requested(rule), **looked_at(rejected, it))
    return walk.ended(
        {
            "outcome": "selected",
            "level": rule["use"],
            "rule": id_of(rule),
            "target": target_of(walk.policy, walk.request, it),
            "fallbacks": fallbacks(walk.policy, walk.request, rule, it),
        }
    )
