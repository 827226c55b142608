"""A log of three months, as several teams would write it, with planted faults.

``python -m benchmarks.audit_log DEST`` makes one in seconds, and prints what is planted in it as
JSON. The log's own writing code makes the lines, so chains, heads and policies are as always; only
the time is not the clock's. The same seed gives the same log.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from policy_router import Policy, decide, loads
from policy_router.calls.costs import cost
from policy_router.decision.record import Target
from policy_router.log.entry import ACCESS, Call, Close, Execution, Kind, microseconds
from policy_router.log.folder import LogFolder
from policy_router.log.policies import PolicyStore, used_policy
from policy_router.log.write.chain import Chain, Limits
from policy_router.log.write.drafts import Draft

BEGIN: Final = datetime.datetime(2026, 8, 1, tzinfo=datetime.UTC)
DAYS: Final = 92
"""August, September and October."""
CHANGE: Final = datetime.datetime(2026, 9, 15, 9, tzinfo=datetime.UTC)
"""When the first writer decides by the second revision; each other one follows a while later."""
WRITERS: Final = ("w1", "w2", "w3")
_LATER: Final = {"w1": 0, "w2": 7 * 60, "w3": 25 * 60}
_TEAMS: Final = ("research", "support", "sales", "legal")
_KINDS: Final = ("coding", "chat", "extraction", "analysis")
_TEMPLATES: Final = 2_000
_AGENTS: Final = 400
_CHILDREN: Final = 0.25
_RECENT: Final = 64
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_NOW: Final = "2026-08-01T00:00:00Z"
_LIMITS: Final = Limits(64 << 20, 86_400.0)
_ENCODE: Final = msgspec.json.Encoder(order="sorted").encode

POLICY: Final = """\
version: 1
name: company
owner: platform@example.com
description: Which models the agents of the company run on.
model: chat-4
provider: cloud-us
kinds: [chat, coding, extraction, analysis]
teams: [research, support, sales, legal]
labels: [pii, internal, public]
facts:
  region: {type: string, default: eu}
