"""The command ``explain``: the reasons of a decision, or the page of a diagnostic."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Mapping

from policy_router.cli.inputs import UsageError, of_batch, read_policy, read_requests_or_records
from policy_router.cli.options import POLICY, REQUEST, add_now, add_strict
from policy_router.cli.terminal import out, paint_for
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.explanation import Explanation, explain
from policy_router.decision.record import DecisionRecord
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import did_you_mean
from policy_router.files.loader import data_folder

_CODE = re.compile(r"[Pp][Rr]-?\d\w{0,9}")
_LINK = re.compile(r"\[([^\]\n]+)\]\([^)\n]+\)")
_COLUMNS = 80


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("policy", metavar="POLICY|CODE", help=f"{POLICY}; or a diagnostic's code")
    add_strict(parser)
    help_ = f"{REQUEST}; or a record"
    parser.add_argument("request", metavar="REQUEST|RECORD", nargs="?", help=help_)
    parser.add_argument("--why-not", metavar="NAME", help="explain why this name was not selected")
    parser.add_argument("--task", metavar="N", type=int, help="only this task of a batch, from 0")
    add_now(parser)


def run(options: argparse.Namespace) -> None:
    """Explain decisions, made now or recorded before; or print the page of a code."""
    if options.request is None:
        out(_page(options.policy))
        return
    policy = read_policy(options.policy, is_strict=options.strict)
    pages: dict[int, Explanation] = {}
    items = read_requests_or_records(options.request)
    if options.task is not None and options.task not in range(len(items)):
        raise UsageError(f"there is no task {options.task}: the batch has {len(items)}")
    for position, item in enumerate(items):
        if options.task not in {None, position}:
            continue
        if isinstance(item, DecisionRecord):
            record = item
        else:
            with of_batch(position if len(items) > 1 else None):
                record = decide(policy, item, now=options.now)
        pages[position] = explain(policy, record, why_not=options.why_not)
    print_pages(pages, is_full=options.verbose > 0, is_batch=len(items) > 1)


def _page(code: str) -> str:
    """Return the page of a code that a person wrote."""
    if not _CODE.fullmatch(code):
        raise UsageError(
            "expected a request or a record, or in place of the policy a code such as PR306"
        )
    code = code.upper().replace("-", "")
    page = page_of(code)
    if page is None:
        remedy = did_you_mean(code, [it.value for it in Code], likeness=0.8)
        raise UsageError(f"there is no code {code}{f'; {remedy}' if remedy else ''}")
    return page


def page_of(code: str) -> str | None:
    """Return the page of a diagnostic's code, for a terminal; None where there is none."""
    file = data_folder("docs/diagnostics") / f"{code}.md"
    if not file.is_file():
        return None
    lines: list[str] = []
    is_code = False
    for line in file.read_text(encoding="utf-8").splitlines():
        is_code ^= line.startswith("```")
        lines += [line] if is_code or line.startswith("|") else _shown(line)
    return "\n".join(lines)


def _shown(line: str) -> list[str]:
    """Return a line of Markdown without links, in lines that fit."""
    indent = "  " if line.startswith("- ") else ""
    text = _LINK.sub(r"\1", line)
    return textwrap.wrap(
        text, _COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def print_pages(pages: Mapping[int, Explanation], *, is_full: bool, is_batch: bool) -> None:
    """Print explanations by their tasks' numbers; those of a batch are shown."""
    texts = []
    for position, page in pages.items():
        text = page.to_text(paint_for(sys.stdout), full=is_full)
        texts.append(f"task {position}: {text}" if is_batch else text)
    if texts:
        out("\n\n".join(texts))
