"""The comments of a YAML file: they have no nodes, and stand wherever no scalar is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from policy_router.diagnostics.model import SourceFile, Span
from policy_router.policy.yaml.parser import Neutral, events

_COMMENT = re.compile(r"(?<![^ \t\r\n])#[^\r\n]*+")
_LINE_END = re.compile(r"[^\r\n]*+")


def remarks(source: SourceFile) -> Iterator[Span]:
    """Yield where the comments of a file that could be read stand (YAML 1.2.2, 6.6)."""
    scalars = _scalars(source)
    start, end = next(scalars, _NONE_LEFT)
    for comment in _COMMENT.finditer(source.text):
        while end <= comment.start():
            start, end = next(scalars, _NONE_LEFT)
        if comment.start() < start:
            yield Span(source, *comment.span())


_NONE_LEFT = (1 << 60, 1 << 60)


def _scalars(source: SourceFile) -> Iterator[tuple[int, int]]:
    """Yield the text of each scalar; of a block without its header, which may have a comment."""
    for event in events(source, Neutral.of(source.text).text):
        kind = type(event)
        if kind is yaml.ScalarEvent:
            start, end = event.start_mark.index, event.end_mark.index
            header = _LINE_END.match(source.text, start) if event.style in {"|", ">"} else None
            yield (header.end() if header else start), end
