"""Executors that compute step by step, in real threads and processes: so no clock here jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from rpcb_trio import Failure, ProcessExecutor, Success, ThreadExecutor
from rpcb_trio._executors import DiedTogether, Streaming
from rpcb_trio._executors._relay import AHEAD
from rpcb_trio._parts import END
from rpcb_trio.errors import ExecutorHung, InferError, KilledWorker
from tests import streaming_items

PATIENCE = 30.0


class Parts:
    """Takes steps; is slow if told so, and has an item left once it has so many parts."""

    def __init__(self, *, leaves: dict[int, int] | None = None) -> None:
        self.taken = dict[int, list[Any]]()
        self.may_take = trio.Event()
        self.may_take.set()
        self._leaves = leaves or {}

    def begin(self) -> None:
        self.taken.clear()

    async def take(self, steps: Sequence[Sequence[tuple[int, Any]]]) -> Collection[int]:
        await self.may_take.wait()
        for number, found in (each for step in steps for each in step):
            self.taken.setdefault(number, []).append(found.value if isinstance(found, Success) else found)
        return [item for item, most in self._leaves.items() if len(self.taken.get(item, ())) >= most]


@asynccontextmanager
async def process(**settings: Any) -> AsyncIterator[ProcessExecutor]:
    executor = ProcessExecutor(streaming_items.Streaming, **settings)
    try:
        await executor.warm_up()
        yield executor
    finally:
        executor.close()


async def streamed(executor: Streaming, *items: Any, whole: Collection[int] = (), **leaves: Any) -> Any:
    sink = Parts(**leaves)
    with trio.fail_after(PATIENCE):
        await executor.stream(items, whole, sink)
    return sink.taken


async def check_steps(executor: ThreadExecutor | ProcessExecutor) -> None:
    infer = executor.infer
    assert isinstance(executor, Streaming)  # as the pipeline asks
    assert await streamed(executor, 2, 1, 2, whole={2}) == {
        0: ["2.0", "2.1", END],
        1: ["1.0", END],
        2: [["2.0", "2.1"]],
    }
    left = await streamed(executor, 10_000, 2, leaves={0: 5})
    assert left[1] == ["2.0", "2.1", END]
    assert 5 <= len(left[0]) < 10_000
    with pytest.raises(InferError, match="ZeroDivisionError"):
        await streamed(executor, "raise", 3)
    assert await streamed(executor, 1) == {0: ["1.0", END]}
    assert [each.value for each in await infer([1, 2]) if isinstance(each, Success)] == [
        ["1.0"],
        ["2.0", "2.1"],
    ]


async def test_a_thread_gives_steps_in_order_and_what_is_wanted_whole_joined() -> None:
    await check_steps(ThreadExecutor(streaming_items.Streaming()))


async def test_a_process_does_so_too_and_survives_parts_that_can_not_be_passed_and_its_own_deaths() -> None:
    async with process(max_deaths=1) as executor:
        await check_steps(executor)
        with pytest.raises(InferError, match="can't be sent"):
            await streamed(executor, "unpicklable")
        assert await streamed(executor, 1) == {0: ["1.0", END]}
        with pytest.raises(DiedTogether):
            await streamed(executor, 1, "die together")
        [failed] = (await streamed(executor, "die"))[0]
        assert await streamed(executor, 1) == {0: ["1.0", END]}
    assert isinstance(failed, Failure)
    assert isinstance(failed.error, KilledWorker)


async def test_a_step_that_takes_too_long_ends_the_executor_though_earlier_ones_did_not() -> None:
    executor = ThreadExecutor(streaming_items.Streaming(), infer_timeout=0.05)
    with pytest.raises(ExecutorHung):
        await streamed(executor, "hang")


async def test_a_stream_runs_in_one_thread_some_steps_ahead_and_ends_where_it_is_cancelled() -> None:
    service = streaming_items.Streaming()
    executor, sink = ThreadExecutor(service), Parts()
    sink.may_take = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.stream, [10_000], (), sink)
        assert await trio.to_thread.run_sync(service.is_ahead.wait, PATIENCE)
        nursery.cancel_scope.cancel()
    with trio.fail_after(PATIENCE):
        await executor.idle()
    assert (service.computed, service.closed, len(service.threads)) == (AHEAD + 1, 1, 1)
