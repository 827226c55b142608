"""What a program does with decision logs besides writing one: the public names of all that.

:class:`policy_router.DecisionLog` writes. Here is what hosts hand to it themselves, and what
auditors read, verify, sign, prove, replay and prune with.
"""

from policy_router.runtime.log.checkpoints import verify_growth, verify_proof
from policy_router.runtime.log.decision_log import Decided, DecisionLog
from policy_router.runtime.log.entry import Call, Execution, LogEntry
from policy_router.runtime.log.keys import (
    SignatureError,
    Signer,
    Verifier,
    new_signer,
    read_signer,
    read_verifier,
)
from policy_router.runtime.log.notes import GrowthProof, Proof
from policy_router.runtime.log.prune import prune
from policy_router.runtime.log.reading import Line, LogReader
from policy_router.runtime.log.replaying import ReplayReport, replay_log
from policy_router.runtime.log.signing import make_checkpoint, prove, prove_growth
from policy_router.runtime.log.verify import NotWholeError, Report, verify
from policy_router.runtime.log.what_if import what_if
from policy_router.runtime.log.what_if_report import WhatIf

__all__ = [
    "Call",
    "Decided",
    "DecisionLog",
    "Execution",
    "GrowthProof",
    "Line",
    "LogEntry",
    "LogReader",
    "NotWholeError",
    "Proof",
    "ReplayReport",
    "Report",
    "SignatureError",
    "Signer",
    "Verifier",
    "WhatIf",
    "make_checkpoint",
    "new_signer",
    "prove",
    "prove_growth",
    "prune",
    "read_signer",
    "read_verifier",
    "replay_log",
    "verify",
    "verify_growth",
    "verify_proof",
    "what_if",
]
