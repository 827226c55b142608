"""How long questions about all requests take, and how many of them are decided.

``python -m benchmarks.proof`` measures the time of the processor. The figures are in
``docs/performance.md`` and ``docs/proof.md``.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import workload
from policy_router import Policy, PolicyError, load, loads
from policy_router.analysis import Answer, analyze, compare

ROOT = Path(__file__).parents[1]
NOW = workload.NOW
SIZES = ((50, 20), (200, 100), (500, 100))
RANDOM = 60


def main() -> None:
    """Print what was measured."""
    logging.disable(logging.WARNING)
    print("analyze: seconds of the processor, and answers")
    for name, policy in shipped():
        row(name, partial(answers_of, policy))
    for size, forbids in SIZES:
        row(f"{size} entries, {forbids} forbid rules", partial(answers_of, made(size, forbids)))
    print("compare")
    for size, forbids in SIZES:
        old = made(size, forbids)
        row(f"{size}, the same with another name", partial(ways_of, old, renamed(old)))
        row(f"{size}, one price higher", partial(ways_of, old, dearer(old)))
        row(f"{size}, with {size - 1}", partial(ways_of, old, made(size - 1)))
    print(f"{RANDOM} random policies of each kind")
    for kind, policies in random_kinds():
        row(kind, partial(answers_of_all, policies))


def row(name: str, measured: Callable[[], Counter[str]]) -> None:
    """Measure one thing."""
    began = time.process_time()
    found = measured()
    seconds = time.process_time() - began
    asked = sum(found.values())
    decided = 100 * (asked - found[Answer.UNDECIDED]) / asked if asked else 100.0
    words = ", ".join(f"{found[it]} {it.value}" for it in Answer)
    print(f"  {name:<36} {seconds:7.2f} s   {words}   {decided:.1f} % decided")
    sys.stdout.flush()


def shipped() -> Iterator[tuple[str, Policy]]:
    """Yield the shipped examples."""
    for path in sorted((ROOT / "rules" / "examples").iterdir()):
        is_rules = path.suffix == ".yaml" and not path.stem.endswith("_test")
        if path.is_dir() or is_rules:
            yield path.stem, load(path)


def made(size: int, forbids: int | None = None) -> Policy:
    """Return the policy of the other benchmarks."""
    if forbids is not None:
        workload.FORBIDS = forbids
    return loads(workload.policy_text(size))


def _edited(policy: Policy, edit: Callable[[dict[str, Any]], None]) -> Policy:
    content = json.loads(policy.canonical)
    edit(content)
    return loads(json.dumps(content))


def renamed(policy: Policy) -> Policy:
    """Return a policy that decides the same, and is not written the same."""
    return _edited(policy, lambda it: it["forbid"][0].update(id="another-name"))


def dearer(policy: Policy) -> Policy:
    """Return a policy with one higher price."""
    return _edited(policy, lambda it: it["pool"][1]["price"].update(output=99.0))


def answers_of(policy: Policy) -> Counter[str]:
    """Return how many questions have which answer."""
    analysis = analyze(policy, now=NOW)
    return Counter({answer: analysis.count(answer) for answer in Answer})


def answers_of_all(policies: list[Policy]) -> Counter[str]:
    """Return how many questions about some policies have which answer."""
    return sum(map(answers_of, policies), Counter[str]())


def ways_of(before: Policy, after: Policy) -> Counter[str]:
    """Return how many ways to differ have which answer."""
    found = compare(before, after, now=NOW)
    return Counter(it.answered.answer for it in found.differences)


def random_kinds() -> Iterator[tuple[str, list[Policy]]]:
    """Yield random policies as the tests have them; without the tests, there are none."""
    try:
        from tests.property.random_policies import PolicyMaker  # noqa: PLC0415 - only here
    except ModuleNotFoundError:
        return
    for kind, is_kept in (("hostile", lambda _: True), ("without arithmetic", _is_plain)):
        found: list[Policy] = []
        maker = PolicyMaker(random.Random(kind))  # noqa: S311 - for variety
        while len(found) < RANDOM:
            text = json.dumps(maker.policy())
            try:
                if is_kept(text):
                    found.append(loads(text))
            except PolicyError:
                continue
        yield kind, found


def _is_plain(text: str) -> bool:
    """Tell whether a policy has no arithmetic on doubles and texts, and no nested loops."""
    return not any(it in text for it in (" * ", " / ", "double(", 'x + \\"', "exists_one"))


if __name__ == "__main__":
    main()
