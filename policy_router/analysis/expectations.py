"""What a test expects of a decision, and how the two differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from policy_router.decision.record import (
    Decision,
    DecisionRecord,
    DecisionWarning,
    Result,
    Target,
)
from policy_router.decision.request import Request
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, did_you_mean, quote
from policy_router.domain import Policy
from policy_router.errors import RequestError
from policy_router.parameters import same
from policy_router.policy.sections import Piece

_SELECTING: Final = ("entry", "model", "provider", "level", "fallbacks", "parameters")
"""What only a selection has."""
_REFUSING: Final = ("refused", "forbid", "message", "permitted")
"""What only a refusal has."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What was expected, and what was found in its place.

    Attributes:
        key: the key of ``expect``.
        expected: what was expected, as text.
        found: what was found, as text.
        help: that the policy has no such name, and the one that is like it; or None.
    """

    key: str
    expected: str
    found: str
    help: str | None = None

    def __str__(self) -> str:
        """Return all on one line."""
        text = f"{self.key}: expected {self.expected}, found {self.found}"
        return f"{text}; {self.help}" if self.help else text


def differences(
    expect: Mapping[str, Any], record: DecisionRecord, policy: Policy
) -> tuple[Difference, ...]:
    """Return where a decision is not what is expected; what is not named is not compared."""
    return tuple(
        replace(found, help=_unknown(key, wanted, policy))
        for key, wanted in expect.items()
        if (found := _difference(key, wanted, record))
    )


def _unknown(key: str, wanted: Any, policy: Policy) -> str | None:
    """Return that a policy has no rule or entry of a name that is expected, or None."""
    if key not in _NAMED:
        return None
    what, names = _NAMED[key]
    known = names(policy)
    unknown = next((name for name in _listed(wanted) if name not in known), None)
    if unknown is None:
        return None
    close = did_you_mean(unknown, known)
    return f"there is no {what} {quote(unknown)}" + (f", {close}" if close else "")


def _entries(policy: Policy) -> list[str]:
    return [entry.name for entry in policy.pool or ()]


_NAMED: Final[Mapping[str, tuple[str, Callable[[Policy], list[str]]]]] = {
    **dict.fromkeys(("entry", "fallbacks", "permitted"), ("entry", _entries)),
    "rule": ("precedence rule", lambda it: [rule.id for rule in it.precedence]),
    "forbid": ("forbid rule", lambda it: [rule.id for rule in it.forbid]),
}
"""The expectations that name a part of the policy: what it is, and its names."""


def differences_of_problem(
    expect: Mapping[str, Any], problem: RequestError
) -> tuple[Difference, ...]:
    """Return where a request that does not fit the policy is not what is expected."""
    wanted = expect.get("bad_request")
    if wanted == problem.path:
        return ()
    found = f"a request that does not fit the policy: {problem}"
    key = "request" if wanted is None else "bad_request"
    return (Difference(key, "a decision" if wanted is None else str(wanted), found),)


def _difference(key: str, wanted: Any, record: DecisionRecord) -> Difference | None:
    decision = record.decision
    if key == "bad_request":
        return Difference(key, str(wanted), "a request that fits the policy")
    if key in _NOT:
        ran = [name for target in _targets(decision) for name in _NOT[key](target)]
        hit = [name for name in dict.fromkeys(ran) if name in _listed(wanted)]
        names = ", ".join(map(quote, hit))
        return Difference(key, f"not {names}", names) if hit else None
    if key in _SELECTING and not decision.target:
        return Difference(key, _spelt(wanted), _refusal(decision))
    if key in _REFUSING and not decision.refusal:
        return Difference(key, _spelt(wanted), _selection(decision))
    found = _FOUND[key](record)
    if key == "parameters":
        return _of_parameters(wanted, found)
    if key == "warnings":
        return None if _warned(wanted, decision.warnings) else _of_warnings(wanted, decision)
    return None if found == wanted else Difference(key, _spelt(wanted), _spelt(found))


def _of_parameters(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Difference | None:
    """Compare the parameters that are named; null is for one that is not sent."""
    other = [name for name, value in wanted.items() if not _is_sent(found.get(name), value)]
    if not other:
        return None
    expected, sent = ({name: it.get(name) for name in other} for it in (wanted, found))
    return Difference("parameters", _spelt(expected), _spelt(sent))


def _is_sent(found: Any, wanted: Any) -> bool:
    return found is None if wanted is None else found is not None and same(found, wanted)


def _warned(wanted: Sequence[Any], found: Sequence[DecisionWarning]) -> bool:
    if len(wanted) != len(found):
        return False
    return all(_is_warning(one, it) for one, it in zip(wanted, found, strict=True))


def _is_warning(wanted: Any, found: DecisionWarning) -> bool:
    if isinstance(wanted, str):
        return found.code == wanted
    return all(getattr(found, key) == value for key, value in wanted.items())


def _of_warnings(wanted: Sequence[Any], decision: Decision) -> Difference:
    """Show the warnings as far as they are asked about."""
    keys = dict.fromkeys(key for it in wanted if not isinstance(it, str) for key in it)
    shown = [_with_keys(it, keys) for it in decision.warnings]
    return Difference("warnings", _spelt(wanted), _spelt(shown))


def _with_keys(warning: DecisionWarning, keys: Iterable[str]) -> Any:
    built = msgspec.to_builtins(warning)
    kept = {key: built[key] for key in ("code", *keys) if key in built}
    return kept if len(kept) > 1 else warning.code.value


def _targets(decision: Decision) -> tuple[Target, ...]:
    """Return what the task can run on: the selected target and the planned fallbacks."""
    return (decision.target, *(decision.fallbacks or ())) if decision.target else ()


def name_of(target: Target) -> str:
    """Return the name of a target's entry; the model's id where there is none."""
    return target.model if isinstance(target.entry, UnsetType) else target.entry


_NOT: Final[Mapping[str, Callable[[Target], tuple[str, ...]]]] = {
    "not_entry": lambda it: () if isinstance(it.entry, UnsetType) else (it.entry,),
    "not_model": lambda it: (it.model,),
    "not_provider": lambda it: (it.provider,),
}


def _of_target(key: str) -> Callable[[DecisionRecord], Any]:
    return lambda record: getattr(record.decision.target, key)


def _of_refusal(key: str) -> Callable[[DecisionRecord], Any]:
    return lambda record: getattr(record.decision.refusal, key)


def _rule(record: DecisionRecord) -> str | None:
    refusal = record.decision.refusal
    return record.decision.rule or None if isinstance(refusal, UnsetType) else refusal.rule


def forbid_of(record: DecisionRecord) -> str | None:
    """Return the forbid rule for which a request is refused: that of the first candidate."""
    refusal = record.decision.refusal
    if refusal and refusal.reasons:
        return next((it.forbid for it in refusal.reasons if it.forbid), None)
    ended = [step for step in record.steps if step.result is Result.VIOLATED]
    candidates = ended[-1].candidates if ended else ()
    return (candidates[0].forbid or None) if candidates else None


_FOUND: Final[Mapping[str, Callable[[DecisionRecord], Any]]] = {
    "entry": lambda record: _of_target("entry")(record) or None,
    "model": _of_target("model"),
    "provider": _of_target("provider"),
    "level": lambda record: record.decision.level,
    "rule": _rule,
    "refused": _of_refusal("code"),
    "forbid": forbid_of,
    "message": _of_refusal("message"),
    "permitted": lambda record: [*(_of_refusal("permitted")(record) or ())],
    "fallbacks": lambda record: [name_of(it) for it in record.decision.fallbacks or ()],
    "parameters": _of_target("parameters"),
    "warnings": lambda record: record.decision.warnings,
}


def _refusal(decision: Decision) -> str:
    refusal = decision.refusal
    if isinstance(refusal, UnsetType):  # pragma: no cover - a decision without target has one
        return "no target"
    by = f" by {quote(refusal.rule)}" if refusal.rule else ""
    return f"the request is refused{by}: {refusal.code}"


def _selection(decision: Decision) -> str:
    return f"{_spelt(name_of(decision.target))} is selected" if decision.target else "no refusal"


def _spelt(value: Any) -> str:
    """Return a value as YAML in flow style has it, safe to print."""
    if value is None or value is UNSET:
        return "nothing"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_spelt(it)}' for key, it in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spelt, value))}]"
    return msgspec.json.encode(value).decode()


def _listed(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


# What an expectation says of the policy, held against it before a test is run.


def senseless(expect: Piece, policy: Policy, requests: Sequence[Request]) -> Iterator[Diagnostic]:
    """Yield what is wrong with what is expected: it cannot hold, or could not fail.

    Args:
        expect: what a test expects.
        policy: the policy.
        requests: the requests of the test, which can name models and providers of their own.
    """
    yield from _contradictions(expect)
    place = expect.get("bad_request")
    if place is not None and not (place.text() or "").startswith("$"):
        message = "a place in a request begins with `$`, such as `$.task.kind`"
        yield place.error(Code.SENSELESS_EXPECTATION, message)
    for key, names in _known(policy, requests).items():
        piece = expect.get(key)
        for word in (piece.items() or [piece]) if piece else ():
            text = word.text() or ""
            if text not in names:
                what = key.removeprefix("not_")
                message = f"no {what} {quote(text)} can be selected, so this cannot fail"
                remedy = did_you_mean(text, names)
                yield word.error(Code.SENSELESS_EXPECTATION, message, remedy)


def _contradictions(expect: Piece) -> Iterator[Diagnostic]:
    """Yield each key that excludes one before it."""
    meant: dict[str, str] = {}
    for key, piece in expect.pairs():
        kind = _KINDS.get(key.text, "a decision")
        other = next((it for it in meant if _exclude(it, kind)), None)
        if other is not None:
            message = f"`{meant[other]}` is about {other}, and `{key.text}` about {kind}"
            path = piece.path
            code = Code.SENSELESS_EXPECTATION
            yield Diagnostic(code, Severity.ERROR, message, key.span, path)
        meant.setdefault(kind, key.text)


_KINDS: Final = {
    **dict.fromkeys(_SELECTING, "a selection"),
    **dict.fromkeys(_REFUSING, "a refusal"),
    "bad_request": "a request that is not valid",
}


def _exclude(one: str, other: str) -> bool:
    return one != other and (
        {one, other} == {"a selection", "a refusal"} or _KINDS["bad_request"] in {one, other}
    )


def _known(policy: Policy, requests: Sequence[Request]) -> Mapping[str, set[str]]:
    """Return the names that a target can have under a policy, for some requests."""
    pool = policy.pool or ()
    asking = [it.values[section] for it in requests for section in ("call", "task", "parent")]
    return {
        "not_entry": {entry.name for entry in pool},
        "not_model": {entry.model for entry in pool}
        | {it["model"] for it in asking}
        | {policy.model or ""},
        "not_provider": {entry.provider for entry in pool}
        | {it["provider"] for it in asking}
        | {*policy.providers, policy.provider or ""},
    }
