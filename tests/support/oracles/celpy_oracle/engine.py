"""The engine itself: programs and activations for the rest of the product."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import lark

from policy_router.cel.ast import Node
from tests.support.oracles import engine
from tests.support.oracles.celpy_oracle.evaluator import Evaluator
from tests.support.oracles.celpy_oracle.lowering import lowered
from tests.support.oracles.celpy_oracle.values import Facts, plain, root_of


@dataclass(frozen=True, slots=True)
class _Program:
    """A lowered expression.

    Attributes:
        tree: what the evaluator interprets; never changed, so threads may share it.
    """

    tree: lark.Tree[Any]

    def evaluate(self, activation: engine.Activation) -> engine.Outcome:
        """Evaluate against facts.

        Args:
            activation: the facts, bound by :class:`CelPython`.

        Returns:
            A plain value, or ``FAILURE``; nothing is ever raised.
        """
        try:
            evaluator = Evaluator(self.tree, cast("Facts", activation))
            return plain(evaluator.visit(self.tree))
        except Exception:  # noqa: BLE001  # whatever goes wrong, the condition has no value
            return engine.FAILURE


class CelPython:
    """The engine built on cel-python."""

    has_extensions = False

    @property
    def name(self) -> str:
        """The library and its version."""
        return _NAME

    def compile(self, expression: Node) -> engine.Program:
        """Turn a checked tree into a program.

        Args:
            expression: the tree.

        Returns:
            The program, which threads may share.
        """
        return _Program(lowered(expression))

    def bind(self, values: Mapping[str, Any]) -> engine.Activation:
        """Turn facts into an activation.

        Args:
            values: root name to value, as the interface has it.

        Returns:
            The activation: a copy, which later changes of ``values`` do not reach.
        """
        return Facts({name: root_of(value) for name, value in values.items()})


_NAME: Final = f"cel-python {importlib.metadata.version('cel-python')}"
