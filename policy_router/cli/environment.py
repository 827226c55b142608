"""Whether what a policy needs is there on this machine: addresses and keys, without any call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from policy_router.calls.endpoints import Endpoint, endpoint_of
from policy_router.calls.results import Failing
from policy_router.cli.terminal import table
from policy_router.diagnostics.model import printable
from policy_router.diagnostics.redaction import redact
from policy_router.domain import Level, Policy
from policy_router.policy.known_providers import KNOWN_PROVIDERS


class Target(NamedTuple):
    """A target of a policy, and what there is to call it.

    Attributes:
        name: the name of the entry; the model's id where there is none.
        model: the model's id.
        provider: the provider's name; ``""`` is the parent's.
        address: where it is; None where that is not known.
        key: ``there``, ``missing``, ``none`` where none is sent, or ``unknown``.
        problem: what is missing, or None.
    """

    name: str
    model: str
    provider: str
    address: str | None
    key: str
    problem: str | None


def targets(policy: Policy) -> list[Target]:
    """Return the default and all entries, with what there is to call them."""
    named = [(entry.name, entry.model, entry.provider) for entry in policy.pool or ()]
    uses_default = any(rule.use is Level.CONFIG for rule in policy.precedence)
    default = (policy.model or "", policy.provider or "")
    if policy.model and uses_default and default not in [(model, at) for _, model, at in named]:
        named.insert(0, (policy.model, *default))
    found = {provider: _found(policy, provider) for _, _, provider in named}
    return [Target(name, model, provider, *found[provider]) for name, model, provider in named]


def _found(policy: Policy, provider: str) -> tuple[str | None, str, str | None]:
    """Return the address of a provider, what there is of its key, and what is missing."""
    if not provider:
        return None, "unknown", None
    endpoint = endpoint_of(policy, provider, None)
    if isinstance(endpoint, Endpoint):
        has_secret = endpoint.api_key or endpoint.secrets
        return printable(redact(endpoint.base_url)), "there" if has_secret else "none", None
    known = policy.providers.get(provider), KNOWN_PROVIDERS.get(provider)
    address = next((it.base_url for it in known if it and it.base_url), None)
    where = None if address is None else printable(redact(address))
    key = "missing" if endpoint.code is Failing.NO_CREDENTIAL else "unknown"
    return where, key, printable(endpoint.message)


def shown(found: Iterable[Target]) -> str:
    """Return the targets as a table."""
    rows = [
        (
            printable(each.name),
            printable(each.provider) or "(parent's)",
            each.address or "-",
            each.key,
            each.problem or "",
        )
        for each in found
    ]
    return table(("target", "provider", "address", "key", "missing"), rows)
