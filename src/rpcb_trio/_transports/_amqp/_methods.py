"""Methods of the control plane that bear names, for `channel.ask(Channel.rpc, ...)`.

A broker takes any UTF-8 of up to 255 bytes for the name of a queue or an exchange, as generic types of .NET
and tag URIs have them; pamqp would refuse most of it before anything is sent.

Making one raises `Unsendable`, which is a ValueError: a name is longer, or no text that UTF-8 can write.
"""

from __future__ import annotations

from pamqp.commands import Basic, Exchange, Queue

from rpcb_trio._transports._amqp._tables import short_string


class DeclareQueue(Queue.Declare):
    """`queue.declare`."""

    def validate(self) -> None:
        """Let the broker judge."""
        _check(self.queue)


class DeclareExchange(Exchange.Declare):
    """`exchange.declare`."""

    def validate(self) -> None:
        """Let the broker judge."""
        _check(self.exchange, self.exchange_type)


class BindQueue(Queue.Bind):
    """`queue.bind`."""

    def validate(self) -> None:
        """Let the broker judge."""
        _check(self.queue, self.exchange, self.routing_key)


class Consume(Basic.Consume):
    """`basic.consume`; without a tag of ours the broker names the consumer."""

    def validate(self) -> None:
        """Let the broker judge."""
        _check(self.queue)


def _check(*names: str | None) -> None:
    for name in names:
        short_string(name or "")
