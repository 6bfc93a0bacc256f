"""asyncio under trio: fast, fair, and with errors that trio code knows."""

from __future__ import annotations

import asyncio  # noqa: TID251 - it is what the loop runs
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
import trio
import trio.testing
from aiormq.exceptions import AMQPConnectionError, ChannelInvalidStateError  # noqa: TID251 - as loops meet them
from pamqp.commands import Basic  # noqa: TID251 - it has the frames
from pamqp.header import ContentHeader  # noqa: TID251 - it reads the properties

from rpcb_trio import SessionLost
from rpcb_trio._transports._amqp._loop import BURST, open_loop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._unreadable import Unreadable


async def sleep_for_ever() -> None:
    await asyncio.Event().wait()


async def raise_this(exc: BaseException) -> None:
    raise exc


@pytest.mark.parametrize(
    "exc",
    [
        AMQPConnectionError("gone"),
        ChannelInvalidStateError("gone"),
        OSError("gone"),
        EOFError("gone"),
        TimeoutError("gone"),
        Exception("gone"),
        asyncio.CancelledError(OSError("gone")),
    ],
    ids=repr,
)
async def test_what_a_dying_connection_raises_is_a_lost_session(exc: BaseException) -> None:
    async with open_loop(Loss()) as loop:
        with pytest.raises(SessionLost, match="gone"):
            await loop.call(raise_this, exc)


@pytest.mark.parametrize("exc", [asyncio.CancelledError(), Exception()], ids=repr)
async def test_an_end_without_words_is_a_lost_session_too(exc: BaseException) -> None:
    async with open_loop(Loss()) as loop:
        with pytest.raises(SessionLost, match="the connection has closed"):
            await loop.call(raise_this, exc)


async def test_a_reason_that_is_known_wins_over_its_consequences() -> None:
    loss = Loss()
    async with open_loop(loss) as loop:
        loss.report("first")
        loss.report("second")
        with pytest.raises(SessionLost, match="first"):
            await loop.call(raise_this, OSError("broken pipe"))
        with pytest.raises(SessionLost, match="first"):
            await loss.watch()


async def test_a_trio_cancellation_stays_one() -> None:
    async with open_loop(Loss()) as loop:
        with trio.move_on_after(0.01) as scope:
            await loop.call(sleep_for_ever)
        assert scope.cancelled_caught


async def test_a_bug_stays_the_bug_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_loop(Loss()) as loop:
            await loop.call(raise_this, ZeroDivisionError())


async def test_several_errors_of_the_body_come_out_as_the_body_raised_them() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_loop(Loss()):
            raise ExceptionGroup("two", [ZeroDivisionError(), KeyError()])
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError, KeyError]


async def test_an_asyncio_task_that_fails_unasked_harms_nobody() -> None:
    async def start() -> None:
        asyncio.get_running_loop().create_task(raise_this(ZeroDivisionError()))

    async with open_loop(Loss()) as loop:
        await loop.call(start)
        await loop.call(asyncio.sleep, 0)


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
    async with open_loop(Loss()) as loop:
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
    async with open_loop(Loss()) as loop:
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


def test_ctrl_c_during_a_callback_ends_the_program_and_not_the_loop_alone() -> None:
    async def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)

    async def main() -> None:
        async with open_loop(Loss()) as loop:
            await loop.call(interrupt)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


async def test_a_loop_that_breaks_down_is_a_lost_session() -> None:
    async def break_down() -> None:
        async with open_loop(Loss()) as loop:
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
        async with open_loop(Loss()) as loop, trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            loop._loop._nursery.start_soon(raise_this, OSError("broken"))

    with pytest.raises(ExceptionGroup) as caught:
        await break_down()
    assert caught.group_contains(ZeroDivisionError)


async def test_callbacks_run_in_bursts_but_trio_tasks_have_their_turn() -> None:
    turns: list[int] = []
    ran = 0

    async def count() -> None:
        nonlocal ran
        for _ in range(10 * BURST):
            ran += 1
            await asyncio.sleep(0)

    async def watch_turns() -> None:
        while ran < 10 * BURST:
            turns.append(ran)
            await trio.lowlevel.checkpoint()

    async with open_loop(Loss()) as loop, trio.open_nursery() as nursery:
        nursery.start_soon(watch_turns)
        await loop.call(count)
    longest = max(after - before for before, after in pairwise(turns))
    assert 10 < longest < 3 * BURST


async def test_unreadable_properties_are_borne_on_our_loops_only() -> None:
    table = b""
    for _ in range(2000):  # tables in tables, deeper than Python recurses
        table = b"\x01nF" + len(table).to_bytes(4) + table
    frame = b"\x00\x3c\x00\x00" + bytes(8) + b"\x20\x00" + len(table).to_bytes(4) + table

    async def read() -> ContentHeader:
        header = ContentHeader()
        header.unmarshal(frame)
        return header

    async with open_loop(Loss()) as loop:
        assert isinstance((await loop.call(read)).properties, Unreadable)
    with pytest.raises(RecursionError):
        await read()


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (Basic.Deliver, b"\x01t" + (2**40).to_bytes(8) + b"\x01" + b"\x01e" + b"\x03K\xff\xfe"),
        (Basic.Return, (312).to_bytes(2) + b"\x01t" + b"\x01e" + b"\x03K\xff\xfe"),
    ],
)
async def test_routing_keys_that_are_not_utf_8_are_borne_on_our_loops_only(
    frame: type[Basic.Deliver | Basic.Return], data: bytes
) -> None:
    async def read() -> dict[str, object]:
        made = frame()
        made.unmarshal(data)
        return dict(made)

    async with open_loop(Loss()) as loop:
        values = await loop.call(read)
    assert list(values.values()) in (
        ["t", 2**40, True, "e", "K\ufffd\ufffd"],
        [312, "t", "e", "K\ufffd\ufffd"],
    )
    with pytest.raises(UnicodeDecodeError):
        await read()


async def test_callbacks_keep_their_order_and_a_cancelled_one_does_not_run() -> None:
    ran: list[int] = []

    async def schedule() -> None:
        loop = asyncio.get_running_loop()
        handles = [loop.call_soon(ran.append, n) for n in range(3 * BURST)]
        handles[1].cancel()
        await asyncio.sleep(0)

    async with open_loop(Loss()) as loop:
        await loop.call(schedule)
        await loop.call(asyncio.sleep, 0)
    assert ran == [0, *range(2, 3 * BURST)]


async def test_nothing_is_scheduled_on_a_loop_that_has_closed() -> None:
    async with open_loop(Loss()) as loop:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        loop._loop.call_soon(print)


async def test_what_fails_while_a_loop_opens_is_not_mistaken_for_its_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("rpcb_trio._transports._amqp._loop._run_in_bursts", fail)
    with pytest.raises(ZeroDivisionError):
        async with open_loop(Loss()):
            pass
