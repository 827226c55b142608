"""Policy tests: what a policy is to decide, written beside it.

A suite is a file ``*_test.yaml``, whose shape is ``schemas/policy-test.schema.json``. A program
runs suites as the command line does::

    from policy_router.analysis import run_tests

    for result in run_tests("rules"):
        assert result.passed

:func:`complete` and :func:`describe` are for editors: what may stand at a place of a file, and what
stands there.
"""

from policy_router.analysis.completing import Completion, complete
from policy_router.analysis.coverage import Coverage
from policy_router.analysis.coverage_report import CoverageItem, CoverageReport
from policy_router.analysis.describing import Description, describe
from policy_router.analysis.expectations import Difference
from policy_router.analysis.running import (
    Coverages,
    PolicyTestResult,
    PolicyTestStatus,
    SuiteResult,
    run_suite,
    run_tests,
)
from policy_router.analysis.suites import PolicyTest, Suite, read_suite, suite_files

__all__ = [
    "Completion",
    "Coverage",
    "CoverageItem",
    "CoverageReport",
    "Coverages",
    "Description",
    "Difference",
    "PolicyTest",
    "PolicyTestResult",
    "PolicyTestStatus",
    "Suite",
    "SuiteResult",
    "complete",
    "describe",
    "read_suite",
    "run_suite",
    "run_tests",
    "suite_files",
]
