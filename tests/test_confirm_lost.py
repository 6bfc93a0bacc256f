"""A client whose connection breaks between a reply and the broker's confirm of its request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, open_client
from rpcb_trio._messages import Outgoing
from rpcb_trio._transports import CallerSession
from rpcb_trio.errors import CallInterrupted, RpcbError, SessionLost
from tests.scenarios import QUEUE, Shouting, working


class Unconfirming(MemoryBroker):
    """Its connections break `after` so many seconds in the wait for a confirm."""

    after = 1.0

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        async with super().open_caller() as session, trio.open_nursery() as nursery:
            publish = session.publish

            async def break_down(failed: Callable[[RpcbError], None]) -> None:
                await trio.sleep(self.after)
                failed(SessionLost("gone"))

            async def publish_and_break(
                request: Outgoing,
                failed: Callable[[RpcbError], None],
                confirmed: object = None,
            ) -> None:
                await publish(request, failed)
                nursery.start_soon(break_down, failed)

            session.publish = publish_and_break  # type: ignore[method-assign] # to meddle with it
            yield session


@pytest.mark.parametrize("is_noticed_elsewhere", [True, False])
async def test_a_reply_that_came_before_its_confirm_is_kept_when_the_connection_breaks_in_the_gap(
    autojump_clock: MockClock, *, is_noticed_elsewhere: bool
) -> None:
    broker = Unconfirming()
    async with working(Shouting(), broker), open_client(broker) as client:
        if is_noticed_elsewhere:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disconnect_at, broker, 0.5)
                reply = await client.call(b"good 1", queue=QUEUE)
        else:
            reply = await client.call(b"good 1", queue=QUEUE)
    assert reply.body == b"ok:GOOD 1"
    assert client.late_replies == 0


async def disconnect_at(broker: MemoryBroker, seconds: float) -> None:
    await trio.sleep(seconds)
    broker.disconnect()


async def test_a_call_without_a_reply_is_interrupted_when_its_confirm_is_lost(
    autojump_clock: MockClock,
) -> None:
    broker = Unconfirming()
    broker.declare(QUEUE)
    async with open_client(broker) as client:
        with pytest.raises(CallInterrupted, match="the connection was lost: gone"):
            await client.call(b"good 1", queue=QUEUE)


class AnsweringAndBreaking(MemoryBroker):
    """Its reply and the loss come in the same moment."""

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        async with super().open_caller() as session:

            async def answer_and_break(
                request: Outgoing,
                failed: Callable[[RpcbError], None],
                confirmed: object = None,
            ) -> None:
                await trio.lowlevel.checkpoint()
                address = session._address  # type: ignore[attr-defined] # of the memory transport
                self.publish(b"ok", routing_key=address, correlation_id=request.correlation_id)
                self.disconnect()
                raise SessionLost("gone")

            session.publish = answer_and_break  # type: ignore[method-assign] # to meddle with it
            yield session


async def test_a_reply_that_comes_in_the_moment_of_the_loss_is_kept(autojump_clock: MockClock) -> None:
    for _ in range(20):  # trio has the tasks take turns by chance
        async with open_client(AnsweringAndBreaking()) as client:
            assert (await client.call(b"", queue=QUEUE)).body == b"ok"
