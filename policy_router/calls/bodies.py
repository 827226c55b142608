"""A body as it arrives: unpacked within bounds, and cut into events.

Nothing here waits or reads: whoever drives it gives the bytes, in a thread or on an event loop.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

MOST_BYTES: Final = 32 * 1024 * 1024
"""The longest answer that is read, and the longest event of a stream, in bytes after unpacking."""
MOST_ERROR_BYTES: Final = 1024 * 1024
"""The longest text of an error that is read, in bytes after unpacking."""
PACKINGS: Final = "gzip, deflate"
"""The content codings that are offered to a provider (RFC 9110, section 8.4.1)."""

_PIECE: Final = 64 * 1024
_ANY_HEADER, _NO_HEADER = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class TooLargeError(Exception):
    """There is more than is read."""


class PackedWrongError(Exception):
    """A body is not packed as its header says, or in a way that was not offered."""


class Unpacker:
    """Unpacks a body, a piece at a time, and so never more of it than somebody takes."""

    def __init__(self, coding: str) -> None:
        """Begin.

        Args:
            coding: the header ``Content-Encoding``; empty for none.

        Raises:
            PackedWrongError: the coding was not offered.
        """
        name = coding.strip().lower()
        if name not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise PackedWrongError
        self._is_packed = name not in {"", "identity"}
        self._may_lack_header = name == "deflate"
        self._unpacking = zlib.decompressobj(_ANY_HEADER)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk holds.

        Raises:
            PackedWrongError: it is not packed as the header says.
        """
        if not self._is_packed:
            yield chunk
            return
        is_full = False
        while chunk or is_full:
            if self._unpacking.eof:
                if not chunk:
                    return
                self._unpacking = zlib.decompressobj(_ANY_HEADER)  # another member follows
            piece = self._unpacked(chunk)
            chunk = self._unpacking.unconsumed_tail or self._unpacking.unused_data
            is_full = len(piece) == _PIECE  # then more of what was read may wait inside
            if piece:
                yield piece

    def _unpacked(self, chunk: bytes) -> bytes:
        may_lack_header, self._may_lack_header = self._may_lack_header, False
        try:
            return self._unpacking.decompress(chunk, _PIECE)
        except zlib.error:
            if not may_lack_header:
                raise PackedWrongError from None
        self._unpacking = zlib.decompressobj(_NO_HEADER)  # as some servers pack `deflate`
        return self._unpacked(chunk)


class Events:
    """Cuts a stream into the data of its events.

    The format is that of server-sent events (HTML, section 9.2.6). Their names are not needed,
    since the data of each event that is read says what it is.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._line: list[bytes] = []
        self._data: bytearray | None = None
        self._held = 0
        self._after_return = self._after_start = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of the events that a chunk completes.

        Raises:
            TooLargeError: an event is longer than is read.
        """
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._held += len(chunk)
        self._line.append(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(self._line).split(b"\n")
            self._line, self._held = [rest], len(rest)
            for line in lines:
                yield from self._read(line)
        if self._held + len(self._data or b"") > MOST_BYTES:
            raise TooLargeError

    def end(self) -> Iterator[bytes]:
        """Yield the data of a last event, after which no empty line came."""
        yield from self._read(b"".join(self._line))
        yield from self._read(b"")

    def _read(self, line: bytes) -> Iterator[bytes]:
        if not self._after_start:
            line, self._after_start = line.removeprefix(_BYTE_ORDER_MARK), True
        if not line:
            if self._data is not None:
                yield bytes(self._data)
            self._data = None
            return
        name, _, value = line.partition(b":")
        if name != b"data":
            return  # a comment, or what only a browser needs
        value = value.removeprefix(b" ")
        if self._data is None:
            self._data = bytearray(value)
        else:
            self._data += b"\n" + value
