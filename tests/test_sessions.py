"""A lost connection ends the session, not the service: what was held comes again, and models stay loaded."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, Instrument, MemoryBroker, Topology, serve
from rpcb_trio._backoff import FIRST_RETRY, LAST_RETRY, Backoff
from rpcb_trio.batching import Trigger
from rpcb_trio.errors import SessionLost, TopologyMismatch
from rpcb_trio.testing import VirtualExecutor
from tests.journal import Journal, check_books
from tests.scenarios import QUEUE, Shouting, UnsteadyTransport, answers, ask, working

T = TypeVar("T")

BODIES = [b"good %d" % n for n in range(6)]
ALL_ANSWERED = {f"{n}": b"ok:GOOD %d" % n for n in range(6)}


def patient(max_batch_size: int = 32) -> FixedPolicy:
    """Waits long enough for all that is in the queue."""
    return FixedPolicy(max_batch_size, max_wait=0.125)


async def hold_and_die(broker: MemoryBroker) -> None:
    """Be a worker that takes all there is and dies of it."""
    async with broker.open_session(Topology(queue=QUEUE), prefetch=100):
        pass


async def test_a_request_that_may_have_killed_another_worker_runs_alone(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES[:2])
    await hold_and_die(broker)
    ask(broker, *BODIES[2:])
    async with working(Shouting(), broker, batching=patient()) as running:
        await running.until_settled(6)
    assert [(batch.trigger, batch.size) for batch in running.batches] == [
        (Trigger.ALONE, 1),
        (Trigger.ALONE, 1),
        (Trigger.WAIT, 4),
    ]
    assert answers(broker) == ALL_ANSWERED


@pytest.mark.parametrize("refused", [[], [1, 2, 3]], ids=["back at once", "away for a while"])
async def test_requests_this_worker_held_when_its_session_was_lost_run_together_again(
    refused: list[int], autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    ask(broker, *BODIES)
    transport = UnsteadyTransport(broker, refused=refused)
    async with working(Shouting(), transport, batching=patient(), service_time=lambda _: 10.0) as running:
        await trio.sleep(5)
        broker.disconnect()
        await running.until_settled(6)
    assert running.sizes == [6, 6]
    assert answers(broker) == ALL_ANSWERED


async def test_equal_requests_are_all_forgiven(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker)
    for _ in range(3):
        broker.publish(b"good 0", routing_key=QUEUE)
    async with working(Shouting(), broker, batching=patient(), service_time=lambda _: 10.0) as running:
        await trio.sleep(5)
        broker.disconnect()
        await running.until_settled(3)
    assert running.sizes == [3, 3]


async def test_what_was_delivered_but_not_yet_decoded_is_forgiven_too(autojump_clock: MockClock) -> None:
    async def slowly(function: Callable[[], T]) -> T:
        await trio.sleep(1)
        return function()

    broker = MemoryBroker()
    ask(broker, *BODIES)
    async with working(Shouting(), broker, batching=FixedPolicy(32, max_wait=60), offload=slowly) as running:
        await trio.sleep(0.5)
        broker.disconnect()
        await running.until_settled(6)
    assert running.sizes == [6]


async def test_a_request_is_forgiven_once(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 0")
    async with working(Shouting(), broker, batching=patient(), service_time=lambda _: 10.0) as running:
        await trio.sleep(5)
        broker.disconnect()
        await running.until_settled(1)
        async with broker.open_session(Topology(queue=QUEUE), prefetch=1):
            ask(broker, b"good 0", b"good 0")  # one for each, and the other worker dies of its own
        await running.until_settled(3)
    assert sorted(batch.trigger for batch in running.batches) == [Trigger.ALONE, *[Trigger.WAIT] * 3]


class Warmed(VirtualExecutor):
    """Counts its warm-ups."""

    warm_ups = 0

    async def warm_up(self) -> None:
        await super().warm_up()
        self.warm_ups += 1


async def test_models_stay_loaded_over_any_number_of_sessions(autojump_clock: MockClock) -> None:
    broker, executor = MemoryBroker(), Warmed(Shouting().infer)
    async with working(Shouting(), broker, executors=[executor]) as running:
        for _ in range(5):
            broker.disconnect()
            await trio.sleep(60)
        ask(broker, *BODIES)
        await running.until_settled(6)
    assert len(running.lost_sessions) == 5
    assert executor.warm_ups == 1


async def test_a_lost_broker_is_asked_again_and_again_at_growing_distances(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    transport = UnsteadyTransport(broker, refused=range(1, 12))
    async with working(Shouting(), transport) as running:
        ask(broker, *BODIES)
        await running.until_settled(6)
        broker.disconnect()
        await trio.sleep(600)
        ask(broker, *BODIES)
        await running.until_settled(12)
    gaps = [
        after - before for before, after in zip(transport.attempts[1:], transport.attempts[2:], strict=False)
    ]
    assert len(gaps) == 11
    assert all(gap <= min(LAST_RETRY, FIRST_RETRY * 2 ** (n + 1)) for n, gap in enumerate(gaps))


async def test_an_hour_without_a_broker_is_a_few_hundred_attempts_at_no_two_equal_distances(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    transport = UnsteadyTransport(broker, refused=range(1, 10_000))
    async with working(Shouting(), transport):
        broker.disconnect()
        await trio.sleep(3600)
    attempts = transport.attempts[1:]
    gaps = {round(after - before, 6) for before, after in pairwise(attempts)}
    assert 150 < len(attempts) < 400  # 15 s apart on average
    assert len(gaps) > len(attempts) / 2


async def test_once_the_broker_is_back_the_next_wait_for_it_is_short_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    broker = MemoryBroker()
    transport = UnsteadyTransport(broker, refused=range(1, 8))
    async with working(Shouting(), transport):
        broker.disconnect()
        await trio.sleep(600)
        lost = trio.current_time()
        broker.disconnect()
        await trio.sleep(600)
    assert transport.attempts[-1] - lost == FIRST_RETRY


def test_waits_between_attempts_grow_up_to_a_limit_and_are_spread_from_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    waits = Backoff()
    longest = [waits.after(0) for _ in range(100)]
    assert longest[:7] == [0.5, 1, 2, 4, 8, 16, 30]
    assert longest[-1] == 30
    monkeypatch.setattr(random, "uniform", lambda shortest, _: shortest)
    assert waits.after(0) == 0


def test_a_session_that_lasted_is_not_paid_for_with_a_long_wait_though_the_broker_was_away_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    waits = Backoff()
    for _ in range(10):
        waits.after(0)
    assert [waits.after(10) for _ in range(3)] == [FIRST_RETRY] * 3


class Flapping(Instrument):
    """Has the broker drop the first sessions as soon as they are open."""

    def __init__(self, broker: MemoryBroker, *, times: int) -> None:
        self._broker = broker
        self._left = times

    def session_opened(self, queue: str) -> None:  # noqa: ARG002 - there is but one
        if self._left:
            self._left -= 1
            self._broker.disconnect()


async def test_a_broker_that_takes_connections_only_to_drop_them_is_not_hammered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    broker = MemoryBroker()
    transport = UnsteadyTransport(broker, refused=())
    async with working(Shouting(), transport, instruments=[Flapping(broker, times=5)]):
        await trio.sleep(60)
    gaps = [after - before for before, after in zip(transport.attempts, transport.attempts[1:], strict=False)]
    assert gaps == [0.5, 1, 2, 4, 8]


@pytest.mark.parametrize(
    ("transport", "error"),
    [
        (UnsteadyTransport(MemoryBroker(), refused=[0]), SessionLost),
        (MemoryBroker(), TopologyMismatch),
    ],
)
async def test_a_worker_that_cannot_even_start_says_why_with_a_bare_error(
    transport: MemoryBroker, error: type[Exception], autojump_clock: MockClock
) -> None:
    executors = [VirtualExecutor(Shouting().infer)]  # a thread's warm-up must not meet a clock that jumps
    with pytest.raises(error):
        await serve(Shouting(), transport, Topology(queue=QUEUE, declare="passive"), executors=executors)


async def test_an_answer_that_could_not_be_acked_is_given_again_with_the_redelivery(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    journal = Journal(broker)
    journal.on_reply = lambda count: broker.disconnect() if count == 3 else None  # nothing is acked yet
    ask(broker, *BODIES)
    async with working(Shouting(), journal, batching=patient(), instruments=[journal]) as running:
        await running.until_settled(6)
    assert set(journal.replied.values()) == {1, 2}
    check_books(broker, [journal], BODIES)
