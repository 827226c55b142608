"""Rule files to policies: the part that reads files.

What ships with the package (profiles, schemas) is found in a wheel under ``policy_router/_data``,
and in a checkout or an editable install beside the package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from policy_router.diagnostics import Code, Diagnostic, Diagnostics, Severity, SourceFile, Span
from policy_router.domain import Policy
from policy_router.errors import PolicyError, reason_of

_PACKAGE = Path(__file__).parent.parent


def load(path: str | Path) -> Policy:
    """Read and compile a policy.

    Args:
        path: a rule file, or a folder of them: its ``*.yaml`` and ``*.yml`` files, but not
            ``*_test.yaml``, are read in the order of their paths, sorted as texts, and taken as
            one policy.

    Returns:
        The policy; what the checks found that is no error is in its ``warnings``.

    Raises:
        PolicyError: the policy has errors or cannot be read; it carries the diagnostics.
    """
    policy, found = check(path)
    if policy is None:
        raise PolicyError(found)
    return policy


def loads(text: str | bytes, *, name: str = "<policy>") -> Policy:
    """Compile a policy from a text.

    Args:
        text: what a rule file would hold.
        name: how the text is called in diagnostics; without its ending also the policy's name,
            where the text writes none.

    Returns:
        The policy.

    Raises:
        PolicyError: the text has errors; the exception carries the diagnostics.
    """
    return load_files([(name, text)], name=_stem(name))


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


def check(path: str | Path) -> tuple[Policy | None, Diagnostics]:
    """Read and compile a policy, and return all that was found.

    Args:
        path: a rule file or a folder, as for :func:`load`.

    Returns:
        The policy, None where there are errors; and the diagnostics.
    """
    path = Path(path)
    try:
        names = _rule_files(path) if path.is_dir() else [path]
        files: list[tuple[str, str | bytes]] = [(str(file), _content(file)) for file in names]
    except (OSError, ValueError) as problem:
        where = str(getattr(problem, "filename", None) or path)
        message = f"the file cannot be read: {reason_of(problem)}"
        return None, _cannot_read(Code.UNREADABLE, where, message)
    if not files:
        message = "the folder holds no rule files"
        return None, _cannot_read(Code.NO_RULE_FILES, str(path), message)
    return _examined(path.stem if path.suffix else path.name, files)


def check_text(text: str | bytes, *, name: str = "<policy>") -> tuple[Policy | None, Diagnostics]:
    """Compile a policy from a text, and return all that was found.

    Args:
        text: what a rule file would hold.
        name: how the text is called in diagnostics.

    Returns:
        The policy, None where there are errors; and the diagnostics.
    """
    return _examined(_stem(name), [(name, text)])


@cache
def schema(name: str) -> Mapping[str, Any]:
    """Return a published JSON Schema.

    Args:
        name: ``policy``, ``request`` or ``record``.
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
    }


def data_folder(name: str) -> Path:
    """Return a folder that ships with the package: ``rules`` or ``schemas``."""
    inside = _PACKAGE / "_data" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def _stem(name: str) -> str:
    """Return the name of a policy whose text is called so."""
    stem = Path(name).stem if Path(name).suffix in {".yaml", ".yml", ".json"} else name
    return stem.strip("<>")


def _examined(
    name: str, files: Sequence[tuple[str, str | bytes]]
) -> tuple[Policy | None, Diagnostics]:
    import policy_router.decision.evaluator  # noqa: F401 - a policy decides without importing
    from policy_router.policy.compiler import Sources, examine

    sources = Sources(name or "policy", files, profiles(), schema("policy"))
    return examine(sources)


def _rule_files(folder: Path) -> list[Path]:
    files = [
        file
        for file in folder.rglob("*")
        if file.suffix in {".yaml", ".yml"}
        and not file.stem.endswith("_test")
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def _content(file: Path) -> bytes:
    """Read a file, but not much more of it than a rule file may have."""
    from policy_router.policy.yaml import MAX_BYTES

    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _cannot_read(code: Code, name: str, message: str) -> Diagnostics:
    span = Span(SourceFile(name, ""), 0, 0)
    return Diagnostics.of([Diagnostic(code, Severity.ERROR, message, span)])
