"""Addressing replies.

A `reply_to` is one of three:

- `amq.rabbitmq.reply-to.<token>`: RabbitMQ's direct reply-to. It goes to the default exchange, never split
  (the token is base64, which has a "/"), and not as mandatory: RabbitMQ 3.10 to 4.1 return every such reply
  as unroutable although they deliver it.
- the name of a queue, whatever characters it has: to the default exchange, mandatory.
- `exchange/routing key`, as Spring's `Address` writes it. A queue of that very name wins, since that is what
  AMQP says a `reply_to` is; the split form is tried once the broker has returned the reply for want of one.
"""

from __future__ import annotations

import msgspec
from pamqp.commands import Basic

from rpcb_trio._messages import DIRECT_REPLY_TO, Answer, Reply

TRANSIENT, PERSISTENT = 1, 2
"""Delivery modes. A reply outlives a broker's restart (in a durable queue) where its request did; a direct
reply-to address does not."""


class Parcel(msgspec.Struct, frozen=True, eq=False):
    """A message and its address."""

    body: bytes
    properties: Basic.Properties
    routing_key: str
    exchange: str = ""
    mandatory: bool = True
    otherwise: tuple[str, str] | None = None
    """Exchange and routing key to try where there is no queue named `routing_key`."""


def pack(answer: Answer) -> Parcel | None:
    """Address an answer; None if it has no reply, or its request named nobody to answer."""
    reply, request = answer.reply, answer.request
    reply_to = request.reply_to
    if reply is None or not reply_to:
        return None
    exchange, slash, key = reply_to.partition("/")
    is_direct = reply_to.startswith(DIRECT_REPLY_TO)
    return Parcel(
        body=reply.body,
        properties=_properties(
            reply, request.correlation_id, is_persistent=request.persistent and not is_direct
        ),
        routing_key=reply_to,
        mandatory=not is_direct,
        otherwise=(exchange, key) if slash and not is_direct else None,
    )


def _properties(reply: Reply, correlation_id: str | None, *, is_persistent: bool) -> Basic.Properties:
    # Not the request's user_id: the broker refuses who poses as another user. Not its message_id: aiormq
    # tells returned messages apart by it, and makes one of its own.
    return Basic.Properties(
        content_type=reply.content_type,
        headers=dict(reply.headers) or None,  # type: ignore[arg-type] # pamqp checks them
        delivery_mode=PERSISTENT if is_persistent else TRANSIENT,
        correlation_id=correlation_id,
    )
