"""Other evaluators of CEL, each behind the same interface, to compare the product's with."""

from __future__ import annotations

import importlib.util

from tests.support.oracles.celpy_oracle import CelPython
from tests.support.oracles.engine import Engine

ORACLES: list[Engine] = [CelPython()]
if importlib.util.find_spec("cel_expr_python"):
    from tests.support.oracles.google import CelExpr

    ORACLES.append(CelExpr())
