"""How a page is made: templates, the files beside them, and the headers that bound a browser.

The only door to Jinja2. Everything that a template prints is escaped. Names and values of others
are isolated, so that a text from right to left turns nothing around that stands beside it.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jinja2
import msgspec
from markupsafe import Markup, escape
from msgspec import Struct

from policy_router.diagnostics.model import printable
from policy_router.log.entry import moment_of
from policy_router.server.asking import Answer, Asked
from policy_router.server.pages.colouring import Piece, cel_pieces, yaml_lines
from policy_router.server.problems import Header, Problem

HTML: Final = b"text/html; charset=utf-8"
CSV: Final = b"text/csv; charset=utf-8"
_HERE: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
"""What no page of the service lets a browser do."""
NO_STORE: Final = (b"cache-control", b"no-store")
_FOR_EVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_LONGEST: Final = 300
_STORED: Final = re.compile(r"[^\s`]*/policies/sha256[:-][0-9a-f]{64}/[0-9a-f]{32}/[0-9]{3}-")
_SMALL: Final = 0.01
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")
_MOST_COMPARED: Final = 1_000_000
_ALIKE: Final = 0.5
_QUOTED: Final = re.compile("`([^`]+)`")
_CODE: Final = Markup("<code>{}</code>")
_BEFORE: Final = Markup('<del class="whole"><span class="hidden">before </span><bdi>{}</bdi></del>')
_AFTER: Final = Markup('<ins class="whole"><span class="hidden">after </span><bdi>{}</bdi></ins>')
_LONGEST_WHOLE: Final = 20


class _File(Struct, frozen=True):
    """A file beside the templates.

    Attributes:
        content: its bytes.
        packed: the same, by gzip.
        type: its content type.
        version: tells one from a later one.
    """

    content: bytes
    packed: bytes
    type: bytes
    version: str


class Templates:
    """Makes pages."""

    def __init__(self) -> None:
        """Read the templates and the files beside them."""
        self._files = {path.name: _read(path) for path in _HERE.glob("static/*") if _is_sent(path)}
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters |= FILTERS
        self._templates.globals |= {"static": self._address}

    def answer(
        self, name: str, values: Mapping[str, Any], *headers: Header, status: int = 200
    ) -> Answer:
        """Return a page.

        Args:
            name: that of its template.
            values: what the template prints.
            headers: further headers.
            status: the HTTP status.
        """
        text = self.text(name, values)
        return Answer(text.encode(), status, (*HEADERS, NO_STORE, *headers), HTML)

    def text(self, name: str, values: Mapping[str, Any]) -> str:
        """Return what a template makes of values."""
        return self._templates.get_template(name).render(values)

    def file(self, asked: Asked) -> Answer:
        """Return a file beside the templates; its address changes with its content.

        Raises:
            Problem: there is none with this name.
        """
        asked.options("v")
        found = self._files.get(asked.rest)
        if found is None:
            raise Problem(404, "no_route", "there is nothing at this path")
        headers = (*HEADERS, _FOR_EVER, (b"vary", b"accept-encoding"))
        if b"gzip" not in asked.headers.get(b"accept-encoding", b""):
            return Answer(found.content, headers=headers, type=found.type)
        packed = (b"content-encoding", b"gzip")
        return Answer(found.packed, headers=(*headers, packed), type=found.type)

    def _address(self, name: str) -> str:
        return f"/pages/static/{name}?v={self._files[name].version}"


def plain(value: object) -> Answer:
    """Return JSON for a script of a page."""
    return Answer(msgspec.json.encode(value), headers=(*HEADERS, NO_STORE))


def download(
    name: str,
    kind: bytes,
    content: bytes = b"",
    pieces: AsyncGenerator[bytes, None] | None = None,
) -> Answer:
    """Return a file that a browser keeps.

    Args:
        name: the name of the file.
        kind: its content type.
        content: what is in it.
        pieces: the same, where it comes bit by bit.
    """
    head = (b"content-disposition", f'attachment; filename="{name}"'.encode())
    return Answer(content, headers=(*HEADERS, NO_STORE, head), type=kind, pieces=pieces)


def redirect(place: str, *headers: Header) -> Answer:
    """Return what sends a browser to another page."""
    location = (b"location", place.encode("ascii", "ignore"))
    return Answer(b"", 303, (*HEADERS, NO_STORE, location, *headers), HTML)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    version = hashlib.sha256(content).hexdigest()[:16]
    return _File(content, gzip.compress(content, mtime=0), _TYPES[path.suffix], version)


def _is_sent(path: Path) -> bool:
    return path.suffix in _TYPES


# What templates call.


def isolated(value: object) -> Markup:
    """Return a text of others: without control characters, and isolated from what is beside it."""
    return Markup("<bdi>{}</bdi>").format(_cut(printable(str(value))))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def whole(value: object) -> Markup:
    """Return a text of others, however long it is."""
    return Markup('<bdi class="whole">{}</bdi>').format(printable(str(value)))


def message(value: object) -> Markup:
    """Return a message, in which what is quoted is shown as code."""
    parts = _QUOTED.split(printable(str(value)))
    shown = (_CODE.format(_cut(it)) if place % 2 else escape(it) for place, it in enumerate(parts))
    return Markup('<bdi class="whole">{}</bdi>').format(Markup("").join(shown))


def differing(before: str, after: str) -> Markup:
    """Return two texts of others as one, in which the words of only one of them are marked."""
    old, new = (_WORDS.findall(printable(text)) for text in (before, after))
    compared = SequenceMatcher(None, old, new, autojunk=False)
    if len(old) * len(new) > _MOST_COMPARED or compared.ratio() < _ALIKE:
        return _marked(old, _BEFORE) + " " + _marked(new, _AFTER)
    made = Markup("")
    for kind, *(start, stop, first, last) in compared.get_opcodes():
        if kind == "equal":
            made += escape("".join(old[start:stop]))
        else:
            made += _marked(old[start:stop], _BEFORE) + _marked(new[first:last], _AFTER)
    return Markup('<bdi class="whole">{}</bdi>').format(made)


def _marked(words: list[str], markup: Markup) -> Markup:
    return markup.format("".join(words)) if words else Markup("")


def code_lines(text: str) -> str:
    """Return lines of a rule file, safe to print."""
    return "\n".join(printable(line) for line in short_places(text).split("\n"))


def short_places(text: object) -> str:
    """Return a text in which the rule files beside a log have the names that they were read by."""
    return _STORED.sub("", str(text))


def coloured(pieces: Iterable[Piece]) -> Markup:
    """Return parts of a line, each in its colour."""
    made = [
        Markup('<span class="{}">{}</span>').format(colour, text) if colour else escape(text)
        for colour, text in pieces
    ]
    return Markup("").join(made)


def coloured_cel(text: str) -> Markup:
    """Return a condition in colours."""
    return coloured(cel_pieces(text))


def coloured_yaml(text: str) -> list[Markup]:
    """Return the lines of a rule file in colours."""
    return [coloured(line) for line in yaml_lines(text)]


def time_text(micros: int) -> Markup:
    """Return a time for a person, in UTC, with the exact one for programs."""
    text = Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>')
    return text.format(exact_time(micros), moment_of(micros))


def exact_time(micros: int) -> str:
    """Return a time as RFC 3339 has it."""
    return moment_of(micros).isoformat().replace("+00:00", "Z")


def day_text(day: int) -> str:
    """Return a day since 1970."""
    return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=day))


def money(dollars: float) -> str:
    """Return US dollars: cents, and more places where that would be nothing."""
    sign, size = "-" if dollars < 0 else "", abs(dollars)
    if size and size < _SMALL:
        return f"{sign}${size:.6f}".rstrip("0")
    return f"{sign}${size:,.2f}"


def cost(dollars: float) -> str:
    """Return what one decision cost, with as many places as the command line shows."""
    return f"{'-' if dollars < 0 else ''}${abs(dollars):,.6f}"


def count_text(count: int) -> str:
    """Return a number with its thousands apart."""
    return f"{count:,}"


def as_json(value: object) -> str:
    """Return a value as it stands in a request, safe to print."""
    return printable(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))


def query_text(values: Mapping[str, str | None], **changed: str | None) -> str:
    """Return the query of an address, without what is not given."""
    kept = {name: value for name, value in {**values, **changed}.items() if value}
    return f"?{urlencode(kept)}" if kept else "?"


FILTERS: Final[dict[str, Any]] = {
    "name": isolated,
    "whole": whole,
    "message": message,
    "differing": differing,
    "code": code_lines,
    "short": short_places,
    "cel": coloured_cel,
    "yaml": coloured_yaml,
    "time": time_text,
    "exact": exact_time,
    "day": day_text,
    "cost": cost,
    "money": money,
    "count": count_text,
    "plain_json": as_json,
    "query": query_text,
}
