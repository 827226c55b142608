"""The laws about the menu, which is written before the tasks are known."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import policy_router
from policy_router import Policy
from policy_router.decision.menu import menu_entries
from policy_router.domain import Level
from tests.property.rich_policies import reading_wishes, rich_policies, rich_requests
from tests.property.strategies import NOW, compiled

Plain = dict[str, Any]
LEVELS = st.sampled_from([Level.CALL, Level.TASK])
KNOWN = ("parent", "caller", "budget", "facts")
TIMES = (NOW, "1999-12-31T23:59:59Z", "2031-07-06T00:00:00Z")
WISHES = st.lists(reading_wishes, max_size=2)


def caller_of(request_: Plain) -> Plain:
    """Return what is known of a request before there is a task."""
    return {section: request_[section] for section in KNOWN if section in request_}


def reading(policy: Plain, conditions: list[str]) -> Plain:
    """Let the conditions of some entries be about what was asked for."""
    if "pool" not in policy or not conditions:
        return policy
    chosen = zip(policy["pool"], cycle([*conditions, ""]), strict=False)
    return {**policy, "pool": [{**it, "allow": text} if text else it for it, text in chosen]}


def offered(policy: Policy, caller: Plain, level: Level) -> set[str]:
    """Return the names that are on the menu."""
    return {entry.name for entry in menu_entries(policy, caller, level) or ()}


def granted(policy: Policy, request_: Plain, now: str, level: Level) -> set[str]:
    """Return the names that are selected at a level where they are asked for there.

    A guard may be about the level. Then a name may be permitted since another level selects it,
    which no menu promises.
    """
    found = set()
    other = "task" if level is Level.CALL else "call"
    for name in policy_router.permitted(policy, request_, now=now, level=level) or ():
        asking = {**request_.get(level, {}), "model": name, "provider": ""}
        alone = {**request_.get(other, {}), "model": "", "provider": ""}
        for rest in ({}, {other: alone}):
            made = policy_router.decide(policy, {**request_, level: asking, **rest}, now=now)
            if made.decision.level == level:
                found.add(name)
    return found


@given(rich_policies(), rich_requests, WISHES, LEVELS)
def test_the_menu_offers_whatever_some_task_may_use(
    policy: Plain, request_: Plain, conditions: list[str], level: Level
) -> None:
    """Every name that a request is granted is on the menu of its caller."""
    loaded = compiled(reading(policy, conditions))
    menu = menu_entries(loaded, caller_of(request_), level)
    if policy_router.permitted(loaded, request_, now=NOW, level=level) is None:
        assert menu is None
    else:
        assert menu is not None
        assert granted(loaded, request_, NOW, level) <= {entry.name for entry in menu}


@given(rich_policies(), st.lists(rich_requests, min_size=2, max_size=4), WISHES, LEVELS)
def test_what_the_menu_leaves_out_no_task_of_the_caller_may_use(
    policy: Plain, requests_: list[Plain], conditions: list[str], level: Level
) -> None:
    """Whatever the task and the time: an entry that is not on the menu is not granted."""
    loaded = compiled(reading(policy, conditions))
    caller = caller_of(requests_[0])
    menu = offered(loaded, caller, level)
    for request_ in requests_:
        mine = {**{section: request_.get(section, {}) for section in ("call", "task")}, **caller}
        for now in TIMES:
            assert granted(loaded, mine, now, level) <= menu


@given(rich_policies(), rich_requests, LEVELS)
def test_the_menu_does_not_look_at_wishes_and_tasks(
    policy: Plain, request_: Plain, level: Level
) -> None:
    """It is the same whatever they are."""
    loaded = compiled(policy)
    assert offered(loaded, request_, level) == offered(loaded, caller_of(request_), level)


def test_some_menus_leave_out_what_others_offer() -> None:
    """Or else these laws would hold of a menu that offers everything, or nothing."""

    def leaves_out(made: tuple[Plain, Plain, Level]) -> bool:
        policy, request_, level = made
        loaded = compiled(policy)
        return 0 < len(offered(loaded, caller_of(request_), level)) < len(loaded.pool or ())

    made = st.tuples(rich_policies(), rich_requests, LEVELS)
    first = settings(max_examples=500, database=None, derandomize=True, phases=[Phase.generate])
    assert find(made, leaves_out, settings=first)
