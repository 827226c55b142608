"""Suites of policy tests: what they say, how they are run, and how a decision becomes one."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

from policy_router import Policy, check, decide, loads
from policy_router.analysis import (
    PolicyTestResult,
    PolicyTestStatus,
    Suite,
    run_suite,
    run_tests,
    suite_files,
)
from policy_router.analysis import suites as module
from policy_router.analysis.about import suites_about, suites_among
from policy_router.analysis.drafting import expectation_of, suite_of
from policy_router.analysis.requests import merged
from policy_router.analysis.running import first_failure
from policy_router.analysis.suites import (
    policy_beside,
    read_suite,
    read_suite_text,
)
from tests.support.commands import STRICT, write
from tests.support.rows import each

POLICY = """\
version: 1
name: acme
model: glm-5-turbo
provider: zai
parameters: {max_tokens: 8192}
providers: {zai: {base_url: "https://z.example.com/v1"}, open: {base_url: "https://o.example.com"}}
facts: {region: {type: string, default: eu}}
kinds: [coding, math]
pool:
  - {model: glm-5.1, name: coder, pick: task.kind == "coding", fallback: [glm-5-turbo]}
  - {model: glm-5-turbo, limits: {reasoning_effort: [low]}}
  - {model: r1, provider: open, pick: task.kind == "math", allow: parent.depth < 2}
forbid:
  - {id: pii-stays, when: '"pii" in task.labels && target.provider == "open"', message: Not there.}
precedence:
  - {use: call, on_violation: reject}
  - {use: task}
  - {use: pool}
  - {use: config}
