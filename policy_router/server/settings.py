"""The settings of a service, from ``serve.yaml`` or options of ``policy-router serve``.

``schemas/serve.schema.json`` is what :func:`serve_schema` returns; a test holds the file to it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields, replace

from policy_router.decision.schema import described, published
from policy_router.diagnostics.model import did_you_mean
from policy_router.errors import RequestError

Role: TypeAlias = Literal["agent", "host", "auditor", "admin"]
"""What a credential may do."""
Algorithm: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""How a JSON Web Token may be signed; none that has one key for both sides."""

_DURATION: Final = r"^[0-9]{1,6}(ms|s|m|h|d)$"
Duration: TypeAlias = Annotated[str, Meta(pattern=_DURATION)]
"""A number and its unit: ``500ms``, ``30s``, ``5m``, ``12h``, ``90d``."""
_RATE: Final = r"^[1-9][0-9]{0,6}/[smh]$"
Rate: TypeAlias = Annotated[str, Meta(pattern=_RATE)]
"""So many requests in a second, a minute or an hour: ``50/s``, ``600/m``."""
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
_Dollars: TypeAlias = Annotated[float, Meta(ge=0, le=1_000_000_000)]
_Positive: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
_MAY_STATE: Final = r"^(parent|budget|session|tags|facts(\.[A-Za-z_]\w*)?)$"
_COMMIT: Final = r"^[A-Za-z0-9_.:-]{1,200}$"
_Commit: TypeAlias = Annotated[str, Meta(pattern=_COMMIT)]
_WHO: Final = r"^[^\x00-\x1f\x7f-\x9f]{1,100}$"
_Who: TypeAlias = Annotated[str, Meta(pattern=_WHO)]
_MayState: TypeAlias = Annotated[str, Meta(pattern=_MAY_STATE)]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NO_PLACE: Final = "expected an address and a port (127.0.0.1:8080) or unix:PATH"
_UNKNOWN: Final = "Object contains unknown field `"
_FIELD: Final = re.compile(r"(?s)(.*?)(?: - at `(.*)`)?")
_WANTED: Final = {
    _DURATION: "expected a duration such as 30s, 5m, 12h or 90d",
    _RATE: "expected a rate such as 50/s, 600/m or 5000/h",
    _WHO: "expected 1 to 100 characters, without control characters",
    _COMMIT: "expected 1 to 200 letters, digits, `_`, `-`, `.`, `:`",
    _MAY_STATE: "expected parent, budget, facts, facts.NAME, session or tags",
}
"""What patterns mean, in words."""


class Claims(Struct, frozen=True, forbid_unknown_fields=True):
    """Which claims of a token say who calls; a dot looks into a claim that is a mapping.

    Attributes:
        id: the claim for ``caller.id``.
        team: the claim for ``caller.team``.
        roles: the claim for ``caller.roles``: a list of strings, or one string.
        facts: the claims for facts of the policy, by the names of the facts.
    """

    id: _Name = "sub"
    team: _Name | None = None
    roles: _Name | None = None
    facts: dict[str, _Name] = {}


class Issuer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An issuer of JSON Web Tokens that are taken as credentials.

    Attributes:
        issuer: what the claim ``iss`` has to be.
        audience: what the claim ``aud`` has to be or to hold.
        algorithms: how a token may be signed.
        jwks: its public keys: a file, or an address that begins with ``https://``.
        claims: which claims say who calls.
        role: what its tokens may do.
        role_claim: a claim that names further roles of the service: a string, or a list of them.
        rate: how many requests each caller may make.
        concurrency: how many requests of each caller may run at a time.
        deadline: how long a delegation of a caller's agents may take.
        max_tasks: how many tasks of a caller's agents may be under way at a time.
    """

    issuer: _Name
    audience: _Name
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)]
    jwks: _Name
    claims: Claims = Claims()
    role: Role = "agent"
    role_claim: _Name | None = None
    rate: Rate | None = None
    concurrency: _Positive | None = None
    deadline: Duration | None = None
    max_tasks: _Positive | None = None


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate of the service's own, where no proxy in front has one.

    Attributes:
        certificate: the file of the certificate and its chain, PEM.
        key: the file of its private key, PEM.
    """

    certificate: _Name
    key: _Name


