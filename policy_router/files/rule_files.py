"""Finds the rule files of a folder, and reports files that are unreadable or left out."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, SourceFile, Span
from policy_router.errors import reason_of

ENDINGS = (".yaml", ".yml")
"""How the names of rule files end, and those of suites of policy tests."""
SUITE_SUFFIX = "_test"
"""The end of the name of a suite, before its ending."""
_LOOK_ALIKE = re.compile(
    r".*\.ya?ml(?![a-z0-9]).*|.*(?<!\.schema)\.jsonc?(?![a-z0-9]).*", re.DOTALL | re.IGNORECASE
)
"""Copies and other spellings; the schema for editors, which `init` writes, is none."""

Stamps: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""What changes with rule files: names, times, sizes and numbers."""


def is_suite(path: Path) -> bool:
    """Tell by its name whether a file is a suite of policy tests."""
    return path.suffix in ENDINGS and path.stem.endswith(SUITE_SUFFIX)


def rule_files(folder: Path, found: list[Diagnostic]) -> list[Path]:
    """Return the rule files of a folder and of those in it, in the order of their paths.

    Args:
        folder: the folder.
        found: takes what cannot be read, and what looks like a rule file and is none.
    """
    files: list[Path] = []
    folders = [folder]
    while folders:
        for path in _visible(folders.pop(), found):
            kind = _kind(path, found)
            if kind == stat.S_IFDIR:
                folders.append(path)
            elif kind is not None and path.suffix in ENDINGS:
                files += [] if is_suite(path) else [path]
            elif kind is not None and _LOOK_ALIKE.fullmatch(path.name):
                found.append(_left_out(path))
    if not files and not any(item.severity is Severity.ERROR for item in found):
        found.append(_error(Code.NO_RULE_FILES, folder, "the folder holds no rule files"))
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def suites_in(folder: Path) -> list[Path]:
    """Return the suites of policy tests in a folder and in those in it, in order."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [Path(place, name) for name in files if not _is_hidden(name)]
    return sorted(filter(is_suite, found), key=lambda it: it.as_posix())


def linked_suites(folder: Path) -> list[Path]:
    """Return the links in a folder, and in those in it, to folders with suites: none is read."""
    found: list[Path] = []
    for place, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        links = (Path(place, name) for name in folders if Path(place, name).is_symlink())
        found += (link for link in links if suites_in(link))
    return sorted(found, key=lambda it: it.as_posix())


def linked_folder(path: Path) -> Diagnostic:
    """Return the error for a link to a folder, which is not followed: it could lead in circles."""
    remedy = "link each file in it, or put the folder itself here"
    return _error(Code.UNREADABLE, path, "a linked folder is not read", remedy)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def misnamed(suite: Path, content: bytes) -> Diagnostic | None:
    """Return the warning for a file that is named as a suite and holds rules, or None."""
    if _TESTS.search(content) or not _RULES.search(content):
        return None
    message = "this file is named as policy tests and holds rules, which are not read"
    remedy = f"only tests are in a file whose name ends in `{SUITE_SUFFIX}`: rename it"
    span = Span(SourceFile(str(suite), ""), 0, 0)
    return Diagnostic(Code.LOOKS_LIKE_RULES, Severity.WARNING, message, span, help=remedy)


_TESTS = re.compile(rb"^[\"']?tests[\"']?[ \t]*:", re.MULTILINE)
_RULES = re.compile(
    rb"^[\"']?(pool|forbid|precedence|model|providers|facts|variables|delegation)[\"']?[ \t]*:",
    re.MULTILINE,
)


def unreadable(path: Path, problem: OSError | ValueError) -> Diagnostic:
    """Return the error for a file, a folder or a link that cannot be read."""
    return _error(Code.UNREADABLE, path, f"the file cannot be read: {reason_of(problem)}")


def _visible(folder: Path, found: list[Diagnostic]) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not _is_hidden(path.name)]
    except OSError as problem:
        message = f"the folder cannot be read: {reason_of(problem)}"
        found.append(_error(Code.UNREADABLE, folder, message))
        return []


def _kind(path: Path, found: list[Diagnostic]) -> int | None:
    """Return the type of a file; None where it is reported."""
    is_link = False
    try:
        is_link = path.is_symlink()
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError as problem:
        message = f"the {'link' if is_link else 'file'} cannot be read: {reason_of(problem)}"
        found.append(_error(Code.UNREADABLE, path, message))
        return None
    if kind == stat.S_IFDIR and is_link:
        found.append(linked_folder(path))
        return None
    if kind not in {stat.S_IFREG, stat.S_IFDIR} and path.suffix in ENDINGS:
        found.append(_error(Code.UNREADABLE, path, "this is not a file that can be read"))
        return None
    return kind


def _left_out(path: Path) -> Diagnostic:
    message = "this looks like a rule file and is not read"
    remedy = "rule files end in `.yaml` or `.yml`: rename it, or move it out of the folder"
    span = Span(SourceFile(str(path), ""), 0, 0)
    return Diagnostic(Code.LOOKS_LIKE_RULES, Severity.WARNING, message, span, help=remedy)


def _error(code: Code, path: Path, message: str, remedy: str | None = None) -> Diagnostic:
    span = Span(SourceFile(str(path), ""), 0, 0)
    return Diagnostic(code, Severity.ERROR, message, span, help=remedy)


def fingerprint(path: str | Path, also: Iterable[Path] = ()) -> Stamps:
    """Return what changes with the rule files of a policy.

    Args:
        path: the policy.
        also: further files that it is to change with.
    """
    place = Path(path)
    files = rule_files(place, []) if place.is_dir() else [place]
    return tuple(map(_stamp, [*files, *also]))


def _stamp(file: Path) -> tuple[str, int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), found.st_mtime_ns, found.st_size, found.st_ino
