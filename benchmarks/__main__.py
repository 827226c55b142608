"""``python -m benchmarks``: measures decisions beside the same decisions written by hand.

Run it from the checkout. ``--help`` lists what there is.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import cold, delegation, log, peers, report, threads
from benchmarks.by_hand import Plain, Tuned
from benchmarks.timing import Case, Local, run, timer_ns
from benchmarks.workload import (
    NOW,
    SIZES,
    entries,
    forbids,
    policy_text,
    requests,
    selecting,
    varied_requests,
)
from policy_router import Policy, Request, decide, loads
from policy_router.decision import record as rec
from policy_router.version import VERSION

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_MOMENT = datetime.datetime.fromisoformat(NOW)
_VARIED = 200
_HAND = ("by hand, plain", "by hand, tuned")


class _Progress:
    """Says on a terminal what is being measured."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        if self._shows:
            taken = time.monotonic() - self._start
            sys.stderr.write(f"\r\033[K[{taken:5.1f} s] {text}")
            sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._shows:
            sys.stderr.write("\r\033[K")


class _Decisions:
    """The decisions that are timed, for all sizes and kinds of request.

    Attributes:
        policies: size to policy.
        loaded: size to how long loading took, in milliseconds.
        first: size to how long the first decision took, in milliseconds.
        cases: size, request, who decides, and form to what is timed.
    """

    def __init__(self, compiles: int, say: _Progress) -> None:
        """Load all policies."""
        self.policies: dict[int, Policy] = {}
        self.loaded: dict[int, list[float]] = {}
        self.first: dict[int, list[float]] = {}
        self.cases: dict[tuple[int, str, str, str], Case] = {}
        for size in SIZES:
            text = policy_text(size)
            for turn in range(compiles + 1):
                say(f"loading {size} entries")
                start = time.perf_counter()
                policy = self.policies[size] = loads(text, name="benchmark.yaml")
                taken = (time.perf_counter() - start) * 1000
                request = requests(size)["picked"]
                start = time.perf_counter()
                decide(policy, request, now=_MOMENT)
                first = (time.perf_counter() - start) * 1000
                if turn or compiles == 1:  # otherwise the first is for warming up
                    self.loaded.setdefault(size, []).append(taken)
                    self.first.setdefault(size, []).append(first)

    def hand(self, size: int, policy: Policy) -> tuple[Plain, Tuned]:
        """Return what decides by hand, for records of a policy."""
        name = rec.PolicyName(policy.name, policy.revision)
        engine = rec.EngineName(VERSION)
        arguments = (entries(size), forbids(), name, engine)
        return Plain(*arguments), Tuned(*arguments)

    def verify(self, say: _Progress) -> int:
        """Compare the records of all who decide, byte for byte, and return how many agree.

        Raises:
            AssertionError: two records differ.
        """
        count = 0
        for size, policy in self.policies.items():
            say(f"comparing records for {size} entries")
            plain, tuned = self.hand(size, policy)
            some = varied_requests(size, _VARIED)
            for request in [*requests(size).values(), *some]:
                content = json.dumps(request).encode()
                record = decide(policy, request, now=_MOMENT).to_json()
                others = [hand.decide_json(content, _MOMENT) for hand in (plain, tuned)]
                others.append(_through_json(policy, content))
                for other in others:
                    if other != record:
                        raise AssertionError(f"{record.decode()}\n{other.decode()}")
                count += 1
        return count

    def prepare(self) -> None:
        """Make the cases."""
        for size in SIZES:
            policy = self.policies[size]
            plain, tuned = self.hand(size, policy)
            for kind, request in requests(size).items():
                content = json.dumps(request).encode()
                for by, hand in zip(_HAND, (plain, tuned), strict=True):
                    self._add(size, kind, by, "decide", lambda h=hand, r=request: _by(h, r))
                    self._add(size, kind, by, "json", lambda h=hand, c=content: _json(h, c))
                self._product(size, kind, policy, request)

    def _product(self, size: int, kind: str, policy: Policy, request: dict[str, Any]) -> None:
        by = "policy-router"
        checked, content = Request.from_mapping(request), json.dumps(request).encode()
        self._add(size, kind, by, "decide", lambda: decide(policy, checked, now=_MOMENT))
        self._add(size, kind, by, "mapping", lambda: decide(policy, request, now=_MOMENT))
        self._add(size, kind, by, "json", lambda: _through_json(policy, content))

    def _add(self, size: int, kind: str, by: str, form: str, call: Any) -> None:
        self.cases[size, kind, by, form] = Case(Local(call))

    def rows(self) -> list[dict[str, Any]]:
        """Return what was found."""
        who = ("policy-router", *_HAND)
        return [
            self._row(size, kind, by) for size in SIZES for kind in requests(size) for by in who
        ]

    def _row(self, size: int, kind: str, by: str) -> dict[str, Any]:
        plain, tuned = (
            {form: self.cases[size, kind, hand, form] for form in ("decide", "json")}
            for hand in _HAND
        )
        decided, through = (self.cases[size, kind, by, form] for form in ("decide", "json"))
        mapping = self.cases.get((size, kind, by, "mapping"))
        return {
            "size": size,
            "request": kind,
            "by": by,
            "calls": len(decided.samples),
            "median_us": decided.median_us(),
            "p99_us": decided.p99_us(),
            "plain": decided.ratio(plain["decide"]),
            "tuned": decided.ratio(tuned["decide"]),
            "json_us": through.median_us(),
            "json_p99_us": through.p99_us(),
            "json_over_us": through.median_us() - decided.median_us(),
            "json_plain": through.ratio(plain["json"]),
            "json_tuned": through.ratio(tuned["json"]),
            "mapping_us": mapping.median_us() if mapping else None,
        }


