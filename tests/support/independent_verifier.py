"""A verifier of logs that was written from docs/log-format.md, and imports nothing of the package.

It answers one question: does the log hold what the keys have signed? It returns a list of what does
not, each as one line of text. Whoever changes the page changes this file by the page alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Key = tuple[str, bytes]
OWN = {"policies", "checkpoints", "heads", "tree"}
WRITER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
ENTRY = re.compile(rb"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}) ([1-9]\d{0,18}) ([0-9a-f]{64})\n")


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def root(leaves: list[bytes]) -> bytes:
    """Return MTH of RFC 6962, section 2.1, over hashes of leaves."""
    if not leaves:
        return sha()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha(b"\x01", root(leaves[:k]), root(leaves[k:]))


def key_of(text: str) -> Key:
    name, _, rest = text.strip().partition("+")
    return name, base64.b64decode(rest.partition("+")[2])[1:]


def is_signed(note: str, key: Key) -> bool:
    """Tell whether a key has signed a note with a signature of type 1."""
    text, _, block = note.rpartition("\n\n")
    text += "\n"
    name, public = key
    wanted = sha(name.encode(), b"\n\x01", public)[:4]
    for line in block.splitlines():
        _, signer, encoded = line.split(" ")
        content = base64.b64decode(encoded)
        if (signer, content[:4]) == (name, wanted):
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(content[4:], text.encode())
            except InvalidSignature:
                return False
            return True
    return False


class Log:
    """A log, and what is wrong with it."""

    def __init__(self, folder: Path, keys: list[Key]) -> None:
        self.folder, self.wrong = folder, list[str]()
        self.keys: dict[Key, int | None] = dict.fromkeys(keys)
        self.accepted: dict[str, set[int]] = defaultdict(set)
        self.pruned: dict[tuple[str, int], tuple[int, int]] = {}
        self.origins: set[str] = set()
        self.signed: dict[str, dict[int, str]] = defaultdict(dict)
        self.revisions: set[str] = set()

    def check(self) -> list[str]:
        self.statements()
        self.tree(self.checkpoints())
        for writer in self.writers():
            self.lines(writer)
        if len(self.origins) > 1:
            self.wrong.append(f"several origins: {sorted(self.origins)}")
        self.policies()
        return self.wrong

    # Notes.

    def statements(self) -> None:
        notes = [it.read_text() for it in sorted((self.folder / "tree/statements").glob("*.txt"))]
        acts = [note.rpartition("\n\n")[0].split("\n") for note in notes]
        for _ in notes:  # as often as hand-overs can follow each other
            for note, lines in zip(notes, acts, strict=True):
                if lines[3].startswith("handover "):
                    self.hand_over(note, *lines[3].split(" ")[1:])
        for note, (schema, origin, _, *rest) in zip(notes, acts, strict=True):
            if schema != "policy-router/statement/v1" or not self.trusted(note, None):
                self.wrong.append("a statement by nobody who is trusted")
                continue
            self.origins.add(origin)
            for act in rest:
                self.take(*act.split(" "))

    def hand_over(self, note: str, size: str, _root: str, old: str, new: str) -> None:
        first, second = key_of(old), key_of(new)
        is_known = bool({first, second} & self.keys.keys())
        if is_known and is_signed(note, first) and is_signed(note, second):
            self.keys.setdefault(second, None)
            self.keys[first] = int(size)

    def take(self, kind: str, writer: str, *rest: str) -> None:
        if kind == "accept":
            self.accepted[writer] |= set(range(int(rest[0]), int(rest[1]) + 1))
        if kind == "prune":
            self.pruned[writer, int(rest[0])] = int(rest[1]), int(rest[2])

    def trusted(self, note: str, size: int | None) -> bool:
        return any(
            is_signed(note, key) and (size is None or most is None or size <= most)
            for key, most in self.keys.items()
        )

    def checkpoints(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        paths = [*(self.folder / "tree/checkpoints").glob("*.txt"), self.folder / "tree/checkpoint"]
        for path in paths:
            note = path.read_text()
            origin, size, encoded, *more = note.rpartition("\n\n")[0].split("\n")
            if more or not self.trusted(note, int(size)):
                self.wrong.append(f"{path.name}: by nobody who is trusted")
                continue
            self.origins.add(origin)
            if found.setdefault(int(size), base64.b64decode(encoded)) != base64.b64decode(encoded):
                self.wrong.append(f"{path.name}: another root of the same size")
        return found

    # The tree.

    def path(self, level: str, number: int, width: int) -> Path:
        digits = f"{number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[it : it + 3] for it in range(0, len(digits), 3)]
        name = "/".join([*(f"x{it}" for it in groups[:-1]), groups[-1]])
        full = self.folder / "tree/tile" / level / name
        return full if width == 256 or full.exists() else full.parent / f"{full.name}.p/{width}"

    def tree(self, checkpoints: dict[int, bytes]) -> None:
        size, leaves, ends = max(checkpoints, default=0), list[bytes](), dict[str, int]()
        for number in range(-(-size // 256)):
            width = min(256, size - number * 256)
            content, place = self.path("entries", number, width).read_bytes(), 0
            for _ in range(width):
                length = int.from_bytes(content[place : place + 2], "big")
                entry = content[place + 2 : place + 2 + length]
                place += 2 + length
                leaves.append(sha(b"\x00", entry))
                match = ENTRY.fullmatch(entry)
                assert match is not None
                writer, seq = match[1].decode(), int(match[2])
                between = set(range(ends.get(writer, 0) + 1, seq))
                if seq <= ends.get(writer, 0) or between - self.accepted[writer]:
                    self.wrong.append(f"entry {len(leaves) - 1}: out of order")
                ends[writer] = seq
                self.signed[writer][seq] = match[3].decode()
        for covered, expected in checkpoints.items():
            if root(leaves[:covered]) != expected:
                self.wrong.append(f"the root over {covered} entries is another one")
        nodes, level = leaves, 0
        while nodes:
            for number in range(-(-len(nodes) // 256)):
                part = nodes[number * 256 : number * 256 + 256]
                kept = self.path(str(level), number, len(part)).read_bytes()
                if kept[: 32 * len(part)] != b"".join(part):
                    self.wrong.append(f"tile {level}/{number}: not as signed")
            full = range(len(nodes) // 256)
            nodes = [root(nodes[it * 256 : it * 256 + 256]) for it in full]
            level += 1

    # Lines.

    def writers(self) -> list[str]:
        heads = {it.name for it in (self.folder / "heads").iterdir()}
        names = {it.parent.name for it in self.folder.glob("*/*.jsonl")} | heads | set(self.signed)
        return sorted(it for it in names if WRITER.fullmatch(it) and it not in OWN)

    def lines(self, writer: str) -> None:
        seq, prev, expected = 0, "0" * 64, 1
        accepted, known = self.accepted[writer], {0: prev}
        paths = {int(it.stem): it for it in (self.folder / writer).glob("*.jsonl")}
        for number in sorted(paths):
            for place, (line, found) in enumerate(parsed(paths[number], number == max(paths))):
                digest = hashlib.sha256(line).hexdigest()
                plain = found or {"seq": seq + 1, "prev": None}
                if place == 0 and number > expected:
                    self.absent(writer, range(expected, number), seq, plain["seq"] - 1)
                    seq, prev = plain["seq"] - 1, plain["prev"]
                if set(range(seq + 1, plain["seq"])) <= accepted and plain["seq"] > seq + 1:
                    seq, prev = plain["seq"] - 1, plain["prev"]
                is_next = (plain["seq"], plain["prev"]) == (seq + 1, prev)
                if not is_next and not {plain["seq"], plain["seq"] - 1} & accepted:
                    self.wrong.append(f"{writer}: line {seq + 1} does not follow")
                seq, prev = plain["seq"], digest
                known[seq] = digest
                if self.signed[writer].get(seq, digest) != digest and seq not in accepted:
                    self.wrong.append(f"{writer}: line {seq} is not the one that was signed")
                if "record" in plain:
                    self.revisions.add(plain["record"]["policy"]["revision"])
            expected = number + 1
        self.end(writer, expected, seq, known)

    def end(self, writer: str, expected: int, seq: int, known: dict[int, str]) -> None:
        head: dict[str, Any] = json.loads((self.folder / "heads" / writer).read_bytes())
        last = max(self.signed[writer], default=0)
        if head["seq"] > seq:
            stop = head["segment"] + (1 if head["length"] else 0)
            self.absent(writer, range(expected, stop), seq, head["seq"])
        elif head["seq"] in known and known[head["seq"]] != head["hash"]:
            self.wrong.append(f"{writer}: its head has another line {head['seq']}")
        if last > max(seq, head["seq"]):
            self.wrong.append(f"{writer}: lines up to {last} are signed and not there")

    def absent(self, writer: str, numbers: range, seq: int, last: int) -> None:
        missing = set(range(seq + 1, last + 1))
        for number in numbers:
            if (writer, number) in self.pruned:
                first, stop = self.pruned[writer, number]
                gone = set(range(first, stop + 1))
                if stop in self.signed[writer]:
                    missing -= gone
        if missing - self.accepted[writer]:
            self.wrong.append(f"{writer}: lines {min(missing)} to {max(missing)} are missing")

    def policies(self) -> None:
        for path in (self.folder / "policies").glob("*.json"):
            if f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" != path.stem:
                self.wrong.append(f"{path.name}: not what its name says")
        for revision in self.revisions:
            if not (self.folder / "policies" / f"{revision}.json").exists():
                self.wrong.append(f"{revision}: missing")


def parsed(path: Path, is_last: bool) -> list[tuple[bytes, dict[str, Any] | None]]:  # noqa: FBT001
    content = path.read_bytes()
    if is_last and b"\0" in content:
        content = content[: content.index(b"\0")]
    found: list[tuple[bytes, dict[str, Any] | None]] = []
    for line in content.split(b"\n")[:-1]:
        try:
            found.append((line, json.loads(line)))
        except ValueError:
            found.append((line, None))
    return found


def verified(folder: Path, keys: list[str]) -> list[str]:
    """Return what is wrong with a log, given public keys."""
    return Log(folder, [key_of(it) for it in keys]).check()


if __name__ == "__main__":
    for line in verified(Path(sys.argv[1]), sys.argv[2:]):
        print(line)  # noqa: T201 - it is a program
