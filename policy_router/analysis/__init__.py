"""Policy tests: what a policy is to decide, written beside it; and questions about all requests.

A suite is a file ``*_test.yaml``, whose shape is ``schemas/policy-test.schema.json``. A program
runs suites as the command line does::

    from policy_router.analysis import run_tests

    for result in run_tests("rules"):
        assert result.passed

With the extra ``prove``, :func:`analyze`, :func:`prove` and :func:`compare` answer questions about
all requests at once, as the commands of these names do.

:func:`complete` and :func:`describe` are for editors: what may stand at a place of a file, and what
stands there.
"""

from typing import TYPE_CHECKING

from policy_router import public_names
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

if TYPE_CHECKING:
    from policy_router.analysis.proof.analyzing import Analysis, analyze
    from policy_router.analysis.proof.asking import Answer
    from policy_router.analysis.proof.comparing import Comparison, compare
    from policy_router.analysis.proof.proving import Proofs, prove

_PROOF = {
    "Analysis": "analyzing",
    "Answer": "asking",
    "Comparison": "comparing",
    "Proofs": "proving",
    "analyze": "analyzing",
    "compare": "comparing",
    "prove": "proving",
}
__getattr__, __dir__ = public_names.of(
    __name__, _PROOF, globals(), below="policy_router.analysis.proof"
)

__all__ = [
    "Analysis",
    "Answer",
    "Comparison",
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
    "Proofs",
    "Suite",
    "SuiteResult",
    "analyze",
    "compare",
    "complete",
    "describe",
    "prove",
    "read_suite",
    "run_suite",
    "run_tests",
    "suite_files",
]
