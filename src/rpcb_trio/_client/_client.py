"""`RpcClient`: calls a worker's queue and awaits the replies, many at once over one connection."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from uuid import uuid4

import anyio
from anyio.abc import TaskStatus

from rpcb_trio._backoff import ConnectionLog, keep_connected
from rpcb_trio._bounds import COUNT, POSITIVE
from rpcb_trio._claims import CallerClaims
from rpcb_trio._client._call import Call
from rpcb_trio._client._jobs import JobCalls
from rpcb_trio._client._outgoing import CLOSED, checked_body, checked_expiration, destination, later
from rpcb_trio._client._reply_stream import MAX_UNREAD, ReplyStream
from rpcb_trio._messages import NO_HEADERS, STREAM_HEADER, Outgoing, Reply
from rpcb_trio._tracing import spans_of_calls
from rpcb_trio._transports import CallerSession, Transport
from rpcb_trio.errors import BrokerError, CallInterrupted, ReplyTimeout, RequestTooBig


class RpcClient(JobCalls):
    """Sends requests and awaits their replies; any number of tasks may call at once. `open_client` makes it.

    The replies come over RabbitMQ's direct reply-to. A client belongs to the event loop that opened it:
    trio's, asyncio's or uvloop's. Threads use a `BlockingRpcClient`. A cancelled call raises what the loop
    raises (`trio.Cancelled`, `asyncio.CancelledError`) and harms no other call.
    """

    def __init__(
        self,
        *,
        max_message_size: int | None = None,
        claims: CallerClaims | None = None,
        cancel: bool = False,
    ) -> None:
        super().__init__()
        self._max_message_size = max_message_size
        self._claims = claims
        self._may_cancel = cancel
        self._server: tuple[str, int] | None = None
        """Host and port of the broker."""
        self._waiting: dict[str, Call | ReplyStream] = {}
        self._session: CallerSession | None = None
        self._connected = anyio.Event()
        self._is_closed = False
        self.late_replies: int = 0
        """How many replies came for calls that had ended, or came a second time; they are dropped."""

    @property
    def is_connected(self) -> bool:
        """Whether a call would be sent at once; otherwise it waits until the client has connected again."""
        return self._connected.is_set() and not self._is_closed

    @property
    def largest_request(self) -> int | None:
        """Bytes of the largest body that a call may have; None for any, or where it is not known."""
        return None if self._claims is not None else self._largest_message

    @property
    def _largest_message(self) -> int | None:
        if self._max_message_size is not None:
            return self._max_message_size
        return None if self._session is None else self._session.max_request_size

    async def call(
        self,
        body: bytes,
        *,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 - it also travels with the request, as its expiration
        headers: Mapping[str, object] = NO_HEADERS,
        priority: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> Reply:
        """Send one request and return its reply; error replies too (see `Reply.raise_for_error`).

        The request carries `timeout` as its AMQP expiration, so that no worker computes a reply that nobody
        awaits.

        Args:
            body: the request, in bytes as the service decodes them.
            queue: the worker's queue; or else give `exchange` and `routing_key`.
            exchange: where to publish; the default exchange routes by the queue's name.
            routing_key: as bound at the exchange.
            timeout: seconds from now until `ReplyTimeout`; `math.inf` for never.
            headers: AMQP headers of the request, by name.
            priority: of the message, 0 to 255; higher ones go first.
            content_type: of the body; a MIME type.

        Raises:
            Unroutable: no queue is bound there.
            PublishRefused: the queue is full, or the user may not publish there.
            RequestTooBig: the broker takes no message so large; it was not sent.
            ClaimFailed: the store for large bodies can't be used.
            ReplyTimeout: no reply came in time.
            CallInterrupted: the connection was lost, or the client was closed, while the reply was awaited.
            SettingError: the destination or the timeout makes no sense, or AMQP can't carry a property.
            TypeError: the body is not bytes.
        """
        request = Outgoing(
            body=checked_body(body),
            exchange=exchange,
            routing_key=destination(queue, exchange, routing_key),
            correlation_id=str(uuid4()),
            expiration=checked_expiration(timeout),
            priority=priority,
            headers=headers,
            content_type=content_type,
        )
        where = queue or f"{exchange}/{routing_key}"
        opentelemetry = spans_of_calls()
        if opentelemetry is None:
            return await self._call_in_time(request, timeout, where)
        with opentelemetry.sending(request, self._server) as sending:
            reply = await self._call_in_time(sending.request, timeout, where)
            sending.replied(reply)
            return reply

    def stream(
        self,
        body: bytes,
        *,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        timeout: float = 30.0,
        part_timeout: float = math.inf,
        headers: Mapping[str, object] = NO_HEADERS,
        priority: int | None = None,
        content_type: str = "application/octet-stream",
        max_unread: int = MAX_UNREAD,
    ) -> ReplyStream:
        """Send one request, and return its reply in parts: `async for part in client.stream(...)`.

        A service that does not stream sends one part. Where a worker dies, another one begins anew; the parts
        that had come are not returned a second time.

        Args:
            body: the request, in bytes as the service decodes them.
            queue: the worker's queue; or else give `exchange` and `routing_key`.
            exchange: where to publish; the default exchange routes by the queue's name.
            routing_key: as bound at the exchange.
            timeout: seconds until the reply must be complete; it travels with the request.
            part_timeout: seconds until each part must come, the first one too.
            headers: AMQP headers of the request, by name.
            priority: of the message, 0 to 255; higher ones go first.
            content_type: of the body; a MIME type.
            max_unread: bytes of parts that may wait to be read, with 1 KiB for each.

        Raises, when the next part is asked for:
            RemoteError: the reply ended with an error.
            ReplyTimeout: the reply, or the next part, did not come in time.
            StreamOverrun: more came than was read, and than may wait.
            StreamChanged: a worker died, and the reply began anew with other parts.
            Unroutable, PublishRefused, RequestTooBig, CallInterrupted: as `call`.

        Raises at once:
            SettingError, TypeError: as `call`.
        """
        POSITIVE.check("part_timeout", part_timeout)
        COUNT.check("max_unread", max_unread)
        request = Outgoing(
            body=checked_body(body),
            exchange=exchange,
            routing_key=destination(queue, exchange, routing_key),
            correlation_id=str(uuid4()),
            expiration=checked_expiration(timeout),
            priority=priority,
            headers={**headers, STREAM_HEADER: True},
            content_type=content_type,
        )
        return ReplyStream(
            request,
            self._begin_stream,
            self._leave_stream,
            where=queue or f"{exchange}/{routing_key}",
            timeout=timeout,
            part_timeout=part_timeout,
            max_unread=max_unread,
        )

    async def _begin_stream(self, request: Outgoing, stream: ReplyStream) -> Callable[[], None]:
        if not self._connected.is_set():
            request = await self._when_connected(request)
        if self._is_closed:
            raise CallInterrupted(CLOSED)
        if (too_big := self._too_big(request)) is not None:
            if self._claims is None:
                raise too_big
            began = anyio.current_time()
            request = later(await self._claims.put(request), began)
        self._waiting[request.correlation_id] = stream
        done: Callable[[], None] | None = None
        try:
            done = await self._publish_traced(request, stream)
        except BrokerError as error:
            stream.fail(error)
        except BaseException:
            del self._waiting[request.correlation_id]
            raise

        def end() -> None:
            del self._waiting[request.correlation_id]
            if done is not None:
                done()

        return end

    async def _publish_traced(self, request: Outgoing, stream: ReplyStream) -> Callable[[], None] | None:
        assert self._session is not None  # noqa: S101 - for the type checker
        opentelemetry = spans_of_calls()
        if opentelemetry is None:
            return await self._session.publish(request, stream.fail)
        with opentelemetry.sending(request, self._server) as sending:  # it ends before the reply does
            return await self._session.publish(sending.request, stream.fail)

    def _leave_stream(self, request: Outgoing) -> None:
        if self._may_cancel and self._session is not None:
            self._session.cancel(request)

    async def _call_in_time(self, request: Outgoing, seconds: float, where: str) -> Reply:
        with anyio.move_on_after(seconds):
            return await self._call(request)
        raise ReplyTimeout(f"no reply from {where} within {seconds:g} s")

    async def _call(self, request: Outgoing) -> Reply:
        if not self._connected.is_set():
            request = await self._when_connected(request)
        claims = self._claims
        if claims is None:
            return await self._send(request)
        if request.reply_to is None:  # who reads the reply to a job may be another client
            request = claims.marked(request)
        try:
            return await claims.redeemed(await self._send(request))
        except RequestTooBig:
            began = anyio.current_time()
            return await claims.redeemed(
                await claims.send(request, lambda each: self._send(later(each, began)))
            )

    async def _send(self, request: Outgoing) -> Reply:
        if self._is_closed:
            raise CallInterrupted(CLOSED)
        if (too_big := self._too_big(request)) is not None:
            raise too_big
        assert self._session is not None  # noqa: S101 - for the type checker
        call = self._waiting[request.correlation_id] = Call()
        done: Callable[[], None] | None = None
        try:
            try:
                if request.reply_to is None:
                    done = await self._session.publish(request, call.fail)
                else:
                    done = await self._session.publish(request, call.fail, call.confirm)
                if self._may_cancel and request.reply_to is None:
                    call.cancel = partial(self._session.cancel, request)
            except BrokerError as error:
                call.fail(error)
            return await call.reply()
        finally:
            del self._waiting[request.correlation_id]
            call.give_up()
            if done is not None:
                done()

    def _too_big(self, request: Outgoing) -> RequestTooBig | None:
        most = self._largest_message
        if most is None or len(request.body) <= most:
            return None
        return RequestTooBig(request.why_too_big(most))

    async def _when_connected(self, request: Outgoing) -> Outgoing:
        """Wait for a connection; what the wait took is no longer the request's to live."""
        began = anyio.current_time()
        await self._connected.wait()
        return later(request, began)

    async def _open_session(self) -> CallerSession:
        await self._connected.wait()
        if self._is_closed:
            raise CallInterrupted(CLOSED)
        assert self._session is not None  # noqa: S101 - for the type checker
        return self._session

    async def _keep_connected(self, transport: Transport, *, task_status: TaskStatus[None]) -> None:
        log = ConnectionLog("client", task_status.started)
        await keep_connected(partial(self._open, transport.open_caller), self._use, log)

    @asynccontextmanager
    async def _open(
        self, open_caller: Callable[[], AbstractAsyncContextManager[CallerSession]]
    ) -> AsyncIterator[CallerSession]:
        async with open_caller() as session:
            if self._may_cancel:
                await session.allow_cancels()
            yield session

    async def _use(self, session: CallerSession) -> None:
        session.on_reply(self._take)
        self._session = session
        self._connected.set()
        try:
            await session.watch()
        except BrokerError as error:
            # At once: closing what is left of the session may take a while.
            self._connected = anyio.Event()
            for call in self._waiting.values():
                call.fail(error)
            raise

    def _close(self) -> None:
        self._is_closed = True
        self._connected.set()  # for the calls that wait for a connection
        for call in self._waiting.values():
            call.give_up()
            call.fail(CallInterrupted(CLOSED))
        for scope in self._asking:
            scope.cancel()

    def _take(self, reply: Reply) -> None:
        call = self._waiting.get(reply.correlation_id or "")
        if call is None or call.is_answered:
            self.late_replies += 1
        else:
            call.finish(reply)
