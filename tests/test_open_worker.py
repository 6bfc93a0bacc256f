"""`open_worker`: a worker beside the body of an `async with`, and its errors as they are."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import anyio
import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, SettingError, Worker, open_worker, serve
from rpcb_trio.errors import DrainTimeout, ExecutorHung, WarmUpFailed
from rpcb_trio.testing import VirtualExecutor
from tests.scenarios import QUEUE, Shouting, answers, ask


class Hanging(VirtualExecutor):
    """Is given up an hour after it was asked."""

    async def infer(self, items: Sequence[object]) -> Sequence[object]:
        await trio.sleep(3600 * len(items))
        raise ExecutorHung(3600)


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


async def test_entering_returns_when_it_consumes_and_leaving_answers_what_it_holds(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    executor = VirtualExecutor(shout, lambda _: 10.0)
    async with open_worker(shout, broker, QUEUE, executors=[executor]) as worker:
        assert isinstance(worker, Worker)
        ask(broker, b"good 1")
        await trio.sleep(1)
        assert worker.held == 1
    assert worker.held == 0
    assert answers(broker) == {"1": b"GOOD 1"}


async def test_a_worker_that_the_body_drained_leaves_it_alone(autojump_clock: MockClock) -> None:
    async with open_worker(shout, MemoryBroker(), QUEUE, executors=[VirtualExecutor(shout)]) as worker:
        worker.drain()
        await trio.sleep(60)


async def test_what_the_worker_can_not_start_with_is_raised_as_it_is() -> None:
    with pytest.raises(SettingError, match="prefetch is 1"):
        async with open_worker(shout, MemoryBroker(), QUEUE, prefetch=1):
            pytest.fail("it was entered")


async def test_a_warm_up_that_fails_is_raised_as_it_is_and_in_one_line() -> None:
    class Classifier(Shouting):
        def warm_up(self) -> None:
            raise ValueError("classifier.pt is missing")

    told = r"^Classifier: warm_up failed: ValueError: classifier.pt is missing \(test_open_worker.py:\d+ in "
    with pytest.raises(WarmUpFailed, match=told):
        async with open_worker(Classifier(), MemoryBroker(), QUEUE):
            pytest.fail("it was entered")


async def test_a_worker_that_fails_cancels_a_body_that_waits_for_ever_and_its_error_is_raised_as_it_is(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    with pytest.raises(ExecutorHung):
        async with open_worker(shout, broker, QUEUE, executors=[Hanging(shout)]):
            await trio.sleep_forever()


async def test_a_drain_that_takes_too_long_is_raised_as_it_is(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    with pytest.raises(DrainTimeout):
        async with open_worker(shout, broker, QUEUE, executors=[Hanging(shout)], drain_timeout=5.0):
            await trio.sleep(1)


async def test_an_error_of_the_body_ends_the_worker_at_once_and_what_it_held_is_redelivered(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")

    async def fail() -> None:
        async with open_worker(shout, broker, QUEUE, executors=[Hanging(shout)]):
            await trio.sleep(1)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert trio.current_time() < 60
    async with open_worker(shout, broker, QUEUE, executors=[VirtualExecutor(shout)]):
        await trio.sleep(1)
    assert answers(broker) == {"1": b"GOOD 1"}


async def test_cancelling_around_it_ends_both(autojump_clock: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        async with open_worker(shout, MemoryBroker(), QUEUE, executors=[VirtualExecutor(shout)]):
            await trio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("way", [serve, open_worker])
def test_under_asyncio_it_says_how_to_run_it_in_one_line(way: object) -> None:
    async def embed() -> None:
        if way is serve:
            await serve(shout, MemoryBroker(), QUEUE)
        async with open_worker(shout, MemoryBroker(), QUEUE):
            pytest.fail("it was entered")

    with pytest.raises(SettingError, match=r"trio.run\(...\).* python -m rpcb_trio serve$") as caught:
        anyio.run(embed, backend="asyncio")
    assert "\n" not in str(caught.value)


def test_it_shows_the_settings_of_serve() -> None:
    shown, settings = inspect.signature(open_worker), inspect.signature(serve)
    assert [*shown.parameters, "task_status"] == [*settings.parameters]
