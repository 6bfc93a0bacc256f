"""The embedded broker's state: its queues, exchanges and callers, and whether it takes replies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import NoReturn

import msgspec
import trio

from rpcb_trio._messages import DIRECT_REPLY_TO, NO_HEADERS, Reply
from rpcb_trio._transports._memory._queues import Consumer, Message, Queue
from rpcb_trio._transports._topology import (
    CANCELS,
    DIFFERENT,
    KNOWN_ARGUMENTS,
    MATCH_WITHOUT_KEY,
    MISSING,
    OWN_EXCHANGES,
    RESERVED,
    Topology,
)
from rpcb_trio.errors import SessionLost, TopologyMismatch

DISCONNECTED = "the embedded broker has disconnected"


class Exchange(msgspec.Struct, frozen=True):
    """An exchange, and the queues that are bound to it, by routing key."""

    kind: str
    durable: bool = True
    bindings: dict[str, set[str]] = msgspec.field(default_factory=dict)
    listeners: list[trio.MemorySendChannel[bytes]] = msgspec.field(default_factory=list)
    """Subscribers to all that is sent there."""

    def queues(self, routing_key: str) -> set[str]:
        """The names of the queues that get what bears this key."""
        if self.kind in MATCH_WITHOUT_KEY:
            return set().union(*self.bindings.values())
        if self.kind == "direct":
            return self.bindings.get(routing_key, set())
        words = routing_key.split(".")
        return set().union(
            *(names for key, names in self.bindings.items() if _matches(key.split("."), words))
        )

    def notify(self, body: bytes) -> None:
        for put in tuple(self.listeners):
            try:
                put.send_nowait(body)
            except trio.WouldBlock:
                pass
            except trio.BrokenResourceError:
                self.listeners.remove(put)


class Router:
    """What all sessions of an embedded broker share."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.lost = trio.Event()
        """Set when the broker drops the connections that are open now."""
        self.alarm = Alarm()
        self._exchanges = {name: Exchange(kind) for name, kind in OWN_EXCHANGES.items()}
        self._callers: dict[str, Callable[[Reply], None]] = {}
        self._tokens = count(1)

    def disconnect(self) -> None:
        self.lost.set()
        self.lost = trio.Event()

    def declare(self, topology: Topology) -> None:
        """Create or check the queue, its exchanges and its bindings, as `topology.declare` says.

        Raises:
            TopologyMismatch: something is missing, or is there with other properties.
        """
        if topology.declare != "active":
            self._check(topology)
            return
        if topology.exchange:
            self.declare_exchange(topology.exchange, topology.exchange_type, durable=topology.durable)
        if topology.cancel:
            self.declare_exchange(CANCELS, "direct")
        if topology.dead_letter_exchange and topology.dead_letter_exchange not in self._exchanges:
            self.declare_exchange(topology.dead_letter_exchange, "topic", durable=topology.durable)
        self.declare_queue(topology.queue, durable=topology.durable, arguments=topology.queue_arguments)
        for key in topology.binding_keys:
            self._exchanges[topology.exchange].bindings.setdefault(key, set()).add(topology.queue)

    def declare_queue(
        self, name: str, *, durable: bool = True, arguments: Mapping[str, object] = NO_HEADERS
    ) -> None:
        """Create a queue, or check that it was declared likewise."""
        queue = self.queues.setdefault(name, Queue(durable=durable, arguments=arguments))
        if queue.durable != durable:
            raise TopologyMismatch(f"queue {name!r}: {DIFFERENT.format('durable')}")
        defaults = {"x-queue-type": "classic"}
        for argument in KNOWN_ARGUMENTS:
            default = defaults.get(argument)
            if queue.arguments.get(argument, default) != arguments.get(argument, default):
                raise TopologyMismatch(f"queue {name!r}: {DIFFERENT.format(argument)}")

    def declare_exchange(self, name: str, kind: str, *, durable: bool = True) -> None:
        """Create an exchange, or check that it was declared likewise; the broker's own are as they are."""
        exchange = self._exchanges.setdefault(name, Exchange(kind, durable))
        if name.startswith(RESERVED):
            return
        for argument, is_same in (("type", exchange.kind == kind), ("durable", exchange.durable == durable)):
            if not is_same:
                raise TopologyMismatch(f"exchange {name!r}: {DIFFERENT.format(argument)}")

    def listen(self, exchange: str, size: int) -> trio.MemoryReceiveChannel[bytes]:
        """Subscribe to an exchange, until the channel is closed; what `size` has no room for is lost."""
        put, bodies = trio.open_memory_channel[bytes](size)
        self._exchanges[exchange].listeners.append(put)
        return bodies

    @contextmanager
    def hearing(
        self, exchange: str, routing_keys: Sequence[str], take: Callable[[Message], None]
    ) -> Iterator[None]:
        """Have `take` called with all that is sent there by these keys, within the body."""
        if exchange not in self._exchanges:
            raise TopologyMismatch(f"exchange {exchange!r}: {MISSING}")
        name, bindings = f"{RESERVED}gen-{next(self._tokens)}", self._exchanges[exchange].bindings
        queue = self.queues[name] = Queue(durable=False)

        def deliver(tag: int, message: Message) -> None:
            take(message)
            consumer.ack(tag)

        consumer: Consumer = queue.consume(1, deliver)
        for key in routing_keys:
            bindings.setdefault(key, set()).add(name)
        try:
            yield
        finally:
            del self.queues[name]
            for key in routing_keys:
                bindings[key].discard(name)

    def add_caller(self, take: Callable[[Reply], None]) -> str:
        """A direct reply-to address of its own for a caller."""
        address = f"{DIRECT_REPLY_TO}{next(self._tokens)}"
        self._callers[address] = take
        return address

    def remove_caller(self, address: str) -> None:
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
        names = {routing_key}
        if exchange:
            found = self._exchanges.get(exchange)
            names = set() if found is None else found.queues(routing_key)
            if found is not None and found.listeners:
                found.notify(message.body)
        queues = [self.queues[name] for name in names if name in self.queues]
        for queue in queues:
            queue.put(message)
        return bool(queues)

    def _check(self, topology: Topology) -> None:
        if topology.declare == "passive":
            for what, name in (
                ("exchange", topology.exchange),
                ("cancel: exchange", CANCELS if topology.cancel else None),
                ("dead-letter exchange", topology.dead_letter_exchange),
            ):
                if name and name not in self._exchanges:
                    raise TopologyMismatch(f"{what} {name!r}: {MISSING}")
        if topology.queue not in self.queues:
            raise TopologyMismatch(f"queue {topology.queue!r}: {MISSING}")


