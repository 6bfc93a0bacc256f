"""A request's deadline is the earliest that anything written on it gives, whatever the clocks say."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpcb_trio._transports._deadline import BROKER_STAMP_HEADER, DEADLINE_HEADER, read_deadline
from tests.scenarios import steady

WALL = 1_700_000_000.25
"""When the requests of these tests arrive, in UNIX seconds; on trio's clock it is 0, or as they say."""

ROUNDING = 1e-5
"""Seconds; what is left of a UNIX time's digits behind the point."""

MALFORMED = [
    pytest.param("1700000000", id="a text"),
    pytest.param(b"1700000000", id="bytes"),
    pytest.param(-1, id="negative"),
    pytest.param(-math.inf, id="minus infinity"),
    pytest.param(math.inf, id="infinity"),
    pytest.param(math.nan, id="not a number"),
    pytest.param(True, id="a bool"),
    pytest.param(Decimal("1700000000.5"), id="a Decimal"),
    pytest.param(10**400, id="more than a float holds"),
    pytest.param(None, id="nothing"),
    pytest.param([1_700_000_000], id="a list"),
    pytest.param(datetime(2023, 11, 14, tzinfo=UTC), id="a date"),
]


def second_of(seconds: float) -> int:
    """A `timestamp` property, as it comes off the wire."""
    return math.floor(seconds)


def read(lifetime: object = None, sent: object = None, **headers: object) -> float | None:
    """The seconds that a request has left at its arrival."""
    return read_deadline(0.0, WALL, lifetime=lifetime, sent=sent, headers=headers)


def test_a_request_that_says_nothing_never_expires() -> None:
    assert read() is None


def test_a_lifetime_counts_from_the_arrival_where_nothing_says_when_it_began() -> None:
    assert read(60.0) == 60.0


def test_a_deadline_is_a_reading_of_trios_clock() -> None:
    assert read_deadline(1000.0, WALL, lifetime=60.0) == 1060.0
    assert read_deadline(1000.0, WALL, headers={DEADLINE_HEADER: WALL + 5}) == 1005.0


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
    assert read(**{DEADLINE_HEADER: 1}) == pytest.approx(1 - WALL, abs=ROUNDING), "long ago"


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


@pytest.mark.parametrize("value", MALFORMED)
def test_a_malformed_lifetime_is_none(value: object) -> None:
    assert read(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *MALFORMED,
        pytest.param(86400, id="a clock that was never set"),
        pytest.param(253_370_764_800, id="the year 9999"),
        pytest.param(2**64 - 1, id="a date beyond all dates"),
    ],
)
def test_a_malformed_timestamp_is_as_if_it_were_not_there(value: object) -> None:
    assert read(60.0, value) == 60.0


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
