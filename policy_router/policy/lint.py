"""Checks a policy as a whole: unknown names, rules that never decide."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from policy_router.cel.ast import Literal
from policy_router.cel.condition import Condition
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, did_you_mean, quote
from policy_router.diagnostics.redaction import KEY_SHAPE, REFERENCE, is_secret_name
from policy_router.domain import WISHES, Level, Policy, PoolEntry, PrecedenceRule
from policy_router.policy.canonical import form_but_for_name
from policy_router.policy.endpoints import repeated_headers, secret_places
from policy_router.policy.sections import Piece, Sections, scalars
from policy_router.policy.yaml import MappingNode


def findings(policy: Policy, sections: Sections, own_precedence: bool) -> Iterator[Diagnostic]:  # noqa: FBT001 - read once, by name
    """Yield what is wrong.

    Args:
        policy: what was read; where there are errors already, as far as it was.
        sections: where it was read from.
        own_precedence: whether the precedence rules are the policy's own, not a profile's.
    """
    checks = (_names, _targets, _references, _plans, _providers, _aliases, _models, _pool, _secrets)
    for check in checks:
        yield from check(policy, sections)
    yield from repeated_headers(sections)
    yield from _default(policy, sections)
    if own_precedence:
        yield from _rules(policy, sections)
        yield from _without_effect(sections)


# Names.


def _names(_policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    yield from _repeats(sections.joined("pool"), "name", "entries")
    yield from _repeats(sections.joined("forbid"), "id", "forbid rules")
    yield from _repeats(sections.joined("precedence"), "id", "precedence rules")
    yield from _unnamed_rules(sections)


def _repeats(pieces: list[Piece] | None, key: str, what: str) -> Iterator[Diagnostic]:
    """Yield an error for every name that is written twice."""
    seen: dict[str, Piece] = {}
    for piece in pieces or ():
        name = piece.get(key)
        text = name.text() if name else None
        if name is None or text is None:
            continue
        first = seen.setdefault(text, name)
        if first is not name:
            message = f"two {what} have the {key} {quote(text)}"
            yield name.error(Code.DUPLICATE_NAME, message, f"first given at {first.span}")


def _unnamed_rules(sections: Sections) -> Iterator[Diagnostic]:
    """Yield a warning for precedence rules that records cannot tell apart."""
    seen: dict[str, Piece] = {}
    for piece in sections.joined("precedence") or ():
        id_, use = piece.get("id"), piece.get("use")
        name = (id_ or use or piece).text()
        if name is None:
            continue
        first = seen.setdefault(name, piece)
        if first is not piece and (id_ is None or first.get("id") is None):
            message = f"two precedence rules are called {quote(name)} in records"
            remedy = f"give one of them an `id`; the other is at {first.span}"
            yield piece.warning(Code.DUPLICATE_NAME, message, remedy)


def _written(policy: Policy, sections: Sections) -> list[tuple[Piece, PoolEntry]]:
    """Return each pool entry with the piece it was read from."""
    pieces = [piece for piece in sections.joined("pool") or () if piece.text_at("model")]
    return list(zip(pieces, policy.pool or (), strict=True))


def _targets(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield what is wrong with entries that are alike."""
    names: dict[str, tuple[Piece, PoolEntry]] = {}
    targets: dict[tuple[str, str, str], PoolEntry] = {}
    forms: dict[bytes, PoolEntry] = {}
    for piece, entry in _written(policy, sections):
        first_piece, first = names.setdefault(entry.name, (piece, entry))
        same = targets.setdefault((entry.name, entry.model, entry.provider), entry)
        twin = forms.setdefault(form_but_for_name(policy, entry), entry)
        both_named = piece.get("name") is not None and first_piece.get("name") is not None
        if same is not entry and not both_named:
            message = f"two entries are the same target under the name {quote(entry.name)}"
            remedy = f"the other is at {same.span}; join them, or give one a `name`"
            yield piece.error(Code.SAME_TARGET, message, remedy)
        elif first is not entry and not both_named and first.model != entry.model:
            message = f"the name {quote(entry.name)} is another entry's too"
            yield piece.error(Code.DUPLICATE_NAME, message, f"the other is at {first.span}")
        elif twin.name != entry.name:
            message = f"this entry and {quote(twin.name)} are alike in all but name"
            remedy = f"the other is at {twin.span}; one entry can have several `aliases`"
            yield piece.warning(Code.ALIKE_BUT_FOR_NAME, message, remedy)


# References.


