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


def admitted(policy: Policy, request_: Plain, now: str, level: Level) -> set[str]:
    """Return the names that would be selected if they were asked for."""
    return set(policy_router.permitted(policy, request_, now=now, level=level) or ())


@given(rich_policies(), rich_requests, WISHES, LEVELS)
def test_the_menu_offers_whatever_some_task_may_use(
    policy: Plain, request_: Plain, conditions: list[str], level: Level
) -> None:
    """Every name that is permitted for a request is on the menu of its caller."""
    loaded = compiled(reading(policy, conditions))
    names = policy_router.permitted(loaded, request_, now=NOW, level=level)
    menu = menu_entries(loaded, caller_of(request_), level)
    if names is None or menu is None:
        assert names is None
        assert menu is None
    else:
        assert set(names) <= {entry.name for entry in menu}


@given(rich_policies(), st.lists(rich_requests, min_size=2, max_size=4), WISHES, LEVELS)
def test_what_the_menu_leaves_out_no_task_of_the_caller_may_use(
    policy: Plain, requests_: list[Plain], conditions: list[str], level: Level
) -> None:
    """Whatever the task and the time: an entry that is not on the menu is not admitted."""
    loaded = compiled(reading(policy, conditions))
    caller = caller_of(requests_[0])
    menu = offered(loaded, caller, level)
    for request_ in requests_:
        mine = {**{section: request_.get(section, {}) for section in ("call", "task")}, **caller}
        for now in TIMES:
            assert admitted(loaded, mine, now, level) <= menu


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
