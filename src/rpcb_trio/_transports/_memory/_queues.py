"""Queues with consumers, as RabbitMQ has them: prefetch, ack, nack, redelivery, expiry.

All of it is synchronous.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

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
    """One consumer of one queue, with at most `prefetch` unacked deliveries beside those that are older."""

    def __init__(self, queue: Queue, prefetch: int, deliver: Callable[[int, Message], None]) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self.priority = 0
        self._deliver = deliver
        self._unacked: dict[int, Message] = {}
        self._older: dict[int, Message] = {}
        """Unacked from before the last `renew`."""
        self._last_tag = 0

    @property
    def has_room(self) -> bool:
        """Whether one more delivery keeps within the prefetch."""
        return len(self._unacked) < self._prefetch

    def room_without(self, tags: Iterable[int]) -> int:
        """The room once these deliveries are settled."""
        settled = sum(1 for tag in tags if tag in self._unacked)
        return max(0, self._prefetch - len(self._unacked) + settled)

    def renew(self, prefetch: int, priority: int) -> None:
        """Have another prefetch and priority from now on; none with a prefetch of 0."""
        self.stop()
        self._older |= self._unacked
        self._unacked.clear()
        self._prefetch, self.priority = prefetch, priority
        if prefetch:
            self._queue.add(self)

    def take(self, message: Message) -> None:
        """Deliver a message and remember it until it is settled."""
        self._last_tag += 1
        self._unacked[self._last_tag] = message
        self._deliver(self._last_tag, message)

    def ack(self, tag: int) -> None:
        """Settle a delivery: its message is gone for good."""
        del (self._unacked if tag in self._unacked else self._older)[tag]
        self._queue.dispatch()

    def stop(self) -> None:
        """Take no more deliveries; those that are unacked can still be settled."""
        self._prefetch = 0
        self._queue.remove(self)

    def close(self) -> None:
        """Stop, and requeue all that is unacked, in order."""
        self.stop()
        left = [*self._older.values(), *self._unacked.values()]
        self._older.clear()
        self._unacked.clear()
        self._queue.requeue(left)


class Queue:
    """A queue; its messages that expire are dropped at its head.

    Of the consumers with room, those of the highest priority get its messages, in turn.

    Args:
        durable, arguments: as it was declared.
    """

    def __init__(self, *, durable: bool = True, arguments: Mapping[str, object] = NO_HEADERS) -> None:
        self.durable = durable
        self.arguments = arguments
        self._messages: deque[Message] = deque()
        self._consumers: deque[Consumer] = deque()
        self.gone = trio.Event()
        """Set when it is deleted."""

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def consumers(self) -> int:
        """How many there are."""
        return len(self._consumers)

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
        self.add(consumer)
        return consumer

    def add(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)
        self.dispatch()

    def remove(self, consumer: Consumer) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def get(self) -> Message | None:
        """Take the first message off the queue, without a consumer."""
        self._drop_expired()
        return self._messages.popleft() if self._messages else None

    def dispatch(self) -> None:
        """Deliver while there are messages and consumers with room."""
        self._drop_expired()
        while self._messages and (consumer := self._next_with_room()) is not None:
            self._consumers.remove(consumer)
            self._consumers.append(consumer)
            consumer.take(self._messages.popleft())
            self._drop_expired()

    def _next_with_room(self) -> Consumer | None:
        found: Consumer | None = None
        for each in self._consumers:
            if each.has_room and (found is None or each.priority > found.priority):
                found = each
        return found

    def _drop_expired(self) -> None:
        now = trio.current_time()
        while self._messages and (expires := self._messages[0].expires) is not None and expires <= now:
            self._messages.popleft()
