"""Queues with consumers, as RabbitMQ has them: prefetch, ack, nack, redelivery, expiry.

All of it is synchronous.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import msgspec
import trio

from rpcb_trio._messages import NO_HEADERS


class Message(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One message as it lies in a queue. `expires` is a reading of `trio.current_time()`."""

    body: bytes
    routing_key: str = ""
    reply_to: str | None = None
    correlation_id: str | None = None
    expiration: float | None = None
    expires: float | None = None
    priority: int = 0
    headers: Mapping[str, object] = NO_HEADERS
    content_type: str = "application/octet-stream"
    content_encoding: str | None = None
    redelivered: bool = False


class Consumer:
    """One consumer of one queue, with at most `prefetch` unacked deliveries."""

    def __init__(self, queue: Queue, prefetch: int, deliver: Callable[[int, Message], None]) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._unacked: dict[int, Message] = {}
        self._last_tag = 0

    @property
    def has_room(self) -> bool:
        """Whether one more delivery keeps within the prefetch."""
        return len(self._unacked) < self._prefetch

    def take(self, message: Message) -> None:
        """Deliver a message and remember it until it is settled."""
        self._last_tag += 1
        self._unacked[self._last_tag] = message
        self._deliver(self._last_tag, message)

    def ack(self, tag: int) -> None:
        """Settle a delivery: its message is gone for good."""
        del self._unacked[tag]
        self._queue.dispatch()

    def stop(self) -> None:
        """Take no more deliveries; those that are unacked can still be settled."""
        self._queue.remove(self)

    def close(self) -> None:
        """Stop, and requeue all that is unacked, in order."""
        self.stop()
        left = list(self._unacked.values())
        self._unacked.clear()
        self._queue.requeue(left)


class Queue:
    """A queue. Consumers with room get its messages in turn; expired ones are dropped at its head.

    Args:
        durable, arguments: as it was declared.
    """

    def __init__(self, *, durable: bool = True, arguments: Mapping[str, object] = NO_HEADERS) -> None:
        self.durable = durable
        self.arguments = arguments
        self._messages: deque[Message] = deque()
        self._consumers: deque[Consumer] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Append a message and deliver what can be delivered."""
        self._messages.append(message)
        self.dispatch()

    def requeue(self, messages: list[Message]) -> None:
        """Put messages back at the head, in order, marked as redelivered."""
        marked = [msgspec.structs.replace(message, redelivered=True) for message in messages]
        self._messages.extendleft(reversed(marked))
        self.dispatch()

    def consume(self, prefetch: int, deliver: Callable[[int, Message], None]) -> Consumer:
        """Add a consumer; `deliver(tag, message)` is called for each delivery."""
        consumer = Consumer(self, prefetch, deliver)
        self._consumers.append(consumer)
        self.dispatch()
        return consumer

    def remove(self, consumer: Consumer) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def get(self) -> Message | None:
        """Take the first message off the queue, without a consumer."""
        self._drop_expired()
        return self._messages.popleft() if self._messages else None

    def dispatch(self) -> None:
        """Deliver while there are messages and consumers with room, each consumer in turn."""
        self._drop_expired()
        while self._messages and (consumer := self._next_with_room()) is not None:
            consumer.take(self._messages.popleft())
            self._drop_expired()

    def _next_with_room(self) -> Consumer | None:
        for _ in range(len(self._consumers)):
            self._consumers.rotate(-1)
            if self._consumers[-1].has_room:
                return self._consumers[-1]
        return None

    def _drop_expired(self) -> None:
        now = trio.current_time()
        while self._messages and (expires := self._messages[0].expires) is not None and expires <= now:
            self._messages.popleft()