def _references(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    known = Counter(entry.name for entry in policy.pool or ())
    shared = {name for name, count in known.items() if count > 1}
    aliases = {alias: entry.name for entry in policy.pool or () for alias in entry.aliases}
    for piece, entry in _written(policy, sections):
        names = piece.get("fallback")
        for item in names.items() if names else ():
            yield from _fallback(item, entry, known, aliases)
    for rule in sections.joined("precedence") or ():
        only, wanted = rule.get("entry"), rule.text_at("entry")
        if only is None or wanted is None:
            continue
        if wanted not in known:
            remedy = did_you_mean(wanted, known) or "name an entry of the pool"
            message = f"there is no entry {quote(wanted)} in the pool"
            yield only.error(Code.UNKNOWN_ENTRY, message, remedy)
        elif wanted in shared:
            message = f"more than one entry has the name {quote(wanted)}"
            yield only.error(Code.AMBIGUOUS_ENTRY, message, "give each a `name` of its own")


def _plans(_policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield a warning for failures to go on after where there is nothing to go on with."""
    for piece in sections.joined("pool") or ():
        statuses = piece.get("fallback_on")
        if statuses is not None and not piece.texts_at("fallback"):
            message = "`fallback_on` has no effect without `fallback`"
            yield statuses.warning(Code.NO_EFFECT, message)


def _fallback(
    item: Piece, entry: PoolEntry, known: Mapping[str, int], aliases: Mapping[str, str]
) -> Iterator[Diagnostic]:
    name = item.text()
    if name is not None and name not in known:
        remedy = did_you_mean(name, known) or "name an entry of the pool"
        if name in aliases:
            remedy = f"{quote(name)} is an alias; name the entry: {quote(aliases[name])}"
        message = f"there is no entry {quote(name)} to fall back to"
        yield item.error(Code.UNKNOWN_FALLBACK, message, remedy)
    elif name == entry.name:
        yield item.warning(Code.NO_EFFECT, "the entry is its own fallback")


def _providers(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield an error for a provider outside ``providers``, where that section is given."""
    written = sections.all("providers")
    if not written or not all(isinstance(piece.node, MappingNode) for piece in written):
        return
    own = [entry.get("provider") for entry in sections.joined("pool") or ()]
    for piece in [*sections.all("provider"), *(piece for piece in own if piece)]:
        name = piece.text()
        if name is not None and name not in policy.providers:
            remedy = did_you_mean(name, policy.providers) or "declare it under `providers`"
            message = f"there is no provider {quote(name)}"
            yield piece.error(Code.UNKNOWN_PROVIDER, message, remedy)


def _aliases(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield a warning for an alias that is another entry's name, which has precedence."""
    names = {entry.name for entry in policy.pool or ()}
    for piece, entry in _written(policy, sections):
        aliases = piece.get("aliases")
        for item in aliases.items() if aliases else ():
            alias = item.text()
            if alias in names and alias != entry.name:
                message = (
                    f"the alias {quote(alias or '')} is another entry's name, which has precedence"
                )
                yield item.warning(Code.SHADOWED_ALIAS, message)


def _models(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield a warning for a name that is the model of another entry, which it hides."""
    models: dict[str, list[PoolEntry]] = {}
    for entry in policy.pool or ():
        models.setdefault(entry.model, []).append(entry)
    for piece, entry in _written(policy, sections):
        others = models.get(entry.name, [])
        hidden = next((it for it in others if it.name != entry.name != entry.model), None)
        if hidden is not None:
            message = f"the name {quote(entry.name)} is the model of {quote(hidden.name)}"
            remedy = "a wish for that model selects this entry; choose another name"
            yield (piece.get("name") or piece).warning(Code.NAME_OF_A_MODEL, message, remedy)


# The pool and the default.


def _pool(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    piece = sections.one("pool")
    if piece is not None and policy.pool == () and not sections.joined("pool"):
        message = "the pool is empty: nothing may be asked for"
        yield piece.warning(Code.EMPTY_POOL, message, "to restrict nothing, leave `pool` out")


def _default(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    piece = sections.one("model")
    if piece is None or policy.model is None or policy.pool is None:
        return
    bound = [rule for rule in policy.precedence if rule.use is Level.CONFIG and rule.in_pool]
    if not policy.pool and not bound:
        return  # nothing but the default runs, as an empty pool means there
    if not any(_may_equal(policy, entry) for entry in policy.pool):
        message = f"the default {quote(policy.model)} is outside the policy's own pool"
        remedy = _default_meant(policy, policy.model)
        report = piece.error if bound else piece.warning
        yield report(Code.DEFAULT_OUTSIDE_POOL, message, remedy)


def _default_meant(policy: Policy, model: str) -> str:
    for entry in policy.pool or ():
        if entry.name == model != entry.model:
            return f"that is the name of an entry; its model is {quote(entry.model)}"
        if entry.model == model:
            return f"the pool has it at {quote(entry.provider)}: write that `provider`"
    return "add it to the pool, or choose a default that is in it"


def _may_equal(policy: Policy, entry: PoolEntry) -> bool:
    """Tell whether the default can be an entry; an unknown provider may be any."""
    provider = policy.provider or ""
    same_provider = entry.provider == provider or not entry.provider or not provider
    return entry.model == policy.model and same_provider


# Secrets.


def _secrets(_policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield an error for every secret that is written where a reference belongs."""
    remedy = "write `env:NAME` or `file:PATH`, and take the key out of the file and its history"
    reported = set()
    for place, what in secret_places(sections):
        reported.add(place.span)
        if not _is_reference(place):
            is_shell = _SHELL.fullmatch(place.text() or "")
            help_ = "write `env:` before the name, without `$`: `env:NAME`" if is_shell else remedy
            yield place.error(Code.INLINE_SECRET, f"{what} is written out", help_)
    for root in sections.roots:
        for piece in scalars(root) if root.span.source.secrets else ():
            if piece.span not in reported and _looks_secret(piece):
                message = "this looks like a secret, written out"
                yield piece.error(Code.INLINE_SECRET, message, remedy)


_SHELL = re.compile(r"\$[A-Z_][A-Z0-9_]*|\$\{[A-Za-z_]\w*\}|[A-Z][A-Z0-9_]*_(?:KEY|TOKEN)")
"""A variable of the environment, as a shell has it, or its name alone."""


def _looks_secret(piece: Piece) -> bool:
    text = piece.text() or ""
    path, _, key = piece.path.rpartition(".")
    named = path.endswith(".parameters") and is_secret_name(key)
    return KEY_SHAPE.search(text) is not None or (named and not _is_reference(piece))


def _is_reference(piece: Piece) -> bool:
    text = piece.text()
    return text is None or REFERENCE.fullmatch(text) is not None


# Precedence rules.


def _rules(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield a warning for every rule after one that always decides, and where there is none."""
    for piece in () if sections.joined("precedence") else sections.all("precedence"):
        message = "no rule selects a target, so every request is refused"
        yield piece.warning(Code.NO_EFFECT, message, "to use the usual order, leave it out")
    pieces = {piece.span: piece for piece in sections.joined("precedence") or ()}
    decider: PrecedenceRule | None = None
    for rule in policy.precedence:
        if decider is not None and rule.span in pieces:
            message = f"the rule {quote(rule.id)} is never reached: an earlier one always decides"
            remedy = f"{quote(decider.id)} decides, at {decider.span}"
            yield pieces[rule.span].warning(Code.UNREACHABLE_RULE, message, remedy)
        elif decider is None and _always_decides(policy, rule):
            decider = rule


def _always_decides(policy: Policy, rule: PrecedenceRule) -> bool:
    if not _constantly_true(rule.when):
        return False
    proposed = _always_proposed(policy, rule)
    if proposed is None or rule.reject:
        return proposed is not None
    outside = rule.in_pool and policy.pool is not None and not proposed
    whole = policy.provider or (rule.use is Level.POOL and all(it.provider for it in proposed))
    guarded = any(it.enforce for it in policy.forbid) or _wishes_may_reject(policy)
    return bool(whole) and not outside and not guarded and all(map(_unguarded, proposed))


def _wishes_may_reject(policy: Policy) -> bool:
    """Tell whether a target can be rejected since it does not grant a wish for a parameter."""
    wishing = [rule for rule in policy.precedence if rule.use in WISHES]
    rejecting = any(rule.reject or not _constantly_true(rule.when) for rule in wishing)
    return rejecting and any(entry.limits for entry in policy.pool or ())


def _always_proposed(policy: Policy, rule: PrecedenceRule) -> list[PoolEntry] | None:
    """Return the entries that a rule always proposes (none: a target in no pool), or None."""
    pool = policy.pool or ()
    if rule.use is Level.CONFIG and policy.model is not None:
        return [entry for entry in pool if _may_equal(policy, entry)]
    if rule.use is Level.POOL and rule.entry is not None:
        return [entry for entry in pool if entry.name == rule.entry] or None
    if rule.use is Level.POOL and rule.order_by is None:
        sure = [entry for entry in pool if entry.pick and _constantly_true(entry.pick)]
        return sure or None
    return None


def _unguarded(entry: PoolEntry) -> bool:
    free = entry.supports is None and entry.context_window is None
    return free and _constantly_true(entry.allow)


def _constantly_true(condition: Condition | None) -> bool:
    if condition is None:
        return True
    return isinstance(condition.tree, Literal) and condition.tree.value is True


_USELESS: Mapping[str, tuple[str, ...]] = {
    Level.POOL: ("in_pool",),
    **dict.fromkeys(WISHES, ("entry",)),
    **dict.fromkeys((Level.CONFIG, Level.PARENT), ("entry", "order_by")),
}
"""The keys that say nothing to the rules of a level."""


def _without_effect(sections: Sections) -> Iterator[Diagnostic]:
    for rule in sections.joined("precedence") or ():
        use = rule.text_at("use")
        for key in _USELESS.get(str(use), ()):
            if (piece := rule.get(key)) is not None and use is not None:
                message = f"`{key}` has no effect on a rule that uses {quote(use)}"
                yield piece.warning(Code.NO_EFFECT, message)
