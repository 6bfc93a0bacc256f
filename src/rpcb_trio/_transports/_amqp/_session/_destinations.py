"""Reply addresses that give trouble: their queue is full, or the broker confirms nothing that is sent there.

One client's queue must not hold up the replies to others. So what goes to such an address is settled apart,
no more than a few replies to it are sent again at a time, and no more than a share of the prefetch waits
for its confirms. Nothing is counted here while all is well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import trio

from rpcb_trio._messages import Answer

MOST_RETRIED = 4
"""Replies to one address that are sent again at the same time; the broker had refused them."""

SHARE = 4
"""Of the prefetch one part in so many may wait for the confirms of one address."""

TROUBLE_SECONDS = 30.0
"""How long an address is taken to give trouble after the last time that it did."""

MOST_KNOWN = 1024
"""Addresses that are remembered. Where more than that give trouble, the broker is in trouble."""


class Destinations:
    """The reply addresses of one session, as far as they give trouble.

    Args:
        prefetch: of the session.
    """

    def __init__(self, prefetch: int) -> None:
        self._share = max(1, prefetch // SHARE)
        self._troubled = dict[str, float]()
        """Until when, as `trio.current_time()`, by address."""
        self._retried = Counter[str]()
        self._waiting = Counter[str]()
        self._passed: tuple[str | None, float] = (None, -math.inf)
        """Where the newest reply was taken, and when."""
        self._passed_elsewhere: tuple[str | None, float] = (None, -math.inf)
        """The newest one at another address."""

    @property
    def give_trouble(self) -> bool:
        """Whether any does, or did a short while ago."""
        return bool(self._troubled)

    def blame(self, reply_to: str | None) -> None:
        """An address gives trouble."""
        if reply_to is not None:
            self._troubled.pop(reply_to, None)  # the newest are last
            self._troubled[reply_to] = trio.current_time() + TROUBLE_SECONDS
            if len(self._troubled) > MOST_KNOWN:
                del self._troubled[next(iter(self._troubled))]

    def apart(self, answers: Sequence[Answer]) -> list[Sequence[Answer]]:
        """Divide replies: first those to addresses that give none, then those to each that does."""
        self._forget_old()
        if not self._troubled:
            return [answers]
        groups: dict[str | None, list[Answer]] = {None: []}
        for answer in answers:
            reply_to = answer.request.reply_to
            groups.setdefault(reply_to if reply_to in self._troubled else None, []).append(answer)
        return [*groups.values()]

    def note_passed(self, addresses: Iterable[str | None]) -> None:
        now = trio.current_time()
        for reply_to in set(addresses):
            if reply_to != self._passed[0]:
                self._passed_elsewhere = self._passed
            self._passed = reply_to, now

    def any_passed(self, since: float) -> bool:
        """Whether a reply to any address was taken since then."""
        return self._passed[1] >= since

    def others_passed(self, reply_to: str | None, since: float) -> bool:
        """Whether a reply to any other address was taken since then."""
        newest = self._passed_elsewhere if self._passed[0] == reply_to else self._passed
        return newest[1] >= since

    @contextmanager
    def waiting(self, addresses: Sequence[str]) -> Iterator[list[bool]]:
        """Count replies as waiting for a confirm; yields for each whether too many do already."""
        yielded = list[bool]()
        for reply_to in addresses:
            yielded.append(self._waiting[reply_to] >= self._share)
            self._waiting[reply_to] += 1
        try:
            yield yielded
        finally:
            _take_off(self._waiting, addresses)

    def begin_retry(self, reply_to: str) -> bool:
        """Whether another reply to this address may be sent again now; then `end_retry` follows."""
        if self._retried[reply_to] >= MOST_RETRIED:
            return False
        self._retried[reply_to] += 1
        return True

    def end_retry(self, reply_to: str) -> None:
        """One that was sent again has ended."""
        _take_off(self._retried, [reply_to])

    def _forget_old(self) -> None:
        now = trio.current_time()
        while self._troubled and self._troubled[first := next(iter(self._troubled))] <= now:
            del self._troubled[first]


def _take_off(counts: Counter[str], addresses: Sequence[str]) -> None:
    counts.subtract(addresses)
    for reply_to in set(addresses):
        if counts[reply_to] <= 0:
            del counts[reply_to]