class _Peers:
    """The peers' decisions."""

    def __init__(self, decisions: _Decisions, workers: list[peers.Worker], say: _Progress) -> None:
        """Let every peer compile every size, and compare what it selects."""
        self.decisions = decisions
        self.cases: dict[tuple[int, str, str], Case] = {}
        self.built: dict[tuple[int, str], Mapping[str, Any]] = {}
        for worker in workers:
            name = f"{worker.peer.name} {worker.peer.version}"
            for size in SIZES:
                say(f"compiling {size} entries for {name}")
                self.built[size, name] = worker.ask(size=size)
                for kind in selecting(size):
                    self.cases[size, kind, name] = Case(peers.Remote(worker, size, kind))

    def rows(self) -> list[dict[str, Any]]:
        """Return what was found."""
        found = []
        for (size, kind, name), case in sorted(self.cases.items(), key=self._place):
            policy = self.decisions.policies[size]
            record = decide(policy, requests(size)[kind], now=_MOMENT)
            plain, tuned = (self.decisions.cases[size, kind, by, "decide"] for by in _HAND)
            target = record.decision.target
            built = self.built[size, name]
            found.append(
                {
                    "size": size,
                    "request": kind,
                    "by": name,
                    "calls": len(case.samples),
                    "median_us": case.median_us(),
                    "p99_us": case.p99_us(),
                    "plain": case.ratio(plain),
                    "tuned": case.ratio(tuned),
                    "compile_ms": built["compile_ms"],
                    "same": "yes" if target and built["chosen"][kind] == target.entry else "no",
                }
            )
        return found

    def _place(self, item: tuple[tuple[int, str, str], Case]) -> tuple[int, int, str]:
        size, kind, name = item[0]
        return size, list(requests(size)).index(kind), name


def _by(hand: Plain, request: dict[str, Any]) -> object:
    return hand.decide(request, _MOMENT)


def _json(hand: Plain, content: bytes) -> object:
    return hand.decide_json(content, _MOMENT)


def _through_json(policy: Policy, content: bytes) -> bytes:
    return decide(policy, Request.from_json(content), now=_MOMENT).to_json()


def _policies(decisions: _Decisions, say: _Progress, *, quick: bool) -> list[dict[str, Any]]:
    """Measure what policies keep."""
    rows = []
    for size in SIZES:
        memory: dict[str, float | None] = {"resident_kb": None, "traced_kb": None}
        if not quick:
            say(f"loading {size} entries in fresh processes")
            memory = cold.policy_memory(size)
        taken = statistics.median(decisions.loaded[size])
        first = statistics.median(decisions.first[size])
        rows.append({"size": size, "load_ms": taken, "first_ms": first, **memory})
    return rows


