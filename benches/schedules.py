"""When the producer's requests are due: in a closed loop, or whenever they arrive."""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from benches.wire import SILENCE

BURSTS = 8
"""A closed loop sends an eighth of what it keeps in flight at a time: each `send` is dear."""


class ClosedLoop:
    """A fixed number is in flight: a request is due when there is room for it."""

    def __init__(self, total: int, in_flight: int) -> None:
        self._in_flight = in_flight
        self._burst = max(1, in_flight // BURSTS)
        self._total = total

    def due(self, sent: int, answered: int) -> Sequence[float]:
        """Nothing until a burst fits, or all that is left."""
        left = self._total - sent
        room = min(self._in_flight - (sent - answered), left)
        return [time.perf_counter()] * room if room >= min(self._burst, left) else []

    def patience(self, sent: int) -> float:  # noqa: ARG002 - here it is the replies that make room
        return SILENCE


class OpenLoop:
    """Requests arrive at random from now on, with the same gaps for every server that has the same seed."""

    def __init__(self, total: int, rate: float, seed: int) -> None:
        random_gaps = random.Random(seed)  # noqa: S311 - arrivals, no secrets
        gaps = (random_gaps.expovariate(rate) for _ in range(total - 1))
        self._moments = list(accumulate(gaps, initial=time.perf_counter()))

    def due(self, sent: int, answered: int) -> Sequence[float]:  # noqa: ARG002 - arrivals heed no replies
        return self._moments[sent : bisect_right(self._moments, time.perf_counter())]

    def patience(self, sent: int) -> float:
        if sent == len(self._moments):
            return SILENCE
        return min(SILENCE, max(0.0, self._moments[sent] - time.perf_counter()))
