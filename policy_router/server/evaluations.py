"""What clients of AuthZEN ask: evaluations, and the requests that they come to.

Unknown fields beside the sections of a request are ignored, and named in the answer. In a section
they are errors, as in any request: a misspelt fact that is ignored would let its default decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from policy_router.cel.vocabulary import SECTIONS
from policy_router.diagnostics.model import json_path
from policy_router.hosts.pseudonyms import Pseudonyms
from policy_router.server.asking import LONGEST_BODY
from policy_router.server.credentials import Credential
from policy_router.server.deciding import MOST_REQUESTS
from policy_router.server.problems import NOT_JSON, Problem, not_json, not_verified

_TAKEN: Final = ("task", "parent", "budget", "facts")
_OF_CALLER: Final = frozenset(SECTIONS["caller"]) - {"id"}
KNOWN: Final[dict[str, Any]] = {
    "subject": {"type": None, "id": None, "properties": dict.fromkeys(_OF_CALLER)},
    "action": {"name": None},
    "resource": {"type": None, "id": None},
    "context": dict.fromkeys(_TAKEN),
}
"""What is read of an evaluation; the keys of a section are checked with the request."""
KNOWN_OF_SEVERAL: Final = {
    **dict.fromkeys(KNOWN),
    "evaluations": None,
    "options": {"evaluations_semantic": None},
}
_MOST_IGNORED: Final = 20
_LONGEST: Final = 8 * LONGEST_BODY
"""How long several evaluations may be together with their defaults, in bytes."""
_PLACES: Final = {
    "$.caller.id": "$.subject.id",
    **{f"$.caller.{key}": f"$.subject.properties.{key}" for key in _OF_CALLER},
    "$.caller": "$.subject",
    **{f"$.{section}": f"$.context.{section}" for section in _TAKEN},
}
"""Where a request's parts stand in an evaluation."""
MODEL: Final = ("model", "use")
OFFERED: Final = (MODEL, ("task", "route"))
_UNFIT: Final = 422
_T = TypeVar("_T")
_Name = Annotated[str, Meta(min_length=1)]


class Subject(Struct, frozen=True):
    """On whose behalf something is to be done: the caller.

    Attributes:
        type: is not looked at.
        id: the id of the caller.
        properties: its `team` and `roles`.
    """

    type: str
    id: _Name
    properties: dict[str, Any] = {}


class Action(Struct, frozen=True):
    """What is to be done: `use` of a model, or `route` of a task."""

    name: str


class Resource(Struct, frozen=True):
    """A `model`, by a name that a task may ask for it by, or a `task`, by any id."""

    type: str
    id: _Name


class ResourceType(Struct, frozen=True):
    """What is looked for: `model`. Nothing else can be listed."""

    type: str


class Evaluation(Struct, frozen=True):
    """What is to be evaluated. Unknown fields are ignored, and the answer names them.

    Attributes:
        context: the sections `task`, `parent`, `budget` and `facts` of a request.
    """

    subject: Subject
    action: Action
    resource: Resource
    context: dict[str, Any] = {}


class Search(Struct, frozen=True):
    """A search for the resources whose evaluation would be true."""

    subject: Subject
    action: Action
    resource: ResourceType
    context: dict[str, Any] = {}


