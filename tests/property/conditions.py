"""Random conditions that are well typed, and requests for them.

The names are those of the table on the language page; every optional name stands behind a guard.
There is no arithmetic, no conversion that can fail and no index: such a condition has no way to
fail when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

STRING, INT, DOUBLE, BOOL, STRINGS = "string", "int", "double", "bool", "list"

ALWAYS: Final[Mapping[str, tuple[str, ...]]] = {
    STRING: (
        "call.model",
        "call.provider",
        "call.reasoning_effort",
        "task.model",
        "task.provider",
        "task.reasoning_effort",
        "task.kind",
        "parent.model",
        "parent.provider",
        "parent.reasoning_effort",
        "caller.id",
        "caller.team",
        "facts.region",
        "variables.word",
    ),
    INT: ("task.index", "task.batch_size", "parent.depth", "facts.rank"),
    DOUBLE: ("facts.share",),
    BOOL: ("facts.urgent", "variables.yes"),
    STRINGS: ("task.labels", "task.needs", "caller.roles", "facts.zones"),
}
ALWAYS_OF_TARGET: Final[Mapping[str, tuple[str, ...]]] = {
    STRING: ("target.name", "target.model", "target.provider"),
    STRINGS: ("target.strengths", "target.supports"),
}
OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    STRING: ("facts.colour",),
    INT: ("task.input_tokens", "facts.risk"),
    DOUBLE: ("budget.spent_usd", "budget.remaining_usd", "facts.rate"),
    BOOL: ("facts.audited",),
    STRINGS: ("facts.tags",),
}
OPTIONAL_OF_TARGET: Final[Mapping[str, tuple[str, ...]]] = {
    INT: ("target.context_window",),
    DOUBLE: ("target.price.input", "target.price.output"),
}
FACTS: Final[Mapping[str, Any]] = {
    "region": {"type": "string", "default": "eu"},
    "rank": {"type": "int", "default": 3},
    "share": {"type": "double", "default": 0.5},
    "urgent": {"type": "bool", "default": False},
    "zones": {"type": "list", "default": ["a"]},
    "colour": {"type": "string"},
    "risk": {"type": "int"},
    "rate": {"type": "double"},
    "audited": {"type": "bool"},
    "tags": {"type": "list"},
}
LITERALS: Final[Mapping[str, tuple[str, ...]]] = {
    STRING: ('""', '"a"', '"eu"', "'pii'", r'"\u00e9\n"', 'r"a\\b"'),
    INT: ("0", "1", "-3", "100000", "0x1f"),
    DOUBLE: ("0.0", "1.5", "-2e3"),
    BOOL: ("true", "false"),
    STRINGS: ("[]", '["a"]', '["eu", "pii"]'),
}
WORDS = ("", "a", "eu", "pii", "é\n", "a\\b", "😀")
CALENDAR = ("getFullYear", "getMonth", "getDayOfWeek", "getHours", "getMinutes", "getDate")


class Conditions:
    """Strategies for expressions of each type at one place of a policy."""

    def __init__(self, *, target: bool, variables: bool = True) -> None:
        def known(*tables: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
            names: dict[str, list[str]] = {type_: [] for type_ in LITERALS}
            for table in tables:
                for type_, row in table.items():
                    used = (name for name in row if variables or not name.startswith("variables"))
                    names[type_].extend(used)
            return names

        self.always = known(ALWAYS, *([ALWAYS_OF_TARGET] if target else []))
        self.optional = known(OPTIONAL, *([OPTIONAL_OF_TARGET] if target else []))
        self.target = target
        self.value = cache(self._value)
        self.condition = cache(self._condition)

    def _value(self, type_: str, depth: int) -> st.SearchStrategy[str]:
        """Return expressions of a type that is not bool."""
        plain = st.sampled_from([*LITERALS[type_], *self.always[type_] * 3])
        if depth == 0:
            return plain
        optional = st.sampled_from(self.optional[type_])
        guarded = st.tuples(optional, self.value(type_, 0)).map(
            lambda it: f"(has({it[0]}) ? {it[0]} : {it[1]})"
        )
        choice = st.tuples(
            self.condition(depth - 1), self.value(type_, 0), self.value(type_, 0)
        ).map(lambda it: f"({it[0]} ? {it[1]} : {it[2]})")
        return st.one_of(plain, plain, guarded, choice, *self._made(type_))

    def _made(self, type_: str) -> list[st.SearchStrategy[str]]:
        """Return what functions that cannot fail make."""
        word, words = self.value(STRING, 0), self.value(STRINGS, 0)
        if type_ == INT:
            return [
                word.map(lambda it: f"size({it})"),
                words.map(lambda it: f"{it}.size()"),
                word.map(lambda it: f'bucket("canary", {it})'),
                st.sampled_from(CALENDAR).map(lambda it: f"now.{it}()"),
                st.just('now.getHours("+02:00")'),
                st.just('duration("90m").getMinutes()'),
            ]
        if type_ == DOUBLE:
            return [self.value(INT, 0).map(lambda it: f"double({it})")]
        if type_ == STRING:
            return [
                self.value(INT, 0).map(lambda it: f"string({it})"),
                st.just("string(facts.urgent)"),
            ]
        if type_ == STRINGS:
            return [
                st.tuples(words, word).map(lambda it: f"{it[0]}.filter(x, x != {it[1]})"),
                words.map(lambda it: f'{it}.map(x, x.startsWith("e") ? x : "no")'),
                st.lists(word, min_size=1, max_size=3).map(lambda it: f"[{', '.join(it)}]"),
            ]
        return []

    def _condition(self, depth: int) -> st.SearchStrategy[str]:
        """Return conditions."""
        plain = st.sampled_from([*LITERALS[BOOL], *self.always[BOOL] * 2])
        if depth == 0:
            return plain
        inner = self.condition(depth - 1)
        return st.one_of(
            plain,
            inner.map(lambda it: f"!({it})"),
            st.tuples(inner, st.sampled_from(["&&", "||", "==", "!="]), inner).map(
                lambda it: f"({it[0]}) {it[1]} ({it[2]})"
            ),
            st.tuples(inner, inner, inner).map(lambda it: f"(({it[0]}) ? {it[1]} : {it[2]})"),
            self._comparison(depth - 1),
            self._text_test(depth - 1),
            self._list_test(depth - 1),
            self._guard(),
            st.just('now < timestamp("2026-06-01T00:00:00Z")'),
            *([st.just('target.level in ["pool", "task"]')] if self.target else []),
        )

    def _comparison(self, depth: int) -> st.SearchStrategy[str]:
        operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
        return (
            st.sampled_from([STRING, INT, DOUBLE])
            .flatmap(
                lambda type_: st.tuples(
                    self.value(type_, depth), operators, self.value(type_, depth)
                )
            )
            .map(" ".join)
        )

    def _text_test(self, depth: int) -> st.SearchStrategy[str]:
        word = self.value(STRING, depth)
        methods = st.sampled_from(["startsWith", "endsWith", "contains"])
        patterns = st.sampled_from(['"^a+$"', "'[a-z]{2}'", r'r"\d"'])
        return st.one_of(
            st.tuples(word, methods, word).map(lambda it: f"{it[0]}.{it[1]}({it[2]})"),
            st.tuples(word, patterns).map(lambda it: f"{it[0]}.matches({it[1]})"),
        )

    def _list_test(self, depth: int) -> st.SearchStrategy[str]:
        word, words = self.value(STRING, depth), self.value(STRINGS, depth)
        # Macros stand in each other once at most, so what a loop looks at has none.
        inner, inners = self.value(STRING, 0), self.value(STRINGS, 0)
        macros = st.sampled_from(["all", "exists", "exists_one"])
        return st.one_of(
            st.tuples(word, words).map(lambda it: f"{it[0]} in {it[1]}"),
            st.tuples(words, words).map(lambda it: f"{it[0]} == {it[1]}"),
            st.tuples(words, macros, inner).map(lambda it: f"{it[0]}.{it[1]}(x, x == {it[2]})"),
            st.tuples(words, macros, inners).map(
                lambda it: f"{it[0]}.{it[1]}(x, {it[2]}.exists(y, x < y))"
            ),
        )

    def _guard(self) -> st.SearchStrategy[str]:
        """Return conditions over optional names, each behind a guard."""

        def over(type_: str) -> st.SearchStrategy[str]:
            name, value = st.sampled_from(self.optional[type_]), self.value(type_, 0)
            if type_ == BOOL:
                return name.map(lambda it: f"(has({it}) && {it})")
            sign = "in" if type_ == STRINGS else ">"
            if type_ == STRINGS:
                value = self.value(STRING, 0)
            tests = st.tuples(name, value).map(
                lambda it: (
                    it[0],
                    f"{it[1]} in {it[0]}" if sign == "in" else f"{it[0]} > {it[1]}",
                )
            )
            forms = st.sampled_from(
                [
                    "(has({0}) && {1})",
                    "(!has({0}) || {1})",
                    "(has({0}) ? {1} : false)",
                    "(!has({0}) ? true : {1})",
                    "!(!has({0}) || !({1}))",
                    "has({0})",
                ]
            )
            return st.tuples(tests, forms).map(lambda it: it[1].format(*it[0]))

        return st.sampled_from([STRING, INT, DOUBLE, BOOL, STRINGS]).flatmap(over)


IN_RULES = Conditions(target=False)
IN_VARIABLES = Conditions(target=False, variables=False)
FOR_CANDIDATES = Conditions(target=True)


def _entries() -> st.SearchStrategy[list[dict[str, Any]]]:
    details = {
        "price": st.fixed_dictionaries({}, optional={"input": st.just(1), "output": st.just(2.5)}),
        "context_window": st.just(1000),
        "supports": st.just(["a"]),
        "strengths": st.just("eu, pii"),
        "allow": FOR_CANDIDATES.condition(2),
    }
    entry = st.fixed_dictionaries(
        {"model": st.just("m"), "pick": FOR_CANDIDATES.condition(3)}, optional=details
    )
    return st.lists(entry, min_size=1, max_size=3).map(
        lambda pool: [{**entry, "name": f"n{place}"} for place, entry in enumerate(pool)]
    )


@st.composite
def telling_policies(draw: st.DrawFn) -> dict[str, Any]:
    """Return policies that evaluate each of their conditions and say which of them fail.

    A constant rule forbids everything, so the walk goes to the end; what fails in a ``pick``, an
    ``order_by`` or a ``when`` shows as a warning or a refusal.
    """
    numbers = st.sampled_from([INT, DOUBLE]).flatmap(lambda it: FOR_CANDIDATES.value(it, 2))
    return {
        "version": 1,
        "facts": FACTS,
        "variables": {
            "yes": draw(IN_VARIABLES.condition(2)),
            "word": draw(IN_VARIABLES.value(STRING, 1)),
        },
        "pool": draw(_entries()),
        "forbid": [{"when": draw(FOR_CANDIDATES.condition(2))}, {"when": "true"}],
        "precedence": [
            {"use": "call", "when": draw(IN_RULES.condition(3))},
            {"use": "task", "when": draw(IN_RULES.condition(2))},
            {"use": "pool", "order_by": draw(numbers)},
        ],
    }


_word = st.sampled_from(WORDS)
_words = st.lists(_word, max_size=3)
_dollars = st.sampled_from([0, 0.0, 1.5, -1.0, 1e300])


def _part(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


_wish = {"model": _word, "provider": _word, "reasoning_effort": _word}
telling_requests = _part(
    call=_part(**_wish),
    task=_part(
        **_wish,
        kind=_word,
        labels=_words,
        needs=_words,
        index=st.integers(0, 3),
        batch_size=st.integers(1, 4),
        input_tokens=st.integers(0, 2**62),
    ),
    parent=_part(**_wish, depth=st.integers(0, 3)),
    caller=_part(id=_word, team=_word, roles=_words),
    budget=_part(spent_usd=_dollars, remaining_usd=_dollars),
    facts=_part(
        region=_word,
        rank=st.integers(-(2**63), 2**63 - 1),
        share=_dollars,
        urgent=st.booleans(),
        zones=_words,
        colour=_word,
        risk=st.integers(-5, 5),
        rate=_dollars,
        audited=st.booleans(),
        tags=_words,
    ),
)
