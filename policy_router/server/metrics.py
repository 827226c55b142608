"""Counters in the format of Prometheus, added up over all workers.

Each worker counts in a file of its own, a row of numbers in memory that others can read; that costs
a decision next to nothing. What a worker counted stays when it is replaced, so that no counter ever
falls. This is the only door to prometheus-client.
"""

from __future__ import annotations

import bisect
import fcntl
import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from policy_router.decision.record import DecisionRecord, ReasonCode
from policy_router.domain import Level
from policy_router.server.active import Active
from policy_router.server.problems import TITLES

TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
OTHER: Final = "other"
"""What stands for every path that is no route."""
ROUTES: Final = (
    "/v1/decide",
    "/v1/decide/batch",
    "/v1/menu",
    "/v1/tool",
    "/v1/explain",
    "/v1/decisions",
    "/v1/decisions/",
    "/v1/replay",
    "/v1/what-if",
    "/v1/policy",
    "/v1/policy/check",
    "/v1/policy/reload",
    "/v1/plan",
    "/v1/executions",
    "/mcp",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/access/v1/evaluation",
    "/access/v1/evaluations",
    "/access/v1/search/resource",
    "/.well-known/authzen-configuration",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    OTHER,
)
_STATUSES: Final = (200, 202, 204, 303, 304, 406, *TITLES)
"""The problems of the service, and what its pages and clients of MCP may be answered besides."""
_OTHERS: Final = {1: 200, 2: 200, 3: 303, 4: 400, 5: 502}
"""What other statuses, which are a provider's, are counted as: 500 is a bug of the service."""
_OUTCOMES: Final = [("selected", level.value) for level in Level] + [("refused", "")]
_RELOADS: Final = ("active", "unchanged", "rejected")


def _slots(keys: Iterable[object], start: int) -> dict[object, int]:
    return {key: place for place, key in enumerate(keys, start)}


_REQUESTS: Final = _slots([(route, status) for route in ROUTES for status in _STATUSES], 0)
_DECISIONS: Final = _slots(_OUTCOMES, len(_REQUESTS))
_REFUSALS: Final = _slots(ReasonCode, len(_REQUESTS) + len(_DECISIONS))
_WARNINGS: Final = _slots(ReasonCode, max(_REFUSALS.values()) + 1)
_RELOADED: Final = _slots(_RELOADS, max(_WARNINGS.values()) + 1)
_UNLOGGED: Final = max(_RELOADED.values()) + 1
_OVERLOADED: Final = _UNLOGGED + 1
_SECONDS: Final = _OVERLOADED + 1
_WIDTH: Final = len(BUCKETS) + 2
"""The buckets of a route, the one without an end, and the sum of its seconds."""
_RUNNING: Final = _SECONDS + _WIDTH * len(ROUTES)
_SIZE: Final = _RUNNING + 1
_ROUTE_PLACES: Final = {route: _SECONDS + _WIDTH * number for number, route in enumerate(ROUTES)}
_ENDED: Final = "metrics-ended"


