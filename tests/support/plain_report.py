"""The reports of a log in plain Python, to hold the package against: nothing of it is used.

All lines are read at once. What a cost is known by is worked out from the fields of the first
edition alone, so that what newer lines say of it is held against that too.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

Plain: TypeAlias = dict[str, Any]
Table: TypeAlias = dict[tuple[str, ...], Counter[str]]
UNKNOWN = ("no_price", "no_usage", "failed", "mismatch", "never_ended")
_WORST = ("free", "measured", "upper_bound", "estimated", *UNKNOWN)
_NEVER_RUN = ("refused", "not_started", "decided")


class PlainCase:
    """A decision with the ends of its child."""

    def __init__(self, line: Plain, ends: list[Plain], writer: str) -> None:
        self.line, self.ends, self.writer = line, ends, writer
        self.record = line["record"]
        self.decision, self.request = self.record["decision"], self.record["request"]
        self.target = self.decision.get("target")
        self.last = ends[-1]["execution"] if ends else None

    @property
    def costs(self) -> tuple[str, int]:
        """How its cost is known, and nano-dollars."""
        if not self.ends:
            return ("free" if self.target is None else "never_ended"), 0
        each = [cost_of(end["execution"], self.target) for end in self.ends]
        return max((it for it, _ in each), key=_WORST.index), sum(nano for _, nano in each)

    def name(self, target: Plain | None) -> str:
        if target is None:
            return "(refused)"
        where = f"{target['model']} at {target['provider']}"
        entry = target.get("entry")
        return where if entry in {None, target["model"]} else f"{entry} ({where})"

    def value(self, name: str) -> str:
        """What it has under a name that reports group by."""
        last, task, caller = self.last or {}, self.request["task"], self.request.get("caller", {})
        ran = last if last.get("model") else self.target
        simple: dict[str, Callable[[], Any]] = {
            "team": lambda: caller.get("team"),
            "caller": lambda: caller.get("id"),
            "kind": lambda: task.get("kind"),
            "label": lambda: ", ".join(sorted(task.get("labels", []))),
            "month": lambda: self.record["now"][:7],
            "model": lambda: "(refused)" if ran is None else ran["model"],
            "provider": lambda: "(refused)" if ran is None else ran["provider"],
            "entry": lambda: "(refused)" if ran is None else ran.get("entry"),
            "decided": lambda: self.name(self.target),
            "sent": lambda: self.name(last) if last.get("model") else None,
            "served": lambda: last.get("served_model"),
            "code": lambda: self.decision.get("refusal", {}).get("code") or last.get("error"),
            "rule": lambda: (self.decision.get("refusal") or self.decision).get("rule"),
            "writer": lambda: self.writer,
            "outcome": lambda: self.decision["outcome"],
            "session": lambda: self.line.get("session"),
        }
        return simple[name]() or "-"


def cost_of(end: Plain, target: Plain | None) -> tuple[str, int]:
    """How the cost of an end is known, and nano-dollars."""
    if end.get("cost_usd") is not None:
        bound = end.get("cost_status") == "upper_bound"
        return ("upper_bound" if bound else "measured"), round(end["cost_usd"] * 1_000_000_000)
    status, calls = end["status"], end.get("calls", [])
    if status in _NEVER_RUN or ("model" not in end and status != "completed"):
        return "free", 0
    answered = [it for it in calls if it.get("is_sent", True) and it.get("status", 0) < 400]
    if status == "failed" and calls and not answered:
        return "free", 0
    if status != "completed":
        return "failed", 0
    model = end.get("model") or (target or {}).get("model")
    if end.get("served_model") not in {None, model}:
        return "mismatch", 0
    has_tokens = "input_tokens" in end and "output_tokens" in end
    return ("no_price" if has_tokens else "no_usage"), 0


def plain_cases(folder: Path) -> tuple[list[PlainCase], list[Plain]]:
    """Return the decisions, and the ends whose decision is not there."""
    lines: list[tuple[str, Plain]] = []
    for path in sorted(folder.glob("*/*.jsonl")):
        texts = path.read_text(encoding="utf-8").splitlines()
        lines += [(path.parent.name, json.loads(text)) for text in texts]
    ends = defaultdict(list)
    for _, line in lines:
        if line["kind"] == "execution" and "status" in line["execution"]:
            ends[line["id"]].append(line)
    for each in ends.values():
        each.sort(key=lambda it: (it["time"], it["execution"]["status"]))
    cases = []
    for writer, line in lines:
        if line["kind"] == "decision" and line.get("purpose") != "access":
            cases.append(PlainCase(line, ends.pop(line["id"], []), writer))
        elif line["kind"] == "decision":
            ends.pop(line["id"], None)
    return cases, [line for each in ends.values() for line in each]


def plain_total(folder: Path) -> Counter[str]:
    """Return the total that every report has."""
    cases, orphans = plain_cases(folder)
    found: Counter[str] = Counter()
    for case in cases:
        found.update(counts_of(case))
    found["orphans"] = len({it["id"] for it in orphans})
    found["orphan_runs"] = len(orphans)
    usd = (it["execution"].get("cost_usd") or 0.0 for it in orphans)
    found["orphan_nano_usd"] = sum(round(it * 1_000_000_000) for it in usd)
    return found


def counts_of(case: PlainCase) -> Counter[str]:
    status, nano = case.costs
    found = Counter({"decisions": 1, case.decision["outcome"]: 1, status: 1})
    if case.ends:
        made = [it["execution"] for it in case.ends]
        found["ended"], found["runs"] = 1, len(made)
        found["measured_nano_usd"] = nano
        for way in ("input_tokens", "output_tokens"):
            found[way] = sum(it.get(way, 0) for it in made)
        found["denied"] = int(made[-1]["status"] in {"refused", "not_started"})
    return found


def plain_table(cases: list[PlainCase], by: tuple[str, ...]) -> Table:
    """Return what is counted of each group of decisions."""
    found: Table = defaultdict(Counter)
    for case in cases:
        found[tuple(map(case.value, by))].update(counts_of(case))
    return found


def plain_wishes(cases: list[PlainCase]) -> Table:
    """Return what became of each wish."""
    found: Table = defaultdict(Counter)
    for case in cases:
        for level in ("call", "task"):
            asked = case.request.get(level, {})
            wish = {key: asked[key] for key in ("model", "provider") if asked.get(key)}
            if wish:
                became, code = _became(case, level, wish)
                found[" at ".join(wish.values()), code].update({"decisions": 1, became: 1})
    return found


def _became(case: PlainCase, level: str, wish: Plain) -> tuple[str, str]:
    if case.target is None:
        return "refused", case.decision["refusal"]["code"]
    rules = [it["rule"] for it in case.record["steps"] if it["level"] == level]
    for warning in case.decision["warnings"]:
        if warning.get("level") == level and warning["code"] == "level_not_used":
            return "overridden", "level_not_used"
        if warning.get("rule") in rules and warning.get("requested") == wish:
            return "overridden", warning["code"]
    return "granted", "-"


def plain_parts(cases: list[PlainCase]) -> Table:
    """Return what rules, forbid rules and entries did, each once a decision."""
    found: Table = defaultdict(Counter)
    for case in cases:
        for part, name, what in {*_did(case)}:
            found[part, name][what] += 1
    return found


def _did(case: PlainCase) -> Iterator[tuple[str, str, str]]:
    did = {"selected": "selected", "violated": "rejected", "error": "rejected"}
    for step in case.record["steps"]:
        yield "rule", step["rule"], did.get(step["result"], "passed")
        for it in step.get("candidates", []):
            if it["verdict"] != "selected" and "entry" in it:
                yield "entry", it["entry"], "rejected"
            if "forbid" in it:
                yield "forbid", it["forbid"], "rejected"
    for warning in case.decision["warnings"]:
        if "forbid" in warning:
            is_trial = warning["code"] == "would_forbid"
            yield "forbid", warning["forbid"], "warned" if is_trial else "rejected"
    selected = (case.target or {}).get("entry")
    if selected:
        yield "entry", selected, "selected"
    planned = {it.get("entry") for it in case.decision.get("fallbacks", [])}
    for end in case.ends:
        entry = end["execution"].get("entry")
        if entry and entry != selected:
            yield "entry", entry, "fallback" if entry in planned else "outside"
