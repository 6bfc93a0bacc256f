"""A request's deadline is the earliest that anything written on it gives, whatever the clocks say."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpcb_trio._transports._deadline import BROKER_STAMP_HEADER, DEADLINE_HEADER, Deadlines
from rpcb_trio._transports._times import read_time
from tests.scenarios import steady

WALL = 1_700_000_000.25
"""When the requests of these tests arrive, in UNIX seconds; on trio's clock it is 0, or as they say."""

ROUNDING = 1e-5
"""Seconds; what is left of a UNIX time's digits behind the point."""

MALFORMED = [
    pytest.param("soon", id="a text"),
    pytest.param("1_700_000_000", id="a number as Python writes it"),
    pytest.param("\uff11\uff17" + "0" * 8, id="digits of another script"),
    pytest.param("2023-11-14T22:13:20", id="a local time of nobody knows where"),
    pytest.param("2023-13-14T22:13:20Z", id="a month that there is not"),
    pytest.param("9" * 4000, id="a text without end"),
    pytest.param(b"1700000000", id="bytes"),
    pytest.param(-1, id="negative"),
    pytest.param(-math.inf, id="minus infinity"),
    pytest.param(math.inf, id="infinity"),
    pytest.param(math.nan, id="not a number"),
    pytest.param(True, id="a bool"),
    pytest.param(Decimal("NaN"), id="a Decimal that is no number"),
    pytest.param(Decimal("1e999"), id="a Decimal beyond a float"),
    pytest.param(10**400, id="more than a float holds"),
    pytest.param(None, id="nothing"),
    pytest.param([1_700_000_000], id="a list"),
    pytest.param(30, id="seconds from now on"),
    pytest.param(datetime(1999, 12, 31, tzinfo=UTC), id="a date before there was AMQP"),
    pytest.param(7_000_000_000, id="the year 2191, or a day in 1970"),
]


def second_of(seconds: float) -> int:
    """A `timestamp` property, as it comes off the wire."""
    return math.floor(seconds)


def read(lifetime: object = None, sent: object = None, **headers: object) -> float | None:
    """The seconds that a request has left at its arrival."""
    return Deadlines("work").read(0.0, WALL, lifetime=lifetime, sent=sent, headers=headers)


def test_a_request_that_says_nothing_never_expires() -> None:
    assert read() is None


def test_a_lifetime_counts_from_the_arrival_where_nothing_says_when_it_began() -> None:
    assert read(60.0) == 60.0


def test_a_deadline_is_a_reading_of_trios_clock() -> None:
    assert Deadlines("work").read(1000.0, WALL, lifetime=60.0) == 1060.0
    assert Deadlines("work").read(1000.0, WALL, headers={DEADLINE_HEADER: WALL + 5}) == 1005.0


def test_a_stamp_without_a_lifetime_is_no_deadline() -> None:
    assert read(sent=second_of(WALL - 9), timestamp_in_ms=int(1000 * WALL)) is None


def test_a_lifetime_counts_from_the_brokers_stamp() -> None:
    assert read(60.0, timestamp_in_ms=round(1000 * (WALL - 45.5))) == pytest.approx(14.5, abs=ROUNDING)


def test_a_lifetime_counts_from_the_end_of_the_propertys_second() -> None:
    assert read(60.0, second_of(WALL - 45)) == pytest.approx(60 - 44.25, abs=ROUNDING)


def test_what_was_sent_in_this_very_second_has_its_whole_lifetime() -> None:
    assert read(60.0, second_of(WALL)) == 60.0


def test_an_absolute_deadline_is_a_unix_time_whole_or_not() -> None:
    assert read(**{DEADLINE_HEADER: WALL + 2.5}) == pytest.approx(2.5, abs=ROUNDING)
    assert read(**{DEADLINE_HEADER: 1_700_000_005}) == pytest.approx(4.75, abs=ROUNDING)
    assert read(**{DEADLINE_HEADER: 1_600_000_000}) == pytest.approx(1.6e9 - WALL, abs=ROUNDING), "long ago"


def test_an_absolute_deadline_in_32_bits_counts_as_the_latest_it_may_have_been() -> None:
    (rounded,) = struct.unpack("f", struct.pack("f", WALL))
    assert read(**{DEADLINE_HEADER: rounded}) == pytest.approx(rounded + 64 - WALL, abs=ROUNDING)
    assert read(**{DEADLINE_HEADER: int(rounded)}) == pytest.approx(rounded - WALL, abs=ROUNDING)


def test_a_brokers_stamp_is_a_whole_number() -> None:
    assert read(60.0, timestamp_in_ms=1000 * (WALL - 30)) == 60.0