"""


@functools.cache
def _loaded(policy: str) -> Policy:
    return loads(policy, name="acme.yaml")


ACME = _loaded(POLICY)


def read(tests: str, policy: str = POLICY) -> Suite:
    return read_suite_text("acme_test.yaml", tests, _loaded(policy))


def results(tests: str, **how: Any) -> tuple[PolicyTestResult, ...]:
    suite = read(tests)
    assert suite.found.to_text() == ""
    return run_suite(suite, **how).results


def differences(request: str, expect: str) -> list[str]:
    text = f"tests: [{{name: one, request: {request}, expect: {expect}}}]"
    (result,) = results(text)
    assert (result.status is PolicyTestStatus.FAILED) == bool(result.differences)
    return [str(difference) for difference in result.differences]


CODING = "{task: {kind: coding}}"


@each(
    ("request_", "expect"),
    [
        (CODING, "{entry: coder, model: glm-5.1, provider: zai, level: pool, rule: pool}"),
        (CODING, "{fallbacks: [glm-5-turbo], parameters: {max_tokens: 8192}, warnings: []}"),
        (CODING, "{not_entry: [r1], not_model: r1, not_provider: open}"),
        (CODING, "{parameters: {temperature: null}}"),
        ("{}", "{entry: glm-5-turbo, level: config}"),
        ("{call: {model: gpt}}", "{refused: outside_pool, rule: call, message: '%s'}"),
        ("{call: {model: gpt}}", "{permitted: [coder, glm-5-turbo, r1]}"),
        ("{call: {model: gpt}}", "{not_provider: zai}"),
        ("{call: {model: r1}, task: {labels: [pii]}}", "{refused: forbidden, forbid: pii-stays}"),
        ("{task: {model: gpt}}", "{warnings: [outside_pool]}"),
        ("{task: {model: gpt}}", "{warnings: [{code: outside_pool, rule: task}]}"),
        ("{task: {kind: dance}}", "{bad_request: $.task.kind}"),
        (
            "{task: {model: glm-5-turbo, reasoning_effort: high}}",
            "{warnings: [{code: parameter_limited, parameter: reasoning_effort}]}",
        ),
    ],
)
def test_what_is_so_passes(request_: str, expect: str) -> None:
    asked = "the call asks for a model outside the pool (`coder`, `glm-5-turbo`, `r1`)"
    refusal = decide(ACME, {"call": {"model": "gpt"}}, now="2026-01-31T09:00:00Z").decision.refusal
    asked = refusal.message if refusal else asked
    assert differences(request_, expect.replace("%s", asked.replace("'", "''"))) == []


@each(
    ("request_", "expect", "found"),
    [
        (CODING, "{entry: r1}", "entry: expected `r1`, found `coder`"),
        (CODING, "{provider: open}", "provider: expected `open`, found `zai`"),
        (CODING, "{level: task}", "level: expected `task`, found `pool`"),
        (CODING, "{rule: call}", "rule: expected `call`, found `pool`"),
        (
            CODING,
            "{rule: pol}",
            (
                "rule: expected `pol`, found `pool`; there is no precedence rule `pol`,"
                " did you mean `pool`?"
            ),
        ),
        (
            CODING,
            "{fallbacks: [glm-5-turbo, zzz]}",
            (
                "fallbacks: expected [`glm-5-turbo`, `zzz`], found [`glm-5-turbo`];"
                " there is no entry `zzz`"
            ),
        ),
        (CODING, "{fallbacks: []}", "fallbacks: expected [], found [`glm-5-turbo`]"),
        (CODING, "{not_entry: coder}", "not_entry: expected not `coder`, found `coder`"),
        (
            CODING,
            "{not_entry: [coder, glm-5-turbo, r1]}",
            "not_entry: expected not `coder`, `glm-5-turbo`, found `coder`, `glm-5-turbo`",
        ),
        (
            CODING,
            "{refused: forbidden}",
            "refused: expected `forbidden`, found `coder` is selected",
        ),
        (
            CODING,
            "{parameters: {max_tokens: 1, top_p: 0.5}}",
            (
                "parameters: expected {max_tokens: 1, top_p: 0.5},"
                " found {max_tokens: 8192, top_p: nothing}"
            ),
        ),
        (
            CODING,
            "{parameters: {max_tokens: null}}",
            "parameters: expected {max_tokens: nothing}, found {max_tokens: 8192}",
        ),
        (
            CODING,
            "{parameters: {max_tokens: true}}",
            "parameters: expected {max_tokens: true}, found {max_tokens: 8192}",
        ),
        (CODING, "{warnings: [outranked]}", "warnings: expected [`outranked`], found []"),
        (
            "{task: {model: gpt}}",
            "{warnings: [{code: outside_pool, rule: call}]}",
            (
                "warnings: expected [{code: `outside_pool`, rule: `call`}],"
                " found [{code: `outside_pool`, rule: `task`}]"
            ),
        ),
        (
            "{task: {model: gpt}}",
            "{warnings: [outranked]}",
            "warnings: expected [`outranked`], found [`outside_pool`]",
        ),
        (
            "{call: {model: gpt}}",
            "{entry: coder}",
            "entry: expected `coder`, found the request is refused by `call`: outside_pool",
        ),
        (
            "{call: {model: gpt}}",
            "{forbid: pii-stays}",
            "forbid: expected `pii-stays`, found nothing",
        ),
        ("{call: {model: gpt}}", "{rule: task}", "rule: expected `task`, found `call`"),
        (
            "{call: {model: gpt}}",
            "{permitted: [r1]}",
            "permitted: expected [`r1`], found [`coder`, `glm-5-turbo`, `r1`]",
        ),
        (
            CODING,
            "{bad_request: $.task.kind}",
            "bad_request: expected $.task.kind, found a request that fits the policy",
        ),
        (
            "{task: {kind: codin}}",
            "{entry: coder}",
            (
                "request: expected a decision, found a request that does not fit the policy:"
                " $.task.kind: the kind is not one that the policy knows; did you mean `coding`?"
            ),
        ),
        (
            "{task: {kind: codin}}",
            "{bad_request: $.task.model}",
            (
                "bad_request: expected $.task.model, found a request that does not fit the policy:"
                " $.task.kind: the kind is not one that the policy knows; did you mean `coding`?"
            ),
        ),
    ],
)
def test_what_is_not_so_fails_and_says_why(request_: str, expect: str, found: str) -> None:
    assert differences(request_, expect) == [found]


def test_a_model_outside_the_pool_has_no_entry() -> None:
    policy = "version: 1\nmodel: m\nprovider: p\nprecedence: [{use: task}, {use: config}]\n"
    suite = read(
        "tests:\n  - {name: a, request: {task: {model: x}}, expect: {entry: x, fallbacks: []}}\n"
        "  - {name: b, request: {task: {model: x}}, expect: {model: x, not_model: m}}\n",
        policy,
    )
    first, second = run_suite(suite).results
    assert [str(it) for it in first.differences] == [
        "entry: expected `x`, found nothing; there is no entry `x`"
    ]
    assert second.status is PolicyTestStatus.PASSED


def test_the_forbid_rule_of_a_refusal_without_a_rule_is_that_of_its_first_reason() -> None:
    policy = POLICY.partition("precedence:")[0] + "precedence: [{use: task}]\n"
    text = (
        "tests: [{name: one, request: {task: {model: r1, labels: [pii]}},"
        " expect: {refused: no_target, forbid: pii-stays}}]"
    )
    (result,) = run_suite(read(text, policy)).results
    assert result.differences == ()


def test_requests_are_put_over_what_they_use() -> None:
    (test,) = read("""
