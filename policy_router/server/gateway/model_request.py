"""A client's model call: the part that is decided, and the part that passes unchanged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from policy_router.calls.client_fields import (
    HARMLESS,
    NESTED,
    NOT_ALLOWED,
    OURS,
    SAME,
    WISHES,
    measured,
)
from policy_router.calls.dialects import RESPONSES
from policy_router.diagnostics.model import quote
from policy_router.parameters import named
from policy_router.server.asking import Asked
from policy_router.server.deciding import FACTS
from policy_router.server.gateway.models import AUTO
from policy_router.server.problems import NOT_JSON, Problem, not_json

_KIND: Final = "policy:"
_BYTES_A_TOKEN: Final = 4
_NOTHING: Final = Raw(b"null")
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])


class ModelRequest(Struct, frozen=True):
    """A model call as a client makes it.

    Attributes:
        sections: what is to be decided, as its caller states it.
        fields: what goes through as it is, JSON by field.
        nested: what goes through of fields of which a part is a wish.
        streams: whether the answer is to be streamed.
        options: how the client wants a stream of completions.
        previous: the id of the answer that it goes on from, or None.
    """

    sections: dict[str, Any]
    fields: dict[str, Raw]
    nested: dict[str, dict[str, Any]] = {}
    streams: bool = False
    options: dict[str, Any] = {}
    previous: str | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether the client asks for the usage at the end of a stream of completions."""
        return self.options.get("include_usage") is True

    def body(self, model: str, parameters: Mapping[str, Any]) -> bytes:
        """Return what is sent to a target.

        Args:
            model: the id of its model.
            parameters: what was decided, as its endpoint calls it; it goes before what passes.
        """
        sent: dict[str, Any] = {**self.fields, **self.nested, **parameters, "model": model}
        for name, rest in self.nested.items():
            if isinstance(sent[name], Mapping):
                sent[name] = {**rest, **sent[name]}
        if _lacks_budget(sent.get("thinking")):
            del sent["thinking"]
        if self.streams:
            sent["stream"] = True
        return msgspec.json.encode(sent)


def _lacks_budget(thinking: Any) -> bool:
    """Tell whether a field has nothing left to say, since its wish was not granted."""
    is_on = isinstance(thinking, Mapping) and thinking.get("type") == "enabled"
    return is_on and "budget_tokens" not in thinking


def model_request(api: str, asked: Asked, passes: Collection[str]) -> ModelRequest:
    """Read a model call.

    Args:
        api: the API that it is made for.
        asked: the request.
        passes: the fields that the configuration lets through.

    Raises:
        Problem: it is malformed, or says what no client may say.
    """
    try:
        fields = _FIELDS.decode(asked.body)
    except msgspec.ValidationError:
        raise _bad("the body is a JSON object", "$") from None
    except NOT_JSON:
        raise not_json() from None
    _check_fields(fields, passes)
    stated = _stated(fields, asked.headers)
    nested = {name: _mapping(fields.pop(name), name) for name in NESTED & fields.keys()}
    task = _task(stated, _model(fields))
    _add_wishes(task, _wishes(fields, nested))
    _look_at_input(task, fields)
    streams = _flag(fields, "stream")
    options = _mapping(fields.get("stream_options", _NOTHING), "stream_options")
    return ModelRequest(
        {**stated, "task": task},
        fields,
        {name: rest for name, rest in nested.items() if rest},
        streams,
        options,
        _previous(fields) if api == RESPONSES else None,
    )


# Fields that are refused.


def _check_fields(fields: dict[str, Raw], passes: Collection[str]) -> None:
    for name, value in fields.items():
        known = SAME.get(name.casefold(), name)
        if known != name:
            raise _not_allowed(name, f"it may be taken for {quote(known)}")
        if name in NOT_ALLOWED and name not in passes and not _is_harmless(name, value):
            reason = "it would change what the policy decides"
            raise _not_allowed(name, reason, f"described at {NOT_ALLOWED[name]}")
    if "model" not in passes:
        for place, tool in enumerate(_list(fields, "tools")):
            if isinstance(tool, Mapping) and "model" in tool:
                raise _not_allowed(f"tools[{place}].model", "a tool may not name a model")


