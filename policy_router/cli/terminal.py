"""Output for people: streams, colours, tables."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Self, TextIO

from policy_router.diagnostics.model import Paint, printable

_NARROWEST = 20
_BAR_COLUMNS = 24
_BAR_SECONDS = 0.1
_USUAL = (80, 24)  # where a terminal does not know its size
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_given_up = threading.Event()
_COLOURS = {"error": "31", "warning": "33", "hint": "36", "good": "32", "dim": "2", "strong": "1"}


def paint_for(stream: TextIO) -> Paint | None:
    """Return what colours text on a stream; None where it stays plain.

    Colours need a terminal, no ``NO_COLOR`` (https://no-color.org) and no ``TERM=dumb``.
    """
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return None
    return lambda text, role: f"\x1b[{_COLOURS[role]}m{text}\x1b[0m"


def begin() -> None:
    """Begin a command: its output is read, as far as is known."""
    _given_up.clear()


def out(text: str) -> None:
    """Print a text on standard output."""
    with _unread_is_fine():
        sys.stdout.write(f"{text}\n")


def out_bytes(line: bytes, end: bytes = b"\n") -> None:
    """Print bytes on standard output, such as JSON, in UTF-8 whatever the locale is."""
    with _unread_is_fine():
        sys.stdout.flush()
        sys.stdout.buffer.write(line + end)


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
    _given_up.set()
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_read() -> bool:
    """Tell whether anybody reads the output, as far as is known."""
    return not _given_up.is_set()


def err(text: str) -> None:
    """Print a text on standard error."""
    sys.stderr.write(f"{text}\n")


def as_typed(*words: object) -> str:
    """Return words of a command as one types them in a shell, safe to print."""
    return printable(shlex.join(map(str, words)))


def counted(number: int, word: str, words: str | None = None) -> str:
    """Return a number of things, as in ``1 line`` and ``1,000 lines``."""
    return f"{number:,} {word if number == 1 else words or f'{word}s'}"


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


class Lines:
    """A line for each of several things that go on: on a terminal, each is written over."""

    def __init__(self, stream: TextIO, *, is_quiet: bool = False) -> None:
        """Begin with no lines."""
        self._stream, self._is_quiet = stream, is_quiet
        self._paint = paint_for(stream)
        self._is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._live: dict[int, str] = {}
        self._shown = 0

    def put(self, key: int, text: str, role: str) -> None:
        """Replace the current line; only a terminal shows it."""
        if self._is_live and not self._is_quiet:
            self._live[key] = self._paint(text, role) if self._paint else text
            self._draw("")

    def finish(self, key: int, text: str, role: str) -> None:
        """Write the last word on a line."""
        self._live.pop(key, None)
        self.say(text, role)

    def say(self, text: str, role: str) -> None:
        """Write a line that stays, above those that go on."""
        if self._is_quiet:
            return
        text = self._paint(text, role) if self._paint else text
        if self._is_live:
            self._draw(f"{text}\n")
        else:
            self._stream.write(f"{text}\n")

    def end(self) -> None:
        """Take away the lines that have no last word."""
        if self._is_live and not self._is_quiet:
            self._live.clear()
            self._draw("")
        self._stream.flush()

    def _draw(self, done: str) -> None:
        """Go up over what is shown, and write what stays, then as many live lines as fit."""
        size = os.get_terminal_size(self._stream.fileno())
        columns, rows = size.columns or _USUAL[0], size.lines or _USUAL[1]
        lines = [
            cut(text, max(columns - 1, _NARROWEST))
            for text in list(self._live.values())[: max(1, rows - 2)]
        ]
        up = f"\x1b[{self._shown}A" if self._shown else ""
        body = "".join(f"{line}\n" for line in lines)
        self._stream.write(f"{up}\r\x1b[J{done}{body}")
        self._stream.flush()
        self._shown = len(lines)


def cut(text: str, columns: int) -> str:
    """Return a text that fits into some columns; colours take none."""
    shown, taken = "", 0
    for part in _COLOUR.split(text):
        if part.startswith("\x1b"):
            shown += part
            continue
        for character in part:
            taken += width(character)
            if taken <= columns:
                shown += character
    return shown


class Bar:
    """How far a long piece of work is, on a terminal; nothing where there is none."""

    def __init__(self, verb: str, *, is_quiet: bool = False) -> None:
        """Say what is done, as in ``read 12 %``."""
        self._verb = verb
        self._lines = Lines(sys.stderr, is_quiet=is_quiet)
        self._began = self._shown_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show how much of how much is done, some times a second."""
        now = time.monotonic()
        if not total or now - self._shown_at < _BAR_SECONDS:
            return
        self._shown_at = now
        part = done / total
        filled = "#" * round(part * _BAR_COLUMNS)
        left = (now - self._began) * (1 - part) / part if part else 0.0
        bar = f"[{filled:<{_BAR_COLUMNS}}]"
        self._lines.put(0, f"{self._verb} {part:4.0%} {bar} {left:.0f} s left", "dim")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Take the bar away."""
        self._lines.end()
