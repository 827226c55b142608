"""The command ``init``: a policy to begin with, its tests, and the schema for editors."""

from __future__ import annotations

import argparse
from pathlib import Path

from policy_router.cli.inputs import UsageError
from policy_router.cli.terminal import as_typed, out
from policy_router.diagnostics.model import did_you_mean, printable
from policy_router.errors import reason_of
from policy_router.files.loader import data_folder
from policy_router.files.rule_files import SUITE_SUFFIX


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", default=".", help="default: this folder"
    )
    parser.add_argument(
        "--example", metavar="NAME", help=f"one of the examples: {', '.join(_examples())}"
    )


def run(options: argparse.Namespace) -> None:
    """Write a policy, its tests, and the schema."""
    folder, example = Path(options.folder), options.example
    contents = {"policy.schema.json": _text(data_folder("schemas") / "policy.schema.json")}
    if example is None:
        starter = data_folder("rules") / "starter.yaml"
        contents["policy.yaml"] = _text(starter)
        contents["policy_test.yaml"] = _text(starter.with_name("starter_test.yaml"))
        policy = folder / "policy.yaml"
    else:
        contents |= _files_of(example)
        policy = folder / (example if f"{example}.yaml" not in contents else f"{example}.yaml")
    taken = [name for name in contents if (folder / name).exists()]
    if taken:
        raise UsageError(f"{folder / taken[0]} is there already and is left as it is")
    _write(folder, contents)
    if not options.quiet:
        schema = printable(str(folder / "policy.schema.json"))
        out(f"wrote {printable(str(policy))}, its tests and, for editors, {schema}")
        out(f"next: edit it, then policy-router check {as_typed(policy)}")
        out(f"and:  policy-router test {as_typed(policy)}")


def _examples() -> list[str]:
    found = (data_folder("rules") / "examples").glob(f"*{SUITE_SUFFIX}.yaml")
    return sorted(file.stem.removesuffix(SUITE_SUFFIX) for file in found)


def _files_of(example: str) -> dict[str, str]:
    """Return the files of an example, by their paths in the folder of the examples."""
    if example not in _examples():
        remedy = did_you_mean(example, _examples()) or f"known: {', '.join(_examples())}"
        raise UsageError(f"there is no example {example}; {remedy}")
    folder = data_folder("rules") / "examples"
    files = [*folder.glob(f"{example}.*"), *folder.glob(f"{example}{SUITE_SUFFIX}.*")]
    files = [*(it for it in files if it.is_file()), *(folder / example).rglob("*.yaml")]
    return {file.relative_to(folder).as_posix(): _text(file) for file in files}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _write(folder: Path, contents: dict[str, str]) -> None:
    """Write new files, all or none."""
    written: list[Path] = []
    file = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            with file.open("x", encoding="utf-8", newline="\n") as stream:
                written.append(file)
                stream.write(content)
    except (OSError, ValueError) as problem:
        for half_written in written:
            half_written.unlink(missing_ok=True)
        raise UsageError(f"{file}: {reason_of(problem)}") from None
