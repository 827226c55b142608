"""The decision record: what was asked, what was decided, and by which steps.

A record is one JSON object in canonical form: UTF-8, keys sorted, no spaces. It holds no time of
its own making, no id and no secret, so equal arguments give equal bytes. Its shape is published as
``schemas/record.schema.json``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from policy_router.domain import Level, frozen
from policy_router.errors import RecordError

SCHEMA: Final = "policy-router/record/v1"


class ReasonCode(StrEnum):
    """Why a candidate was not admitted, a request refused, or a warning given."""

    OUTSIDE_POOL = "outside_pool"
    NOT_ALLOWED = "not_allowed"
    FORBIDDEN = "forbidden"
    LACKS_CAPABILITY = "lacks_capability"
    CONTEXT_TOO_SMALL = "context_too_small"
    INCOMPLETE = "incomplete"
    PARAMETER_NOT_ALLOWED = "parameter_not_allowed"
    EVALUATION_ERROR = "evaluation_error"
    NO_TARGET = "no_target"
    PARAMETER_LIMITED = "parameter_limited"
    PICK_ERROR = "pick_error"
    OUTRANKED = "outranked"
    LEVEL_NOT_USED = "level_not_used"
    UNKNOWN_VALUE = "unknown_value"
    WOULD_FORBID = "would_forbid"


class Result(StrEnum):
    """What became of a precedence rule."""

    SKIPPED = "skipped"
    """Its ``when`` is false."""
    ERROR = "error"
    """Its ``when`` cannot be evaluated."""
    NO_PROPOSAL = "no_proposal"
    """Its level had nothing to propose."""
    VIOLATED = "violated"
    """Nothing that it proposed was admitted."""
    SELECTED = "selected"
    """It decided."""
    NOT_REACHED = "not_reached"
    """An earlier rule ended the walk."""


class Verdict(StrEnum):
    """What became of a candidate."""

    SELECTED = "selected"
    REJECTED = "rejected"
    ERROR = "error"
    """Rejected, since the guard against it could not be evaluated."""


class _Part(Struct, frozen=True):
    """A part of a record: frozen; an unset field does not appear in JSON."""


Requested: TypeAlias = dict[str, Any]
"""What an agent wished for: ``model``, ``provider``, or a parameter by its name."""


class Target(_Part, frozen=True):
    """What a task runs on.

    Attributes:
        model: the model's id at its provider.
        provider: the provider's name; ``""`` where nothing named one.
        parameters: parameters of the model call.
        entry: the name of the pool entry, unset where the target is in no pool.
    """

    model: str
    provider: str
    parameters: dict[str, Any]
    entry: str | UnsetType = UNSET


class DecisionWarning(_Part, frozen=True):
    """Something that went otherwise than wished, without ending the decision.

    Attributes:
        code: what happened.
        rule: the id of the precedence rule at which it did.
        requested: the wish that was not followed.
        entry: the name of the pool entry it is about.
        parameter: the name of the parameter it is about.
        forbid: the id of the forbid rule it is about.
        message: what that rule tells the agent.
        by: the id of the precedence rule that went before.
        error: true where a guard could not be evaluated.
        level: the level of a wish that no rule uses, in place of a rule.
        path: the place of a value in the request that counts as not given, in place of a rule.
    """

    code: ReasonCode
    rule: str | UnsetType = UNSET
    requested: Requested | UnsetType = UNSET
    entry: str | UnsetType = UNSET
    parameter: str | UnsetType = UNSET
    forbid: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    by: str | UnsetType = UNSET
    error: bool | UnsetType = UNSET
    level: Level | UnsetType = UNSET
    path: str | UnsetType = UNSET


class Reason(_Part, frozen=True):
    """Why a precedence rule selected nothing: what stood against its first candidate.

    Attributes:
        rule: the id of the precedence rule.
        code: the reason.
        forbid: the id of the forbid rule that was against it.
        message: what that rule tells the agent.
        entry: the name of the pool entry that the candidate is.
    """

    rule: str
    code: ReasonCode
    forbid: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    entry: str | UnsetType = UNSET


class Refusal(_Part, frozen=True):
    """Why a request was refused, and what may be asked for instead.

    Attributes:
        code: the reason.
        rule: the id of the precedence rule that refused; None where none did.
        message: for the agent, without any value of a fact.
        permitted: names that may be asked for, in file order; unset where there is no pool.
        reasons: for ``no_target``: what stood in the way at each rule that proposed something.
    """

    code: ReasonCode
    message: str
    rule: str | None
    permitted: tuple[str, ...] | UnsetType = UNSET
    reasons: tuple[Reason, ...] | UnsetType = UNSET


class Candidate(_Part, frozen=True):
    """What a rule proposed, and the verdict.

    Attributes:
        verdict: whether it was selected.
        entry: the name of its pool entry; a candidate without one has a model instead.
        model: the model's id.
        provider: the provider, where model or entry alone do not tell.
        code: why it was rejected.
        forbid: the id of the rule that forbids it.
    """

    verdict: Verdict
    entry: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    code: ReasonCode | UnsetType = UNSET
    forbid: str | UnsetType = UNSET


class Step(_Part, frozen=True):
    """What became of one precedence rule.

    Attributes:
        rule: its id.
        level: the level it uses.
        result: what became of it.
        code: why it is violated.
        requested: what was wished for at its level.
        candidates: what it proposed, as far as it was looked at.
    """

    rule: str
    level: Level
    result: Result
    code: ReasonCode | UnsetType = UNSET
    requested: Requested | UnsetType = UNSET
    candidates: tuple[Candidate, ...] | UnsetType = UNSET


class Decision(_Part, frozen=True):
    """The outcome.

    Attributes:
        outcome: ``selected`` or ``refused``.
        warnings: what went otherwise than wished.
        level: the level that decided, where something was selected.
        rule: the id of the precedence rule that decided, where something was selected.
        target: what the task runs on, where something was selected.
        fallbacks: what to go on with where the target fails, in order.
        refusal: why nothing was selected.
    """

    outcome: Literal["selected", "refused"]
    warnings: tuple[DecisionWarning, ...]
    level: Level | UnsetType = UNSET
    rule: str | UnsetType = UNSET
    target: Target | UnsetType = UNSET
    fallbacks: tuple[Target, ...] | UnsetType = UNSET
    refusal: Refusal | UnsetType = UNSET


class PolicyName(_Part, frozen=True):
    """Which policy decided.

    Attributes:
        name: its name.
        revision: the digest of its canonical form, which tells policies apart.
    """

    name: str
    revision: str


class EngineName(_Part, frozen=True):
    """What decided.

    Attributes:
        version: the version of policy-router.
        cel: the CEL engine of a record that an earlier version made; no longer written.
    """

    version: str
    cel: str | UnsetType = UNSET


class DecisionRecord(Struct, frozen=True):
    """A decision with everything that is needed to replay it.

    Attributes:
        policy: the name and revision of the policy.
        engine: the version of the package that decided.
        now: the time of the decision, RFC 3339 in UTC.
        request: the values of the request that were given.
        decision: the outcome.
        steps: one step for each precedence rule, in their order.
        schema: the version of the record's schema.
    """

    policy: PolicyName
    engine: EngineName
    now: str
    request: dict[str, Any]
    decision: Decision
    steps: tuple[Step, ...]
    schema: str = SCHEMA

    def to_json(self) -> bytes:
        """Return the canonical JSON: UTF-8, keys sorted, no spaces."""
        return _ENCODER.encode(self)

    @classmethod
    def from_json(cls, content: bytes | str) -> DecisionRecord:
        """Read a record back.

        Args:
            content: the result of :meth:`to_json`; fields of later minor versions are ignored.

        Raises:
            RecordError: it is not a record, or it has a newer schema.
        """
        try:
            schema = _SCHEMA_DECODER.decode(content).schema
            if schema != SCHEMA:
                message = (
                    f"this is not a record of the schema {SCHEMA}; a newer version may read it"
                )
                raise RecordError(message)
            return _frozen(_DECODER.decode(content))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
            message = f"not a decision record: {problem}"
            raise RecordError(message) from None


def _frozen(record: DecisionRecord) -> DecisionRecord:
    """Return a decoded record in which no dict can be changed."""
    warnings, steps = tuple(map(_with_frozen_wish, record.decision.warnings)), record.steps
    decision = replace(record.decision, warnings=warnings)
    record = replace(record, steps=tuple(map(_with_frozen_wish, steps)))
    if not isinstance(decision.target, UnsetType):
        decision = replace(
            decision,
            target=_frozen_target(decision.target),
            fallbacks=tuple(_frozen_target(target) for target in decision.fallbacks or ()),
        )
    return replace(record, request=frozen(record.request), decision=decision)


def _with_frozen_wish(part: Any) -> Any:
    return part if part.requested is UNSET else replace(part, requested=frozen(part.requested))


def _frozen_target(target: Target) -> Target:
    return replace(target, parameters=frozen(target.parameters))


class _SchemaOnly(Struct, frozen=True):
    schema: str


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(DecisionRecord)
_SCHEMA_DECODER = msgspec.json.Decoder(_SchemaOnly)
