"""The page of the question what if: another policy over decisions that were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from policy_router.files.clock import Clock
from policy_router.server.active import Active
from policy_router.server.asking import JSON, Answer, Asked
from policy_router.server.auditing import time_of
from policy_router.server.helpers import StayingHelper
from policy_router.server.pages.background import Background
from policy_router.server.pages.policies import Policies
from policy_router.server.pages.reader import Frame
from policy_router.server.pages.rendering import download, redirect
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

_WINDOW: Final = ("since", "until")
_MOST_NAMES: Final = 14
_NO_RULES: Final = "paste rules, choose a file of them, or take a revision above"
_OTHERS: Final = "(others)"


class WhatIf:
    """Asks what another policy would have decided."""

    def __init__(
        self,
        frame: Frame,
        active: Active,
        background: Background,
        policies: Policies,
        staying: StayingHelper,
        *,
        log: str,
        clock: Clock,
    ) -> None:
        """Keep what the page needs.

        Args:
            frame: is around it.
            active: the policy that decides, which a candidate begins with.
            background: does the work.
            policies: know those that decided.
            staying: checks a candidate.
            log: the folder of the log.
            clock: tells the time.
        """
        self._frame, self._active, self._background = frame, active, background
        self._policies, self._staying, self._log, self._clock = policies, staying, log, clock

    async def show(self, asked: Asked) -> Answer:
        """Ask for a candidate and a window; those of an earlier question stand there already."""
        options = asked.options(*_WINDOW, "revision", "again")
        sources = self._active.policy.sources
        text = sources[0].blanked() if len(sources) == 1 else ""
        fields = {"since": "30d", "policy": text, **options}
        if "again" in options:
            fields = {**self._background.find(options["again"]).title}
        return await self._form(asked, fields)

    async def _form(
        self,
        asked: Asked,
        fields: Mapping[str, str],
        problem: Problem | None = None,
        findings: Sequence[Mapping[str, Any]] = (),
    ) -> Answer:
        """Show the form with what stands in it, and what is wrong with it."""
        return await self._frame.page(
            asked,
            "what_if",
            "what-if",
            status=200 if problem is None else problem.status,
            revisions=await self._policies.revisions(),
            problem=problem,
            findings=findings,
            has_many_files=len(self._active.policy.sources) > 1,
            fields={name: fields.get(name, "") for name in (*_WINDOW, "revision", "policy")},
        )

    async def begin(self, asked: Asked) -> Answer:
        """Begin the work, and lead to its page; what cannot be asked stays in the form."""
        fields = self._frame.form(asked)
        fields |= {name: fields.get(name, "").strip() for name in _WINDOW}
        revision = fields.get("revision", "")
        text = "" if revision else fields.get("policy", "").replace("\r\n", "\n")
        name = revision[:19]
        try:
            since, until = (time_of(fields[it] or None, it, self._clock) for it in _WINDOW)
            if not revision:
                if not text.strip():
                    raise Problem(400, "bad_form", _NO_RULES, path="policy")  # noqa: TRY301
                checked = await self._staying.report(Task("check", text=text))
                if checked["errors"]:
                    return await self._form(asked, fields, findings=checked["diagnostics"])
                name = f"{checked['name']} {checked['revision'][:19]}"
        except Problem as problem:
            return await self._form(asked, fields, problem)
        task = Task(
            "what_if", text=text, revision=revision, log=self._log, since=since, until=until
        )
        window = f"{fields['since'] or 'the beginning'} to {fields['until'] or 'now'}"
        title = {**fields, "policy": text, "name": name, "window": window}
        return redirect(f"/pages/what-if/{self._background.start(task, title)}")

    async def came(self, asked: Asked) -> Answer:
        """Show how far the work has come, or what came out of it."""
        asked.options()
        name, _, what = asked.rest.partition("/")
        work = self._background.find(name)
        if what == "report.json" and work.report is not None:
            return download("what-if.json", JSON, msgspec.json.encode(work.report))
        if what:
            raise Problem(404, "no_route", "there is nothing at this path")
        matrix = None if work.report is None else _matrix(work.report["matrix"])
        return await self._frame.page(
            asked, "what_if_report", "what-if", work=work, work_id=name, matrix=matrix
        )


def _matrix(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return rows and columns with the most frequent names, and the rest together."""
    sizes: Counter[str] = Counter()
    for cell in cells:
        for name in {cell["before"], cell["after"]}:
            sizes[name] += cell["count"]
    names = [name for name, _ in sizes.most_common(_MOST_NAMES)]
    counts: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        before, after = (it if it in names else _OTHERS for it in (cell["before"], cell["after"]))
        counts[before, after] += cell["count"]
    rows = [it for it in (*names, _OTHERS) if any(before == it for before, _ in counts)]
    columns = [it for it in (*names, _OTHERS) if any(after == it for _, after in counts)]
    return {
        "columns": columns,
        "rows": [(row, [counts[row, column] for column in columns]) for row in rows],
    }
