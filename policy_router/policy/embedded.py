"""The embedded form of a policy: what stands under ``delegation`` of a host's configuration.

It is rewritten to the native form before anything else looks at it, so that both spellings are one
policy: what is empty is left out, what the host owns is left to it, and the host's endpoint becomes
a provider. Every node keeps its place in the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import SHOWN, Diagnostic, Span, json_path, quote
from policy_router.policy.yaml import Document, MappingNode, Node, Pair, ScalarNode, SequenceNode

HOST_KEYS: Final = frozenset(
    {
        "api_key",
        "api_mode",
        "backend",
        "backends",
        "base_url",
        "child_timeout_seconds",
        "compression_threshold_tokens",
        "default_toolsets",
        "fallback_model",
        "fallback_providers",
        "independent_completions",
        "inherit_mcp_toolsets",
        "max_async_children",
        "max_concurrent_children",
        "max_iterations",
        "max_spawn_depth",
        "max_summary_chars",
        "orchestrator_enabled",
        "request_overrides",
        "subagent_auto_approve",
        "surface_child_process_notifications",
    }
)
"""What the origin host has in this section beside ``model``, ``provider``, ``reasoning_effort``.

Source: the section ``delegation`` of ``hermes_cli/config_defaults.py`` and of
``cli-config.yaml.example`` in NousResearch/hermes-agent, as of November 2026; ``backend`` and
``backends`` from its page on delegation providers, ``default_toolsets`` and ``max_async_children``
from earlier releases.
"""

_HOST_ROOT: Final = frozenset(
    {"$schema", "description", "model", "name", "owner", "providers", "version"}
)
"""Keys of ours that a host may well have at its own root, as the origin host has some."""
_ENDPOINT: Final = ("base_url", "api_key")
_FALLBACKS: Final = ("fallback_providers", "fallback_model")
_CUSTOM: Final = "custom"
"""The origin host's name for a provider that has an address and no name."""

_UNSET_AT_ROOT: Final = frozenset({"description", "model", "name", "owner", "provider"})
_UNSET_IN_ENTRY: Final = frozenset({"description", "name", "owner", "provider"})
_UNSET_IN_PROVIDER: Final = frozenset(_ENDPOINT)
_EFFORT: Final = frozenset({"reasoning_effort"})
_CLOSE: Final = 0.8
_NAMED: Final = 50


def native_form(
    document: Document, known: Collection[str]
) -> tuple[Document, tuple[Diagnostic, ...]]:
    """Return a document in the native form, and what is wrong with the embedded one.

    Args:
        document: in either form.
        known: the root keys of a policy.
    """
    if not document.embedded:
        return document, ()
    ours = set(known) - _HOST_ROOT
    document = replace(document, beside=tuple(it for it in document.beside if it[0] in ours))
    rewriting = _Rewriting(document, known)
    root = rewriting.root()
    return replace(document, root=root, moved=rewriting.moved), tuple(rewriting.found)


