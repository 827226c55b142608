"""Selects the findings that are reported, with their severity and place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic
from policy_router.parameters import EFFORT
from policy_router.policy.ignoring import without_ignored
from policy_router.policy.yaml import Document


def settled(
    found: list[Diagnostic], documents: Sequence[Document], *, stored: bool
) -> Iterable[Diagnostic]:
    """Return what is reported of everything that was found.

    Args:
        found: the findings.
        documents: the files that could be read.
        stored: whether they are a canonical form, which was good when it was written.
    """
    if stored:
        found = [_as_of_old(item) for item in found]
    kept = without_ignored(_without_sequels(found), [it.source for it in documents])
    return map(_at_its_place(documents), kept)


def _at_its_place(documents: Sequence[Document]) -> Callable[[Diagnostic], Diagnostic]:
    """Return what gives a finding the YAML path at which its value was written."""
    moved = {
        (document.source.name, path): written
        for document in documents
        for path, written in document.moved.items()
    }

    def placed(item: Diagnostic) -> Diagnostic:
        written = moved.get((item.span.source.name, item.path)) if moved else None
        return replace(item, path=written) if written else item

    return placed


def _as_of_old(item: Diagnostic) -> Diagnostic:
    """Return a finding about a stored policy: what can be read all the same is a warning.

    Those are the findings of codes that are new, about the policy as a whole, and about its
    parameters. A key, a word or a condition that cannot be read stays an error: it would not hold.
    """
    whole = item.code > Code.BAD_LITERAL and item.code is not Code.UNKNOWN_PROFILE
    value = item.code in {Code.WRONG_TYPE, Code.BAD_VALUE} and _PARAMETER.search(item.path)
    return replace(item, severity=Severity.WARNING) if whole or value else item


_PARAMETER = re.compile(rf"\.(?:parameters|limits|{EFFORT})\b")


def _without_sequels(found: list[Diagnostic]) -> list[Diagnostic]:
    """Leave out what only follows from an earlier problem at the same value.

    A value that cannot be read or has the wrong shape is reported as that, not once more as a bad
    condition or reference. A secret is always reported.
    """
    first: dict[tuple[str, str], str] = {}
    for item in found:
        if item.severity is Severity.ERROR and item.code is not Code.DUPLICATE_KEY:
            place = (item.span.source.name, item.path)
            first[place] = min(first.get(place, item.code), item.code)

    def follows(item: Diagnostic) -> bool:
        cause = first.get((item.span.source.name, item.path), item.code)
        own = {item.code, cause} & {Code.DUPLICATE_KEY, Code.INLINE_SECRET}
        return item.code[:3] > cause[:3] and not own

    return [item for item in found if not follows(item)]
