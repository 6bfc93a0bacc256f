"""What a worker's counters gained within some seconds, from its states.

Events of batches may be dropped where a worker has very many; its counters miss none.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from rpcb_trio._events._events import StateEvent

MOST_COUNTS = 512
"""Of a worker; far more than it publishes in a minute."""


class Gain(NamedTuple):
    """By how much counters have grown."""

    seconds: float
    settled: int
    failed: int
    batches: int


class Counters:
    """One worker's counters over the last seconds, by its own clock.

    Args:
        window: seconds that are kept.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._counts: deque[Gain] = deque(maxlen=MOST_COUNTS)

    def __len__(self) -> int:
        """How many moments are kept."""
        return len(self._counts)

    def take(self, state: StateEvent) -> None:
        """Take in what a state says."""
        count = Gain(state.unix, state.answered + state.failed + state.cancelled, state.failed, state.batches)
        if self._counts and any(new < old for new, old in zip(count, self._counts[-1], strict=True)):
            self._counts.clear()  # another process of the same id, or its clock was set back
        self._counts.append(count)
        while len(self._counts) > 2 and self._counts[1].seconds <= count.seconds - self._window:  # noqa: PLR2004 - a gain needs two
            self._counts.popleft()

    def gained(self, seconds: float) -> Gain | None:
        """What they gained within the last so many seconds, or since the first state; None after but one."""
        if not self._counts:
            return None
        last = self._counts[-1]
        early = (count for count in reversed(self._counts) if count.seconds <= last.seconds - seconds)
        first = next(early, self._counts[0])
        if last.seconds <= first.seconds:
            return None
        return Gain(*(new - old for new, old in zip(last, first, strict=True)))  # type: ignore[arg-type] # seconds come first
