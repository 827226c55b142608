"""The addresses of the pages."""

from __future__ import annotations

import time
from pathlib import Path

from policy_router.files.clock import Clock
from policy_router.server.active import Active
from policy_router.server.app import Handler, Route, Routes
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
from policy_router.server.pages.reader import SIGN_IN, Frame, SignIn, nobody
from policy_router.server.pages.rendering import Templates, redirect
from policy_router.server.pages.reports import Reports
from policy_router.server.pages.sessions import Sessions, secret_in
from policy_router.server.pages.what_if import WhatIf
from policy_router.server.problems import Problem


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
    frame = Frame(templates, sessions, active)
    sign_in, decisions = SignIn(frame, sessions), Decisions(frame, index, clock)
    one = OneDecision(frame, active, auditors, earlier, staying, log=log, index=index, clock=clock)

    playground = Playground(frame, active, staying, auditors, clock)

    background = Background(helpers, shared)
    policies = Policies(
        frame,
        active,
        staying,
        background,
        place=place,
        log=log,
        index=index,
        clock=clock,
    )
    what_if = WhatIf(frame, active, background, policies, log=log, clock=clock)
    reports = Reports(frame, background, policies, log=log, index=index, clock=clock)
    log_page = LogPage(frame, background, log=log, index=index)

    async def first(_asked: Asked) -> Answer:
        return redirect("/pages/decisions")

    async def nothing(_asked: Asked) -> Answer:
        raise Problem(404, "no_route", "there is no page at this address")

    async def static(asked: Asked) -> Answer:
        return templates.file(asked)

    def page(answer: Handler, *, takes_form: bool = False) -> dict[str, Route]:
        route = Route(
            answer,
            "auditor",
            problem_in=frame.problem,
            known_by=frame.known_by,
            takes=FORM if takes_form else b"application/json",
        )
        return {"POST": route} if takes_form else {"GET": route}

    def free(answer: Handler) -> Route:
        return Route(answer, None, problem_in=frame.problem, known_by=nobody, takes=FORM)

    return {
        "/": {"GET": free(first)},
        "/pages": {"GET": free(first)},
        "/pages/": {"GET": free(nothing)},
        "/pages/static/": {"GET": Route(static, None)},
        SIGN_IN: {"GET": free(sign_in.show), "POST": free(sign_in.begin)},
        "/pages/sign-out": {"POST": free(sign_in.end)},
        "/pages/decisions": page(decisions.show),
        "/pages/playground": {
            **page(playground.show),
            **page(playground.submitted, takes_form=True),
        },
        "/pages/playground/place": page(playground.place, takes_form=True),
        "/pages/playground/try": page(playground.tried, takes_form=True),
        "/pages/policies": page(policies.show),
        "/pages/policies/": page(policies.one),
        "/pages/policies/test": page(policies.tested, takes_form=True),
        "/pages/what-if": {**page(what_if.show), **page(what_if.begin, takes_form=True)},
        "/pages/what-if/": page(what_if.came),
        "/pages/spend": page(reports.spend),
        "/pages/spend.csv": page(reports.spend_csv),
        "/pages/compliance": page(reports.compliance),
        "/pages/log": {**page(log_page.show), **page(log_page.verify, takes_form=True)},
        "/pages/decisions/": page(one.answer),
        "/pages/decisions.csv": page(decisions.as_csv),
        "/pages/decisions.jsonl": page(decisions.as_lines),
    }
