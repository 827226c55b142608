"""The formats of continuous integration: annotations of GitHub, JUnit's XML, SARIF."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from policy_router.diagnostics.codes import Severity
from policy_router.diagnostics.model import Diagnostic, Span
from policy_router.version import VERSION

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HINT: "notice"}
_SARIF_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HINT: "note"}
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


class Case(NamedTuple):
    """A line of a report in JUnit's format.

    Attributes:
        name: what was tested.
        failure: what failed, or None; its first line is the summary.
        skipped: why it was not run, or None.
    """

    name: str
    failure: str | None = None
    skipped: str | None = None


def annotation(span: Span | None, title: str, message: str, level: str = "error") -> str:
    """Return a finding as a line that GitHub shows beside the source.

    Source: GitHub, "Workflow commands for GitHub Actions".
    """
    places = {}
    if span is not None:
        (line, column), (end_line, end_column) = span.position, span.end_position
        places = {"file": span.source.name, "line": line, "col": column, "endLine": end_line}
        places |= {"endColumn": end_column} if end_line == line else {}
    pairs = {**places, "title": title}.items()
    properties = ",".join(f"{key}={_property(str(value))}" for key, value in pairs)
    return f"::{level} {properties}::{_data(message)}"


def annotation_of(item: Diagnostic) -> str:
    """Return a diagnostic as a line that GitHub shows beside the source."""
    remedy = f"\nhelp: {item.help}" if item.help else ""
    title = f"{item.code}: {item.path}"
    return annotation(item.span, title, f"{item.message}{remedy}", _LEVELS[item.severity])


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def junit(suites: Iterable[tuple[str, Sequence[Case]]]) -> str:
    """Return a report in JUnit's format, as continuous integration reads it.

    Args:
        suites: names, each with its cases.
    """
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for name, cases in suites:
        failed = sum(case.failure is not None for case in cases)
        skipped = sum(case.skipped is not None for case in cases)
        counts = f'tests="{len(cases)}" failures="{failed}" errors="0" skipped="{skipped}"'
        lines.append(f"  <testsuite name={_attribute(name)} {counts}>")
        lines += [_case(name, case) for case in cases]
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>"])


def _case(suite: str, case: Case) -> str:
    inner = ""
    if case.failure is not None:
        summary = case.failure.partition("\n")[0]
        inner = f"<failure message={_attribute(summary)}>{escape(_xml(case.failure))}</failure>"
    elif case.skipped is not None:
        inner = f"<skipped message={_attribute(case.skipped)}/>"
    names = f"classname={_attribute(suite)} name={_attribute(case.name)}"
    return f"    <testcase {names}>{inner}</testcase>"


def _attribute(text: str) -> str:
    return quoteattr(_xml(text), {"\n": "&#10;"})


def _xml(text: str) -> str:
    """Replace what XML 1.0 cannot hold."""
    return _NO_XML.sub("\ufffd", text)


def sarif(found: Iterable[Diagnostic]) -> str:
    """Return diagnostics in SARIF 2.1.0 (OASIS), as code scanning reads them."""
    items = list(found)
    codes = sorted({item.code.value for item in items})
    rules = [{"id": it, "help": {"text": f"See: policy-router explain {it}"}} for it in codes]
    return _sarif_run(rules, [_sarif_result(item, codes) for item in items])


def sarif_of(results: Iterable[Mapping[str, Any]], rules: Mapping[str, str]) -> str:
    """Return findings without a code in SARIF 2.1.0.

    Args:
        results: what SARIF says of each, with ``place`` (file, line, column) for its location.
        rules: the ids of what they are about, with a sentence each.
    """
    known = [{"id": it, "shortDescription": {"text": text}} for it, text in rules.items()]
    return _sarif_run(known, [_located(it, [*rules]) for it in results])


def _located(result: Mapping[str, Any], rules: list[str]) -> dict[str, Any]:
    found = {key: it for key, it in result.items() if key != "place"}
    found["ruleIndex"] = rules.index(result["ruleId"])
    if "place" in result:
        file, line, column = result["place"]
        region = {"startLine": line, "startColumn": column}
        location = {"artifactLocation": {"uri": _uri(file)}, "region": region}
        found["locations"] = [{"physicalLocation": location}]
    return found


def _sarif_run(rules: list[dict[str, Any]], results: list[dict[str, Any]]) -> str:
    run = {
        "tool": {"driver": {"name": "policy-router", "version": VERSION, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _sarif_result(item: Diagnostic, codes: list[str]) -> dict[str, Any]:
    (line, column), (end_line, end_column) = item.span.position, item.span.end_position
    region = {"startLine": line, "startColumn": column, "endLine": end_line}
    help_ = f"\n{item.help}" if item.help else ""
    return {
        "ruleId": item.code.value,
        "ruleIndex": codes.index(item.code.value),
        "level": _SARIF_LEVELS[item.severity],
        "message": {"text": f"{item.message}{help_}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(item.span.source.name)},
                    "region": {**region, "endColumn": end_column},
                },
                "logicalLocations": [{"fullyQualifiedName": item.path}],
            }
        ],
    }


def _uri(name: str) -> str:
    from urllib.parse import quote

    return quote(name.replace("\\", "/"))
