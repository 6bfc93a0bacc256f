"""The policy: pure decisions about the pending requests. No `await`, no clock of its own.

The batcher asks only while an executor is idle (late binding: a batch that is sealed earlier waits a whole
service time for nothing), shows all that is pending, oldest first, and acts on the answer:

    expired requests   leave, to be answered with an error
    a batch            leaves, to be computed now
    hold_until         otherwise: ask again when a request arrives, or then
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import Protocol

import msgspec

from rpcb_trio._errors import SettingError
from rpcb_trio._messages import Pending, Trigger


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy wants done. `hold_until` is a reading of `trio.current_time()`."""

    expired: tuple[Pending, ...] = ()
    batch: tuple[Pending, ...] = ()
    trigger: Trigger = Trigger.WAIT
    hold_until: float = math.inf


class Policy(Protocol):
    """Decides which pending requests form the next batch; see the module's opening for the rules."""

    @property
    def max_batch_size(self) -> int:
        """The most requests it ever puts into one batch; the prefetch must leave room for them."""
        ...

    def decide(self, pending: Sequence[Pending], now: float, *, final: bool) -> Decision:
        """Decide for the `pending` requests, in order of arrival, at time `now`.

        `final` says that no more requests will come; then a policy that is shown pending requests must
        let a batch or expired ones leave, or the worker would never drain.
        """
        ...


class FixedPolicy:
    """Close a batch at `max_batch_size` requests, or when the oldest has waited `max_wait` seconds.

    The wait counts from the oldest request's arrival, so a request that waited for an executor has already
    served its wait; `max_wait=0` means that an idle executor starts at once. A suspect runs alone,
    and what is pending before it does not wait for more.
    """

    def __init__(self, max_batch_size: int = 32, max_wait: float = 0.0) -> None:
        if max_batch_size < 1:
            raise SettingError(f"max_batch_size is {max_batch_size}; it must be at least 1")
        if not 0 <= max_wait < math.inf:
            raise SettingError(f"max_wait is {max_wait:g}; it must be a number of seconds, 0 or more")
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait

    def decide(self, pending: Sequence[Pending], now: float, *, final: bool) -> Decision:
        """Decide by size, by the oldest request's wait, or because no more will come."""
        expired = tuple(each for each in pending if _is_expired(each, now))
        waiting = [each for each in pending if not _is_expired(each, now)] if expired else pending
        if not waiting:
            return Decision(expired=expired)
        if waiting[0].suspect:
            return Decision(expired=expired, batch=(waiting[0],), trigger=Trigger.ALONE)
        room = waiting[: self.max_batch_size]
        batch = tuple(takewhile(lambda each: not each.suspect, room))
        closes = waiting[0].request.arrived + self.max_wait
        if len(batch) == self.max_batch_size:
            return Decision(expired=expired, batch=batch, trigger=Trigger.SIZE)
        if closes <= now or len(batch) < len(room):  # behind a suspect nobody can join it
            return Decision(expired=expired, batch=batch, trigger=Trigger.WAIT)
        if final:
            return Decision(expired=expired, batch=batch, trigger=Trigger.FLUSH)
        return Decision(expired=expired, hold_until=min(closes, *map(_deadline, waiting)))


def _deadline(pending: Pending) -> float:
    deadline = pending.request.deadline
    return math.inf if deadline is None else deadline


def _is_expired(pending: Pending, now: float) -> bool:
    return _deadline(pending) <= now
