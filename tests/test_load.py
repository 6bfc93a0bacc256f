"""A load is sent when it is due, and what becomes of each request is counted from then."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import Reply, ReplyTimeout
from rpcb_trio._measure import PRECISION, Extent, Latencies, Tally, find_highest, send_closed, send_open
from rpcb_trio.errors import CallInterrupted, PublishRefused, Unroutable
from rpcb_trio.testing import served
from tests.scenarios import steady

MANY = 10**6


class Server:
    """Answers one request at a time, each after some seconds."""

    def __init__(self, seconds: float, error: Exception | None = None, code: str | None = None) -> None:
        self._line = trio.CapacityLimiter(1)
        self._seconds = seconds
        self._error = error
        self._headers = {} if code is None else {"rpcb-error": code}
        self.arrivals: list[float] = []

    async def call(self, body: bytes) -> Reply:
        self.arrivals.append(trio.current_time())
        async with self._line:
            await trio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        return Reply(body=body, headers=self._headers)


def bodies() -> Iterator[bytes]:
    return itertools.repeat(b"x")


def new_tally(warm_up: float = 0.0) -> Tally:
    return Tally(trio.current_time() + warm_up)


async def send_at(server: Server, tally: Tally, rate: float, extent: Extent, most: int = MANY) -> None:
    dice = Random(0)  # noqa: S311 - the same in every run
    await send_open(server.call, bodies(), extent, tally, rate=rate, dice=dice, most_in_flight=most)


@given(st.lists(st.floats(min_value=1e-5, max_value=1e4), min_size=1, max_size=200), st.integers(1, 100))
@steady
def test_a_percentile_is_within_a_hundredth_of_the_value_at_its_rank(
    times: list[float], percent: int
) -> None:
    latencies = Latencies()
    for each in times:
        latencies.add(each)
    true = sorted(times)[math.ceil(percent / 100 * len(times)) - 1]
    assert latencies.percentile(percent) == pytest.approx(true, rel=0.01)
    assert latencies.max == max(times)
    assert latencies.mean == pytest.approx(sum(times) / len(times))


@given(st.lists(st.floats(min_value=1e-5, max_value=1e4), max_size=200), st.integers(1, 20))
@steady
def test_every_latency_is_in_one_bar_of_the_histogram(times: list[float], most: int) -> None:
    latencies = Latencies()
    for each in times:
        latencies.add(each)
    bars = latencies.bars(most)
    assert len(bars) <= most
    assert sum(count for _, _, count in bars) == len(times)
    assert all(low < high for low, high, _ in bars)


def test_without_latencies_there_is_no_finite_figure() -> None:
    assert Latencies().percentile(50) == Latencies().mean == Latencies().max == math.inf


async def test_an_open_load_awaits_no_reply_and_counts_the_wait_of_requests_behind(
    autojump_clock: MockClock,
) -> None:
    server, tally, start = Server(1.0), new_tally(), trio.current_time()
    await send_at(server, tally, 10.0, Extent(requests=100))
    arrivals = server.arrivals
    assert arrivals[-1] - start < 20
    figures = tally.figures()
    assert figures.answered == 100
    assert figures.max == pytest.approx(
        max(at + 1 - due for at, due in zip(begins(arrivals), arrivals, strict=True))
    )
    assert figures.percentiles["p50"] > 30


def begins(arrivals: list[float]) -> Iterator[float]:
    """When a server of one second begins each."""
    free = 0.0
    for each in arrivals:
        begin = max(free, each)
        yield begin
        free = begin + 1.0


async def test_latency_counts_from_when_a_request_was_due_not_from_when_it_was_sent() -> None:
    tally = Tally(trio.current_time() - 5.0)
    await tally.follow(Server(0.0).call, b"x", trio.current_time() - 3.0)
    figures = tally.figures()
    assert figures.worst_lag >= 3.0
    assert figures.mean >= 3.0


async def test_an_open_load_is_the_same_for_the_same_seed_and_has_the_rate_it_should(
    autojump_clock: MockClock,
) -> None:
    sent = []
    for _ in range(2):
        server, start = Server(0.0), trio.current_time()
        await send_at(server, new_tally(), 50.0, Extent(seconds=20.0))
        sent.append([at - start for at in server.arrivals])
    assert sent[0] == pytest.approx(sent[1])
    assert len(sent[0]) == 1000


async def test_an_open_loads_arrivals_are_as_random_as_a_poisson_process(autojump_clock: MockClock) -> None:
    for extent in (Extent(seconds=100.0), Extent(requests=5000)):
        server, tally = Server(0.0), new_tally(warm_up=10.0)
        await send_at(server, tally, 50.0, extent)
        gaps = [late - early for early, late in itertools.pairwise(server.arrivals)]
        assert statistics.fmean(gaps) == pytest.approx(1 / 50, rel=0.05)
        assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05)
        assert tally.figures().requests == 5000


async def test_a_load_too_short_for_its_rate_sends_one_request(autojump_clock: MockClock) -> None:
    server = Server(0.0)
    await send_at(server, new_tally(), 0.001, Extent(seconds=5.0))
    assert len(server.arrivals) == 1


async def test_what_is_due_while_too_many_are_unanswered_is_not_sent_and_counts_as_an_error(
    autojump_clock: MockClock,
) -> None:
    server, tally = Server(1000.0), new_tally()
    await send_at(server, tally, 10.0, Extent(requests=50), most=3)
    figures = tally.figures()
    assert len(server.arrivals) == figures.answered == 3
    assert figures.errors == {"not-sent": 47}
    assert figures.error_share == 47 / 50


async def test_callers_of_a_closed_load_send_when_they_have_their_reply(autojump_clock: MockClock) -> None:
    server, tally = Server(1.0), new_tally()
    await send_closed(server.call, bodies(), Extent(seconds=10.0), tally, callers=4)
    figures = tally.figures()
    assert len(server.arrivals) == figures.answered == 13
    assert figures.seconds == pytest.approx(13.0)
    assert figures.answered_per_second == pytest.approx(1.0)
    assert figures.percentiles["p99"] == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize("callers", [1, 3, 20])
async def test_no_more_requests_are_sent_than_asked_for(callers: int, autojump_clock: MockClock) -> None:
    server = Server(1.0)
    await send_closed(server.call, bodies(), Extent(requests=7), new_tally(), callers=callers)
    assert len(server.arrivals) == 7


async def test_what_was_due_in_the_warm_up_does_not_count(autojump_clock: MockClock) -> None:
    server, tally = Server(1.0), new_tally(warm_up=5.0)
    await send_closed(server.call, bodies(), Extent(requests=3), tally, callers=1)
    assert len(server.arrivals) == 8
    assert tally.figures().requests == tally.figures().answered == 3


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ReplyTimeout("late"), "timeout"),
        (Unroutable("nowhere"), "unroutable"),
        (PublishRefused("full"), "refused"),
        (CallInterrupted("gone"), "interrupted"),
        (None, "decode"),
    ],
)
async def test_errors_are_counted_by_kind_and_have_no_latency(
    error: Exception | None, kind: str, autojump_clock: MockClock
) -> None:
    server, tally = Server(0.1, error, code="decode"), new_tally()
    await send_closed(server.call, bodies(), Extent(requests=3), tally, callers=1)
    figures = tally.figures()
    assert (figures.answered, figures.errors) == (0, {kind: 3})
    assert figures.p99_of_all == math.inf


async def test_a_load_through_a_client_and_a_worker_sees_the_batches(autojump_clock: MockClock) -> None:
    async with served(lambda bodies: bodies, service_time=lambda b: 0.150 + 0.025 * b) as worker:
        tally = new_tally(warm_up=5.0)
        await send_closed(worker.call, bodies(), Extent(seconds=20.0), tally, callers=10)
    assert tally.figures().errors == {}
    assert tally.figures().percentiles["p50"] == pytest.approx(0.4, rel=0.05)


@given(st.floats(min_value=0.01, max_value=1e4), st.floats(min_value=0.1, max_value=1e3))
@steady
def test_the_ramp_finds_the_highest_rate_and_names_only_a_rate_that_was_tried(
    capacity: float, first: float
) -> None:
    tried = []

    async def meets(rate: float) -> bool:
        tried.append(rate)
        return rate <= capacity

    async def find() -> float | None:
        return await find_highest(meets, first)

    found = trio.run(find)
    if found is None:
        assert capacity < first / 1000
    else:
        assert found in tried
        assert found <= capacity <= found * PRECISION
    assert len(tried) < 30
