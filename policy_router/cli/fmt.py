"""The command ``fmt``: formats rule files and suites of tests."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS, USAGE
from policy_router.cli.inputs import exists, name_of, no_file, read_bytes
from policy_router.cli.terminal import counted, err, out, out_bytes, paint_for
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, Diagnostics, printable
from policy_router.files.loader import content_of
from policy_router.files.rule_files import rule_files, suites_in
from policy_router.policy.yaml import formatted


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="a rule file, a suite of tests, or a folder of them; - is standard input, and"
        " standard output then",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where a layout would change"
    )


def run(options: argparse.Namespace) -> int:
    """Change the layout of files: their white space, and nothing else."""
    paths = list(dict.fromkeys(options.paths))
    missing = [path for path in paths if path != "-" and not exists(path)]
    found: list[Diagnostic] = []
    is_changed = False
    if "-" in paths:
        is_changed = _standard_input(found, is_check=options.check)
    files = dict.fromkeys(
        file for it in paths if it not in {"-", *missing} for file in _files(it, found)
    )
    changed = [file for file in files if _is_changed(file, found, is_check=options.check)]
    diagnostics = Diagnostics.of(it for it in found if it.severity is Severity.ERROR)
    if diagnostics:
        err(diagnostics.to_text(paint_for(sys.stderr)))
    _report(changed, len(files), options)
    for path in missing:
        err(f"policy-router: {printable(no_file(path))}")
    if missing:
        return USAGE
    fails = diagnostics.errors or (options.check and (changed or is_changed))
    return POLICY_ERRORS if fails else GOOD


def _files(path: str, found: list[Diagnostic]) -> Iterable[Path]:
    """Return the files of a path; of a folder, the rule files and the suites."""
    place = Path(path)
    if not place.is_dir():
        return [place]
    problems: list[Diagnostic] = []
    files = sorted({*rule_files(place, problems), *suites_in(place)})
    found += [it for it in problems if not (files and it.code is Code.NO_RULE_FILES)]
    return files


def _is_changed(file: Path, found: list[Diagnostic], *, is_check: bool) -> bool:
    """Tell whether the layout of a file changes, and change it if it may be."""
    content = content_of(file, found)
    if content is None:
        return False
    text, problems = formatted(str(file), content)
    found += problems
    if text is None or text.encode() == content:
        return False
    if not is_check:
        _replace(file, text.encode())
    return True


def _replace(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; who reads it meanwhile sees the old one or the new one."""
    place = file.resolve()  # behind a link
    new = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        new.write_bytes(content)
        shutil.copymode(place, new)
        new.replace(place)
    finally:
        new.unlink(missing_ok=True)


def _standard_input(found: list[Diagnostic], *, is_check: bool) -> bool:
    content = read_bytes("-")
    text, problems = formatted(name_of("-"), content)
    found += problems
    if text is not None and not is_check:
        out_bytes(text.encode(), end=b"")
    return text is not None and text.encode() != content


def _report(changed: list[Path], count: int, options: argparse.Namespace) -> None:
    done = "would change" if options.check else "changed"
    for file in changed:
        out(f"{printable(str(file))}: {done}")
    if count and not options.quiet and "-" not in options.paths:
        out(f"{len(changed)} of {counted(count, 'file')} {done}")
