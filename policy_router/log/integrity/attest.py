"""After damage: a signed statement that names the lines, so that the log can go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from policy_router.errors import LogError
from policy_router.files.clock import Clock, system_clock
from policy_router.log.damage import Problem
from policy_router.log.folder import LogFolder
from policy_router.log.integrity.verify import VerifyReport, verify
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.signing import auditing
from policy_router.log.sign.statements import Accepted, state


def attest(
    folder: str | Path,
    accepted: Sequence[Accepted],
    signer: Signer,
    *,
    clock: Clock = system_clock,
) -> VerifyReport:
    """State that lines are missing or changed, and that this is known.

    Nothing is shown by such lines any more. What is wrong beside them stays a problem.

    Args:
        folder: the log.
        accepted: the lines.
        signer: the key of the log.
        clock: the time of the statement.

    Returns:
        What is found after it.

    Raises:
        LogError: nothing is wrong with lines that are named, or the statement cannot be written.
    """
    log = LogFolder.existing(folder)
    before = verify(folder, verifier=signer.verifier(), clock=clock)
    parts = before.integrity, before.completeness, before.authenticity
    problems = [*before.accepted, *(it for part in parts for it in part.problems)]
    for it in accepted:
        _check_known(log, problems, it)
    with auditing(log):
        state(log, before.origin or signer.name, int(clock().timestamp()), accepted, signer)
    return verify(folder, verifier=signer.verifier(), clock=clock)


def _check_known(log: LogFolder, problems: Sequence[Problem], accepted: Accepted) -> None:
    """Refuse lines with which nothing is wrong: nobody would look at them any more."""
    writer, place = accepted.writer, accepted.first
    if accepted.last < place:
        raise LogError(str(log.path), f"{writer}:{place}-{accepted.last} names no line")
    for first, last in sorted(it.lines for it in problems if it.lines and _of(it) == writer):
        if first <= place <= last:
            place = last + 1
    if place <= accepted.last:
        lines = f"{writer}:{place}-{accepted.last}"
        reason = f"nothing is known to be wrong with {lines}: name only what log verify lists"
        raise LogError(str(log.path), reason)


def _of(problem: Problem) -> str:
    """Return the writer that a problem is about."""
    return problem.where.partition("/")[0]
