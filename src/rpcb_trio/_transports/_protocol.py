"""What the pipeline and the client ask of a broker, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import msgspec
import trio

from rpcb_trio._messages import Answer, CallId, Notice, Outgoing, Reply, Request, Settled
from rpcb_trio._transports._topology import Topology
from rpcb_trio.errors import RpcbError

Rest: TypeAlias = Callable[[], Awaitable[list[Settled]]]
"""What is left to be done for some answers; it raises what `Session.settle` does."""


class QueueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A queue at this moment."""

    ready: int
    """Messages that wait to be delivered."""
    consumers: int


class Session(Protocol):
    """A worker's connection, from opening to end. Delivery tags are valid within it and void after it."""

    @property
    def requests(self) -> trio.MemoryReceiveChannel[Request]:
        """The deliveries. Ends (`trio.EndOfChannel`) once consuming has stopped and all were received."""
        ...

    @property
    def blockages(self) -> trio.MemoryReceiveChannel[str | None]:
        """The broker's reason whenever it stops taking replies (short of memory, disk), None when it goes on.

        Until then `settle` waits, and so no more is delivered than the prefetch.
        """
        ...

    @property
    def cancels(self) -> trio.MemoryReceiveChannel[CallId]:
        """The requests that callers give up, held here or not; only asked for with `Topology.cancel`."""
        ...

    @property
    def max_reply_size(self) -> int | None:
        """The largest body, in bytes, that the broker is known to take; it may be learned on the way."""
        ...

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        """Publish the replies, await the broker's confirms, then ack the requests; all of them at once.

        A request without a reply is only acked, or goes to the dead letters and is acked then. What can't be
        sent (`Settled.UNSENDABLE`) is left as it is, to be answered otherwise. The request of a part stays
        open, whatever becomes of the part. Returns how each one ended, in order. Cancelled half-way, what is
        not acked is redelivered.

        Raises:
            SessionLost: the broker is gone; nothing that was not acked is lost, it is redelivered.
        """
        ...

    async def settle_promptly(
        self, answers: Sequence[Answer]
    ) -> tuple[Sequence[Settled | None], Rest | None]:
        """As `settle`, but what takes longer than usual is not waited for.

        Such a one has None in its place, and then there is a `Rest`, to be awaited for the endings of all.
        """
        ...

    def apart(self, answers: Sequence[Answer]) -> Sequence[Sequence[Answer]]:
        """Divide answers: those that are settled promptly, for all we know, come first; there may be none.

        Each of the others goes to an address that gives trouble, so that no other should wait for it.
        """
        ...

    async def has_caller(self, reply_to: str) -> bool:
        """False where a direct reply-to address is known to lead nowhere any more."""
        ...

    def room(self, settled: Iterable[Request] = ()) -> int:
        """How many more requests the broker may deliver, once these are settled."""
        ...

    async def reconsume(self, *, prefetch: int, priority: int = 0) -> None:
        """Consume anew: up to `prefetch` unacked requests, beside those that are held already.

        These stay the worker's to settle, and what is on its way still comes. With a prefetch of 0 nothing
        more comes until the next call; that is not done where the queue might go with its last consumer. Of
        the consumers of a queue that have room, the broker serves those of the highest `priority` first, in
        turn. Once `stop_consuming` was called, this does nothing.

        A quorum queue counts what comes at the very moment as delivered once more, unless `room` is 0.

        Raises:
            SessionLost: the broker is gone, or does not let the worker consume any more.
        """
        ...

    async def backlog(self) -> QueueFacts:
        """How many requests lie in the queue, undelivered, and how many consume it.

        Raises:
            SessionLost: the broker is gone, or the queue.
        """
        ...

    async def stop_consuming(self) -> None:
        """Tell the broker to deliver no more; `requests` ends after what is already here."""
        ...

    def requeue(self, requests: Sequence[Request]) -> None:
        """Consume no more, and requeue what is not being worked on, before the session is left.

        What is still open then is requeued too, but a broker may count that as a failed delivery of it.
        """
        ...

    async def watch(self) -> None:
        """Wait for the end of the session; never returns.

        Raises:
            SessionLost: as soon as the connection, the channel or the consumer is lost.
        """
        ...


class Inbox(Protocol):
    """A consumer of replies, with what it has not acked yet; that goes back to its queue at the end."""

    @property
    def replies(self) -> AsyncIterable[tuple[int, Reply]]:
        """As they come, each with its delivery tag; it ends when the queue or the connection is gone."""
        ...

    def ack(self, tag: int) -> None:
        """Take a reply off its queue for good."""
        ...


class Inboxes(Protocol):
    """Durable queues for replies, which wait there for whoever asks.

    Each coroutine raises:
        PublishRefused: the user may not, or the broker has no room for another queue.
        SettingError: no queue can have that name.
        SessionLost: the connection is gone, or the broker does not answer in time.
    """

    async def declare(self, queue: str, *, unused: float, most: int | None = None) -> None:
        """Create one, if it is not there.

        Args:
            queue: its name.
            unused: seconds; it goes once nobody has declared or consumed it for so long.
            most: how many replies it holds; the oldest are dropped. None for any number.
        """
        ...

    async def depth(self, queue: str) -> int | None:
        """How many replies wait in it; None where there is no such queue."""
        ...

    async def delete(self, queue: str) -> None:
        """Delete it with all that it holds; nothing where it is not there."""
        ...

    def open(self, queue: str, *, prefetch: int) -> AbstractAsyncContextManager[Inbox | None]:
        """Consume it, with at most `prefetch` replies unacked; None where there is no such queue."""
        ...


