"""Profiles of hypothesis: ``ci`` by default, ``thorough`` with HYPOTHESIS_PROFILE=thorough."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# The helpers beside the tests are imported by their full names, such as
# `tests.property.reference`. The root goes last, so that an installed package wins over the
# checkout's: CI tests the built wheel.
_ROOT = str(Path(__file__).parents[2])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile(
    "ci", max_examples=100, deadline=None, database=None, suppress_health_check=SLOW
)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
