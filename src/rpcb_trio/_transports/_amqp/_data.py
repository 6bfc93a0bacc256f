"""Channels of the data plane: a message is delivered, its reply published and confirmed; then it is acked.

Nothing here waits for a socket, and nothing crosses to asyncio. A batch of replies is one write, and so are
its acks. The broker's word on each reply comes as a confirm (a message that no queue is bound for comes back
before it), or with the end of the channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum, auto
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import msgspec
import trio

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp import _frames as frames
from rpcb_trio._transports._amqp._closing import Closing
from rpcb_trio._transports._amqp._frame_writer import ack, cancel, give_back, publish, reject
from rpcb_trio._transports._amqp._open_deliveries import OpenDeliveries
from rpcb_trio._transports._amqp._properties import Properties
from rpcb_trio._transports._amqp._tables import Unsendable

if TYPE_CHECKING:
    from rpcb_trio._messages import Request
    from rpcb_trio._transports._amqp._connection import Connection
    from rpcb_trio._transports._amqp._control import ControlChannel


class DataChannel:
    """A channel for messages, with what its connection tells it."""

    def __init__(self, connection: Connection, control: ControlChannel) -> None:
        self.connection = connection
        self.control = control
        self.closing: Closing | None = None
        self._number = control.number

    @property
    def is_open(self) -> bool:
        """Whether it can be used still."""
        return self.closing is None

    def deliver(self, deliveries: Sequence[frames.Delivery]) -> None:
        """Messages for a consumer, as many as one read of the socket brought."""

    def cancelled(self) -> None:
        """The broker has ended the consumer."""

    def confirm(self, confirm: frames.Confirm) -> None:
        """The broker's word on messages that were published."""

    def take_back(self, returned: frames.Returned) -> None:
        """A message that no queue was bound for."""

    def close(self, closing: Closing) -> None:
        """The channel, or its connection, has ended."""
        self.closing = closing


class Message(msgspec.Struct, frozen=True, eq=False):
    """A message and its address."""

    body: bytes
    properties: Properties
    routing_key: str
    exchange: str = ""
    mandatory: bool = True
    """Whether it comes back where no queue is bound for it."""
    otherwise: tuple[str, str] | None = None
    """Exchange and routing key to try where there is no queue named `routing_key`."""


class PublishStatus(Enum):
    """What became of one message."""

    NOBODY = auto()
    """There was nobody to send it to."""
    OPEN = auto()
    """The broker has not said anything about it yet."""
    CONFIRMED = auto()
    RETURNED = auto()
    """No queue is where it was sent."""
    UNSENDABLE = auto()
    """It is too big for the broker, or can't be put into AMQP (a header of a type that AMQP lacks, say)."""
    NACKED = auto()
    """The broker would not take it now; a full queue may have room later."""
    LOST = auto()
    """The connection ended before the broker said anything about it."""
    BLAMED = auto()
    """The broker closed channel or connection over a fault in what it was sent; perhaps this."""
    UNCONFIRMED = auto()
    """The broker said nothing about it in time, though it took others."""


class PublishResult(msgspec.Struct, frozen=True):
    """What became of one message, and why."""

    status: PublishStatus
    why: str = ""
    is_poison: bool = False
    """Whether the broker closed the whole connection over it, and would do so again."""


NOBODY = PublishResult(PublishStatus.NOBODY)
OPEN = PublishResult(PublishStatus.OPEN)
CONFIRMED = PublishResult(PublishStatus.CONFIRMED)
RETURNED = PublishResult(PublishStatus.RETURNED, "no queue is bound there")
NACKED = PublishResult(PublishStatus.NACKED, "the broker would not take it (nack); is its queue full?")


NO_REFUSALS: Mapping[int, PublishResult] = {}


class Sink(Protocol):
    """Learns what became of the messages that it published."""

    def finish(self, place: int, result: PublishResult) -> None:
        """Take the result of the message in that place; it may not wait."""
        ...


class Confirms:
    """The results of a batch of messages, in their order; `OPEN` until the broker has spoken on one."""

    def __init__(self, count: int) -> None:
        self.results = [OPEN] * count
        self._left = count
        self._all: trio.Event | None = None

    def finish(self, place: int, result: PublishResult) -> None:
        """See `Sink`."""
        self.results[place] = result
        self._left -= 1
        if not self._left and self._all is not None:
            self._all.set()

    def reopen(self, place: int) -> None:
        """Another message takes that place."""
        self.results[place] = OPEN
        self._left += 1

    async def wait(self, seconds: float = math.inf) -> list[PublishResult]:
        """Wait for the last of them, or so many seconds; what comes later still goes into the same list."""
        if self._left:
            self._all = trio.Event()
            with trio.move_on_after(seconds):
                await self._all.wait()
        else:
            await trio.lowlevel.checkpoint()
        return self.results


