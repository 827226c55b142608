"""What a person sees while children run: a line for each; elsewhere only what stays."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from policy_router.cli.fitting import folded, wrapped
from policy_router.cli.terminal import Lines, cut, paint_for, table, width

RED = "\x1b[31m{}\x1b[0m"
_CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])")


class Screen:
    """What a terminal shows of what is written to it; colours aside."""

    def __init__(self, columns: int = 80) -> None:
        """Begin with an empty screen."""
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0

    def write(self, text: str) -> None:
        """Do what a terminal does with line ends, carriage returns, and the controls used here."""
        place = 0
        while place < len(text):
            control = _CONTROL.match(text, place)
            if control is not None:
                self._control(int(control[1] or 1), control[2])
                place = control.end()
                continue
            self._put(text[place])
            place += 1

    def _control(self, number: int, what: str) -> None:
        if what == "A":
            self.row = max(0, self.row - number)
        elif what == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        else:
            assert what == "m", f"a control that is not known: {what}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
            self.column = 0
        else:
            assert character.isprintable(), f"not for a terminal: {character!r}"
            if self.column + width(character) > self.columns:
                self._put("\n")
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    @property
    def text(self) -> list[str]:
        """What is seen."""
        shown = [line.rstrip() for line in self.lines]
        return shown[:-1] if shown[-1] == "" else shown


class Terminal:
    """A pseudo-terminal: what is written to its stream appears on its screen."""

    def __init__(self, rows: int, columns: int) -> None:
        """Open it."""
        self.ours, self.theirs = pty.openpty()
        if rows or columns:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, size)
        self.stream: TextIO = os.fdopen(os.dup(self.theirs), "w", encoding="utf-8")
        self._written, self._is_there = b"", threading.Condition()
        # A terminal takes little before somebody reads it.
        self._reader = threading.Thread(target=self._keep_reading, daemon=True)
        self._reader.start()

    def _keep_reading(self) -> None:
        with contextlib.suppress(OSError):  # how it ends on Linux
            while piece := os.read(self.ours, 65_536):
                with self._is_there:
                    self._written += piece
                    self._is_there.notify_all()

    def close(self) -> None:
        """Close all of it."""
        self.stream.close()
        os.close(self.theirs)
        self._reader.join(10)
        os.close(self.ours)

    @property
    def read(self) -> str:
        """Everything that was written so far."""
        self.stream.flush()
        os.write(self.theirs, b"\x00")  # so that one knows where it ends
        with self._is_there:
            assert self._is_there.wait_for(lambda: self._written.endswith(b"\x00"), 10)
            self._written = self._written[:-1]
            return self._written.decode()

    def screen(self, columns: int = 80) -> list[str]:
        """Return the lines that are seen."""
        screen = Screen(columns)
        screen.write(self.read)
        return screen.text


@contextlib.contextmanager
def terminal(rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
    opened = Terminal(rows, columns)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say nothing of terminals."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


# Lines on a terminal.


def test_a_line_is_written_over() -> None:
    with terminal() as it:
        lines = Lines(it.stream)
        lines.put(0, "task 0  runs", "dim")
        assert it.screen() == ["task 0  runs"]
        lines.put(0, "task 0  waits", "dim")
        assert it.screen() == ["task 0  waits"]


def test_several_things_have_a_line_each_in_the_order_of_their_beginning() -> None:
    with terminal() as it:
        lines = Lines(it.stream)
        for key in (3, 1, 2):
            lines.put(key, f"task {key}  runs", "dim")
        lines.put(3, "task 3  waits", "dim")
        assert it.screen() == ["task 3  waits", "task 1  runs", "task 2  runs"]


def test_a_last_word_moves_up_and_stays() -> None:
    with terminal() as it:
        lines = Lines(it.stream)
        for key in range(3):
            lines.put(key, f"task {key}  runs", "dim")
        lines.finish(1, "task 1  done", "good")
        assert it.screen() == ["task 1  done", "task 0  runs", "task 2  runs"]
        lines.finish(0, "task 0  failed", "error")
        lines.put(2, "task 2  waits", "dim")
        assert it.screen() == ["task 1  done", "task 0  failed", "task 2  waits"]
        lines.finish(2, "task 2  done", "good")
        assert it.screen() == ["task 1  done", "task 0  failed", "task 2  done"]


def test_what_is_said_stays_above_what_goes_on() -> None:
    with terminal() as it:
        lines = Lines(it.stream)
        lines.put(0, "task 0  runs", "dim")
        lines.say("task 0  attempt 2", "warning")
        lines.put(0, "task 0  still runs", "dim")
        assert it.screen() == ["task 0  attempt 2", "task 0  still runs"]


def test_a_last_word_on_what_never_had_a_line_is_written_too() -> None:
    with terminal() as it:
        lines = Lines(it.stream)
        lines.finish(0, "task 0  done", "good")
        assert it.screen() == ["task 0  done"]


def test_at_the_end_what_has_no_last_word_is_taken_away() -> None:
    with terminal() as it:
        lines = Lines(it.stream)
        lines.put(0, "task 0  runs", "dim")
        lines.put(1, "task 1  runs", "dim")
        lines.finish(0, "task 0  done", "good")
        lines.end()
        assert it.screen() == ["task 0  done"]
        it.stream.write("the table\n")
        lines.end()
        assert it.screen() == ["task 0  done", "the table"]


def test_what_stood_on_the_screen_before_stays() -> None:
    with terminal() as it:
        it.stream.write("$ policy-router delegate\n")
        lines = Lines(it.stream)
        for number in range(5):
            lines.put(number % 2, f"task {number % 2}  step {number}", "dim")
        lines.end()
        assert it.screen() == ["$ policy-router delegate"]


def test_as_many_lines_as_fit_are_shown() -> None:
    with terminal(rows=6) as it:
        lines = Lines(it.stream)
        for key in range(20):
            lines.put(key, f"task {key}", "dim")
        assert it.screen() == ["task 0", "task 1", "task 2", "task 3"]
        lines.finish(1, "task 1  done", "good")
        shown = ["task 0", "task 2", "task 3", "task 4"]
        assert it.screen() == ["task 1  done", *shown]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_on_a_low_terminal_one_line_is_shown(rows: int) -> None:
    with terminal(rows=rows) as it:
        lines = Lines(it.stream)
        lines.put(0, "task 0", "dim")
        lines.put(1, "task 1", "dim")
        assert it.screen() == ["task 0"]


def test_a_line_that_is_too_long_is_cut_so_that_it_is_one() -> None:
    with terminal(columns=30) as it:
        lines = Lines(it.stream)
        for _ in range(3):
            lines.put(0, "task 0  " + "x" * 100, "dim")
            lines.put(1, "task 1  " + "\u4e2d" * 100, "dim")
        assert it.screen(30) == ["task 0  " + "x" * 21, "task 1  " + "\u4e2d" * 10]


def test_what_stays_is_not_cut() -> None:
    with terminal(columns=30) as it:
        lines = Lines(it.stream)
        lines.finish(0, "x" * 100, "good")
        assert "x" * 100 in it.read


def test_a_terminal_that_does_not_know_its_size_has_a_usual_one() -> None:
    with terminal(0, 0) as it:
        lines = Lines(it.stream)
        for key in range(30):
            lines.put(key, f"task {key}  {'x' * 200}", "dim")
        shown = it.screen()
        assert len(shown) == 22
        assert {len(line) for line in shown} == {79}


def test_lines_are_coloured_by_what_they_say() -> None:
    with terminal() as it:
        Lines(it.stream).finish(0, "failed", "error")
        assert RED.format("failed") in it.read


def test_without_colours_lines_are_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal() as it:
        lines = Lines(it.stream)
        lines.put(0, "task 0  runs", "dim")
        lines.put(0, "task 0  waits", "dim")
        assert it.screen() == ["task 0  waits"]
        assert "\x1b[2m" not in it.read


def test_threads_that_take_turns_leave_a_whole_screen() -> None:
    with terminal() as it:
        lines = Lines(it.stream)
        lock = threading.Lock()

        def work(key: int) -> None:
            for step in range(20):
                with lock:
                    lines.put(key, f"task {key}  step {step}", "dim")
            with lock:
                lines.finish(key, f"task {key}  done", "good")

        workers = [threading.Thread(target=work, args=(key,)) for key in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
        assert sorted(it.screen()) == [f"task {key}  done" for key in range(4)]


# Lines elsewhere.


def check_only_what_stays(stream: TextIO) -> None:
    lines = Lines(stream)
    lines.put(0, "task 0  runs", "dim")
    lines.say("task 0  attempt 2", "warning")
    lines.finish(0, "task 0  done", "good")
    lines.put(1, "task 1  runs", "dim")
    lines.end()


def test_elsewhere_only_what_stays_is_printed_and_without_colours() -> None:
    stream = io.StringIO()
    check_only_what_stays(stream)
    assert stream.getvalue() == "task 0  attempt 2\ntask 0  done\n"


def test_on_a_dumb_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal() as it:
        check_only_what_stays(it.stream)
        assert it.read == "task 0  attempt 2\r\ntask 0  done\r\n"


@pytest.mark.parametrize("live", [True, False])
def test_in_quiet_nothing_is_printed(*, live: bool) -> None:
    with terminal() as it:
        stream = it.stream if live else io.StringIO()
        lines = Lines(stream, is_quiet=True)
        lines.put(0, "task 0  runs", "dim")
        lines.say("task 0  attempt 2", "warning")
        lines.finish(0, "task 0  done", "good")
        lines.end()
        written = it.read if live else stream.getvalue() if isinstance(stream, io.StringIO) else ""
        assert written == ""


# To cut.


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("", 5, ""),
        ("abc", 5, "abc"),
        ("abcde", 5, "abcde"),
        ("abcdef", 5, "abcde"),
        ("abc", 0, ""),
        ("abc", -1, ""),
        ("\u4e2d\u6587\u5b57", 4, "\u4e2d\u6587"),
        ("\u4e2d\u6587\u5b57", 5, "\u4e2d\u6587"),
        # What comes after a wide character that did not fit is not moved into its place.
        ("ab\u4e2dc", 3, "ab"),
        ("\uff21\uff22", 3, "\uff21"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("e\u0301", 1, "e\u0301"),
        ("\U0001f600a", 2, "\U0001f600"),
        (RED.format("abc"), 5, RED.format("abc")),
        (RED.format("abcdef"), 5, RED.format("abcde")),
        (RED.format("abc") + "def", 4, RED.format("abc") + "d"),
        ("ab" + RED.format("cd"), 2, "ab" + RED.format("")),
        (RED.format("\u4e2d\u6587"), 3, RED.format("\u4e2d")),
        ("\x1b[1m\x1b[31ma\x1b[0mb", 1, "\x1b[1m\x1b[31ma\x1b[0m"),
    ],
    ids=range(19),
)
def test_a_text_is_cut_to_some_columns_and_its_colours_take_none(
    text: str, columns: int, expected: str
) -> None:
    assert cut(text, columns) == expected
    bare = re.sub(r"\x1b\[[0-9;]*m", "", cut(text, columns))
    assert width(bare) <= max(columns, 0)


# Tables.


def test_columns_are_aligned_with_wide_and_combining_characters() -> None:
    made = table(
        ("task", "ran on", "note"),
        [("0", "\u4e2d\u6587", "x"), ("10", "e\u0301tude", "y"), ("2", "small", "")],
    )
    assert made.split("\n") == [
        "task  ran on  note",
        "0     \u4e2d\u6587    x",
        "10    e\u0301tude   y",
        "2     small",
    ]


def test_a_table_of_nothing_has_its_heads() -> None:
    assert table(("task", "note"), []) == "task  note"


# Colours.


@pytest.mark.parametrize(
    ("name", "value", "coloured"),
    [
        ("TERM", "xterm", True),
        ("TERM", "dumb", False),
        ("NO_COLOR", "1", False),
        ("NO_COLOR", "", True),
    ],
)
def test_there_are_colours_on_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, coloured: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert paint_for(io.StringIO()) is None
    with terminal() as it:
        paint = paint_for(it.stream)
        assert (paint is not None) == coloured
        assert paint is None or paint("a", "error") == RED.format("a")


# The command.


def dead_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port: int = it.getsockname()[1]
        return port


def policy_at(folder: Path, port: int) -> None:
    """Write a policy whose provider is at a port, and three tasks."""
    provider = {"base_url": f"http://127.0.0.1:{port}/v1"}
    policy = {"version": 1, "model": "m", "provider": "far", "providers": {"far": provider}}
    (folder / "policy.yaml").write_text(json.dumps(policy), encoding="utf-8")
    tasks = [{"goal": f"task {number}"} for number in range(3)]
    (folder / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "policy_router.cli", "delegate", "policy.yaml", *words]


def on_a_terminal(folder: Path, *words: str) -> tuple[int, str]:
    """Run the command with a terminal for both streams."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    run = subprocess.Popen(  # noqa: S603 - the words are the test's own
        command(*words), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=folder
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # how a terminal ends on Linux
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    return run.wait(60), written.decode()