requests:
  lead: {caller: {id: ada, roles: [lead]}, task: {labels: [a, b], parameters: {seed: 1, top_p: 1}}}
tests:
  - name: one
    request: {use: lead, caller: {id: bob}, task: {labels: [c], parameters: {seed: 2}}}
    expect: {level: config}
""").tests
    assert test.request.given == {
        "caller": {"id": "bob", "roles": ("lead",)},
        "task": {"labels": ("c",), "parameters": {"seed": 2, "top_p": 1}},
    }


def test_a_request_that_others_use_uses_none() -> None:
    requests = "requests:\n  lead: {caller: {id: ada}}\n  ops: {use: lead, task: {kind: math}}\n"
    suite = read(f"{requests}tests: [{{name: one, request: {{use: ops}}, expect: {{entry: r1}}}}]")
    assert (suite.usable, len(suite.found)) == (False, 1)
    (found,) = suite.found
    assert (found.code, found.path, found.span.position) == ("PR201", "$.requests.ops.use", (3, 14))


@each(
    "expect",
    ["{not_entry: []}", "{not_model: []}", "{not_provider: []}", "{parameters: {}}"],
)
def test_what_cannot_fail_is_no_expectation(expect: str) -> None:
    suite = read(f"tests: [{{name: one, expect: {expect}}}]")
    assert [it.code for it in suite.found] == ["PR205"]


def test_a_matrix_makes_a_test_of_each_combination() -> None:
    made = read("""
tests:
  - name: one
    matrix:
      task.kind: [coding, ""]
      facts.region: [eu, us]
      task.parameters.top.k: [1]
      caller.roles: [[lead, developer-of-everything-and-more, another-role]]
    request: {task: {labels: [pii], kind: math}}
    expect: {level: config}
""").tests
    roles = ("lead", "developer-of-everything-and-more", "another-role")
    assert [test.name for test in made] == [
        f"one [task.kind={kind}, facts.region#{place}, task.parameters.top.k=1, caller.roles=#1]"
        for kind in ("coding", '""')
        for place in (1, 2)
    ]
    assert made[3].request.given == {
        "task": {"labels": ("pii",), "kind": "", "parameters": {"top.k": 1}},
        "facts": {"region": "us"},
        "caller": {"roles": roles},
    }


def test_values_are_put_where_there_was_something_else() -> None:
    assert merged([{"task": "x"}], {"task.kind": "coding"}) == {"task": {"kind": "coding"}}


def test_a_test_has_its_own_time_or_that_of_the_suite_or_a_fixed_one() -> None:
    policy = POLICY.replace('pick: task.kind == "coding"', 'pick: now.getHours("UTC") < 12')
    text = """
now: 2026-01-31T09:00:00Z
tests:
  - {name: morning, expect: {entry: coder}}
  - {name: evening, now: 2026-01-31T21:00:00Z, expect: {entry: glm-5-turbo}}
"""
    suite = read(text, policy)
    assert run_suite(suite).passed
    assert [test.now for test in suite.tests] == ["2026-01-31T09:00:00Z", "2026-01-31T21:00:00Z"]
    assert read("tests: [{name: a, expect: {level: config}}]").tests[0].now == module.DEFAULT_NOW


def test_a_name_in_a_request_may_be_excluded() -> None:
    text = (
        "tests: [{name: one, matrix: {parent.provider: [zai, elsewhere]},"
        " expect: {not_provider: [elsewhere]}}]"
    )
    assert [it.status.value for it in results(text)] == ["passed", "passed"]


def test_a_suite_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TESTS", 3)
    text = "tests: [{name: a, matrix: {task.index: [1, 2, 3, 4]}, expect: {level: config}}]"
    suite = read(text)
    assert [item.code for item in suite.found] == ["PR703"]
    assert run_suite(suite).results == ()


def test_skipping_and_choosing_and_stopping() -> None:
    text = """
