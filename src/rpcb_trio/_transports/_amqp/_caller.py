"""A client's session: requests go out and replies come in on one channel, as direct reply-to demands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

import anyio

from rpcb_trio._messages import CallId, Outgoing, Reply
from rpcb_trio._transports._amqp._data._closing import ChannelRefused, refused_exchange
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._publications import (
    Publication,
    PublishChannel,
    PublishResult,
    PublishStatus,
)
from rpcb_trio._transports._amqp._inboxes import AmqpInboxes, reply_of
from rpcb_trio._transports._amqp._limits import learned_limit
from rpcb_trio._transports._amqp._session._cancellations import allow_cancels, send_cancel
from rpcb_trio._transports._amqp._session._outbox_channel import Exchanges
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._codec._frames import Delivery
from rpcb_trio._transports._codec._properties import PERSISTENT, Properties
from rpcb_trio._transports._topology import cancel_key
from rpcb_trio.errors import PublishRefused, RequestTooBig, RpcbError, SessionLost, SettingError, Unroutable

PSEUDO_QUEUE = "amq.rabbitmq.reply-to"
"""The broker puts this channel's own address in its place."""

PROOFS = frozenset({PublishStatus.CONFIRMED, PublishStatus.RETURNED, PublishStatus.NACKED})
"""Results that prove that the broker objects neither to the size of a message nor to its exchange."""

SAFE_SIZE = 64 * 1024
"""Bytes; the broker's limit may be set to anything, but hardly below that."""

TRIAL_SECONDS = 2.0
"""How long other calls wait to learn from one on trial."""


