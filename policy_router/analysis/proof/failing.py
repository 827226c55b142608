"""Whether an expression can have no value: an operand fails, or its loops visit too much."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from policy_router.analysis.proof.names import ELEMENT, Names, conditions_of
from policy_router.analysis.proof.solver import TRUE
from policy_router.analysis.proof.trees import is_safe
from policy_router.cel.ast import Apply, Attribute, Bind, ListOf, Loop, Node, has_macros, walk
from policy_router.cel.condition import Condition
from policy_router.cel.frame import MAX_ELEMENTS, MAX_ELEMENTS_OF_DECISION
from policy_router.cel.texts import MAX_LIST
from policy_router.cel.vocabulary import MAX_ITEMS
from policy_router.domain import Policy


class Failing:
    """Tells what can fail, for the conditions of one policy.

    Attributes:
        variables: the variables of the policy, by the paths of their names.
    """

    def __init__(self, names: Names, policy: Policy) -> None:
        """Use what is known of the names of a request."""
        self._names, self._policy = names, policy
        self.variables: Mapping[str, Condition] = {
            f"variables.{it.name}": it.condition for it in policy.variables
        }
        defaults = [it.default for it in policy.facts.values() if isinstance(it.default, tuple)]
        self._longest = max([MAX_ITEMS, *map(len, defaults)])
        self._found: dict[tuple[Node, bool], bool] = {}
        self._visits: dict[Node, int] = {}

    def may_fail(self, node: Node, *, guarded: bool = False) -> bool:
        """Tell whether an expression can have no value, for all that is known.

        Args:
            node: the expression.
            guarded: whether it is asked of no absent name, as the checks of a policy make sure.
        """
        found = self._found.get((node, guarded))
        if found is None:
            found = self._found[node, guarded] = self._may_fail(node, guarded=guarded)
        return found

    def _may_fail(self, node: Node, *, guarded: bool) -> bool:
        match node:
            case Attribute() if node.path in self.variables:
                tree = self.variables[node.path].tree
                return self.may_run_out(tree) or self.may_fail(tree, guarded=guarded)
            case Attribute() if guarded or node.path.startswith(ELEMENT):
                return False
            case Attribute() if node.path.startswith("target."):
                return True  # what is known of a target is written in: this name is absent
            case Attribute():
                seen = self._names.seen(self._policy, node.path)
                return self._names.formula.any(*[it.where for it in seen]) != TRUE
            case Loop() if self.may_run_out(node):
                return True
            case Apply() if not is_safe(node):
                return True
        return any(self.may_fail(it, guarded=guarded) for it in node.children())

    def may_run_out(self, tree: Node) -> bool:
        """Tell whether the loops of an expression can use its budget up, or a decision's."""
        return has_macros(tree) and (self.is_scarce or self._visited(tree) >= MAX_ELEMENTS)

    @cached_property
    def is_scarce(self) -> bool:
        """Whether the loops of all conditions could use up the budget of a decision."""
        policy, elements = self._policy, 0
        candidates = (len(policy.pool or ()) + 1) * len(policy.precedence)
        for condition in conditions_of(policy):
            loops = sum(isinstance(part, Loop) for part in walk(condition.tree))
            aimed = any(path.startswith("target.") for path in condition.reads)
            visited = min(loops * MAX_ITEMS, MAX_ELEMENTS) if loops < 2 else MAX_ELEMENTS  # noqa: PLR2004 - may be nested
            elements += visited * (candidates if aimed else 1) if loops else 0
        return elements >= MAX_ELEMENTS_OF_DECISION

    def _visited(self, node: Node) -> int:
        """Return how many elements the loops of an expression visit at most."""
        found = self._visits.get(node)
        if found is None:
            found = sum(map(self._visited, node.children()))
            if isinstance(node, Loop):
                each = 1 + self._visited(node.body)
                found = self._visited(node.source) + self.longest(node.source) * each
            self._visits[node] = found
        return found

    def longest(self, node: Node) -> int:
        """Return how many elements a list has at most."""
        match node:
            case ListOf():
                return len(node.items)
            case Attribute() if node.path in self.variables:
                return self.longest(self.variables[node.path].tree)
            case Attribute():
                return self._longest
            case Loop():
                return self.longest(node.source)
            case Apply(function="+"):
                return sum(map(self.longest, node.arguments))
            case Apply(function="?:"):
                return max(map(self.longest, node.arguments[1:]))
            case Bind():
                return self.longest(node.body)
        return MAX_LIST