def _starts(runs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        policy, request = Path(folder, "policy.yaml"), Path(folder, "request.json")
        policy.write_text(policy_text(5), encoding="utf-8")
        request.write_text(json.dumps(requests(5)["picked"]), encoding="utf-8")
        return cold.starts(runs, policy, request)


def _threads(decisions: _Decisions, say: _Progress) -> list[dict[str, Any]]:
    """Check threads with a policy that nobody has used before."""
    size = SIZES[1]
    say(f"{threads.THREADS} threads, {size} entries")
    policy = loads(policy_text(size), name="benchmark.yaml")
    _, tuned = decisions.hand(size, policy)
    some = [*requests(size).values(), *varied_requests(size, _VARIED)]
    expected = [(request, tuned.decide(request, _MOMENT).to_json()) for request in some]
    done = threads.check(policy, expected, _MOMENT)
    return [
        {
            "size": size,
            "threads": threads.THREADS,
            "decisions": done.decisions,
            "right": done.right,
            "seconds": done.seconds,
        }
    ]


def _delegation(say: _Progress, *, quick: bool) -> dict[str, Any]:
    """Measure model calls, to a peer on this machine, and batches of decisions."""
    rounds, seconds = (3, 0.2) if quick else (15, 1.0)
    say("timing batches")
    found: dict[str, Any] = {"batches": delegation.batches(rounds, seconds)}
    with delegation.peer() as url:
        say("timing model calls")
        found["calls"] = delegation.calls(url, rounds, seconds)
        say(f"running {delegation.CHILDREN:,} children")
        found["stress"] = delegation.stress(url)
    return found


def measure(arguments: argparse.Namespace, say: _Progress) -> dict[str, Any]:
    """Measure everything that was asked for; the log alone where nothing else was."""
    results: dict[str, Any] = {"machine": report.machine(), "versions": report.versions()}
    results["notes"] = []
    if not arguments.log or arguments.peers or arguments.threads or arguments.delegation:
        _measure_decisions(arguments, results, say)
    if arguments.log:
        results["log"] = _log(arguments, say)
        results["notes"] += results["log"]["notes"]
    return results


def _log(arguments: argparse.Namespace, say: _Progress) -> dict[str, Any]:
    """Measure the log."""
    quick, records = arguments.quick, arguments.log_records
    return log.measure(
        say,
        records=records or (log.QUICK_RECORDS if quick else log.RECORDS),
        folder=arguments.log_folder,
        quick=quick,
    )


def _measure_decisions(
    arguments: argparse.Namespace, results: dict[str, Any], say: _Progress
) -> None:
    """Measure decisions, and whatever else was asked for but the log."""
    quick = arguments.quick
    rounds, seconds = (3, 0.012) if quick else (9, 0.12)
    # Fresh processes first: a pause between them and the rest lets a busy machine settle.
    say("starting fresh processes")
    results["imports"] = cold.imports(3 if quick else 15)
    results["starts"] = _starts(1 if quick else 9)
    decisions = _Decisions(1 if quick else 5, say)
    results["agreed"] = decisions.verify(say)
    decisions.prepare()
    with ExitStack() as stack:
        workers = peers.start(results["notes"].append) if arguments.peers else []
        for worker in workers:
            stack.callback(worker.close)
        others = _Peers(decisions, workers, say)
        say("warming up")
        for number in run([*decisions.cases.values(), *others.cases.values()], rounds, seconds):
            say(f"timing decisions, round {number + 1} of {rounds} done")
        results["peers"] = others.rows()
    results["decisions"] = decisions.rows()
    results["policies"] = _policies(decisions, say, quick=quick)
    results["threads"] = _threads(decisions, say) if arguments.threads else []
    results["delegation"] = _delegation(say, quick=quick) if arguments.delegation else {}
    timer = timer_ns()
    results["settings"] = {"rounds": rounds, "seconds": seconds, "timer_ns": timer}


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="under 30 seconds on a quiet machine, less exact"
    )
    parser.add_argument("--peers", action="store_true", help="measure peers too; installs them")
    parser.add_argument("--threads", action="store_true", help="check threads that share a policy")
    parser.add_argument(
        "--delegation", action="store_true", help="measure model calls to a peer started here"
    )
    parser.add_argument(
        "--log", action="store_true", help="measure the decision log; alone, nothing else"
    )
    parser.add_argument(
        "--log-records",
        type=_count,
        metavar="N",
        help=f"how many records the large log has; {log.RECORDS:,} unless given",
    )
    parser.add_argument(
        "--log-folder",
        type=Path,
        metavar="FOLDER",
        help="the folder, on the disk to be measured, for logs that are removed again",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON too")
    parser.add_argument("--markdown", action="store_true", help=f"write docs/{PAGE.name} anew")
    arguments = parser.parse_args()
    say = _Progress()
    try:
        results = measure(arguments, say)
    finally:
        say.end()
    print("\n".join(report.described(results)))
    if "agreed" in results:
        print(f"{results['agreed']:,} records are equal, byte for byte, to those made by hand")
    for note in results["notes"]:
        print(f"note: {note}")
    for table in report.tables(results):
        print()
        print("\n".join(table.lines()))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if arguments.markdown:
        report.write_markdown(PAGE, results)
    return 0 if _is_right(results) else 1


def _count(text: str) -> int:
    """Read a number of records."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return count


def _is_right(results: dict[str, Any]) -> bool:
    """Tell whether everything came out as it has to."""
    wrong = any(row["right"] != row["decisions"] for row in results.get("threads", []))
    stress = results.get("delegation", {}).get("stress", {"right": 0, "children": 0})
    is_log_right = "log" not in results or log.is_right(results["log"])
    return not wrong and stress["right"] == stress["children"] and is_log_right


if __name__ == "__main__":
    sys.exit(main())
