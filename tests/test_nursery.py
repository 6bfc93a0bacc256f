"""A serving nursery: its tasks serve a body, and the body's errors come out as they went in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio._nursery import open_serving_nursery


async def crash() -> None:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


async def test_an_error_of_the_body_ends_the_tasks_and_leaves_unwrapped() -> None:
    async def fail() -> None:
        async with open_serving_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()


async def crash_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crash)


@pytest.mark.parametrize("task", [crash, crash_in_a_nursery])
async def test_an_error_of_a_task_cancels_the_body_and_leaves_unwrapped(
    task: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    async def wait() -> None:
        async with open_serving_nursery() as nursery:
            nursery.start_soon(task)
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError) as caught:
        await wait()
    assert caught.value.__context__ is None


async def test_where_the_body_fails_while_it_is_cancelled_for_a_task_both_errors_leave() -> None:
    async def fail() -> None:
        async with open_serving_nursery() as nursery:
            nursery.start_soon(crash)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await fail()
    assert caught.group_contains(ZeroDivisionError, depth=2)
    assert caught.group_contains(KeyError, depth=1)


async def test_errors_of_several_tasks_leave_in_a_group() -> None:
    async def crash_at_once() -> None:
        raise ZeroDivisionError

    async def wait() -> None:
        async with open_serving_nursery() as nursery:
            nursery.start_soon(crash_at_once)
            nursery.start_soon(crash_at_once)

    with pytest.raises(ExceptionGroup) as caught:
        await wait()
    assert len(caught.value.exceptions) == 2


async def test_leaving_it_waits_for_the_tasks(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    async with open_serving_nursery() as nursery:
        nursery.start_soon(trio.sleep, 5)
    assert trio.current_time() - started == 5


async def test_cancelling_it_from_inside_is_its_own_affair() -> None:
    async with open_serving_nursery() as nursery:
        nursery.cancel_scope.cancel()
        await trio.sleep_forever()
    await trio.lowlevel.checkpoint()


async def test_cancelling_around_it_reaches_the_body_and_the_tasks() -> None:
    with trio.CancelScope() as scope:
        async with open_serving_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
