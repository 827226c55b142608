"""Compares the model that a provider says it served with the target's."""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import replace

from policy_router.calls.attempts import Finished
from policy_router.calls.child_task import ChildTask, EventKind, Reply
from policy_router.calls.endpoints import entry_of
from policy_router.calls.failures import Failure
from policy_router.calls.notifications import LOGGER, tell
from policy_router.decision.record import Target
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.errors import ProviderError

_VERSION_OF_MODEL: Final = re.compile(
    r"[-@:](latest|\d{4}-\d{2}-\d{2}|\d{8}|\d{6}|\d{4}|\d{2}-\d{4}|\d{2}-\d{2})$"
)
_MOVING: Final = frozenset({"", "latest"})
"""The versions that stand for whichever is the newest."""


def is_same_model(routed: str, served: str) -> bool:
    """Tell whether a provider served what was routed to it, as far as names can tell.

    Case makes no difference; nor does a vendor before a slash, or a date or ``latest`` at the end,
    that only one of the names has.
    """
    (vendor, name, version), (its_vendor, its_name, its_version) = map(_parts, (routed, served))
    longer, shorter = sorted((vendor, its_vendor), key=len, reverse=True)
    return (
        name == its_name
        and (not shorter or f"/{longer}".endswith(f"/{shorter}"))
        and (version == its_version or version in _MOVING or not its_version)
    )


def is_served(policy: Policy, target: Target, served: str) -> bool:
    """Tell whether a provider served a target: its model, or an id that its entry ``serves``."""
    entry = entry_of(policy, target)
    names = (target.model, *(entry.serves if entry else ()))
    return any(is_same_model(name, served) for name in names)


def _parts(model: str) -> tuple[str, str, str]:
    """Return the vendor, the name and the version in a model's id; empty where there is none."""
    vendor, _, name = model.casefold().rpartition("/")
    found = _VERSION_OF_MODEL.search(name)
    return (vendor, name[: found.start()], found[1]) if found else (vendor, name, "")


def concluded(policy: Policy, made: Finished, task: ChildTask) -> Reply:
    """Return the answer that the attempts ended with, or raise what it ended with."""
    last = made.last
    if isinstance(last, Failure):
        where = made.target.provider or "no provider"
        reason = printable(f"{last.message} ({made.target.model} at {where})")
        raise ProviderError(
            last.code,
            reason,
            decision_id=task.decision_id,
            attempts=made.attempts,
            partial=last.partial,
        )
    served, routed = last.served_model, made.target.model
    warnings = last.warnings
    if served is not None and not is_served(policy, made.target, served):
        message = f"{printable(served)} was served in place of {printable(routed)}"
        tell(task, EventKind.MODEL_MISMATCH, message, made.target, served_model=served)
        LOGGER.warning("decision %s task %d: %s", task.decision_id, task.index, message)
        warnings = (*warnings, message)
    return replace(last, ran=made.target, attempts=made.attempts, warnings=warnings)
