"""Durable queues for replies: declared, looked at, consumed on channels of their own, deleted."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import anyio

from rpcb_trio._messages import NO_HEADERS, Reply
from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._data._closing import ACCESS_REFUSED, NOT_FOUND, ChannelRefused
from rpcb_trio._transports._amqp._data._connection import ASK_SECONDS, Connection, DataChannel
from rpcb_trio._transports._codec._frame_writer import ack
from rpcb_trio._transports._codec._frames import Delivery
from rpcb_trio._transports._codec._properties import Properties
from rpcb_trio.errors import PublishRefused, SessionLost, SettingError

ANSWER_SECONDS = 10.0
"""How long the broker may take; on a cluster it agrees with its peers before a queue is there."""


MOST_OPEN = 1000
"""Inboxes that are open at once; a channel is one of 2047 that RabbitMQ allows by default."""

T = TypeVar("T")


def reply_of(delivery: Delivery) -> Reply:
    """A delivery as a caller reads it that awaits a reply."""
    properties = delivery.properties or Properties()  # unreadable ones are the reply to no call
    return Reply(
        body=delivery.body,
        correlation_id=properties.correlation_id,
        headers=properties.headers or NO_HEADERS,
        content_type=properties.content_type or "application/octet-stream",
    )


class AmqpInboxes:
    """Implements `Inboxes`. It asks one thing at a time, on a channel that lasts until the broker refuses."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: ControlChannel | None = None
        self._turn = anyio.Lock()
        self._places = anyio.Semaphore(MOST_OPEN)

    async def declare(self, queue: str, *, unused: float, most: int | None = None) -> None:
        arguments: dict[str, object] = {"x-expires": round(unused * 1000)}
        if most is not None:
            arguments["x-max-length"] = most

        async def declare(channel: ControlChannel) -> None:
            await channel.declare_queue(queue, durable=True, arguments=arguments)

        await self._ask(queue, declare)

    async def depth(self, queue: str) -> int | None:
        async def look(channel: ControlChannel) -> int:
            return (await channel.declare_queue(queue, passive=True)).ready

        try:
            return await self._ask(queue, look)
        except LookupError:
            return None

    async def delete(self, queue: str) -> None:
        async def delete(channel: ControlChannel) -> None:
            await channel.delete_queue(queue)

        with suppress(LookupError):
            await self._ask(queue, delete)

    @asynccontextmanager
    async def open(self, queue: str, *, prefetch: int) -> AsyncIterator[AmqpInbox | None]:
        """Consume it, on a channel of its own; where too many are open, it waits for one to close."""
        async with self._places:
            inbox = await self._begun(queue, prefetch)
            try:
                yield inbox
            finally:
                if inbox is not None:
                    await inbox.end_consuming()

    async def _begun(self, queue: str, prefetch: int) -> AmqpInbox | None:
        async with self._turn, _answered():
            with _explained(queue):
                inbox = await self._connection.data_channel(AmqpInbox)
            try:
                with _explained(queue):
                    await inbox.control.limit_prefetch(prefetch)
                    await inbox.control.consume(queue)
            except LookupError:
                await inbox.end_consuming()
                return None
            except BaseException:
                await inbox.end_consuming()
                raise
            return inbox

    async def _ask(self, queue: str, question: Callable[[ControlChannel], Awaitable[T]]) -> T:
        async with self._turn, _answered():
            with _explained(queue):
                channel, self._channel = self._channel, None
                if channel is None or not channel.is_open:
                    channel = await self._connection.channel()
                answer = await question(channel)
                self._channel = channel
                return answer


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    """Bounds what the broker takes to answer, and lets nothing else cancel it: aiormq would lose count.

    Raises:
        SessionLost: it took too long.
    """
    with anyio.move_on_after(ANSWER_SECONDS, shield=True) as scope:
        yield
    if scope.cancelled_caught:
        raise SessionLost(f"the broker did not answer within {ANSWER_SECONDS:g} s")


class AmqpInbox(DataChannel):
    """Implements `Inbox`."""

    def __init__(self, connection: Connection, control: ControlChannel) -> None:
        super().__init__(connection, control)
        self._put, self.replies = anyio.create_memory_object_stream[tuple[int, Reply]](math.inf)
        self.take = self._receive
        self.end = lambda _: self._put.close()

    def ack(self, tag: int) -> None:
        if self.closing is None:
            self.connection.wire.write([ack(self._number, tag, multiple=False)])
            self.connection.wire.flush()

    async def end_consuming(self) -> None:
        """Close the channel; what was not acked goes back to the queue."""
        self._put.close()
        self.replies.close()
        with anyio.move_on_after(ASK_SECONDS, shield=True), suppress(SessionLost, ChannelRefused):
            await self.control.close()

    def _receive(self, deliveries: Sequence[Delivery]) -> None:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            for delivery in deliveries:
                self._put.send_nowait((delivery.tag, reply_of(delivery)))


@contextmanager
def _explained(queue: str) -> Iterator[None]:
    """Turn the broker's refusals into ours; into a LookupError where there is no such queue."""
    try:
        yield
    except ChannelRefused as exc:
        if exc.code == NOT_FOUND and "down or inaccessible" in str(exc):  # its node may come back
            raise SessionLost(str(exc)) from exc
        if exc.code == NOT_FOUND:
            raise LookupError(queue) from exc
        if exc.code == ACCESS_REFUSED:
            remedy = "grant configure, write and read on such names"
            raise PublishRefused(f"the user may not use queue {queue!r}; {remedy} ({exc})") from exc
        raise PublishRefused(f"the broker will not have queue {queue!r} ({exc})") from exc
    except (ValueError, TypeError) as exc:  # the codec's, before anything is sent
        raise SettingError(f"queue {queue!r} can't be put into AMQP: {exc}") from exc
