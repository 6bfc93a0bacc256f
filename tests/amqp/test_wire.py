"""The socket that both planes share, under trio and under asyncio."""

from __future__ import annotations

import socket
import ssl
from functools import partial

import anyio
import pytest

from rpcb_trio._transports._amqp._data._wire import LARGEST_READ, Wire, start_tls
from tests.amqp.wires import AUTHORITY, LONGEST, Heard, pair, taken, tls_server, under_both, wired

FRAMES = [bytes([number % 256]) * (37 * number % 5000) for number in range(400)]


@under_both
async def test_frames_arrive_whole_and_in_order_though_the_socket_takes_little_at_a_time() -> None:
    near, far = pair()
    with far:
        async with wired(near) as (wire, _):
            for at in range(0, len(FRAMES), 4):
                wire.write(FRAMES[at : at + 3])
                wire.write([memoryview(each) for each in FRAMES[at + 3 : at + 4]])
                wire.flush()
                await anyio.lowlevel.checkpoint()
            whole = b"".join(FRAMES)
            assert await taken(far, len(whole)) == whole
            await wire.drained()
            assert wire.is_drained


@under_both
async def test_what_is_written_leaves_with_the_flush_and_at_once_where_the_socket_takes_it() -> None:
    near, far = pair()
    far.settimeout(0)
    with far:
        async with wired(near) as (wire, _):
            wire.write([b"a", b"b"])
            with pytest.raises(BlockingIOError):
                far.recv(10)
            wire.flush()
            assert far.recv(10) == b"ab"
            assert wire.is_drained
            wire.flush()
            with pytest.raises(BlockingIOError):
                far.recv(10)


@under_both
async def test_what_the_socket_does_not_take_waits_and_what_follows_waits_behind_it() -> None:
    near, far = pair()
    with far:
        async with wired(near) as (wire, _):
            wire.write([b"x" * 10**6])
            wire.flush()
            wire.write([b"y"])
            wire.flush()
            await anyio.wait_all_tasks_blocked()
            assert not wire.is_drained
            assert await taken(far, 10**6 + 1) == b"x" * 10**6 + b"y"
            await wire.drained()


@under_both
async def test_what_comes_is_taken_while_nothing_can_be_sent() -> None:
    near, far = pair()
    with far:
        async with wired(near) as (wire, heard):
            wire.write([b"x" * 10**6])
            wire.flush()
            await anyio.to_thread.run_sync(far.sendall, b"y" * 10**5)
            assert await heard.until(10**5) == b"y" * 10**5
            assert not wire.is_drained


@under_both
async def test_more_than_the_largest_read_is_taken_in_order() -> None:
    near, far = socket.socketpair()
    sent = bytes(range(256)) * (3 * LARGEST_READ // 256)
    with far:
        async with wired(near) as (_, heard), anyio.create_task_group() as tasks:
            tasks.start_soon(partial(anyio.to_thread.run_sync, far.sendall, sent))
            assert await heard.until(len(sent)) == sent


@under_both
async def test_a_cut_while_sending_ends_the_wait_for_it_and_is_no_news() -> None:
    near, far = pair()
    with far:
        async with wired(near) as (wire, heard), anyio.create_task_group() as tasks:
            wire.write([b"x" * 10**6])
            wire.flush()
            tasks.start_soon(wire.drained)
            await anyio.wait_all_tasks_blocked()
            wire.cut()
        assert heard.ends == []
        wire.write([b"more"])
        wire.flush()
        await wire.drained()


@under_both
async def test_a_wire_that_is_cut_before_it_runs_closes_its_socket() -> None:
    near, far = pair()
    with far:
        heard = Heard()
        wire = Wire(near, heard.take, heard.end)
        wire.cut()
        await wire.run()
        assert (near.fileno(), heard.ends) == (-1, [])


@under_both
async def test_nothing_is_taken_after_a_cut() -> None:
    near, far = pair()
    with far:
        async with wired(near) as (wire, heard):
            far.sendall(b"a")
            await heard.until(1)
            wire.cut()
            far.sendall(b"b")
        assert heard.data == b"a"


@under_both
async def test_a_broker_that_hangs_up_is_told_once_and_without_an_error() -> None:
    near, far = pair()
    async with wired(near) as (wire, heard):
        far.close()
        await heard.has_ended.wait()
        wire.write([b"too late"])
        wire.flush()
        await wire.drained()
    assert heard.ends == [None]


@under_both
async def test_what_the_broker_said_last_is_taken_though_the_socket_takes_no_more() -> None:
    near, far = pair()
    async with wired(near) as (wire, heard):
        far.sendall(b"why I close")
        far.close()
        wire.write([b"x"])
        wire.flush()
        await heard.has_ended.wait()
        await wire.drained()
    assert heard.data == b"why I close"
    assert len(heard.ends) == 1


@under_both
async def test_a_socket_that_fails_while_it_is_waited_for_is_told_once() -> None:
    near, far = pair()
    async with wired(near) as (wire, heard):
        wire.write([b"x" * 10**6])
        wire.flush()
        far.close()
        await heard.has_ended.wait()
        await wire.drained()
    assert len(heard.ends) == 1


@under_both
async def test_only_a_cut_ends_it_no_cancellation_does() -> None:
    near, far = pair()
    heard = Heard()
    wire = Wire(near, heard.take, heard.end)
    with far:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.run)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                far.sendall(b"goodbye")
                assert await heard.until(7) == b"goodbye"
                wire.write([b"goodbye too"])
                wire.flush()
                assert await taken(far, 11) == b"goodbye too"
            wire.cut()


@under_both
async def test_over_tls_it_goes_both_ways_whole_and_in_order() -> None:
    sent = bytes(range(256)) * 4096
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    async with tls_server(len(sent)) as near:
        async with wired(await start_tls(near, context, "localhost")) as (wire, heard):
            wire.write([sent[:100], sent[100:]])
            wire.flush()
            assert await heard.until(len(sent)) == sent
            await wire.drained()
        assert heard.ends == []


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize(("host", "is_trusted"), [("localhost", False), ("elsewhere", True)])
def test_tls_with_a_broker_that_is_not_to_be_trusted_closes_the_socket(
    backend: str,
    host: str,
    is_trusted: bool,  # noqa: FBT001 - a case of the test
) -> None:
    async def agree() -> None:
        context = ssl.create_default_context()
        if is_trusted:
            AUTHORITY.configure_trust(context)
        async with tls_server(1) as near:
            with anyio.fail_after(LONGEST), pytest.raises(ssl.SSLCertVerificationError):
                await start_tls(near, context, host)
            assert near.fileno() == -1

    anyio.run(agree, backend=backend)
