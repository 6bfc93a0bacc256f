"""How many requests a worker asks the broker for: as many as its next batches need, and no more.

RabbitMQ deals the messages of a queue to its consumers in turn, up to each one's prefetch. What is dealt to a
worker that computes waits for that worker, though another one may be idle long before: the prefetch is how
much a worker hoards. So a worker consumes shortly before an executor is idle, and for no more than that one
can take:

    an executor is idle, or will be soon ─▶ look how many wait at the broker ─▶ consume for as many
    none is ─▶ have no room

Where few wait, there is room for as many as are being answered, who may all come back: callers in lock step
stay together. Of a large group some are left for other workers, as many as would be answered sooner there.
Mostly it is room for one: the broker delivers that and then, by itself, nothing more until it is settled. So
nothing is changed while a queue is nearly empty.

A worker that is alone on its queue has nobody to leave anything to: its prefetch is as large as it may be.
While it computes it asks now and then whether it still is.

All of it costs round trips. Where a batch takes not many times as long, the prefetch stays as large as it may
be: a fast model hoards nothing for long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeAlias

import msgspec

from rpcb_trio._batching._policy import Demand, Policy
from rpcb_trio._messages import Batch, Pending, Request

WORTH = 4.0
"""A batch must take so many times as long as a look and a change, or the prefetch does not follow ..."""
WORTH_STILL = 2.0
"""... and so many times, or it ceases to."""

ENOUGH = 5
"""So many looks are waited for before that is judged; the first ones may take long ..."""
HOPELESS = 1.0
"""... unless a batch takes not even so many times as long."""

AGAIN = 60.0
"""Seconds, after which that is tried again ..."""
WORTH_AGAIN = 2.0
"""... if a batch takes so many times as long."""

EARLY = 4.0
"""The look comes so many times as long before an executor is idle as it is expected to last ..."""
PATIENCE = 1.5
"""... and an idle executor waits so many times as long for what was asked for."""
LATE = 1.5
"""A batch that ends so many times as long after the look is followed by another one: more may wait now."""

COMPANY = 60.0
"""Seconds, for which others are taken to consume the queue after they were seen ..."""
COMPANY_BATCHES = 10.0
"""... and at least so many times as long as a batch takes: a worker that computes may have no consumer."""
ASK_EVERY = 0.5
"""Seconds, after which a worker that is alone and computes asks again whether it is."""

FADE = 0.25
"""What a newer figure counts in a smoothed one."""

FASTEST = 1e-4
"""Seconds for one request, from which on priorities fall."""
SLOWER = 2.0
"""A worker that takes so many times as long is of the next lower priority."""
SETTLED = 0.75
"""A priority is another one once the exact one is so far from it, so that it does not flap."""


class Look(msgspec.Struct, frozen=True):
    """Ask the broker how many requests lie in the queue, and how many consume it."""


class Consume(msgspec.Struct, frozen=True):
    """Consume anew; see `Session.reconsume`."""

    prefetch: int
    priority: int


class Found(msgspec.Struct, frozen=True):
    """What a `Look` found."""

    ready: int
    consumers: int


Steps: TypeAlias = Generator[Look | Consume, Found | None, None]
"""What to do, one after the other. It is sent what was found, and None after a `Consume`."""


class Intake(msgspec.Struct, frozen=True):
    """What a worker has taken in; functions that tell it as it is now."""

    held: Callable[[], int]
    """How many requests are unacked."""
    waiting: Callable[[], int]
    """How many of them wait for a batch, or are on their way there."""
    room: Callable[[Iterable[Request]], int]
    """How many more the broker may deliver once these are settled."""


class Learned(msgspec.Struct):
    """What batches take, and what it takes to ask the broker; in seconds, smoothed."""

    follows: bool = True
    """Whether the prefetch follows what the batches need; else it is as large as it may be."""
    seconds: float | None = None
    """Of a batch; None before the first."""
    look_seconds: float | None = None
    change_seconds: float | None = None
    looks: int = 0
    """How many were made."""
    preparing: float = 0.0
    """From a delivery until it is decoded."""
    ceased: float = 0.0
    """When it last followed."""
    speed: int | None = None
    """The larger, the longer a request alone takes."""
    asked: float = -math.inf
    """When the broker last said how many consume the queue."""
    company_until: float = -math.inf
    """Until when others are taken to."""


class _Slot(msgspec.Struct):
    """A batch that is computed, or was computed last, by one executor."""

    requests: Sequence[Request]
    end: float
    """When it ends, as expected."""
    looked: float = math.inf
    """When its executor's next batch was asked for."""