class AmqpCaller:
    """Implements `CallerSession`.

    A refusal closes its channel, and with it the addresses of all replies that are awaited there. So a
    request that the broker might refuse, as it is larger than any before it or the first to its exchange,
    goes out on a channel of its own; what passed once goes with all others from then on.
    """

    def __init__(self, end: SessionEnd) -> None:
        self._end = end
        self._take: Callable[[Reply], None]
        self.inboxes: AmqpInboxes
        self._connection: Connection
        self._channel: PublishChannel
        self._exchanges: Exchanges
        self._may_cancel = False
        self._proven_size = SAFE_SIZE
        self._proven_exchanges = {""}
        self._limit: int | None = None
        """Bytes of the largest message, once the broker has named it."""
        self._trying = anyio.Lock()
        self._idle: list[PublishChannel] = []
        """Channels for trials on which no reply is awaited."""
        self._of_trials: dict[str, PublishChannel] = {}
        """The others, by the correlation ids of the requests whose replies are."""

    @property
    def max_request_size(self) -> int | None:
        return self._connection.largest_message if self._limit is None else self._limit

    def on_reply(self, take: Callable[[Reply], None]) -> None:
        self._take = take

    async def publish(
        self,
        request: Outgoing,
        failed: Callable[[RpcbError], None],
        confirmed: Callable[[], None] | None = None,
    ) -> Callable[[], None] | None:
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._channel.closing is not None:
            raise SessionLost(self._end.reason or self._channel.closing.why)
        self._refuse_too_big(request)
        if request.exchange not in self._exchanges:
            await self._refuse_unless_there(request)
        if not self._connection.wire.is_drained:  # else what a broker does not read would pile up here
            await self._connection.wire.drained()
        if len(request.body) > self._proven_size or request.exchange not in self._proven_exchanges:
            return await self._try(_call(request, failed, self._learn, confirmed))
        self._channel.write(_call(request, failed, self._learn, confirmed))
        self._connection.wire.flush()
        return None

    async def _try(self, call: _Call) -> Callable[[], None] | None:
        """Send a request where its refusal harms no other; others to be tried wait to learn of it."""
        channel: PublishChannel | None = None
        try:
            async with self._trying:
                self._refuse_too_big(call.request)
                channel = await self._channel_for_trials()
                self._of_trials[call.request.correlation_id] = channel
                call.on_trial = anyio.Event()
                channel.write(call)
                self._connection.wire.flush()
                with anyio.move_on_after(TRIAL_SECONDS):
                    await call.on_trial.wait()
        except BaseException:
            if channel is not None:
                if call.request.reply_to is None:
                    self.cancel(call.request)
                self._release(call.request, channel)
            raise
        return partial(self._release, call.request, channel)

    def _release(self, request: Outgoing, channel: PublishChannel) -> None:
        """Nobody awaits a reply on it any more."""
        self._of_trials.pop(request.correlation_id, None)
        if channel.is_open:
            self._idle.append(channel)

    async def _channel_for_trials(self) -> PublishChannel:
        self._idle = [each for each in self._idle if each.is_open]
        for number, channel in enumerate(self._idle):
            if channel.is_settled:  # else a refusal of another's request would be taken for this one's
                return self._idle.pop(number)
        return await self._open_channel()

    def _learn(self, request: Outgoing, result: PublishResult) -> None:
        """Take notice of what the broker takes and what not."""
        if result.status is PublishStatus.BLAMED:
            limit = learned_limit(result.why)
            if limit is not None:
                self._limit = limit
                self._proven_size = min(self._proven_size, limit)
            elif refused_exchange(result.why) is not None:
                self._proven_exchanges.discard(request.exchange)
        elif result.status in PROOFS:
            self._proven_size = max(self._proven_size, len(request.body))
            self._proven_exchanges.add(request.exchange)

    def _refuse_too_big(self, request: Outgoing) -> None:
        if self._limit is not None and len(request.body) > self._limit:
            raise RequestTooBig(request.why_too_big(self._limit))

    async def _refuse_unless_there(self, request: Outgoing) -> None:
        refusal = await self._exchanges.refusal(request.exchange)
        if refusal is not None and refusal.status is PublishStatus.RETURNED:
            raise Unroutable(f"there is no {_address(request)}: the exchange is missing")
        if refusal is not None:
            raise PublishRefused(f"the broker would not take a request to {_address(request)}: {refusal.why}")

    async def allow_cancels(self) -> None:
        await allow_cancels(self._connection)
        self._may_cancel = True

    def cancel(self, request: Outgoing) -> None:
        if self._may_cancel:
            channel = self._of_trials.get(request.correlation_id, self._channel)
            key = cancel_key(request.exchange, request.routing_key)
            send_cancel(channel, CallId(request.reply_to or PSEUDO_QUEUE, request.correlation_id), key)

    async def watch(self) -> NoReturn:
        await self._end.watch()

    async def listen(self, connection: Connection) -> None:
        self._connection = connection
        self.inboxes = AmqpInboxes(connection)
        self._exchanges = Exchanges(connection)
        self._channel = await self._open_channel()
        self._channel.end = lambda why: self._end.report(why or "the broker ended the consumer of replies")

    async def _open_channel(self) -> PublishChannel:
        channel = await self._connection.data_channel(PublishChannel, confirms=True)
        channel.take = self._receive
        try:
            await channel.control.consume(PSEUDO_QUEUE, no_ack=True)
        except ChannelRefused as exc:
            raise SessionLost(str(exc)) from exc
        return channel

    def _receive(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._take(reply_of(delivery))


class _Call(Publication, kw_only=True):
    """A request on its way; its caller learns of it where it reached no queue."""

    request: Outgoing
    failed: Callable[[RpcbError], None]
    learn: Callable[[Outgoing, PublishResult], None]
    confirmed: Callable[[], None] | None = None
    on_trial: anyio.Event | None = None
    """Set once the broker has said what it does with it; only for one that may be refused."""

    def finish(self, result: PublishResult) -> None:
        is_taken = result.status is PublishStatus.CONFIRMED
        if not is_taken or self.on_trial is not None:
            self.learn(self.request, result)
        if not is_taken:
            self.failed(_error(self.request, result))
        elif self.confirmed is not None:
            self.confirmed()
        if self.on_trial is not None:
            self.on_trial.set()


def _error(request: Outgoing, result: PublishResult) -> RpcbError:
    where = _address(request)
    match result.status:
        case PublishStatus.RETURNED:
            return Unroutable(request.why_returned())
        case PublishStatus.NACKED:
            return PublishRefused(f"the broker would not take a request to {where}; is the queue full?")
        case PublishStatus.UNSENDABLE:
            return SettingError(f"the request can't be put into AMQP: {result.why}")
        case PublishStatus.BLAMED if (limit := learned_limit(result.why)) and len(request.body) > limit:
            return RequestTooBig(request.why_too_big(limit))
        case PublishStatus.BLAMED if refused_exchange(result.why) == request.exchange:
            return PublishRefused(f"the user may not publish to {where}; grant write on it ({result.why})")
    return SessionLost(result.why)


def _address(request: Outgoing) -> str:
    return f"exchange {request.exchange!r} with routing key {request.routing_key!r}"


def _call(
    request: Outgoing,
    failed: Callable[[RpcbError], None],
    learn: Callable[[Outgoing, PublishResult], None],
    confirmed: Callable[[], None] | None,
) -> _Call:
    """A request as it is sent; expirations are whole milliseconds, written out."""
    expiration = request.expiration
    return _Call(
        body=request.body,
        exchange=request.exchange,
        routing_key=request.routing_key,
        properties=Properties(
            content_type=request.content_type,
            headers=request.headers or None,
            delivery_mode=PERSISTENT,
            priority=request.priority,
            correlation_id=request.correlation_id,
            reply_to=request.reply_to or PSEUDO_QUEUE,
            expiration=None if expiration is None else str(max(0, round(expiration * 1000))),
            message_id=request.correlation_id,
        ),
        request=request,
        failed=failed,
        learn=learn,
        confirmed=confirmed,
    )
