"""Finds the suites of a loaded policy, which a change of it has to pass."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from policy_router.analysis.suites import Suite, policy_beside, read_suite_text, suite_files
from policy_router.diagnostics.model import Diagnostic, Diagnostics
from policy_router.domain import Policy
from policy_router.files.loader import content_of
from policy_router.files.rule_files import SUITE_SUFFIX, is_suite
from policy_router.policy.sections import Piece
from policy_router.policy.yaml import read_mapping


def suites_about(path: str | Path, policy: Policy) -> list[Suite]:
    """Return the suites about a policy that is read already.

    Those beside it or in its folder that name another policy are left out; one that cannot be read
    is not, since nobody knows what it is about.

    Args:
        path: the rule file or folder.
        policy: what was read from there.
    """
    found = []
    for file in suite_files(path):
        problems: list[Diagnostic] = []
        content = content_of(file, problems)
        if content is None:
            found.append(Suite(str(file), policy, (), Diagnostics.of(problems)))
            continue
        named = _policy_named(str(file), content)
        place = policy_beside(file) if named is None else file.parent / named
        if place.exists() and place.samefile(path):
            found.append(read_suite_text(str(file), content, policy))
    return found


def suites_among(files: Sequence[tuple[str, bytes]], policy: Policy) -> list[Suite]:
    """Return the suites about the whole of a policy among the files of its folder.

    Args:
        files: their names, as seen from the folder, and contents.
        policy: what the rule files among them are.
    """
    names = [name for name, _ in files]
    suites = [(name, content) for name, content in files if is_suite(Path(name))]
    return [
        read_suite_text(name, content, policy)
        for name, content in suites
        if _is_about_all(name, _policy_named(name, content), names)
    ]


def _is_about_all(suite: str, named: str | None, names: Sequence[str]) -> bool:
    """Tell whether a suite in the folder of a policy is about all of it, not about a part."""
    folder, stem = posixpath.dirname(suite), suite.rpartition(".")[0].removesuffix(SUITE_SUFFIX)
    if named is None:
        is_part = any(it.rpartition(".")[0] == stem or it.startswith(f"{stem}/") for it in names)
        return not is_part and not folder
    return posixpath.normpath(posixpath.join(folder, named)) == "."


def _policy_named(name: str, content: bytes) -> str | None:
    """Return the policy that a suite names; None where it names none, or cannot be read."""
    document, _ = read_mapping(name, content, "a suite of tests")
    return None if document is None else Piece(document.root, document.path).text_at("policy")
