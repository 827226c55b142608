"""The arguments of a ``delegate_task`` call, as a language model writes them, to tasks.

A model sees what is wrong with them, and with which of its tasks, so that it can correct itself.
What could be meant in two ways is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.decision.shape import kind_of
from policy_router.diagnostics.model import did_you_mean, json_path, quote
from policy_router.errors import ArgumentsError, RequestError

MAX_BYTES: Final = 16 * 1024 * 1024
"""The longest arguments in JSON, in bytes."""

WISHES: Final[tuple[str, ...]] = ("model", "provider", "reasoning_effort")
"""What may be wished for, for the whole call and for each task."""
TEXTS: Final[tuple[str, ...]] = ("goal", "context")
"""What a child is told; no decision sees it."""
FEATURES: Final[tuple[str, ...]] = ("kind", "labels", "needs", "input_tokens")
"""What may be said of a task."""

_KEYS: Final = (*TEXTS, *WISHES, *FEATURES)
_LISTS: Final = ("labels", "needs")
_SEND: Final = {
    "$": 'send one JSON object, such as {"goal": "..."}',
    "tasks": 'send a list of objects, such as [{"goal": "..."}]',
    "input_tokens": "send a whole number, or leave it out",
    **dict.fromkeys(_LISTS, 'send a list of strings, such as ["a", "b"], or leave it out'),
    **dict.fromkeys((*WISHES, "kind"), "send one string, or leave it out"),
}
"""What to send instead."""
_FENCE: Final = b"```"
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


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
    """Read the arguments of a call, as models send them.

    What has one reading only is understood: JSON in a string or in a fence, a task without its
    list or as a goal alone, a label without its list, a number in a string. What is null or empty
    counts as not given.

    Args:
        content: the arguments, or their JSON.

    Returns:
        The tasks, each with what the whole call says of all.

    Raises:
        ArgumentsError: they are malformed, or there is nothing to do.
    """
    given = _given(_decoded(content), "$", (*_KEYS, "tasks"))
    wishes = {key: given[key] for key in WISHES if key in given}
    shared = {key: given[key] for key in FEATURES if key in given}
    tasks = _tasks(given.get("tasks"))
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
    """Return what JSON holds, also where it stands in a fence, or in a string of JSON."""
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    if not isinstance(content, bytes):
        return content
    if len(content) > MAX_BYTES:
        raise ArgumentsError("$", f"the arguments are longer than {MAX_BYTES:,} bytes")
    if not content.strip():
        return {}
    try:
        found = msgspec.json.decode(_unfenced(content))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ArgumentsError("$", "the arguments are not JSON", _SEND["$"]) from None
    return found if not isinstance(found, str) else _held(found, dict, found)


def _unfenced(content: bytes) -> bytes:
    """Return what stands between the lines of a fence, or the content where there is none."""
    first, _, rest = content.strip().partition(b"\n")
    language = first.removeprefix(_FENCE).strip()
    is_fenced = first.startswith(_FENCE) and rest.endswith(_FENCE)
    return rest[: -len(_FENCE)] if is_fenced and (not language or language.isalpha()) else content


def _held(text: str, kind: type | UnionType, otherwise: Any) -> Any:
    """Return the list or the mapping whose JSON a text is; where it is none, something else."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return otherwise
    return found if isinstance(found, kind) else otherwise


def _given(content: Any, path: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Return what is given of known keys."""
    if not isinstance(content, Mapping):
        send = _SEND["$"] if path == "$" else _SEND["tasks"]
        raise ArgumentsError(path, f"expected an object, found {kind_of(content)}", send)
    for key in content:
        if key not in known:
            remedy = did_you_mean(str(key), known) or f"known: {', '.join(known)}"
            where = json_path(str(key), base=path)
            raise ArgumentsError(where, f"unknown key {quote(str(key))}", remedy)
    read = {key: _read(key, value, path) for key, value in content.items()}
    return {key: value for key, value in read.items() if value is not None}


def _read(key: str, value: Any, base: str) -> Any:
    """Return a value in the only way in which it can be meant; None where nothing is given."""
    if value is None or key == "tasks":
        return value
    if key in TEXTS:
        if type(value) is not str or not value.isascii():
            _check_text(value, json_path(key, base=base))
        return value
    if isinstance(value, str) and not value.strip():
        return None
    if key in _LISTS and isinstance(value, str):
        return _listed(value, json_path(key, base=base))
    if key == "input_tokens":
        return _whole_number(value)
    return value


def _listed(text: str, path: str) -> list[Any]:
    """Return a list that stands in a text; of one word, it is the only item."""
    found = _held(text, list, None)
    if found is None and set(text) & set("[],;\n"):
        raise ArgumentsError(path, "expected a list of strings, found a string", _SEND["labels"])
    return [text.strip()] if found is None else list(found)


def _whole_number(value: Any) -> Any:
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_text(text: Any, path: str) -> None:
    if not isinstance(text, str):
        reason = f"expected a string, found {kind_of(text)}"
        raise ArgumentsError(path, reason, "send it as one string")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ArgumentsError(path, "the string is not valid Unicode")


def _tasks(content: Any) -> list[Any]:
    """Return tasks, also where the list is JSON in a string, or one task without its list."""
    if isinstance(content, str):
        content = _held(content, list | dict, content) if content.strip() else None
    if content is None or content in ([], (), {}):
        return []
    if isinstance(content, Mapping):
        return [content]
    if not isinstance(content, list | tuple):
        reason = f"expected a list of tasks, found {kind_of(content)}"
        raise ArgumentsError("$.tasks", reason, _SEND["tasks"])
    return [_task(item) for item in content]


def _task(item: Any) -> Any:
    """Return a task, also where it is JSON in a string, or a goal alone."""
    if not isinstance(item, str):
        return item
    return _held(item, dict, {"goal": item})


def _single(given: Mapping[str, Any], task: dict[str, Any]) -> Assignment:
    goal = given.get("goal", "")
    if not goal.strip():
        raise ArgumentsError("$.goal", "there is nothing to do", "send a `goal`, or `tasks`")
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
        raise ArgumentsError(
            json_path("goal", base=path), "there is nothing to do", "send a `goal`"
        )
    own = {key: given[key] for key in (*WISHES, *FEATURES) if key in given}
    context = "\n\n".join(part for part in (around, given.get("context", "")) if part)
    return Assignment(goal, context, {**shared, **own}, path, frozenset(own))


def at_place(problem: RequestError, assignment: Assignment) -> RequestError:
    """Return a problem of a task's request, placed where its arguments have it.

    Returns:
        An :class:`ArgumentsError`; the problem itself where the host's facts are to blame.
    """
    section, _, rest = problem.path.removeprefix("$.").partition(".")
    if section not in {"call", "task"} or not rest:
        return problem
    key = rest.partition("[")[0]
    is_own = section == "task" and key in assignment.own
    base = assignment.path if is_own else "$"
    return ArgumentsError(f"{base}.{rest}", problem.reason, problem.help or _SEND.get(key))