class CallerSession(Protocol):
    """A client's connection: requests go out, replies come in on a direct reply-to address."""

    @property
    def inboxes(self) -> Inboxes:
        """The durable queues for replies."""
        ...

    @property
    def max_request_size(self) -> int | None:
        """The largest body, in bytes, that the broker takes by default, or that it has named as its limit."""
        ...

    async def allow_cancels(self) -> None:
        """See to it that `cancel` may be called: declare the exchange of cancels, if it is not there.

        Raises:
            TopologyMismatch: it can't be had, or the user may not publish there.
            SessionLost: the connection is gone.
        """
        ...

    def cancel(self, request: Outgoing) -> None:
        """Tell workers that nobody awaits the reply to a request any more. No error shows: it is best effort.

        `publish` has returned for it, and what that returned was not called yet.
        """
        ...

    def on_reply(self, take: Callable[[Reply], None]) -> None:
        """Have `take` called with each reply as it comes; it may not wait. To be named before any request."""
        ...

    async def publish(
        self,
        request: Outgoing,
        failed: Callable[[RpcbError], None],
        confirmed: Callable[[], None] | None = None,
    ) -> Callable[[], None] | None:
        """Send a request. Where the broker refuses it later, `failed` is called with the error.

        `confirmed` is called once the broker has it, in a queue.

        Returns a function, where the session has to know, to be called once its reply is no longer awaited.

        Raises, or passes to `failed` later:
            Unroutable: no queue is bound there.
            PublishRefused: the queue is full, or the user may not publish there.
            RequestTooBig: it is larger than the broker takes.
            SettingError: it can't be put into the broker's protocol.
            SessionLost: the connection is gone.
        """
        ...

    async def watch(self) -> None:
        """Wait for the end of the session; never returns.

        Raises:
            SessionLost: as soon as the connection is lost.
        """
        ...


class NoticePublisher(Protocol):
    """A connection for notices: to whoever listens, without the broker's word on any."""

    async def publish(self, notices: Sequence[Notice]) -> None:
        """Send them; it waits while the broker takes none.

        Raises:
            SessionLost: the connection is gone.
        """
        ...


class NoticeSubscriber(Protocol):
    """A connection that listens to an exchange."""

    @property
    def bodies(self) -> AsyncIterable[bytes]:
        """Of the notices as they come, without end; where they are not taken in time, some are lost."""
        ...

    async def depth(self, queue: str) -> int | None:
        """How many messages lie in a queue, undelivered; None where the broker does not say.

        Raises:
            SessionLost: the connection is gone.
        """
        ...

    async def watch(self) -> None:
        """Wait for the end; never returns.

        Raises:
            SessionLost: as soon as the connection or the subscription is lost.
        """
        ...


class Transport(Protocol):
    """A way to a broker."""

    def open_session(self, topology: Topology, *, prefetch: int) -> AbstractAsyncContextManager[Session]:
        """Connect, declare, and consume with at most `prefetch` unacked requests; leaving it closes all.

        Raises:
            LoginRefused, TopologyMismatch: asking again would not help.
            SessionLost: the broker can't be reached, or it hung up.
            SettingError: a setting can't be right for any broker.
        """
        ...

    def open_caller(self) -> AbstractAsyncContextManager[CallerSession]:
        """Connect for calling; leaving it closes the connection.

        Raises:
            LoginRefused: asking again would not help.
            SessionLost: the broker can't be reached, or it hung up.
        """
        ...


class NoticeTransport(Protocol):
    """A way to a broker for notices; serving and calling need none."""

    def open_publisher(self, exchange: str) -> AbstractAsyncContextManager[NoticePublisher]:
        """Connect for notices to a topic exchange, which is declared if it is not there.

        Raises:
            LoginRefused, TopologyMismatch: asking again would not help.
            SessionLost: the broker can't be reached, or it hung up.
            SettingError: no exchange can have that name.
        """
        ...

    def open_subscriber(self, exchange: str) -> AbstractAsyncContextManager[NoticeSubscriber]:
        """Connect and listen to a topic exchange, under trio or asyncio; it is declared if it is not there.

        Raises:
            LoginRefused, TopologyMismatch, SessionLost, SettingError: as `open_publisher`.
        """
        ...


class BrokerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A broker, and how we are connected to it."""

    product: str
    version: str
    largest_message: int | None
    """Bytes, by default of that version; None where it is not known."""
    host: str
    port: int
    vhost: str
    user: str
    login: str
    """The way to log in: `PLAIN`, or `EXTERNAL` by certificate."""
    heartbeat: int
    """Seconds; 0 for none."""
    tls: str | None
    """The protocol's version, as `TLSv1.3`; None for plain text."""
    verified: bool = True
    """Whether the broker's certificate was checked."""
    certificate_days: float | None = None
    """How many days the broker's certificate is valid still."""

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version; zeros where they can't be read."""
        numbers = [int(part) if part.isdecimal() else 0 for part in self.version.split(".")[:2]]
        major, minor = (*numbers, 0, 0)[:2]
        return major, minor
