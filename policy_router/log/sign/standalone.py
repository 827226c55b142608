"""Verifies proofs of decisions of a policy-router log, and of what came of them.

    python verify.py KEY [PROOF]

KEY is a file with the public keys that you trust, one a line. PROOF is a bundle (a ZIP file), or
its file proof.txt; without it, the folder of this program is the bundle, unpacked.

It needs Python 3.9 or later and the package `cryptography`, and nothing else: this one file is all
of it. The log itself is not needed, and nothing in the bundle is believed but for what the key has
signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import sys
import zipfile
import zlib
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

PROOF = "proof.txt"
LINES = "lines.jsonl"
PROOF_HEAD = "c2sp.org/tlog-proof@v1"
STATEMENT_HEAD = "policy-router/lines/v1"
_PROOF = re.compile(
    PROOF_HEAD.replace(".", r"\.") + r"\nextra (\S+)\nindex (0|[1-9]\d{0,18})\n((?:\S+\n)*)\n(.*)",
    re.DOTALL,
)
_HEADS = re.compile(f"^(?={re.escape(PROOF_HEAD)}$|{re.escape(STATEMENT_HEAD)}$)", re.MULTILINE)
_CHECKPOINT = re.compile(r"([^\n]+)\n(0|[1-9]\d{0,18})\n(\S{44})\n((?:[^\n]+\n)*)")
_EXTRA = re.compile(rb"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}) (\{.*\})", re.DOTALL)
_STATEMENT = re.compile(
    re.escape(STATEMENT_HEAD)
    + r"\n([^\n]+)\ntime (\d{1,19})\ntree (\d{1,19}) (\S{44})\nunread (\d{1,19})\n((?:[^\n]+\n)*)"
)
_ENTRY = re.compile(r"\S+ \d+ [0-9a-f]{64}")
_KEY = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+(\S{44})")
_POLICY = re.compile(r"policies/sha256-([0-9a-f]{64})\.json")
_RULES = re.compile(r"policies/sha256-([0-9a-f]{64})/([0-9a-f]{32})/([^/]+)")
_OUTSIDE = "THIS IS OUTSIDE THE PLAN OF THE DECISION"
_MOST_BYTES = 1 << 30
_ID, _HASH, _TYPE = 4, 32, b"\x01"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - of Python 3.9


class NotProved(Exception):  # noqa: N818 - what it is
    """The proof does not hold; the text says which part of it, and why."""


class Key(NamedTuple):
    """A public key, and how it is called."""

    name: str
    key_id: bytes
    key: bytes

    @property
    def title(self) -> str:
        """The name and the id of the key."""
        return f"{self.name}+{self.key_id.hex()}"


class Line(NamedTuple):
    """A line of the log, whose place in the tree is proved."""

    writer: str
    content: bytes
    plain: dict[str, Any]
    leaf: int

    @property
    def place(self) -> str:
        """How a message calls it."""
        return f"{self.writer}, line {self.plain['seq']}"

    @property
    def entry(self) -> str:
        """What the tree, or a statement, has of it."""
        return f"{self.writer} {self.plain['seq']} {hashlib.sha256(self.content).hexdigest()}"


class Made(NamedTuple):
    """A decision with what came of it, as far as it is proved.

    Its lines are complete where ``is_complete``: a key has stated how many there are.
    """

    decision: Line
    events: list[Line]
    is_complete: bool


class Result(NamedTuple):
    """What is proved.

    ``key`` signed the checkpoint, and ``stated`` says when it stated the number of lines, in
    seconds since 1970; ``unread`` lines were not there any more when it did. ``policies`` are the
    lines that say by which policies was decided, ``has_rules`` whether the rule files are there, as
    these lines have them.
    """

    origin: str
    size: int
    key: str
    made: list[Made]
    policies: list[Line]
    stated: int | None
    unread: int
    has_rules: bool


# Keys and signed notes.


def read_keys(text: str) -> list[Key]:
    """Read public keys, one a line, as ``auditor.key.pub`` has them."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = _KEY.fullmatch(line)
        if parts is None:
            raise NotProved("the file of the key holds no public key: expected name+id+base64")
        content = _decoded(parts[3], "the key")
        name, key_id = parts[1], bytes.fromhex(parts[2])
        expected = hashlib.sha256(name.encode() + b"\n" + content).digest()[:_ID]
        if content[:1] != _TYPE or key_id != expected:
            raise NotProved(f"the key {name} is malformed")
        found.append(Key(name, key_id, content[1:]))
    if not found:
        raise NotProved("the file of the key holds no public key")
    return found


