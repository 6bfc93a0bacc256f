"""A new version of the model takes the place of the present one: no request is lost, delayed or mixed up."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given, settings
from trio.testing import MockClock

from rpcb_trio import (
    AutoPolicy,
    FixedPolicy,
    LogInstrument,
    MemoryBroker,
    SettingError,
    ThreadExecutor,
    open_client,
    open_worker,
)
from rpcb_trio.batching import Policy
from rpcb_trio.errors import ExecutorHung, SwapInterrupted, WarmUpFailed
from rpcb_trio.testing import VirtualExecutor
from tests.scenarios import QUEUE, Running, Shouting, answers, ask, steady, taken, working
from tests.versions import Loaded, Tagged, all_by


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


async def send(broker: MemoryBroker, first: int, last: int, every: float) -> None:
    for number in range(first, last + 1):
        ask(broker, b"r %d" % number)
        await trio.sleep(every)


def by_version(broker: MemoryBroker) -> dict[int, str]:
    """Which version answered each request; each did all of it, and says so in the header."""
    found = {}
    for reply in taken(broker):
        number = int(reply.correlation_id or "")
        assert number not in found, "answered twice"
        found[number] = str(reply.headers["rpcb-model-version"])
        assert reply.body == all_by(found[number], f"r {number}")
    return dict(sorted(found.items()))


async def test_the_present_one_serves_while_the_next_one_loads_and_nobody_waits_for_the_change(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with (
        working(
            old, broker, batching=FixedPolicy(4), executors=[Loaded(old, lambda _: 1.0)], prefetch=8
        ) as running,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send, broker, 1, 40, 0.5)
        await trio.sleep(5.2)
        await running.worker.swap(new, executors=[Loaded(new, lambda _: 1.0, loading=5.0)])
        assert 10.2 < trio.current_time() <= 11.0, "it returns when the last batch of the old one has ended"
        assert old.is_closed
        await running.until_settled(40)
    versions = by_version(broker)
    assert [*versions] == [*range(1, 41)]
    assert [*versions.values()] == sorted(versions.values()), "never the old one again"
    assert {"1", "2"} == {*versions.values()}
    assert max(wait for batch in running.batches for wait in batch.waits) <= 1.0
    assert {batch.version for batch in running.batches} == {"1", "2"}
    assert running.setups[0].version == "1"
    assert running.versions == ["2"]


@settings(steady, max_examples=50)
@given(
    arrivals=st.lists(st.floats(0, 4), min_size=1, max_size=40),
    swaps=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1), st.booleans()), min_size=1, max_size=3),
    executors=st.integers(1, 3),
    policy=st.sampled_from([partial(AutoPolicy, 4), partial(FixedPolicy, 4, 0.2)]),
    lost=st.none() | st.floats(0, 4),
)
def test_whenever_a_swap_comes_each_request_is_answered_once_and_all_of_it_by_one_version(
    arrivals: list[float],
    swaps: list[tuple[float, float, bool]],
    executors: int,
    policy: Callable[[], Policy],
    lost: float | None,
) -> None:
    async def play() -> None:
        broker, services = MemoryBroker(), [Tagged(f"{number}") for number in range(len(swaps) + 1)]

        def executors_of(service: Tagged, loading: float = 0.0) -> list[Loaded]:
            return [Loaded(service, lambda b: 0.2 + 0.1 * b, loading=loading) for _ in range(executors)]

        async def arrive(number: int, at: float) -> None:
            await trio.sleep(at)
            ask(broker, b"r %d" % number)

        async def disconnect(at: float) -> None:
            await trio.sleep(at)
            broker.disconnect()

        async with (
            working(
                services[0], broker, batching=policy(), executors=executors_of(services[0]), prefetch=20
            ) as running,
            trio.open_nursery() as nursery,
        ):
            for number, at in enumerate(arrivals):
                nursery.start_soon(arrive, number, at)
            if lost is not None:
                nursery.start_soon(disconnect, lost)
            for service, (pause, loading, unload_first) in zip(services[1:], swaps, strict=True):
                await trio.sleep(pause)
                await running.worker.swap(
                    service, executors=executors_of(service, loading), unload_first=unload_first
                )
            await trio.sleep(10)
        found: dict[str | None, list[bytes]] = {}
        for reply in taken(broker):
            found.setdefault(reply.correlation_id, []).append(reply.body)
            version = reply.headers["rpcb-model-version"]
            assert reply.body == all_by(str(version), f"r {reply.correlation_id}")
        assert {*found} == {str(number) for number in range(len(arrivals))}
        assert lost is not None or all(len(each) == 1 for each in found.values())
        assert [each.is_closed for each in services] == [True] * len(swaps) + [False]

    trio.run(play, clock=MockClock(autojump_threshold=0))


async def test_what_waits_and_the_next_one_can_not_decode_gets_its_error_and_harms_no_other(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2", refuses=b"3")
    async with working(
        old, broker, batching=FixedPolicy(2, 0.1), executors=[Loaded(old, lambda _: 1.0)], prefetch=10
    ) as running:
        ask(broker, *(b"r %d" % number for number in range(1, 6)))
        await trio.sleep(0.5)
        await running.worker.swap(new, executors=[Loaded(new)])
        await running.until_settled(5)
    assert answers(broker) == {
        **{f"{number}": all_by("1", f"r {number}") for number in (1, 2)},
        "3": b"request:2",
        **{f"{number}": all_by("2", f"r {number}") for number in (4, 5)},
    }
    assert [len(batch) for batch in new.batches] == [1, 1]
    assert [error.code for _, error in running.refusals] == ["request"]


async def test_a_batch_that_nothing_is_left_of_is_none_and_the_next_one_is_computed(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2", refuses=b"bad")
    async with working(
        old, broker, batching=FixedPolicy(2, 0.1), executors=[Loaded(old, lambda _: 1.0)], prefetch=10
    ) as running:
        ask(broker, b"r 1", b"r 2", b"bad 3", b"bad 4", b"r 5")
        await trio.sleep(0.5)
        await running.worker.swap(new, executors=[Loaded(new)])
        await running.until_settled(5)
    assert answers(broker)["5"] == all_by("2", "r 5")
    assert running.sizes == [2, 1]


async def test_a_model_that_fails_to_load_is_told_with_its_place_and_the_present_one_stays(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rpcb_trio")
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    told = "Tagged: warm_up failed: ValueError: no weights (tagged.py:8 in warm_up)"
    async with working(old, broker, executors=[Loaded(old)], instruments=[LogInstrument("asr")]) as running:
        with pytest.raises(WarmUpFailed) as caught:
            await running.worker.swap(new, executors=[Loaded(new, failure=WarmUpFailed(told))])
        assert str(caught.value) == told
        assert running.worker.version == "1"
        ask(broker, b"r 1")
        await running.until_settled(1)
    assert by_version(broker) == {1: "1"}
    assert f"asr: swap: version 2 does not take over, and the one before it stays: {told}" in caplog.messages
    assert [str(error) for error in running.failed_swaps] == [told]


class Fragile(Shouting):
    version = "2"

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        self._fail("__init__")

    def warm_up(self) -> None:
        self._fail("warm_up")

    def _fail(self, where: str) -> None:
        if where == self._where:
            raise ValueError("no weights")


@pytest.mark.parametrize("where", ["__init__", "warm_up"])
async def test_an_error_of_its_code_names_the_hook_and_the_line(where: str) -> None:
    broker = MemoryBroker()
    async with open_worker(Shouting(), broker, QUEUE, instruments=[]) as worker:
        told = rf"^Fragile: {where} failed: ValueError: no weights \(test_swap.py:\d+ in _fail\)$"
        with pytest.raises(WarmUpFailed, match=told):
            await worker.swap(partial(Fragile, where))
        assert worker.version is None
        await worker.swap(partial(Fragile, "nowhere"))
        assert worker.version == "2"


async def test_a_model_that_takes_too_long_to_load_does_not_take_over(autojump_clock: MockClock) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with working(old, broker, executors=[Loaded(old)], warm_up_timeout=60.0) as running:
        with pytest.raises(WarmUpFailed, match=r"longer than 60 s \(warm_up_timeout\)"):
            await running.worker.swap(new, executors=[Loaded(new, loading=61)])
        assert running.worker.version == "1"
        assert new.is_closed


async def test_a_drain_gives_up_a_swap_that_loads_and_the_present_one_answers_what_is_held(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with working(old, broker, executors=[Loaded(old, lambda _: 3.0)]) as running:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_interrupted, running, new)
            await trio.sleep(1)
            ask(broker, b"r 1")
            await trio.sleep(1)
            running.worker.drain()
        assert trio.current_time() == 2.0, "at once"
        with pytest.raises(SwapInterrupted):
            await running.worker.swap(new, executors=[Loaded(new)])
    assert by_version(broker) == {1: "1"}
    assert new.is_closed


async def expect_interrupted(
    running: Running, service: Tagged, executors: int = 1, *, unload_first: bool = False
) -> None:
    with pytest.raises(SwapInterrupted, match="drains or has ended, so its model was not swapped"):
        await running.worker.swap(
            service,
            executors=[Loaded(service, loading=100) for _ in range(executors)],
            unload_first=unload_first,
        )


async def test_a_swap_that_is_cancelled_while_it_loads_changes_nothing(autojump_clock: MockClock) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with working(old, broker, executors=[Loaded(old)]) as running:
        with trio.move_on_after(5):
            await running.worker.swap(new, executors=[Loaded(new, loading=10)])
        ask(broker, b"r 1")
        await trio.sleep(20)
        assert running.worker.version == "1"
    assert by_version(broker) == {1: "1"}
    assert running.versions == []


async def test_swaps_are_one_at_a_time_in_the_order_they_were_asked_for(autojump_clock: MockClock) -> None:
    broker, story = MemoryBroker(), list[str]()
    services = [Tagged(f"{number}") for number in range(4)]
    async with (
        working(services[0], broker, executors=[Loaded(services[0], story=story)]) as running,
        trio.open_nursery() as nursery,
    ):
        for service in services[1:]:
            executors = [Loaded(service, loading=1, story=story)]
            nursery.start_soon(partial(running.worker.swap, service, executors=executors))
            await trio.sleep(0.1)
    assert story[1:] == [
        *("1 loaded at 1", "0 closed at 1", "2 loaded at 2", "1 closed at 2"),
        *("3 loaded at 3", "2 closed at 3"),
    ]


async def test_a_session_that_is_lost_while_the_next_one_loads_does_no_harm(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with working(old, broker, executors=[Loaded(old, lambda _: 2.0)]) as running:
        ask(broker, b"r 1")
        async with trio.open_nursery() as nursery:
            executors = [Loaded(new, loading=5)]
            nursery.start_soon(partial(running.worker.swap, new, executors=executors))
            await trio.sleep(1)
            broker.disconnect()
        await running.until_settled(1)
        ask(broker, b"r 2")
        await running.until_settled(2)
    assert by_version(broker) == {1: "1", 2: "2"}
    assert old.is_closed


async def test_the_former_one_is_closed_only_after_its_last_batch(autojump_clock: MockClock) -> None:
    broker, story, old, new = MemoryBroker(), list[str](), Tagged("1"), Tagged("2")
    executors = [Loaded(old, lambda _: 10.0, story=story), Loaded(old, lambda _: 3.0, story=story)]
    async with working(old, broker, batching=FixedPolicy(1), executors=executors) as running:
        ask(broker, b"r 1", b"r 2")
        await trio.sleep(1)
        await running.worker.swap(new, executors=[Loaded(new, story=story), Loaded(new, story=story)])
        assert trio.current_time() == 10.0
    assert story[2:] == [
        *("2 loaded at 1", "2 loaded at 1", "1 computed at 3", "1 computed at 10"),
        *("1 closed at 10", "1 closed at 10"),
    ]


async def test_the_policy_forgets_what_batches_take_and_learns_nothing_from_the_former_one(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with working(
        old, broker, batching=AutoPolicy(2), executors=[Loaded(old, lambda _: 1.0)]
    ) as running:
        for number in range(1, 7):
            ask(broker, b"r %d" % number)
            await running.until_settled(number)
        assert running.batches[-1].predicted == pytest.approx(1.0)
        ask(broker, b"r 7")
        await trio.sleep(0.5)
        await running.worker.swap(new, executors=[Loaded(new, lambda _: 0.1)])
        for number in range(8, 12):
            ask(broker, b"r %d" % number)
            await running.until_settled(number)
    assert [batch.predicted for batch in running.batches[7:9]] == [None, pytest.approx(0.1)]


async def test_from_a_plain_function_to_a_service_that_decodes_and_back(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Tagged("2")
    executor = VirtualExecutor(shout, lambda _: 1.0)
    async with working(
        shout, broker, executors=[executor], batching=FixedPolicy(2, 0.1), prefetch=6, decode_threads=3
    ) as running:
        ask(broker, b"r 1", b"r 2", b"r 3")
        await trio.sleep(0.5)
        ask(broker, b"r 4", b"r 5", b"r 6")
        await running.worker.swap(service, executors=[Loaded(service, lambda _: 1.0)])
        await trio.sleep(0.5)
        await running.worker.swap(shout, version="3", executors=[VirtualExecutor(shout)])
        await running.until_settled(6)
    replies = {reply.correlation_id: reply for reply in taken(broker)}
    versions = [replies[str(number)].headers.get("rpcb-model-version") for number in range(1, 7)]
    assert versions == [None, None, "2", "2", "3", "3"]
    assert replies["4"].body == all_by("2", "r 4")
    assert trio.current_time() < 4
    assert replies["6"].body == b"R 6"


async def test_unload_first_unloads_before_it_loads_and_what_comes_meanwhile_waits(
    autojump_clock: MockClock,
) -> None:
    broker, story, old, new = MemoryBroker(), list[str](), Tagged("1"), Tagged("2")
    executors = [Loaded(old, lambda _: 1.0, story=story)]
    async with working(old, broker, batching=FixedPolicy(2, 0.1), executors=executors) as running:
        ask(broker, b"r 1", b"r 2", b"r 3")
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            executors = [Loaded(new, lambda _: 1.0, loading=5, story=story)]
            nursery.start_soon(partial(running.worker.swap, new, executors=executors, unload_first=True))
            await trio.sleep(2)
            ask(broker, b"r 4")
        await running.until_settled(4)
    assert by_version(broker) == {1: "1", 2: "1", 3: "2", 4: "2"}
    assert story[1:] == ["1 computed at 1", "1 closed at 1", "2 loaded at 6", "2 computed at 7", *story[5:]]


async def test_unload_first_loads_the_former_one_again_where_the_next_one_fails(
    autojump_clock: MockClock,
) -> None:
    broker, story, old, new = MemoryBroker(), list[str](), Tagged("1"), Tagged("2")
    failing = Loaded(new, loading=5, failure=WarmUpFailed("no weights"), story=story)
    async with working(old, broker, executors=[Loaded(old, loading=1, story=story)]) as running:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_failure, running, new, [failing])
            await trio.sleep(1)
            ask(broker, b"r 1")
        await running.until_settled(1)
        assert trio.current_time() == 7.0
    assert by_version(broker) == {1: "1"}


async def expect_failure(running: Running, service: Tagged, executors: Sequence[Loaded]) -> None:
    with pytest.raises(WarmUpFailed, match="no weights"):
        await running.worker.swap(service, executors=executors, unload_first=True)


async def test_unload_first_ends_the_worker_where_neither_can_be_loaded(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    executor = Loaded(old)
    failing = Loaded(new, failure=WarmUpFailed("no weights"))
    with pytest.RaisesExc(ExecutorHung, match="no device"):
        async with working(old, broker, executors=[executor]) as running:
            executor.failure = ExecutorHung(1.0)
            executor.failure.args = ("no device",)
            with pytest.raises(ExecutorHung, match="no device"):
                await running.worker.swap(new, executors=[failing], unload_first=True)
            await trio.sleep_forever()


async def test_a_drain_while_nothing_is_loaded_answers_what_is_held_once_something_is(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with working(old, broker, executors=[Loaded(old)]) as running, trio.open_nursery() as nursery:
        executors = [Loaded(new, loading=5)]
        nursery.start_soon(partial(running.worker.swap, new, executors=executors, unload_first=True))
        await trio.sleep(1)
        ask(broker, b"r 1")
        await trio.sleep(1)
        running.worker.drain()
    assert by_version(broker) == {1: "2"}


async def test_a_worker_with_nothing_to_answer_does_not_wait_for_a_model(autojump_clock: MockClock) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with trio.open_nursery() as nursery:
        async with working(old, broker, executors=[Loaded(old)]) as running:
            nursery.start_soon(partial(expect_interrupted, running, new, unload_first=True))
            await trio.sleep(2)
        assert trio.current_time() == 2.0
    assert (old.is_closed, new.is_closed) == (True, True)


async def test_a_worker_that_drains_waits_for_no_model_once_all_is_answered(
    autojump_clock: MockClock,
) -> None:
    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with trio.open_nursery() as nursery:
        executors = [Loaded(old, lambda _: 1.0) for _ in range(2)]
        async with working(old, broker, executors=executors) as running:
            ask(broker, b"r 1")
            await trio.sleep(0.5)
            nursery.start_soon(partial(expect_interrupted, running, new, 2, unload_first=True))
            await trio.sleep(1)
        assert trio.current_time() == 1.5
    assert by_version(broker) == {1: "1"}


async def test_a_worker_that_ends_while_its_model_is_unloaded_loads_no_other(
    autojump_clock: MockClock,
) -> None:
    class Slow(Loaded):
        async def aclose(self) -> None:
            await trio.sleep(3)
            await super().aclose()

    broker, old, new = MemoryBroker(), Tagged("1"), Tagged("2")
    async with trio.open_nursery() as nursery:
        async with working(old, broker, executors=[Slow(old)]) as running:
            nursery.start_soon(partial(expect_interrupted, running, new, unload_first=True))
            await trio.sleep(1)
        assert trio.current_time() == 3.0


async def test_unload_first_is_refused_for_a_model_that_can_not_be_unloaded() -> None:
    async with open_worker(Shouting(), MemoryBroker(), QUEUE, instruments=[]) as worker:
        with pytest.raises(SettingError, match=r"^unload_first needs .* the hook close, which frees what"):
            await worker.swap(Shouting(), unload_first=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"version": 3}, r"^version is 3; give text, as '2026-11'"),
        ({"version": ""}, r"^version has 0 characters; give 1 to 100"),
        ({"version": "é"}, r"^version is 'é'; use printable ASCII"),
        ({"executors": []}, r"^executors has 0 executor\(s\), and the worker has 1; give as many"),
        ({"service": dict}, r"^dict is not a service"),
    ],
    ids=["number", "empty", "accent", "executors", "service"],
)
async def test_what_is_wrong_with_a_swap_is_refused_in_one_line(
    arguments: dict[str, Any], message: str
) -> None:
    async with open_worker(shout, MemoryBroker(), QUEUE, instruments=[]) as worker:
        with pytest.raises(SettingError, match=message):
            await worker.swap(**{"service": shout} | arguments)


async def test_a_worker_with_executors_of_its_own_needs_new_ones() -> None:
    executor = ThreadExecutor(shout)
    async with open_worker(shout, MemoryBroker(), QUEUE, executors=[executor], instruments=[]) as worker:
        with pytest.raises(SettingError, match="was given its executors, so give new ones"):
            await worker.swap(shout)
        with pytest.raises(SettingError, match="one that the worker uses already"):
            await worker.swap(shout, executors=[executor])


class Heavy(Shouting):
    """Counts what is loaded."""

    alive: ClassVar = weakref.WeakSet[Any]()

    def warm_up(self) -> None:
        self.alive.add(self)

    def close(self) -> None:
        self.is_closed = True


async def test_a_thread_keeps_nothing_of_the_former_model_once_it_is_closed() -> None:
    broker = MemoryBroker()
    async with (
        open_worker(Heavy, broker, QUEUE, instruments=[]) as worker,
        open_client(broker) as client,
    ):
        former = weakref.ref(next(iter(Heavy.alive)))
        await client.call(b"good 1", queue=QUEUE, timeout=30)
        await worker.swap(Heavy)
        gc.collect()
        assert former() is None
        await worker.swap(Heavy(), unload_first=True)
        gc.collect()
        assert len(Heavy.alive) == 1


async def test_the_object_that_serves_already_is_no_other_version() -> None:
    service = Heavy()
    async with open_worker(service, MemoryBroker(), QUEUE, instruments=[]) as worker:
        with pytest.raises(SettingError, match=r"^Heavy is the object that serves already; give"):
            await worker.swap(service)


async def test_each_reply_names_the_version_an_error_reply_too_and_none_where_there_is_none(
    autojump_clock: MockClock,
) -> None:
    for version, expected in (("2026-11", "2026-11"), (None, None)):
        broker = MemoryBroker()
        async with working(Shouting(), broker, model_version=version) as running:
            ask(broker, b"good 1", b"sick 2", b"\xff 3")
            await running.until_settled(3)
        found = [reply.headers.get("rpcb-model-version") for reply in taken(broker)]
        assert found == [expected] * 3
