"""A serving nursery: its tasks serve a body, and the body's errors come out as they went in."""

from __future__ import annotations

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


async def test_an_error_of_a_task_ends_the_body_and_comes_in_a_group() -> None:
    async def wait() -> None:
        async with open_serving_nursery() as nursery:
            nursery.start_soon(crash)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await wait()
    assert caught.group_contains(ZeroDivisionError)


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