def signed_by(note: str, keys: list[Key]) -> tuple[str, Key]:
    """Return the text of a signed note, and which of the keys has signed it."""
    text, _, block = note.rpartition("\n\n")
    text += "\n"
    by = {(it.name, it.key_id): it for it in keys}
    for line in block.splitlines():
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":  # noqa: PLR2004 - a dash, a name, a signature
            raise NotProved("a signature is malformed")
        content = _decoded(parts[2], "a signature")
        key = by.get((parts[1], content[:_ID]))
        if key is not None:
            if not _is_signed(key, content[_ID:], text.encode()):
                raise NotProved(f"the signature by {key.title} is not one of this text")
            return text, key
    raise NotProved("it is signed by none of the keys")


def _is_signed(key: Key, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PublicKey,
    )

    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotProved(f"{what} is not base64") from None


# The tree (RFC 6962, section 2.1.1; RFC 9162, section 2.1.3.2).


def root_of(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Return the root that an audit path leads to; None where it cannot be one."""
    node, last = hashlib.sha256(b"\0" + leaf).digest(), size - 1
    if index > last:
        return None
    for sibling in path:
        if last == 0:
            return None
        if index % 2 or index == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while index and not index % 2:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


class _Checkpoint(NamedTuple):
    note: str
    origin: str
    size: int
    root: bytes
    key: Key


class _Proofs:
    """Reads proofs, which are all of one checkpoint."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys
        self.checkpoint: _Checkpoint | None = None

    def line(self, number: int, text: str) -> Line:
        """Return the line that a proof is of."""
        parts = _PROOF.fullmatch(text)
        if parts is None:
            raise NotProved(f"proof {number} is malformed")
        found = _EXTRA.fullmatch(_decoded(parts[1], f"the line of proof {number}"))
        if found is None:
            raise NotProved(f"proof {number} has no line of a log")
        try:
            plain = json.loads(found[2])
            line = Line(found[1].decode(), found[2], plain, int(parts[2]))
            entry = line.entry.encode() + b"\n"
            _check_shape(plain)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise NotProved(f"proof {number} has no line of a log") from None
        signed = self._opened(number, parts[4])
        path = [_decoded(it, f"proof {number}") for it in parts[3].split()]
        if root_of(entry, line.leaf, signed.size, path) != signed.root:
            raise NotProved(f"{line.place}: it is not the line that was signed")
        return line

    def _opened(self, number: int, note: str) -> _Checkpoint:
        if self.checkpoint is None:
            text, key = signed_by(note, self.keys)
            parts = _CHECKPOINT.fullmatch(text)
            if parts is None:
                raise NotProved("the checkpoint is malformed")
            root = _decoded(parts[3], "the checkpoint")
            self.checkpoint = _Checkpoint(note, parts[1], int(parts[2]), root, key)
        if note != self.checkpoint.note:
            raise NotProved(f"proof {number} is of another checkpoint than the first one")
        return self.checkpoint


def _check_shape(plain: dict[str, Any]) -> None:
    """Raise where a line lacks what is read of it."""
    timedelta(microseconds=plain["time"])
    if plain["kind"] == "decision":
        record = plain["record"]
        decision, policy = record["decision"], record["policy"]
        for target in (decision.get("target"), *decision.get("fallbacks", ())):
            if target is not None:
                _named(target)
        policy["revision"].replace(":", policy["name"])
    elif plain["kind"] == "execution":
        plain["execution"].get("event", "").replace("", "")
        float(plain["execution"].get("cost_usd", 0))
        for call in plain["execution"].get("calls", ()):
            "".join((_named(call), call["provider"], str(call["number"])))
    elif plain["kind"] == "policy":
        for file in plain["policy"]["files"]:
            "".join((file["name"], file["hash"]))
        "".join((plain["policy"]["revision"], plain["policy"]["digest"]))


# What belongs together.


def verify(text: str, keys: list[Key], files: dict[str, bytes] | None = None) -> Result:
    """Return what a file of proofs proves, with the other files of its bundle.

    Raises NotProved, which says which part does not hold.
    """
    parts = [it for it in _HEADS.split(text) if it]
    statements = [it for it in parts if it.startswith(STATEMENT_HEAD)]
    proofs, reading = parts[: len(parts) - len(statements)], _Proofs(keys)
    if not proofs or len(statements) > 1 or any(it.startswith(STATEMENT_HEAD) for it in proofs):
        raise NotProved("it has no proofs, or has something else among them")
    lines = [reading.line(number, it) for number, it in enumerate(proofs, 1)]
    signed = reading.checkpoint
    if signed is None:  # there is a proof, which has it
        raise NotProved("it has no proofs")
    _check_once(lines)
    stated = _stated(statements[0], signed, keys) if statements else None
    made = _gathered(lines, None if stated is None else stated[2])
    policies = [it for it in lines if it.plain.get("kind") == "policy"]
    has_rules = _check_files(files, lines, made, policies) if files is not None else False
    time, unread = (None, 0) if stated is None else stated[:2]
    return Result(
        signed.origin, signed.size, signed.key.title, made, policies, time, unread, has_rules
    )


def _check_once(lines: list[Line]) -> None:
    seen = set()
    for it in lines:
        if it.leaf in seen:
            raise NotProved(f"{it.place}: it is there twice")
        seen.add(it.leaf)


def _stated(
    note: str, signed: _Checkpoint, keys: list[Key]
) -> tuple[int, int, dict[str, list[str]]]:
    """Return when a key stated which lines there are, how many it could not read, and the lines."""
    text, _ = signed_by(note, keys)
    parts = _STATEMENT.fullmatch(text)
    if parts is None:
        raise NotProved("the statement is malformed")
    of = parts[1], int(parts[3]), _decoded(parts[4], "the statement")
    if of != (signed.origin, signed.size, signed.root):
        raise NotProved("the statement is of another checkpoint")
    found: dict[str, list[str]] = {}
    ids = ""
    for line in parts[6].splitlines():
        word, _, rest = line.partition(" ")
        if word == "decision":
            ids = rest
            found[ids] = []
        elif word == "line" and ids and _ENTRY.fullmatch(rest):
            found[ids].append(rest)
        else:
            raise NotProved("the statement is malformed")
    return int(parts[2]), int(parts[5]), found


def _gathered(lines: list[Line], stated: dict[str, list[str]] | None) -> list[Made]:
    """Return the decisions with what came of them, held to what is stated."""
    decisions: dict[str, list[Line]] = {}
    events: dict[str, list[Line]] = {}
    for it in lines:
        kind, about = it.plain.get("kind"), str(it.plain.get("id"))
        if kind == "decision":
            decisions.setdefault(about, []).append(it)
        elif kind == "execution":
            events.setdefault(about, []).append(it)
        elif kind != "policy":
            raise NotProved(f"{it.place}: it is about no decision")
    for about, each in events.items():
        if about not in decisions:
            raise NotProved(f"{each[0].place}: its decision {about} is not proved here")
    if stated is not None:
        _compare(decisions, events, stated)
    made = []
    for about, several in decisions.items():
        in_order = sorted(events.get(about, ()), key=lambda line: line.plain["time"])
        # Several decisions of one id are a mistake of the host: nobody knows whose the events are.
        made += [Made(line, in_order, stated is not None) for line in several]
    return made


def _compare(
    decisions: dict[str, list[Line]], events: dict[str, list[Line]], stated: dict[str, list[str]]
) -> None:
    """Refuse lines that are left out, and lines that are not stated."""
    for about in stated:
        if about not in decisions:
            raise NotProved(f"decision {about} is stated, and left out here")
    for about, several in decisions.items():
        if about not in stated:
            raise NotProved(f"{several[0].place}: the statement does not have the decision {about}")
        there = {it.entry: it for it in (*several, *events.get(about, ()))}
        for entry in stated[about]:
            if entry not in there:
                writer, seq, _ = entry.split(" ")
                raise NotProved(f"{writer}, line {seq}: it is of {about}, and left out here")
        for entry, it in there.items():
            if entry not in stated[about]:
                raise NotProved(f"{it.place}: it is not among the lines that are stated")


# The other files of a bundle.


def _check_files(
    files: dict[str, bytes], lines: list[Line], made: list[Made], policies: list[Line]
) -> bool:
    """Hold the files of a bundle to the lines; tell whether the rule files are proved too."""
    copies = files.get(LINES, b"").split(b"\n")[:-1]
    for number, line in enumerate(lines):
        if number >= len(copies) or copies[number] != line.content:
            raise NotProved(f"{LINES}, line {number + 1}: it is not {line.place}, which is proved")
    if len(copies) != len(lines):
        raise NotProved(f"{LINES}, line {len(lines) + 1}: it is not proved")
    for name, content in files.items():
        parts = _POLICY.fullmatch(name)
        if parts is not None and hashlib.sha256(content).hexdigest() != parts[1]:
            raise NotProved(f"{name}: it is not the policy that its name says")
    for it in made:
        revision = it.decision.plain["record"]["policy"]["revision"]
        if f"policies/{revision.replace(':', '-')}.json" not in files:
            raise NotProved(f"{it.decision.place}: its policy {revision[:19]} is left out")
    return _check_rules(files, policies)


def _check_rules(files: dict[str, bytes], policies: list[Line]) -> bool:
    wanted = {}
    for it in policies:
        used = it.plain["policy"]
        for file in used.get("files", ()):
            folder = f"policies/{used['revision'].replace(':', '-')}/{used['digest']}"
            wanted[f"{folder}/{file['name']}"] = file["hash"]
    for name, content in files.items():
        if _RULES.fullmatch(name) and hashlib.sha256(content).hexdigest() != wanted.get(name):
            raise NotProved(f"{name}: no line says that a process decided by this rule file")
    for name in wanted:
        if name not in files:
            raise NotProved(f"{name}: this rule file is left out")
    return bool(wanted)


# For people.


def in_words(result: Result) -> list[str]:
    """Return what is proved, in words: decided here, ran there."""
    lines = [f"proved    {_one(len(result.made), 'decision')} of {_clean(result.origin)}"]
    lines += [f"          signed by {_clean(result.key)}, over {result.size:,} lines"]
    if result.stated is None:
        lines += ["completeness: not proved; there may be more lines of these decisions"]
    else:
        when = _time(result.stated * 1_000_000)
        lines += [f"complete  every line of them up to there, as stated at {when}"]
        if result.unread:
            lines += [f"          but for {result.unread:,} lines that had been removed"]
    if result.policies:
        rules = "rule files proved" if result.has_rules else "rule files not looked at"
        lines += [f"policies  {_one(len(result.policies), 'line')} of them, {rules}"]
    lines += [
        f"rules     not proved: no line names the rule files of {_clean(it[:19])}"
        for it in _without_line(result)
    ]
    for it in result.made:
        lines += ["", *_words_of(it)]
    return lines


def _without_line(result: Result) -> list[str]:
    """Return the revisions that decided, and of which no line tells the rule files."""
    told = {it.plain["policy"]["revision"] for it in result.policies}
    decided = {it.decision.plain["record"]["policy"]["revision"] for it in result.made}
    return sorted(decided - told)


def _words_of(made: Made) -> list[str]:
    plain = made.decision.plain
    policy, decision = plain["record"]["policy"], plain["record"]["decision"]
    target = decision.get("target")
    where = _named(target) if target else f"refused: {decision.get('refusal', {}).get('code')}"
    lines = [
        f"decision  {_clean(plain['id'])}",
        f"  here    {made.decision.place}, {_time(plain['time'])}",
        f"  decided {_clean(where)}",
        f"  by      {_clean(policy['name'])}, {_clean(policy['revision'][:19])}",
    ]
    plan = [(it["model"], it["provider"]) for it in [target, *decision.get("fallbacks", ())] if it]
    for it in made.events:
        lines += [f"  there   {it.place}, {_time(it.plain['time'])}", *_ran(it.plain, plan)]
    if not made.events:
        lines += ["  there   no line says what came of it"]
    return lines


def _ran(plain: dict[str, Any], plan: list[tuple[str, str]]) -> list[str]:
    event = plain.get("execution", {})
    words = [event.get("event", ""), event.get("status", "")]
    ran = (event.get("model"), event.get("provider", ""))
    if event.get("model"):
        words += [f"on {_named(event)}"]
    if "cost_usd" in event:
        words += [f"${event['cost_usd']:.6f}"]
    lines = [f"          {_clean(', '.join(filter(None, words)))}"]
    for call in event.get("calls", ()):
        if call.get("is_sent", True) and (call["model"], call["provider"]) not in (*plan, ran):
            lines += [f"          call {call['number']} was sent to {_clean(_named(call))}"]
            lines += [f"          {_OUTSIDE}"]
    served = event.get("served_model")
    if served and served != event.get("model"):
        lines += [f"          the provider says that it served {_clean(served)}"]
    if event.get("model") and ran not in plan:
        lines += [f"          {_OUTSIDE}"]
    return lines


def _named(target: dict[str, Any]) -> str:
    where = f"{target['model']} at {target.get('provider') or 'no provider'}"
    entry = target.get("entry")
    return f"{entry} ({where})" if entry and entry != target["model"] else where


def _one(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _time(microseconds: int) -> str:
    try:
        return f"{(_EPOCH + timedelta(microseconds=microseconds)).isoformat()[:19]}Z"
    except OverflowError:
        return "at no time"


def _clean(text: object) -> str:
    return "".join(it if it.isprintable() else "\ufffd" for it in str(text))


# The program.


def files_of(path: Path) -> tuple[str, dict[str, bytes] | None]:
    """Return the proofs at a path, and the other files of their bundle, if they are in one."""
    if path.is_dir():
        found = {it.relative_to(path).as_posix(): it.read_bytes() for it in _below(path)}
    elif zipfile.is_zipfile(path):
        found = unpacked(path)
    else:
        return path.read_bytes().decode("utf-8", "replace"), None
    if PROOF not in found:
        raise NotProved(f"there is no {PROOF} in it")
    return found[PROOF].decode("utf-8", "replace"), found


def _below(path: Path) -> list[Path]:
    known = [path / PROOF, path / LINES, *sorted((path / "policies").rglob("*"))]
    return [it for it in known if it.is_file()]


def unpacked(path: Path | BytesIO) -> dict[str, bytes]:
    """Return what a ZIP file holds, by name."""
    try:
        with zipfile.ZipFile(path) as bundle:
            names = [it.filename for it in bundle.infolist()]
            if len(set(names)) != len(names):
                raise NotProved("a file is twice in the bundle")
            if sum(it.file_size for it in bundle.infolist()) > _MOST_BYTES:
                raise NotProved("the bundle has more than 1 GiB")
            return {name: bundle.read(name) for name in names}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise NotProved("the bundle is damaged") from None


def main(words: list[str]) -> int:
    """Verify what the command line names; 0 where it is proved, 1 where not, 2 for a mistake."""
    if len(words) not in (1, 2):
        sys.stderr.write(f"{(__doc__ or '').strip()}\n")
        return 2
    try:
        keys = read_keys(Path(words[0]).read_text(encoding="utf-8"))
        path = Path(words[1]) if len(words) > 1 else Path(__file__).resolve().parent
        text, files = files_of(path)
        sys.stdout.write("\n".join(in_words(verify(text, keys, files))) + "\n")
    except OSError as problem:
        sys.stderr.write(f"{problem.filename}: {problem.strerror}\n")
        return 2
    except (NotProved, UnicodeDecodeError) as problem:
        sys.stderr.write(f"not proved: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
