"""Who is believed: what a request may state, and what its credential or the service says instead.

Nobody is believed without a credential. An agent states what it wishes and what its task is; who
it is, what it runs on and what it may spend come from its credential, or from the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.decision.request import Request
from policy_router.decision.typed import typed_sections
from policy_router.domain import FrozenDict, Policy
from policy_router.errors import RequestError
from policy_router.hosts.pseudonyms import Pseudonyms
from policy_router.server.asking import SESSION, TAGS, Asked, Marks, marks_in
from policy_router.server.budgets import CallerBudgets
from policy_router.server.credentials import Credential
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.problems import NOT_JSON, Problem, fitting, not_json, not_verified

PARENT: Final = b"policy-router-parent"
ALWAYS_STATED: Final = frozenset({"call", "task"})
_NO_MARKS: Final = Marks()


class Stated(Struct):
    """What a body states.

    Attributes:
        sections: the sections of the request, to be completed.
        is_checked: whether they were checked in shape.
    """

    sections: dict[str, Any]
    is_checked: bool


class Trust:
    """Knows what an agent may state, and completes what it states."""

    def __init__(
        self,
        earlier: EarlierDecisions,
        *,
        may_state: tuple[str, ...] = (),
        budgets: CallerBudgets | None = None,
        pseudonyms: Pseudonyms | None = None,
        marks: Marks = _NO_MARKS,
    ) -> None:
        """Keep what tells who is believed.

        Args:
            earlier: knows the decisions of a moment ago.
            may_state: what an agent may state besides ``call`` and ``task``.
            budgets: know what a caller may spend; None: nobody does.
            pseudonyms: stand for the caller and for facts; None: they are named.
            marks: what the log has of decisions of which no header says it.
        """
        self.pseudonyms, self._marks = pseudonyms, marks
        self._may_state, self._earlier, self._budgets = may_state, earlier, budgets
        self._open = ALWAYS_STATED.union(may_state)

    def marks(self, asked: Asked) -> Marks:
        """Return what the log has of decisions besides, as far as it is believed.

        Raises:
            Problem: an agent states it, or no line can have it.
        """
        headers = asked.headers
        if SESSION not in headers and TAGS not in headers:
            return self._marks
        for header, name in ((SESSION, "session"), (TAGS, "tags")):
            if header in headers and not (asked.credential.is_host or name in self._may_state):
                raise not_verified(header.decode(), may_state=self._may_state)
        return marks_in(headers)

    def caller_id(self, sections: Mapping[str, Any], asked: Asked) -> str:
        """Return who a request is of, by what it states and by its credential."""
        caller: Any = asked.credential.caller
        if "caller" in sections:
            stated = sections["caller"]
            caller = stated if self.pseudonyms is None else self.pseudonyms.in_caller(stated)
        return str(caller.get("id", "")) if isinstance(caller, Mapping) else ""

    def stated_in(self, body: bytes) -> Stated:
        """Read what is stated, without the names for which pseudonyms stand.

        Raises:
            Problem: it is not JSON, no mapping, or has a fact that no pseudonym can stand for.
        """
        return self.hidden(_stated_in(body))

    def hidden(self, stated: Stated) -> Stated:
        """Return what is stated, with pseudonyms for the names that they stand for."""
        if self.pseudonyms is None:
            return stated
        with fitting():
            return Stated(self.pseudonyms.in_request(stated.sections), stated.is_checked)

    def request(
        self,
        policy: Policy,
        stated: Stated,
        credential: Credential,
        parent: Mapping[str, Any] | None,
    ) -> Request:
        """Return a request in which everybody states only what they may.

        Args:
            policy: what decides.
            stated: what is stated.
            credential: who states it.
            parent: what the agent itself runs on, where an earlier decision says so.

        Raises:
            Problem: an agent states more.
            RequestError: the request is malformed.
        """
        sections = stated.sections
        if not credential.is_host and not self._open.issuperset(sections):
            self._check_stated(sections)
        if parent is not None:
            sections["parent"] = parent
        if credential.caller and "caller" not in sections:
            sections["caller"] = credential.caller
        if credential.facts:
            sections["facts"] = self._facts(policy, sections.get("facts", {}), credential)
        if self._budgets is not None and "budget" not in sections:
            budget = self._budgets.section(sections.get("caller"))
            if budget is not None:
                sections["budget"] = budget
        if stated.is_checked:
            return Request.of_checked(sections)
        return Request.from_mapping(sections)

    def _facts(self, policy: Policy, stated: Any, credential: Credential) -> FrozenDict:
        """Return the facts of a credential, as far as the policy reads them, and stated ones."""
        known = {name: it for name, it in credential.facts.items() if name in policy.facts}
        if not isinstance(stated, dict):
            raise RequestError("$.facts", "expected a mapping")
        if not credential.is_host and not known.keys().isdisjoint(stated):
            name = next(name for name in stated if name in known)
            raise not_verified(f"$.facts.{name}", may_state=self._may_state)
        return FrozenDict({**known, **stated})

    def _check_stated(self, sections: Mapping[str, Any]) -> None:
        """Refuse what an agent may not state; what nobody knows is left to the request."""
        for section in ("caller", "parent", "budget"):
            if section in sections and section not in self._open:
                raise not_verified(f"$.{section}", may_state=self._may_state)
        if "facts" not in sections or "facts" in self._open:
            return
        facts = sections["facts"]
        for name in facts if isinstance(facts, dict) else ("",):
            if f"facts.{name}" not in self._open:
                raise not_verified(f"$.facts.{name}".rstrip("."), may_state=self._may_state)

    async def parent(
        self, sections: Mapping[str, Any], asked: Asked
    ) -> tuple[str | None, Mapping[str, Any] | None]:
        """Return what the agent itself runs on, by the decision that it names in a header.

        Returns:
            The id of that decision, and the section ``parent``; neither without the header.

        Raises:
            Problem: there is no such decision of this caller.
        """
        header, name = asked.headers.get(PARENT), PARENT.decode()
        if header is None:
            return None, None
        if "parent" in sections:
            detail = "what the agent runs on is stated twice: in the header and in the body"
            raise Problem(400, "stated_twice", detail, path=name)
        parent_id = header.decode("latin-1")
        earlier = await self._earlier.find(parent_id)
        caller = sections.get("caller", asked.credential.caller)
        caller_id = caller.get("id", "") if isinstance(caller, Mapping) else ""
        parent = None if earlier is None or earlier.caller != caller_id else earlier.parent()
        if parent is None:
            detail = "this names no decision of the same caller that selected a target"
            raise Problem(403, "not_verified", detail, path=name)
        return parent_id, parent


def _stated_in(body: bytes) -> Stated:
    """Read a request; what is not plainly good is read slowly, for the sake of its error.

    Raises:
        Problem: it is not JSON, or no mapping.
    """
    typed = typed_sections(body)
    if typed is not None:
        return Stated(dict(typed), is_checked=True)
    try:
        content = msgspec.json.decode(body)
    except NOT_JSON as problem:
        raise not_json(problem) from None
    if not isinstance(content, dict):
        raise Problem(422, "bad_request", "expected a mapping", path="$")
    return Stated(content, is_checked=False)
