"""Publishing with confirms.

Nothing here waits for a socket. A batch of replies is one write. What became of each comes as a confirm (what
no queue is bound for comes back before it), or with the end of the channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from itertools import takewhile
from uuid import uuid4

import msgspec
import trio

from rpcb_trio._transports._amqp._control._channel import ControlChannel
from rpcb_trio._transports._amqp._data._closing import Closing
from rpcb_trio._transports._amqp._data._connection import Connection, DataChannel
from rpcb_trio._transports._codec import _frames as frames
from rpcb_trio._transports._codec._frame_writer import publish
from rpcb_trio._transports._codec._properties import Properties
from rpcb_trio._transports._codec._tables import Unsendable


class PublishStatus(Enum):
    """What became of a message."""

    OPEN = auto()
    """The broker has not said anything about it yet."""
    NOT_SENT = auto()
    """It was not sent: its request named no address."""
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
    """What became of a message, and why."""

    status: PublishStatus
    why: str = ""
    is_poison: bool = False
    """Whether the broker closed the whole connection over it, and would do so again."""


OPEN = PublishResult(PublishStatus.OPEN)
NOT_SENT = PublishResult(PublishStatus.NOT_SENT)
CONFIRMED = PublishResult(PublishStatus.CONFIRMED)
RETURNED = PublishResult(PublishStatus.RETURNED, "no queue is bound there")
NACKED = PublishResult(PublishStatus.NACKED, "the broker would not take it (nack); is its queue full?")
UNCONFIRMED = PublishResult(PublishStatus.UNCONFIRMED, "the broker does not confirm it")


class Publication(msgspec.Struct, eq=False):
    """A message, its address, and what became of it."""

    body: bytes
    properties: Properties
    routing_key: str
    exchange: str = ""
    mandatory: bool = True
    """Whether it comes back where no queue is bound for it."""
    otherwise: tuple[str, str] | None = None
    """Exchange and routing key to try where there is no queue named `routing_key`."""
    result: PublishResult = OPEN
    channel: PublishChannel | None = None
    """Where it was published last."""
    tag: int = 0
    """Its number there."""
    returns_as: str | None = None
    """The message id by which it is known again if it comes back."""
    decided: trio.Event | None = None

    def finish(self, result: PublishResult) -> None:
        self.result = result
        if self.decided is not None:
            self.decided.set()
            self.decided = None

    def give_up(self) -> None:
        """Wait for its confirm no longer, and keep nothing of it."""
        if self.channel is not None:
            self.channel.forget(self)
        self.result = UNCONFIRMED


async def wait_for_results(publications: Sequence[Publication], seconds: float = math.inf) -> None:
    """Wait until none is `OPEN`, or so many seconds. What is decided later still shows in `result`."""
    left = [each for each in publications if each.result is OPEN]
    if not left:
        await trio.lowlevel.checkpoint()
        return
    with trio.move_on_after(seconds):
        for each in reversed(left):  # once the last one is confirmed, the others mostly are
            while each.result is OPEN:
                if each.decided is None:
                    each.decided = trio.Event()
                await each.decided.wait()


class PublishChannel(DataChannel):
    def __init__(self, connection: Connection, control: ControlChannel) -> None:
        super().__init__(connection, control)
        self._tag = 0
        """Of the newest message; the broker counts them too."""
        self._unconfirmed: dict[int, Publication] = {}
        self._returnable: dict[str, int] = {}
        """The tags of messages that may come back, by their message id: that is how they are known again."""
        self._name = uuid4().hex

    @property
    def is_settled(self) -> bool:
        """Whether the broker has spoken on all that was published."""
        return not self._unconfirmed

    def write(self, publication: Publication) -> None:
        """Write a message, to be sent with the next `flush`."""
        if self.closing is not None:
            publication.finish(_ended_by(self.closing, was_sent=False))
            return
        tag = self._tag + 1
        properties, known = publication.properties, None
        if publication.mandatory:
            known = properties.message_id
            if known is None or known in self._returnable:  # no other on its way may have its id
                known = f"{self._name}.{tag}"
                properties = msgspec.structs.replace(properties, message_id=known)
        try:
            pieces = publish(
                self._number,
                publication.exchange,
                publication.routing_key,
                properties,
                publication.body,
                mandatory=publication.mandatory,
                frame_max=self.connection.frame_max,
            )
        except Unsendable as exc:
            why = f"it can't be put into AMQP: {exc}"
            publication.finish(PublishResult(PublishStatus.UNSENDABLE, why))
            return
        if known is not None:
            self._returnable[known] = tag
        self._tag = tag
        publication.result, publication.channel, publication.tag = OPEN, self, tag
        publication.returns_as = known
        self._unconfirmed[tag] = publication
        self.connection.wire.write(pieces)

    def confirm(self, confirm: frames.Confirm) -> None:
        result = CONFIRMED if confirm.is_taken else NACKED
        if not confirm.multiple:
            self._finish(confirm.tag, result)
            return
        newest = min(confirm.tag, self._tag)
        for tag in list(takewhile(lambda each: each <= newest, self._unconfirmed)):
            self._finish(tag, result)

    def take_back(self, returned: frames.Returned) -> None:
        name = None if returned.properties is None else returned.properties.message_id
        if name in self._returnable:
            self._finish(self._returnable[name], RETURNED)

    def forget(self, publication: Publication) -> None:
        """Keep nothing of a message whose result is no longer waited for."""
        if self._unconfirmed.get(publication.tag) is publication:
            del self._unconfirmed[publication.tag]
            self._returnable.pop(publication.returns_as or "", None)

    def close(self, closing: Closing) -> None:
        super().close(closing)
        for tag in list(self._unconfirmed):
            self._finish(tag, _ended_by(closing, was_sent=True))

    def _finish(self, tag: int, result: PublishResult) -> None:
        publication = self._unconfirmed.pop(tag, None)
        if publication is not None:
            if publication.returns_as is not None:
                self._returnable.pop(publication.returns_as, None)
            publication.finish(result)


def _ended_by(closing: Closing, *, was_sent: bool) -> PublishResult:
    if was_sent and closing.is_fault:
        return PublishResult(PublishStatus.BLAMED, closing.why, is_poison=closing.is_of_connection)
    return PublishResult(PublishStatus.LOST, closing.why)
