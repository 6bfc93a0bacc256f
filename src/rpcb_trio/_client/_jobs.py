"""Jobs: requests whose replies wait in queues of their own until somebody asks for them.

Each job has a durable queue, named by its id, which holds its one reply. So the broker is the store: any
program that has the id gets the reply, whichever submitted the job, and nothing that restarts loses it. The
queue goes once nobody has used it for as long as the job is kept.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import TypeVar

import anyio

from rpcb_trio._backoff import Backoff
from rpcb_trio._bounds import Bounds
from rpcb_trio._client._outgoing import CLOSED, checked_body, checked_expiration, destination
from rpcb_trio._messages import NO_HEADERS, Outgoing, Reply
from rpcb_trio._tracing import spans_of_calls
from rpcb_trio._transports import CallerSession
from rpcb_trio.errors import CallError, CallInterrupted, JobGone, PublishRefused, ReplyTimeout, SessionLost

DAY = 86400.0
"""Seconds."""

KEPT = Bounds(least=1, most=40 * DAY)
"""Seconds. RabbitMQ takes no `x-expires` beyond 49 days."""

PREFIX = "rpcb-job."
"""How the names of the queues begin; what follows is the job's id."""

MOST_KEPT = 10_000
"""Jobs that one client submits and does not forget, while they are kept: each is a queue of the broker's."""

ID = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)
RANDOM_BYTES = 24

T = TypeVar("T")


class JobStatus(StrEnum):
    """What is known of a job."""

    QUEUED = "queued"
    """It waits, or is being computed: a broker does not say which."""
    DONE = "done"
    """Its reply is there; it may be an error reply."""
    GONE = "gone"
    """There is no such job, or no longer."""