def _is_harmless(name: str, value: Raw) -> bool:
    content = _decoded(value, name)
    return content is None or (name in HARMLESS and content == HARMLESS[name])


def _not_allowed(path: str, reason: str, help_: str | None = None) -> Problem:
    detail = f"the field {quote(path)} is not allowed: {reason}"
    remedy = "`gateway: {pass: [...]}` in the configuration of the service lets fields through"
    return Problem(
        400,
        "field_not_allowed",
        detail,
        path=f"$.{path}",
        help=f"{help_}; {remedy}" if help_ else remedy,
    )


# What is stated besides.


def _stated(fields: dict[str, Raw], headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Take what a request states of itself, from the one place where it does.

    Raises:
        Problem: it does so at two places, or there is no mapping of sections.
    """
    found: list[tuple[str, Any]] = []
    if FACTS in headers:
        found.append((FACTS.decode(), _json(headers[FACTS], FACTS.decode())))
    if OURS in fields:
        found.append((f"$.{OURS}", _decoded(fields.pop(OURS), OURS)))
    if (text := _in_metadata(fields)) is not None:
        path = f"$.metadata.{OURS}"
        if not isinstance(text, str):
            raise _bad("expected a JSON text", path)
        found.append((path, _json(text.encode(errors="replace"), path)))
    if len(found) > 1:
        places = " and in ".join(place for place, _ in found)
        detail = f"what the request states stands in {places}"
        raise Problem(400, "stated_twice", detail, path=found[-1][0])
    return _sections(*found[0]) if found else {}


def _in_metadata(fields: dict[str, Raw]) -> Any:
    """Take our key from the metadata; None where it is not there."""
    metadata = _decoded(fields.get("metadata", _NOTHING), "metadata")
    if not isinstance(metadata, dict) or OURS not in metadata:
        return None
    text = metadata.pop(OURS)
    if metadata:
        fields["metadata"] = Raw(msgspec.json.encode(metadata))
    else:
        del fields["metadata"]
    return text


def _sections(place: str, stated: Any) -> dict[str, Any]:
    if not isinstance(stated, dict):
        raise _bad("expected a mapping of sections", place)
    task = stated.get("task", {})
    if isinstance(task, dict) and "model" in task:
        detail = "the model is asked for in the field `model` of the body"
        raise _bad(detail, f"{place}: task.model")
    return stated


def _task(stated: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the section ``task`` of a request, with what its model asks for."""
    stated_task = stated.get("task", {})
    if not isinstance(stated_task, dict):
        raise _bad("expected a mapping", "task")
    task = dict(stated_task)
    if model.startswith(_KIND):
        if "kind" in task:
            detail = "the kind of the task is stated twice: in the model and as `task.kind`"
            raise Problem(400, "stated_twice", detail, path="$.model")
        task["kind"] = model.removeprefix(_KIND)
    elif model != AUTO:
        task["model"] = model
    return task


def _model(fields: dict[str, Raw]) -> str:
    model = _decoded(fields.pop("model", _NOTHING), "model")
    if not isinstance(model, str) or not model or model == _KIND:
        raise _bad(f"expected a name, `{AUTO}` or `{_KIND}KIND`", "$.model")
    return model


# Wishes.


def _wishes(fields: dict[str, Raw], nested: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Take the wishes of a body, by the names of their parameters.

    Raises:
        Problem: one is given twice, with two values.
    """
    wishes: dict[str, Any] = {}
    places: dict[str, str] = {}
    for path, name in WISHES.items():
        if len(path) == 1:
            value = _decoded(fields.pop(path[0], _NOTHING), path[0])
        else:
            value = nested.get(path[0], {}).pop(path[1], None)
        known = named(name)
        if value is None or (known in places and wishes[known] == value):
            continue
        place = ".".join(path)
        if known in places:
            detail = f"{quote(known)} is given twice: here and as {quote(places[known])}"
            raise Problem(400, "stated_twice", detail, path=f"$.{place}")
        places[known], wishes[known] = place, value
    return wishes


def _add_wishes(task: dict[str, Any], wishes: Mapping[str, Any]) -> None:
    """Add the wishes of a body to those that are stated besides."""
    stated = task.get("parameters", {})
    if not isinstance(stated, dict):
        raise _bad("expected a mapping", "task.parameters")
    for name in stated:
        if named(name) in wishes:
            detail = f"{quote(name)} is given twice: in the body and in `task.parameters`"
            raise Problem(400, "stated_twice", detail, path=f"$.{name}")
    if parameters := {**stated, **wishes}:
        task["parameters"] = parameters


# The input.


def _look_at_input(task: dict[str, Any], fields: Mapping[str, Raw]) -> None:
    """Say how large the input is, and what its task needs for it."""
    size, has_images = 0, False
    for name in ("messages", "input", "system", "instructions"):
        if name in fields:
            found, sees = measured(_decoded(fields[name], name))
            size, has_images = size + found, has_images or sees
    tools = [name for name in ("tools", "functions") if name in fields]
    size += sum(len(fields[name]) for name in tools)
    least = -(-size // _BYTES_A_TOKEN)
    said = task.get("input_tokens", least)
    is_number = isinstance(said, int) and not isinstance(said, bool)
    task["input_tokens"] = max(said, least) if is_number else said
    found_needs = ["tools"] * any(_list(fields, name) for name in tools)
    found_needs += ["vision"] * has_images
    stated = task.get("needs", [])
    if found_needs and isinstance(stated, list):
        task["needs"] = [*stated, *(it for it in found_needs if it not in stated)]


def _previous(fields: Mapping[str, Raw]) -> str | None:
    """Return the id of the answer that a request goes on from.

    Raises:
        Problem: it goes on from a conversation, none of which is made here.
    """
    if _decoded(fields.get("conversation", _NOTHING), "conversation") is not None:
        detail = "no conversation is known here, since the gateway makes none"
        help_ = "send the whole input, or go on with `previous_response_id`"
        raise Problem(404, "unknown_conversation", detail, path="$.conversation", help=help_)
    previous = _decoded(fields.get("previous_response_id", _NOTHING), "previous_response_id")
    if previous is not None and not isinstance(previous, str):
        raise _bad("expected a string", "$.previous_response_id")
    return previous


# Plain data.


def _decoded(content: Raw, name: str) -> Any:
    return _json(bytes(content), f"$.{name}")


def _json(content: bytes, place: str) -> Any:
    try:
        return msgspec.json.decode(content)
    except NOT_JSON:
        raise Problem(400, "not_json", "it is not JSON", path=place) from None


def _mapping(content: Raw, name: str) -> dict[str, Any]:
    """Return a field that is a mapping; null is none."""
    found = _decoded(content, name)
    if found is not None and not isinstance(found, dict):
        raise _bad("expected a mapping", f"$.{name}")
    return found or {}


def _list(fields: Mapping[str, Raw], name: str) -> list[Any]:
    found = _decoded(fields.get(name, _NOTHING), name)
    return found if isinstance(found, list) else []


def _flag(fields: dict[str, Raw], name: str) -> bool:
    found = _decoded(fields.pop(name, _NOTHING), name)
    if found is not None and not isinstance(found, bool):
        raise _bad("expected true or false", f"$.{name}")
    return bool(found)


def _bad(detail: str, path: str) -> Problem:
    return Problem(400, "bad_request", detail, path=path)
