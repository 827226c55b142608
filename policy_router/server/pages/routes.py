"""The addresses of the pages."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec.structs import replace

from policy_router.files.clock import Clock
from policy_router.server.active import Active
from policy_router.server.asking import FORM, Answer, Asked
from policy_router.server.auditing import Auditors
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.gate import Gate
from policy_router.server.helpers import Helpers, StayingHelper
from policy_router.server.index import Index
from policy_router.server.pages.background import Background
from policy_router.server.pages.decisions import Decisions
from policy_router.server.pages.log_page import LogPage
from policy_router.server.pages.one_decision import OneDecision
from policy_router.server.pages.playground import Playground
from policy_router.server.pages.policies import Policies
from policy_router.server.pages.reader import FIRST, SIGN_IN, Frame, SignIn, nobody
from policy_router.server.pages.rendering import Templates, redirect
from policy_router.server.pages.reports import Reports
from policy_router.server.pages.sessions import Sessions, secret_in
from policy_router.server.pages.what_if import WhatIf
from policy_router.server.problems import Problem
from policy_router.server.routes import Handler, Route, Routes


def page_routes(
    active: Active,
    gate: Gate,
    auditors: Auditors,
    earlier: EarlierDecisions,
    *,
    staying: StayingHelper,
    helpers: Helpers,
    place: str | None,
    shared: Path,
    log: str | None,
    index: Index | None,
    clock: Clock,
    has_tls: bool,
) -> Routes:
    """Return the pages.

    Args:
        active: the policy that decides.
        gate: knows credentials.
        auditors: explain decisions.
        earlier: knows the lines about a decision.
        staying: a helper for what a person waits for.
        helpers: do what takes long.
        place: the rule file or folder of the policy; None where it is a bundle.
        shared: a folder that the workers of a service share.
        log: the folder of the log; None where there is none.
        index: the index of the log; None where there is no log.
        clock: tells the time.
        has_tls: whether the service is reached by TLS alone.
    """
    templates = Templates()
    sessions = Sessions(gate, secret_in(shared), time.time, has_tls=has_tls)
    frame = Frame(templates, sessions, active, index)
    background = Background(helpers, shared)
    policies = Policies(
        *(frame, active, staying, background), place=place, log=log, index=index, clock=clock
    )
    playground = Playground(frame, active, staying, auditors, clock)

    async def static(asked: Asked) -> Answer:
        return templates.file(asked)

    def page(show: Handler, submit: Handler | None = None) -> dict[str, Route]:
        shown = Route(show, "auditor", problem_in=frame.problem, known_by=frame.known_by)
        if submit is None:
            return {"GET": shown}
        return {"GET": shown, "POST": replace(shown, answer=submit, takes=FORM)}

    routes = {
        **_free_routes(frame, SignIn(frame, sessions)),
        "/pages/static/": {"GET": Route(static, None)},
        "/pages/playground": page(playground.show, playground.submitted),
        "/pages/playground/place": page(_leads("/pages/playground"), playground.place),
        "/pages/playground/try": page(_leads("/pages/playground"), playground.tried),
        "/pages/policies": page(policies.show),
        "/pages/policies/": page(policies.one),
        "/pages/policies/test": page(_leads("/pages/policies"), policies.tested),
    }
    if log is None or index is None:
        for name in ("decisions", "what-if", "spend", "compliance", "log"):
            routes[f"/pages/{name}"] = page(_no_log(frame, name), _nothing)
        return routes
    decisions = Decisions(frame, index, clock)
    one = OneDecision(frame, active, auditors, earlier, staying, log=log, index=index, clock=clock)
    what_if = WhatIf(frame, active, background, policies, staying, log=log, clock=clock)
    reports = Reports(frame, background, policies, log=log, index=index, clock=clock)
    log_page = LogPage(frame, background, log=log, index=index)
    return {
        **routes,
        "/pages/decisions": page(decisions.show),
        "/pages/decisions/": page(one.answer),
        "/pages/decisions.csv": page(decisions.as_csv),
        "/pages/decisions.jsonl": page(decisions.as_lines),
        "/pages/what-if": page(what_if.show, what_if.begin),
        "/pages/what-if/": page(what_if.came),
        "/pages/spend": page(reports.spend),
        "/pages/spend.csv": page(reports.spend_csv),
        "/pages/compliance": page(reports.compliance),
        "/pages/log": page(log_page.show, log_page.verify),
    }


def _free_routes(frame: Frame, sign_in: SignIn) -> Routes:
    """Return what needs no session."""

    def free(answer: Handler) -> Route:
        return Route(answer, None, problem_in=frame.problem, known_by=nobody, takes=FORM)

    return {
        "/": {"GET": free(_leads(FIRST))},
        "/pages": {"GET": free(_leads(FIRST))},
        "/pages/": {"GET": free(_nothing)},
        SIGN_IN: {"GET": free(sign_in.show), "POST": free(sign_in.begin)},
        "/pages/sign-out": {"GET": free(_leads(FIRST)), "POST": free(sign_in.end)},
    }


def _leads(place: str) -> Handler:
    """Return what leads to another page: where a form is sent to, a reader may come to as well."""

    async def lead(_asked: Asked) -> Answer:
        return redirect(place)

    return lead


def _no_log(frame: Frame, place: str) -> Handler:
    async def show(asked: Asked) -> Answer:
        return await frame.page(asked, "no_log", place)

    return show


async def _nothing(_asked: Asked) -> Answer:
    raise Problem(404, "no_route", "there is no page at this address")
