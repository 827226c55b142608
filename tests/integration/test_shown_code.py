"""Every command and every import on every page: what is shown there exists under this name.

Most pages have tests of their own, which run what they show. This one reads all pages, those about
agents' hosts included, and so notices an option or a name that changed.
"""

from __future__ import annotations

import ast
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from policy_router.cli import parser
from tests.support.commands import ROOT
from tests.support.rows import each

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
CALL = re.compile(r"(?:^|[|&$(] |/bin/)policy-router (?!: )(.*)")
SYNOPSIS = re.compile(r"\[-|\[[A-Z]|\.\.\.|…|\w\|\w|\bCOMMAND\b")
END = re.compile(r"\s(?:[|>&;<]|2>|#)|;|\)$")


def commands(page: Path) -> Iterator[str]:
    """Yield each call of `policy-router` on a page, without what the shell takes from it."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(fenced).replace("\\\n", " ").splitlines()
    for line in [*lines, *re.findall(r"`(policy-router [^`\n]+)`", text)]:
        call = CALL.search(line)
        if call and not SYNOPSIS.search(call[1]):
            yield END.split(call[1])[0]


def imports(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each import of this package on a page."""
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"^```py(?:thon)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(code, str(page))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("policy_router"):
                yield from ((node.module or "", alias.name) for alias in node.names)


SHOWN = [(page, command) for page in PAGES for command in dict.fromkeys(commands(page))]
IMPORTED = sorted({pair for page in PAGES for pair in imports(page)})


def test_the_pages_show_commands_and_imports() -> None:
    assert len(SHOWN) > 100
    assert len(IMPORTED) > 20


@pytest.mark.parametrize(
    ("page", "command"), SHOWN, ids=[f"{page.name}: {command}" for page, command in SHOWN]
)
def test_every_command_is_one_that_there_is(page: Path, command: str) -> None:
    words = shlex.split(command)
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parser().parse_args(words)
    except SystemExit as end:  # in a sentence, a command may stand without its arguments
        if not end.code:  # --help
            return
        assert "the following arguments are required" in said.getvalue(), (
            f"{page}: {said.getvalue()}"
        )
        assert [
            word for word in words if word.startswith("-") and word not in said.getvalue()
        ] == []


@each(("module", "name"), IMPORTED, ids=[".".join(it) for it in IMPORTED])
def test_every_name_that_is_imported_is_there(module: str, name: str) -> None:
    if module.startswith("policy_router.hosts."):  # its host may be missing here: read its source
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        assert re.search(rf"^(?:class|(?:async )?def) {name}\b|^{name}\b.*=", source, re.MULTILINE)
    else:
        assert hasattr(importlib.import_module(module), name)