class Publications(DataChannel):
    """Publishes with confirms."""

    def __init__(self, connection: Connection, control: ControlChannel) -> None:
        super().__init__(connection, control)
        self._tag = 0
        """Of the newest message; the broker counts them too."""
        self._unconfirmed: dict[int, tuple[Sink, int, str | None]] = {}
        self._returnable: dict[str, int] = {}
        """The tags of messages that may come back, by their message id: that is how they are known again."""
        self._name = uuid4().hex

    @property
    def is_settled(self) -> bool:
        """Whether the broker has spoken on all that was published."""
        return not self._unconfirmed

    def publish(
        self, messages: Sequence[Message | None], refusals: Mapping[int, PublishResult] = NO_REFUSALS
    ) -> Confirms:
        """Send messages in one write; None stands for one that has nobody to go to.

        Those whose places are in `refusals` are not sent, and have that result.
        """
        confirms = Confirms(len(messages))
        for place, message in enumerate(messages):
            if message is None:
                confirms.finish(place, NOBODY)
            elif place in refusals:
                confirms.finish(place, refusals[place])
            else:
                self.write(message, confirms, place)
        self.connection.flush()
        return confirms

    def write(self, message: Message, sink: Sink, place: int = 0) -> None:
        """Write one message, to be sent with the next `flush`; `sink` learns what becomes of it."""
        if self.closing is not None:
            sink.finish(place, _ended_by(self.closing, was_sent=False))
            return
        tag = self._tag + 1
        properties, known = message.properties, None
        if message.mandatory:
            properties, known = self._recognisable(properties, tag)
        try:
            pieces = publish(
                self._number,
                message.exchange,
                message.routing_key,
                properties,
                message.body,
                mandatory=message.mandatory,
                frame_max=self.connection.frame_max,
            )
        except Unsendable as exc:
            sink.finish(place, PublishResult(PublishStatus.UNSENDABLE, f"it can't be put into AMQP: {exc}"))
            return
        if known is not None:
            self._returnable[known] = tag
        self._tag = tag
        self._unconfirmed[tag] = (sink, place, known)
        self.connection.write(pieces)

    def confirm(self, confirm: frames.Confirm) -> None:
        """See `DataChannel`."""
        result = CONFIRMED if confirm.is_taken else NACKED
        if not confirm.multiple:
            self._finish(confirm.tag, result)
            return
        newest = min(confirm.tag, self._tag)
        for tag in list(takewhile(lambda each: each <= newest, self._unconfirmed)):
            self._finish(tag, result)

    def take_back(self, returned: frames.Returned) -> None:
        """See `DataChannel`."""
        name = None if returned.properties is None else returned.properties.message_id
        if name in self._returnable:
            self._finish(self._returnable[name], RETURNED)

    def forget(self, sink: Sink, places: Collection[int]) -> None:
        """Keep nothing of messages whose results nobody waits for any more."""
        for tag, (whose, place, _) in [*self._unconfirmed.items()]:
            if whose is sink and place in places:
                self._finish(tag, OPEN)

    def close(self, closing: Closing) -> None:
        """See `DataChannel`."""
        super().close(closing)
        for tag in list(self._unconfirmed):
            self._finish(tag, _ended_by(closing, was_sent=True))

    def _finish(self, tag: int, result: PublishResult) -> None:
        found = self._unconfirmed.pop(tag, None)
        if found is not None:
            sink, place, known = found
            if known is not None:
                self._returnable.pop(known, None)
            sink.finish(place, result)

    def _recognisable(self, properties: Properties, tag: int) -> tuple[Properties, str]:
        """Give a message an id that no other one on its way has."""
        known = properties.message_id
        if known is None or known in self._returnable:
            known = f"{self._name}.{tag}"
            properties = msgspec.structs.replace(properties, message_id=known)
        return properties, known


def _ended_by(closing: Closing, *, was_sent: bool) -> PublishResult:
    if was_sent and closing.is_fault:
        return PublishResult(PublishStatus.BLAMED, closing.why, is_poison=closing.is_of_connection)
    return PublishResult(PublishStatus.LOST, closing.why)


class Consumption(DataChannel):
    """Takes deliveries, and settles them."""

    def __init__(self, connection: Connection, control: ControlChannel) -> None:
        super().__init__(connection, control)
        self._open = OpenDeliveries()
        self.take: Callable[[Sequence[frames.Delivery]], None] = lambda _: None
        self.end: Callable[[str | None], None] = lambda _: None
        """Is told why no more come: None where the broker has ended the consumer."""

    def deliver(self, deliveries: Sequence[frames.Delivery]) -> None:
        """See `DataChannel`."""
        self.take(deliveries)

    def cancelled(self) -> None:
        """See `DataChannel`."""
        self.end(None)

    def close(self, closing: Closing) -> None:
        """See `DataChannel`."""
        super().close(closing)
        self.end(closing.why)

    def enter(self, request: Request) -> None:
        """A request is open from here on."""
        self._open.enter(request)

    def holds(self, request: Request) -> bool:
        """Whether a request was delivered here and is open."""
        return self._open.holds(request)

    def reject_unread(self, tag: int) -> None:
        """Have the broker dead-letter what never became a request."""
        self.connection.write([reject(self._number, tag)])
        self.connection.flush()

    def give_back(self, requests: Sequence[Request], consumer: str | None) -> None:
        """Have the broker deliver these again; to `consumer` no more, where it still consumes."""
        tags = [request.tag for request in requests if self._open.holds(request)]
        if self.closing is not None or not tags:
            return
        self._open.strike(tags)
        pieces = [] if consumer is None else [cancel(self._number, consumer)]
        self.connection.write([*pieces, *(give_back(self._number, tag) for tag in tags)])
        self.connection.flush()

    @property
    def open_requests(self) -> list[Request]:
        """Those that the broker still waits for, in the order of their delivery."""
        return self._open.requests

    def settle(
        self, acked: Collection[int], rejected: Collection[int] = (), requeued: Collection[int] = ()
    ) -> None:
        """Tell the broker which deliveries are over, in one write and the fewest frames.

        The frames leave in the order of `OpenDeliveries`: the broker closes the channel for a tag that is
        acked twice.

        Raises:
            SessionLost: the channel has ended, and with it every tag.
        """
        if self.closing is not None:
            raise SessionLost(self.closing.why)
        for tags in (rejected, requeued):
            self._open.strike(tags)
        pieces = [reject(self._number, tag) for tag in rejected]
        pieces += [give_back(self._number, tag) for tag in requeued]
        pieces += [ack(self._number, tag, multiple=multiple) for tag, multiple in self._open.strike(acked)]
        self.connection.write(pieces)
        self.connection.flush()
