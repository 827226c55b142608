"""How many elements the loops of a condition visit at most: beyond a bound, a condition fails."""

from __future__ import annotations

from collections.abc import Mapping

from policy_router.cel.ast import Apply, Attribute, Bind, ListOf, Loop, Node
from policy_router.cel.condition import Condition
from policy_router.cel.texts import MAX_LIST
from policy_router.cel.vocabulary import MAX_ITEMS


class Visits:
    """Counts what loops visit, for the conditions of one policy.

    Attributes:
        longest: the most elements that a list of a request, or a default, can have.
    """

    def __init__(self, variables: Mapping[str, Condition], longest: int = MAX_ITEMS) -> None:
        """Begin with the variables of a policy, by name."""
        self._variables, self.longest = variables, longest
        self._found: dict[Node, int] = {}

    def of(self, node: Node) -> int:
        """Return how many elements the loops of an expression visit at most."""
        found = self._found.get(node)
        if found is None:
            found = self._found[node] = self._count(node)
        return found

    def _count(self, node: Node) -> int:
        if isinstance(node, Loop):
            return self.of(node.source) + self.length(node.source) * (1 + self.of(node.body))
        return sum(map(self.of, node.children()))

    def length(self, node: Node) -> int:
        """Return how many elements a list has at most."""
        match node:
            case ListOf():
                return len(node.items)
            case Attribute() if node.path.startswith("variables."):
                return self.length(self._variables[node.path.removeprefix("variables.")].tree)
            case Attribute():
                return self.longest
            case Loop():
                return self.length(node.source)
            case Apply(function="+"):
                return sum(map(self.length, node.arguments))
            case Apply(function="?:"):
                return max(map(self.length, node.arguments[1:]))
            case Bind():
                return self.length(node.body)
        return MAX_LIST
