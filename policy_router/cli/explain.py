"""The command ``explain``: why a task runs on what it does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from policy_router.cli.inputs import UsageError, of_batch, read_policy, read_requests_or_records
from policy_router.cli.options import REQUEST, add_now, add_policy
from policy_router.cli.terminal import out, paint_for
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.explanation import Explanation, explain
from policy_router.decision.record import DecisionRecord


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument("request", metavar="REQUEST|RECORD", help=f"{REQUEST}; or a record")
    parser.add_argument("--why-not", metavar="NAME", help="explain why this name was not selected")
    parser.add_argument("--task", metavar="N", type=int, help="only this task of a batch, from 0")
    add_now(parser)


def run(options: argparse.Namespace) -> None:
    """Explain decisions, made now or recorded before."""
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


def print_pages(pages: Mapping[int, Explanation], *, is_full: bool, is_batch: bool) -> None:
    """Print explanations by their tasks' numbers; those of a batch are shown."""
    texts = []
    for position, page in pages.items():
        text = page.to_text(paint_for(sys.stdout), full=is_full)
        texts.append(f"task {position}: {text}" if is_batch else text)
    if texts:
        out("\n\n".join(texts))