class Metrics:
    """What a worker counts."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        """Begin with nothing counted.

        Args:
            folder: what the workers of a service share for as long as it runs.
            number: that of the worker.
        """
        self._folder = folder
        path = folder / f"metrics-{number}"
        path.write_bytes(bytes(8 * _SIZE))
        with path.open("r+b") as stream:
            self._values = memoryview(mmap.mmap(stream.fileno(), 0)).cast("d")

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        values = self._values
        place = _REQUESTS.get((route, status))
        if place is None:
            place = _REQUESTS[route, _OTHERS.get(status // 100, 502)]
        values[place] += 1
        place = _ROUTE_PLACES[route]
        values[place + bisect.bisect_left(BUCKETS, seconds)] += 1
        values[place + _WIDTH - 1] += seconds

    def running(self, requests: int) -> None:
        """Note how many requests are being answered."""
        self._values[_RUNNING] = requests

    def decided(self, record: DecisionRecord) -> None:
        """Count a decision."""
        values, decision = self._values, record.decision
        values[_DECISIONS[decision.outcome, decision.level or ""]] += 1
        if decision.refusal:
            values[_REFUSALS[decision.refusal.code]] += 1
        for warning in decision.warnings:
            values[_WARNINGS[warning.code]] += 1

    def unlogged(self) -> None:
        """Count a request whose decisions were denied, since they could not be logged."""
        self._values[_UNLOGGED] += 1

    def overloaded(self) -> None:
        """Count a request that was turned away, since there were too many."""
        self._values[_OVERLOADED] += 1

    def reloaded(self, outcome: str) -> None:
        """Count that the policy was loaded again."""
        self._values[_RELOADED[outcome]] += 1

    def to_text(self, active: Active) -> bytes:
        """Return what all workers of the service counted, in the format of Prometheus."""
        counted = CollectorRegistry()
        counted.register(_Collector(_total(self._folder), active))
        return generate_latest(counted)


class _Collector(Collector):
    """Names what was counted."""

    def __init__(self, values: Sequence[float], active: Active) -> None:
        self._values, self._active = values, active

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from self._counters()
        seconds = HistogramMetricFamily(
            "policy_router_request_duration_seconds",
            "How long requests took, from their head to the end of their answer.",
            labels=["route"],
        )
        for route, place in _ROUTE_PLACES.items():
            counted, so_far, buckets = self._values[place : place + _WIDTH - 1], 0.0, []
            if any(counted):
                for edge, count in zip((*map(str, BUCKETS), "+Inf"), counted, strict=True):
                    so_far += count
                    buckets.append((edge, so_far))
                seconds.add_metric([route], buckets, self._values[place + _WIDTH - 1])
        yield seconds
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        for name, text, labels, slots in (
            ("requests", "Requests that were answered.", ["route", "status"], _REQUESTS),
            ("decisions", "Decisions that were made.", ["outcome", "level"], _DECISIONS),
            ("refusals", "Requests that the policy refused.", ["code"], _REFUSALS),
            ("warnings", "Warnings of decisions.", ["code"], _WARNINGS),
            ("reloads", "Times that the policy was loaded again.", ["outcome"], _RELOADED),
        ):
            family = CounterMetricFamily(f"policy_router_{name}", text, labels=labels)
            for key, place in slots.items():
                words = key if isinstance(key, tuple) else (key,)
                is_long = name == "requests"
                if self._values[place] or not is_long:
                    family.add_metric([str(word) for word in words], self._values[place])
            yield family
        for name, text, place in (
            ("unlogged_requests", "Requests denied, as their log failed.", _UNLOGGED),
            ("overloaded_requests", "Requests turned away, as there were too many.", _OVERLOADED),
        ):
            yield CounterMetricFamily(f"policy_router_{name}", text, value=self._values[place])

    def _gauges(self) -> Iterator[Metric]:
        active = self._active
        info = GaugeMetricFamily(
            "policy_router_policy_info", "The policy that decides.", labels=["name", "revision"]
        )
        info.add_metric([active.policy.name, active.revision], 1)
        yield info
        for name, text, value in (
            ("requests_in_progress", "Requests being answered.", self._values[_RUNNING]),
            (
                "policy_active_since_timestamp_seconds",
                "Since when the policy decides.",
                active.since.timestamp(),
            ),
            (
                "policy_rejected",
                "1 where a newer version of the policy is not used.",
                float(active.rejected is not None),
            ),
        ):
            yield GaugeMetricFamily(f"policy_router_{name}", text, value=value)


def fold(folder: Path, number: int) -> None:
    """Keep what a worker counted that has ended, and forget its file."""
    path, ended = folder / f"metrics-{number}", folder / _ENDED
    with _locked(folder):
        if path.exists():
            kept, last = _read(ended), _read(path)
            last[_RUNNING] = 0.0
            total = array("d", map(sum, zip(kept, last, strict=True)))
            ended.with_suffix(".new").write_bytes(total.tobytes())
            ended.with_suffix(".new").replace(ended)
            path.unlink()


def _total(folder: Path) -> Sequence[float]:
    with _locked(folder):
        files = [_read(path) for path in folder.glob("metrics-*") if path.suffix != ".new"]
    return [sum(column) for column in zip(*files, strict=True)]


def _read(path: Path) -> array[float]:
    values = array("d")
    content = path.read_bytes() if path.exists() else b""
    values.frombytes(content.ljust(8 * _SIZE, b"\0"))
    return values


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        yield