class Budgets(Struct, frozen=True, forbid_unknown_fields=True):
    """What callers may spend, in US dollars; a file keeps what they have spent.

    Attributes:
        file: the budget file.
        callers: US dollars by ``caller.id``: the account ``caller:ID`` of the file.
        teams: US dollars by ``caller.team``: the account ``team:TEAM``.
    """

    file: _Name
    callers: dict[str, _Dollars] = {}
    teams: dict[str, _Dollars] = {}


class PseudonymSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is not named in a log: the id of each caller, and facts, are replaced by an HMAC.

    Attributes:
        key: the file of the key, which serves nothing else; who forgets it, erases who they were.
        facts: the facts that are replaced too: texts, or lists of texts.
    """

    key: _Name
    facts: tuple[_Name, ...] = ()


class GatewaySettings(Struct, frozen=True, forbid_unknown_fields=True, rename={"passes": "pass"}):
    """How model calls are forwarded.

    Attributes:
        pass: fields of a model call that clients may use although they name another model,
            endpoint, order of providers or class of price than the decided ones.
    """

    passes: tuple[_Name, ...] = ()


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration of a service. Everything is optional.

    Attributes:
        listen: an address and a port, or ``unix:`` and the path of a socket.
        workers: how many processes decide.
        log: the folder of the decision log.
        origin_commit: the commit that the rule files at the start come from, for the log.
        loaded_by: who loads the policy, for the log; the user of the process unless given.
        index: the file of the index of the log; ``<log>.index`` unless given.
        tokens: the file of the tokens; with it, no request is taken without a credential.
        jwt: the issuers of JSON Web Tokens that are taken as credentials.
        hosts: names that clients may call the service by, besides ``localhost`` and addresses.
        origins: web pages that may ask, such as ``https://console.example.com``.
        agent_may_state: what an agent may state besides ``call`` and ``task``.
        budgets: what callers and teams may spend.
        pseudonyms: replace the ids of callers, and facts, before anything is decided or logged.
        strict: refuse a policy with warnings.
        queue: how many requests a worker takes in before it answers 503.
        drain: how long requests may take to end when the service ends.
        helper_seconds: how long a replay, a what-if or a check may take.
        helper_megabytes: how much memory one of them may take.
        tls: a certificate of the service's own.
        policy_key: the file of the public key; with it, only bundles that it signed are a policy.
        policy_state: the folder of the last good bundle; ``<log>.policy`` unless given.
        policy_poll: how often the address of a bundle is asked for a newer one.
        run: whether models are called: the gateway, and ``delegate_task``.
        gateway: how model calls are forwarded.
        pages: whether there are pages for a browser.
    """

    listen: _Name = "127.0.0.1:8080"
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    log: _Name | None = None
    origin_commit: _Commit | None = None
    loaded_by: _Who | None = None
    index: _Name | None = None
    tokens: _Name | None = None
    jwt: tuple[Issuer, ...] = ()
    hosts: tuple[_Name, ...] = ()
    origins: tuple[_Name, ...] = ()
    agent_may_state: tuple[_MayState, ...] = ()
    budgets: Budgets | None = None
    pseudonyms: PseudonymSettings | None = None
    strict: bool = False
    queue: _Positive = 1000
    drain: Duration = "30s"
    helper_seconds: _Positive = 300
    helper_megabytes: _Positive = 2048
    tls: Tls | None = None
    policy_key: _Name | None = None
    policy_state: _Name | None = None
    policy_poll: Duration = "30s"
    run: bool = False
    gateway: GatewaySettings = GatewaySettings()
    pages: bool = True

    @property
    def may_spend(self) -> bool:
        """Whether everybody who can ask is known, so that money may be spent for them."""
        return self.has_credentials or self.socket_path is not None

    @property
    def has_credentials(self) -> bool:
        """Whether a request needs a credential."""
        return self.tokens is not None or bool(self.jwt)

    @property
    def socket_path(self) -> str | None:
        """The path of the Unix socket; None if the service listens at an address."""
        return self.listen[5:] if self.listen.startswith("unix:") else None

    @property
    def address(self) -> tuple[str, int]:
        """The address and the port.

        Raises:
            RequestError: it is neither these nor a socket.
        """
        host, _, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - of TCP
            raise RequestError("listen", _NO_PLACE)
        return host, int(port)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.socket_path is not None or is_loopback(self.address[0])


