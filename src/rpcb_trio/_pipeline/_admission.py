"""Which requests are decoded and wait for a batch; the others are refused at once.

A request is refused before it is decoded. `max_pending` does not bound redelivered ones: they were admitted
before, and a lost session must not turn what was held into refusals. The prefetch bounds them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from rpcb_trio._batching import Batcher
from rpcb_trio._messages import Answer, Failure, Pending, Request
from rpcb_trio._pipeline._flights import Flight, Flights, Way
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._remembered import RememberedReplies
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._pipeline._unpacking import is_plain
from rpcb_trio._transports import Session
from rpcb_trio.errors import BodyTooBig, CallerGone, NoReplyTo

TURNS = 2
"""Of the scheduler, within which the batcher has taken a batch if an executor is idle."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What requests are admitted; the defaults admit all."""

    max_pending: int | None = None
    """How many decoded requests may wait for a batch; None for any number."""
    max_body_size: int | None = None
    """Bytes."""
    needs_reply_to: bool = False
    """Whether a request without a reply_to goes to the dead letters."""
    checks_caller: bool = False
    """Whether a request is dropped if its caller's direct reply-to address leads nowhere any more."""


class Admission:
    """The way into the pending requests, through `decode`.

    Args:
        session: knows whether a caller is still there.
        remembered: the replies to requests that may come again.
        flights: the replies to equal requests.
        journal: knows the requests that kill workers.
        rules: what is admitted.
        batcher: knows how many decoded requests wait for a batch, and whose they are.
    """

    def __init__(
        self,
        session: Session,
        remembered: RememberedReplies,
        flights: Flights,
        journal: Journal,
        *,
        rules: Rules,
        batcher: Batcher,
    ) -> None:
        self._session = session
        self._remembered = remembered
        self._flights = flights
        self._journal = journal
        self.rules = rules
        self._batcher = batcher
        self.decoding = 0
        """How many requests are decoded now."""

    def is_prompt(self, requests: Sequence[Request], generation: Generation) -> bool:
        """Whether none of these needs an await, so that `admit_promptly` will do."""
        awaits = self._remembered.is_on or self.rules.checks_caller or not self._has_room(len(requests))
        awaits = awaits or self._flights.are_on(generation)
        return generation.decoding.takes_bodies and not awaits and all(map(is_plain, requests))

    def admit_promptly(
        self, requests: Sequence[Request], generation: Generation
    ) -> list[Pending | Resolved | Answer]:
        """As `admit`, for several requests, none of them a suspect."""
        now, take_body = trio.current_time(), generation.decoding.take_body
        return [self._refuse(request) or take_body(request, now) for request in requests]

    async def admit(
        self, request: Request, generation: Generation, *, suspect: bool, way: Way = Way.ANY
    ) -> Pending | Resolved | Answer | Flight:
        """Decode a request, or refuse it: with an error to encode, or with an answer that is ready.

        It may also be left to wait for the reply to an equal one, which then is on its way.
        """
        settled_early = self._refuse(request) or await self._settle_early(request, suspect=suspect)
        if settled_early is not None:
            return settled_early
        shared = await self._flights.enter(request, generation, suspect=suspect, way=way)
        if shared is not None:
            return shared
        most = self.rules.max_pending
        if most is not None and not request.redelivered:
            await self._let_a_batch_go()
            if self._is_full(request):
                return Resolved(request, Failure(self._batcher.overloaded(request, most)))
        self.decoding += 1
        try:
            decoded = await generation.decoding.decode(request, suspect=suspect)
        finally:
            self.decoding -= 1
        return Resolved(request, decoded) if isinstance(decoded, Failure) else decoded

    def _refuse(self, request: Request) -> Resolved | Answer | None:
        rules = self.rules
        most = rules.max_body_size
        if rules.needs_reply_to and request.reply_to is None:
            error = NoReplyTo("the request has no reply_to")
            return Answer(request, None, error, dead_letter=str(error))
        if most is not None and len(request.body) > most:
            said = f"the request has {len(request.body)} bytes, and {most} are allowed (max_body_size)"
            return Resolved(request, Failure(BodyTooBig(said)))
        return None

    async def _settle_early(self, request: Request, *, suspect: bool) -> Resolved | Answer | None:
        if suspect and (killed := await self._journal.verdict(request)) is not None:
            return Resolved(request, Failure(killed))
        if self._remembered.is_on and (reply := await self._remembered.get(request)) is not None:
            return Answer(request, reply)
        if not self.rules.checks_caller or request.reply_to is None:
            return None
        if await self._session.has_caller(request.reply_to):
            return None
        return Answer(request, None, CallerGone("its caller is gone; it was not computed"))

    async def _let_a_batch_go(self) -> None:
        """Give the batcher a turn before refusing: of many that come at once, an idle executor takes some."""
        if not self._has_room(1):
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()

    def _is_full(self, request: Request) -> bool:
        """Whether this one is too many; where tenants share the worker, one may be that has not its share."""
        most = self.rules.max_pending
        if most is None or self._has_room(1):
            return False
        return self._batcher.is_over_its_share(request, most)

    def _has_room(self, count: int) -> bool:
        most = self.rules.max_pending
        return most is None or self._batcher.backlog + self.decoding + count <= most