@pytest.mark.parametrize("value", MALFORMED)
@pytest.mark.parametrize("header", [DEADLINE_HEADER, BROKER_STAMP_HEADER])
def test_a_malformed_header_is_as_if_it_were_not_there(header: str, value: object) -> None:
    assert read(60.0, **{header: value}) == 60.0
    assert read(**{header: value}) is None


@pytest.mark.parametrize("value", [each for each in MALFORMED if each.values[0] not in (30, 7_000_000_000)])
def test_a_malformed_lifetime_is_none(value: object) -> None:
    assert read(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *MALFORMED,
        pytest.param(86400, id="a clock that was never set"),
        pytest.param(-1, id="before there was UNIX"),
        pytest.param(2**64 - 1, id="a date beyond all dates"),
    ],
)
def test_a_malformed_timestamp_is_as_if_it_were_not_there(value: object) -> None:
    assert read(60.0, value) == 60.0


UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}

WAYS: dict[str, Callable[[float], object]] = {
    "an integer": int,
    "a float": float,
    "a text": lambda number: str(int(number)),
    "a text with a fraction": lambda number: f"{int(number)}.0",
    "a Decimal": lambda number: Decimal(int(number)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("unit", UNITS)
def test_an_absolute_deadline_may_be_of_any_unit_and_type(unit: str, way: str) -> None:
    written = WAYS[way](UNITS[unit] * 1_700_000_005)
    left = read(**{DEADLINE_HEADER: written})
    assert left == pytest.approx(4.75, abs=129 if way == "a float" else ROUNDING)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2023, 11, 14, 22, 13, 25, tzinfo=UTC),
        "2023-11-14T22:13:25Z",
        "2023-11-14T22:13:25.000+00:00",
        "2023-11-15 00:13:25+02:00",
    ],
    ids=str,
)
def test_an_absolute_deadline_may_be_a_time_stamp_of_amqp_or_iso_8601(value: object) -> None:
    assert read(**{DEADLINE_HEADER: value}) == pytest.approx(4.75, abs=ROUNDING)


@pytest.mark.parametrize("unit", UNITS)
def test_a_timestamp_of_any_unit_counts_as_the_time_it_is(unit: str) -> None:
    sent = UNITS[unit] * (1_700_000_000 - 45)
    left = read(60.0, sent)
    assert left == pytest.approx(60 - 44.25 if unit == "seconds" else 60 - 45.25, abs=0.002)


