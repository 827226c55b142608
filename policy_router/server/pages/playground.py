"""The playground: rules and a request on one side, what they come to on the other.

Nothing of it is stored. The case that a link holds is in the fragment of its address, which a
browser never sends.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec

from policy_router.analysis.drafting import suite_of
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.errors import RequestError
from policy_router.files.clock import Clock
from policy_router.files.loader import data_folder
from policy_router.server.active import Active
from policy_router.server.asking import Answer, Asked
from policy_router.server.auditing import Auditors
from policy_router.server.helpers import StayingHelper
from policy_router.server.pages.one_decision import plain_steps
from policy_router.server.pages.reader import Frame
from policy_router.server.pages.rendering import plain
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

_FIELDS: Final = ("policy", "request", "now", "why_not")
_EXAMPLES: Final = ("hermes", "canary", "data-residency", "team-budget", "three-teams")
_REQUEST: Final = '{"task": {"kind": "coding"}}'
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")


class Playground:
    """Shows what rules come to."""

    def __init__(
        self,
        frame: Frame,
        active: Active,
        staying: StayingHelper,
        auditors: Auditors,
        clock: Clock,
    ) -> None:
        """Keep what it needs.

        Args:
            frame: is around it.
            active: the policy that decides, for who brings none.
            staying: checks and decides.
            auditors: explain what the live policy decides.
            clock: tells the time.
        """
        self._frame, self._active, self._staying = frame, active, staying
        self._auditors, self._clock = auditors, clock

    async def show(self, asked: Asked) -> Answer:
        """Show the service's own rules, or an example, and what they come to."""
        name = asked.options("example").get("example", "")
        if name in _EXAMPLES:
            policy, request = example(name)
        else:
            policy, request = self._own(), _REQUEST
        fields = {"policy": policy, "request": request, "now": "", "why_not": ""}
        return await self._page(asked, fields, name)

    async def submitted(self, asked: Asked) -> Answer:
        """Show what a browser without scripts sends, and what it comes to."""
        return await self._page(asked, self._fields(asked), "")

    async def tried(self, asked: Asked) -> Answer:
        """Return what rules come to, for an editor: what is wrong with them, and the decision."""
        fields = self._fields(asked)
        report = await self._report(fields)
        html = self._frame.templates.text("playground_result.html", _values(report, fields))
        return plain({"diagnostics": report.get("diagnostics", []), "html": html})

    async def place(self, asked: Asked) -> Answer:
        """Return what may stand at a place of the rules, and what stands there."""
        fields = self._frame.form(asked)
        line, column = fields.get("line", ""), fields.get("column", "")
        if not (_NUMBER.fullmatch(line) and _NUMBER.fullmatch(column)):
            raise Problem(400, "bad_form", "expected a line and a column", path="line")
        task = Task("place", text=fields.get("policy", ""), line=int(line), column=int(column))
        return plain(await self._staying.report(task))

    async def _page(self, asked: Asked, fields: dict[str, str], name: str) -> Answer:
        report = await self._report(fields)
        return await self._frame.page(
            asked,
            "playground",
            "playground",
            **_values(report, fields),
            examples=_EXAMPLES,
            example=name,
            is_own=not name and fields["policy"] == self._own(),
            has_many_files=len(self._active.policy.sources) > 1,
        )

    async def _report(self, fields: dict[str, str]) -> dict[str, Any]:
        if not fields["policy"].strip():
            return await self._by_live(fields)
        task = Task(
            "try",
            text=fields["policy"],
            request=fields["request"],
            now=fields["now"].strip(),
            why_not=fields["why_not"] or None,
        )
        report: dict[str, Any] = await self._staying.report(task)
        return report

    async def _by_live(self, fields: dict[str, str]) -> dict[str, Any]:
        """Decide by the policy that is live, whose rules need not be one file."""
        policy = self._active.policy
        report = {"name": policy.name, "revision": policy.revision, "diagnostics": []}
        try:
            request = Request.from_json(fields["request"] or "{}")
            record = decide(policy, request, now=fields["now"].strip() or self._clock())
            why_not = fields["why_not"] or None
            explained = await self._auditors.explanation(record, why_not=why_not, full=True)
        except RequestError as problem:
            return {**report, "problem": str(problem)}
        return {
            **report,
            "explanation": {**explained, "record": record},
            "test": suite_of([record]),
        }

    def _fields(self, asked: Asked) -> dict[str, str]:
        given = self._frame.form(asked)
        for name in given:
            if name not in _FIELDS:
                raise Problem(400, "bad_form", "there is no such field", path=name)
        fields = {name: given.get(name, "") for name in _FIELDS}
        # A browser sends line ends as forms have them, and places count characters.
        return {name: value.replace("\r\n", "\n") for name, value in fields.items()}

    def _own(self) -> str:
        """Return the rules of the service, where they are one file; secrets are blank in it."""
        sources = self._active.policy.sources
        return sources[0].blanked() if len(sources) == 1 else ""


def _values(report: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    """Return what the templates print of a report."""
    explained = report.get("explanation")
    record = None if explained is None else _record_of(explained["record"])
    return {
        "fields": fields,
        "report": {"problem": "", "test": "", "name": "", "diagnostics": [], **report},
        "record": record,
        "explained": {"entries": (), "why_not": None, "text": "", **(explained or {})},
        "steps": [] if record is None else (explained or {}).get("steps") or [*plain_steps(record)],
    }


def _record_of(record: Any) -> DecisionRecord:
    if isinstance(record, DecisionRecord):
        return record
    return DecisionRecord.from_json(msgspec.json.encode(record))


@cache
def example(name: str) -> tuple[str, str]:
    """Return the rules of a shipped example, and its first request.

    Args:
        name: of the example.
    """
    folder = data_folder("rules") / "examples"
    rules = folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    requests = msgspec.json.decode(folder.joinpath(f"{name}.requests.json").read_bytes())
    first = requests[0] if isinstance(requests, list) else requests
    return rules, msgspec.json.format(msgspec.json.encode(first), indent=2).decode()
