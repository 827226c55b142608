"""Public names are made of the terms in docs/TERMS.md and of plain words that are listed here."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import Any

import pytest

import policy_router
from policy_router import analysis, hosts, log
from tests.support.commands import ROOT
from tests.support.rows import each

PAGE = (ROOT / "docs" / "TERMS.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^\| (?!term)([a-z -]+) \| .+ \|$", PAGE, re.MULTILINE)
_WORD = re.compile(r"[a-z]+")
PLAIN = {
    *_WORD.findall("""
about accept accepted acknowledged aclose act add affected after again against age algorithm alias
alike all allow always analysis analyze annotation answer answered api argument ask assert
assertion assume assumption async attest audience authenticity bad base before begin begun believes
body by byte cache cached call can cancelled canonical case cause cel certificate change check
checked children claim clean client clock close code column command commit compare compared
comparison complete completeness completion concurrency config consistency content context copy
cosign cosigner cost costing count covered csv deadline decide decided default definition delegate
delegator depth describe description destination detail deviation diagnostic dict diff difference
digest done draft drain dry due duplicate durability duration effort encoded ended enforce engine
env environ equivalent error evaluation everything example executor expect expected explain export
exported extra fail failed failure fast file filter finding finish fired first fits flip flush
folder follow forbidden foreign format found frequency frequent from full gained gap given goal
goes grace growth has hash header health help helper hint home id identical idle if in inclusion
index input instruction integrity is issuer item json jwks jwt k key kind known label last left
line list listen live load loaded longest lost make mapping matrix max may megabytes message min
missing model money most mutate name nano need never new newest no not note now number of old
omitted on only order origin other otherwise out output outside over own owner p pages paint part
partial pass passed path pause pay pedantic penalty pending percent pick piece place planned poll
prepare prepared presence prev price progress prove prune pruned pseudonyms publish purpose queue
ran rate read reader ready reason reasoning refused release reload remaining replaced reply report
requested require required result resume retry root rotate router row run schema scope second
secret section seed sent seq serve served session settings severity share shorten signature signer
silent since size skip skipped slots source span spent state status stream strength strict suggest
support system tag take team temperature text thinking threshold time timeout title tls to token
tool top total trace transport twice type unchanged uncovered undecided undo unexplained unfit
unknown unlogged unreadable unsupported until url usable usd use value verbosity verifier verify
version violation wait waiting wanted warm watcher what when where whole why window wire without
work write
""")
}
"""Words of public names that are plain English, or those of Python, JSON and model calls."""
WORDS_OF_TERMS = {word for term in TERMS for word in term.split()}
RETIRED = {
    *_WORD.findall("""
aimed askable course dish endings examination hides lineage lookup screen shows situation
spared standing telling told weave
""")
}
"""Words that names had before the terms. None may come back."""


def words_of(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def forms_of(word: str) -> set[str]:
    """Return a word, and what may be its singular."""
    return {word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)}


def unknown_words(name: str) -> list[str]:
    return [word for word in words_of(name) if not forms_of(word) & (WORDS_OF_TERMS | PLAIN)]


def names_of_a_class(kind: type) -> Iterator[str]:
    """Yield the public names of a class, apart from those that its kind brings."""
    brought = (Exception, tuple, *([StrEnum] if issubclass(kind, StrEnum) else []))
    for name in dir(kind):
        if name.startswith("_") or any(hasattr(it, name) for it in brought):
            continue
        yield name
        yield from parameters_of(getattr(kind, name))
    yield from (name for name in inspect.get_annotations(kind) if name[0] != "_")
    if not issubclass(kind, StrEnum):
        yield from parameters_of(inspect.getattr_static(kind, "__init__"))


def parameters_of(value: Any) -> Iterator[str]:
    if inspect.isfunction(value) or inspect.ismethod(value):
        yield from (name for name in inspect.signature(value).parameters if name != "self")


def names_of(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        yield name
        value = getattr(module, name)
        yield from names_of_a_class(value) if inspect.isclass(value) else parameters_of(value)


def keys_of(schema: Any) -> Iterator[str]:
    """Yield the keys that a JSON Schema describes."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
    parts = schema.values() if isinstance(schema, dict) else schema
    for part in parts:
        if isinstance(part, dict | list):
            yield from keys_of(part)


@cache
def public_names() -> frozenset[str]:
    """Return the names of the library, the keys of the schemas, and the command line's options."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    schemas = (json.loads(path.read_bytes()) for path in (ROOT / "schemas").glob("*.json"))
    names = frozenset(re.findall(r"--([a-z-]+)", page))
    names = names.union(*map(names_of, (policy_router, log, hosts, analysis)))
    return names.union(*map(keys_of, schemas))


def defined_names() -> Iterator[str]:
    """Yield each class, function, parameter and attribute that the package defines."""
    for path in (ROOT / "policy_router").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.arg):
                yield node.arg
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id


def test_there_are_not_too_many_terms_and_each_is_defined_once() -> None:
    assert 40 <= len(TERMS) <= 80
    assert len({*TERMS}) == len(TERMS)


def test_each_section_is_sorted() -> None:
    for section in PAGE.split("\n## ")[1:]:
        terms = re.findall(r"^\| (?!term)([a-z -]+) \|", section, re.MULTILINE)
        assert terms == sorted(terms)


def test_each_public_name_is_made_of_terms_and_plain_words() -> None:
    names = public_names()
    assert len(names) > 200
    assert {name: unknown_words(name) for name in names if unknown_words(name)} == {}


def test_each_plain_word_is_used_and_is_no_term() -> None:
    used = {form for name in public_names() for word in words_of(name) for form in forms_of(word)}
    assert sorted(PLAIN - used) == []
    assert sorted(PLAIN & WORDS_OF_TERMS) == []


@each("name", ["Weave", "spared_entry", "TestDish"])
def test_a_private_word_is_found(name: str) -> None:
    assert unknown_words(name)


@pytest.mark.slow
def test_no_name_in_the_package_is_a_retired_one() -> None:
    assert sorted(name for name in defined_names() if RETIRED & {*words_of(name)}) == []


def test_no_public_name_is_a_retired_one() -> None:
    assert [name for name in public_names() if RETIRED & {*words_of(name)}] == []
