"""The events of PyYAML: of both its parsers, the same ones and the same problems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from policy_router.diagnostics import SourceFile, Span
from policy_router.policy.source.problems import SecondDocumentError, SyntaxProblemError
from policy_router.policy.source.wording import bad_escape, has_surrogate, syntax_error

LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

STARTS = frozenset({yaml.MappingStartEvent, yaml.SequenceStartEvent})
ENDS = frozenset({yaml.MappingEndEvent, yaml.SequenceEndEvent})
NODES = frozenset({yaml.ScalarEvent, yaml.AliasEvent, *STARTS, *ENDS})


def events(source: SourceFile, text: str) -> Iterator[Any]:
    """Yield the events of the nodes of one document.

    Args:
        source: the file.
        text: what PyYAML is to see of it, of the same length.

    Raises:
        SyntaxProblemError: the file is not YAML.
        SecondDocumentError: another document begins.
    """
    loader = LOADER(text)
    last = documents = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            kind = type(event)
            if kind in NODES:
                if LOADER is yaml.SafeLoader and has_surrogate(event):
                    raise SyntaxProblemError(bad_escape(source, text, last))
                yield event
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    span = Span(source, event.start_mark.index, event.end_mark.index)
                    raise SecondDocumentError(span)
            last = event.end_mark.index
    except yaml.MarkedYAMLError as problem:
        raise SyntaxProblemError(syntax_error(source, problem)) from None
    except (ValueError, OverflowError):  # the slow parser, on an escape beyond U+10FFFF
        raise SyntaxProblemError(bad_escape(source, text, last)) from None
    finally:
        loader.dispose()
