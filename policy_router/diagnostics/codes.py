"""The codes of diagnostics, and how grave a finding is.

A code starts with ``PR1`` (YAML), ``PR2`` (schema), ``PR3`` (expressions), ``PR4`` (policy) or
``PR7`` (policy tests). Each code has a page in ``docs/diagnostics/``.
"""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How grave a finding is."""

    ERROR = "error"
    """The policy cannot be used."""
    WARNING = "warning"
    """The policy can be used, and is probably not what was meant."""
    HINT = "hint"
    """Worth a look; not counted as a problem."""


class Code(StrEnum):
    """The stable codes of the diagnostics. A code is never given a second meaning."""

    # YAML
    NOT_UTF8 = "PR101"
    FILE_TOO_LARGE = "PR102"
    YAML_SYNTAX = "PR103"
    EMPTY_FILE = "PR104"
    DUPLICATE_KEY = "PR105"
    ANCHOR_OR_ALIAS = "PR106"
    TAG = "PR107"
    MERGE_KEY = "PR108"
    TOO_DEEP = "PR109"
    TOO_MANY_NODES = "PR110"
    MANY_DOCUMENTS = "PR111"
    KEY_NOT_A_STRING = "PR112"
    UNREADABLE = "PR113"
    NO_RULE_FILES = "PR114"
    # Schema
    UNKNOWN_KEY = "PR201"
    WRONG_TYPE = "PR202"
    MISSING_KEY = "PR203"
    NOT_ALLOWED = "PR204"
    BAD_VALUE = "PR205"
    UNSUPPORTED_VERSION = "PR206"
    # Expressions
    UNKNOWN_NAME = "PR301"
    CEL_SYNTAX = "PR302"
    TYPE_MISMATCH = "PR303"
    NOT_A_CONDITION = "PR304"
    INT_WITH_DOUBLE = "PR305"
    UNGUARDED = "PR306"
    ALWAYS_PRESENT = "PR307"
    OUTSIDE_CLOSED_SET = "PR308"
    LIMIT_EXCEEDED = "PR309"
    OUTSIDE_PROFILE = "PR310"
    BAD_PATTERN = "PR311"
    BAD_LITERAL = "PR312"
    CONSTANT_PART = "PR313"
    FAILS = "PR314"
    MIXED_LOGIC = "PR315"
    IN_NO_ENTRY = "PR316"
    PAST_TIME = "PR317"
    ONLY_ASSERTED = "PR318"
    CONTROL_CHARACTER = "PR319"
    UNLIKELY_SPELLING = "PR320"
    UNLIKELY_LIST = "PR321"
    LOOSE_PATTERN = "PR322"
    # Policy
    DUPLICATE_NAME = "PR401"
    UNKNOWN_PROVIDER = "PR402"
    UNKNOWN_FALLBACK = "PR403"
    UNKNOWN_ENTRY = "PR404"
    SAME_TARGET = "PR405"
    ALIKE_BUT_FOR_NAME = "PR406"
    UNREACHABLE_RULE = "PR407"
    DEFAULT_OUTSIDE_POOL = "PR408"
    INLINE_SECRET = "PR409"  # noqa: S105 - the code of the diagnostic
    EMPTY_POOL = "PR410"
    UNKNOWN_PROFILE = "PR411"
    GIVEN_TWICE = "PR412"
    AMBIGUOUS_ENTRY = "PR413"
    NO_EFFECT = "PR414"
    SHADOWED_ALIAS = "PR415"
    RESERVED_PARAMETER = "PR416"
    OUTSIDE_LIMITS = "PR417"
    NEVER_ADMITTED = "PR418"
    NEVER_DECIDES = "PR419"
    WEAKER_GUARD = "PR420"
    NAME_OF_A_MODEL = "PR421"
    UNLIKELY_PRICE = "PR422"
    PARENTS_PROVIDER = "PR423"
    NO_ADDRESS = "PR424"
    NAME_WITH_A_MEANING = "PR425"
    UNLIKELY_ADDRESS = "PR426"
    UNLIKELY_PARAMETER = "PR427"
    BEYOND_LIMITS = "PR428"
    LETS_THROUGH = "PR429"
    ONLY_PICKED = "PR430"
    LOOKS_LIKE_RULES = "PR450"
    HOST_FALLBACK = "PR451"
    SWALLOWING_COMMENT = "PR452"
    USELESS_IGNORE = "PR453"
    # Suites of policy tests
    UNKNOWN_FIXTURE = "PR701"
    SENSELESS_EXPECTATION = "PR702"
    TOO_MANY_TESTS = "PR703"
