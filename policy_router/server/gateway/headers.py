"""The headers of a call and of its answer, and the status of a failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from policy_router.calls.dialects import MESSAGES
from policy_router.calls.failing import Failing
from policy_router.calls.messages import VERSION as VERSION_OF_MESSAGES
from policy_router.hosts import Leg, Refused
from policy_router.server.deciding import DECISION
from policy_router.server.gateway.said import RETRY, CallProblem
from policy_router.server.gateway.upstream import Headers
from policy_router.server.problems import Header
from policy_router.version import VERSION

_FROM_CLIENT: Final = (b"accept-language", b"openai-beta", b"x-client-request-id")
"""The headers of a client that are forwarded."""
_FROM_ANTHROPIC: Final = (b"anthropic-beta", b"anthropic-version")
"""The same, where the Messages API is called."""
_NOT_PASSED: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"proxy-authenticate", b"proxy-authentication-info", b"proxy-connection"),
        *(b"content-length", b"content-type", b"date", b"server", b"set-cookie", b"set-cookie2"),
        *(b"alt-svc", b"strict-transport-security", b"www-authenticate"),
        *(b"anthropic-organization-id", b"openai-organization", b"openai-project"),
    }
)
"""The headers of a provider's answer that are about its connection, its cookies, or the account."""
_OURS: Final = b"policy-router-"
_SHORTEST_SECRET: Final = 8
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_STATUSES: Final[Mapping[str, int]] = {
    Failing.TIMEOUT: 504,
    Failing.RATE_LIMITED: 429,
    Failing.MODEL_NOT_FOUND: 404,
}
_OURS_TO_MEND: Final = frozenset({Failing.UNAUTHORIZED, Failing.PAYMENT_REQUIRED})
_OWN_STATUSES: Final = frozenset({400, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504})
"""The statuses of a provider that its client gets as they are: the fault may be the client's."""


def sent_headers(
    leg: Leg, api: str, client: Mapping[bytes, bytes], *, streams: bool
) -> dict[str, str]:
    """Return the headers of a call: those of the endpoint go before the client's and ours."""
    sent = {
        "accept": "text/event-stream" if streams else "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"policy-router/{VERSION}",
    }
    passed: tuple[bytes, ...] = _FROM_CLIENT
    if api == MESSAGES:
        sent["anthropic-version"] = VERSION_OF_MESSAGES
        passed = (*_FROM_CLIENT, *_FROM_ANTHROPIC)
    if leg.api_key and api == MESSAGES and not _has_authorization(leg):
        sent["x-api-key"] = leg.api_key
    elif leg.api_key and api != MESSAGES:
        sent["authorization"] = f"Bearer {leg.api_key}"
    for name in passed:
        if name in client:
            sent[name.decode()] = client[name].decode("latin-1")
    return {**sent, **{name.lower(): value for name, value in leg.headers.items()}}


def answer_headers(
    leg: Leg, received: Headers, *, decision_id: str, attempts: int
) -> tuple[Header, ...]:
    """Return the headers of an answer: the provider's, but for some, and ours."""
    named = {it.strip().lower() for it in _all(received, b"connection").split(b",")}
    secrets = secrets_of(leg)
    passed = [
        (name, value)
        for name, value in received
        if name not in _NOT_PASSED
        and name not in named
        and not name.startswith(_OURS)
        and not any(secret in value for secret in secrets)
    ]
    ours = [(DECISION, decision_id), (b"policy-router-entry", leg.entry)]
    ours += [(b"policy-router-model", leg.model), (b"policy-router-provider", leg.provider)]
    ours += [(b"policy-router-attempts", str(attempts))]
    return (*passed, *((name, _spelt(value)) for name, value in ours if value is not None))


def status_of(code: str, status: int | None) -> int:
    """Return the status that a client gets for a failure of its provider.

    What is wrong with the service's own account or key is not the client's fault.
    """
    if code in _OURS_TO_MEND:
        return 502
    return status if status in _OWN_STATUSES else _STATUSES.get(code, 502)


def refusal(refused: Refused, decision_id: str) -> CallProblem:
    """Return the problem of a call that the policy refuses."""
    headers = (decision_header(decision_id), retries(passes=False))
    return CallProblem(
        403,
        refused.code,
        refused.message,
        decision_id=decision_id,
        permitted=refused.permitted,
        headers=headers,
    )


def decision_header(decision_id: str) -> Header:
    """Return the header that names a decision."""
    return DECISION, decision_id.encode()


def retries(*, passes: bool) -> Header:
    """Return the header that tells an SDK whether to send a request again."""
    return RETRY, b"true" if passes else b"false"


def _has_authorization(leg: Leg) -> bool:
    """Tell whether an endpoint has a header of its own for its key."""
    return any(name.lower() == "authorization" for name in leg.headers)


def secrets_of(leg: Leg) -> list[bytes]:
    """Return what no answer may repeat; what is shorter is found in ordinary words."""
    return [it.encode() for it in leg.endpoint.secrets if len(it) >= _SHORTEST_SECRET]


def _spelt(text: str) -> bytes:
    """Return a text as a header can have it: others than printable ASCII are percent-encoded."""
    return quote(text, safe=_PRINTABLE).encode()


def _all(headers: Headers, name: bytes) -> bytes:
    return b",".join(value for key, value in headers if key == name)