class Prefetching:
    """Says what one worker asks the broker for in one session, and when; the worker does it.

    Args:
        intake: what the worker holds.
        policy: the one that is in force; it knows what the next batch needs.
        executors: how many there are.
        most: how many may be held unacked.
        is_set: whether so many are asked for, whatever the batches need.
        begun: the prefetch that the session began with.
        learned: what was learned of the batches and the broker, from one session to the next.
    """

    def __init__(
        self,
        intake: Intake,
        policy: Callable[[], Policy],
        *,
        executors: int,
        most: int,
        is_set: bool,
        begun: int,
        learned: Learned,
    ) -> None:
        self._intake = intake
        self._policy = policy
        self._executors = executors
        self._most = most
        self._is_set = is_set
        self._busy = 0
        self._running: dict[int, _Slot] = {}
        self._ended: list[_Slot] = []
        self._consumed = Consume(begun, 0)
        self._must_look = True
        self._held_with = 0
        """How many waited when the policy last held and more were looked for."""
        self._found_ready = 0
        self._has_company = False
        self.backlog = 0
        """How many of the next deliveries have lain in the queue before."""
        self.hold_until = -math.inf
        """Until when what was asked for may still come, and be part of the next batch."""
        self._learned = learned

    @property
    def follows(self) -> bool:
        """Whether the prefetch follows what the batches need now."""
        return self._has_company and self._may_follow

    @property
    def _may_follow(self) -> bool:
        """Whether it does where others consume the queue."""
        return self._learned.follows and not self._is_set

    def change(self, *, most: int, is_set: bool) -> None:
        """Other settings are in force."""
        self._most, self._is_set = most, is_set
        self._must_look = True

    @property
    def next_look(self) -> float:
        """When to look next, if nothing happens until then."""
        if not self.follows:
            return self._learned.asked + ASK_EVERY if self._busy and self._may_follow else math.inf
        lead = self._lead
        due = (slot.end - lead for slot in self._running.values() if slot.looked == math.inf)
        return min(due, default=math.inf)

    def closed(self, batch: Batch, now: float) -> bool:
        """An executor starts a batch. Returns whether to look."""
        self._busy += 1
        if not self.follows:
            return self._may_follow
        self.backlog = 0
        seconds = batch.predicted or self._learned.seconds
        end = math.inf if seconds is None else now + seconds
        self._running[batch.id] = _Slot([member.request for member in batch.members], end)
        idle = self._executors - self._busy
        self._ended = self._ended[-idle:] if idle else []
        preparing = max(member.ready - member.request.arrived for member in batch.members)
        self._learned.preparing = _smoothed(self._learned.preparing, preparing)
        return True

    def completed(self, batch: Batch, seconds: float, now: float) -> bool:
        """An executor has computed a batch; it took so many seconds. Returns whether to look."""
        self._busy -= 1
        if self._is_set:
            return False
        self._learned.seconds = _smoothed(self._learned.seconds, seconds)
        followed = self.follows
        self._find_worth(now)
        slot = self._running.pop(batch.id, None)
        if slot is not None:
            self._ended.append(slot)
            self._must_look = self._must_look or not now - LATE * self._lead <= slot.looked <= now
            if self._intake.waiting() < len(slot.requests) / 2:  # most of the next batch may be coming back
                self.hold_until = max(self.hold_until, now + PATIENCE * self._trip)
        return self.follows or followed

    def settled(self) -> bool:
        """Some are settled, so there may be room for others. Returns whether to look.

        What an idle executor was to take may have been refused, and what was held may have left no room.
        """
        return self.follows and self._busy < self._executors

    def arrived(self, arrivals: Sequence[Pending]) -> Sequence[Pending]:
        """Requests are pending; returns them as the policy is to be told of them.

        When one that has lain in the queue was sent is not known. It must not pass for the next request of a
        caller who was just answered.
        """
        if not self.backlog:
            return arrivals
        old, new = arrivals[: self.backlog], arrivals[self.backlog :]
        self.backlog -= len(old)
        return [*(msgspec.structs.replace(each, ready=-math.inf) for each in old), *new]

    def holds(self) -> bool:
        """The policy holds a batch, though an executor is idle. Returns whether to look for more."""
        waiting = self._intake.waiting()
        if not self.follows or self._intake.room(()) or waiting == self._held_with:
            return False
        self._held_with = waiting
        self._must_look = True
        return True

    def took(self, step: Look | Consume, seconds: float, now: float) -> None:
        """The broker has taken so long over it."""
        if isinstance(step, Look):
            self._learned.looks += 1
            self._learned.look_seconds = _steadied(self._learned.look_seconds, seconds)
            self.hold_until = now + PATIENCE * (self._learned.change_seconds or 0.0)
        else:
            if step.prefetch:
                self._learned.change_seconds = _steadied(self._learned.change_seconds, seconds)
            is_coming = step.prefetch and self._found_ready
            self.hold_until = now + (self._learned.look_seconds or 0.0) if is_coming else -math.inf

    def look(self, now: float) -> Steps:
        """What to do now."""
        self._has_company = now < self._learned.company_until
        if not self._has_company and self._may_follow and now >= self._learned.asked + ASK_EVERY:
            self._notice((yield Look()), now)
        if not self.follows:
            yield from self._take_all()
            return
        soon = [slot for slot in self._running.values() if slot.end - self._lead <= now]
        free = self._executors - self._busy + len(soon)
        if not free:
            if self._intake.room(()):
                yield from self._change(0)
            return
        must_look = self._must_look or any(slot.looked > now for slot in soon)
        self._must_look = False
        for slot in soon:
            slot.looked = min(slot.looked, now)
        ending = [request for slot in (*soon, *self._ended) for request in slot.requests]
        demand = self._policy().demand([request for slot in soon for request in slot.requests], now)
        if demand is None:
            return
        if not must_look and self._intake.waiting() + self._intake.room(ending) >= free:
            return
        self.hold_until = now + PATIENCE * self._trip
        found = yield Look()
        self._notice(found, now)
        if found is not None:
            self._find_speed(demand)
            self._found_ready = self.backlog = found.ready
            yield from self._make_room(self._wanted(demand, free, found, len(ending)), ending)

    def _notice(self, found: Found | None, now: float) -> None:
        """Take others to consume the queue for a while, where they do now."""
        learned = self._learned
        learned.asked = now
        if found is not None and found.consumers > bool(self._consumed.prefetch):
            self._has_company = True
            learned.company_until = now + max(COMPANY, COMPANY_BATCHES * (learned.seconds or 0.0))

    def _wanted(self, demand: Demand, free: int, found: Found, ending: int) -> int:
        """How many more to have room for."""
        waiting = self._intake.waiting()
        most = int(min(demand.most * free, self._most))
        here = min(waiting + found.ready, most)
        coming = max(demand.coming, ending)  # those who are answered now may all come back
        coming = min(coming, most - here)
        if coming:
            coming = self._share(here, coming, found.consumers - 1, demand.seconds)
        return min(max(here + coming, free) - waiting, self._most - self._intake.held())

    def _share(self, here: int, coming: int, others: int, seconds: Callable[[int], float]) -> int:
        """How many of those who come back to take, so that all are answered soonest if others take the rest.

        These are taken to be as fast, and to have just begun a batch.
        """
        wait = self._learned.seconds
        if others < 1 or wait is None:
            return coming
        wait = max(wait, seconds(here + coming))

        def total(taken: int) -> float:
            left = coming - taken
            rest = left * (wait + seconds(-(-left // others))) if left else 0.0
            return (here + taken) * seconds(here + taken) + rest

        return min(range(coming, -1 if here else 0, -1), key=total)

    def _make_room(self, wanted: int, ending: Iterable[Request]) -> Steps:
        """Consume anew, unless the room will do once what is ending is settled."""
        have = self._intake.room(ending)
        is_open = wanted < have and self._intake.room(()) > 0
        if wanted <= 0 or is_open or (wanted == have and self._consumed.priority == self._priority):
            self.hold_until = -math.inf
        else:
            yield from self._change(wanted)

    def _take_all(self) -> Steps:
        """Consume as much as may be held, once and for all."""
        self.hold_until = -math.inf
        consume = Consume(self._most, self._priority)
        if consume != self._consumed:
            self._consumed = consume
            yield consume

    def _change(self, prefetch: int) -> Steps:
        self._consumed = Consume(prefetch, self._priority)
        yield self._consumed

    def _find_worth(self, now: float) -> None:
        """Follow only where batches take long; after a while try again, for the broker may be quicker."""
        learned = self._learned
        worth = (learned.seconds or 0.0) / self._trip if self._trip else math.inf
        if learned.follows:
            if learned.looks < ENOUGH and worth >= HOPELESS:
                return
            learned.follows = worth >= WORTH_STILL
            learned.ceased = now
        else:
            learned.follows = worth >= (WORTH if now < learned.ceased + AGAIN else WORTH_AGAIN)

    @property
    def _trip(self) -> float:
        """How long a look and a change last; 0.0 before the first."""
        return (self._learned.look_seconds or 0.0) + (self._learned.change_seconds or 0.0)

    @property
    def _lead(self) -> float:
        """How long before an executor is idle its next batch is asked for."""
        lead = EARLY * self._trip + self._learned.preparing
        return lead if self._learned.seconds is None else min(lead, self._learned.seconds / 2)

    @property
    def _priority(self) -> int:
        """The slower, the lower."""
        return 0 if self._learned.speed is None else -self._learned.speed

    def _find_speed(self, demand: Demand) -> None:
        seconds = demand.seconds(1)
        if seconds > 0:
            speed = max(1.0, math.log(seconds / FASTEST, SLOWER))
            if self._learned.speed is None or abs(speed - self._learned.speed) > SETTLED:
                self._learned.speed = round(speed)


def _smoothed(known: float | None, new: float) -> float:
    return new if known is None else known + FADE * (new - known)


def _steadied(known: float | None, new: float) -> float:
    """As `_smoothed`, but what is quick counts more than what is slow, as a machine at work makes it."""
    if known is None:
        return new
    return (known + new) / 2 if new < known else known + (min(new, 2 * known) - known) / 8
