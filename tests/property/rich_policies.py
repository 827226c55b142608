"""Policies and requests in which the evaluator has every reason to take a short cut.

A condition is made of templates. Their words in capitals stand for constants, for names and for
conditions again, from alphabets so small that facts, names and constants meet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from tests.property.conditions import FACTS
from tests.property.reference_input import name_of
from tests.property.strategies import (
    ALIASES,
    CAPABILITIES,
    EFFORTS,
    MODELS,
    NAMES,
    PROVIDERS,
    effort_in_one_place,
    fallback_words,
    limits,
    parameter_wishes,
    parameters,
    shipped,
    some,
    wishes,
    without_repeats,
    without_stray_default,
)

Texts = st.SearchStrategy[str]

WORDS: Final = ("a", "b", "c", "p", "1", "0")

# What a fact is compared with a constant by, so that a condition can be looked up.
KEYED = (
    "TEXT == WORD",
    "WORD == TEXT",
    "task.kind == WORD",
    "WORD in task.labels",
    "WORD in LIST",
    "TEXT in WORDS",
    "task.kind in WORDS",
    "parent.provider == WORD",
    "facts.urgent == BOOL",
    "facts.urgent",
    "NUMBER == INT",
    "NUMBER in [INT, INT]",
    "facts.share == DOUBLE",
    "facts.share in [DOUBLE, DOUBLE]",
    "task.kind == WORD || task.kind in WORDS",
    "task.kind == WORD || WORD == task.kind || task.kind == WORD",
    "WORD in task.labels || WORD in task.labels",
    "task.kind == WORD || WORD in task.labels",
    "NUMBER == INT || NUMBER == INT",
    "task.kind == WORD && NUMBER SIGN INT || task.kind == WORD && WORD in task.labels",
)
BOUNDED = (
    "NUMBER SIGN INT",
    "INT SIGN NUMBER",
    "TEXT SIGN WORD",
    "facts.share SIGN DOUBLE",
    "DOUBLE SIGN facts.share",
    "facts.rank SIGN INT && facts.rank SIGN INT",
    "INT SIGN parent.depth && parent.depth SIGN INT",
    "facts.share SIGN DOUBLE && DOUBLE SIGN facts.share",
    "facts.rank SIGN INT || facts.rank SIGN INT",
    "facts.rank SIGN INT && facts.share SIGN DOUBLE",
)
GUARDED = (
    "has(facts.risk) && facts.risk SIGN INT",
    "has(facts.risk) && INT SIGN facts.risk && facts.risk SIGN INT",
    "has(facts.risk) && (facts.risk == INT || facts.risk == INT)",
    "has(facts.rate) && facts.rate SIGN DOUBLE",
    "has(facts.rate) && facts.rate == DOUBLE",
    "has(facts.colour) && facts.colour == WORD",
    "has(facts.colour) && facts.colour in WORDS",
    "has(facts.colour) && (facts.colour == WORD || task.kind == WORD)",
    "has(facts.tags) && WORD in facts.tags",
    "has(facts.audited) && facts.audited == BOOL",
    "has(task.input_tokens) && task.input_tokens SIGN INT",
    "has(budget.remaining_usd) && budget.remaining_usd SIGN DOUBLE",
    "has(facts.risk) && has(facts.rate) && facts.rate SIGN DOUBLE && facts.risk == INT",
    "has(facts.risk) && has(facts.rate) && facts.rate SIGN double(facts.risk)",
    "(1 / parent.depth == 1 ? has(facts.risk) : has(facts.risk)) && facts.risk SIGN INT",
    "(1 / parent.depth == 1 ? has(facts.risk) : has(facts.risk)) && facts.risk == INT",
    "!has(facts.risk) || facts.risk SIGN INT",
    "has(facts.risk) ? facts.risk SIGN INT : BOOL",
    "!has(facts.tags)",
)
WISHING = (
    "task.model == NAME",
    "call.model in [NAME, NAME]",
    'call.provider != ""',
    "task.provider == PROVIDER",
    'task.model != "" && task.provider == ""',
    "call.model == task.model",
)
FAILING = (
    "1 / 0 == 1",
    "1 / parent.depth == 1",
    "INT % facts.rank SIGN INT",
    "int(task.kind) SIGN INT",
    "double(task.kind) SIGN DOUBLE",
    "task.labels[INT] == WORD",
    "[1, 2][parent.depth] == 1",
    "facts.rank * 9223372036854775807 > 0",
    "timestamp(task.kind) < now",
    "LIST.MACRO(x, int(x) SIGN INT)",
    "LIST.MACRO(x, 1 / size(x) == 1)",
)
WALKING = (
    "LIST.MACRO(x, x == WORD)",
    "LIST.MACRO(x, x in LIST)",
    "LIST.MACRO(x, LIST.MACRO(y, x SIGN y))",
    "LIST.MACRO(x, x == TEXT && LIST.MACRO(y, y != x || facts.urgent))",
    "(LIST + LIST).MACRO(x, x == TEXT)",
    "LIST.filter(x, x != WORD).size() SIGN INT",
    'WORD in LIST.map(x, x + "1")',
    "LIST.map(x, size(LIST)).exists(y, y SIGN INT)",
    "size(LIST) SIGN INT",
    "LIST == LIST",
    "TEXT in LIST",
)
READING_VARIABLES = (
    "variables.yes",
    "variables.shaky",
    "variables.number SIGN INT",
    "variables.word == WORD",
    "WORD in variables.words",
    "variables.words.MACRO(x, x == WORD)",
    "variables.has_risk && facts.risk SIGN INT",
)
AIMED = (
    "target.level == LEVEL",
    "target.level in [LEVEL, LEVEL]",
    "target.name == NAME",
    "NAME != target.name",
    "target.model in [NAME, NAME]",
    "target.provider == PROVIDER",
    "target.provider == parent.provider",
    'target.provider != ""',
    "target.name == task.model",
    "TEXT == target.name",
    "target.name in LIST",
    "task.kind in target.strengths",
    "WORD in target.strengths",
    "size(target.strengths) SIGN INT",
    "target.supports == []",
    "task.needs.all(n, n in target.supports)",
    "NUMBER SIGN size(target.strengths)",
    "facts.share SIGN double(size(target.supports)) / 0.0",
    "has(facts.risk) && facts.risk SIGN size(target.supports)",
    'target.name.matches("^[ab]$")',
    'target.name + "1" == WORD',
    "bucket(target.name, caller.id) < 50",
    "[task.kind, target.name].MACRO(x, x in task.labels)",
)
PRICED = (
    "has(target.price.input)",
    "has(target.price.output) && target.price.output SIGN DOUBLE",
    "!has(target.price.output) || target.price.output SIGN facts.share",
    "(has(target.price.output) ? target.price.output : 0.0) SIGN DOUBLE",
    "PRICES && has(budget.remaining_usd) && target.price.output SIGN budget.remaining_usd * 2.0",
    "has(target.price.input) && has(facts.rate) && facts.rate SIGN target.price.input",
    "PRICES && target.price.input SIGN target.price.output",
    "has(target.price.input) && facts.share SIGN target.price.input / target.price.input",
    "has(target.context_window)",
    "SIZES && task.input_tokens SIGN target.context_window",
    "SIZES && (ANY) && task.input_tokens SIGN target.context_window",
    "has(target.context_window) && facts.rank SIGN target.context_window - 10",
)
AIMED_FAILING = (
    "1 / size(target.supports) == 1",
    "target.strengths[INT] == WORD",
    "int(target.name) SIGN INT",
    "(has(target.context_window) ? 100 / (target.context_window - 10) : 0) SIGN INT",
    "target.strengths.MACRO(x, int(x) SIGN size(task.labels))",
)
COMPOUND = (
    "(ANY) && (ANY)",
    "(ANY) || (ANY)",
    "(ANY) && (ANY) && (ANY)",
    "(ANY) || (ANY) || (ANY)",
    "!(ANY)",
    "(ANY) ? (ANY) : (ANY)",
    "(ANY) == (ANY)",
    "(ANY) && KEY && (ANY)",
    "(ANY) && BOUND",
    "has(facts.risk) && (ANY) && facts.risk SIGN INT",
    "FAIL || (ANY)",
    "(ANY) && FAIL",
)

ORDERS = (
    "1.0",
    "0.0 / 0.0",
    'double("inf")',
    "1 / 0",
    "size(target.strengths)",
    "-size(target.strengths)",
    "has(target.price.output) ? target.price.output : 1000.0",
    "has(target.price.output) ? -target.price.output : 0.0 / 0.0",
    "has(target.price.output) ? target.price.output : double(task.kind)",
    "(has(target.price.output) ? target.price.output : 2.0) * facts.share",
    "PRICES ? target.price.input / target.price.output : 0.5",
    "has(target.context_window) ? target.context_window : 1 / parent.depth",
    "size(target.strengths) - facts.rank",
    "1 / (size(target.strengths) - 1)",
    "1 / (size(target.strengths) - parent.depth)",
    "task.kind in target.strengths ? 0 : 1",
    "target.strengths.filter(s, s in task.labels).size()",
    "bucket(target.name, caller.id)",
    "variables.number",
    "(ANY) ? 0.0 : 1.0",
)

_PLACEHOLDER: Final = re.compile(r"\b[A-Z]{3,}\b")
_WORD = st.sampled_from([*(f'"{word}"' for word in WORDS), '""'])
_INT = st.sampled_from(["0", "1", "2", "3", "-1", "10"])
_CONSTANTS: Final[Mapping[str, Texts]] = {
    "WORD": _WORD,
    "WORDS": st.one_of(st.lists(_WORD, max_size=3), st.lists(_WORD, min_size=5, max_size=7)).map(
        lambda words: f"[{', '.join(words)}]"
    ),
    "INT": _INT,
    "DOUBLE": st.sampled_from(
        ["0.0", "0.5", "2.0", "-1.0", "-0.0", "0.0 / 0.0", "1.0 / 0.0", '-double("inf")']
    ),
    "BOOL": st.sampled_from(["true", "false"]),
    "SIGN": st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    "MACRO": st.sampled_from(["all", "exists", "exists_one"]),
    "NAME": st.sampled_from(["a", "b", "c", "d"]).map(lambda name: f'"{name}"'),
    "PROVIDER": st.sampled_from(PROVIDERS).map(lambda name: f'"{name}"'),
    "LEVEL": st.sampled_from(["call", "task", "pool", "config", "parent"]).map(
        lambda level: f'"{level}"'
    ),
    "PRICES": st.just("has(target.price.input) && has(target.price.output)"),
    "SIZES": st.just("has(target.context_window) && has(task.input_tokens)"),
    "NUMBER": st.sampled_from(["facts.rank", "parent.depth", "task.index", "task.batch_size"]),
}
_TEXTS = ("task.kind", "task.kind", "facts.region", "caller.team", "parent.model", "task.model")
_LISTS = ("task.labels", "task.labels", "facts.zones", "caller.roles", "task.needs")


class Conditions:
    """Strategies for conditions at one place of a policy.

    Attributes:
        words: what stands for the words of the templates.
        plain: the templates in which no other condition stands.
    """

    def __init__(self, *, aimed: bool, variables: bool = True) -> None:
        """Choose templates.

        Args:
            aimed: whether there is a candidate to look at.
            variables: whether there are variables.
        """
        texts = (*_TEXTS, "target.name", "target.model") if aimed else _TEXTS
        lists = (*_LISTS, "target.strengths") if aimed else _LISTS
        failing = (*FAILING, *AIMED_FAILING) if aimed else FAILING
        self.words: Mapping[str, Texts] = {
            **_CONSTANTS,
            "TEXT": st.sampled_from(texts),
            "LIST": st.sampled_from(lists),
        }
        groups = [KEYED, KEYED, BOUNDED, GUARDED, WISHING, failing, WALKING, ("BOOL",)]
        groups += [READING_VARIABLES] * 2 if variables else []
        groups += [AIMED, AIMED, PRICED] if aimed else []
        self.plain = st.sampled_from(groups).flatmap(st.sampled_from)
        self.special = {
            "KEY": KEYED,
            "BOUND": BOUNDED,
            "FAIL": failing,
            "WISH": WISHING,
            "AIM": (*AIMED, *PRICED),
        }
        self.condition = cache(self._condition)

    def filled(self, templates: Texts, depth: int) -> Texts:
        """Return templates, with something for each of their words."""

        @st.composite
        def fill(draw: st.DrawFn) -> str:
            def stand_in(match: re.Match[str]) -> str:
                word = match[0]
                if word == "ANY":
                    return draw(self.condition(max(depth - 1, 0)))
                if word in self.special:
                    inner = self.filled(st.sampled_from(self.special[word]), 0)
                    return f"({draw(inner)})"
                return draw(self.words[word])

            return _PLACEHOLDER.sub(stand_in, draw(templates))

        return fill()

    def _condition(self, depth: int) -> Texts:
        compound = st.sampled_from(COMPOUND)
        return self.filled(st.one_of(self.plain, compound) if depth else self.plain, depth)


IN_VARIABLES = Conditions(aimed=False, variables=False)
IN_RULES = Conditions(aimed=False)
FOR_CANDIDATES = Conditions(aimed=True)

_any = FOR_CANDIDATES.condition(2)
_pick = st.one_of(
    FOR_CANDIDATES.filled(st.sampled_from([*KEYED, *BOUNDED, *GUARDED]), 0),
    FOR_CANDIDATES.filled(
        st.sampled_from(["KEY || BOUND", "KEY || (ANY)", "BOUND", "AIM", "BOUND || AIM", "FAIL"]), 1
    ),
    _any,
)
_allow = st.one_of(_any, FOR_CANDIDATES.filled(st.sampled_from(["!((ANY) && (ANY))"]), 1))
_forbid = FOR_CANDIDATES.filled(
    st.sampled_from(
        ["(ANY) && AIM", "KEY && AIM && AIM", "KEY && (ANY) && (ANY)", "KEY && BOUND", "ANY"]
    ),
    2,
)
_order = FOR_CANDIDATES.filled(st.sampled_from(ORDERS), 1)
_when = st.one_of(st.just("true"), IN_RULES.condition(2))

reading_wishes = FOR_CANDIDATES.filled(
    st.sampled_from([*WISHING, "task.model == target.name", "WISH || (ANY)", "WISH && !(FAIL)"]), 1
)
"""Conditions that are about what was asked for."""

_VARIABLES: Final[Mapping[str, Texts]] = {
    "has_risk": st.sampled_from(
        [
            "has(facts.risk)",
            "has(facts.risk) && facts.urgent",
            "1 / parent.depth == 1 ? has(facts.risk) : has(facts.risk) && facts.urgent",
        ]
    ),
    "yes": IN_VARIABLES.condition(1),
    "shaky": IN_VARIABLES.filled(st.sampled_from([*FAILING, "FAIL || (ANY)"]), 1),
    "number": st.sampled_from(
        ["1 / parent.depth", "size(task.labels)", "int(task.kind)", "facts.rank", "2"]
    ),
    "word": st.sampled_from(["task.kind", "task.labels[0]", '"a"', 'variables.yes ? "a" : "b"']),
    "words": st.sampled_from(
        [
            "task.labels + caller.roles",
            "facts.zones",
            'task.labels.filter(x, x != "a")',
            "[variables.word, string(variables.number)]",
        ]
    ),
}
# Each variable may use the ones above it, so their order stays.
_variables = st.tuples(*_VARIABLES.values()).map(
    lambda texts: dict(zip(_VARIABLES, texts, strict=True))
)
_strengths = st.lists(st.sampled_from(WORDS), max_size=3)
_dollars = st.sampled_from([0, 0.0, 0.5, 1, 2.0, 2])
_entry = st.fixed_dictionaries(
    {"model": st.sampled_from(MODELS), "pick": _pick},
    optional={
        "name": st.sampled_from(NAMES),
        "provider": st.sampled_from(PROVIDERS),
        "aliases": some(*ALIASES),
        "allow": _allow,
        "price": st.fixed_dictionaries({}, optional={"input": _dollars, "output": _dollars}),
        "context_window": st.sampled_from([10, 20, 100]),
        "strengths": st.one_of(_strengths, st.just("a, b")),
        "supports": some(*CAPABILITIES),
        "parameters": parameters,
        "limits": limits,
    },
)
_forbids = st.fixed_dictionaries(
    {"when": _forbid},
    optional={"message": st.just("Not here."), "enforce": st.sampled_from([False, True, True])},
)
_words_or_none = st.just({"values": list(WORDS), "unknown": "drop"})
_general = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "facts": st.just(FACTS),
        "variables": _variables,
        "forbid": st.one_of(*(st.lists(_forbids, min_size=least, max_size=5) for least in (0, 3))),
        "model": st.sampled_from([*MODELS, ""]),
    },
    optional={
        "provider": st.sampled_from(PROVIDERS),
        "kinds": st.just(list(WORDS)),
        "teams": _words_or_none,
        "roles": _words_or_none,
        "parameters": parameters,
    },
)
_details = st.fixed_dictionaries(
    {},
    optional={
        "when": _when,
        "on_violation": st.sampled_from(["next", "next", "reject"]),
        "in_pool": st.booleans(),
        "fallback": fallback_words,
    },
)
_levels = st.tuples(
    st.permutations(["pool", "task", "pool", "call", "pool"]),
    st.sampled_from([4, 3, 5, 2]),
    st.sampled_from([["config"], [], ["parent", "config"], ["parent"]]),
).map(lambda it: [*it[0][: it[1]], *it[2]])
_how = st.sampled_from(["order_by", "order_by", "file", "entry"])
_sizes = st.sampled_from([3, 4, 5, 2, 6, 3, 4, 5, 1, 0, 12])
_rarely = st.sampled_from([False] * 7 + [True])


def _pool(draw: st.DrawFn, provider: str | None) -> list[dict[str, Any]]:
    pool = without_repeats([draw(_entry) for _ in range(draw(_sizes))], provider)
    names = st.sampled_from(sorted({name_of(entry) for entry in pool}) or [""])
    for entry in pool:
        if draw(_rarely):
            del entry["pick"]
        if draw(st.booleans()):
            entry["fallback"] = draw(st.lists(names, min_size=1, max_size=3))
    return pool


def _rule(draw: st.DrawFn, level: str, pool: list[dict[str, Any]]) -> dict[str, Any]:
    rule: dict[str, Any] = {"use": level, **draw(_details)}
    if level == "pool":
        names = [name_of(entry) for entry in pool]
        alone = [name for name in names if names.count(name) == 1]
        how = draw(_how)
        if how == "order_by":
            rule["order_by"] = draw(_order)
        elif how == "entry" and alone:
            rule["entry"] = draw(st.sampled_from(alone))
    elif level in {"call", "task"} and draw(_rarely):
        rule["order_by"] = draw(_order)
    return rule


@st.composite
def rich_policies(draw: st.DrawFn) -> dict[str, Any]:
    """Return whole policies in the native form; every one of them is valid."""
    policy: dict[str, Any] = draw(_general)
    if not policy["model"]:
        del policy["model"]
    if draw(st.booleans()):
        # What is picked is then looked at to the end, and shows in the record.
        policy["forbid"].append({"when": 'target.level == "pool"'})
    pool: list[dict[str, Any]] = []
    if not draw(_rarely):
        pool = policy["pool"] = _pool(draw, policy.get("provider"))
    if not draw(_rarely):
        levels = draw(_levels)
        policy["precedence"] = [_rule(draw, level, pool) for level in levels]
        for number, rule in enumerate(policy["precedence"]):
            rule["id"] = f"rule-{number}"
    else:
        policy["precedence"] = draw(shipped)
    return without_stray_default(policy)


_word = st.sampled_from([*WORDS, ""])
_words = st.lists(st.sampled_from([*WORDS, "tools"]), max_size=4)
_number = st.sampled_from([0, 1, 2, 3, -1, 10, 2**62])
_share = st.sampled_from([0.0, 0.5, 2, -1.0, 1e300])
_depth = st.sampled_from([0, 1, 1, 2, 3])
_wish = {**wishes(), "parameters": parameter_wishes}
_parent = {
    "model": st.sampled_from([*MODELS, ""]),
    "provider": st.sampled_from([*PROVIDERS, ""]),
    "depth": _depth,
}
_task = {"kind": _word, "labels": _words}
_facts = {
    "region": _word,
    "rank": _number,
    "share": _share,
    "urgent": st.booleans(),
    "zones": _words,
    "colour": _word,
    "risk": _number,
    "rate": _share,
    "audited": st.booleans(),
    "tags": _words,
}


def _part(
    required: Mapping[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict(required), optional=optional)


rich_requests = _part(
    {
        "task": _part(
            _task,
            **_wish,
            needs=some(*CAPABILITIES),
            index=_depth,
            batch_size=_depth,
            input_tokens=st.sampled_from([0, 9, 10, 11, 101]),
        ).map(effort_in_one_place),
        "parent": st.one_of(
            _part({}, **_parent, reasoning_effort=st.sampled_from([*EFFORTS, ""])), _part(_parent)
        ),
    },
    call=_part({}, **_wish).map(effort_in_one_place),
    caller=_part({}, id=_word, team=st.sampled_from([*WORDS, "", "z"]), roles=_words),
    budget=_part({}, spent_usd=_share, remaining_usd=_share),
    facts=st.one_of(_part({}, **_facts), _part(_facts)),
)
