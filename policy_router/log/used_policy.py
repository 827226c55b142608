"""What a line says of the policy that a process decides by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from policy_router.domain import Note, Policy

MOST_CHARACTERS: Final = 65_536
"""How much of annotations a line has."""


class RuleFile(Struct, frozen=True):
    """A rule file as it is kept beside the log.

    Attributes:
        name: its name in the folder of the rule files.
        hash: the SHA-256 of what that file holds, in hexadecimal.
    """

    name: str
    hash: str


class Annotation(Struct, frozen=True, omit_defaults=True):
    """What the rule files say of a policy or of a part of it, which changes no decision.

    Attributes:
        part: what it is said of, such as ``pool.large`` or ``forbid.no-west``; the policy itself
            where it is empty.
        owner: whom to ask.
        description: what it is for.
    """

    part: str = ""
    owner: str | None = None
    description: str | None = None


class UsedPolicy(Struct, frozen=True, omit_defaults=True):
    """A policy that a process decides by from here on.

    Attributes:
        name: its name.
        revision: the digest of its canonical form.
        digest: the name of the folder with its rule files.
        files: its rule files, in order, as they are kept: with blanks for secrets.
        origin_commit: the commit that the rule files come from, as the host says.
        loaded_by: who loaded it, as the host says.
        annotations: what the rule files say of it and of its parts, as far as it is short enough
            for a line; the rule files have all of it.
    """

    name: str
    revision: str
    digest: str
    files: tuple[RuleFile, ...] = ()
    origin_commit: str | None = None
    loaded_by: str | None = None
    annotations: tuple[Annotation, ...] = ()


def annotations_of(policy: Policy) -> tuple[Annotation, ...]:
    """Return what the rule files say of a policy and of its parts, from the first on."""
    found, size = list[Annotation](), 0
    for part, note in _notes(policy):
        if note.owner or note.description:
            size += len(part) + len(note.owner or "") + len(note.description or "")
            if size > MOST_CHARACTERS:
                break
            found.append(Annotation(part, note.owner, note.description))
    return tuple(found)


def _notes(policy: Policy) -> Iterator[tuple[str, Note]]:
    yield "", policy.note
    for entry in policy.pool or ():
        yield f"pool.{entry.name}", entry.note
    for forbid in policy.forbid:
        yield f"forbid.{forbid.id}", forbid.note
    for rule in policy.precedence:
        yield f"precedence.{rule.id}", rule.note
    for assertion in policy.assertions:
        yield f"assert.{assertion.id}", assertion.note