tests:
  - {name: first, expect: {level: pool}}
  - {name: second, expect: {level: config}, skip: later}
  - {name: third, expect: {level: config}}
"""
    assert [it.status.value for it in results(text)] == ["failed", "skipped", "passed"]
    assert [it.status.value for it in results(text, fail_fast=True)] == ["failed"]
    chosen = results(text, wanted=lambda test: "ir" in test.name, fail_fast=True)
    assert [it.test.name for it in chosen] == ["first"]


def test_a_failure_explains_itself_and_the_entry_that_was_expected() -> None:
    text = """
tests:
  - {name: a, request: {task: {kind: coding}}, expect: {entry: r1}}
  - {name: b, request: {task: {kind: dance}}, expect: {entry: r1}}
  - {name: c, request: {task: {kind: coding}}, expect: {level: task}}
"""
    done = run_suite(read(text))
    first, second, third = done.results
    assert "why not `r1`" in done.explanation(first)
    assert done.explanation(second) == ""
    assert "why not" not in done.explanation(third)
    assert not done.passed
    assert done.count(PolicyTestStatus.FAILED) == 3


def test_where_a_test_is_written() -> None:
    text = "tests:\n  - name: a\n    expect: {entry: coder}\n"
    (test,) = read(text).tests
    assert str(test.span_of("entry")) == "acme_test.yaml:3:21"
    assert str(test.span_of("request")) == "acme_test.yaml:2:11"
    bare = type(test)(test.name, test.request, test.now, test.expect)
    assert bare.span_of("entry") is None


# Files


def test_the_suites_of_a_path(tmp_path: Path) -> None:
    names = ("a_test.yaml", "rules/b_test.yml", "rules/.c_test.yaml", "rules_test.yaml")
    for name in (*names, ".venv/d_test.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = [it.relative_to(tmp_path).as_posix() for it in suite_files(tmp_path)]
    assert found == ["a_test.yaml", "rules/b_test.yml", "rules_test.yaml"]
    beside = [it.relative_to(tmp_path).as_posix() for it in suite_files(tmp_path / "rules")]
    assert beside == ["rules_test.yaml", "rules/b_test.yml"]
    assert suite_files(tmp_path / "a.yaml") == [tmp_path / "a_test.yaml"]
    assert suite_files(tmp_path / "b.yaml") == []
    assert suite_files(tmp_path / "b_test.yaml") == [tmp_path / "b_test.yaml"]
    assert suite_files(tmp_path / "other.txt") == [tmp_path / "other.txt"]


def test_a_link_to_a_folder_of_suites_is_told_and_not_followed(tmp_path: Path) -> None:
    for name in ("real/one", "real/two", "all/sub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "real/one/a_test.yaml").write_text("")
    links = {"all/linked": "../real", "all/none": "../real/two", "all/.hidden": "../real"}
    for name, target in {**links, "all/sub/circle": ".."}.items():
        (tmp_path / name).symlink_to(target)
    assert suite_files(tmp_path / "all") == [tmp_path / "all/linked"]
    (problem,) = read_suite(tmp_path / "all/linked").found
    assert problem.message == "a linked folder is not read"
    # The path itself may be a link.
    assert [it.name for it in suite_files(tmp_path / "all/linked")] == ["a_test.yaml"]


def test_the_policy_of_a_suite_is_beside_it(tmp_path: Path) -> None:
    suite = tmp_path / "acme_test.yaml"
    assert policy_beside(suite) == tmp_path
    (tmp_path / "acme").mkdir()
    assert policy_beside(suite) == tmp_path / "acme"
    (tmp_path / "acme.yml").write_text("")
    assert policy_beside(suite) == tmp_path / "acme.yml"
    assert policy_beside(tmp_path / "_test.yaml") == tmp_path


def test_suites_are_run_from_files(tmp_path: Path) -> None:
    text = "tests: [{name: a, request: {task: {kind: coding}}, expect: {entry: %s}}]"
    write(tmp_path, acme_yaml=STRICT, acme_test_yaml="x")
    (tmp_path / "acme_test.yaml").write_text(text % "large")
    (tmp_path / "acme.test_yaml").unlink()
    (done,) = run_tests(tmp_path)
    assert done.passed
    (tmp_path / "acme_test.yaml").write_text(text % "small")
    write(tmp_path, second_yaml=STRICT)
    (tmp_path / "second_test.yaml").write_text(text % "large")
    assert [it.passed for it in run_tests(tmp_path)] == [False, True]
    assert [it.passed for it in run_tests(tmp_path, fail_fast=True)] == [False]


def test_a_suite_that_cannot_be_read(tmp_path: Path) -> None:
    suite = read_suite(tmp_path / "none_test.yaml")
    assert [item.code for item in suite.found] == ["PR113"]
    assert not run_suite(suite).passed


def test_a_suite_alone_and_a_suite_as_a_policy_say_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "acme_test.yaml"
    path.write_text("tests: [{name: a, expect: {entry: large}}]")
    (found,) = read_suite(path).found
    assert (found.code, found.span.source.name, found.help) == (
        "PR113",
        str(path),
        "name it with `policy`",
    )
    assert found.message == "there is no policy to test: no `acme.yaml` beside this file"
    (found,) = check(path)[1]
    assert (found.code, found.path) == ("PR201", "$.tests")
    assert found.help == "policy tests are in a file `*_test.yaml`, which `policy-router test` runs"


def test_a_pipe_is_no_suite(tmp_path: Path) -> None:
    write(tmp_path, acme_yaml=POLICY)
    os.mkfifo(tmp_path / "acme_test.yaml")
    policy, problems = check(tmp_path)
    assert (policy, [it.code for it in problems]) == (None, ["PR113"])
    (result,) = run_tests(str(tmp_path))
    assert not result.passed
    (found,) = result.suite.found
    assert (found.code, found.message) == (
        "PR113",
        "the file cannot be read: it is not a regular file",
    )


def test_the_policy_of_a_suite_is_where_it_says(tmp_path: Path) -> None:
    for name in ("rules", "tests"):
        (tmp_path / name).mkdir()
    (tmp_path / "rules" / "a.yaml").write_text(STRICT)
    suite = tmp_path / "tests" / "a_test.yaml"
    suite.write_text("policy: ../rules/a.yaml\ntests: [{name: a, expect: {entry: small}}]")
    read_ = read_suite(suite)
    assert run_suite(read_).passed
    assert read_.policy is not None
    assert [source.name for source in read_.policy.sources] == [f"{tmp_path}/rules/a.yaml"]


def about(*places: str, folder: Path, policy: str) -> list[str]:
    """Write suites, and return those about a policy."""
    suite = "tests: [{name: a, expect: {entry: small}}]"
    for place in places:
        name, _, named = place.partition("=")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"policy: {named}\n{suite}" if named else suite)
    found = suites_about(folder / policy, loads(STRICT, name="p.yaml"))
    assert first_failure(found) is None
    return [Path(it.path).relative_to(folder).as_posix() for it in found]


def test_the_suites_about_a_policy_are_found(tmp_path: Path) -> None:
    write(tmp_path, acme_yaml=STRICT)
    places = ("acme_test.yaml", "b_test.yaml=acme.yaml", "acme_test.yml=other.yaml")
    assert about(*places, folder=tmp_path, policy="acme.yaml") == ["acme_test.yaml"]
    rules = tmp_path / "rules"
    rules.mkdir()
    write(rules, one_yaml=STRICT)
    found = about(
        *("rules/all_test.yaml", "rules/one_test.yaml", "rules_test.yaml"),
        *("rules/x/deep_test.yaml", "rules/x/whole_test.yaml=..", "rules/none_test.yaml=none"),
        folder=tmp_path,
        policy="rules",
    )
    assert found == ["rules_test.yaml", "rules/all_test.yaml", "rules/x/whole_test.yaml"]


def test_the_suites_about_all_of_a_bundle_are_found() -> None:
    suite = "tests: [{name: a, expect: {entry: small}}]"
    names = [
        *("one.yaml", "x/y.yaml", "all_test.yaml", "one_test.yaml", "x_test.yaml", "x/z_test.yaml"),
        *("named_test.yaml=.", "x/up_test.yml=..", "x/part_test.yaml=y.yaml", "out_test.yaml=.."),
    ]
    files = []
    for name in names:
        place, _, named = name.partition("=")
        files.append((place, (f"policy: {named}\n{suite}" if named else suite).encode()))
    policy = loads(STRICT, name="p.yaml")
    found = suites_among(files, policy)
    assert [it.path for it in found] == ["all_test.yaml", "named_test.yaml", "x/up_test.yml"]
    assert first_failure(found) is None


def test_the_first_failure_has_its_place(tmp_path: Path) -> None:
    good, bad = (
        read(f"tests: [{{name: a, expect: {{level: {it}}}}}]") for it in ("config", "task")
    )
    assert first_failure([good, bad]) == (
        "acme_test.yaml:1:16: the test `a` fails: level: expected `task`, found `config`"
    )
    wrong = read("tests: [{name: a, expect: {}}]")
    assert first_failure([wrong, bad]) == "acme_test.yaml:1:27: there is nothing in it"
    write(tmp_path, acme_yaml=STRICT)
    (tmp_path / "acme_test.yaml").symlink_to(tmp_path / "acme_test.yaml.d" / "none")
    (tmp_path / "acme_test.yml").mkdir()
    found = suites_about(tmp_path / "acme.yaml", ACME)
    assert found == []
    (tmp_path / "acme_test.yaml").unlink()
    (tmp_path / "acme_test.yaml").write_bytes(b"\xff")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "gone_test.yaml").symlink_to(tmp_path / "nowhere")
    failure = first_failure(suites_about(tmp_path / "rules", ACME))
    assert failure is not None
    assert "gone_test.yaml:1:1: the file cannot be read" in failure
    failure = first_failure(suites_about(tmp_path / "acme.yaml", ACME))
    assert failure == f"{tmp_path}/acme_test.yaml:1:1: the file is not UTF-8"


# Decisions as tests


def test_a_decision_is_the_test_that_it_would_be() -> None:
    requests: list[dict[str, Any]] = [
        {"task": {"kind": "coding"}},
        {"task": {"kind": "coding"}, "facts": {"region": "us: east"}},
        {"call": {"model": "gpt"}},
        {"call": {"model": "r1"}, "task": {"labels": ["pii", "no"]}},
        {"parent": {"model": "x" * 100, "provider": "y"}, "caller": {"id": "\U0001f600 \x07"}},
        {"task": {"model": "gpt", "parameters": {"top_p": 0.5, "seed": 7}}},
        {},
    ]
    records = [decide(ACME, request, now="2026-01-31T09:00:00Z") for request in requests]
    text = suite_of(records, policy="acme.yaml")
    suite = read(text)
    assert suite.found.to_text() == ""
    assert run_suite(suite).passed
    assert [test.request.given for test in suite.tests] == [it.request for it in records]
    assert len({test.name for test in suite.tests}) == len(requests)


def test_a_decision_without_a_pool_is_a_test_too() -> None:
    policy = loads("version: 1\nmodel: m\nprovider: p\nprecedence: [{use: config}]\n")
    selected = decide(policy, {}, now="2026-01-31T09:00:00Z")
    assert expectation_of(selected) == {
        "model": "m",
        "provider": "p",
        "level": "config",
        "rule": "config",
        "fallbacks": [],
        "warnings": [],
    }
    refused = decide(
        loads("version: 1\nprecedence: [{use: parent}]\n"), {}, now="2026-01-31T09:00:00Z"
    )
    assert expectation_of(refused) == {"refused": "no_target", "warnings": []}
    assert "policy:" not in suite_of([refused])


def test_a_broken_assertion_names_the_targets_that_it_does_not_allow() -> None:
    text = """assert:
  - {id: stays, never: target.name == "glm-5-turbo"}
  - {id: fits, always: task.kind == "coding"}
tests:
  - {name: a fallback, request: {task: {kind: coding}}, expect: {entry: coder}}
  - {name: a refusal, request: {call: {model: gpt}}, expect: {refused: outside_pool}}
"""
    fallback, refusal = results(text)
    assert [str(it) for it in fallback.differences] == [
        'assert stays: expected never: target.name == "glm-5-turbo", found `glm-5-turbo`'
    ]
    assert [str(it) for it in refusal.differences] == [
        'assert fits: expected always: task.kind == "coding", found the refusal'
    ]
