"""Cerbos over HTTP on the equivalent rules: a resource policy for each entry, with all deny rules.

A client asks about one entry by name, or about the whole pool in one request and takes the cheapest
that is allowed; the levels are the client's. A request of Cerbos names at most 50 resources, unless
it is set up otherwise.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.workload import Entry, Forbid, entries, forbids, selecting

ADDRESS = ("127.0.0.1", 3592)
PATH = "/api/check/resources"
_LISTEN = f"{ADDRESS[0]}:{ADDRESS[1]}"


def _allow(entry: Entry, action: str) -> dict[str, Any]:
    clauses = [
        f"P.attr.depth < {entry.depth}",
        '!("pii" in P.attr.labels) || R.attr.provider != "west"',
        f"!has(P.attr.tokens) || P.attr.tokens <= {entry.largest}",
    ]
    if action == "pick":
        clauses.append(f'P.attr.kind == "{entry.kind}"')
    return _rule(action, "EFFECT_ALLOW", clauses)


def _deny(rule: Forbid) -> dict[str, Any]:
    match rule.form:
        case "label":
            clauses = [f'"{rule.word}" in P.attr.labels', 'R.attr.provider == "west"']
        case "team":
            clauses = [f'P.attr.team == "{rule.word}"', f"R.attr.output > {rule.amount}"]
        case "budget":
            low = f"has(P.attr.remaining) && P.attr.remaining < {rule.amount}"
            clauses = [low, "R.attr.input > 2.0"]
        case _:
            clauses = [f'"{rule.word}" in P.attr.roles', '"vision" in R.attr.supports']
    return _rule("*", "EFFECT_DENY", clauses)


def _rule(action: str, effect: str, clauses: list[str]) -> dict[str, Any]:
    match = {"all": {"of": [{"expr": clause} for clause in clauses]}}
    return {"actions": [action], "effect": effect, "roles": ["*"], "condition": {"match": match}}


def _policy(entry: Entry) -> dict[str, Any]:
    rules = [_allow(entry, "ask"), _allow(entry, "pick"), *map(_deny, forbids())]
    resource = {"resource": entry.name, "version": "default", "rules": rules}
    return {"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": resource}


def _resource(entry: Entry, action: str) -> dict[str, Any]:
    attributes = {
        "provider": entry.provider,
        "input": entry.price[0],
        "output": entry.price[1],
        "supports": list(entry.supports),
    }
    resource = {"kind": entry.name, "id": entry.name, "attr": attributes}
    return {"actions": [action], "resource": resource}


def bodies(size: int) -> dict[str, bytes]:
    """Return what is asked for each kind of request.

    A request that is decided by the default asks about the pool too, as nothing else tells that
    no entry is allowed; the question about the default itself is left out, in its favour.
    """
    pool, found = entries(size), {}
    for name, request in selecting(size).items():
        task, caller = request["task"], request["caller"]
        principal = {
            "id": caller["id"],
            "roles": ["agent"],
            "attr": {
                "depth": request["parent"]["depth"],
                "labels": task["labels"],
                "tokens": task["input_tokens"],
                "kind": task["kind"],
                "team": caller["team"],
                "roles": caller["roles"],
                "remaining": request["budget"]["remaining_usd"],
            },
        }
        asked = [entry for entry in pool if entry.name == task.get("model")]
        about = [_resource(it, "ask") for it in asked] or [_resource(it, "pick") for it in pool]
        found[name] = json.dumps({"principal": principal, "resources": about}).encode()
    return found


@contextmanager
def served(binary: str, folder: Path, size: int, core: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the rules with Cerbos on one core, without its audit log and telemetry."""
    rules = folder / "cerbos"
    rules.mkdir()
    for entry in entries(size):
        (rules / f"{entry.name}.json").write_text(json.dumps(_policy(entry)))
    settings = {
        "server": {
            "httpListenAddr": _LISTEN,
            "grpcListenAddr": "127.0.0.1:3593",
        },
        "storage": {"driver": "disk", "disk": {"directory": str(rules)}},
        "telemetry": {"disabled": True},
    }
    (folder / "cerbos.json").write_text(json.dumps(settings))
    command = ["taskset", "-c", str(core), binary, "server", "--config", "cerbos.json"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [*command, "--log-level", "error"], cwd=folder, stdout=quiet, stderr=quiet
    )
    try:
        for _ in range(1000):
            if process.poll() is not None:
                raise RuntimeError("Cerbos does not start")
            try:
                urllib.request.urlopen(f"http://{_LISTEN}/_cerbos/health", timeout=1)
                break
            except OSError:
                time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait()