_SECTIONS: Final = (Claims, Issuer, Tls, Budgets, PseudonymSettings, GatewaySettings)


def settings_of(content: Any, options: Mapping[str, Any]) -> Settings:
    """Return the settings of a configuration, and of options, which go before it.

    Args:
        content: the decoded ``serve.yaml``; None where there is none.
        options: the fields that the command line gives; None is not given.

    Raises:
        RequestError: the configuration has a mistake, or is not safe.
    """
    try:
        settings = msgspec.convert({} if content is None else content, Settings)
        given = {name: value for name, value in options.items() if value is not None}
        settings = msgspec.convert(msgspec.to_builtins(replace(settings, **given)), Settings)
    except msgspec.ValidationError as problem:
        reason, path = misfit(problem)
        raise RequestError(f"serve: {path}", reason, _meant(reason, path)) from None
    if settings.socket_path == "" or "\0" in settings.listen:
        raise RequestError("listen", _NO_PLACE)  # Linux would listen where others can connect
    if not settings.has_credentials and not settings.is_local:
        reason = "without credentials, it must be a loopback address or a Unix socket"
        remedy = "give --tokens FILE; policy-router token new makes one"
        raise RequestError("listen", reason, remedy)
    if settings.policy_key and not (settings.policy_state or settings.log):
        reason = "expected a folder for the last good bundle"
        raise RequestError("policy_state", reason, "give --policy-state DIR, or --log DIR")
    return settings


def misfit(problem: msgspec.ValidationError) -> tuple[str, str]:
    """Return what is wrong with a value, and its place."""
    found = _FIELD.fullmatch(str(problem))
    reason, path = found.groups() if found else (str(problem), None)
    reason = reason.replace(_UNKNOWN, "unknown key `")
    words = next((it for pattern, it in _WANTED.items() if repr(pattern) in reason), None)
    return words or reason[:1].lower() + reason[1:], path or "$"


def _meant(reason: str, path: str) -> str | None:
    """Return which key of a configuration was meant by one that there is not."""
    _, is_unknown, name = reason.partition("unknown key `")
    if not is_unknown:
        return None
    kinds = (Settings,) if path == "$" else _SECTIONS
    known = (it.encode_name for kind in kinds for it in fields(kind))
    return did_you_mean(name[:-1], known) or "`policy-router schema serve` has all keys"


def index_of(settings: Settings) -> str:
    """Return the file of the index of the log."""
    return settings.index or f"{(settings.log or '').rstrip('/')}.index"


def state_of(settings: Settings) -> str:
    """Return the folder of the last good bundle."""
    return settings.policy_state or f"{(settings.log or '').rstrip('/')}.policy"


def seconds_of(duration: str, name: str = "duration") -> float:
    """Return how many seconds a duration has.

    Args:
        duration: a number with its unit.
        name: what it is called where it is none.

    Raises:
        RequestError: it is none.
    """
    if not re.fullmatch(_DURATION, duration):
        raise RequestError(name, _WANTED[_DURATION])
    number = duration.rstrip("msdh")
    return int(number) * _UNITS[duration[len(number) :]]


def per_second(rate: str) -> tuple[float, int]:
    """Return how many requests a second a rate is, and how many may come at once."""
    number, _, unit = rate.partition("/")
    return int(number) / _UNITS[unit], int(number)


def serve_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``serve.yaml``."""
    definitions = described(Settings)
    main = definitions.pop("Settings")
    return published("serve", main, definitions, title="policy-router service configuration")


def is_loopback(host: str) -> bool:
    """Tell whether a host, as it stands in an address, is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
