"""Cron expressions, as the reference reads them."""

from __future__ import annotations

import datetime

import pytest
from perdure.engine.errors import ConfigError
from perdure.sdk.crons import Cron


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("* * * * *", "2026-11-24 10:31", None),
        ("*/30 * * * *", "2026-11-24 10:30", "2026-11-24 10:31"),
        ("5/20 * * * *", "2026-11-24 10:45", "2026-11-24 10:40"),
        ("10-20/5 * * * *", "2026-11-24 10:15", "2026-11-24 10:25"),
        ("45 * * * *", "2026-11-24 23:45", "2026-11-24 23:44"),
        ("1,2,59 3,4 * * *", "2026-11-24 04:59", "2026-11-24 05:59"),
        ("0 17 * * sun", "2026-11-22 17:00", "2026-11-23 17:00"),
        ("0 17 * * 1", "2026-11-22 17:00", "2026-11-23 17:00"),
        ("0 17 * * 7", "2026-11-28 17:00", "2026-11-29 17:00"),
        ("10 7 * * mon-fri", "2026-11-27 07:10", "2026-11-28 07:10"),
        ("10 7 * * 2-6", "2026-11-27 07:10", "2026-11-28 07:10"),
        ("0 15 1 * *", "2026-12-01 15:00", "2026-12-02 15:00"),
        ("0 0 1 jan,JUL *", "2026-07-01 00:00", "2026-06-01 00:00"),
        ("0 18 * * 6L", "2026-11-27 18:00", "2026-11-20 18:00"),
        ("0 18 * * friL", "2026-11-27 18:00", "2026-11-20 18:00"),
        ("59 23 LW * *", "2026-10-30 23:59", "2026-10-31 23:59"),  # the 31st is a Saturday
        ("59 23 LW * *", "2026-05-29 23:59", "2026-05-31 23:59"),  # the 31st is a Sunday
        ("0 0 L * *", "2028-02-29 00:00", "2028-02-28 00:00"),
        ("0 0 L * *", "2027-02-28 00:00", "2027-02-27 00:00"),
        ("0 0 L-2 * *", "2026-11-28 00:00", "2026-11-30 00:00"),
        ("0 0 15W * *", "2026-08-14 00:00", "2026-08-15 00:00"),  # the 15th is a Saturday
        ("0 0 15W * *", "2026-11-16 00:00", "2026-11-15 00:00"),  # the 15th is a Sunday
        ("0 0 1W * *", "2026-08-03 00:00", "2026-07-31 00:00"),  # never in the month before
        ("0 0 31W * *", "2026-05-29 00:00", "2026-06-01 00:00"),  # nor in the one after
        ("0 0 31W * *", "2026-12-31 00:00", "2026-11-30 00:00"),  # months without a 31st have none
        ("0 0 * * 2#1", "2026-12-07 00:00", "2026-12-14 00:00"),
        ("0 0 * * MON#5", "2026-11-30 00:00", "2026-11-23 00:00"),
        ("0 0 * * L", "2026-11-28 00:00", "2026-11-27 00:00"),
        ("0 0 13 * FRI", "2026-12-13 00:00", "2026-12-14 00:00"),  # one of both is enough
        ("0 0 13 * FRI", "2026-12-11 00:00", "2026-12-12 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00", "2027-03-01 00:00"),
    ],
)
def test_matches(text, yes, no) -> None:
    assert Cron.parse(text).matches(at(yes))
    assert no is None or not Cron.parse(text).matches(at(no))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 0 * * *", "6 fields"),
        ("60 * * * *", "minute: 60 is not between 0 and 59"),
        ("0 24 * * *", "hour: 24"),
        ("0 0 0 * *", "day of the month: 0"),
        ("0 0 0W * *", "day of the month: 0"),
        ("0 0 * 13 *", "month: 13"),
        ("0 0 * * 0", "day of the week: 0 is not between 1 and 7"),
        ("0 0 * * 2#6", "which one of a month: 6"),
        ("0 0 * DEC-JAN *", "ends before it begins"),
        ("*/0 * * * *", "step '0'"),
        ("0 0 ? * *", "'?'"),
        ("x * * * *", "minute: 'X'"),
        ("1,,2 * * * *", "minute: ''"),
        ("0 0 31 2 *", "names a day that no month of it has"),
    ],
)
def test_what_is_wrong(text, says) -> None:
    with pytest.raises(ConfigError, match="cron expression") as raised:
        Cron.parse(text)
    assert says in raised.value.message


def test_the_text_stays_as_it_was_written() -> None:
    assert Cron.parse("0 18 * * friL").text == "0 18 * * friL"


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("*/15 * * * *", "2026-01-01T00:00", "2026-01-01T00:15"),
        ("*/15 * * * *", "2026-01-01T23:45", "2026-01-02T00:00"),
        ("0 18 * * friL", "2026-01-31T00:00", "2026-02-27T18:00"),
        ("30 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:30"),
    ],
)
def test_the_next_minute(text: str, after: str, expected: str) -> None:
    cron, utc = Cron.parse(text), datetime.UTC
    found = cron.after(datetime.datetime.fromisoformat(after).replace(tzinfo=utc))
    assert found == datetime.datetime.fromisoformat(expected).replace(tzinfo=utc)
    assert cron.matches(found)
