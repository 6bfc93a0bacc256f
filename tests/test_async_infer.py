"""An `infer` that is async: a task on the event loop, in virtual time throughout."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import (
    FixedPolicy,
    MemoryBroker,
    SettingError,
    ThreadExecutor,
    open_client,
    open_worker,
)
from rpcb_trio._executors._model import Model
from rpcb_trio._service import bind
from rpcb_trio.errors import DrainTimeout, InferError, OutcomeError, WarmUpFailed
from rpcb_trio.executors import AsyncExecutor
from rpcb_trio.testing import Recorder, in_place, push_batch, served
from tests.scenarios import ask


async def lengths(texts: list[str]) -> list[int]:
    """Takes a second; `hang` never ends, `fail` fails with all that are beside it."""
    await trio.sleep(1)
    if "hang" in texts:
        await trio.sleep_forever()
    if "fail" in texts:
        raise ValueError("fail")
    return [len(text) for text in texts]


async def raw(bodies: list[bytes]) -> list[bytes]:
    await trio.lowlevel.checkpoint()
    return bodies


class Calling:
    async def __call__(self, texts: list[str]) -> list[int]:
        return await lengths(texts)


class Hooked:
    """Its hooks are async too."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def warm_up(self) -> None:
        await trio.sleep(1)
        self.calls.append("warm_up")

    async def infer(self, texts: list[str]) -> list[int]:
        self.calls.append("infer")
        return await lengths(texts)

    async def close(self) -> None:
        await trio.sleep(1)
        self.calls.append("close")


@pytest.mark.parametrize(
    "service",
    [lengths, functools.partial(lengths), Calling(), Hooked, Hooked().infer],
    ids=["function", "partial", "callable object", "class", "bound method"],
)
async def test_whatever_is_async_is_a_service(service: Any, autojump_clock: MockClock) -> None:
    assert bind(service).is_async
    assert [reply.body for reply in await push_batch(service, [b'"ab"', b'"abc"'])] == [b"2", b"3"]


async def test_bodies_as_they_are_can_be_awaited_too(autojump_clock: MockClock) -> None:
    assert [reply.body for reply in await push_batch(raw, [b"ab"])] == [b"ab"]


async def test_it_is_served_in_virtual_time(autojump_clock: MockClock) -> None:
    async with served(lengths, service_time=lambda _: 2.0) as worker:
        assert (await worker.call(b'"abc"')).body == b"3"
    assert worker.recorder.service_times == [3.0]


async def answered(
    texts: list[str], executors: list[AsyncExecutor], **settings: Any
) -> dict[str, str | None]:
    """The error of each, or None; they are asked at once."""
    broker = MemoryBroker()
    found: dict[str, str | None] = {}

    async def call(text: str) -> None:
        reply = await client.call(f'"{text}"'.encode(), queue="q", timeout=99.0)
        found[text] = reply.error

    async with (
        open_worker(
            lengths, broker, "q", executors=executors, offload=in_place, decode_threads=1, **settings
        ),
        open_client(broker) as client,
        trio.open_nursery() as nursery,
    ):
        for text in texts:
            nursery.start_soon(call, text)
    return found


async def test_as_many_batches_are_in_flight_as_there_are_executors(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    executors = [AsyncExecutor(lengths) for _ in range(4)]
    await answered(list("abcd"), executors, batching=FixedPolicy(1))
    assert trio.current_time() - started == 1.0


async def test_what_takes_longer_than_infer_timeout_is_cancelled_and_fails_alone(
    autojump_clock: MockClock,
) -> None:
    executors = [AsyncExecutor(lengths, infer_timeout=5)]
    found = await answered(["a", "hang", "bc", "d"], executors, batching=FixedPolicy(4, 0.5))
    assert found == {"a": None, "bc": None, "d": None, "hang": "infer"}


async def test_what_raises_fails_alone(autojump_clock: MockClock) -> None:
    found = await answered(["a", "fail", "b"], [AsyncExecutor(lengths)], batching=FixedPolicy(3, 0.5))
    assert found == {"a": None, "b": None, "fail": "infer"}


async def test_a_drain_that_takes_too_long_cancels_it_and_its_request_is_back_in_the_queue(
    autojump_clock: MockClock,
) -> None:
    ended: list[str] = []

    async def careful(texts: list[str]) -> list[int]:
        try:
            return await lengths(texts)
        finally:
            ended.append("cancelled")

    broker = MemoryBroker()
    ask(broker, b'"hang"')
    with pytest.raises(DrainTimeout):
        async with open_worker(
            careful,
            broker,
            "work",
            executors=[AsyncExecutor(careful)],
            offload=in_place,
            drain_timeout=3.0,
        ):
            await trio.sleep(2)
    assert ended == ["cancelled"]
    assert broker.get("work") is not None


async def clumsy(texts: list[str]) -> list[int]:
    """Raises errors of its own while it is cancelled, in a nursery of its own."""

    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("at the end")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_at_the_end)
        nursery.start_soon(trio.sleep_forever)
    return []


async def test_what_its_tasks_raise_while_it_is_cancelled_ends_no_worker(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await AsyncExecutor(clumsy).infer(["a"])
    assert scope.cancelled_caught
    with pytest.raises(OutcomeError):
        await AsyncExecutor(clumsy, infer_timeout=1).infer(["a"])


async def ending(texts: list[str]) -> list[int]:
    raise SystemExit(3)


async def test_an_exit_within_it_fails_its_request_and_ends_no_worker(autojump_clock: MockClock) -> None:
    with pytest.raises(InferError, match="SystemExit"):
        await AsyncExecutor(ending).infer(["a"])


async def test_warm_up_and_close_are_awaited(autojump_clock: MockClock) -> None:
    service = Hooked()
    executor = AsyncExecutor(service)
    await executor.warm_up()
    assert executor.frees
    await executor.infer(["a"])
    await executor.aclose()
    assert service.calls == ["warm_up", "infer", "close"]


class Unready(Hooked):
    async def warm_up(self) -> None:
        raise OSError("no such host")


async def test_a_warm_up_that_raises_is_told_as_any_other(autojump_clock: MockClock) -> None:
    with pytest.raises(WarmUpFailed, match=r"Unready: warm_up failed: OSError: no such host \(test_async"):
        await AsyncExecutor(Unready()).warm_up()


def plain(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ThreadExecutor(lengths), "lengths: infer is async, .*; leave executor out, or use"),
        (lambda: Model(bind(lengths)), "lengths: infer is async"),
        (
            lambda: AsyncExecutor(plain),
            "plain: infer is a plain function, which an AsyncExecutor can't await",
        ),
    ],
    ids=["thread", "process", "task"],
)
def test_an_executor_of_the_other_kind_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        make()


async def test_serve_chooses_the_executor_by_the_service(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    broker = MemoryBroker()
    async with (
        open_worker(Hooked, broker, "q", replicas=3, offload=in_place, instruments=[recorder]),
        open_client(broker) as client,
    ):
        reply = await client.call(b'"ab"', queue="q", timeout=20)
    assert reply.body == b"2"
    assert recorder.setups[0].executors == 3
