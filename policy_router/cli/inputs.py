"""Policies, and requests and records from files and from standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from policy_router.cli.terminal import as_typed, counted, err
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.diagnostics.model import quote
from policy_router.domain import Policy
from policy_router.errors import PolicyError, PolicyRouterError, RequestError, reason_of
from policy_router.files.loader import check

MAX_BYTES = 64 * 1024 * 1024
"""The longest file that is read whole, in bytes."""


class UsageError(PolicyRouterError):
    """A command that cannot be carried out as it was asked for."""


def read_policy(path: str, *, is_strict: bool) -> Policy:
    """Read a policy to use, and say how many warnings it has.

    Raises:
        PolicyError: it has errors, or warnings where none is let pass.
        UsageError: there is no such file.
    """
    policy, found = check(existing(path))
    if policy is None or (is_strict and found.warnings):
        raise PolicyError(found)
    if found.warnings:
        count = counted(found.warnings, "warning")
        err(f"policy-router: {count}; see: policy-router check {as_typed(path)}")
    return policy


def existing(path: str) -> str:
    """Return the path of a file or folder that is there.

    Raises:
        UsageError: nothing is there.
    """
    if not exists(path):
        raise UsageError(no_file(path))
    return path


def exists(path: str) -> bool:
    """Tell whether a file or folder is there; a name that no file can have is not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def no_file(path: str) -> str:
    """Say that nothing is there."""
    return f"there is no file or folder {path[:200]}"


def read_requests(path: str) -> tuple[list[Request], bool]:
    """Read a request, or a batch of them.

    Args:
        path: a JSON or YAML file, or ``-`` for standard input.

    Returns:
        The requests, and whether they were written as a list.

    Raises:
        RequestError: something is malformed; its path tells which request of a batch.
    """
    content = read_value(path)
    return [_request(*it) for it in _placed(content)], isinstance(content, list)


def read_facts(path: str | None) -> dict[str, Any] | None:
    """Return what the request in a file says of parent, caller, budget and facts.

    Raises:
        RequestError: it is malformed, or a batch.
    """
    if path is None:
        return None
    requests, is_batch = read_requests(path)
    if is_batch:
        raise RequestError("$", "expected one request, found a batch")
    return dict(requests[0].given)


def read_requests_or_records(path: str) -> list[Request | DecisionRecord]:
    """Read requests or stored records: one, a list, or one a line.

    Raises:
        RequestError: something is malformed.
        RecordError: it is a record, and cannot be read.
    """
    return [
        DecisionRecord.from_json(json.dumps(item)) if _is_record(item) else _request(position, item)
        for position, item in _placed(read_value(path))
    ]


def _placed(content: Any) -> list[tuple[int | None, Any]]:
    """Return what is in a batch, with positions, or what is none."""
    return list(enumerate(content)) if isinstance(content, list) else [(None, content)]


def _request(position: int | None, item: Any) -> Request:
    with of_batch(position):
        return Request.from_mapping(item)


@contextmanager
def of_batch(position: int | None) -> Iterator[None]:
    """Let the path of an error begin with the position of its request in a batch, if it has one."""
    try:
        yield
    except RequestError as problem:
        if position is None:
            raise
        path = f"$[{position}]{problem.path.removeprefix('$')}"
        raise RequestError(path, problem.reason, problem.help) from None


def read_value(path: str) -> Any:
    """Read JSON, JSON lines or YAML, by the file's ending and, failing that, by its content.

    Raises:
        RequestError: it cannot be read or parsed.
    """
    content = read_bytes(path)
    if Path(path).suffix in {".yaml", ".yml"}:
        return _from_yaml(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise RequestError(name_of(path), f"not UTF-8 (byte {problem.start})") from None
    if not text.strip():
        raise RequestError(name_of(path), "there is nothing in it")
    if text.lstrip()[0] in "{[":
        return _from_json(path, text)
    return _from_yaml(path, content)


def read_bytes(path: str, most: int | None = None) -> bytes:
    """Read a file, or standard input.

    Args:
        path: the file; ``-`` is standard input.
        most: how many bytes it may have; ``MAX_BYTES`` unless given.

    Raises:
        RequestError: it cannot be read, or is longer.
    """
    most = MAX_BYTES if most is None else most
    try:
        if path == "-":
            content = sys.stdin.buffer.read(most + 1)
        else:
            with Path(path).open("rb") as stream:
                content = stream.read(most + 1)
    except (OSError, ValueError) as problem:
        raise RequestError(name_of(path), f"cannot be read: {reason_of(problem)}") from None
    if len(content) > most:
        raise RequestError(name_of(path), f"longer than {most:,} bytes")
    return content


def name_of(path: str) -> str:
    """Return how a file is called in messages."""
    return "standard input" if path == "-" else path


def _from_json(path: str, text: str) -> Any:
    try:
        return _decode(text)
    except json.JSONDecodeError as problem:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if problem.msg == "Extra data" and len(lines) > 1:
            return [_json_line(path, number, line) for number, line in lines]
        where = f"line {problem.lineno}, column {problem.colno}"
        raise RequestError(name_of(path), f"this is not JSON ({where})") from None


def _json_line(path: str, number: int, line: str) -> Any:
    try:
        return _decode(line)
    except json.JSONDecodeError:
        raise RequestError(name_of(path), f"this is not JSON (line {number})") from None


def _decode(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=float)
    except (json.JSONDecodeError, RequestError):
        raise
    except RecursionError:
        raise RequestError("$", "the JSON is nested too deep") from None
    except ValueError:
        raise RequestError("$", "a number is too long") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RequestError("$", f"the key {quote(key)} is given twice")
        found[key] = value
    return found


def _from_yaml(path: str, content: bytes) -> Any:
    from policy_router.policy.yaml import read_value as read_yaml

    value, problems = read_yaml(name_of(path), content)
    for problem in problems:
        line, column = problem.span.position
        place = name_of(path) if problem.path == "$" else f"{name_of(path)}: {problem.path}"
        reason = f"{problem.message} (line {line}, column {column})"
        raise RequestError(place, reason, problem.help)
    return value


def _is_record(item: Any) -> bool:
    schema = item.get("schema") if isinstance(item, dict) else None
    return isinstance(schema, str) and schema.startswith("policy-router/record/")