@given(number=st.floats(1e9, 2**32 - 1), unit=st.sampled_from([1, 10**3, 10**6, 10**9]))
@steady
def test_no_number_is_a_time_in_two_units(number: float, unit: int) -> None:
    found = read_time(number * unit)
    assert found is not None
    assert found[0] == pytest.approx(number)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("what", "written"),
    [
        ("the property timestamp is '86400'", {"sent": 86_400}),
        ("the property timestamp is '18446744073709551615'", {"sent": 2**64 - 1}),
        ("the header timestamp_in_ms is 'now'", {"timestamp_in_ms": "now"}),
        ("the header rpcb-deadline is '30'", {DEADLINE_HEADER: 30}),
        ("the header rpcb-deadline is 'in a minute'", {DEADLINE_HEADER: "in a minute"}),
        ("the header rpcb-deadline is '2023-11-14T22:13:20'", {DEADLINE_HEADER: "2023-11-14T22:13:20"}),
    ],
    ids=str,
)
def test_a_time_that_is_none_is_named_with_its_value_once_and_costs_no_request(
    what: str, written: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    deadlines = Deadlines("work")
    sent = written.get("sent")
    headers = {name: value for name, value in written.items() if name != "sent"}
    for _ in range(3):
        assert deadlines.read(0.0, WALL, lifetime=60.0, sent=sent, headers=headers) == 60.0
    [line] = told(caplog)
    assert line.startswith(f"queue work: {what}, which is no time")


def test_a_value_that_is_too_long_for_a_line_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    read(60.0, **{DEADLINE_HEADER: "x" * 100_000})
    assert len(told(caplog)[0]) < 250


@pytest.mark.parametrize(
    ("sent", "headers", "said"),
    [
        (WALL - 100, {}, "the clock of the caller 'inbox' seems to be at least 39 s behind this machine's"),
        (
            WALL - 100,
            {"timestamp_in_ms": int(1000 * WALL) - 2000},
            "the clock of the caller 'inbox' seems to be at least 97 s behind the broker's",
        ),
        (
            None,
            {"timestamp_in_ms": int(1000 * WALL) - 100_000},
            "the broker's clock seems to be at least 40 s",
        ),
    ],
    ids=["by the lifetime that the broker grants", "by the broker's stamp", "the broker's own"],
)
def test_a_clock_that_is_so_far_behind_that_all_expires_is_told_once_with_the_skew(
    sent: float | None, headers: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    deadlines = Deadlines("work")
    for _ in range(3):
        left = deadlines.read(
            0.0,
            WALL,
            lifetime=60.0,
            sent=None if sent is None else second_of(sent),
            headers=headers,
            reply_to="inbox",
        )
        assert left is not None
        assert left < 0
    [line] = told(caplog)
    assert line.startswith(f"queue work: {said}")


@pytest.mark.parametrize(
    ("lifetime", "sent", "headers", "redelivered"),
    [
        (60.0, WALL - 30, {}, False),
        (60.0, WALL - 100, {}, True),
        (60.0, WALL - 61.0, {}, False),
        (None, WALL - 100, {DEADLINE_HEADER: WALL - 5}, False),
        (60.0, WALL - 10, {DEADLINE_HEADER: WALL - 5}, False),
    ],
    ids=[
        "in time",
        "held before",
        "within the rounding",
        "a deadline alone tells no skew",
        "a deadline passed",
    ],
)
def test_a_clock_is_not_blamed_where_it_can_not_be_known(
    lifetime: float | None,
    sent: float,
    headers: dict[str, object],
    redelivered: bool,  # noqa: FBT001 - the broker's mark
    caplog: pytest.LogCaptureFixture,
) -> None:
    Deadlines("work").read(
        0.0, WALL, lifetime=lifetime, sent=second_of(sent), headers=headers, redelivered=redelivered
    )
    assert told(caplog) == []


def test_zero_is_a_lifetime_but_no_time() -> None:
    assert read(0.0) == 0.0
    assert read(60.0, 0, timestamp_in_ms=0) == 60.0
    assert read(**{DEADLINE_HEADER: 0}) is None


seconds = st.floats(0, 1e6)
skews = st.floats(-1e5, 1e5)
"""How far another machine's clock is ahead of ours, the time that a request was under way taken off."""
maybe = st.none() | skews
anything: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(),
    st.datetimes(timezones=st.none() | st.timezones()),
)


@steady
@given(lifetime=seconds, broker=maybe, producer=maybe)
@example(lifetime=30.0, broker=3600.0, producer=3600.0)
def test_no_clock_that_is_ahead_lengthens_a_lifetime(
    lifetime: float, broker: float | None, producer: float | None
) -> None:
    headers = {} if broker is None else {BROKER_STAMP_HEADER: int(1000 * (WALL + broker))}
    left = read(lifetime, None if producer is None else second_of(WALL + producer), **headers)
    assert left is not None
    assert left <= lifetime


@steady
@given(lifetime=seconds, age=st.floats(0, 1e6))
def test_a_timestamp_cut_to_its_second_never_expires_a_request_early(lifetime: float, age: float) -> None:
    left = read(lifetime, second_of(WALL - age))
    assert left is not None
    assert lifetime - age - ROUNDING <= left <= lifetime - age + 1 + ROUNDING
    assert left <= lifetime


@steady
@given(ahead=st.floats(0, 1e6))
def test_no_rounding_makes_an_absolute_deadline_early(ahead: float) -> None:
    (rounded,) = struct.unpack("f", struct.pack("f", WALL + ahead))
    left = read(**{DEADLINE_HEADER: rounded})
    assert left is not None
    assert ahead - ROUNDING <= left <= ahead + 128 + ROUNDING


@steady
@given(lifetime=st.none() | seconds, broker=maybe, producer=maybe, absolute=maybe)
def test_the_earliest_of_all_that_is_said_holds(
    lifetime: float | None, broker: float | None, producer: float | None, absolute: float | None
) -> None:
    sent = None if producer is None else second_of(WALL + producer)
    stamp = {} if broker is None else {BROKER_STAMP_HEADER: int(1000 * (WALL + broker))}
    until = {} if absolute is None else {DEADLINE_HEADER: WALL + absolute}
    each = [read(lifetime), read(lifetime, sent), read(lifetime, **stamp), read(**until)]
    assert read(lifetime, sent, **stamp, **until) == min(
        (left for left in each if left is not None), default=None
    )


@steady
@given(lifetime=anything, sent=anything, stamp=anything, until=anything)
def test_whatever_is_written_on_a_request_it_has_a_deadline_or_none(
    lifetime: object, sent: object, stamp: object, until: object
) -> None:
    left = read(lifetime, sent, **{BROKER_STAMP_HEADER: stamp, DEADLINE_HEADER: until})
    assert left is None or math.isfinite(left)
