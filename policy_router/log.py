"""What a program does with decision logs besides writing one: the public names of all that.

:class:`policy_router.DecisionLog` writes. Here is what hosts hand to it themselves, and what
auditors read, verify, sign, prove, replay and prune with.
"""

from policy_router.runtime.log.entry import Call, Execution, LogEntry
from policy_router.runtime.log.read.reading import Line, LogReader
from policy_router.runtime.log.replay.replaying import ReplayReport, replay_log
from policy_router.runtime.log.replay.what_if import what_if
from policy_router.runtime.log.replay.what_if_report import WhatIf
from policy_router.runtime.log.sign.checkpoints import verify_growth, verify_proof
from policy_router.runtime.log.sign.keys import (
    SignatureError,
    Signer,
    Verifier,
    new_signer,
    read_signer,
    read_verifier,
)
from policy_router.runtime.log.sign.notes import ConsistencyProof as GrowthProof
from policy_router.runtime.log.sign.notes import InclusionProof as Proof
from policy_router.runtime.log.sign.signing import make_checkpoint, prove, prove_growth
from policy_router.runtime.log.verify.prune import prune
from policy_router.runtime.log.verify.verify import NotWholeError, Report, verify
from policy_router.runtime.log.write.decision_log import DecisionLog
from policy_router.runtime.log.write.drafts import Decided

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