class JobCalls:
    """What a client does with jobs."""

    _server: tuple[str, int] | None
    _is_closed: bool

    def __init__(self) -> None:
        self._asking: set[anyio.CancelScope] = set()
        """Of what is under way; a client that is closed cancels it."""
        self._kept: dict[str, float] = {}
        """Of the jobs that this client has submitted, until when each is kept if nobody asks for it."""

    async def _call(self, request: Outgoing) -> Reply:
        raise NotImplementedError

    async def _open_session(self) -> CallerSession:
        raise NotImplementedError

    async def submit(
        self,
        body: bytes,
        *,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        keep: float = DAY,
        expiration: float = math.inf,
        timeout: float = 30.0,  # noqa: ASYNC109 - as `call` has it
        headers: Mapping[str, object] = NO_HEADERS,
        priority: int = 0,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Submit a job, and return its id once the broker has stored it.

        Whoever has the id gets the reply, from any client of this broker; nobody can guess it. The request
        and the reply survive restarts: of the broker, if the worker's queue is durable, of the worker, and of
        this program. A connection that is lost meanwhile may have the job queued twice; it has one reply.

        Args:
            body: the request, in bytes as the service decodes them.
            queue: the worker's queue; or else give `exchange` and `routing_key`.
            exchange: where to publish; the default exchange routes by the queue's name.
            routing_key: as bound at the exchange.
            keep: seconds, up to 40 days. The job and its reply are kept until nobody has asked for them, or
                waited for them, for so long.
            expiration: seconds in which a worker must take the job; `math.inf` for any time.
            timeout: seconds that submitting may take.
            headers: AMQP headers of the request, by name.
            priority: of the message, 0 to 255; with 0, calls of a higher priority come first.
            content_type: of the body; a MIME type.

        Raises:
            Unroutable, PublishRefused, RequestTooBig: as `call`; or the user may not create the job's queue,
                or this client has 10,000 jobs already that it has not forgotten.
            ReplyTimeout: the broker did not store it in time.
            CallInterrupted: the client was closed.
            SettingError: the destination or a time makes no sense, or AMQP can't carry a property.
            TypeError: the body is not bytes.
        """
        KEPT.check("keep", keep)
        job = secrets.token_urlsafe(RANDOM_BYTES)
        request = Outgoing(
            body=checked_body(body),
            exchange=exchange,
            routing_key=destination(queue, exchange, routing_key),
            correlation_id=job,
            expiration=checked_expiration(expiration, "expiration"),
            priority=priority,
            headers=headers,
            content_type=content_type,
            reply_to=_queue_of(job),
        )
        self._check_number()
        self._kept[job] = anyio.current_time() + keep
        try:
            await self._submit(request, keep, timeout)
        except BaseException:
            self._kept.pop(job, None)
            raise
        return job

    async def result(self, job: str, *, timeout: float = 30.0) -> Reply:  # noqa: ASYNC109 - as `call` has it
        """Wait for the reply to a job, and return it; an error reply too (see `Reply.raise_for_error`).

        It stays with the broker, for others and for later, until it is forgotten or not asked for any more.

        Args:
            job: its id.
            timeout: seconds from now until `ReplyTimeout`; the job goes on.

        Raises:
            JobGone: there is no such job, or no longer.
            ReplyTimeout: there was no reply in time, or no connection.
            PublishRefused: the user may not read the job's queue.
            CallInterrupted: the client was closed.
            SettingError: the timeout makes no sense.
        """
        name = _queue_of(job)

        async def wait(session: CallerSession) -> Reply:
            async with session.inboxes.open(name, prefetch=1) as inbox:
                if inbox is None:
                    raise JobGone(f"there is no job {job}, or no longer")
                async for _, reply in inbox.replies:
                    return reply
            raise SessionLost("the broker ended the wait")

        return await self._persistently(wait, timeout, f"no reply to job {job}")

    async def status(self, job: str, *, timeout: float = 30.0) -> JobStatus:  # noqa: ASYNC109 - likewise
        """What is known of a job. While another client takes its reply, a job that is done shows as queued.

        Args:
            job: its id.
            timeout: seconds, for the broker's answer.

        Raises:
            ReplyTimeout, PublishRefused, CallInterrupted, SettingError: as `result`.
        """

        async def look(session: CallerSession) -> JobStatus:
            depth = await session.inboxes.depth(name)
            if depth is None:
                return JobStatus.GONE
            return JobStatus.DONE if depth else JobStatus.QUEUED

        if not ID.fullmatch(job):
            return JobStatus.GONE
        name = _queue_of(job)
        return await self._persistently(look, timeout, f"no status of job {job}")

    async def forget(self, job: str, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - likewise
        """Delete a job's reply, now or once it comes.

        A worker that has the job, or takes it later, computes it nevertheless.

        Args:
            job: its id; one that is gone is none too many.
            timeout: seconds, for the broker's answer.

        Raises:
            ReplyTimeout, PublishRefused, CallInterrupted, SettingError: as `result`.
        """

        async def delete(session: CallerSession) -> None:
            await session.inboxes.delete(name)

        if ID.fullmatch(job):
            name = _queue_of(job)
            await self._persistently(delete, timeout, f"job {job} could not be forgotten")
            self._kept.pop(job, None)

    def _check_number(self) -> None:
        if len(self._kept) < MOST_KEPT:
            return
        now = anyio.current_time()
        self._kept = {job: until for job, until in self._kept.items() if until > now}
        if len(self._kept) >= MOST_KEPT:
            raise PublishRefused(f"this client keeps {MOST_KEPT} jobs already; forget those that are used")

    async def _submit(self, request: Outgoing, keep: float, seconds: float) -> None:
        inbox = request.reply_to or ""

        async def submit(request: Outgoing, session: CallerSession) -> None:
            await session.inboxes.declare(inbox, unused=keep, most=1)
            try:
                await self._call(request)
            except CallInterrupted:
                raise
            except CallError:
                await session.inboxes.delete(inbox)
                raise

        await self._traced(request, seconds, submit)

    async def _deposit(self, request: Outgoing, seconds: float) -> None:
        """Send a request whose reply goes to an inbox that is there; return once the broker has stored it."""

        async def deposit(request: Outgoing, _: CallerSession) -> None:
            await self._call(request)

        await self._traced(request, seconds, deposit)

    async def _traced(
        self,
        request: Outgoing,
        seconds: float,
        send: Callable[[Outgoing, CallerSession], Awaitable[None]],
    ) -> None:
        opentelemetry = spans_of_calls()
        otherwise = "the broker has not stored the job"
        if opentelemetry is None:
            await self._persistently(partial(send, request), seconds, otherwise)
        else:
            with opentelemetry.sending(request, self._server) as sending:
                await self._persistently(partial(send, sending.request), seconds, otherwise)

    async def _persistently(
        self, work: Callable[[CallerSession], Awaitable[T]], seconds: float, otherwise: str
    ) -> T:
        """Do it over this connection, or the next one where this is lost meanwhile."""
        checked_expiration(seconds)
        backoff = Backoff()
        with anyio.move_on_after(seconds) as scope:
            self._asking.add(scope)
            try:
                while True:
                    session = await self._open_session()
                    with suppress(SessionLost, CallInterrupted):
                        return await work(session)
                    await backoff.wait()
            finally:
                self._asking.remove(scope)
        raise (
            CallInterrupted(CLOSED) if self._is_closed else ReplyTimeout(f"{otherwise} within {seconds:g} s")
        )


def _queue_of(job: str) -> str:
    """The queue of a job.

    Raises:
        JobGone: that is no id.
    """
    if not ID.fullmatch(job):  # whoever passes on what a user wrote must not reach other queues by it
        raise JobGone(f"{job[:40]!r} is no id of a job")
    return f"{PREFIX}{job}"