class _Rewriting:
    """Rewrites one document, and notes what is wrong with it."""

    def __init__(self, document: Document, known: Collection[str]) -> None:
        self.document, self.known = document, known
        self.found: list[Diagnostic] = []
        self.moved: dict[str, str] = {}
        self.unknown: list[Pair] = []

    def root(self) -> MappingNode:
        """Return the mapping in the native form."""
        self._beside()
        foreign = self._foreign()
        kept: dict[str, Pair] = {}
        host: dict[str, Pair] = {}
        for pair in self.document.root.pairs:
            key = pair.key.text
            if key in self.known and key not in foreign:
                if not (key in _UNSET_AT_ROOT | _EFFORT and _is_unset(pair.value)):
                    kept[key] = _without_unset(pair)
            elif key != "foreign":
                self._of_host(pair, foreign, host)
        self._report_unknown()
        self._refuse_fallbacks(host, kept.get("model"))
        self._add_endpoint(host, kept)
        return MappingNode.of(kept.values(), self.document.root.span)

    # What the host owns.

    def _beside(self) -> None:
        """Warn of keys of a policy that stand beside it."""
        for key, span in self.document.beside:
            message = f"`{key}` beside `delegation` is not read"
            remedy = "move it under `delegation`"
            path = json_path(key)
            self.found.append(
                Diagnostic(Code.NO_EFFECT, Severity.WARNING, message, span, path, remedy)
            )

    def _foreign(self) -> set[str]:
        """Return the keys that are said to be the host's."""
        node = self.document.root.get("foreign")
        if node is None:
            return set()
        items = node.items if isinstance(node, SequenceNode) else (node,)
        if not isinstance(node, SequenceNode) or not all(map(_text, items)):
            message = "`foreign` is a list of the keys that the host owns"
            self._error(Code.WRONG_TYPE, message, node.span, "foreign")
            return set()
        names = {_text(item): item for item in items}
        for name, item in names.items():
            if name in self.known:
                message = f"{quote(name)} is a key of the policy and cannot be the host's"
                self._error(Code.NOT_ALLOWED, message, item.span, "foreign")
        return names.keys() - set(self.known)

    def _of_host(self, pair: Pair, foreign: Collection[str], host: dict[str, Pair]) -> None:
        key = pair.key.text
        if key in HOST_KEYS and key not in foreign:
            host[key] = pair
        elif key not in foreign:
            self.unknown.append(pair)
        if key not in _ENDPOINT:  # what the host has is not ours to show
            self.document.source.hide(pair.value.span)

    def _report_unknown(self) -> None:
        """Report a key that is close to one of ours as an error, and name the others at once."""
        others = []
        for position, pair in enumerate(self.unknown):
            # Only so many findings are shown; looking for likenesses takes time.
            close = self._close(pair.key.text) if position < SHOWN else []
            if close:
                remedy = f"did you mean `{close[0]}`? if the host owns it, list it under `foreign`"
                message = f"unknown key {quote(pair.key.text)}"
                self._error(Code.UNKNOWN_KEY, message, pair.key.span, pair.key.text, remedy)
            else:
                others.append(pair.key)
        if others:
            names = ", ".join(quote(key.text) for key in others[:_NAMED])
            rest = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            message = f"unknown here, and left to the host: {names}{rest}"
            remedy = "list what the host owns under `foreign`"
            place = others[0].span, json_path(others[0].text, base=self.document.path)
            self.found.append(
                Diagnostic(Code.UNKNOWN_KEY, Severity.WARNING, message, *place, remedy)
            )

    def _close(self, key: str) -> list[str]:
        word = key[:100].lower().replace("-", "_")
        return difflib.get_close_matches(word, self.known, n=1, cutoff=_CLOSE)

    def _refuse_fallbacks(self, host: Mapping[str, Pair], model: Pair | None) -> None:
        """Report the host's fallbacks, and show how to write them: they need a pool."""
        for key in _FALLBACKS:
            pair = host.get(key)
            if pair is None or _is_unset(pair.value) or _is_empty(pair.value):
                continue
            items = pair.value.items if isinstance(pair.value, SequenceNode) else (pair.value,)
            default = (_text(model.value) if model else "") or "MODEL"
            named = [(_inner(item, "model"), _inner(item, "provider")) for item in items]
            names = ", ".join(name or "OTHER" for name, _ in named)
            entries = ", ".join(_entry(name or "OTHER", provider) for name, provider in named)
            written = f"pool: [{{model: {default}, fallback: [{names}]}}, {entries}]"
            message = f"`{key}` is not read: the fallbacks of a policy are entries of its pool"
            remedy = f"write {quote(written, 400)}"
            self._error(Code.HOST_FALLBACK, message, pair.key.span, key, remedy)

    # The host's endpoint.

    def _add_endpoint(self, host: Mapping[str, Pair], kept: dict[str, Pair]) -> None:
        """Make address and key of the host the endpoint of the policy's own provider."""
        given = [host[key] for key in _ENDPOINT if key in host and not _is_unset(host[key].value)]
        provider = kept.get("provider")
        if not given:
            return
        if provider is None and given[0].key.text == "api_key":
            message = "`api_key` has no effect without `base_url` or `provider`"
            place = given[0].key.span, json_path("api_key", base=self.document.path)
            self.found.append(Diagnostic(Code.NO_EFFECT, Severity.WARNING, message, *place))
            return
        if provider is None:
            provider = kept["provider"] = _pair("provider", given[0], _scalar(_CUSTOM, given[0]))
            self._moved("provider", to="base_url")
        name = _text(provider.value)
        written = kept.get("providers")
        if written is not None and not isinstance(written.value, MappingNode):
            return  # the schema says so
        providers = {pair.key.text: pair for pair in _pairs(written)}
        if written is None:  # where no provider is declared, any may be named
            for other in _named_in(kept.get("pool")):
                providers[other.text] = Pair(other, MappingNode.of((), other.span))
        own = self._joined(name, providers.get(name), given)
        providers[name] = _pair(name, given[0], own)
        span = (
            written.value.span if written and isinstance(written.value, MappingNode) else own.span
        )
        mapping = MappingNode.of(providers.values(), span)
        kept["providers"] = _pair("providers", written or given[0], mapping)

    def _joined(self, name: str, declared: Pair | None, given: list[Pair]) -> MappingNode:
        """Return a provider with the host's address and key, if they are no others than its own."""
        pairs = {pair.key.text: pair for pair in _pairs(declared)}
        closed = "base_url" not in pairs and bool({"api_key", "headers"} & pairs.keys())
        for pair in given:
            key = pair.key.text
            first = pairs.setdefault(key, pair)
            if first is pair:
                self._moved("providers", name, key, to=key)
            is_other = _address(first.value) != _address(pair.value)
            if is_other or (closed and key == "base_url"):
                message = f"`{key}` is not what {quote(name)} has under `providers`"
                place = declared.key.span if declared else pair.key.span
                remedy = f"say it in one place; the other is at {place}"
                self._error(Code.GIVEN_TWICE, message, pair.value.span, key, remedy)
        return MappingNode.of(pairs.values(), given[0].value.span)

    def _moved(self, *parts: str, to: str) -> None:
        base = self.document.path
        self.moved[json_path(*parts, base=base)] = json_path(to, base=base)

    def _error(
        self, code: Code, message: str, span: Span, key: str, remedy: str | None = None
    ) -> None:
        path = json_path(key, base=self.document.path)
        self.found.append(Diagnostic(code, Severity.ERROR, message, span, path, remedy))


