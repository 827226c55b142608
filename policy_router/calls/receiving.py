"""One answer as it arrives: how long to wait for more of it, and what it says in the end.

It reads and waits for nothing itself: whoever makes the call gives it the bytes, in a thread or on
an event loop, and asks it how long to wait for the next ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from policy_router.calls.answers import Secrets, body_of, parsed
from policy_router.calls.bodies import (
    MOST_BYTES,
    MOST_ERROR_BYTES,
    Events,
    PackedWrongError,
    TooLargeError,
    Unpacker,
)
from policy_router.calls.child_task import Reply
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure, of_status
from policy_router.calls.limits import Limits
from policy_router.calls.responses import read_answer, reading_of
from policy_router.files.clock import Clock

LONGEST_END: Final = 2.0
"""Seconds that a stream has for what comes after the reason why the answer stopped."""

_SUCCESS: Final = range(200, 300)
_FIELDS: Final = (b"data", b"event", b"id", b"retry", b"")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_LONGEST_FIELD: Final = 6
_NO_END: Final = "the stream ended without a reason why the answer stopped"


class Sent(Struct, frozen=True):
    """What is known of the call that is answered.

    Attributes:
        api: the API that was called.
        model: the model that was called.
        secrets: what must not be repeated.
        clock: tells the time, which a ``Retry-After`` may count from.
        streams: whether a stream was asked for.
    """

    api: str
    model: str
    secrets: Secrets
    clock: Clock
    streams: bool = False


class Receiving:
    """One answer, from the request to its end.

    Attributes:
        is_done: whether no more bytes are wanted.
        is_reusable: whether the connection may serve another call, once its rest was read.
    """

    def __init__(self, sent: Sent, limits: Limits) -> None:
        """Begin when the request is sent.

        Args:
            sent: the call that is answered.
            limits: how long the answer may take.
        """
        self.is_done = self.is_reusable = False
        self._sent, self._limits = sent, limits
        self._reading = reading_of(sent.api, sent.secrets, sent.model)
        self._events = Events()
        self._status, self._headers = 0, dict[str, str]()
        self._unpacker = Unpacker("")
        self._is_stream: bool | None = None
        self._body = bytearray()
        self._text_size = 0
        self._outcome: Reply | Failure | None = None
        began = time.monotonic()
        self._end_at = math.inf if limits.total is None else began + limits.total
        self._news_at = math.inf if limits.first_byte is None else began + limits.first_byte
        self._has_news = False

    @property
    def until(self) -> float:
        """The moment to which to wait for more; endless where nothing limits it."""
        return min(self._news_at, self._end_at)

    @property
    def left(self) -> float | None:
        """The seconds until then; None where nothing limits it."""
        until = self.until
        return None if until == math.inf else max(0.0, until - time.monotonic())

    # What arrives.

    def begin(self, status: int, headers: Mapping[str, str], *, is_unpacked: bool = False) -> None:
        """Take in the head of the answer.

        Args:
            status: the HTTP status.
            headers: the headers, by any case of their names.
            is_unpacked: whether somebody unpacked the body already.
        """
        self._status = status
        self._headers = {name.lower(): value for name, value in headers.items()}
        try:
            coding = "" if is_unpacked else self._headers.get("content-encoding", "")
            self._unpacker = Unpacker(coding)
        except PackedWrongError:
            self._fail(Failing.BAD_RESPONSE, _PACKED_WRONG)

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take in bytes of the body, and yield what they add to the text."""
        try:
            for piece in self._unpacker.pieces(chunk):
                yield from self._take(piece)
                if not self.is_done and time.monotonic() >= self.until:
                    self.late()
                if self.is_done:
                    return
        except TooLargeError:
            self._fail(Failing.ANSWER_TOO_LARGE, _TOO_LARGE)
        except PackedWrongError:
            self._fail(Failing.BAD_RESPONSE, _PACKED_WRONG)

    def end(self) -> Iterator[str]:
        """Take in that the body is whole, and yield what is left of the text."""
        if self.is_done:
            return
        if self._is_stream is None and self._status in _SUCCESS:
            yield from self._begin_body(is_whole=True)
        if self._is_stream:
            for data in self._events.end():
                yield from self._event(data, is_last=True)
        elif self._outcome is None:
            self._outcome = self._read_whole()
        self.is_done = self.is_reusable = True

    def late(self) -> None:
        """Take in that nothing more came in time."""
        self._broke_off(Failure(Failing.TIMEOUT, self._which()))

    def broke(self, message: str) -> None:
        """Take in that the connection failed."""
        self._broke_off(Failure(Failing.CONNECTION_FAILED, message))

    def rest(self) -> Iterable[str]:
        """Yield what was not told of the text: all of it, where it did not come as a stream."""
        if self._is_stream:
            yield from self._reading.rest()
        elif isinstance(self._outcome, Reply) and self._outcome.text:
            yield self._outcome.text

    def outcome(self) -> Reply | Failure:
        """Return the answer, or why there is none."""
        return self._reading.outcome() if self._outcome is None else self._outcome

    # Bytes.

    def _take(self, piece: bytes) -> Iterator[str]:
        if self._status not in _SUCCESS:
            self._hold(piece, MOST_ERROR_BYTES)
        elif self._is_stream is None:
            self._body += piece
            yield from self._begin_body(is_whole=False)
        elif self._is_stream:
            yield from self._stream(piece)
        else:
            self._hold(piece, MOST_BYTES)

    def _hold(self, piece: bytes, most: int) -> None:
        if len(self._body) + len(piece) > most:
            raise TooLargeError
        self._body += piece
        if not piece.isspace():  # some send spaces to keep the connection open
            self._lives()

    def _begin_body(self, *, is_whole: bool) -> Iterator[str]:
        """Find out whether the body is a stream, whatever was asked for."""
        start = self._body.removeprefix(_BYTE_ORDER_MARK).lstrip(_SPACE)
        if not is_whole and len(start) < _LONGEST_FIELD and bytes(start[:1]) not in (b"{", b"["):
            self._body = start
            return
        name, colon, _ = start.partition(b":")
        self._is_stream = bool(colon) and bytes(name) in _FIELDS
        if not start:
            self._is_stream = self._sent.streams
        self._body = bytearray()
        if self._is_stream:
            yield from self._stream(bytes(start))
        else:
            self._hold(bytes(start), MOST_BYTES)

    def _stream(self, piece: bytes) -> Iterator[str]:
        for data in self._events.feed(piece):
            yield from self._event(data)
            if self.is_done:
                return

    def _event(self, data: bytes, *, is_last: bool = False) -> Iterator[str]:
        if data.strip() == b"[DONE]":
            self._finish()
            return
        try:
            event = parsed(data)
        except (ValueError, RecursionError):
            if not is_last:
                self._fail(Failing.BAD_RESPONSE, "the stream holds something that is not an event")
            return
        reading = self._reading
        for text in reading.pieces(event, now=self._sent.clock()):
            self._text_size += len(text)
            yield text
        if self._text_size > MOST_BYTES:
            raise TooLargeError
        if reading.has_news:
            self._lives()
        if reading.reply.finish_reason is not None:
            self._end_at = min(self._end_at, time.monotonic() + LONGEST_END)
        if reading.is_finished or reading.failure is not None:
            self.is_done = self.is_reusable = True

    def _finish(self) -> None:
        """Take in the mark that the stream is whole, which some send without any reason."""
        self.is_done = self.is_reusable = True
        reading = self._reading
        if reading.reply.finish_reason is None and (reading.has_text or reading.is_holding):
            reading.warn(_NO_END)
            reading.is_finished = True

    def _lives(self) -> None:
        """Wait for the next news from now on."""
        self._has_news = True
        idle = self._limits.idle
        self._news_at = math.inf if idle is None else time.monotonic() + idle

    # Ends.

    def _read_whole(self) -> Reply | Failure:
        """Return what the body says, which is an answer or an error."""
        sent, body = self._sent, self._body
        if self._status not in _SUCCESS:
            return self._of_status(bytes(body))
        return read_answer(sent.api, body, sent.secrets, model=sent.model, now=sent.clock())

    def _of_status(self, body: bytes) -> Failure:
        sent = self._sent
        return of_status(
            self._status,
            body_of(body),
            self._headers,
            sent.secrets,
            model=sent.model,
            now=sent.clock(),
        )

    def _fail(self, code: Failing, message: str) -> None:
        """End with a failure of what was sent; a stream that was told in part is broken."""
        self.is_done = True
        failure = Failure(code, message, self._status)
        if self._status not in _SUCCESS:
            told = self._of_status(b"")
            failure = Failure(code, message, self._status, told.retry_after)
        if self._is_stream:
            self._reading.failure = failure
        else:
            self._outcome = failure

    def _broke_off(self, failure: Failure) -> None:
        """End without the rest, which is no failure where the answer was whole already."""
        self.is_done = True
        if self._is_stream:
            if self._reading.reply.finish_reason is None:
                self._reading.failure = failure
            return
        made = self._read_whole() if self._body or self._status >= _ERRORS else failure
        is_none = isinstance(made, Failure) and made.code is Failing.BAD_RESPONSE
        self._outcome = failure if is_none else made

    def _which(self) -> str:
        if self._end_at <= self._news_at and self._limits.total is not None:
            return f"the answer was not whole after {round(self._limits.total, 3):g} s"
        if self._has_news and self._limits.idle is not None:
            return f"nothing new came for {self._limits.idle:g} s"
        return "the provider did not answer in time"


_ERRORS: Final = 300
_TOO_LARGE: Final = "the answer is longer than is read"
_PACKED_WRONG: Final = "the answer is not packed as its header says"
