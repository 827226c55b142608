"""The endpoint of a provider: address, key and headers, all from one place.

An endpoint is a bundle. Its key comes from where its address comes from: a policy that names an
address of its own for a known provider says itself where the key is, and without that none is sent.
"""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import UNSET

from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.decision.record import Target
from policy_router.diagnostics.model import quote
from policy_router.diagnostics.redaction import REFERENCE
from policy_router.domain import Dialect, Policy, PoolEntry, Provider
from policy_router.policy.known_providers import KNOWN_PROVIDERS

MAX_KEY_BYTES: Final = 16 * 1024
"""The longest key in a file, in bytes."""

_LONGEST_ADDRESS: Final = 2048
_UNKNOWN: Final = Provider()
_SENDABLE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider's address with what belongs to it. Its key and headers are never shown.

    Attributes:
        provider: the provider's name.
        base_url: its address.
        api_key: its key; ``""`` where it needs none.
        headers: further headers of every call.
        dialect: how it speaks.
        secrets: what of key and headers no answer, log or error may repeat.
    """

    provider: str
    base_url: str
    api_key: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dialect: Dialect = field(default=Dialect())
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def endpoint_of(policy: Policy, name: str, environ: Mapping[str, str] | None) -> Endpoint | Failure:
    """Return the endpoint of a provider, with its secrets read now.

    Args:
        policy: says where its providers are.
        name: the provider's name.
        environ: what ``env:NAME`` is looked up in; None is the environment of the process.

    Returns:
        The endpoint; or why there is none to call.
    """
    if name and policy.providers and name not in policy.providers:
        message = f"the provider {quote(name)} is not one of the policy's `providers`"
        return Failure(Failing.NO_ENDPOINT, message)
    known = KNOWN_PROVIDERS.get(name, _UNKNOWN)
    own = policy.providers.get(name, _UNKNOWN)
    base_url = own.base_url or known.base_url
    if base_url is None:
        who = f"the provider {quote(name)}" if name else "a target that names no provider"
        message = f"{who} has no address; write its `base_url` under `providers` of the policy"
        return Failure(Failing.NO_ENDPOINT, message)
    if not _is_address(base_url):
        message = f"the `base_url` of the provider {quote(name)} is not an address"
        return Failure(Failing.NO_ENDPOINT, message)
    is_usual = own.base_url is None or own.base_url.rstrip("/") == known.base_url
    key = own.api_key or (known.api_key if is_usual else None)
    headers = own.headers or (known.headers if is_usual else {})
    read = [_content(reference, environ) for reference in (key or "", *headers.values())]
    missing = next((it for it in read if isinstance(it, Failure)), None)
    if missing is not None:
        return missing
    values = [it for it in read if isinstance(it, str)]
    secret = {
        value
        for reference, value in zip((key or "", *headers.values()), values, strict=True)
        if value and REFERENCE.fullmatch(reference)
    }
    secret |= {word for value in secret for word in value.split(" ")[1:]}  # after a scheme
    sent = tuple(zip(headers, values[1:], strict=True))
    return Endpoint(name, base_url, values[0], sent, dialect_of(policy, name), frozenset(secret))


def dialect_of(policy: Policy, name: str) -> Dialect:
    """Return how a provider speaks: as the policy says, and else as is known of it."""
    known = KNOWN_PROVIDERS.get(name, _UNKNOWN)
    return merged(policy.providers.get(name, _UNKNOWN).dialect, known.dialect)


def _is_address(url: str) -> bool:
    if len(url) > _LONGEST_ADDRESS or not url.isprintable():
        return False
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.netloc.rpartition("@")[2].startswith("["):
            ipaddress.IPv6Address(parts.hostname or "")
        is_whole = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return bool(parts.hostname) and is_whole and not parts.query and not parts.fragment


def _content(text: str, environ: Mapping[str, str] | None) -> str | Failure:
    """Return what a reference stands for; any other text stands for itself."""
    if not REFERENCE.fullmatch(text):
        return text
    kind, _, place = text.partition(":")
    if kind == "env":
        found = (os.environ if environ is None else environ).get(place, "")  # noqa: TID251 - the one place that looks up keys
        missing = "is not set"
    else:
        found, missing = _file(place)
    if not found.strip():
        return Failure(Failing.NO_CREDENTIAL, f"the key is missing: {text} {missing}")
    if not _SENDABLE.fullmatch(found.strip()):
        message = f"the key in {text} has characters that no header can carry"
        return Failure(Failing.NO_CREDENTIAL, message)
    return found.strip()


def _file(place: str) -> tuple[str, str]:
    """Return the content of a file; or nothing, and why."""
    try:
        with Path(place).expanduser().open("rb") as stream:
            content = stream.read(MAX_KEY_BYTES + 1)
        if len(content) > MAX_KEY_BYTES:
            return "", "is too long for a key"
        return content.decode("utf-8-sig"), "is empty"
    except UnicodeDecodeError:
        return "", "is not text"
    except (OSError, RuntimeError, ValueError) as problem:
        return "", f"cannot be read ({getattr(problem, 'strerror', None) or 'no such file'})"


def merged(first: Dialect, second: Dialect) -> Dialect:
    """Return a dialect that says what the first says, and where it says nothing, the second.

    What is unsupported adds up.
    """
    return Dialect(
        api=first.api or second.api,
        system_role=first.system_role or second.system_role,
        max_tokens=first.max_tokens or second.max_tokens,
        unsupported=(*first.unsupported, *second.unsupported),
    )


def with_entry(policy: Policy | None, target: Target) -> Target:
    """Return a target with its entry, where it does not name one and the pool has it."""
    if policy is None or target.entry is not UNSET:
        return target
    each = (Target(target.model, target.provider, {}, it.name) for it in policy.pool or ())
    return next((it for it in each if entry_of(policy, it) is not None), target)


def entry_of(policy: Policy, target: Target) -> PoolEntry | None:
    """Return the pool entry that a target is, if it is one."""
    named = [entry for entry in policy.pool or () if entry.name == target.entry]
    same = [entry for entry in named if entry.model == target.model]
    exact = [entry for entry in same if entry.provider == target.provider]
    return next(iter(exact or [entry for entry in same if not entry.provider]), None)