def _without_unset(pair: Pair) -> Pair:
    """Leave out what is empty of the entries, providers and parameters under a root key."""
    node = pair.value
    if pair.key.text == "pool" and isinstance(node, SequenceNode):
        items = tuple(_given(item, _UNSET_IN_ENTRY, "parameters") for item in node.items)
        return Pair(pair.key, replace(node, items=items))
    if pair.key.text == "providers" and isinstance(node, MappingNode):
        each = [Pair(it.key, _given(it.value, _UNSET_IN_PROVIDER)) for it in node.pairs]
        return Pair(pair.key, MappingNode.of(each, node.span))
    return Pair(pair.key, _given(node, _EFFORT)) if pair.key.text == "parameters" else pair


def _given(node: Node, optional: Collection[str], parameters: str = "") -> Node:
    if not isinstance(node, MappingNode):
        return node
    pairs = [it for it in node.pairs if not (it.key.text in optional and _is_unset(it.value))]
    each = [
        Pair(it.key, _given(it.value, _EFFORT)) if it.key.text == parameters else it for it in pairs
    ]
    return MappingNode.of(each, node.span)


def _is_unset(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value in (None, "")


def _is_empty(node: Node) -> bool:
    return node == SequenceNode((), node.span) or (isinstance(node, MappingNode) and not node.pairs)


def _text(node: Node) -> str:
    return node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) else ""


def _inner(node: Node, key: str) -> str:
    inner = node.get(key) if isinstance(node, MappingNode) else None
    return _text(inner) if inner else (_text(node) if key == "model" else "")


def _entry(model: str, provider: str) -> str:
    return f"{{model: {model}, provider: {provider}}}" if provider else f"{{model: {model}}}"


def _address(node: Node) -> str:
    return _text(node).rstrip("/")


def _pairs(pair: Pair | None) -> tuple[Pair, ...]:
    return pair.value.pairs if pair and isinstance(pair.value, MappingNode) else ()


def _named_in(pool: Pair | None) -> list[ScalarNode]:
    """Return the providers that the entries of a pool name."""
    items = pool.value.items if pool and isinstance(pool.value, SequenceNode) else ()
    named = [item.get("provider") for item in items if isinstance(item, MappingNode)]
    return [node for node in named if isinstance(node, ScalarNode) and _text(node)]


def _scalar(text: str, at: Pair) -> ScalarNode:
    span = at.value.span
    return ScalarNode(text, text, plain=True, source=span.source, start=span.start, end=span.end)


def _pair(key: str, at: Pair, value: Node) -> Pair:
    """Return a pair that is not written as such, but follows from another one."""
    span = at.key.span
    return Pair(
        ScalarNode(key, key, plain=True, source=span.source, start=span.start, end=span.end), value
    )
