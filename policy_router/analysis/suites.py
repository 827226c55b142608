"""A suite of policy tests: what its file says, with everything wrong with it at its place.

A suite is a file ``*_test.yaml``. It is read under the rules of rule files and held against
``schemas/policy-test.schema.json``. What it says of a policy, such as the name of an entry that is
not to be selected, is held against that policy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from errno import EINVAL
from pathlib import Path
from typing import Any, Final

from policy_router.analysis.expectations import senseless
from policy_router.analysis.expressions import reader_of
from policy_router.analysis.requests import Combination, combinations, merged, place_of
from policy_router.analysis.schema import MAX_TESTS
from policy_router.cel.condition import Condition
from policy_router.decision.compare import reads_now
from policy_router.decision.request import Request, moment
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import (
    Diagnostic,
    Diagnostics,
    SourceFile,
    Span,
    did_you_mean,
    quote,
)
from policy_router.domain import Assertion, Policy
from policy_router.errors import RequestError
from policy_router.files.loader import check, content_of, schema
from policy_router.files.rule_files import (
    ENDINGS,
    SUITE_SUFFIX,
    is_suite,
    linked_folder,
    linked_suites,
    suites_in,
    unreadable,
)
from policy_router.policy.assertions import assertions, assumptions
from policy_router.policy.schema import DocumentSchema
from policy_router.policy.sections import Piece, scalars
from policy_router.policy.yaml import plain, read_mapping

DEFAULT_NOW: Final = "2000-01-01T00:00:00Z"
"""The time of the decisions of a suite that gives none; then no condition reads the time."""


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """A request, and what is expected of its decision.

    Attributes:
        name: what is tested; a test of a matrix has the values of its combination in it.
        request: the request.
        now: the time of the decision, RFC 3339.
        expect: what is expected, by the keys of ``expect``.
        skip: why the test is not run, or None.
        piece: where the test is written.
    """

    name: str
    request: Request
    now: str
    expect: Mapping[str, Any]
    skip: str | None = None
    piece: Piece | None = field(default=None, compare=False, repr=False)

    def span_of(self, key: str) -> Span | None:
        """Return where a key of ``expect`` is written; else where the test is."""
        if self.piece is None:
            return None
        expect = self.piece.get("expect")
        found = expect.get(key) if expect else None
        return (found or self.piece.get("name") or self.piece).span


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of one file.

    Attributes:
        path: the file, as it was named.
        policy: the policy; None where it has errors.
        tests: the tests, in the order of the file; those of a matrix are apart.
        found: what is wrong with the suite, and the errors of its policy.
        assertions: properties that every decision must have, besides those of the policy.
        assumptions: guarantees of the host about every request, besides those of the policy.
    """

    path: str
    policy: Policy | None
    tests: tuple[PolicyTest, ...]
    found: Diagnostics
    assertions: tuple[Assertion, ...] = ()
    assumptions: tuple[Condition, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the tests can be run."""
        return self.policy is not None and not self.found.errors


def with_suites(policy: Policy, suites: Iterable[Suite]) -> Policy:
    """Return a policy with the assertions and assumptions of the suites about it."""
    mine = [it for it in suites if it.policy and it.policy.revision == policy.revision]
    asserted = (*policy.assertions, *(each for it in mine for each in it.assertions))
    assumed = (*policy.assumptions, *(each for it in mine for each in it.assumptions))
    return replace(policy, assertions=asserted, assumptions=assumed)


def suite_files(path: str | Path) -> list[Path]:
    """Return the suites that a path stands for, and links to folders of some.

    Such a link is not followed: to read it as a suite says so.

    Args:
        path: a suite; a folder, for all suites in it; or a rule file, for the suite beside it.
    """
    place = Path(path)
    if place.is_dir():
        beside = _beside(place) if place.name else []
        return [*beside, *suites_in(place), *linked_suites(place)]
    if is_suite(place) or place.suffix not in ENDINGS:
        return [place]
    return _beside(place.with_suffix(""))


def _beside(stem: Path) -> list[Path]:
    candidates = [stem.with_name(f"{stem.name}{SUITE_SUFFIX}{ending}") for ending in ENDINGS]
    return [it for it in candidates if it.is_file()]


def policy_beside(suite: Path) -> Path:
    """Return the policy that a suite is about where it names none.

    It is the rule file or the folder of the same name without ``_test``, else the folder of the
    suite.
    """
    name = suite.stem.removesuffix(SUITE_SUFFIX)
    if not name:
        return suite.parent
    stem = suite.with_name(name)
    candidates = [stem.with_name(stem.name + ending) for ending in ENDINGS]
    return next((it for it in candidates if it.is_file()), stem if stem.is_dir() else suite.parent)


def read_suite(path: str | Path) -> Suite:
    """Read a suite and its policy.

    Args:
        path: the file.

    Returns:
        The suite, with what is wrong with it and with its policy.
    """
    found: list[Diagnostic] = []
    place = Path(path)
    if place.is_symlink() and place.is_dir():
        return Suite(str(path), None, (), Diagnostics.of([linked_folder(place)]))
    if is_suite(place) and place.exists() and not place.is_file():
        found.append(unreadable(place, OSError(EINVAL, "it is not a regular file")))
        return Suite(str(path), None, (), Diagnostics.of(found))
    content = content_of(place, found)
    if content is None:
        return Suite(str(path), None, (), Diagnostics.of(found))
    return read_suite_text(str(path), content)


def read_suite_text(path: str, content: str | bytes, policy: Policy | None = None) -> Suite:
    """Read a suite from a text.

    Args:
        path: how the suite is called; the place of its policy is seen from there.
        content: what the file holds.
        policy: the policy that the tests are for; the one that the suite names, unless given.

    Returns:
        The suite, with what is wrong with it.
    """
    reader = _Reader(path)
    root = reader.root(content)
    if root is None:
        return Suite(path, policy, (), Diagnostics.of(reader.found))
    if policy is None:
        policy = reader.policy(root)
    if policy is None:
        return Suite(path, policy, (), Diagnostics.of(reader.found))
    asserted, assumed = reader.assertions(root, policy)
    tests = tuple(reader.tests(root, policy))
    if asserted or policy.assertions:
        tests = (*tests, *reader.fixtures_as_tests(root, policy))
    return Suite(path, policy, tests, Diagnostics.of(reader.found), asserted, assumed)


def _tidy(path: Path) -> Path:
    """Return a path without ``..``, unless that leads elsewhere, as it can behind a link."""
    tidy = Path(os.path.normpath(path))
    return tidy if tidy.exists() and path.exists() and tidy.samefile(path) else path


class _Reader:
    """Reads one suite, and collects what is wrong with it."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.found: list[Diagnostic] = []
        self.fixtures: Mapping[str, Piece] = {}

    def root(self, content: str | bytes) -> Piece | None:
        """Return the mapping of a suite; None where its shape is wrong."""
        document, problems = read_mapping(str(self.path), content, "a suite of tests")
        self.found += problems
        if document is None or problems:
            return None
        root = Piece(document.root, document.path)
        _hide_facts(document.source, root)
        self.found += DocumentSchema(schema("policy-test")).violations(document)
        return None if self.found else root

    def policy(self, root: Piece) -> Policy | None:
        """Return the policy that a suite is about."""
        named = root.text_at("policy")
        place = _tidy(self.path.parent / named) if named else policy_beside(self.path)
        piece = root.get("policy")
        if piece is not None and not place.exists():
            message = f"there is no file or folder {quote(str(place))}"
            self.found.append(piece.error(Code.UNREADABLE, message))
            return None
        policy, found = check(place)
        if not named and any(item.code is Code.NO_RULE_FILES for item in found):
            name = self.path.stem.removesuffix(SUITE_SUFFIX) or "policy"
            message = f"there is no policy to test: no {quote(f'{name}.yaml')} beside this file"
            self.found.append(root.error(Code.UNREADABLE, message, "name it with `policy`"))
            return None
        self.found += [item for item in found if item.severity is Severity.ERROR]
        return policy

    def tests(self, root: Piece, policy: Policy) -> Iterator[PolicyTest]:
        """Yield the tests of a suite."""
        requests, tests = root.get("requests"), root.get("tests")
        self.fixtures = {key.text: it for key, it in requests.pairs()} if requests else {}
        for use in filter(None, (it.get("use") for it in self.fixtures.values())):
            message = "only a request of a test has `use`, and not one of `requests`"
            self.found.append(use.error(Code.UNKNOWN_KEY, message, "write its keys out"))
        now = self._now(root)
        names: dict[str, Piece] = {}
        made = 0
        for piece in tests.items() if tests else ():
            self._note_repeat(piece, names)
            for test in self._tests_of(piece, policy, now):
                made += 1
                if made > MAX_TESTS:
                    message = f"a suite has at most {MAX_TESTS:,} tests, its matrices counted"
                    self.found.append(piece.error(Code.TOO_MANY_TESTS, message))
                    return
                yield test

    def assertions(
        self, root: Piece, policy: Policy
    ) -> tuple[tuple[Assertion, ...], tuple[Condition, ...]]:
        """Return the assertions and assumptions of a suite."""
        asserted, assumed = (root.get(key) for key in ("assert", "assume"))
        if asserted is None and assumed is None:
            return (), ()
        reader = reader_of(policy)
        found = assertions(asserted.items() if asserted else (), reader)
        guaranteed = assumptions(assumed.items() if assumed else (), reader)
        self.found += reader.found
        return found, guaranteed

    def fixtures_as_tests(self, root: Piece, policy: Policy) -> Iterator[PolicyTest]:
        """Yield a test for each of `requests`, on which the assertions are tried."""
        now = self._now(root)
        if now is None and reads_now(policy):
            return
        for name, piece in self.fixtures.items():
            request = self._request(Combination({}), piece, None)
            if request is not None:
                yield PolicyTest(f"assertions on {name}", request, now or DEFAULT_NOW, {})

    def _note_repeat(self, piece: Piece, names: dict[str, Piece]) -> None:
        name = piece.text_at("name") or ""
        first = names.setdefault(name, piece)
        if first is not piece:
            place = piece.get("name") or piece
            line, _ = first.span.position
            message = f"the test {quote(name)} is given twice"
            self.found.append(place.error(Code.DUPLICATE_NAME, message, f"first at line {line}"))

    def _tests_of(self, piece: Piece, policy: Policy, now: str | None) -> Iterator[PolicyTest]:
        own = self._now(piece) or now
        expect = piece.get("expect") or piece
        if own is None and reads_now(policy):
            message = "this policy reads the time, and no `now` is given"
            place = piece.get("name") or piece
            remedy = "write `now` in the suite or the test, such as `now: 2026-01-31T09:00:00Z`"
            self.found.append(place.error(Code.MISSING_KEY, message, remedy))
        given = piece.get("request")
        base = self._fixture(given)
        matrix = piece.get("matrix")
        problems: list[Diagnostic] = []
        variants = combinations(matrix, policy, problems)
        self.found += problems
        skip = piece.text_at("skip")
        made = [(it, self._request(it, given, base)) for it in variants]
        requests = [request for _, request in made if request is not None]
        self.found += senseless(expect, policy, requests)
        for each, request in made:
            if request is not None:
                name = f"{piece.text_at('name')}{each.suffix}"
                wanted = plain(expect.node)
                yield PolicyTest(name, request, own or DEFAULT_NOW, wanted, skip, piece)

    def _now(self, piece: Piece) -> str | None:
        now = piece.get("now")
        if now is None:
            return None
        try:
            moment(now.text() or "")
        except RequestError as problem:
            self.found.append(now.error(Code.BAD_VALUE, problem.reason))
        return now.text()

    def _fixture(self, given: Piece | None) -> Piece | None:
        """Return the request that another one uses."""
        use = given.get("use") if given else None
        if use is None:
            return None
        name = use.text() or ""
        if name not in self.fixtures:
            known = ", ".join(sorted(self.fixtures)) or "none"
            remedy = did_you_mean(name, self.fixtures) or f"known: {known}"
            message = f"there is no request {quote(name)} in `requests`"
            self.found.append(use.error(Code.UNKNOWN_FIXTURE, message, remedy))
        return self.fixtures.get(name)

    def _request(
        self, each: Combination, given: Piece | None, base: Piece | None
    ) -> Request | None:
        pieces = [it for it in (base, given) if it is not None]
        content = merged([plain(it.node) for it in pieces], each.values)
        try:
            return Request.from_mapping(content)
        except RequestError as problem:
            place = place_of(problem.path, [*each.pieces, *reversed(pieces)])
            self.found.append(place.error(Code.BAD_VALUE, problem.reason, problem.help))
            return None


def _hide_facts(source: SourceFile, root: Piece) -> None:
    """Let no diagnostic show the value of a fact."""
    requests, tests = root.get("requests"), root.get("tests")
    given = [it for _, it in requests.pairs()] if requests else []
    for test in tests.items() if tests else ():
        given += [it for it in (test.get("request"),) if it]
        matrix = test.get("matrix")
        for key, values in matrix.pairs() if matrix else ():
            if key.text.startswith("facts"):
                _hide(source, values)
    for request in given:
        if (facts := request.get("facts")) is not None:
            _hide(source, facts)


def _hide(source: SourceFile, piece: Piece) -> None:
    for scalar in scalars(piece):
        source.hide_value(scalar.span)
