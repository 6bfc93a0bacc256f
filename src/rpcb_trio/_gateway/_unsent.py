"""Answers that wait for their clients to take them: how much they hold, and who goes when it is too much."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

log = logging.getLogger("rpcb_trio")

GRACE = 5.0
"""Seconds that every client has for its answer, however many others wait."""


@dataclass(eq=False)
class Taking:
    """An answer, or a piece of one, that its client takes."""

    size: int
    client: str
    since: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Unsent:
    """Counts them.

    Args:
        most: bytes that they may hold in all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taking: set[Taking] = set()
        self.held = 0
        """How many bytes wait."""
        self.cut = 0
        """How many answers were cut off, to make room for others."""

    def make_room(self, size: int) -> bool:
        """Whether so many bytes more may wait; who is slow is cut off for them.

        Slow is who has had his grace. Of those the client that holds the most goes first, with what it has
        been taking for the longest.
        """
        while self.held + size > self._most:
            slow = self._slowest()
            if slow is None:
                return False
            self._cut(slow)
        return True

    @contextmanager
    def taking(self, size: int, client: str) -> Iterator[None]:
        """While so many bytes are taken by a client; it ends early if that is cut off."""
        each = Taking(size, client, anyio.current_time())
        self._taking.add(each)
        self.held += size
        try:
            with each.scope:
                yield
        finally:
            self._release(each)

    def _slowest(self) -> Taking | None:
        now = anyio.current_time()
        holds = Counter[str]()
        for each in self._taking:
            holds[each.client] += each.size
        slow = [each for each in self._taking if each.since + GRACE <= now]
        return max(slow, key=lambda each: (holds[each.client], -each.since), default=None)

    def _cut(self, slow: Taking) -> None:
        self._release(slow)
        slow.scope.cancel()
        self.cut += 1
        log.warning(
            "an answer of %d bytes to %s was cut off: it was not taken within %.0f s, and others need its "
            "room (max_unsent)",
            slow.size,
            slow.client,
            anyio.current_time() - slow.since,
        )

    def break_off(self, size: int, client: str) -> None:
        """Tell that an answer that has begun goes no further, for its next piece has no room."""
        self.cut += 1
        log.warning(
            "an answer to %s was broken off before its next %d bytes: others hold all the room (max_unsent)",
            client,
            size,
        )

    def _release(self, each: Taking) -> None:
        if each in self._taking:
            self._taking.remove(each)
            self.held -= each.size
