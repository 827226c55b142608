"""LiteLLM's Router: groups of deployments by name and by kind, in order of price; no rules."""

from __future__ import annotations

from functools import partial
from typing import Any

import litellm

from benchmarks.peer_worker import Deciders, serve
from benchmarks.workload import KINDS, entries, selecting


def build(size: int) -> Deciders:
    """Make a router with a group for each entry, each kind, and the default."""
    pool = entries(size)
    groups = {entry.name: [entry] for entry in pool} | {"default": [pool[0]]}
    for kind in KINDS:
        found = [entry for entry in pool if entry.kind == kind]
        groups[kind] = sorted(found, key=lambda entry: entry.price[1])
    models = [
        {
            "model_name": group,
            "litellm_params": {
                "model": f"openai/{entry.model}",
                "api_key": "none",
                "api_base": f"http://{entry.provider}.invalid/",
                "order": order,
            },
            "model_info": {"id": f"{group}/{entry.name}"},
        }
        for group, members in groups.items()
        for order, entry in enumerate(members, start=1)
    ]
    router = litellm.Router(model_list=models, num_retries=0)

    def decide(request: dict[str, Any]) -> str:
        task = request["task"]
        group = task.get("model") or (task["kind"] if task["kind"] in KINDS else "default")
        found: str = router.get_available_deployment(model=group)["model_info"]["id"]
        return found.partition("/")[2]

    return {kind: partial(decide, request) for kind, request in selecting(size).items()}


if __name__ == "__main__":
    serve(build)
