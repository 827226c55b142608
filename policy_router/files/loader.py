"""Rule files to policies: the part that reads files.

What ships with the package (profiles, schemas) is found in a wheel under ``policy_router/_data``,
and in a checkout or an editable install beside the package.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from policy_router.diagnostics.codes import Severity
from policy_router.diagnostics.model import Diagnostic, Diagnostics
from policy_router.domain import Policy
from policy_router.errors import PolicyError
from policy_router.files.rule_files import (
    is_suite,
    misnamed,
    rule_files,
    suites_in,
    unreadable,
)

_LOGGER = logging.getLogger("policy_router")
_PACKAGE = Path(__file__).parent.parent


def load(path: str | Path, *, strict: bool = False) -> Policy:
    """Read and compile a policy; the logger ``policy_router`` logs its warnings once.

    Args:
        path: a rule file, or a folder of them: its ``*.yaml`` and ``*.yml`` files, but not
            ``*_test.yaml``, are read in the order of their paths, sorted as texts, and are
            one policy.
        strict: refuse a policy with warnings.

    Returns:
        The policy; its ``warnings`` are those of the checks.

    Raises:
        PolicyError: the policy has errors or cannot be read, or ``strict`` refuses its warnings;
            the exception carries the diagnostics.
    """
    return _usable(*check(path), strict=strict)


def loads(text: str | bytes, *, name: str = "<policy>", strict: bool = False) -> Policy:
    """Compile a policy from a text; its warnings are logged as for a file.

    Args:
        text: the content of a rule file.
        name: the name of the text in diagnostics; without its ending, also the default name of the
            policy.
        strict: refuse a policy with warnings.

    Returns:
        The policy.

    Raises:
        PolicyError: the text has errors, or ``strict`` refuses its warnings; the exception carries
            the diagnostics.
    """
    return _usable(*check_text(text, name=name), strict=strict)


def _usable(policy: Policy | None, found: Diagnostics, *, strict: bool) -> Policy:
    """Return a policy that may be used, and let its warnings reach whoever uses it."""
    if policy is None or (strict and found.warnings):
        raise PolicyError(found)
    shown = [item for item in found if item.severity is Severity.WARNING]
    for item in shown:
        _LOGGER.warning("%s: warning[%s]: %s", item.span, item.code, item.message)
    if found.warnings > len(shown):
        _LOGGER.warning("... and %d more warnings", found.warnings - len(shown))
    return policy


def load_files(files: Sequence[tuple[str, str | bytes]], *, name: str) -> Policy:
    """Compile a policy from several texts.

    Args:
        files: how each is called in diagnostics, and what it holds, in order.
        name: the policy's name, where no text writes one.

    Returns:
        The policy.

    Raises:
        PolicyError: a text has errors; the exception carries the diagnostics.
    """
    policy, found = _examined(name, files)
    if policy is None:
        raise PolicyError(found)
    return policy


def load_stored(file: str, content: bytes, *, name: str) -> Policy:
    """Compile a policy from the canonical form that an earlier edition may have written.

    What only this edition finds wrong with it is a warning: it was good when it decided.

    Args:
        file: how it is called in diagnostics.
        content: the canonical form.
        name: the policy's name, where the form has none.

    Returns:
        The policy; its revision is that of the form that this edition gives it.

    Raises:
        PolicyError: it cannot be read; the exception carries the diagnostics.
    """
    policy, found = _examined(name, [(file, content)], stored=True)
    if policy is None:
        raise PolicyError(found)
    return policy


def check(
    path: str | Path, *, now: datetime.datetime | None = None
) -> tuple[Policy | None, Diagnostics]:
    """Read and compile a policy, and return it with all diagnostics.

    Args:
        path: a rule file or a folder, as for :func:`load`.
        now: a time with a zone; with it, conditions about times in the past are also reported.

    Returns:
        The policy, or None if it has errors; and the diagnostics.
    """
    path = Path(path)
    found: list[Diagnostic] = []
    files = [path]
    try:
        if path.is_dir():
            files = rule_files(path, found)
            found += _misnamed(path)
    except (OSError, ValueError) as problem:
        return None, Diagnostics.of([unreadable(path, problem)])
    contents = [
        (str(file), content) for file in files if (content := content_of(file, found)) is not None
    ]
    name = path.stem if path.suffix else path.name
    return _examined(name, contents, found=found, now=now)


def check_text(
    text: str | bytes, *, name: str = "<policy>", now: datetime.datetime | None = None
) -> tuple[Policy | None, Diagnostics]:
    """Compile a policy from a text, and return all that was found.

    Args:
        text: what a rule file would hold.
        name: how the text is called in diagnostics.
        now: as for :func:`check`.

    Returns:
        The policy, None where there are errors; and the diagnostics.
    """
    return _examined(_stem(name), [(name, text)], now=now)


@cache
def schema(name: str) -> Mapping[str, Any]:
    """Return a published JSON Schema.

    Args:
        name: of the file in ``schemas``, such as ``policy``.
    """
    text = data_folder("schemas").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    decoded: dict[str, Any] = json.loads(text)
    return decoded


@cache
def profiles() -> Mapping[str, tuple[str, str]]:
    """Return the shipped precedence profiles: name to the name and text of its file."""
    files = sorted(data_folder("rules").joinpath("precedence").glob("*.yaml"))
    return {
        file.stem: (f"rules/precedence/{file.name}", file.read_text(encoding="utf-8"))
        for file in files
        if not is_suite(file)
    }


def data_folder(name: str) -> Path:
    """Return what ships with the package: ``rules``, ``schemas`` or ``docs/diagnostics``."""
    inside = _PACKAGE / "_data" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def _stem(name: str) -> str:
    """Return the name of a policy whose text is called so."""
    stem = Path(name).stem if Path(name).suffix in {".yaml", ".yml", ".json"} else name
    return stem.strip("<>")


def _examined(
    name: str,
    files: Sequence[tuple[str, str | bytes]],
    *,
    stored: bool = False,
    found: Sequence[Diagnostic] = (),
    now: datetime.datetime | None = None,
) -> tuple[Policy | None, Diagnostics]:
    import policy_router.decision.evaluator  # noqa: F401 - a policy decides without importing
    from policy_router.policy.compiler import Sources, examine
    from policy_router.policy.known_providers import KNOWN_PROVIDERS
    from policy_router.policy.review import Surroundings

    surroundings = Surroundings(KNOWN_PROVIDERS.keys(), now)
    kept = profiles(), schema("policy"), stored, found, surroundings
    return examine(Sources(name or "policy", files, *kept))


def _misnamed(folder: Path) -> Iterator[Diagnostic]:
    """Yield a warning for each file of a folder that is named as a suite and holds rules."""
    for suite in filter(Path.is_file, suites_in(folder)):  # A pipe would never end.
        warning = misnamed(suite, content_of(suite, []) or b"")
        if warning is not None:
            yield warning


def content_of(file: Path, found: list[Diagnostic]) -> bytes | None:
    """Read a file, but not much more of it than a rule file may have.

    Args:
        file: the file.
        found: takes the error where it cannot be read; then the content is None.
    """
    from policy_router.policy.yaml import MAX_BYTES

    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as problem:
        found.append(unreadable(file, problem))
        return None
