"""What macros do with a list, element by element, and values that are bound to a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from policy_router.cel.frame import BUDGET, FAILURE, Failure, Frame, Outcome, Value
from policy_router.cel.operations import ERRORS
from policy_router.cel.texts import EvaluationError

Run: TypeAlias = Callable[[Frame], Any]
"""A planned piece of an expression."""
Items: TypeAlias = tuple[Any, ...]


class Later:
    """A value that is worked out when it is first asked for, and once, its failure included."""

    __slots__ = ("_frame", "_outcome", "_run")

    def __init__(self, run: Callable[[Frame], Value], frame: Frame) -> None:
        """Keep what works it out, and the values that it reads."""
        self._run, self._frame = run, frame
        self._outcome: Outcome | None = None

    def value(self) -> Value:
        """Return the value, or raise the failure that it came to."""
        if self._outcome is None:
            try:
                self._outcome = self._run(self._frame)
            except ERRORS:
                self._outcome = FAILURE
        if isinstance(self._outcome, Failure):
            raise EvaluationError
        return self._outcome


def _search(decisive: bool, items: Items, frame: dict[str, Any], key: str, body: Run) -> Any:  # noqa: FBT001 - read once, in WALKS
    """Look for an element whose outcome decides; a failure matters only where there is none."""
    visited, failure = 0, None
    try:
        for visited, item in enumerate(items, start=1):  # noqa: B007 - read in the end
            frame[key] = item
            try:
                if body(frame) is decisive:
                    return decisive
            except ERRORS as problem:
                failure = problem
    finally:
        frame[BUDGET].spend(visited)
    if failure is not None:
        raise failure
    return not decisive


def _outcomes(items: Items, frame: dict[str, Any], key: str, body: Run) -> list[Any]:
    """Return what the body comes to for each element."""
    found: list[Any] = []
    try:
        for item in items:
            frame[key] = item
            found.append(body(frame))
    finally:
        frame[BUDGET].spend(min(len(found) + 1, len(items)))
    return found


def _map(*walk: Any) -> Items:
    return tuple(_outcomes(*walk))


def _filter(items: Items, *walk: Any) -> Items:
    verdicts = _outcomes(items, *walk)
    return tuple([item for item, verdict in zip(items, verdicts, strict=True) if verdict])


def _exists_one(*walk: Any) -> bool:
    return [*filter(None, _outcomes(*walk))] == [True]


WALKS: Final[Mapping[str, Callable[..., Any]]] = {
    "all": partial(_search, False),  # noqa: FBT003 - it is data
    "exists": partial(_search, True),  # noqa: FBT003 - it is data
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
}
"""The macros by name: each takes the list, a frame to change, the key of the variable, the body."""