providers:
  cloud-us: {base_url: https://us.llm.example.com/v1, api_key: env:US_API_KEY}
  cloud-eu: {base_url: https://eu.llm.example.com/v1, api_key: env:EU_API_KEY}
  on-site:  {base_url: https://llm.internal.example.com/v1}
variables:
  personal: '"pii" in task.labels'
  is_low: has(budget.remaining_usd) && budget.remaining_usd < 5.0
pool:
  - name: chat
    model: chat-4
    price: {input: 1.0, output: 4.0}
    fallback: [chat-eu]
  - name: chat-eu
    model: chat-4
    provider: cloud-eu
    price: {input: 1.1, output: 4.4}
    pick: variables.personal && task.kind != "extraction"
  - name: coder
    model: code-4
    price: {input: 2.0, output: 8.0, cache_read: 0.5}
    pick: task.kind == "coding"
    fallback: [chat]
  - name: frontier
    model: frontier-1
    owner: research@example.com
    description: The dearest model, for long analysis.
    price: {input: 10.0, output: 40.0}
    allow: caller.team == "research" || caller.team == "legal"
    pick: task.kind == "analysis" && caller.team == "research"
    fallback: [chat]
  - name: home
    model: open-model
    provider: on-site
    pick: variables.personal && task.kind == "extraction"
  - name: archive
    model: chat-3
    price: {input: 3.0, output: 9.0}
    allow: caller.team == "legal" && parent.depth > 5
CANARY
forbid:
  - id: personal-data-stays
    owner: privacy@example.com
    when: variables.personal && target.provider == "cloud-us"
    message: Personal data is not sent to providers outside the EU.
  - id: legal-stays-in-the-eu
    when: caller.team == "legal" && target.provider == "on-site"
    message: Work of the lawyers is not done on site.
  - id: budget-spent
    when: variables.is_low && target.name == "frontier"
    message: With so little money left, the dearest model is not used.
precedence:
  - {use: call, on_violation: reject}
  - {use: task, on_violation: WISHES}
  - {use: pool}
  - {id: personal-default, use: pool, entry: chat-eu, when: variables.personal}
  - {use: config}
"""
_CANARY: Final = """\
  - name: chat-next
    model: chat-5
    price: {input: 1.2, output: 5.0}
    allow: '!variables.personal'
    pick: task.kind == "chat" && bucket("chat-5", caller.id) < 20
    fallback: [chat]
"""


def policies() -> tuple[Policy, Policy]:
    """Return the two revisions: the second one has a canary, and goes on after wishes that fail."""
    first = POLICY.replace("CANARY\n", "").replace("WISHES", "reject")
    second = POLICY.replace("CANARY\n", _CANARY).replace("WISHES", "next")
    return loads(first, name="company.yaml"), loads(second, name="company.yaml")


class Planted(Struct):
    """What is planted in a log.

    Attributes:
        decisions: how many decisions there are.
        lines: how many lines.
        end: the time of the last line, in microseconds since 1970.
        faults: the ids by the kind of fault, and by its rule or field.
        costs: how many ends there are by how their cost is known.
        billionths: what all ends cost, in billionths of a US dollar.
    """

    decisions: int = 0
    lines: int = 0
    end: int = 0
    faults: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    costs: Counter[str] = field(default_factory=Counter)
    billionths: int = 0

    def note(self, kind: str, what: str, decision_id: str) -> None:
        """Note a fault."""
        self.faults.setdefault(kind, {}).setdefault(what, []).append(decision_id)


class _Template(Struct, frozen=True, gc=False):
    """A decision but for its time.

    Attributes:
        before: its record, as JSON, up to the time.
        after: the record behind the time.
        caller: who asks.
        plan: what it may run on, in order; empty for a refusal.
        request: what was decided.
    """

    before: bytes
    after: bytes
    caller: Raw
    plan: tuple[Target, ...]
    request: dict[str, Any]

    def record(self, now: str) -> Raw:
        """Return the record of a time."""
        return Raw(b'%s"now":"%s"%s' % (self.before, now.encode(), self.after))


def _template(policy: Policy, request: dict[str, Any]) -> _Template:
    record = decide(policy, request, now=_NOW)
    before, after = record.to_json().split(b'"now":"%s"' % _NOW.encode())
    target = record.decision.target
    plan = () if isinstance(target, UnsetType) else (target, *(record.decision.fallbacks or ()))
    return _Template(before, after, Raw(_ENCODE(request["caller"])), plan, request)


def _request(chance: random.Random) -> dict[str, Any]:
    """Return what an agent may ask."""
    team, number = chance.choice(_TEAMS), chance.randrange(_AGENTS)
    task: dict[str, Any] = {
        "kind": chance.choice(_KINDS),
        "labels": sorted(
            {"pii": 1, "internal": 2}.keys()
            if chance.random() < 0.1  # noqa: PLR2004 - a share
            else [chance.choice(("internal", "public"))]
        ),
        "input_tokens": chance.randrange(100, 20_000),
    }
    if chance.random() < 0.15:  # noqa: PLR2004 - a share
        task["model"] = chance.choice(("frontier", "coder", "chat", "gpt-unknown"))
    request: dict[str, Any] = {"task": task, "caller": {"id": f"agent-{number}", "team": team}}
    if chance.random() < 0.3:  # noqa: PLR2004 - a share
        request["budget"] = {"remaining_usd": round(chance.uniform(1, 50), 2)}
    request["parent"] = {"model": "chat-4", "provider": "cloud-us", "depth": 0}
    return request


class _Maker:
    """Makes the events of the log, day by day.

    Attributes:
        planted: what is planted so far.
    """

    def __init__(self, decisions: int, seed: int, faults: int) -> None:
        self.chance, self.planted = random.Random(seed), Planted()  # noqa: S311 - no secret
        self.both = policies()
        self._templates = tuple(self._made(policy) for policy in self.both)
        self._decisions, self._numbered = decisions, 0
        self._recent: list[tuple[str, str, int]] = []
        self._usual = [it for it in _FAULTS if it not in _RARE] * faults
        self._at = self._places()

    def _made(self, policy: Policy) -> list[_Template]:
        count = min(_TEMPLATES, max(50, self.chance.randrange(_TEMPLATES, _TEMPLATES + 1)))
        return [_template(policy, _request(self.chance)) for _ in range(count)]

    def _places(self) -> dict[int, str]:
        """Return which decisions have a fault: none at the very end, which may yet go on."""
        names = self._usual + list(_RARE)
        last = max(self._decisions - self._decisions // 20, len(names))
        return dict(zip(self.chance.sample(range(last), len(names)), names, strict=True))

    def new_id(self, time: int) -> str:
        """Return a UUID of version 7 of a time."""
        digits = f"{time // 1000:012x}7{self.chance.getrandbits(12):03x}8"
        digits += f"{self.chance.getrandbits(60):015x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def day(self, day: int) -> Iterator[tuple[str, Draft]]:
        """Yield the lines of the decisions of a day with their writers, in no order."""
        first = self._decisions * day // DAYS
        last = self._decisions * (day + 1) // DAYS
        start = microseconds(BEGIN) + day * _DAY
        for number in range(first, last):
            step = _DAY // max(1, last - first)
            time = start + (number - first) * step + self.chance.randrange(max(1, step))
            yield from self.one(number, time)

    def one(self, number: int, time: int) -> Iterator[tuple[str, Draft]]:
        """Yield the lines of one decision."""
        writer = self.chance.choice(WRITERS)
        is_new = time >= microseconds(CHANGE) + _LATER[writer] * _SECOND
        fault = self._at.get(number)
        template = self._chosen(self._templates[is_new], fault)
        decision_id, parent, root = self._placed(time, fault)
        self.planted.decisions += 1
        is_asked = template.plan and fault is None and self.chance.random() < 0.005  # noqa: PLR2004
        yield (
            writer,
            Draft(
                Kind.DECISION,
                time,
                decision_id,
                UNSET if parent is None else parent,
                template.caller,
                template.record(_spelt(time)),
                root=root,
                session=f"s-{root[:8]}",
                tags=(f"project:{'ab'[number % 2]}",) if number % 3 else UNSET,
                purpose=ACCESS if is_asked else UNSET,
                policy=self.both[is_new],
            ),
        )
        if template.plan and not is_asked:
            made = _Run(self, self.both[is_new], template, decision_id, time)
            for moment, execution in made.events(fault):
                where = self.chance.choice(WRITERS) if self.chance.random() < 0.02 else writer  # noqa: PLR2004
                yield where, self.line(decision_id, template.caller, moment, execution)
        if fault == "no_decision":
            yield writer, self._orphan(time, template)

    def line(self, decision_id: str, caller: Raw, time: int, execution: Execution) -> Draft:
        """Return the line of an event."""
        if execution.status is not None:
            self.planted.costs[str(execution.cost_status)] += 1
            self.planted.billionths += round((execution.cost_usd or 0.0) * 1e9)
        return Draft(
            Kind.EXECUTION, time, decision_id, caller=caller, execution=Raw(_ENCODE(execution))
        )

    def _orphan(self, time: int, template: _Template) -> Draft:
        """Return the end of a child whose decision is not there."""
        nobody = self.new_id(time)
        self.planted.note("no_decision", "id", nobody)
        end = Execution("finished", status="completed", cost_status="no_usage")
        return self.line(nobody, template.caller, time + _SECOND, end)

    def _placed(self, time: int, fault: str | None) -> tuple[str, str | None, str]:
        """Return the id of a decision, that of the one above it, and that of its tree's first."""
        decision_id = self.new_id(time)
        if fault == "no_parent":
            nobody = self.new_id(time - 5 * _SECOND)
            self.planted.note("no_parent", "parent", decision_id)
            return decision_id, nobody, nobody
        parent, root, depth = None, decision_id, 0
        if self._recent and self.chance.random() < _CHILDREN:
            parent, root, depth = self.chance.choice(self._recent)
        if depth < 4:  # noqa: PLR2004 - so deep are trees
            self._recent.append((decision_id, root, depth + 1))
            del self._recent[:-_RECENT]
        return decision_id, parent, root

    def _chosen(self, known: Sequence[_Template], fault: str | None) -> _Template:
        """Return a decision, at which a fault can be planted."""
        while True:
            template = self.chance.choice(known)
            if fault is None or (template.plan and _fits(template, fault)):
                return template


_FAULTS: Final = (
    "outside_plan",
    "forbidden:personal-data-stays",
    "forbidden:legal-stays-in-the-eu",
    "forbidden:budget-spent",
    "no_decision",
    "never_ended",
    "never_begun",
    "ended_twice",
    "other_model",
    "unexplained_cost",
    "no_parent",
    "before_decision",
)
_RARE: Final = ("second_call_outside",)
"""A fault that is there once, whatever the number of the others."""


def _fits(template: _Template, fault: str) -> bool:
    """Tell whether a fault can be planted at a decision, and no other one is with it."""
    first, request = template.plan[0], template.request
    labels, team = request["task"]["labels"], request["caller"]["team"]
    is_usual = first.entry in {"chat", "coder"} and team != "legal" and "pii" not in labels
    if fault == "forbidden:personal-data-stays":
        return "pii" in labels
    if fault == "forbidden:legal-stays-in-the-eu":
        return team == "legal" and "pii" not in labels
    if fault == "forbidden:budget-spent":
        money = request.get("budget", {}).get("remaining_usd", 99.0)
        return is_usual and money < 5.0  # noqa: PLR2004 - as the rule says
    return is_usual


_OUTSIDE: Final = Target("chat-4", "cloud-eu", {}, "chat-eu")
_AT_HOME: Final = Target("open-model", "on-site", {}, "home")
_DEAREST: Final = Target("frontier-1", "cloud-us", {}, "frontier")
_RUNS_ON: Final = {
    "forbidden:personal-data-stays": Target("chat-4", "cloud-us", {}, "chat"),
    "forbidden:legal-stays-in-the-eu": _AT_HOME,
    "forbidden:budget-spent": _DEAREST,
    "outside_plan": _AT_HOME,
    "second_call_outside": _AT_HOME,
}


class _Run:
    """What happens to the child of a decision."""

    def __init__(
        self, maker: _Maker, policy: Policy, template: _Template, decision_id: str, time: int
    ) -> None:
        self.maker, self.policy, self.template = maker, policy, template
        self.decision_id, self.time, self.chance = decision_id, time, maker.chance

    def events(self, fault: str | None) -> Iterator[tuple[int, Execution]]:
        """Yield its events, with their times."""
        begins = self.time + self.chance.randrange(1_000, 50_000)
        first = self.template.plan[0]
        if fault == "never_begun":
            self.maker.planted.note("never_ended", "no event", self.decision_id)
            return
        if fault == "before_decision":
            self.maker.planted.note("before_decision", "time", self.decision_id)
            begins = self.time - 2_000
        yield begins, Execution("started", provider=first.provider, model=first.model)
        if fault == "never_ended":
            self.maker.planted.note("never_ended", "no end", self.decision_id)
            return
        end = self._end(fault)
        took = int((end.duration_seconds or 0.0) * _SECOND)
        yield self.time + 50_000 + took, end
        if fault == "ended_twice":
            self.maker.planted.note("ended_twice", "finished", self.decision_id)
            yield self.time + 60_000 + took, end

    def _end(self, fault: str | None) -> Execution:
        """Return how it ends."""
        calls, ran = self._calls(fault)
        took = round(self.chance.uniform(0.3, 40.0), 3)
        last = calls[-1]
        end = Execution(
            "finished",
            provider=ran.provider,
            model=ran.model,
            entry=_entry(ran),
            duration_seconds=took,
            calls=calls,
        )
        if last.failure is not None:
            known = "free" if all(it.status != 200 for it in calls) else "failed"  # noqa: PLR2004
            return msgspec.structs.replace(
                end, status="failed", error=last.failure, cost_status=known
            )
        return self._completed(end, ran, fault)

    def _calls(self, fault: str | None) -> tuple[tuple[Call, ...], Target]:
        """Return the calls of a child, and what it ran on at last."""
        plan, seconds = self.template.plan, round(self.chance.uniform(0.2, 9.0), 3)
        ran = _RUNS_ON.get(fault or "", plan[0])
        if ran is not plan[0]:
            self._note_outside(str(fault), ran)
        if fault == "second_call_outside":
            failed = _call(1, ran, seconds, "server_error", 503)
            return (failed, _call(2, plan[0], seconds)), plan[0]
        luck = self.chance.random()
        if fault is None and luck < 0.04 and len(plan) > 1:  # noqa: PLR2004 - a share
            failed = _call(1, plan[0], seconds, "rate_limited", 429)
            return (failed, _call(2, plan[1], seconds)), plan[1]
        if fault is None and luck < 0.06:  # noqa: PLR2004 - a share
            return (_call(1, ran, seconds, "server_error", 500),), ran
        if fault is None and luck < 0.07:  # noqa: PLR2004 - a share
            call = _call(1, ran, seconds, "content_filtered", 200)
            tokens = self.chance.randrange(100, 9_000)
            return (msgspec.structs.replace(call, input_tokens=tokens, output_tokens=0),), ran
        return (_call(1, ran, seconds),), ran

    def _note_outside(self, fault: str, ran: Target) -> None:
        where = f"{_entry(ran)} ({ran.model} at {ran.provider})"
        self.maker.planted.note("outside_plan", where, self.decision_id)
        if fault.startswith("forbidden:"):
            self.maker.planted.note("forbidden", fault.partition(":")[2], self.decision_id)

    def _completed(self, end: Execution, ran: Target, fault: str | None) -> Execution:
        """Return an end with an answer."""
        replace, planted = msgspec.structs.replace, self.maker.planted
        served = ran.model
        if fault == "other_model":
            served = "chat-mini"
            planted.note("other_model", f"{served} for {ran.model}", self.decision_id)
        end = replace(end, status="completed", finish_reason="stop", served_model=served)
        if fault == "other_model":
            return replace(end, input_tokens=900, output_tokens=90, cost_status="mismatch")
        if fault is None and self.chance.random() < 0.01:  # noqa: PLR2004 - a share
            return replace(end, cost_status="no_usage")
        tokens = (
            self.template.request["task"]["input_tokens"] + 40,
            self.chance.randrange(20, 2_000),
        )
        end = replace(end, input_tokens=tokens[0], output_tokens=tokens[1])
        usd = cost(self.policy, ran, *tokens)
        if usd is None:
            return replace(end, cost_status="no_price")
        if fault == "unexplained_cost":
            where = f"{_entry(ran)} ({ran.model} at {ran.provider})"
            planted.note("unexplained_cost", where, self.decision_id)
            usd = round(usd * 3, 12)
        return replace(end, cost_usd=usd, cost_status="measured")


def _call(
    number: int, target: Target, seconds: float, failure: str | None = None, status: int = 200
) -> Call:
    where = target.provider, target.model, _entry(target)
    return Call(number, *where, failure, status, seconds)


def _entry(target: Target) -> str | None:
    return None if isinstance(target.entry, UnsetType) else target.entry


def _spelt(time: int) -> str:
    """Return a time as records have it."""
    moment = datetime.datetime.fromtimestamp(time // _SECOND, datetime.UTC)
    fraction = f".{time % _SECOND:06d}".rstrip("0") if time % _SECOND else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


class _Writers:
    """Writes lines as the writers of a log would, each with a chain of its own."""

    def __init__(self, folder: Path) -> None:
        log = LogFolder(folder)
        folder.mkdir(parents=True)
        begin = microseconds(BEGIN)
        self.chains = {it: Chain(log, [it], _LIMITS, begin) for it in WRITERS}
        self._store, self._introduced = PolicyStore(log), set[tuple[str, str]]()
        self._waiting: dict[str, list[Draft]] = {it: [] for it in WRITERS}
        self.lines = 0

    def add(self, drafts: Iterator[tuple[str, Draft]], until: int) -> None:
        """Write lines, and keep those of later than a time for the next call."""
        for writer, draft in drafts:
            self._waiting[writer].append(draft)
        for writer, chain in self.chains.items():
            waiting = sorted(self._waiting[writer], key=lambda it: it.time)
            now = [it for it in waiting if it.time < until]
            self._waiting[writer] = [it for it in waiting if it.time >= until]
            if now:
                lines = list(self._with_policies(writer, now))
                self.lines += len(lines)
                chain.write(lines)

    def _with_policies(self, writer: str, drafts: Sequence[Draft]) -> Iterator[Draft]:
        for draft in drafts:
            policy = draft.policy
            if policy is not None and (writer, policy.revision) not in self._introduced:
                self._introduced.add((writer, policy.revision))
                self._store.keep(policy)
                used = used_policy(policy, origin_commit="4f2a91c", loaded_by="deploy")
                yield Draft(Kind.POLICY, draft.time, used=used)
            yield draft

    def close(self, now: int) -> None:
        """End all of them."""
        for chain in self.chains.values():
            chain.write([Draft(Kind.CLOSE, now, close=Close("end"))])
            chain.release()


def write_audit_log(folder: Path, decisions: int, *, seed: int = 1, faults: int = 3) -> Planted:
    """Write a log, and return what is planted in it.

    Args:
        folder: where it is to be; it must not be there yet.
        decisions: how many decisions it has; there are about three lines for each.
        seed: the same one gives the same log.
        faults: how many of each fault there are.
    """
    maker, writers = _Maker(decisions, seed, faults), _Writers(folder)
    for day in range(DAYS):
        end = microseconds(BEGIN) + (day + 1) * _DAY
        writers.add(maker.day(day), end if day < DAYS - 1 else sys.maxsize)
    planted = maker.planted
    planted.end = microseconds(BEGIN) + DAYS * _DAY + 600 * _SECOND
    writers.close(planted.end)
    planted.lines = sum(it.seq for it in map(LogFolder(folder).head, WRITERS) if it is not None)
    return planted


def main() -> None:
    """Write the log that the command line asks for, and print what is planted in it."""
    parser = argparse.ArgumentParser(prog="benchmarks.audit_log", description=__doc__)
    parser.add_argument("folder", metavar="DEST", type=Path, help="a folder that is not there yet")
    parser.add_argument("--decisions", type=int, default=60_000, metavar="N")
    parser.add_argument("--faults", type=int, default=3, metavar="N", help="of each kind")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    options = parser.parse_args()
    made = write_audit_log(
        options.folder, options.decisions, seed=options.seed, faults=options.faults
    )
    sys.stdout.write(json.dumps(msgspec.to_builtins(made), indent=2) + "\n")


if __name__ == "__main__":
    main()
