"""What every page has: who reads it, its frame, and what is done about a problem."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from msgspec import Struct

from policy_router.errors import LogError
from policy_router.server.active import Active
from policy_router.server.asking import Answer, Asked
from policy_router.server.credentials import Credential
from policy_router.server.index import Index
from policy_router.server.pages.rendering import HEADERS, HTML, NO_STORE, Templates, redirect
from policy_router.server.pages.sessions import Sessions
from policy_router.server.problems import TITLES, Problem
from policy_router.version import VERSION

SIGN_IN: Final = "/pages/sign-in"
FIRST: Final = "/pages/decisions"
_MOST_FIELDS: Final = 100
_UNKNOWN: Final = 401
_PAGE_LEADS: Final = b"hx-redirect"
"""What leads a page elsewhere, of which a part was asked for."""
_UNREAD_BYTES: Final = 1024 * 1024
"""An index that lacks less of its log is as good as complete."""
_COMPLETE_SECONDS: Final = 10.0
"""How long an index that is complete is taken to be so: to look takes some milliseconds."""
_COUNTED: Final = frozenset({"decisions", "policies", "spend", "compliance", "log"})
"""The pages that show what the index counts."""
_NAVIGATION: Final = (
    ("decisions", "Decisions"),
    ("what-if", "What if"),
    ("policies", "Policies"),
    ("playground", "Playground"),
    ("spend", "Spend"),
    ("compliance", "Compliance"),
    ("log", "Log"),
)


class Navigation(Struct, frozen=True):
    """An entry of the list of pages."""

    place: str
    title: str


class Frame:
    """What is around the content of a page."""

    def __init__(
        self, templates: Templates, sessions: Sessions, active: Active, index: Index | None
    ) -> None:
        """Keep what a page is made of.

        Args:
            templates: make it.
            sessions: know who reads.
            active: the policy that decides.
            index: the index of the log; None where there is no log.
        """
        self.templates, self._sessions, self._active = templates, sessions, active
        self._index, self._complete_until = index, 0.0
        self._navigation = tuple(Navigation(*it) for it in _NAVIGATION)

    async def known_by(self, headers: Mapping[bytes, bytes], address: str) -> Credential:
        """Return who reads a page.

        Raises:
            Problem: nobody who has signed in; it leads to the page where one does.
        """
        try:
            return await self._sessions.credential(self._sessions.of(headers))
        except Problem as problem:
            place = f"{SIGN_IN}?next={quote(address, safe='')}".encode("ascii", "ignore")
            leads = (_PAGE_LEADS if b"hx-request" in headers else b"location", place)
            raise Problem(problem.status, problem.code, problem.detail, headers=(leads,)) from None

    async def page(
        self, asked: Asked, name: str, place: str = "", *, status: int = 200, **values: Any
    ) -> Answer:
        """Return a page.

        Args:
            asked: the request.
            name: that of its template.
            place: which entry of the list of pages it is.
            status: the HTTP status.
            values: what the template prints.
        """
        session = self._sessions.of(asked.headers)
        headers = (self._sessions.header(session),) if session.is_new else ()
        frame = {
            "navigation": self._navigation,
            "place": place,
            "indexed": await self._indexed() if place in _COUNTED else None,
            "form_value": self._sessions.for_forms(session),
            "reader": asked.credential.caller.get("id", ""),
            "has_signed_in": session.kind != "nobody",
            "policy_name": self._active.policy.name,
            "policy_revision": self._active.revision,
            "version": VERSION,
        }
        return self.templates.answer(f"{name}.html", {**frame, **values}, *headers, status=status)

    async def _indexed(self) -> int | None:
        """Return how many percent of the log are in the index; None where that is all."""
        if self._index is None or time.monotonic() < self._complete_until:
            return None
        unread, total = await in_thread(self._index.unread)
        if unread >= _UNREAD_BYTES:
            return int(100 * (total - unread) // total)
        self._complete_until = time.monotonic() + _COMPLETE_SECONDS
        return None

    def form(self, asked: Asked) -> dict[str, str]:
        """Return the fields of a form of ours.

        Raises:
            Problem: it is none, or of another session.
        """
        try:
            text = asked.body.decode()
            fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
        except ValueError:
            raise Problem(400, "bad_form", "this is not a form of a page") from None
        value = fields.pop("form_value", "") or asked.headers.get(b"x-form-value", b"").decode(
            "latin-1"
        )
        self._sessions.check_form(self._sessions.of(asked.headers), value)
        return fields

    def problem(self, problem: Problem) -> Answer:
        """Return the page of a problem, or lead to where one signs in."""
        leads = dict(problem.headers) if problem.status == _UNKNOWN else {}
        if b"location" in leads:
            return redirect(leads[b"location"].decode())
        if _PAGE_LEADS in leads:
            return Answer(b"", 204, (*HEADERS, NO_STORE, *problem.headers), HTML)
        values: dict[str, Any] = {"title": TITLES[problem.status], "problem": problem}
        values["navigation"] = self._navigation
        text = self.templates.text("problem.html", values)
        headers = (*HEADERS, NO_STORE, *problem.headers)
        return Answer(text.encode(), problem.status, headers, HTML)


class SignIn:
    """Begins and ends sessions."""

    def __init__(self, frame: Frame, sessions: Sessions) -> None:
        """Keep what it needs."""
        self._frame, self._sessions = frame, sessions

    async def show(self, asked: Asked) -> Answer:
        """Ask for a token."""
        next_ = place_of(asked.options("next").get("next", ""))
        return await self._frame.page(asked, "sign_in", next=next_, problem=None)

    async def begin(self, asked: Asked) -> Answer:
        """Begin a session, and lead to the page that was wanted."""
        fields = self._frame.form(asked)
        next_ = place_of(fields.get("next", ""))
        try:
            session = await self._sessions.signed_in(fields.get("token", "").strip())
        except Problem as problem:
            return await self._frame.page(
                asked, "sign_in", status=problem.status, next=next_, problem=problem
            )
        return redirect(next_, self._sessions.header(session))

    async def end(self, asked: Asked) -> Answer:
        """End a session."""
        self._frame.form(asked)
        return redirect(SIGN_IN, self._sessions.end_header())


async def nobody(_headers: Mapping[bytes, bytes], _address: str) -> Credential:
    """Return who may see what needs no credential."""
    return Credential("", frozenset())


def place_of(address: str) -> str:
    """Return a page of ours; another address is not gone to."""
    is_ours = address.startswith("/pages/") and address.isprintable() and "\\" not in address
    return address if is_ours else FIRST


async def in_thread(ask: Any, *values: Any, **named: Any) -> Any:
    """Ask the index beside what else goes on.

    Raises:
        Problem: it cannot be read, or a cursor is none of its own.
    """
    try:
        return await asyncio.to_thread(ask, *values, **named)
    except LogError as problem:
        detail = f"the log cannot be searched: {problem.reason}"
        help_ = "the index is made again after a start: load the page again in a moment"
        raise Problem(503, "index_unavailable", detail, help=help_) from None
    except ValueError as problem:
        raise Problem(400, "bad_query", str(problem), path="cursor") from None
