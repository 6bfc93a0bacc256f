"""Where a message goes: to queues by name or by binding, to a caller by its direct reply-to address."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import msgspec
import trio

from rpcb_trio._messages import DIRECT_REPLY_TO, Reply
from rpcb_trio._transports._memory._queues import Message, Queue


class Router:
    """The embedded broker's queues, bindings and callers."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self._bindings: dict[tuple[str, str], set[str]] = {}
        self._callers: dict[str, Callable[[Reply], None]] = {}
        self._tokens = count(1)

    def declare(self, queue: str) -> None:
        """Create a queue, if it is not there."""
        self.queues.setdefault(queue, Queue())

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let a queue have what is sent there."""
        self._bindings.setdefault((exchange, routing_key), set()).add(queue)

    def add_caller(self, take: Callable[[Reply], None]) -> str:
        """A direct reply-to address of its own for a caller."""
        address = f"{DIRECT_REPLY_TO}{next(self._tokens)}"
        self._callers[address] = take
        return address

    def remove_caller(self, address: str) -> None:
        """Its address leads nowhere from now on."""
        del self._callers[address]

    def has_caller(self, address: str) -> bool:
        """False for a direct reply-to address that leads nowhere."""
        return not address.startswith(DIRECT_REPLY_TO) or address in self._callers

    def route(self, exchange: str, routing_key: str, message: Message) -> bool:
        """Put a message wherever it belongs; False if that is nowhere."""
        if message.expiration is not None:
            expires = trio.current_time() + message.expiration
            message = msgspec.structs.replace(message, expires=expires)
        if exchange == "" and routing_key in self._callers:
            self._callers[routing_key](as_reply(message))
            return True
        names = {routing_key} if exchange == "" else self._bindings.get((exchange, routing_key), set())
        queues = [self.queues[name] for name in names if name in self.queues]
        for queue in queues:
            queue.put(message)
        return bool(queues)


def as_reply(message: Message) -> Reply:
    """A message as who awaits a reply reads it."""
    return Reply(
        body=message.body,
        correlation_id=message.correlation_id,
        headers=message.headers,
        content_type=message.content_type,
    )
