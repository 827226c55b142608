"""Changes of a settings file: each other byte stays, or nothing is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.hosts.settings_text import (
    Change,
    SettingsError,
    changed,
    ours,
    parsed,
    restored,
)
from tests.support.rows import each

ITEM = Change(("hooks", "Pre"), {"ours": 1}, appends=True)
VALUE = Change(("plugins", "entries", "ours"), {"on": True})


def is_ours(value: Any) -> bool:
    return "ours" in json.dumps(value)


def put_in(text: str, *changes: Change, is_json: bool = True) -> str:
    return changed(text, changes, is_json=is_json)


def taken_out(text: str, *changes: Change, is_json: bool = True) -> str:
    return restored(text, changes, is_ours, is_json=is_json)


JSON_FILES = {
    "one line": '{"a": 1}',
    "spread": '{\n  "a": 1,\n  "b": [\n    1\n  ]\n}\n',
    "tabs": '{\n\t"a": 1\n}\n',
    "comments": '{\n  // why "so"\n  "a": 1, /* { */\n  "hooks": {} // [\n}\n',
    "a comma at the end": '{\n  "hooks": {\n    "Pre": [\n      1, // one\n    ],\n  },\n}\n',
    "comments in texts": '{"a": "http://x/*y*/", "hooks": {"Pre": ["//"]}}',
    "an empty list": '{"hooks": {"Pre": []}, "z": 0}',
    "Windows": '{\r\n  "a": 1\r\n}\r\n',
    "null": '{"a": "null", "hooks": null}\n',
    "a null list": '{"hooks": {"Pre": null /* mine */}, "z": null}\n',
}


@each("text", JSON_FILES.values(), ids=JSON_FILES)
def test_an_item_comes_into_json_and_each_other_byte_stays(text: str) -> None:
    made = put_in(text, ITEM)
    before = parsed(text, is_json=True)
    wanted = {**before, "hooks": {**(before.get("hooks") or {})}}
    wanted["hooks"]["Pre"] = [*(wanted["hooks"].get("Pre") or []), {"ours": 1}]
    assert parsed(made, is_json=True) == wanted
    assert [line for line in text.split("\n") if "//" in line or "/*" in line] != [""]
    for comment in ('// why "so"', "/* { */", "// [", "// one"):
        assert text.count(comment) == made.count(comment)


@each("text", JSON_FILES.values(), ids=JSON_FILES)
def test_an_item_goes_out_of_json_and_the_rest_means_what_it_meant(text: str) -> None:
    again = parsed(taken_out(put_in(text, ITEM), ITEM), is_json=True)
    before = parsed(text, is_json=True)
    left = {**before, "hooks": {**(before.get("hooks") or {}), "Pre": None}}
    left["hooks"]["Pre"] = (before.get("hooks") or {}).get("Pre") or []
    assert again == left


def test_the_first_of_several_items_goes_out() -> None:
    text = '{"hooks": {"Pre": [{"ours": 1}, /* mine */ 2]}}'
    assert taken_out(text, ITEM) == '{"hooks": {"Pre": [/* mine */ 2]}}'


def test_all_of_our_items_go_out() -> None:
    text = '{"hooks": {"Pre": [{"ours": 0}, 1, {"ours": 2}]}}'
    assert taken_out(text, ITEM) == '{"hooks": {"Pre": [1]}}'


YAML_FILES = {
    "block": (
        "a: 1  # why\nplugins:\n  enabled:\n    - x  # keep\n  entries:\n    x: {on: true}\nz: 0\n"
    ),
    "nothing there yet": "# mine\na: 1\n",
    "null": "plugins:\nz: 1\n",
    "null as a word": "plugins: ~  # mine\nz: null\n",
    "null with a comment": "plugins:  # mine\nz: 1\n",
    "flow": "plugins: {entries: {x: 1}, enabled: [x]}  # mine\n",
    "no end": "a: 1",
    "a text of lines": "plugins:\n  entries:\n    x: |\n      one\n      two\nz: 1\n",
    "a list at the margin": "plugins:\n  enabled:\n  - x\n  - y  # keep\nz: 1\n",
}
YAML_CHANGES = (Change(("plugins", "enabled"), "ours", appends=True), VALUE)


@each("text", YAML_FILES.values(), ids=YAML_FILES)
def test_values_come_into_yaml_and_go_out_again(text: str) -> None:
    made = put_in(text, *YAML_CHANGES, is_json=False)
    said = parsed(made, is_json=False)
    assert said["plugins"]["enabled"][-1] == "ours"
    assert said["plugins"]["entries"]["ours"] == {"on": True}
    for line in filter(None, text.split("\n")):
        assert line.split("#")[-1] in made
    before, again = (
        parsed(it, is_json=False) for it in (text, taken_out(made, *YAML_CHANGES, is_json=False))
    )
    plugins = before.get("plugins") or {}
    entries, enabled = plugins.get("entries"), plugins.get("enabled")
    assert (again["plugins"].get("entries") or {}) == (entries or {})
    assert (again["plugins"].get("enabled") or []) == (enabled or [])
    assert {**again, "plugins": 0} == {**before, "plugins": 0}


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ('{\r\n  "a": 1\r\n}\r\n', True),
        ('{\r\n  "hooks": {\r\n    "Pre": [\r\n      1\r\n    ]\r\n  }\r\n}\r\n', True),
        ("a: 1\r\nplugins:\r\n  enabled:\r\n    - x\r\n", False),
        ("a: 1\r\nplugins:\r\n  enabled:\r\n    - x", False),
        ("# mine\r\n", False),
    ],
)
def test_a_line_that_comes_in_ends_as_the_others_do(text: str, *, is_json: bool) -> None:
    made = put_in(text, *((ITEM,) if is_json else YAML_CHANGES), is_json=is_json)
    assert made != text
    assert "\n" not in made.replace("\r\n", "")


def test_a_file_that_is_not_there_is_made() -> None:
    assert json.loads(put_in("", ITEM)) == {"hooks": {"Pre": [{"ours": 1}]}}
    assert put_in("", VALUE, is_json=False) == 'plugins: {"entries": {"ours": {"on": true}}}\n'
    assert put_in("# mine", VALUE, is_json=False).startswith("# mine\nplugins: ")


def test_what_is_there_already_stays_as_it_is() -> None:
    text = '{"plugins": {"entries": {"ours": {"on": true}}}}'
    assert put_in(text, VALUE) == text


@each(
    ("text", "reason"),
    [
        ('{"plugins": {"entries": {"ours": 1}}}', "says something else already"),
        ('{"plugins": 1}', "says something else already"),
        ('{"hooks": {"Pre": {}}}', "says something else already"),
        ("{", "the file cannot be changed"),
        ('{"a": 1, "a": 2}', "the file cannot be changed"),
        ("[]", "the file cannot be changed"),
        ("plugins: &x {}\na: *x\n", "the file cannot be changed"),
    ],
)
def test_what_cannot_be_changed_safely_is_left_alone(text: str, reason: str) -> None:
    change = ITEM if "Pre" in text else VALUE
    with pytest.raises(SettingsError, match=reason):
        put_in(text, change, is_json=text[0] in "{[")


def test_a_change_that_would_cost_something_is_for_its_user() -> None:
    change = Change(("entries",), 1, appends=True)
    with pytest.raises(SettingsError, match="add by hand, at `entries`: 1"):
        put_in("entries:\n- |\n  x", change, is_json=False)  # a line end would come into the text


def test_the_values_that_a_file_has_are_found() -> None:
    other = '{"hooks": {"Pre": [1, {"ours": 2}]}, "plugins": {"entries": {"ours": {"on": true}}}}'
    found = ours(other, (ITEM, VALUE, Change(("no",), 1)), is_ours, is_json=True)
    assert [it.value for it in found] == [{"ours": 2}, {"on": True}]


_LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab /*#:{}[],\"'\\", max_size=6)
_TREES = st.recursive(
    _LEAVES,
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "hooks", "Pre"]), below, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["a", "hooks"]), _TREES, max_size=2),
    st.sampled_from([None, 1, 2]),
)
def test_whatever_json_is_changed_comes_back(content: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(content, indent=indent)
    try:
        made = put_in(text, ITEM)
    except SettingsError:
        return
    assert parsed(made, is_json=True)["hooks"]["Pre"][-1] == {"ours": 1}
    again = parsed(taken_out(made, ITEM), is_json=True)
    assert again["hooks"].pop("Pre") == ((content.get("hooks") or {}).get("Pre") or [])
    before = {**content, "hooks": {**(content.get("hooks") or {})}}
    before["hooks"].pop("Pre", None)
    assert again == before
