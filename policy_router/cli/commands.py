"""What the commands do. Each takes the parsed options and returns the exit code."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
from pathlib import Path

from msgspec import UnsetType

from policy_router.cli import GOOD, NOT_WHOLE, POLICY_ERRORS, REFUSED, USAGE
from policy_router.cli.requests import at_position, read_requests, read_requests_or_records
from policy_router.cli.terminal import counted, err, out, out_bytes, paint_for, table
from policy_router.decision.askable import menu_as_json, permitted_entries
from policy_router.decision.evaluator import decide
from policy_router.decision.explain import Explanation, explain
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request, moment
from policy_router.decision.wording import spelt_target, spelt_warning
from policy_router.diagnostics import printable, quote
from policy_router.domain import WISHES, Policy, PoolEntry
from policy_router.errors import LogError, PolicyError, PolicyRouterError, RequestError, reason_of
from policy_router.runtime.loader import check, data_folder
from policy_router.runtime.router import system_clock


class _UsageError(PolicyRouterError):
    """A command that cannot be carried out as it was asked for."""


def run(options: argparse.Namespace) -> int:
    """Run the command that was asked for; what goes wrong is said here, in one way."""
    try:
        now = getattr(options, "now", None)
        options.now = moment(now) if now else system_clock()
        return int(_COMMANDS[options.command](options))
    except PolicyError as problem:
        err(problem.diagnostics.to_text(paint_for(sys.stderr)))
        strict = "has warnings, and is refused with --strict"
        what = "has errors and cannot be used" if problem.diagnostics.errors else strict
        err(f"policy-router: the policy {what}")
        return POLICY_ERRORS
    except LogError as problem:
        err(f"policy-router: {printable(str(problem))}")
        return _log_error_code(options, problem)
    except (PolicyRouterError, ModuleNotFoundError) as problem:
        err(f"policy-router: {printable(str(problem))}")
        return USAGE


def _log_error_code(options: argparse.Namespace, problem: LogError) -> int:
    """Return what a log that cannot be used comes to: what would be logged there is refused."""
    from policy_router.runtime.log.verify.verify import NotWholeError

    if isinstance(problem, NotWholeError):
        return NOT_WHOLE
    return REFUSED if options.command in {"decide", "delegate"} else USAGE


def _check(options: argparse.Namespace) -> int:
    from policy_router.cli.checking import check_policies

    return check_policies([_existing(path) for path in dict.fromkeys(options.paths)], options)


def _decide(options: argparse.Namespace) -> int:
    """Decide one request or a batch, all of it before anything is printed."""
    policy = _policy(options, options.policy)
    requests, is_batch = read_requests(options.request)
    records = [
        _decided(policy, request, options.now, position if is_batch else None)
        for position, request in enumerate(requests)
    ]
    if options.log is not None:
        _log(options, policy, records)
    if options.format == "json":
        for record in records:
            out_bytes(record.to_json())
    else:
        _print_decisions(options, policy, records)
    refused = any(record.decision.outcome == "refused" for record in records)
    return REFUSED if refused else GOOD


def _log(options: argparse.Namespace, policy: Policy, records: list[DecisionRecord]) -> None:
    """Log decisions before anything is said of them."""
    from policy_router.cli.writing import log_for
    from policy_router.runtime.ids import uuid7
    from policy_router.runtime.log.write.drafts import Decided

    with log_for(options) as log:
        now = moment(options.now)
        log.decisions(
            policy, [Decided(record, uuid7(now), options.parent_id) for record in records]
        )


def _decided(
    policy: Policy, request: Request, now: datetime.datetime | str, position: int | None
) -> DecisionRecord:
    """Decide one request; ``position`` is its place in a batch, for errors."""
    try:
        return decide(policy, request, now=now)
    except RequestError as problem:
        if position is None:
            raise
        raise at_position(problem, position) from None


def _print_decisions(
    options: argparse.Namespace, policy: Policy, records: list[DecisionRecord]
) -> None:
    if options.verbose:
        full = options.verbose > 1
        pages = {number: explain(policy, record) for number, record in enumerate(records)}
        _print_pages(pages, full=full, numbered=len(pages) > 1)
        return
    rows = [(str(number), _wishes(record), *_row(record)) for number, record in enumerate(records)]
    if options.quiet:
        for row in rows:
            out(row[3])
        return
    if not rows:
        return
    out(table(("task", "asked for", "outcome", "target", "rule", "note"), rows))
    if options.request != "-":
        paths = shlex.join([options.policy, options.request])
        out(f"next: policy-router explain {paths}")


def _wishes(record: DecisionRecord) -> str:
    wishes = []
    for level in WISHES:
        wish = record.request.get(level, {})
        name = " at ".join(part for part in (wish.get("model"), wish.get("provider")) if part)
        if name:
            wishes.append(f"{quote(name).strip('`')} ({level})")
    return ", ".join(wishes) or "-"


def _row(record: DecisionRecord) -> tuple[str, str, str, str]:
    decision = record.decision
    notes = [spelt_warning(warning) for warning in decision.warnings]
    if not isinstance(decision.target, UnsetType):
        note = "; ".join(notes)
        return "selected", spelt_target(decision.target), str(decision.rule), note
    refusal = decision.refusal
    if isinstance(refusal, UnsetType):  # pragma: no cover - a record has one or the other
        return "refused", "-", "-", ""
    notes.append(f"{refusal.code}: {printable(refusal.message).rstrip('.')}")
    if not isinstance(refusal.permitted, UnsetType):
        notes.append(f"permitted: {', '.join(refusal.permitted) or 'nothing'}")
    return "refused", "-", refusal.rule or "-", "; ".join(notes)


def _explain(options: argparse.Namespace) -> int:
    """Explain decisions, made now or recorded before."""
    policy = _policy(options, options.policy)
    pages: dict[int, Explanation] = {}
    items = read_requests_or_records(options.request)
    if options.task is not None and options.task not in range(len(items)):
        raise _UsageError(f"there is no task {options.task}: the batch has {len(items)}")
    for position, item in enumerate(items):
        if options.task not in {None, position}:
            continue
        if isinstance(item, DecisionRecord):
            record = item
        else:
            where = position if len(items) > 1 else None
            record = _decided(policy, item, options.now, where)
        pages[position] = explain(policy, record, why_not=options.why_not)
    _print_pages(pages, full=options.verbose > 0, numbered=len(items) > 1)
    return GOOD


def _print_pages(pages: dict[int, Explanation], *, full: bool, numbered: bool) -> None:
    texts = []
    for position, page in pages.items():
        text = page.to_text(paint_for(sys.stdout), full=full)
        texts.append(f"task {position}: {text}" if numbered else text)
    if texts:
        out("\n\n".join(texts))


def _menu(options: argparse.Namespace) -> int:
    """List what may be asked for: by anybody, or by the caller of a request."""
    policy = _policy(options, options.policy)
    entries = policy.pool or ()
    if options.request is not None:
        requests, _ = read_requests(options.request)
        if len(requests) != 1:
            raise _UsageError("menu takes one request, not a batch")
        entries = permitted_entries(policy, requests[0], options.now)
    if options.format == "json":
        menu = menu_as_json(policy, entries)
        out_bytes(json.dumps(menu, indent=2, ensure_ascii=False).encode())
    else:
        _print_menu(options, policy, entries)
    return GOOD


def _print_menu(
    options: argparse.Namespace, policy: Policy, entries: tuple[PoolEntry, ...]
) -> None:
    if policy.pool is None:
        out("there is no pool: any model may be asked for")
        return
    if not entries:
        out("nothing may be asked for")
        return
    heads = ("name", "model", "provider", "$ in", "$ out", "strengths")
    out(table(heads, [_menu_row(entry) for entry in entries]))
    if not options.quiet:
        out("prices: US dollars per million tokens")


def _menu_row(entry: PoolEntry) -> tuple[str, ...]:
    prices = (entry.price.input, entry.price.output)
    return (
        printable(entry.name),
        printable(entry.model),
        printable(entry.provider) or "(parent's)",
        *("-" if price is None else f"{price:g}" for price in prices),
        printable(", ".join(entry.strengths)),
    )


def _tool(options: argparse.Namespace) -> int:
    from policy_router.cli.delegation import print_tool

    return print_tool(_policy(options, options.policy), options)


def _delegate(options: argparse.Namespace) -> int:
    from policy_router.cli.delegation import delegate

    return delegate(_policy(options, options.policy), options)


def _of_log(options: argparse.Namespace) -> int:
    from policy_router.cli.logs import run_log

    return run_log(options)


def _replay(options: argparse.Namespace) -> int:
    from policy_router.cli.replays import replay, replay_against

    if options.against is None:
        return replay(options)
    return replay_against(_policy(options, options.against), options)


def _serve(options: argparse.Namespace) -> int:
    from policy_router.cli.serving import serve, settings_from
    from policy_router.server.reloading import RuleFiles

    settings = settings_from(options)
    options.strict = settings.strict
    files = RuleFiles.now(_existing(options.policy))
    return serve(files, _policy(options, options.policy), settings, options)


def _mcp(options: argparse.Namespace) -> int:
    from policy_router.cli.mcp import mcp

    return mcp(_policy(options, options.policy), options)


def _token(options: argparse.Namespace) -> int:
    from policy_router.cli.serving import token

    return token(options)


def _schema(options: argparse.Namespace) -> int:
    """Print a published schema, byte for byte."""
    file = data_folder("schemas") / f"{options.name}.schema.json"
    out_bytes(file.read_bytes().rstrip(b"\n"))
    return GOOD


def _init(options: argparse.Namespace) -> int:
    """Write a policy to begin with, and the schema that editors read it by."""
    folder = Path(options.folder)
    contents = {
        "policy.yaml": (data_folder("rules") / "starter.yaml").read_text(encoding="utf-8"),
        "policy.schema.json": (data_folder("schemas") / "policy.schema.json").read_text(
            encoding="utf-8"
        ),
    }
    taken = [name for name in contents if (folder / name).exists()]
    if taken:
        raise _UsageError(f"{folder / taken[0]} is there already and is left as it is")
    _write(folder, contents)
    policy = folder / "policy.yaml"
    if not options.quiet:
        out(f"wrote {policy} and, for editors, {folder / 'policy.schema.json'}")
        out(f"next: edit it, then policy-router check {policy}")
    return GOOD


def _write(folder: Path, contents: dict[str, str]) -> None:
    """Write new files, all or none."""
    written: list[Path] = []
    file = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            file = folder / name
            with file.open("x", encoding="utf-8", newline="\n") as stream:
                written.append(file)
                stream.write(content)
    except (OSError, ValueError) as problem:
        for half_written in written:
            half_written.unlink(missing_ok=True)
        raise _UsageError(f"{file}: {reason_of(problem)}") from None


def _policy(options: argparse.Namespace, path: str) -> Policy:
    """Return a policy to use, and say how many warnings it has."""
    policy, found = check(_existing(path))
    if policy is None or (options.strict and found.warnings):
        raise PolicyError(found)
    if found.warnings:
        count = counted(found.warnings, "warning")
        err(f"policy-router: {count}; see: policy-router check {shlex.quote(path)}")
    return policy


def _existing(path: str) -> str:
    try:
        exists = Path(path).exists()
    except (OSError, ValueError):  # a name that no file can have
        exists = False
    if not exists:
        raise _UsageError(f"there is no file or folder {path[:200]}")
    return path


_COMMANDS = {
    "check": _check,
    "decide": _decide,
    "explain": _explain,
    "menu": _menu,
    "tool": _tool,
    "delegate": _delegate,
    "log": _of_log,
    "replay": _replay,
    "serve": _serve,
    "mcp": _mcp,
    "token": _token,
    "schema": _schema,
    "init": _init,
}