def shown(written: str) -> list[str]:
    screen = Screen(100)
    screen.write(written)
    return [line for line in screen.text if line]


@pytest.mark.slow
def test_the_command_draws_a_line_for_each_task_and_leaves_its_last_word(tmp_path: Path) -> None:
    policy_at(tmp_path, dead_port())
    code, written = on_a_terminal(tmp_path, "--tasks", "tasks.json")
    assert code == 5
    for number in range(3):
        assert f"\x1b[2mtask {number}  attempt 1 of 1 at far\x1b[0m" in written
    seen = shown(written)
    failed = [line for line in seen if re.match(r"task \d  failed  m at far  \d\.\d s", line)]
    assert sorted(line[:6] for line in failed) == ["task 0", "task 1", "task 2"]
    assert not any("attempt 1 of 1" in line for line in seen)
    assert any(line.split()[:3] == ["task", "status", "ran"] for line in seen)


@pytest.mark.slow
def test_a_further_attempt_is_said_once_and_leaves_a_whole_screen(tmp_path: Path) -> None:
    policy_at(tmp_path, dead_port())
    code, written = on_a_terminal(tmp_path, "--goal", "a", "--retries", "1")
    assert code == 5
    seen = shown(written)
    assert seen[1] == "task 0  attempt 2 of 2 at far after connection failed"
    assert re.match(r"task 0  waiting 0\.\d s for far", seen[0])
    assert seen[2].startswith("task 0  failed  m at far")


