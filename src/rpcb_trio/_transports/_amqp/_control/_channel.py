"""A channel of the control plane: what is asked of the broker, and its refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import aiormq
from pamqp.base import Frame
from pamqp.commands import Basic, Confirm, Exchange, Queue, Tx

from rpcb_trio._transports._amqp._data._closing import ChannelRefused, Closing
from rpcb_trio._transports._codec._tables import short_string
from rpcb_trio.errors import SessionLost

if TYPE_CHECKING:
    from rpcb_trio._transports._amqp._control._plane import ControlPlane  # which opens the channels


class Declared(NamedTuple):
    name: str
    ready: int
    """Messages that wait to be delivered."""
    consumers: int


class ControlChannel:
    """A channel to ask the broker on. Where the broker refuses, it closes the channel.

    Each of its coroutines raises:
        ChannelRefused: the broker refused, or has closed the channel before.
        SessionLost: the connection is gone.
        ValueError, TypeError: it can't be put into AMQP; nothing was sent.
    """

    def __init__(self, plane: ControlPlane, channel: aiormq.Channel) -> None:
        self._plane = plane
        self._channel = channel
        self.closing: Closing | None = None
        """Why the broker has closed it, once it has."""

    @property
    def number(self) -> int:
        """What frames call it."""
        return self._channel.number

    @property
    def is_open(self) -> bool:
        return self._plane.closing is None and self.closing is None and not self._channel.is_closed

    async def declare_queue(
        self,
        name: str,
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        arguments: Mapping[str, object] | None = None,
    ) -> Declared:
        """Create a queue, or check that it is there; without a name the broker names it."""
        declare = _DeclareQueue(
            queue=name,
            passive=passive,
            durable=durable,
            exclusive=exclusive,
            auto_delete=exclusive,
            arguments=cast(Any, arguments),
        )
        found = await self._ask(declare)
        return Declared(found.queue or "", found.message_count or 0, found.consumer_count or 0)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue with all that it holds; nothing where it is not there."""
        await self._ask(_DeleteQueue(queue=name))

    async def declare_exchange(
        self, name: str, exchange_type: str = "direct", *, passive: bool = False, durable: bool = False
    ) -> None:
        """Create an exchange, or check that it is there, of whatever type."""
        await self._ask(
            _DeclareExchange(exchange=name, exchange_type=exchange_type, passive=passive, durable=durable)
        )

    async def bind_queue(self, queue: str, exchange: str, routing_key: str) -> None:
        """Have the exchange put into the queue what bears the routing key."""
        await self._ask(_BindQueue(queue=queue, exchange=exchange, routing_key=routing_key))

    async def consume(
        self, queue: str, *, no_ack: bool = False, arguments: Mapping[str, object] | None = None
    ) -> str:
        """Begin to consume; returns the consumer's tag, which the broker chooses."""
        begun = await self._ask(_Consume(queue=queue, no_ack=no_ack, arguments=cast(Any, arguments)))
        return str(begun.consumer_tag)

    async def cancel(self, consumer_tag: str) -> None:
        """End a consumer; the deliveries that were on their way come before this returns."""
        await self._ask(Basic.Cancel(consumer_tag=consumer_tag))

    async def limit_prefetch(self, count: int) -> None:
        """Have the broker deliver no more than so many unacked messages to each consumer from now on."""
        await self._ask(Basic.Qos(prefetch_count=count))

    async def select_confirms(self) -> None:
        """Have the broker confirm each message that is published on the channel."""
        await self._ask(Confirm.Select())

    async def select_transactions(self) -> None:
        """Have what is published on the channel count only once it is committed."""
        await self._ask(Tx.Select())

    async def roll_back(self) -> None:
        await self._ask(Tx.Rollback())

    async def close(self) -> None:
        if self.is_open:
            await self._plane.call(self._channel.close)
            self._plane.end_channel(self.number)

    async def _ask(self, method: Frame) -> Any:
        if self.closing is not None:
            raise ChannelRefused(self.closing)
        try:
            return await self._plane.call(partial(self._channel.rpc, method))
        except SessionLost as exc:
            if self.closing is not None:  # aiormq says no more than that it is closed
                raise ChannelRefused(self.closing) from exc
            raise


class _AnyNames:
    """Lets a method bear any name that the broker takes: UTF-8 of up to 255 bytes.

    Generic types of .NET and tag URIs have such names; pamqp would refuse most of them.
    """

    names: Sequence[str] = ()

    def validate(self) -> None:
        """In the place of pamqp's own; raises `Unsendable`, a ValueError, for what AMQP can't carry."""
        for name in self.names:
            short_string(getattr(self, name) or "")


class _DeclareQueue(_AnyNames, Queue.Declare):
    names = ("queue",)


class _DeclareExchange(_AnyNames, Exchange.Declare):
    names = ("exchange", "exchange_type")


class _DeleteQueue(_AnyNames, Queue.Delete):
    names = ("queue",)


class _BindQueue(_AnyNames, Queue.Bind):
    names = ("queue", "exchange", "routing_key")


class _Consume(_AnyNames, Basic.Consume):
    names = ("queue",)
