"""Ids of decisions are UUIDs that sort by their time; those of sessions fit into a header."""

from __future__ import annotations

import datetime
import os
import uuid

import pytest

from policy_router import RequestError
from policy_router.files.ids import check_session, uuid7
from tests.support.rows import each

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NOW = datetime.datetime(2026, 1, 31, 9, 0, 0, 123456, tzinfo=datetime.UTC)
MILLISECOND = datetime.timedelta(milliseconds=1)


def milliseconds(text: str) -> int:
    """Return the first 48 bits."""
    return uuid.UUID(text).int >> 80


@each(
    ("now", "expected"),
    [
        (EPOCH, 0),
        (EPOCH + MILLISECOND, 1),
        (EPOCH + MILLISECOND * 1.999, 1),
        (EPOCH - MILLISECOND, 0),
        (datetime.datetime(1, 1, 1, tzinfo=datetime.UTC), 0),
        # The example of RFC 9562, appendix A.6: Tuesday, 22 February 2022, 14:22:22.00 GMT-05:00.
        (
            datetime.datetime(
                2022, 2, 22, 14, 22, 22, tzinfo=datetime.timezone(datetime.timedelta(hours=-5))
            ),
            0x017F22E279B0,
        ),
        (datetime.datetime.max.replace(tzinfo=datetime.UTC), 253_402_300_799_999),
    ],
    ids=range(7),
)
def test_the_first_48_bits_are_the_milliseconds_since_1970(
    now: datetime.datetime, expected: int
) -> None:
    assert milliseconds(uuid7(now)) == expected


def test_version_and_variant_are_those_of_rfc_9562() -> None:
    for _ in range(200):
        made = uuid.UUID(uuid7(NOW))
        assert made.version == 7
        assert made.variant == uuid.RFC_4122
        assert (made.int >> 76) & 0xF == 0b0111
        assert (made.int >> 62) & 0b11 == 0b10


def test_an_id_is_spelt_as_uuids_are() -> None:
    made = uuid7(NOW)
    assert made == str(uuid.UUID(made))
    assert (len(made), made[14], made[19] in "89ab") == (36, "7", True)


def test_all_other_bits_are_chance() -> None:
    every, some = (1 << 128) - 1, 0
    for _ in range(500):
        made = uuid.UUID(uuid7(NOW)).int
        every, some = every & made, some | made
    changing = (every ^ some) & ((1 << 80) - 1)
    assert changing == (0xFFF << 64) | ((1 << 62) - 1)


def test_ids_sort_by_their_time_to_the_millisecond() -> None:
    moments = [EPOCH + number * MILLISECOND for number in (0, 1, 9, 10, 2**31, 2**40, 2**47)]
    made = [uuid7(now) for now in moments]
    assert made == sorted(made)
    hours = [uuid7(NOW + datetime.timedelta(hours=number)) for number in range(500)]
    assert hours == sorted(hours)


def test_ids_of_one_time_are_different() -> None:
    assert len({uuid7(NOW) for _ in range(10_000)}) == 10_000


def test_the_time_zone_makes_no_difference() -> None:
    there = NOW.astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    assert milliseconds(uuid7(NOW)) == milliseconds(uuid7(there))


@each(
    "session_id",
    ["a", "7f3a", "~", "!", "a b", "a  b", "user=1; x", "a" * 200, f"a{' ' * 198}b", '"quoted"'],
    ids=range(10),
)
def test_a_session_may_have_an_id_that_a_header_can_carry(session_id: str) -> None:
    check_session(session_id)


@each(
    "session_id",
    [
        "",
        " ",
        " a",
        "a ",
        "a" * 201,
        "a\n",
        "\na",
        "a\r\nX-Other: b",
        "a\tb",
        "a\x00b",
        "a\x7f",
        "caf\u00e9",
        "\ud800",
        "\u2028",
    ],
    ids=range(14),
)
def test_another_id_of_a_session_is_refused_and_not_repeated(session_id: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_session(session_id)
    expected = "$.session_id: the session's id must be 1 to 200 printable ASCII characters"
    assert str(caught.value) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_its_own_ids() -> None:
    uuid7(NOW)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "".join(uuid7(NOW) for _ in range(50)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    its = os.read(reading, 36 * 50).decode()
    os.close(reading)
    os.close(writing)
    mine = {uuid7(NOW) for _ in range(300)}
    assert len(mine) == 300
    assert not mine & {its[place : place + 36] for place in range(0, len(its), 36)}
