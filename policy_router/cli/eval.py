"""The command ``eval``: the value of one condition, with the values of its parts."""

from __future__ import annotations

import argparse
import json
import sys

from policy_router.analysis.expressions import evaluate_expression
from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS
from policy_router.cli.inputs import UsageError, read_policy, read_requests
from policy_router.cli.options import POLICY, add_format, add_now
from policy_router.cli.terminal import err, out, out_bytes, paint_for
from policy_router.decision.explain.trace import trace_as_json
from policy_router.decision.request import Request
from policy_router.errors import PolicyError
from policy_router.files.loader import loads

_GIVEN_BY = {"target": "target", **dict.fromkeys(("facts", "variables", "tables"), "policy")}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("expression", metavar="CEL", help="a condition, or another expression")
    parser.add_argument(
        "request", metavar="REQUEST", nargs="?", help="a request to read; default: nothing is given"
    )
    parser.add_argument("--policy", help=f"for its facts, variables and tables: {POLICY}")
    parser.add_argument("--target", metavar="NAME", help="the entry that `target` stands for")
    add_now(parser, "value of `now`")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate an expression for a request."""
    if options.policy is None:
        policy = loads("version: 1", name="expression")
    else:
        policy = read_policy(options.policy, is_strict=False)
    requests = [Request()] if options.request is None else read_requests(options.request)[0]
    if len(requests) != 1:
        raise UsageError("eval takes one request, not a batch")
    try:
        done = evaluate_expression(
            policy, options.expression, requests[0], now=options.now, target=options.target
        )
    except PolicyError as problem:
        err(problem.diagnostics.to_text(paint_for(sys.stderr)))
        messages = [item.message for item in problem.diagnostics]
        for root, option in _GIVEN_BY.items():
            if getattr(options, option) is None and any(f"`{root}`" in it for it in messages):
                err(f"policy-router: `{root}` is given by --{option}")
        return POLICY_ERRORS
    if options.format == "json":
        found = trace_as_json(done.trace)
        out_bytes(json.dumps(found, ensure_ascii=False, indent=2).encode())
    elif options.quiet:
        out(done.trace.value)
    else:
        for line in done.trace.lines():
            out(line)
    return GOOD
