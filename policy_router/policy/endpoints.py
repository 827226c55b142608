"""Compiles the endpoints of a policy: addresses, keys, headers and dialects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, did_you_mean, quote
from policy_router.diagnostics.redaction import is_secret_name
from policy_router.domain import FALLBACK_CODES, TIMEOUTS, Dialect, FrozenDict, Provider, Timeouts
from policy_router.policy.sections import Piece, Sections
from policy_router.policy.yaml import ScalarNode

_LEAST_STATUS = 400


def providers(sections: Sections) -> Mapping[str, Provider]:
    """Return the endpoints by name."""
    found = {name.text: _provider(piece) for name, piece in sections.united("providers")}
    return FrozenDict(found)


def dialect(piece: Piece | None) -> Dialect:
    """Return how an endpoint speaks, by the value of ``dialect``; None is as usual."""
    if piece is None:
        return Dialect()
    return Dialect(
        api=piece.text_at("api"),
        system_role=piece.text_at("system_role"),
        max_tokens=piece.text_at("max_tokens"),
        unsupported=piece.texts_at("unsupported"),
    )


def fallback_rules(piece: Piece | None) -> tuple[int | str, ...]:
    """Return the HTTP statuses and codes in a list of ``fallback_on``."""
    found: list[int | str] = []
    for item in piece.items() if piece else []:
        number, code = item.number(), item.text()
        found += [int(number)] if number is not None else [code] if code is not None else []
    return tuple(found)


def bad_fallback_rules(piece: Piece | None) -> Iterator[Diagnostic]:
    """Yield an error for what is neither a status nor a code, and for what says both."""
    said = {str(rule) for rule in fallback_rules(piece)}
    for item in piece.items() if piece else []:
        number, code = item.number(), item.text()
        if number is not None and number == int(number) and abs(number) < _LEAST_STATUS:
            message = f"the status {int(number)} is not a failure: they are from 400 to 599"
            yield item.error(Code.BAD_VALUE, message)
        name = "" if code is None else code.removeprefix("-")
        if code is not None and name not in FALLBACK_CODES:
            remedy = did_you_mean(name, FALLBACK_CODES) or f"known: {', '.join(FALLBACK_CODES)}"
            yield item.error(Code.BAD_VALUE, f"there is no failure {quote(name or '-')}", remedy)
        rule = code if number is None else str(int(number))
        if rule is not None and rule.startswith("-") and rule[1:] in said:
            message = f"{quote(rule[1:])} cannot be both given and taken out"
            yield item.error(Code.BAD_VALUE, message, "keep one of the two")


def timeouts(piece: Piece | None) -> Timeouts:
    """Return how long one attempt may take, by the value of ``timeouts``; None is as usual."""
    if piece is None:
        return Timeouts()
    found = {key: piece.number_at(key) for key in TIMEOUTS}
    return Timeouts(**{key: None if it is None else float(it) for key, it in found.items()})


def secret_places(sections: Sections) -> Iterator[tuple[Piece, str]]:
    """Yield every value that must be a reference, and what to call it."""
    for name, provider in sections.united("providers"):
        if (key := provider.get("api_key")) is not None:
            yield key, f"the key of {quote(name.text)}"
        for header, value in header_pairs(provider):
            if _carries_secret(header):
                yield value, f"the header {quote(header)} of {quote(name.text)}"


def header_pairs(provider: Piece) -> list[tuple[str, Piece]]:
    """Return the names and values of a provider's headers."""
    headers = provider.get("headers")
    return [(name.text, value) for name, value in headers.pairs()] if headers else []


def repeated_headers(sections: Sections) -> Iterator[Diagnostic]:
    """Yield an error for headers that differ in case alone: to HTTP they are one."""
    for _, provider in sections.united("providers"):
        seen: dict[str, ScalarNode] = {}
        headers = provider.get("headers")
        for name, piece in headers.pairs() if headers else ():
            first = seen.setdefault(name.text.lower(), name)
            if first.text != name.text:
                message = f"{quote(name.text)} and {quote(first.text)} are the same header"
                place, remedy = (name.span, piece.path), f"first given at {first.span}"
                yield Diagnostic(Code.DUPLICATE_NAME, Severity.ERROR, message, *place, remedy)


def _provider(piece: Piece) -> Provider:
    headers = {name: value.text() for name, value in header_pairs(piece)}
    concurrency = piece.number_at("concurrency")
    return Provider(
        base_url=piece.text_at("base_url"),
        api_key=piece.text_at("api_key"),
        headers=FrozenDict({name: text for name, text in headers.items() if text is not None}),
        dialect=dialect(piece.get("dialect")),
        concurrency=None if concurrency is None else int(concurrency),
    )


def _carries_secret(header: str) -> bool:
    """Tell whether a header's name ends in a secret's: vendors put words of their own before it."""
    words = header.split("-")
    return any(is_secret_name("-".join(words[start:])) for start in range(len(words)))
