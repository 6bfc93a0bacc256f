"""Equal requests that come while one of them is on its way: one is computed, and the others get its reply.

The first of them leads a flight; those that come while it waits or is computed may follow it.

1. None follows where it would be served later than without the cache: a leader that waits must be as urgent,
   and of the same tenant. Else the request leads a flight of its own.
2. Only a success is shared. Where the leader gets none because it was late or refused, the followers begin
   anew, and one of them leads. Where it fails, each is computed on its own: a bad request harms no other.
3. A suspect runs alone, so it neither leads nor follows.
4. A drain waits for them: none is settled before its leader is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto

import trio

from rpcb_trio._claims import CLAIM_HEADER, is_claimed
from rpcb_trio._messages import STREAM_HEADER, Answer, Pending, Reply, Request
from rpcb_trio._pipeline._content_cache import ContentCache, shareable
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._shares import Shares
from rpcb_trio.errors import Busy, CallerCancelled, CallerGone, OutcomeError


class Way(Enum):
    """How a request may take part in a flight."""

    ANY = auto()
    ALONE = auto()
    """It is computed for itself, and so is not told from others."""


class Flight:
    """A request that is to be computed, and those that wait for its reply."""

    def __init__(self, key: bytes, leader: Request, generation: int) -> None:
        self.key = key
        self.leader = leader
        self.generation = generation
        self.is_computed = False
        """Whether its batch is closed."""
        self.followers: list[Request] = []
        self.reply: Reply | None = None
        """As others get it, where it is a success."""
        self.way = Way.ANY
        """How its followers go on where there is none."""
        self._over = trio.Event()

    def takes(self, request: Request, generation: int, shares: Shares | None) -> bool:
        """Whether a request, which came after its leader, may follow."""
        leader = self.leader
        if generation != self.generation:
            return False  # it would get the reply of a former version
        return self.is_computed or (
            leader.priority >= request.priority
            and _deadline(leader) <= _deadline(request)
            and (shares is None or shares.tenant_of(leader) == shares.tenant_of(request))
        )

    def end(self, *, reply: Reply | None = None, way: Way = Way.ANY) -> None:
        self.reply, self.way = reply, way
        self._over.set()

    async def over(self) -> None:
        """Wait until its followers go on."""
        await self._over.wait()


class Flights:
    """The flights of one session.

    Args:
        contents: the replies that are kept.
        shares: whose requests they are.
        missed: called with each request that is computed, though replies are shared.
    """

    def __init__(
        self, contents: ContentCache, shares: Shares | None, missed: Callable[[Request], None]
    ) -> None:
        self._contents = contents
        self.shares = shares
        self._missed = missed
        self._led = dict[Request, Flight]()
        self._latest = dict[bytes, Flight]()
        """Which one an equal request may follow."""

    def __len__(self) -> int:
        return len(self._led)

    def are_on(self, generation: Generation) -> bool:
        """Whether replies of a service are shared at all."""
        return self._contents.rule_for(generation) is not None

    def followed(self, request: Request) -> bool:
        """Whether others wait for its reply."""
        flight = self._led.get(request)
        return flight is not None and bool(flight.followers)

    async def enter(
        self, request: Request, generation: Generation, *, suspect: bool, way: Way = Way.ANY
    ) -> Answer | Flight | None:
        """What answers a request: a reply that is kept, or that of a flight; None where it is computed."""
        rule = self._contents.rule_for(generation)
        if rule is None or is_claimed(request) or request.headers.get(STREAM_HEADER):
            return None
        if way is Way.ALONE:
            self._missed(request)
            return None
        key = await self._contents.key_of(request, rule)
        answer = self._contents.get(key, request)
        if answer is not None:
            return answer
        flight = self._latest.get(key)
        if flight is not None and not suspect and flight.takes(request, generation.number, self.shares):
            flight.followers.append(request)
            return flight
        self._missed(request)
        if not suspect:
            self._led[request] = self._latest[key] = Flight(key, request, generation.number)
        return None

    def board(self, members: Sequence[Pending], generation: Generation) -> dict[int, int]:
        """Take in that a batch is computed; returns the places of members that equal an earlier one of it.

        For each the place of that one. Such are requests that could not follow when they came.
        """
        first, equal = dict[bytes, int](), dict[int, int]()
        for place, member in enumerate(members):
            flight = self._led.get(member.request)
            if flight is None:
                continue
            if flight.generation != generation.number:
                continue  # to another version of the service other requests are equal
            if flight.key in first and member.rest is None:
                equal[place] = first[flight.key]
                continue
            flight.is_computed = True
            self._latest[flight.key] = flight
            if member.rest is None:  # a piece is not the whole that an equal one asks for
                first[flight.key] = place
        return equal

    def land(self, answers: Collection[Answer], generation: Generation) -> None:
        """Keep what succeeded of these, and have those that waited for them go on."""
        for answer in answers:
            flight = self._led.pop(answer.request, None)
            if flight is None:
                continue
            if self._latest.get(flight.key) is flight:
                del self._latest[flight.key]
            if answer.reply is None or answer.error is not None:
                flight.end(way=_way_after(answer.error))
                continue
            if CLAIM_HEADER in answer.reply.headers:  # its body is in a store, for its own caller
                flight.end(way=Way.ALONE)
                continue
            if flight.generation != generation.number:
                flight.end()
                continue
            reply = shareable(answer.reply, generation)
            self._contents.put(flight.key, reply, generation)
            flight.end(reply=reply)


def _deadline(request: Request) -> float:
    return math.inf if request.deadline is None else request.deadline


def _way_after(error: OutcomeError | None) -> Way:
    """How the followers go on after an error: one that is of the content may hit each of them."""
    return Way.ANY if error is None or isinstance(error, Busy | CallerGone | CallerCancelled) else Way.ALONE
