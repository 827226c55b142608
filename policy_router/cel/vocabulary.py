"""The names that a condition sees: one table, from which everything else about them follows.

The checker takes the types from here, the request is read by it, and
``schemas/request.schema.json`` is written from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Type,
)

Paths: TypeAlias = frozenset[str]
TableValues: TypeAlias = tuple[Type, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Name:
    """A name that a condition may use.

    Attributes:
        path: how it is written, such as ``task.kind``.
        type: the type of its value.
        optional: whether it may be absent; a condition then guards it with ``has()``.
        description: one sentence for people and editors.
        values: the closed set its value, or each item of it, is from; or None.
        required: whether a policy requires it, so that it needs no guard though it is optional.
        present_if_true: for a variable, the optional names that are there where it is true.
        present_if_false: for a variable, the optional names that are there where it is false.
    """

    path: str
    type: Type
    optional: bool = False
    description: str = ""
    values: frozenset[str] | None = None
    required: bool = False
    present_if_true: Paths = frozenset()
    present_if_false: Paths = frozenset()


def _names(root: str, *rows: tuple[str, Type, bool, str]) -> tuple[Name, ...]:
    return tuple(
        Name(f"{root}.{name}", type_, optional, text) for name, type_, optional, text in rows
    )


ALWAYS, OPTIONAL = False, True

REQUEST_NAMES: tuple[Name, ...] = (
    *_names(
        "call",
        ("model", STRING, ALWAYS, "Model or entry name asked for, for the whole call."),
        ("provider", STRING, ALWAYS, "Provider asked for, for the whole call."),
        ("reasoning_effort", STRING, ALWAYS, "Reasoning effort asked for, for the whole call."),
    ),
    *_names(
        "task",
        ("model", STRING, ALWAYS, "Model or entry name asked for, for this task."),
        ("provider", STRING, ALWAYS, "Provider asked for, for this task."),
        ("reasoning_effort", STRING, ALWAYS, "Reasoning effort asked for, for this task."),
        ("kind", STRING, ALWAYS, "One word for the sort of work."),
        ("labels", STRINGS, ALWAYS, "Free labels."),
        ("needs", STRINGS, ALWAYS, "Capabilities that the task needs, such as tools or vision."),
        ("index", INT, ALWAYS, "Position in the batch, from 0."),
        ("batch_size", INT, ALWAYS, "How many tasks the batch has."),
        ("input_tokens", INT, OPTIONAL, "Estimated size of the input, in tokens."),
    ),
    *_names(
        "parent",
        ("model", STRING, ALWAYS, "Model that the delegating agent runs on."),
        ("provider", STRING, ALWAYS, "Provider that the delegating agent runs on."),
        ("reasoning_effort", STRING, ALWAYS, "Reasoning effort of the delegating agent."),
        ("depth", INT, ALWAYS, "0 for the root agent, 1 for its children, and so on."),
    ),
    *_names(
        "caller",
        ("id", STRING, ALWAYS, "Identity of the caller, verified by the host."),
        ("team", STRING, ALWAYS, "Team of the caller, verified by the host."),
        ("roles", STRINGS, ALWAYS, "Roles of the caller, verified by the host."),
    ),
    *_names(
        "budget",
        ("spent_usd", DOUBLE, OPTIONAL, "US dollars spent so far; absent where unknown."),
        ("remaining_usd", DOUBLE, OPTIONAL, "US dollars left; absent where there is no limit."),
    ),
)
"""What a request may hold, besides the facts that a policy declares."""

MAX_ITEMS = 1000
"""The most items in a list of a request."""

SHORT_LISTS: Paths = frozenset(name.path for name in REQUEST_NAMES if name.type == STRINGS)
"""The lists that never have more items; one of a policy, such as the default of a fact, may."""

NOW = Name("now", TIMESTAMP, description="Time of the decision.")

TARGET_NAMES: tuple[Name, ...] = _names(
    "target",
    ("name", STRING, ALWAYS, "Name of the pool entry; the model's id where there is no entry."),
    ("model", STRING, ALWAYS, "Model of the candidate."),
    ("provider", STRING, ALWAYS, "Provider of the candidate."),
    ("level", STRING, ALWAYS, "Level that proposes the candidate."),
    ("strengths", STRINGS, ALWAYS, "What the entry is good at."),
    ("supports", STRINGS, ALWAYS, "Capabilities that the entry declares."),
    ("price.input", DOUBLE, OPTIONAL, "US dollars per million input tokens."),
    ("price.output", DOUBLE, OPTIONAL, "US dollars per million output tokens."),
    ("price.cache_read", DOUBLE, OPTIONAL, "US dollars per million input tokens from a cache."),
    ("price.cache_write", DOUBLE, OPTIONAL, "US dollars per million input tokens put in a cache."),
    ("context_window", INT, OPTIONAL, "Size of the context window, in tokens."),
)
"""The candidate, which ``allow``, ``pick``, ``forbid`` and ``order_by`` look at."""

OUTCOME_NAMES: tuple[Name, ...] = (
    Name("outcome", STRING, description="`selected` or `refused`."),
    Name("level", STRING, description="Level that selected; empty where none did."),
    Name("rule", STRING, description="Precedence rule that selected or refused; empty for none."),
    Name("code", STRING, description="Code of a refusal; empty where a target is selected."),
    Name("in_pool", BOOL, description="Whether the target is an entry of the pool."),
)
"""What a decision came to, which an assertion looks at besides the request and the target."""

FACT_TYPES: Mapping[str, Type] = {
    "string": STRING,
    "int": INT,
    "double": DOUBLE,
    "bool": BOOL,
    "list": STRINGS,
}
"""The types a policy can declare a fact with."""

DEFAULTS: Mapping[str, Any] = {"task.batch_size": 1}
"""The values of absent names where they are not the empty value of their type."""

_EMPTY: Mapping[Type, Any] = {STRING: "", INT: 0, STRINGS: ()}


def default_of(name: Name) -> Any:
    """Return the value of a name of a request that is not given and not optional."""
    return DEFAULTS.get(name.path, _EMPTY[name.type])


SECTIONS: Mapping[str, Mapping[str, Name]] = {
    section: {
        name.path.partition(".")[2]: name
        for name in REQUEST_NAMES
        if name.path.startswith(f"{section}.")
    }
    for section in dict.fromkeys(name.path.partition(".")[0] for name in REQUEST_NAMES)
}
"""The names of a request by section and key."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that are known at one place of a policy.

    Attributes:
        names: path to name.
        elsewhere: roots that exist, but not here, with where they do.
        tables: the policy's tables, by path: ``tables.NAME`` to the type and values of each.
    """

    names: dict[str, Name]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, TableValues] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        names: Iterable[Name],
        elsewhere: Mapping[str, str] | None = None,
        tables: Mapping[str, TableValues] | None = None,
    ) -> Vocabulary:
        """Make a vocabulary of names."""
        return cls({name.path: name for name in names}, elsewhere or {}, tables or {})

    def roots(self) -> set[str]:
        """Return the first words of all names: ``task``, ``now`` and so on."""
        return {path.partition(".")[0] for path in (*self.names, *self.tables)}

    def under(self, path: str) -> list[str]:
        """Return the names that begin with a path and a dot."""
        return [name for name in self.names if name.startswith(f"{path}.")]

    def learn(self, name: Name) -> None:
        """Add a name, for the conditions that are checked from now on."""
        self.names[name.path] = name
