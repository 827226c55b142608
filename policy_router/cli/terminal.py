"""What a person sees: streams, colours, tables."""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from policy_router.diagnostics import Paint

_COLOURS = {"error": "31", "warning": "33", "good": "32", "dim": "2", "strong": "1"}


def paint_for(stream: TextIO) -> Paint | None:
    """Return what colours text on a stream; None where it stays plain.

    Colours need a terminal, no ``NO_COLOR`` (https://no-color.org) and no ``TERM=dumb``.
    """
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return None
    return lambda text, role: f"\x1b[{_COLOURS[role]}m{text}\x1b[0m"


def out(text: str) -> None:
    """Print a text on standard output."""
    with _unread_is_fine():
        sys.stdout.write(f"{text}\n")


def out_bytes(line: bytes) -> None:
    """Print a line of JSON on standard output, in UTF-8 whatever the locale is."""
    with _unread_is_fine():
        sys.stdout.flush()
        sys.stdout.buffer.write(line + b"\n")


def flush() -> None:
    """Let what was printed arrive."""
    with _unread_is_fine():
        sys.stdout.flush()


@contextlib.contextmanager
def _unread_is_fine() -> Iterator[None]:
    """Go on in silence where whoever read the output has seen enough: the exit code counts."""
    try:
        yield
    except BrokenPipeError:
        give_up_output()


def give_up_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter can end in peace."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def err(text: str) -> None:
    """Print a text on standard error."""
    sys.stderr.write(f"{text}\n")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows in aligned columns, wide characters counted as two."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(width(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell + " " * (wanted - width(cell)) for cell, wanted in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
