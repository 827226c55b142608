"""Targets that cannot be called as written: no provider, no address, an unusual one."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import urlsplit

from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, did_you_mean, quote
from policy_router.diagnostics.redaction import REFERENCE
from policy_router.domain import Level, Policy, Provider
from policy_router.parameters import EFFORT
from policy_router.policy.sections import Piece, Sections
from policy_router.policy.written import entries

SENTINELS: Final = frozenset({"inherit", "auto", "default", "parent", "none", "null", "same"})
"""Words that mean "not set" to other programs, and are names here."""
_CALLS: Final = ("/chat/completions", "/completions", "/responses", "/messages", "/embeddings")
"""What is appended to an address, and does not belong to it."""


def findings(
    policy: Policy, sections: Sections, known_providers: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield what is odd about the targets of a policy.

    Args:
        policy: the policy.
        sections: what it was read from.
        known_providers: the names of the providers whose addresses are known.
    """
    yield from _without_provider(policy, sections)
    yield from _without_address(policy, sections, known_providers)
    yield from _sentinels(policy, sections)
    for name, piece in sections.united("providers"):
        yield from _address(policy.providers[name.text], piece)


def _without_provider(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield the default, and the first entry, that run at the provider of whoever delegates."""
    remedy = "write `provider`, at the root for the whole policy"
    if policy.provider:
        return
    model = sections.one("model")
    if model is not None and any(rule.use is Level.CONFIG for rule in policy.precedence):
        message = f"the default {quote(policy.model or '')} runs at the provider of the parent"
        yield model.warning(Code.PARENTS_PROVIDER, message, remedy)
    loose = [piece for piece, entry in entries(policy, sections) if not entry.provider]
    for piece in loose[:1]:
        others = f"; so do {len(loose) - 1} more" if len(loose) > 1 else ""
        message = f"this entry runs at the provider of the parent{others}"
        place = piece.get("model") or piece
        yield place.warning(Code.PARENTS_PROVIDER, message, remedy)


def _without_address(
    policy: Policy, sections: Sections, known_providers: Collection[str]
) -> Iterator[Diagnostic]:
    known = sorted({*known_providers, *(n for n, it in policy.providers.items() if it.base_url)})
    places: dict[str, Piece] = {}
    for declared, piece in sections.united("providers"):
        places.setdefault(declared.text, piece)
    for used in (
        sections.one("provider"),
        *(piece.get("provider") for piece, _ in entries(policy, sections)),
    ):
        if used is not None and (text := used.text()) is not None:
            places.setdefault(text, used)
    for name, piece in places.items():
        if name not in known and name.lower() not in SENTINELS:
            message = f"no address is known of the provider {quote(name)}"
            remedy = did_you_mean(name, known, 0.75) or "write its `base_url` under `providers`"
            yield piece.warning(Code.NO_ADDRESS, message, remedy)


def _sentinels(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    pieces = [(key, sections.one(key)) for key in ("model", "provider", EFFORT)]
    pieces += [
        (key, piece.get(key))
        for piece, _ in entries(policy, sections)
        for key in ("model", "provider")
    ]
    for key, piece in pieces:
        text = piece.text() if piece else None
        is_value = key == EFFORT and text == "none"
        if piece is not None and text is not None and text.lower() in SENTINELS and not is_value:
            message = f"{quote(text)} is taken as the name of a {_KINDS[key]}"
            remedy = f"to set none, leave `{key}` out"
            if text in policy.providers:
                continue
            yield piece.warning(Code.NAME_WITH_A_MEANING, message, remedy)


_KINDS: Final = {"model": "model", "provider": "provider", EFFORT: "reasoning effort"}


def _address(provider: Provider, piece: Piece) -> Iterator[Diagnostic]:
    place = piece.get("base_url")
    if place is None or provider.base_url is None:
        return
    url = provider.base_url.rstrip("/")
    call = next((ending for ending in _CALLS if url.lower().endswith(ending)), None)
    if call is not None:
        message = f"the address ends in `{call}`, which is appended to it"
        yield place.warning(Code.UNLIKELY_ADDRESS, message, f"leave `{call}` out")
    if url.lower().startswith("http://") and not _is_loopback(url) and _sends_secret(provider):
        message = "the key is sent over plain http to another machine"
        yield place.warning(Code.UNLIKELY_ADDRESS, message, "write `https://`")


def _sends_secret(provider: Provider) -> bool:
    values = provider.headers.values()
    return provider.api_key is not None or any(REFERENCE.fullmatch(value) for value in values)


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or _address_of(host).is_loopback
    except ValueError:
        return False


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host)