class Alarm:
    """Whether replies are taken; every session that listens learns of each change."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._passed = trio.Event()
        self._listeners: list[trio.MemorySendChannel[str | None]] = []

    def listen(self) -> trio.MemoryReceiveChannel[str | None]:
        """Each change from now on: the reason, or None; and the reason first, where there is one already."""
        send, changes = trio.open_memory_channel[str | None](math.inf)
        self._listeners = [each for each in self._listeners if each.statistics().open_receive_channels]
        self._listeners.append(send)
        if self._reason is not None:
            send.send_nowait(self._reason)
        return changes

    async def passed(self) -> None:
        """Wait until replies are taken."""
        if self._reason is not None:
            await self._passed.wait()

    def change(self, reason: str | None) -> None:
        """Have replies wait for a reason; None to take them again."""
        self._reason = reason
        for listener in self._listeners:
            with suppress(trio.BrokenResourceError):  # its session is over
                listener.send_nowait(reason)
        if reason is None:
            self._passed.set()
            self._passed = trio.Event()


def as_reply(message: Message) -> Reply:
    """A message as a caller reads it that awaits a reply."""
    return Reply(
        body=message.body,
        correlation_id=message.correlation_id,
        headers=message.headers,
        content_type=message.content_type,
    )


def check_connected(lost: trio.Event) -> None:
    """Refuse to go on with a connection that is gone.

    Raises:
        SessionLost: it is.
    """
    if lost.is_set():
        raise SessionLost(DISCONNECTED)


async def watch(lost: trio.Event) -> NoReturn:
    """Wait for the end of a connection.

    Raises:
        SessionLost: then.
    """
    await lost.wait()
    raise SessionLost(DISCONNECTED)


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Whether a topic's pattern takes a routing key: `*` stands for one word, `#` for any number."""
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return _matches(rest, words) or (bool(words) and _matches(pattern, words[1:]))
    return bool(words) and first in ("*", words[0]) and _matches(rest, words[1:])
