"""Consuming: deliveries become requests, and what the broker still waits for is settled in few frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile

import msgspec

from rpcb_trio._messages import NO_HEADERS, Request
from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._data._connection import Connection, DataChannel
from rpcb_trio._transports._codec import _frames as frames
from rpcb_trio._transports._codec._frame_writer import ack, cancel, reject, requeue
from rpcb_trio._transports._codec._properties import PERSISTENT, Properties
from rpcb_trio._transports._deadline import DEADLINE_HEADER, Deadlines
from rpcb_trio.errors import SessionLost


class Delivered(Request, frozen=True, eq=False, kw_only=True):
    """A request that remembers the message it was, should it go to the dead letters."""

    delivery: frames.Delivery

    @property
    def properties(self) -> Properties:
        """As its caller wrote them."""
        assert self.delivery.properties is not None  # noqa: S101 - what can't be read becomes no request
        return self.delivery.properties


class Reading(msgspec.Struct, frozen=True):
    """What is known of a queue, to read its deliveries by."""

    deadlines: Deadlines
    unset_priority: int = 0
    """What a delivery without a priority counts as, as the broker has it in this queue."""

    def request(
        self, delivery: frames.Delivery, properties: Properties, arrived: float, wall: float
    ) -> Delivered:
        """Read a delivery that arrived at `arrived` on trio's clock, `wall` in UNIX seconds."""
        headers = properties.headers or NO_HEADERS
        deadline = None
        if properties.expiration is not None or DEADLINE_HEADER in headers:
            deadline = self.deadlines.read(
                arrived,
                wall,
                lifetime=_seconds(properties.expiration),
                sent=properties.timestamp,
                headers=headers,
                reply_to=properties.reply_to,
                redelivered=delivery.redelivered,
            )
        priority = properties.priority
        return Delivered(
            body=delivery.body,
            arrived=arrived,
            reply_to=properties.reply_to or None,
            correlation_id=properties.correlation_id,
            deadline=deadline,
            redelivered=delivery.redelivered,
            priority=self.unset_priority if priority is None else priority,
            persistent=properties.delivery_mode == PERSISTENT,
            headers=headers,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            tag=delivery.tag,
            delivery=delivery,
        )


def _seconds(expiration: str | None) -> float | None:
    """Expirations are milliseconds, written out."""
    if not expiration or not expiration.isascii() or not expiration.isdecimal():
        return None
    return int(expiration) / 1000


class OpenDeliveries:
    """The deliveries that the broker still waits for, in the order of their tags."""

    def __init__(self) -> None:
        self._open: dict[int, Request] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def requests(self) -> list[Request]:
        return list(self._open.values())

    @property
    def newest(self) -> int:
        """The last tag that is open; 0 where none is."""
        return next(reversed(self._open), 0)

    def later_than(self, tag: int) -> int:
        """How many are open that were delivered after this one."""
        return sum(1 for _ in takewhile(lambda each: each > tag, reversed(self._open)))

    def enter(self, request: Request) -> None:
        """A request was delivered; tags only ever grow, so the dict stays in their order."""
        self._open[request.tag] = request

    def holds(self, request: Request) -> bool:
        """Whether it was delivered by this session and is open; another session's tags mean nothing here."""
        return self._open.get(request.tag) is request

    def strike(self, tags: Collection[int]) -> list[tuple[int, bool]]:
        """Close deliveries; returns the acks to send for them, as tag and `multiple`.

        `multiple` acks everything up to its tag, so it is for tags before which nothing else is open.
        """
        last, count, struck = 0, 0, frozenset(tags)
        for tag in self._open:
            if tag not in struck:
                break
            last, count = tag, count + 1
        acks = [(tag, False) for tag in tags if tag > last]
        if count:
            acks.insert(0, (last, count > 1))
        for tag in tags:
            del self._open[tag]
        return acks


class Consumption(DataChannel):
    """A channel to consume on. Deliveries are settled on the channel that they came on."""

    def __init__(self, connection: Connection, control: ControlChannel) -> None:
        super().__init__(connection, control)
        self.deliveries = OpenDeliveries()

    def reject_unread(self, tag: int) -> None:
        """Have the broker dead-letter what never became a request."""
        self.connection.wire.write([reject(self._number, tag)])
        self.connection.wire.flush()

    def requeue(self, requests: Sequence[Request], consumers: Iterable[str]) -> None:
        """Have the broker deliver these again; to these `consumers` no more."""
        tags = [request.tag for request in requests if self.deliveries.holds(request)]
        if self.closing is not None or not tags:
            return
        self.connection.wire.write([cancel(self._number, each) for each in consumers])
        self.settle((), requeued=tags)

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
            self.deliveries.strike(tags)
        pieces = [reject(self._number, tag) for tag in rejected]
        pieces += [requeue(self._number, tag) for tag in requeued]
        pieces += [
            ack(self._number, tag, multiple=multiple) for tag, multiple in self.deliveries.strike(acked)
        ]
        self.connection.wire.write(pieces)
        self.connection.wire.flush()
