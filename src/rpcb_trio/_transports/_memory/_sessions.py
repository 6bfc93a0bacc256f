"""What a worker and a client see of the embedded broker."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import NoReturn, cast

import msgspec
import trio

from rpcb_trio._messages import Answer, CallId, Outgoing, Reply, Request, Settled
from rpcb_trio._transports._deadline import Deadlines
from rpcb_trio._transports._headers import ROUTING_HEADERS, dead_letter_headers, ids_of
from rpcb_trio._transports._memory._inboxes import MemoryInboxes
from rpcb_trio._transports._memory._queues import Consumer, Message
from rpcb_trio._transports._memory._router import Router, check_connected, watch
from rpcb_trio._transports._memory._sendable import check_sendable
from rpcb_trio._transports._protocol import QueueFacts, Rest
from rpcb_trio._transports._topology import CANCELS, Topology, cancel_key
from rpcb_trio.errors import CallerGone, RequestTooBig, RpcbError, Unroutable


class Delivered(Request, frozen=True, eq=False, kw_only=True):
    """A request that remembers the message it was, should it go to the dead letters."""

    message: Message


class MemorySession:
    """Implements `Session`."""

    def __init__(
        self, router: Router, topology: Topology, *, prefetch: int, max_message_size: int | None
    ) -> None:
        self.max_reply_size = max_message_size
        self._router = router
        self._topology = topology
        self._lost = router.lost
        self._deadlines = Deadlines(topology.queue)
        self.blockages = router.alarm.listen()
        self._send_requests, self.requests = trio.open_memory_channel[Request](math.inf)
        self._has_stopped = False
        self._put_cancels, self.cancels = trio.open_memory_channel[CallId](math.inf)
        self._hearing = ExitStack()
        if topology.cancel:
            self._hearing.enter_context(router.hearing(CANCELS, topology.cancel_keys, self._take_cancel))
        self._consumer: Consumer = router.queues[topology.queue].consume(prefetch, self._deliver)

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        await trio.lowlevel.checkpoint()
        await self._router.alarm.passed()
        check_connected(self._lost)
        settled = [self._reply(answer) for answer in answers]
        for answer in answers:
            if not answer.is_part:
                self._consumer.ack(answer.request.tag)
        return settled

    async def settle_promptly(
        self, answers: Sequence[Answer]
    ) -> tuple[Sequence[Settled | None], Rest | None]:
        settled = await self.settle(answers)
        if Settled.UNSENDABLE not in settled:
            return settled, None

        async def rest() -> list[Settled]:
            await trio.lowlevel.checkpoint()
            return settled

        return [None] * len(answers), rest

    def apart(self, answers: Sequence[Answer]) -> Sequence[Sequence[Answer]]:
        return [answers]

    async def has_caller(self, reply_to: str) -> bool:
        await trio.lowlevel.checkpoint()
        return self._router.has_caller(reply_to)

    def room(self, settled: Iterable[Request] = ()) -> int:
        return self._consumer.room_without(each.tag for each in settled)

    async def reconsume(self, *, prefetch: int, priority: int = 0) -> None:
        await trio.lowlevel.checkpoint()
        check_connected(self._lost)
        if not self._has_stopped:
            self._consumer.renew(prefetch, priority)

    async def backlog(self) -> QueueFacts:
        await trio.lowlevel.checkpoint()
        check_connected(self._lost)
        queue = self._router.queues[self._topology.queue]
        return QueueFacts(ready=len(queue), consumers=queue.consumers)

    async def stop_consuming(self) -> None:
        await trio.lowlevel.checkpoint()
        self._has_stopped = True
        self._consumer.stop()
        self._send_requests.close()

    def requeue(self, requests: Sequence[Request]) -> None:
        """Nothing is counted here, so it is done when the session closes."""

    async def watch(self) -> NoReturn:
        await watch(self._lost)

    def close(self) -> None:
        """End it, and requeue what it held."""
        self._send_requests.close()
        self.blockages.close()
        self._hearing.close()
        self._put_cancels.close()
        self._consumer.close()

    def _take_cancel(self, message: Message) -> None:
        if message.correlation_id is not None:
            self._put_cancels.send_nowait(CallId(message.reply_to, message.correlation_id))

    def _reply(self, answer: Answer) -> Settled:
        ending = self._send(answer)
        if answer.dead_letter is None:
            return ending
        self._dead_letter(cast(Delivered, answer.request), answer.dead_letter)
        return Settled.REJECTED

    def _send(self, answer: Answer) -> Settled:
        if answer.reply is None:
            return Settled.UNROUTABLE if isinstance(answer.error, CallerGone) else Settled.DROPPED
        if answer.request.reply_to is None:
            return Settled.NO_REPLY_TO
        reply = Message(
            body=answer.reply.body,
            correlation_id=answer.reply.correlation_id,
            headers={**ids_of(answer.request.headers), **answer.reply.headers},
            content_type=answer.reply.content_type,
        )
        has_arrived = self._router.route("", answer.request.reply_to, reply)
        return Settled.REPLIED if has_arrived else Settled.UNROUTABLE

    def _dead_letter(self, request: Delivered, reason: str) -> None:
        exchange, key = self._topology.dead_letter_exchange, self._topology.dead_letter_routing_key
        if exchange is None:
            return
        headers = request.message.headers.items()
        own = {name: value for name, value in headers if name not in ROUTING_HEADERS}
        dead_letter = msgspec.structs.replace(
            request.message,
            expiration=None,
            expires=None,
            headers={**own, **dead_letter_headers(self._topology.queue, reason)},
        )
        self._router.route(exchange, request.message.routing_key if key is None else key, dead_letter)

    def _deliver(self, tag: int, message: Message) -> None:
        arrived = trio.current_time()
        self._send_requests.send_nowait(
            Delivered(
                message=message,
                body=message.body,
                arrived=arrived,
                reply_to=message.reply_to,
                correlation_id=message.correlation_id,
                deadline=self._deadlines.read(
                    arrived,
                    time.time(),
                    lifetime=message.expiration,
                    headers=message.headers,
                    reply_to=message.reply_to,
                    redelivered=message.redelivered,
                ),
                redelivered=message.redelivered,
                priority=message.priority,
                headers=message.headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                tag=tag,
            )
        )


class MemoryCaller:
    """Implements `CallerSession`."""

    def __init__(self, router: Router, max_message_size: int | None) -> None:
        self._router = router
        self.inboxes = MemoryInboxes(router)
        self.max_request_size = max_message_size
        self._address = router.add_caller(self._deliver)
        self._lost = router.lost
        self._take: Callable[[Reply], None]

    def on_reply(self, take: Callable[[Reply], None]) -> None:
        self._take = take

    async def publish(
        self,
        request: Outgoing,
        failed: Callable[[RpcbError], None],  # noqa: ARG002 - all is known at once
        confirmed: Callable[[], None] | None = None,
    ) -> None:
        await trio.lowlevel.checkpoint()
        check_connected(self._lost)
        if self.max_request_size is not None and len(request.body) > self.max_request_size:
            raise RequestTooBig(request.why_too_big(self.max_request_size))
        check_sendable(request)
        message = Message(
            body=request.body,
            routing_key=request.routing_key,
            reply_to=request.reply_to or self._address,
            correlation_id=request.correlation_id,
            expiration=request.expiration,
            priority=request.priority or 0,
            headers=request.headers,
            content_type=request.content_type,
        )
        if not self._router.route(request.exchange, request.routing_key, message):
            raise Unroutable(request.why_returned())
        if confirmed is not None:
            confirmed()

    async def allow_cancels(self) -> None:
        await trio.lowlevel.checkpoint()
        self._router.declare_exchange(CANCELS, "direct")

    def cancel(self, request: Outgoing) -> None:
        if not self._lost.is_set():
            address = request.reply_to or self._address
            cancel = Message(body=b"", reply_to=address, correlation_id=request.correlation_id)
            self._router.route(CANCELS, cancel_key(request.exchange, request.routing_key), cancel)

    async def watch(self) -> NoReturn:
        await watch(self._lost)

    def close(self) -> None:
        self._router.remove_caller(self._address)

    def _deliver(self, reply: Reply) -> None:
        self._take(reply)
