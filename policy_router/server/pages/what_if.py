"""The page of the question what if: another policy over decisions that were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from policy_router.files.clock import Clock
from policy_router.server.active import Active
from policy_router.server.asking import Answer, Asked
from policy_router.server.auditing import time_of
from policy_router.server.helper import Task
from policy_router.server.pages.background import Background
from policy_router.server.pages.policies import Policies
from policy_router.server.pages.reader import Frame
from policy_router.server.pages.rendering import HEADERS, NO_STORE, redirect
from policy_router.server.problems import Problem

_MOST_NAMES: Final = 14
_OTHERS: Final = "(others)"
_DOWNLOAD: Final = b'attachment; filename="what-if.json"'


class WhatIf:
    """Asks what another policy would have decided."""

    def __init__(
        self,
        frame: Frame,
        active: Active,
        background: Background,
        policies: Policies,
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
            log: the folder of the log.
            clock: tells the time.
        """
        self._frame, self._active, self._background = frame, active, background
        self._policies, self._log, self._clock = policies, log, clock

    async def show(self, asked: Asked) -> Answer:
        """Ask for a candidate and a window."""
        asked.options()
        sources = self._active.policy.sources
        text = sources[0].blanked() if len(sources) == 1 else ""
        return await self._form(asked, {"since": "30d", "policy": text})

    async def _form(
        self, asked: Asked, fields: Mapping[str, str], problem: Problem | None = None
    ) -> Answer:
        """Show the form with what stands in it, and what is wrong with it."""
        return await self._frame.page(
            asked,
            "what_if",
            "what-if",
            status=200 if problem is None else problem.status,
            revisions=await self._policies.revisions(),
            text=fields.get("policy", ""),
            problem=problem,
            fields={name: fields.get(name, "") for name in ("since", "until", "revision")},
        )

    async def begin(self, asked: Asked) -> Answer:
        """Begin the work, and lead to its page."""
        fields = self._frame.form(asked)
        since, until = fields.get("since", "").strip(), fields.get("until", "").strip()
        revision = fields.get("revision", "")
        try:
            begin = time_of(since or None, "since", self._clock)
            end = time_of(until or None, "until", self._clock)
        except Problem as problem:
            return await self._form(asked, fields, problem)
        task = Task(
            "what_if",
            0,
            0,
            text="" if revision else fields.get("policy", "").replace("\r\n", "\n"),
            revision=revision,
            log=self._log,
            since=begin,
            until=end,
        )
        window = f"{since or 'the beginning'} to {until or 'now'}"
        title = {"policy": revision[:19] or "the pasted policy", "window": window}
        return redirect(f"/pages/what-if/{self._background.start(task, title)}")

    async def came(self, asked: Asked) -> Answer:
        """Show how far the work has come, or what came out of it."""
        asked.options()
        name, _, what = asked.rest.partition("/")
        work = self._background.find(name)
        if what == "report.json" and work.report is not None:
            headers = (*HEADERS, NO_STORE, (b"content-disposition", _DOWNLOAD))
            return Answer(msgspec.json.encode(work.report), headers=headers)
        if what:
            raise Problem(404, "no_route", "there is nothing at this path")
        matrix = None if work.report is None else _matrix(work.report["matrix"])
        return await self._frame.page(
            asked, "what_if_report", "what-if", work=work, address=asked.rest, matrix=matrix
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
