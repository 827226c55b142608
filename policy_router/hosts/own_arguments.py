"""The arguments that a host's own tool has besides those of ``delegate_task``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from policy_router.errors import RequestError


def split(
    arguments: Mapping[str, Any] | str | bytes, own: Sequence[str]
) -> tuple[Mapping[str, Any] | str | bytes, list[dict[str, Any]]]:
    """Return the arguments without those of the host, and these for each task.

    What a task says itself goes before what is said of all.
    """
    given: Any = arguments
    if isinstance(arguments, str | bytes):
        try:
            given = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise RequestError("$", "the arguments are not JSON") from None
    if not isinstance(given, Mapping):
        return given, [{}]
    shared = {name: given[name] for name in own if name in given}
    asked = {key: value for key, value in given.items() if key not in shared}
    tasks = asked.get("tasks")
    if not isinstance(tasks, list | tuple) or not tasks:
        return asked, [shared]
    kept = [
        {**shared, **{name: task[name] for name in own if name in task}}
        if isinstance(task, Mapping)
        else shared
        for task in tasks
    ]
    asked["tasks"] = [
        {key: value for key, value in task.items() if key not in own}
        if isinstance(task, Mapping)
        else task
        for task in tasks
    ]
    return asked, kept
