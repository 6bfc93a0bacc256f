"""What the stages of one session share, and what more than one of them does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec
import trio

from rpcb_trio._batching import Prefetching
from rpcb_trio._instruments import Instrument
from rpcb_trio._messages import Answer
from rpcb_trio._pipeline._content_cache import is_hit
from rpcb_trio._pipeline._encoding import Encoding
from rpcb_trio._pipeline._flights import Flights
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._part_sender import PartSender
from rpcb_trio._pipeline._prefetching import Follower
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._transports import Session

if TYPE_CHECKING:
    from rpcb_trio._pipeline._pipeline import Pipeline

T = TypeVar("T")


class Outcomes(msgspec.Struct, frozen=True):
    """Requests with what becomes of them, ready to be encoded by the service that computed them."""

    generation: Generation
    several: Sequence[Resolved | Answer]


class Shared:
    """What the stages of one session share.

    Args:
        pipeline: what the worker keeps from one session to the next.
        session: what is served.
        rule: of the prefetch; it is told what happens.
        follower: does what the rule says.
    """

    def __init__(self, pipeline: Pipeline, session: Session, rule: Prefetching, follower: Follower) -> None:
        self.pipeline = pipeline
        self.session = session
        self.rule = rule
        self.follower = follower
        self.flights = Flights(
            pipeline.contents,
            pipeline.live["shares"],
            missed=lambda request: pipeline.instruments.notify(Instrument.cache_missed, request),
        )
        self.idle = trio.Semaphore(0)
        """How many executors are."""
        self.caught_up = trio.lowlevel.ParkingLot()
        self.nursery: trio.Nursery
        self.intake: trio.Nursery
        """For the stages that take in what has not started; inside the other."""

    def notify_refused(self, answered: Sequence[Resolved | Answer]) -> None:
        """Tell the instruments of what is not computed."""
        for each in answered:
            if each.error is None:
                is_shared = isinstance(each, Answer) and is_hit(each)
                event = Instrument.cache_hit if is_shared else Instrument.request_repeated
                self.pipeline.instruments.notify(event, each.request)
            else:
                self.pipeline.instruments.notify(Instrument.request_refused, each.request, each.error, None)

    def finish(
        self, generation: Generation, computed: trio.MemorySendChannel[Outcomes], ending: Resolved | Answer
    ) -> None:
        """Have what is computed answered."""
        self.pipeline.ledger.end([ending.request])
        generation.uses.begin()
        computed.send_nowait(Outcomes(generation, [ending]))

    def sender(
        self, encoding: Encoding, finish: Callable[[Resolved | Answer], None], late: trio.Nursery
    ) -> PartSender:
        """For the parts of replies."""
        return PartSender(
            encoding,
            self.session,
            finish,
            nursery=late,
            caught_up=self.caught_up,
            instruments=self.pipeline.instruments,
            max_size=self.pipeline.answering.max_reply_size,
        )


def at_hand(channel: trio.MemoryReceiveChannel[T]) -> list[T]:
    """All that can be received without waiting."""
    taken: list[T] = []
    try:
        while True:
            taken.append(channel.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return taken
