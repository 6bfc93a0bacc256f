"""asyncio for aiormq, under trio and under asyncio: its errors are sorted, and it leaves nothing behind."""

from __future__ import annotations

import asyncio  # noqa: TID251 - it is what the loop runs
import subprocess
import sys
from functools import partial

import pytest
import trio
import trio.testing
from aiormq.exceptions import AMQPConnectionError, ChannelInvalidStateError  # noqa: TID251 - as loops meet them

from rpcb_trio._transports._amqp._control._loop import AioLoop, BridgedLoop, Unwound, open_any_loop, open_loop
from rpcb_trio._transports._amqp._data._closing import Closing
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._amqp._url import parse_url
from rpcb_trio.errors import SessionLost


async def sleep_for_ever() -> None:
    await asyncio.Event().wait()


async def raise_this(exc: BaseException) -> None:
    raise exc


def connection_on(loop: AioLoop) -> Connection:
    return Connection(loop, parse_url("amqp://localhost", heartbeat=15), "test")


@pytest.mark.parametrize(
    "exc",
    [
        AMQPConnectionError("gone"),
        ChannelInvalidStateError("gone"),
        OSError("gone"),
        EOFError("gone"),
        TimeoutError("gone"),
        asyncio.CancelledError(OSError("gone")),
    ],
    ids=repr,
)
async def test_what_a_dying_connection_raises_is_a_lost_session(exc: BaseException) -> None:
    async with open_loop(SessionEnd()) as loop:
        with pytest.raises(SessionLost, match="gone"):
            await connection_on(loop).plane.call(lambda: raise_this(exc))


async def test_an_end_without_words_is_a_lost_session_too() -> None:
    async with open_loop(SessionEnd()) as loop:
        with pytest.raises(SessionLost, match="the connection has closed"):
            await connection_on(loop).plane.call(lambda: raise_this(asyncio.CancelledError()))


async def test_once_a_connection_has_ended_errors_of_any_type_are_its_consequences() -> None:
    async with open_loop(SessionEnd()) as loop:
        connection = connection_on(loop)

        async def end() -> None:
            connection.plane.closing = Closing("first")
            raise ZeroDivisionError

        for _ in range(2):
            with pytest.raises(SessionLost, match="first"):
                await connection.plane.call(end)


async def test_a_bug_in_what_a_connection_calls_stays_the_bug_it_is() -> None:
    async with open_loop(SessionEnd()) as loop:
        with pytest.raises(ZeroDivisionError):
            await connection_on(loop).plane.call(lambda: raise_this(ZeroDivisionError()))


async def test_the_first_reason_of_a_loss_counts_the_rest_are_its_consequences() -> None:
    loss = SessionEnd()
    loss.report("first")
    loss.report("second")
    with pytest.raises(SessionLost, match="first"):
        await loss.watch()


async def test_a_trio_cancellation_stays_one() -> None:
    async with open_loop(SessionEnd()) as loop:
        with trio.move_on_after(0.01) as scope:
            await loop.call(sleep_for_ever)
        assert scope.cancelled_caught


async def test_a_bug_stays_the_bug_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_loop(SessionEnd()) as loop:
            await loop.call(partial(raise_this, ZeroDivisionError()))


async def test_several_errors_of_the_body_come_out_as_the_body_raised_them() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_loop(SessionEnd()):
            raise ExceptionGroup("two", [ZeroDivisionError(), KeyError()])
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError, KeyError]


async def test_an_asyncio_task_that_fails_unasked_harms_nobody() -> None:
    async def start() -> None:
        asyncio.get_running_loop().create_task(raise_this(ZeroDivisionError()))

    async with open_loop(SessionEnd()) as loop:
        await loop.call(start)
        await loop.call(partial(asyncio.sleep, 0))


async def test_leaving_ends_every_asyncio_task() -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await sleep_for_ever()
        finally:
            ended.append("task")

    async def start() -> None:
        tasks.add(asyncio.get_running_loop().create_task(linger()))

    tasks: set[asyncio.Task[None]] = set()
    async with open_loop(SessionEnd()) as loop:
        await loop.call(start)
    assert ended == ["task"]