class Options(Struct, frozen=True):
    """Whether the first denial, or the first permission, ends several evaluations."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = (
        "execute_all"
    )


class Evaluations(Struct, frozen=True):
    """Several evaluations, with defaults for each; without a list of them it is one evaluation."""

    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: dict[str, Any] | UnsetType = UNSET
    evaluations: Annotated[list[Any], Meta(max_length=MOST_REQUESTS)] = []
    options: Options = Options()


class Evaluated(Struct, frozen=True):
    """What an evaluation came to.

    Attributes:
        decision: whether it is allowed.
        context: `decision_id` and `revision`; of a denial `code`, `reason` and what is `permitted`;
            of a task its `target`; the places that were `ignored`; or an `error`.
    """

    decision: bool
    context: dict[str, Any]


# What an evaluation says, as a request.


TYPES: Final = (Evaluation, Evaluations, Search, Evaluated)
"""What OpenAPI describes."""


def content_of(body: bytes) -> dict[str, Any]:
    """Return the content of a body.

    Raises:
        Problem: it is not JSON, or no mapping.
    """
    try:
        content = msgspec.json.decode(body)
    except NOT_JSON as problem:
        raise not_json(problem) from None
    if not isinstance(content, dict):
        raise Problem(400, "bad_request", "expected a mapping", path="$")
    return content


def as_type(type_: type[_T], content: Any) -> _T:
    """Return what is wanted, without what is not known.

    Raises:
        Problem: a field is missing or of another type.
    """
    try:
        return msgspec.convert(content, type_)
    except msgspec.ValidationError as problem:
        reason, _, path = str(problem).partition(" - at `")
        raise Problem(400, "bad_request", reason, path=path.rstrip("`") or "$") from None


def evaluations_size(body: bytes) -> int:
    """Return how many requests several evaluations count as."""
    return max(1, len(as_type(Evaluations, content_of(body)).evaluations))


def with_defaults(content: dict[str, Any], items: list[Any]) -> Iterator[Any]:
    """Yield evaluations, each with the defaults for what it lacks.

    Raises:
        Problem: defaults are repeated so often that all is too long.
    """
    defaults = {name: content[name] for name in KNOWN if name in content}
    if len(items) * len(msgspec.json.encode(defaults)) > _LONGEST:
        detail = "the evaluations are too long together with their defaults"
        raise Problem(413, "too_large", detail, path="$.evaluations")
    return ({**defaults, **item} if isinstance(item, dict) else item for item in items)


def sections_of(
    wanted: Evaluation | Search,
    credential: Credential,
    model: str | None,
    pseudonyms: Pseudonyms | None = None,
) -> dict[str, Any]:
    """Return the request that an evaluation comes to.

    Args:
        wanted: the evaluation.
        credential: whose it is.
        model: what the task asks for; None where it is the task's own wish that counts.
        pseudonyms: stand for the caller in the credential; None: it is named there.
    """
    context, subject = wanted.context, wanted.subject
    if "caller" in context:
        if not credential.is_host:
            raise not_verified("$.context.caller", may_state=())
        detail = "the caller is stated twice: it is the subject"
        raise Problem(400, "stated_twice", detail, path="$.context.caller")
    sections: dict[str, Any] = {name: context[name] for name in _TAKEN if name in context}
    stated = {key: it for key, it in subject.properties.items() if key in _OF_CALLER}
    caller = {"id": subject.id, **stated}
    known = caller if pseudonyms is None else pseudonyms.in_caller(caller)
    if credential.is_host or not _is_own(known, credential):
        sections["caller"] = caller
    task = sections.get("task", {})
    if model is not None and isinstance(task, dict):
        if "model" in task:
            detail = "the model is stated twice: it is the resource"
            raise Problem(400, "stated_twice", detail, path="$.context.task.model")
        sections["task"] = {**task, "model": model}
    return sections


def _is_own(caller: Mapping[str, Any], credential: Credential) -> bool:
    """Tell whether a caller is said to be what its credential says."""
    own = credential.caller
    known = {key: list(it) if isinstance(it, tuple) else it for key, it in own.items()}
    return all(key in known and known[key] == it for key, it in caller.items())


@contextmanager
def placed(kind: tuple[str, str]) -> Iterator[None]:
    """Say a problem of a request at its place in the evaluation, by the statuses of AuthZEN."""
    try:
        yield
    except Problem as it:
        path, status = it.path or "", 400 if it.status == _UNFIT else it.status
        if kind == MODEL and path == "$.task.model":
            path = "$.resource.id"
        for ours, theirs in _PLACES.items():
            if path == ours or path.startswith((f"{ours}.", f"{ours}[")):
                path = theirs + path[len(ours) :]
        raise Problem(
            status, it.code, it.detail, path=path or None, help=it.help, headers=it.headers
        ) from None


def ignored_in(content: dict[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places of the first fields that are not read."""
    return islice(_unknown(content, known), _MOST_IGNORED)


def _unknown(content: Mapping[str, Any], known: Mapping[str, Any], *path: str) -> Iterator[str]:
    for key, value in content.items():
        if key not in known:
            yield json_path(*path, key)
        elif isinstance(value, dict) and known[key] is not None:
            yield from _unknown(value, known[key], *path, key)
