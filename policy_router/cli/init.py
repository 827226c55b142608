"""The command ``init``: a policy to begin with, and the schema that editors read it by."""

from __future__ import annotations

import argparse
from pathlib import Path

from policy_router.cli.inputs import UsageError
from policy_router.cli.terminal import out
from policy_router.errors import reason_of
from policy_router.files.loader import data_folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", default=".", help="default: this folder"
    )


def run(options: argparse.Namespace) -> None:
    """Write the policy and the schema."""
    folder = Path(options.folder)
    contents = {
        "policy.yaml": (data_folder("rules") / "starter.yaml").read_text(encoding="utf-8"),
        "policy.schema.json": (data_folder("schemas") / "policy.schema.json").read_text(
            encoding="utf-8"
        ),
    }
    taken = [name for name in contents if (folder / name).exists()]
    if taken:
        raise UsageError(f"{folder / taken[0]} is there already and is left as it is")
    _write(folder, contents)
    policy = folder / "policy.yaml"
    if not options.quiet:
        out(f"wrote {policy} and, for editors, {folder / 'policy.schema.json'}")
        out(f"next: edit it, then policy-router check {policy}")


def _write(folder: Path, contents: dict[str, str]) -> None:
    """Write new files, all or none."""
    written: list[Path] = []
    file = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            file = folder / name
            with file.open("x", encoding="utf-8", newline="\n") as stream:
                written.append(file)
                stream.write(content)
    except (OSError, ValueError) as problem:
        for half_written in written:
            half_written.unlink(missing_ok=True)
        raise UsageError(f"{file}: {reason_of(problem)}") from None
