"""Text or bytes to a tree of values with places, under strict YAML 1.2 core rules.

This is the only door to PyYAML. It reads the stream of events, never PyYAML's own values: what a
scalar means (``no`` is a string, ``010`` is ten), where it stands, and what a policy may not hold
(anchors, tags, duplicate keys) is decided here. Reading never recurses, so a hostile file stops
early.

Source: YAML 1.2.2, chapters 6 to 8 and 10.3, https://yaml.org/spec/1.2.2/.
"""

from policy_router.policy.yaml.cursor import Cursor, cursor
from policy_router.policy.yaml.layout import formatted
from policy_router.policy.yaml.nodes import (
    Document,
    MappingNode,
    Node,
    Pair,
    ScalarNode,
    SequenceNode,
    Value,
    at,
    plain,
)
from policy_router.policy.yaml.parser import MAX_BYTES
from policy_router.policy.yaml.reader import (
    EMBEDDED_KEY,
    MAX_HOST_DEPTH,
    read,
    read_mapping,
    read_value,
)
from policy_router.policy.yaml.remarks import remarks
from policy_router.policy.yaml.tree import MAX_DEPTH, MAX_NODES, MAX_PROBLEMS
from policy_router.policy.yaml.writing import block, flow

__all__ = [
    "EMBEDDED_KEY",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_HOST_DEPTH",
    "MAX_NODES",
    "MAX_PROBLEMS",
    "Cursor",
    "Document",
    "MappingNode",
    "Node",
    "Pair",
    "ScalarNode",
    "SequenceNode",
    "Value",
    "at",
    "block",
    "cursor",
    "flow",
    "formatted",
    "plain",
    "read",
    "read_mapping",
    "read_value",
    "remarks",
]
