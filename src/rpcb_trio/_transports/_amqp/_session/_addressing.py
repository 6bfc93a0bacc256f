"""Addressing replies.

A `reply_to` is one of three:

- `amq.rabbitmq.reply-to.<token>`: RabbitMQ's direct reply-to. It goes to the default exchange, never split
  (the token is base64, which has a "/"), and not as mandatory: RabbitMQ 3.10 to 4.1 return every such reply
  as unroutable although they deliver it.
- the name of a queue, whatever characters it has, or another broker's direct reply-to (LavinMQ's is
  `amq.direct.reply-to.<tag>`): to the default exchange, mandatory.
- `exchange/routing key`, as Spring's `Address` writes it. A queue of that very name wins, since that is what
  AMQP says a `reply_to` is; where there is none, the broker returns the reply, and the split form is tried.
"""

from __future__ import annotations

from collections.abc import Mapping

from rpcb_trio._messages import DIRECT_REPLY_TO, MADE_BY_A_BROKER, Answer, Reply, Request
from rpcb_trio._transports._amqp._data._publications import NOT_SENT
from rpcb_trio._transports._amqp._session._settlement import PublishedReply
from rpcb_trio._transports._codec._properties import PERSISTENT, TRANSIENT, Properties
from rpcb_trio._transports._codec._tables import Table
from rpcb_trio._transports._headers import LONGEST_ID, ids_of

NO_PROPERTIES = Properties()


def address(answer: Answer) -> PublishedReply:
    """The reply as it is sent; `NOT_SENT` if there is no reply, or its request named no address.

    It bears neither the request's user_id (the broker refuses another user's) nor its message_id.
    A reply outlives a broker's restart (in a durable queue) where its request did; a direct reply-to address
    does not.
    """
    reply, request = answer.reply, answer.request
    reply_to = request.reply_to
    if reply is None or not reply_to:
        return PublishedReply(b"", NO_PROPERTIES, "", result=NOT_SENT, answer=answer)
    is_direct = reply_to.startswith(DIRECT_REPLY_TO)
    properties = Properties(
        content_type=reply.content_type,
        headers=(_with_ids(reply, request) if request.headers else reply.headers) or None,
        delivery_mode=PERSISTENT if request.persistent and not is_direct else TRANSIENT,
        correlation_id=request.correlation_id,
    )
    if is_direct:
        return PublishedReply(reply.body, properties, reply_to, mandatory=False, answer=answer)
    exchange, slash, key = reply_to.partition("/")
    is_address = slash and not MADE_BY_A_BROKER.match(reply_to)
    otherwise = (exchange, key) if is_address else None
    return PublishedReply(reply.body, properties, reply_to, otherwise=otherwise, answer=answer)


def _with_ids(reply: Reply, request: Request) -> Mapping[str, object]:
    """The reply's headers, and those of the request by which its caller knows it again."""
    ids = ids_of(request.headers)
    if not ids:
        return reply.headers
    if isinstance(request.headers, Table):
        return request.headers.amended(
            reply.headers, lambda name, field: name in ids and len(field) <= LONGEST_ID
        )
    return {**ids, **reply.headers}
