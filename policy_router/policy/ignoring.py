"""Remarks that silence a finding: ``# policy-router: ignore PR414 (why)``.

A remark is about its own line, or where it stands alone, about the next line that is no comment.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, SourceFile, Span
from policy_router.policy.yaml import remarks

_MARK = "policy-router:"
_REMARK = re.compile(rf"#[ \t]*{_MARK}[ \t]*(?P<said>.*)")
_IGNORE = re.compile(r"ignore[ \t]+(?P<code>PR\d{3})[ \t]*(?:\((?P<reason>.*)\))?[ \t]*")


def without_ignored(found: Sequence[Diagnostic], sources: Iterable[SourceFile]) -> list[Diagnostic]:
    """Leave out what remarks silence, and report the remarks that silence nothing.

    Args:
        found: everything that was found.
        sources: the files in which remarks are looked for.
    """
    marked = [source for source in sources if _MARK in source.text]
    if not marked:
        return list(found)
    at: dict[tuple[str, int, str], list[Diagnostic]] = defaultdict(list)
    for item in found:
        at[item.span.source.name, item.span.position[0], item.code].append(item)
    silenced: set[Diagnostic] = set()
    useless: list[Diagnostic] = []
    for source in marked:
        for span in remarks(source):
            remark = _REMARK.match(source.text, span.start, span.end)
            ignore = _IGNORE.fullmatch(remark["said"]) if remark else None
            place = (source.name, _line_of(span), ignore["code"] if ignore else "")
            problem = _problem(ignore, at.get(place, ())) if remark else None
            if problem:
                useless.append(_useless(span, problem))
            else:
                silenced.update(at.get(place, ()))
    return [item for item in found if item not in silenced] + useless


def _line_of(span: Span) -> int:
    """Return the line that a remark is about: its own, or the next that is no comment."""
    source, line = span.source, span.position[0]
    last, _ = source.position(len(source.text))
    while line < last and source.text[slice(*source.line_bounds(line))].lstrip().startswith("#"):
        line += 1
    return line


def _problem(ignore: re.Match[str] | None, items: Sequence[Diagnostic]) -> str | None:
    """Return why a remark silences nothing; None where it does."""
    if ignore is None:
        return "this remark is not understood"
    code = ignore["code"]
    if not (ignore["reason"] or "").strip():
        return f"the reason for ignoring `{code}` is missing"
    if any(item.severity is Severity.ERROR for item in items):
        return f"errors cannot be ignored, and `{code}` is one here"
    if code == Code.PAST_TIME:
        return None  # only `check` looks for it, on the day that it is asked
    return None if items else f"this ignores nothing: there is no `{code}` here"


def _useless(span: Span, message: str) -> Diagnostic:
    remedy = "write `# policy-router: ignore CODE (why)` on the line of a warning, or leave it out"
    return Diagnostic(Code.USELESS_IGNORE, Severity.WARNING, message, span, help=remedy)
