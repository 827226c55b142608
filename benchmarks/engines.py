"""The CEL engines that this version of the product has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policy_router import Policy, PolicyError, loads

NAMES = ("cel-python", "cel-expr-python")


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine to measure.

    Attributes:
        name: how it is chosen.
        chosen: the arguments of ``loads`` that choose it; empty where there is no choice.
    """

    name: str
    chosen: dict[str, Any]

    def loads(self, text: str) -> Policy:
        """Compile a policy for this engine."""
        return loads(text, name="benchmark.yaml", **self.chosen)


def engine_named(name: str) -> Engine:
    """Return an engine; the only one there is where engines cannot be chosen."""
    return next((engine for engine in available()[0] if engine.name == name), available()[0][0])


def available() -> tuple[list[Engine], list[str]]:
    """Return the engines, and a line for each that is not available."""
    found: list[Engine] = []
    missing: list[str] = []
    for name in NAMES:
        engine = Engine(name, {"engine": name})
        try:
            engine.loads("version: 1")
        except TypeError:
            only = loads("version: 1").engine.name.partition(" ")[0]
            return [Engine(only, {})], ["this version has one engine"]
        except (ImportError, ValueError, LookupError, PolicyError) as problem:
            missing.append(f"{name} is skipped: {type(problem).__name__}")
        else:
            found.append(engine)
    return found, missing
