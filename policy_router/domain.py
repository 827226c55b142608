"""The nouns of a compiled policy. All are frozen; the evaluator reads nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NoReturn, TypeVar, cast

from policy_router.cel.ast import Type
from policy_router.cel.condition import Condition
from policy_router.diagnostics.model import Diagnostics, SourceFile, Span
from policy_router.parameters import is_number, same

T = TypeVar("T")


class Level(StrEnum):
    """Who proposes a target."""

    CALL = "call"
    """What the delegating agent asked for, for the whole call."""
    TASK = "task"
    """What the delegating agent asked for, for this task of a batch."""
    POOL = "pool"
    """The administrator's list of models."""
    CONFIG = "config"
    """The administrator's default."""
    PARENT = "parent"
    """The delegating agent's own model."""


WISHES = (Level.CALL, Level.TASK)
"""The levels at which an agent wishes; the others are the administrator's and the host's."""


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed: it has a hash, and encodes to JSON like any other."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        """Hash the items, in any order."""
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        """Pickle and copy as a plain dict that is frozen again."""
        return FrozenDict, (dict(self),)

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        message = "a policy and its records cannot be changed"
        raise TypeError(message)

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse


def frozen(value: Any) -> Any:
    """Return a deeply frozen copy of plain JSON data: tuples for lists, frozen dicts for dicts."""
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


NOTHING = FrozenDict()
"""The empty mapping."""


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens cost, in US dollars per million; None is unknown, never free."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None


PRICES = ("input", "output", "cache_read", "cache_write")
"""The parts of a price."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be wished for a parameter.

    Attributes:
        allowed: the values that may be wished, or None where any may.
        least: the smallest number, or None.
        greatest: the largest number, or None.
    """

    allowed: tuple[Any, ...] | None = None
    least: float | None = None
    greatest: float | None = None

    def within(self, value: Any) -> Any:
        """Return a value as far as this limit grants it: itself, a clamped number, or None."""
        if self.allowed is not None:
            return value if any(same(value, it) for it in self.allowed) else None
        if not is_number(value):
            return None
        if self.greatest is not None and value > self.greatest:
            return self.greatest
        if self.least is not None and value < self.least:
            return self.least
        return value


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint speaks; None is as usual.

    Attributes:
        api: the API that is called: ``chat_completions``, ``responses`` or ``anthropic_messages``.
        system_role: the role of the system message: ``system`` or ``developer``.
        max_tokens: how that parameter is spelt: ``max_tokens`` or ``max_completion_tokens``.
        unsupported: names of the parameters that are left out.
    """

    api: str | None = None
    system_role: str | None = None
    max_tokens: str | None = None
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one attempt at an entry may take, in seconds; None is as usual.

    Attributes:
        first_byte: from the request until the answer begins.
        idle: between two pieces of an answer.
        total: from the request until the answer's end.
    """

    first_byte: float | None = None
    idle: float | None = None
    total: float | None = None


FALLBACK_CODES = (
    "answer_too_large",
    "bad_request",
    "bad_response",
    "connection_failed",
    "content_filtered",
    "context_overflow",
    "empty_answer",
    "http_error",
    "model_not_found",
    "no_credential",
    "no_endpoint",
    "payment_required",
    "rate_limited",
    "refused_by_model",
    "server_error",
    "timeout",
    "unauthorized",
    "wants_tool",
)
"""The codes of failures after which an entry may say whether its fallback is tried."""

TIMEOUTS = ("first_byte", "idle", "total")
"""The parts of an attempt that have a limit of time."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An endpoint.

    Attributes:
        base_url: its address, or None for the provider's usual one.
        api_key: where its key is, ``env:NAME`` or ``file:PATH``; never the key.
        headers: further headers of every call: a text, or where it is.
        dialect: how it speaks.
        concurrency: how many calls it may get at the same time, or None.
    """

    base_url: str | None = None
    api_key: str | None = None
    headers: Mapping[str, str] = NOTHING
    dialect: Dialect = Dialect()
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact that a policy declares.

    Attributes:
        name: what follows ``facts.``.
        type: the type of its value.
        default: its value where it is not given; None where there is none.
        required: whether a request has to give it.
    """

    name: str
    type: Type
    default: Any = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class ClosedSet:
    """The values that a name of a request may have.

    Attributes:
        values: the values.
        drops: whether another value counts as not given; else it is refused.
    """

    values: tuple[str, ...]
    drops: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping that conditions read as ``tables.NAME[key]``.

    Attributes:
        type: the type of its values.
        values: the values by key.
    """

    type: Type
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """What is said of a part of a policy; it changes no decision.

    Attributes:
        description: what it is for.
        owner: whom to ask.
    """

    description: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A named expression, usable as ``variables.NAME``."""

    name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """A model that may be used.

    Attributes:
        name: what agents see and ask for.
        model: the model's id at its provider.
        provider: its provider or the policy's; ``""`` stands for the parent's.
        aliases: other names to ask for it by.
        serves: other ids under which its provider answers for it.
        strengths: what it is good at.
        supports: its capabilities, or None where they are not declared.
        price: what its tokens cost.
        context_window: in tokens, or None where unknown.
        parameters: its own parameters.
        limits: parameter to what may be wished for it.
        fallback: names of the entries to go on with.
        fallback_on: HTTP statuses and codes of failures after which one goes on too; with a minus
            before it, one does not.
        timeouts: how long one attempt at it may take.
        dialect: how its endpoint speaks of it; this goes before the provider's.
        allow: it may be used only where this is true.
        pick: the pool chooses it where this is true.
        shares_name: whether the same model at another provider goes by the same name.
        position: its place in the pool, from 0; a policy sees to it.
        note: what is said of it.
        span: where it was written.
    """

    name: str
    model: str
    provider: str = ""
    aliases: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    strengths: tuple[str, ...] = ()
    supports: tuple[str, ...] | None = None
    price: Price = Price()
    context_window: int | None = None
    parameters: Mapping[str, Any] = NOTHING
    limits: Mapping[str, Limit] = NOTHING
    fallback: tuple[str, ...] = ()
    fallback_on: tuple[int | str, ...] = ()
    timeouts: Timeouts = Timeouts()
    dialect: Dialect = Dialect()
    allow: Condition | None = None
    pick: Condition | None = None
    shares_name: bool = False
    position: int = field(default=0, compare=False)
    note: Note = field(default=Note(), compare=False)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ForbidRule:
    """A rule that no level overrides.

    Attributes:
        id: its name in records.
        when: a candidate is forbidden where this is true or cannot be evaluated.
        message: what the agent is told, or None.
        enforce: whether it forbids; else it only leaves a warning.
        note: what is said of it.
        span: where it was written.
    """

    id: str
    when: Condition
    message: str | None = None
    enforce: bool = True
    note: Note = field(default=Note(), compare=False)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PrecedenceRule:
    """Which level proposes next, and when.

    Attributes:
        id: its name in records.
        use: the level.
        when: the rule is skipped where this is false; None is always true.
        entry: for level ``pool``: the name of the only entry proposed.
        order_by: for call, task and pool: a number for each candidate; the smallest comes first.
        reject: whether a violation refuses the request (``on_violation: reject``).
        in_pool: whether a candidate must be in the pool.
        fallback: whether fallbacks are planned.
        falls_to_candidates: whether the other candidates of the rule are fallbacks, too.
        note: what is said of it.
        span: where it was written.
    """

    id: str
    use: Level
    when: Condition | None = None
    entry: str | None = None
    order_by: Condition | None = None
    reject: bool = False
    in_pool: bool = False
    fallback: bool = True
    falls_to_candidates: bool = False
    note: Note = field(default=Note(), compare=False)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Assertion:
    """What decisions must come to; it is asked by tests and proofs, and changes none.

    Attributes:
        id: its name.
        word: ``never``, ``always`` or ``unchanged``.
        condition: what never, or always, is to be true; None for ``unchanged``.
        unchanged: the path of the policy that is to decide the same; else None.
        note: what is said of it.
        span: where it was written.
    """

    id: str
    word: str
    condition: Condition | None
    unchanged: str | None
    note: Note = Note()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Policy:
    """A compiled policy: immutable, safe to share between threads.

    Make one with :func:`policy_router.load` or :func:`policy_router.loads`.

    Attributes:
        name: its name in records.
        revision: ``sha256:`` and the digest of the canonical form.
        canonical: the canonical form, itself a policy in JSON: with the profile's rules, without
            places and comments.
        model: the default model, or None.
        provider: the default provider, or None.
        parameters: parameters of every target.
        providers: endpoints by name.
        facts: the declared facts, by name.
        closed: the closed sets, by the name of the request.
        required: the names that every request must have.
        unknown_cost_usd: what is reserved for a task whose cost is unknown; None refuses it.
        tables: the tables, by name.
        variables: named expressions, each using only the ones before it.
        pool: the entries; None is no restriction, an empty pool permits no wish.
        forbid: the forbid rules, which no level overrides.
        precedence: the order of the levels.
        assertions: properties that every decision must have.
        assumptions: guarantees of the host about every request.
        note: its description and owner.
        warnings: the warnings of the checks.
        sources: its rule files, in order.
    """

    name: str
    revision: str
    canonical: bytes = field(repr=False)
    precedence: tuple[PrecedenceRule, ...]
    model: str | None = None
    provider: str | None = None
    parameters: Mapping[str, Any] = NOTHING
    providers: Mapping[str, Provider] = NOTHING
    facts: Mapping[str, Fact] = NOTHING
    closed: Mapping[str, ClosedSet] = NOTHING
    required: tuple[str, ...] = ()
    unknown_cost_usd: float | None = None
    tables: Mapping[str, Table] = NOTHING
    variables: tuple[Variable, ...] = ()
    pool: tuple[PoolEntry, ...] | None = None
    forbid: tuple[ForbidRule, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    assumptions: tuple[Condition, ...] = ()
    note: Note = Note()
    warnings: Diagnostics = field(default_factory=Diagnostics)
    sources: tuple[SourceFile, ...] = field(default=(), repr=False)
    _prepared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The closed set of ``task.kind``, or None."""
        closed = self.closed.get("task.kind")
        return None if closed is None else closed.values

    def __post_init__(self) -> None:
        """Number the entries of the pool."""
        if any(entry.position != place for place, entry in enumerate(self.pool or ())):
            pool = (replace(entry, position=place) for place, entry in enumerate(self.pool or ()))
            object.__setattr__(self, "pool", tuple(pool))

    def prepared(self, prepare: Callable[[Policy], T]) -> T:
        """Return the result of a function of this policy, which is computed once and kept.

        Args:
            prepare: the function. Several threads may call it at the same time at first; all of
                them get the same result.
        """
        found = self._prepared.get(prepare)
        if found is None:
            found = self._prepared.setdefault(prepare, prepare(self))
        return cast("T", found)

    def share(self, prepare: Callable[[Policy], T], result: T) -> None:
        """Keep the result of a function, which is known from a policy that differs little.

        Args:
            prepare: the function.
            result: what it would return.
        """
        self._prepared[prepare] = result
