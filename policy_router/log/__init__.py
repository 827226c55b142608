"""The decision log: a folder that writers append to, and auditors read, verify, sign and replay.

:class:`policy_router.DecisionLog` writes. The public names here are what hosts hand to it
themselves, and what auditors read, verify, sign, prove, replay and prune with. Each is imported
when it is first asked for (PEP 562), so that writing a log loads nothing of reading one.
"""

from typing import TYPE_CHECKING

from policy_router import public_names

if TYPE_CHECKING:
    from policy_router.log.check.checking import check_log
    from policy_router.log.check.findings import CheckReport, Finding, FindingKind
    from policy_router.log.damage import NotWholeError
    from policy_router.log.entry import Call, Execution, LogEntry
    from policy_router.log.export.exporting import Exported, export_log
    from policy_router.log.integrity.attest import attest
    from policy_router.log.integrity.prune import prune
    from policy_router.log.integrity.verify import VerifyReport, verify
    from policy_router.log.read.reading import Line, LogReader
    from policy_router.log.replay.replaying import ReplayReport, replay_log
    from policy_router.log.replay.what_if import what_if
    from policy_router.log.replay.what_if_report import FlipRow, WhatIf
    from policy_router.log.report.dimensions import Filter
    from policy_router.log.report.live import LiveSpan, PolicyChange, live_policies, policy_changes
    from policy_router.log.report.log_report import LogReport, ReportRow, log_report
    from policy_router.log.sign.checkpoints import verify_growth, verify_proof
    from policy_router.log.sign.keys import (
        SignatureError,
        Signer,
        Verifier,
        new_signer,
        read_signer,
        read_verifier,
        read_verifiers,
    )
    from policy_router.log.sign.lines_proof import LinesProof, proof_bundle, prove_decisions
    from policy_router.log.sign.notes import ConsistencyProof, InclusionProof
    from policy_router.log.sign.proving import prove, prove_growth, prove_line
    from policy_router.log.sign.publishing import copy_log, newest_checkpoint, publish
    from policy_router.log.sign.signing import (
        NewCheckpoint,
        make_checkpoint,
        rotate_key,
    )
    from policy_router.log.sign.statements import Accepted
    from policy_router.log.sign.witness import cosign
    from policy_router.log.write.decision_log import DecisionLog
    from policy_router.log.write.drafts import Decided

__all__ = [
    "Accepted",
    "Call",
    "CheckReport",
    "ConsistencyProof",
    "Decided",
    "DecisionLog",
    "Execution",
    "Exported",
    "Filter",
    "Finding",
    "FindingKind",
    "FlipRow",
    "InclusionProof",
    "Line",
    "LinesProof",
    "LiveSpan",
    "LogEntry",
    "LogReader",
    "LogReport",
    "NewCheckpoint",
    "NotWholeError",
    "PolicyChange",
    "ReplayReport",
    "ReportRow",
    "SignatureError",
    "Signer",
    "Verifier",
    "VerifyReport",
    "WhatIf",
    "attest",
    "check_log",
    "copy_log",
    "cosign",
    "export_log",
    "live_policies",
    "log_report",
    "make_checkpoint",
    "new_signer",
    "newest_checkpoint",
    "policy_changes",
    "proof_bundle",
    "prove",
    "prove_decisions",
    "prove_growth",
    "prove_line",
    "prune",
    "publish",
    "read_signer",
    "read_verifier",
    "read_verifiers",
    "replay_log",
    "rotate_key",
    "verify",
    "verify_growth",
    "verify_proof",
    "what_if",
]

_MODULES = {
    "Accepted": "sign.statements",
    "Call": "entry",
    "CheckReport": "check.findings",
    "ConsistencyProof": "sign.notes",
    "Decided": "write.drafts",
    "DecisionLog": "write.decision_log",
    "Execution": "entry",
    "Exported": "export.exporting",
    "Filter": "report.dimensions",
    "Finding": "check.findings",
    "FindingKind": "check.findings",
    "FlipRow": "replay.what_if_report",
    "InclusionProof": "sign.notes",
    "Line": "read.reading",
    "LinesProof": "sign.lines_proof",
    "LiveSpan": "report.live",
    "LogEntry": "entry",
    "LogReader": "read.reading",
    "LogReport": "report.log_report",
    "NewCheckpoint": "sign.signing",
    "NotWholeError": "damage",
    "PolicyChange": "report.live",
    "ReplayReport": "replay.replaying",
    "ReportRow": "report.log_report",
    "SignatureError": "sign.keys",
    "Signer": "sign.keys",
    "Verifier": "sign.keys",
    "VerifyReport": "integrity.verify",
    "WhatIf": "replay.what_if_report",
    "attest": "integrity.attest",
    "check_log": "check.checking",
    "copy_log": "sign.publishing",
    "cosign": "sign.witness",
    "export_log": "export.exporting",
    "live_policies": "report.live",
    "log_report": "report.log_report",
    "make_checkpoint": "sign.signing",
    "new_signer": "sign.keys",
    "newest_checkpoint": "sign.publishing",
    "policy_changes": "report.live",
    "proof_bundle": "sign.lines_proof",
    "prove": "sign.proving",
    "prove_decisions": "sign.lines_proof",
    "prove_growth": "sign.proving",
    "prove_line": "sign.proving",
    "prune": "integrity.prune",
    "publish": "sign.publishing",
    "read_signer": "sign.keys",
    "read_verifier": "sign.keys",
    "read_verifiers": "sign.keys",
    "replay_log": "replay.replaying",
    "rotate_key": "sign.signing",
    "verify": "integrity.verify",
    "verify_growth": "sign.checkpoints",
    "verify_proof": "sign.checkpoints",
    "what_if": "replay.what_if",
}
"""The module of each public name."""

__getattr__, __dir__ = public_names.of(__name__, _MODULES, globals(), below=__name__)