async def test_a_task_that_fails_while_it_is_ended_does_not_fail_the_session() -> None:
    async def die_hard() -> None:
        try:
            await sleep_for_ever()
        finally:
            raise ZeroDivisionError

    async def start() -> None:
        tasks.add(asyncio.get_running_loop().create_task(die_hard()))

    tasks: set[asyncio.Task[None]] = set()
    async with open_loop(SessionEnd()) as loop:
        await loop.call(start)


def test_asyncio_programs_keep_their_own_loop() -> None:
    program = """
import asyncio, threading
import rpcb_trio.amqp

async def kind():
    return type(asyncio.get_running_loop()).__module__

def tell():
    print(asyncio.run(kind()), type(asyncio.get_event_loop_policy()).__module__)

tell()
thread = threading.Thread(target=tell)
thread.start()
thread.join()
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told == "asyncio.unix_events asyncio.unix_events\n" * 2


INTERRUPTED = """
import asyncio, signal, trio
from rpcb_trio._transports._amqp._control._loop import open_loop
from rpcb_trio._transports._amqp._session_end import SessionEnd

async def interrupt():
    {how}
    await asyncio.sleep(0)

async def main():
    async with open_loop(SessionEnd()) as loop:
        await loop.call(interrupt)
        await trio.sleep_forever()

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    trio.run(main)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    "how",
    [
        "signal.raise_signal(signal.SIGINT)",
        "asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)",
        "asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGINT)",
    ],
    ids=["a call", "a callback", "a timer"],
)
def test_ctrl_c_in_asyncio_code_ends_the_program_and_not_the_loop_alone(how: str) -> None:
    """In a process of its own: where it ends the loop alone, the program hangs for ever."""
    command = [sys.executable, "-c", INTERRUPTED.format(how=how)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert told == "interrupted\n"


async def test_a_loop_that_breaks_down_is_a_lost_session() -> None:
    async def break_down() -> None:
        async with open_loop(SessionEnd()) as loop:
            assert isinstance(loop, BridgedLoop)
            loop._loop._nursery.start_soon(raise_this, OSError("broken"))
            await trio.sleep_forever()

    with pytest.raises(SessionLost, match="broken"):
        await break_down()


async def test_a_loop_that_breaks_down_under_several_tasks_leaves_their_own_errors() -> None:
    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async def break_down() -> None:
        async with open_loop(SessionEnd()) as loop, trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(loop, BridgedLoop)
            loop._loop._nursery.start_soon(raise_this, OSError("broken"))

    with pytest.raises(ExceptionGroup) as caught:
        await break_down()
    assert caught.group_contains(ZeroDivisionError)


async def test_a_loop_that_has_closed_is_a_lost_session() -> None:
    async with open_loop(SessionEnd()) as loop:
        pass
    with pytest.raises(SessionLost, match="closed"):
        await loop.call(partial(asyncio.sleep, 0))


async def unwound(loop: AioLoop) -> None:
    """aiormq tells the end of a connection by a cancellation that nobody has asked for."""
    with pytest.raises(Unwound):
        await loop.call(partial(raise_this, asyncio.CancelledError()))


def test_under_asyncio_a_cancellation_that_nobody_asked_for_is_told_apart_whatever_was_cancelled_before() -> (
    None
):
    async def program() -> None:
        async with open_any_loop(SessionEnd()) as loop:
            await unwound(loop)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
            await unwound(loop)

    asyncio.run(program())


def test_under_asyncio_a_cancellation_stays_one_and_reaches_what_runs() -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await sleep_for_ever()
        finally:
            ended.append("cancelled")

    async def program() -> None:
        async with open_any_loop(SessionEnd()) as loop:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await loop.call(linger)

    asyncio.run(program())
    assert ended == ["cancelled"]
