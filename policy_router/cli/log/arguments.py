"""Arguments that several of the commands about a log have, and what they mean."""

from __future__ import annotations

import argparse
import datetime
import os
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from policy_router.cli.inputs import name_of, read_bytes
from policy_router.cli.options import LOG
from policy_router.cli.terminal import err
from policy_router.decision.request import moment
from policy_router.errors import RequestError
from policy_router.log.entry import microseconds
from policy_router.log.sign.keys import SignatureError, Verifier, read_verifiers

_AGE = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_K = TypeVar("_K")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add the log that is meant, which may be an option, too."""
    parser.add_argument("words", metavar="LOG", nargs="?", help=LOG)
    parser.add_argument("--log", metavar="DIR", help="LOG, as an option")


def add_log_and_id(parser: argparse.ArgumentParser) -> None:
    """Add a log and one of its decisions."""
    parser.add_argument("words", metavar="LOG ID", nargs="*", help="a log, and a decision's id")
    parser.add_argument("--log", metavar="DIR", help="LOG, as an option")


def add_key(parser: argparse.ArgumentParser, text: str, *, is_needed: bool = False) -> None:
    """Add the file of a key."""
    parser.add_argument("--key", metavar="FILE", required=is_needed, help=text)


def add_keys(parser: argparse.ArgumentParser, text: str, *, is_needed: bool = False) -> None:
    """Add the files of keys: one or several, in one file or several."""
    words = f"{text}; may be given several times"
    parser.add_argument("--key", metavar="FILE", action="append", required=is_needed, help=words)


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Add where a key remembers what it signed."""
    text = "where the key remembers what it signed; default: the file of the key, and .state"
    parser.add_argument("--state", metavar="FILE", help=text)
    text = "nobody has ever signed the log with this key"
    parser.add_argument("--first", action="store_true", help=text)


def memory_of(options: argparse.Namespace) -> str:
    """Return the file in which a key remembers what it signed.

    Raises:
        RequestError: another one is named than the key has, and is not there.
    """
    usual = f"{options.key}.state"
    if options.state is None:
        return usual
    if not os.path.lexists(options.state):
        if os.path.lexists(usual):
            reason = f"there is no {options.state}, and the key has the state {usual}"
            raise RequestError(
                "--state", reason, "leave --state out, or name the state that is there"
            )
        if not options.first:
            reason = f"there is no {options.state}"
            if getattr(options, "since", None) is None:
                remedy = "give --first if the key has never signed this log"
                raise RequestError("--state", reason, remedy)
            err(f"policy-router: {reason}: a new state begins there")
    return str(options.state)


def log_of(options: argparse.Namespace) -> str:
    """Return the log that is meant."""
    words = options.words if isinstance(options.words, list) else [options.words]
    given = [word for word in (*words, options.log) if word is not None]
    if len(given) != 1:
        raise RequestError("LOG", "expected one log folder")
    return str(given[0])


def log_and_id(options: argparse.Namespace) -> tuple[str, str]:
    """Return the log and the decision that are meant, in whichever order they come."""
    words = [*options.words, *([options.log] if options.log is not None else [])]
    if len(words) != 2:  # noqa: PLR2004
        raise RequestError("LOG ID", "expected a log folder and the id of a decision")
    if options.log is not None:
        return words[1], words[0]
    first, second = map(os.path.isdir, words)
    return (words[1], words[0]) if second and not first else (words[0], words[1])


def verifiers_of(paths: Sequence[str] | None) -> list[Verifier]:
    """Return the keys that files hold."""
    return [it for path in paths or () for it in key_of(path, read_verifiers)]


def key_of(path: str, read: Callable[[bytes], _K]) -> _K:
    """Return the key that a file holds, as it is read."""
    content = read_bytes(path)
    try:
        return read(content)
    except SignatureError as problem:
        raise RequestError(name_of(path), str(problem)) from None


def seconds_of(text: str, option: str) -> int:
    """Return how many seconds an age is, such as ``2h``."""
    age = _AGE.fullmatch(text)
    try:
        if age:
            return int(datetime.timedelta(**{_UNITS[age[2]]: int(age[1])}).total_seconds())
    except OverflowError:
        pass
    raise RequestError(option, "expected an age (2h)")


def time_of(text: str, now: datetime.datetime, option: str) -> int:
    """Return a time that is written as a day, in RFC 3339, or as an age."""
    age = _AGE.fullmatch(text)
    try:
        if age:
            return microseconds(now - datetime.timedelta(**{_UNITS[age[2]]: int(age[1])}))
        return microseconds(moment(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text))
    except (RequestError, OverflowError):
        reason = "expected a day (2026-01-31), a time (2026-01-31T09:00:00Z) or an age (90d)"
        raise RequestError(option, reason) from None
