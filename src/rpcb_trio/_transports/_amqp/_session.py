"""A worker's session: consume on one connection, publish the replies on another, then ack."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from aiormq.abc import AbstractChannel, DeliveredMessage

from rpcb_trio._messages import NO_HEADERS, Answer, Request, Settled
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._outbox import Fate, pack, publish_all


class AmqpSession:
    """Implements `Session`."""

    def __init__(self, loop: AioLoop, loss: Loss, prefetch: int) -> None:
        self._loop = loop
        self._loss = loss
        self._deliver, self._requests = trio.open_memory_channel[Request](prefetch)
        self._in: AbstractChannel
        self._out: AbstractChannel
        self._consumer_tag = ""
        self._outstanding: dict[int, Request] = {}

    @property
    def requests(self) -> trio.MemoryReceiveChannel[Request]:
        return self._requests

    async def start(self, link_in, link_out, queue: str, prefetch: int) -> None:
        self._in = await link_in.channel(confirms=False)
        self._out = await link_out.channel(confirms=True)
        await self._in.basic_qos(prefetch_count=prefetch)
        self._in.on_consumer_cancel_callbacks.add(
            lambda _: self._loss.report("the broker cancelled the consumer")
        )
        ok = await self._in.basic_consume(queue, self._on_message)
        self._consumer_tag = ok.consumer_tag or ""

    async def _on_message(self, message: DeliveredMessage) -> None:
        request = to_request(message)
        self._outstanding[request.tag] = request
        self._deliver.send_nowait(request)

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        return await self._loop.call(self._settle, answers)

    async def _settle(self, answers: Sequence[Answer]) -> list[Settled]:
        addressed = [answer for answer in answers if answer.request.reply_to]
        fates = dict(zip(map(id, addressed), await publish_all(self._out, [pack(a) for a in addressed])))
        words = {
            Fate.CONFIRMED: Settled.REPLIED,
            Fate.RETURNED: Settled.UNROUTABLE,
            Fate.NACKED: Settled.REJECTED,
        }
        result = [words[fates[id(a)]] if id(a) in fates else Settled.NO_REPLY_TO for a in answers]
        await self._ack({a.request.tag for a in answers})
        return result

    async def _ack(self, tags: set[int]) -> None:
        prefix = []
        for tag in self._outstanding:
            if tag not in tags:
                break
            prefix.append(tag)
        rest = tags.difference(prefix)
        if prefix:
            await self._in.basic_ack(prefix[-1], multiple=len(prefix) > 1, wait=not rest)
        for n, tag in enumerate(rest):
            await self._in.basic_ack(tag, wait=n == len(rest) - 1)
        for tag in tags:
            del self._outstanding[tag]

    async def stop_consuming(self) -> None:
        await self._loop.call(self._in.basic_cancel, self._consumer_tag)
        self._deliver.close()

    async def watch(self) -> None:
        await self._loss.watch()


def to_request(message: DeliveredMessage) -> Request:
    properties = message.header.properties
    now = trio.current_time()
    try:
        deadline = now + int(properties.expiration) / 1000 if properties.expiration else None
    except ValueError:
        deadline = None
    return Request(
        body=message.body,
        arrived=now,
        reply_to=properties.reply_to or None,
        correlation_id=properties.correlation_id,
        deadline=deadline,
        redelivered=bool(message.redelivered),
        priority=properties.priority or 0,
        headers=properties.headers or NO_HEADERS,
        tag=message.delivery_tag or 0,
    )
