"""The command ``mcp``: a process that answers one agent, which starts it, over MCP."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policy_router.cli.decision_log import add_origin, add_tags, check_origin, check_tags, whose
from policy_router.cli.inputs import name_of, read_policy, read_value
from policy_router.cli.options import add_policy
from policy_router.decision.fitting import checked
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.domain import Policy
from policy_router.errors import LogError, RequestError, needs_extra
from policy_router.files.clock import system_clock
from policy_router.files.ids import check_session
from policy_router.log.entry import Kind, is_id
from policy_router.log.read.reading import LogReader
from policy_router.log.write.decision_log import DecisionLog
from policy_router.server.asking import Marks
from policy_router.server.auditing import Auditors
from policy_router.server.deciding import Agents
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.helpers import Helpers
from policy_router.server.mcp_schemas import VERIFIED
from policy_router.server.settings import Settings
from policy_router.server.tracing import Spans
from policy_router.server.trust import Trust

_MOST = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument(
        "--facts", metavar="FILE", help="caller, parent, budget and facts of every request"
    )
    parser.add_argument("--log", metavar="DIR", help="write a decision log to this folder")
    parser.add_argument("--session", metavar="ID", help="the session, for the log")
    add_tags(parser)
    add_origin(parser)


def run(options: argparse.Namespace) -> None:
    """Answer at standard input until it ends."""
    policy = read_policy(options.policy, is_strict=options.strict)
    given = _given(policy, options.facts)
    with needs_extra("mcp", "mcp", "MCP"):
        from policy_router.server.mcp import Tools
    marks, log = _marks(options), None
    if options.log is not None:
        commit = options.origin_commit
        log = DecisionLog(options.log, origin_commit=commit, loaded_by=whose())
    earlier = _Earlier(options.log)
    agents = Agents(
        lambda: policy,
        Trust(earlier, marks=marks),
        log=log,
        clock=system_clock,
        earlier=earlier,
        unlogged=lambda: None,
        spans=Spans.installed(),
    )

    async def serve(shared: str) -> None:
        auditors = Auditors(
            lambda: policy,
            log=options.log,
            index=None,
            earlier=earlier,
            helpers=Helpers(Settings(), Path(shared)),
            clock=system_clock,
        )
        await Tools(lambda: policy, agents, auditors, lambda _record: None, given=given).serve()
        if log is not None:
            await log.aclose()

    with tempfile.TemporaryDirectory(prefix="policy-router-") as shared:
        _end_at_once(shared)
        asyncio.run(serve(shared))


def _end_at_once(shared: str) -> None:
    """Let a signal end the process as it is: what reads standard input cannot be woken up.

    All that was answered is in the log.
    """

    def end(number: int, _frame: object) -> None:
        shutil.rmtree(shared, ignore_errors=True)
        os._exit(128 + number)  # as a shell has it

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _marks(options: argparse.Namespace) -> Marks:
    """Return what the log has of every decision besides.

    Raises:
        RequestError: no line can have it.
    """
    check_origin(options)
    check_tags(options)
    if options.session is not None:
        check_session(options.session)
    return Marks(options.session, tuple(options.tag))


def _given(policy: Policy, path: str | None) -> Mapping[str, Any]:
    """Return what the host states about every request, held against the policy.

    Raises:
        RequestError: the file cannot be read, or does not fit.
    """
    if path is None:
        return {}
    content = read_value(path)
    request = Request.from_mapping(content)
    for section in request.given:
        if section not in VERIFIED:
            reason = f"the file states {', '.join(VERIFIED)}; the agent states the rest"
            raise RequestError(f"{name_of(path)}: $.{section}", reason)
    # What a policy requires may be the agent's to state, so it is asked for later.
    return checked(dataclasses.replace(policy, required=()), request).given


class _Earlier(EarlierDecisions):
    """The last decisions of this process, and behind them the log, line by line."""

    def __init__(self, log: str | None) -> None:
        super().__init__(None)
        self._log = log
        self._records: dict[str, DecisionRecord] = {}

    def keep(self, decision_id: str, record: DecisionRecord) -> None:
        """Remember a decision, and forget the oldest where there are too many."""
        self._records[decision_id] = record
        if len(self._records) > _MOST:
            del self._records[next(iter(self._records))]

    async def record(self, decision_id: str) -> DecisionRecord | None:
        """Return the record of a decision; None where there is none."""
        record = self._records.get(decision_id)
        if record is not None or self._log is None or not is_id(decision_id):
            return record
        return await asyncio.to_thread(_logged, self._log, decision_id)


def _logged(log: str, decision_id: str) -> DecisionRecord | None:
    try:
        entries = [line.entry for line in LogReader(log).about(decision_id)]
    except LogError:
        return None
    return next((it.decision_record for it in entries if it.kind is Kind.DECISION), None)
