"""The command ``diff``: the differences between two policies, in words."""

from __future__ import annotations

import argparse
import json
import textwrap
from dataclasses import asdict

from policy_router.analysis.differing import changes
from policy_router.cli.inputs import read_policy
from policy_router.cli.options import POLICY, add_format
from policy_router.cli.terminal import counted, out, out_bytes
from policy_router.diagnostics.model import printable

_COLUMNS = 80


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("before", metavar="OLD", help=POLICY)
    parser.add_argument("after", metavar="NEW", help=POLICY)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Print the differences; that there are some is no failure."""
    before, after = (read_policy(path, is_strict=False) for path in (options.before, options.after))
    found = changes(before, after)
    if options.format == "json":
        content = {
            "before": before.revision,
            "after": after.revision,
            "changes": [asdict(change) for change in found],
        }
        out_bytes(json.dumps(content, ensure_ascii=False, indent=2).encode())
        return
    for change in found:
        text = printable(str(change))
        out("\n".join(textwrap.wrap(text, _COLUMNS, subsequent_indent=" " * 11) or [text]))
    if options.quiet:
        return
    if before.revision == after.revision:
        out("they are the same policy")
    else:
        out(f"{counted(len(found), 'difference')}; what they come to:")
        out(f"  policy-router compare {options.before} {options.after}")
        out(f"  policy-router replay LOG --against {options.after}")
