"""The arguments of a ``delegate_task`` call, as a language model writes them, to tasks.

A model sees what is wrong with them, and with which of its tasks, so that it can correct itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.diagnostics.model import did_you_mean, json_path, quote
from policy_router.errors import RequestError

MAX_BYTES: Final = 16 * 1024 * 1024
"""The longest arguments in JSON, in bytes."""

WISHES: Final[tuple[str, ...]] = ("model", "provider", "reasoning_effort")
"""What may be wished for, for the whole call and for each task."""
TEXTS: Final[tuple[str, ...]] = ("goal", "context")
"""What a child is told; no decision sees it."""
FEATURES: Final[tuple[str, ...]] = ("kind", "labels", "needs", "input_tokens")
"""What may be said of a task."""

_KEYS: Final = (*TEXTS, *WISHES, *FEATURES)


class Assignment(Struct, frozen=True):
    """One task.

    Attributes:
        goal: what is to be done.
        context: what has to be known for it; may be empty.
        task: the section ``task`` of its request.
        path: where it stands in the arguments.
        own: what it says itself; the rest is said of all.
    """

    goal: str
    context: str
    task: dict[str, Any]
    path: str = "$"
    own: frozenset[str] = frozenset()


class Arguments(Struct, frozen=True):
    """A whole call.

    Attributes:
        call: the section ``call`` of every request.
        assignments: the tasks, in order.
    """

    call: dict[str, Any]
    assignments: tuple[Assignment, ...]


def arguments_of(content: Mapping[str, Any] | str | bytes) -> Arguments:
    """Read the arguments of a call.

    Args:
        content: the arguments, or their JSON. What is null counts as not given.

    Returns:
        The tasks, each with what the whole call says of all.

    Raises:
        RequestError: they are malformed, or there is nothing to do.
    """
    given = _given(_decoded(content), "$", (*_KEYS, "tasks"))
    wishes = {key: given[key] for key in WISHES if key in given}
    shared = {key: given[key] for key in FEATURES if key in given}
    tasks = given.get("tasks", ())
    if not isinstance(tasks, list | tuple):
        raise RequestError("$.tasks", "a list of tasks is wanted")
    if not tasks:
        return Arguments(wishes, (_single(given, shared),))
    around = "\n\n".join(part for part in (_whole(given), given.get("context", "")) if part)
    items = [_item(item, place, around, shared) for place, item in enumerate(tasks)]
    size = {"batch_size": len(items)}
    numbered = [
        msgspec.structs.replace(item, task={**item.task, "index": place, **size})
        for place, item in enumerate(items)
    ]
    return Arguments(wishes, tuple(numbered))


def _decoded(content: Mapping[str, Any] | str | bytes) -> Any:
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    if not isinstance(content, bytes):
        return content
    if len(content) > MAX_BYTES:
        raise RequestError("$", f"the arguments are longer than {MAX_BYTES:,} bytes")
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise RequestError("$", "the arguments are not JSON") from None


def _given(content: Any, path: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Return what is given of known keys."""
    if not isinstance(content, Mapping):
        raise RequestError(path, "a mapping is wanted")
    for key in content:
        if key not in known:
            remedy = did_you_mean(str(key), known) or f"known: {', '.join(known)}"
            where = json_path(str(key), base=path)
            raise RequestError(where, f"unknown key {quote(str(key))}", remedy)
    given = {key: value for key, value in content.items() if value is not None}
    for key in TEXTS:
        _check_text(given.get(key, ""), json_path(key, base=path))
    return given


def _check_text(text: Any, path: str) -> None:
    if not isinstance(text, str):
        raise RequestError(path, "a string is wanted")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise RequestError(path, "the string is not valid Unicode")


def _single(given: Mapping[str, Any], task: dict[str, Any]) -> Assignment:
    goal = given.get("goal", "")
    if not goal.strip():
        raise RequestError("$.goal", "there is nothing to do", "give a `goal`, or `tasks`")
    return Assignment(goal, given.get("context", ""), task)


def _whole(given: Mapping[str, Any]) -> str:
    goal = given.get("goal", "").strip()
    return f"This task is one part of a whole: {goal}" if goal else ""


def _item(item: Any, place: int, around: str, shared: dict[str, Any]) -> Assignment:
    """Return one task of a batch; what it says itself goes before what is said of all."""
    path = json_path("tasks", place)
    given = _given(item, path, _KEYS)
    goal = given.get("goal", "")
    if not goal.strip():
        raise RequestError(json_path("goal", base=path), "there is nothing to do", "give a `goal`")
    own = {key: given[key] for key in (*WISHES, *FEATURES) if key in given}
    context = "\n\n".join(part for part in (around, given.get("context", "")) if part)
    return Assignment(goal, context, {**shared, **own}, path, frozenset(own))


def at_place(problem: RequestError, assignment: Assignment) -> RequestError:
    """Return a problem of a task's request, placed where its arguments have it."""
    section, _, rest = problem.path.removeprefix("$.").partition(".")
    if section not in {"call", "task"} or not rest:
        return problem
    is_own = section == "task" and rest.partition("[")[0] in assignment.own
    base = assignment.path if is_own else "$"
    return RequestError(f"{base}.{rest}", problem.reason, problem.help)
