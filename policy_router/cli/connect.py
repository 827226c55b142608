"""The command ``connect``: puts a policy into the settings of an agent's host."""

from __future__ import annotations

import argparse
import difflib
import json
import os
from pathlib import Path

from policy_router.cli.inputs import UsageError, existing, read_facts, read_policy
from policy_router.cli.terminal import err, out
from policy_router.diagnostics.model import quote
from policy_router.domain import Policy
from policy_router.errors import reason_of
from policy_router.hosts.settings_files import HOME, HOSTS, HostSettings, Place, is_ours
from policy_router.hosts.settings_text import SettingsError, changed, ours, parsed, restored

_BACKUP = ".before-policy-router"
_LONGEST_SOCKET = 100
"""Characters; a longer path cannot be that of a socket."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("host", metavar="HOST", choices=list(HOSTS), help=", ".join(HOSTS))
    parser.add_argument("policy", metavar="POLICY", nargs="?", help="a rule file, or a folder")
    parser.add_argument("--dry-run", action="store_true", help="show the change, and write nothing")
    parser.add_argument("--undo", action="store_true", help="take the change out again")
    parser.add_argument("--settings", metavar="FILE", help="another file than the host's own")
    parser.add_argument(
        "--home", metavar="DIR", help="the log and the socket; default: beside the settings"
    )
    parser.add_argument("--facts", metavar="FILE", help="JSON: the `caller` of every request")


def run(options: argparse.Namespace) -> None:
    """Show the change of a settings file, and write it."""
    host = HOSTS[options.host]
    file = _file_of(host, options.settings)
    before = _read(file)
    try:
        after = _after(options, host, file, before)
    except SettingsError as problem:
        raise UsageError(f"{file}: {problem}") from None
    _show(file, before, after)
    if not options.dry_run and after != before:
        _write(file, before, after, is_undone=options.undo)
    if not options.quiet:
        out(_said(options, is_same=after == before))


def _after(options: argparse.Namespace, host: HostSettings, file: Path, before: str) -> str:
    """Return what the settings file is to be."""
    if options.undo:
        return _undone(host, file, before)
    if options.policy is None:
        raise UsageError(f"which policy is to decide? policy-router connect {host.name} POLICY")
    policy, place = read_policy(options.policy, is_strict=False), _place(options, file)
    after = _connected(host, file, before, place)
    _warn(host, policy, after)
    return after


def _file_of(host: HostSettings, given: str | None) -> Path:
    """Return the settings file of a host; a link is followed."""
    usual = Path.home() / host.folder if host.folder else Path.cwd()
    folder = os.environ.get(host.variable) or usual
    return Path(os.path.realpath(Path(given) if given else Path(folder, host.file)))


def _read(file: Path) -> str:
    """Return what is in a file, with the line ends that it has; nothing if it is not there."""
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise UsageError(f"{file}: {reason_of(problem)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: save the file as UTF-8") from None
    if text.startswith("\ufeff"):
        raise UsageError(f"{file}: save the file without a byte order mark")
    return text


def _place(options: argparse.Namespace, file: Path) -> Place:
    home = Path(options.home or file.with_name(HOME)).absolute()
    if len(str(home)) > _LONGEST_SOCKET:
        raise UsageError("the path of --home is too long for a socket in it")
    facts = None if options.facts is None else _facts(options.facts)
    return Place(Path(options.policy).absolute(), home, facts)


def _facts(path: str) -> Path:
    """Return the path of a file of facts, which a host reads as JSON with each request."""
    stated = read_facts(existing(path)) or {}
    for section in ("task", "call"):
        if section in stated:
            raise UsageError(f"{path}: the agent states `{section}` itself: take it out")
    try:
        json.loads(Path(path).read_bytes())
    except ValueError:
        raise UsageError(f"{path}: facts are in JSON") from None
    return Path(path).absolute()


def _connected(host: HostSettings, file: Path, before: str, place: Place) -> str:
    text = _undone(host, file, before)
    return changed(text, host.changes(place), is_json=host.is_json)


def _undone(host: HostSettings, file: Path, before: str) -> str:
    """Return the settings as they were; where they have changed since, without what is ours."""
    changes, backup = host.changes(Place(Path(), Path())), _backup_of(file)
    if backup.exists():
        old = _read(backup)
        mine = ours(before, changes, is_ours, is_json=host.is_json)
        if changed(old, mine, is_json=host.is_json) == before:
            return old
    return restored(before, changes, is_ours, is_json=host.is_json)


def _backup_of(file: Path) -> Path:
    return file.with_name(file.name + _BACKUP)


def _warn(host: HostSettings, policy: Policy, text: str) -> None:
    """Say which models of a policy the host does not have: what runs on them is refused."""
    settings = parsed(text, is_json=host.is_json)
    named = [policy.model, *(it.model for it in policy.pool or ())]
    for model in dict.fromkeys(it for it in named if it):
        if not host.runs(model, settings, os.environ):
            err(f"policy-router: warning: {host.name} has no model {quote(model)}")


def _show(file: Path, before: str, after: str) -> None:
    old, new = before.splitlines(), after.splitlines()
    for line in difflib.unified_diff(old, new, str(file), str(file), n=1, lineterm=""):
        out(line)


def _write(file: Path, before: str, after: str, *, is_undone: bool) -> None:
    """Write the file whole, or not at all; the old one is kept until the change is out."""
    backup = _backup_of(file)
    if file.exists() and not file.stat().st_mode & 0o200:
        raise UsageError(f"{file}: the file is read-only")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not is_undone and not backup.exists():
            _replace(backup, before, file)
        if after:
            _replace(file, after, file)
        else:  # there was none
            file.unlink()
        if is_undone:
            backup.unlink(missing_ok=True)
    except OSError as problem:
        raise UsageError(f"{file}: {reason_of(problem)}") from None


def _replace(file: Path, text: str, like: Path) -> None:
    mode = like.stat().st_mode & 0o777 if like.exists() else 0o600
    new = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(text.encode())
    new.replace(file)


def _said(options: argparse.Namespace, *, is_same: bool) -> str:
    if is_same:
        return "there is nothing to change"
    if options.dry_run:
        return "nothing is written: --dry-run"
    return f"{options.host} is {'no longer ' if options.undo else ''}connected"