@pytest.mark.slow
def test_in_quiet_the_command_prints_what_came_of_it_alone(tmp_path: Path) -> None:
    policy_at(tmp_path, dead_port())
    words = command("-q", "--goal", "a", "--retries", "1", "--format", "json")
    run = subprocess.run(words, capture_output=True, cwd=tmp_path, check=False, timeout=60)  # noqa: S603 - the words are the test's own
    assert run.returncode == 5
    assert json.loads(run.stdout)["status"] == "failed"
    assert run.stderr == b""


@pytest.mark.slow
@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("tasks", [("--goal", "a"), ("--tasks", "tasks.json")], ids=["one", "some"])
def test_an_interrupted_command_says_how_far_it_came(
    tasks: tuple[str, str], tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        policy_at(tmp_path, silent.getsockname()[1])
        run = subprocess.Popen(  # noqa: S603 - the words are the test's own
            command(*tasks, "--format", "json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        )
        silent.settimeout(30)
        silent.accept()[0].close()
        with run:
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=30)
    assert b"Traceback" not in err
    assert run.returncode == 130
    made = json.loads(out)
    assert {result["status"] for result in made["results"]} <= {"cancelled", "failed"}


@pytest.mark.parametrize("ahead", range(3))
def test_wrapped_texts_fit_with_wide_characters_too(ahead: int) -> None:
    name = "日本語のとても長い名前のモデル"
    text = "a" * ahead + name * 9
    lines = [*folded(f"head  {' '.join([name] * 9)}").splitlines(), *wrapped("head", [text])]
    assert all(width(it) <= 80 for it in lines)
    assert "".join(lines).count("語") == 18
    assert folded("a" * 75 + " bcde") == "a" * 75 + " bcde"
