"""What no batching policy can beat on one executor: exact optima of one that knows all arrivals beforehand.

Both dynamic programmes go through the requests in order of arrival and keep, for each number of them
settled, every way to get there that is not dominated: no other way is done both sooner and at less cost. What
comes later depends on a way only through when it is done, and to be done sooner never harms, so nothing is
lost. Of the ways that are done before the next request arrives only the cheapest is kept, for none of them
can start sooner than that arrival; this is what keeps them few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Law: TypeAlias = Callable[[int], float]
"""Seconds that a batch of so many requests takes."""
Floats: TypeAlias = NDArray[np.float64]

GRAIN = 12
"""Decimals of a second that count: ends that differ by rounding alone are one."""
LENIENCE = 1e-9
"""Seconds after its deadline in which an answer still counts, so that rounding makes no bound too low."""


class _Ways:
    """The undominated ways to have settled each of the last `depth` numbers of requests."""

    def __init__(self, depth: int) -> None:
        self._ends: deque[Floats] = deque([np.zeros(1)], maxlen=depth)
        self._costs: deque[Floats] = deque([np.zeros(1)], maxlen=depth)

    def unsettled(self) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Ends and costs of all that are kept, and how many requests each lacks to the next number."""
        lacking = np.arange(len(self._ends), 0, -1)
        lengths = [len(ends) for ends in self._ends]
        return np.concatenate(self._ends), np.concatenate(self._costs), np.repeat(lacking, lengths)

    def add(self, ends: Floats, costs: Floats) -> None:
        """Keep the undominated of the ways to the next number."""
        ends = np.round(ends, GRAIN)
        order = np.lexsort((costs, ends))
        ends, costs = ends[order], costs[order]
        cheaper = np.append(True, costs[1:] < np.minimum.accumulate(costs)[:-1] - 10**-GRAIN)
        self._ends.append(ends[cheaper])
        self._costs.append(costs[cheaper])

    @property
    def least_cost(self) -> float:
        """Of all ways to the last number."""
        return float(self._costs[-1][-1])


def least_mean_latency(arrivals: Sequence[float], law: Law, max_batch_size: int) -> float:
    """Find the least mean latency (arrival to the end of its batch) that any schedule of one executor has.

    Batches run one at a time and are never broken off. Requests being alike, an optimum serves them in order
    of arrival: hand the places of any schedule out in that order, and its ends stay the same. Nor does it
    pay to start later than with the batch's last arrival. Exact to about a nanosecond.

    Args:
        arrivals: times in seconds, in order; one or more.
        law: seconds that a batch of 1 to `max_batch_size` requests takes.
        max_batch_size: the most requests in one batch.

    Returns:
        Seconds.

    Raises:
        ValueError: an argument is not as said.
    """
    times = _checked_times(arrivals)
    durations = durations_of(law, max_batch_size)
    until = np.append(0.0, np.cumsum(times))
    next_arrivals = np.append(times[1:], 0.0)
    ways = _Ways(max_batch_size)
    for count, next_arrival in enumerate(next_arrivals, start=1):
        ends, costs, sizes = ways.unsettled()
        ends = np.maximum(ends, times[count - 1]) + durations[sizes]
        costs = costs + sizes * ends - (until[count] - until[count - sizes])
        ways.add(np.maximum(ends, next_arrival), costs)
    return ways.least_cost / len(times)


def most_on_time(arrivals: Sequence[float], deadlines: Sequence[float], law: Law, max_batch_size: int) -> int:
    """Find the most requests that one executor can answer by their deadlines, the others being given up.

    It is enough to look at batches of consecutive requests, in order, with the given-up ones between them.
    Take any schedule, and leave out what it answers late. Let i come before j, but j's batch before i's: they
    can change places. Where j had arrived, so had i, which is now answered sooner; and j is answered when i
    was, by i's deadline and so by its own. That puts the batches in order. Then each may trade its members
    for the requests right before its last one: it starts as it did, these are due no sooner than the members
    they stand in for, and no other batch has them.

    Args:
        arrivals: times in seconds, in order; one or more.
        deadlines: of the same requests, on the same clock and in order too; infinity where there is none.
        law: seconds that a batch of 1 to `max_batch_size` requests takes; a larger batch takes no less.
        max_batch_size: the most requests in one batch.

    Returns:
        How many requests. An answer at the deadline is in time.

    Raises:
        ValueError: an argument is not as said.
    """
    times = _checked_times(arrivals)
    limits = _checked_deadlines(arrivals, deadlines)
    durations = durations_of(law, max_batch_size)
    if (np.diff(durations) < 0).any():
        raise ValueError("the law gives a larger batch less time; then a late request could be of use")
    next_arrivals = np.append(times[1:], 0.0)
    ways = _Ways(max_batch_size)
    for count, next_arrival in enumerate(next_arrivals, start=1):
        ends, lost, sizes = ways.unsettled()
        served = np.maximum(ends, times[count - 1]) + durations[sizes]
        in_time = served <= limits[count - sizes]
        last = sizes == 1
        ends = np.concatenate([served[in_time], ends[last]])
        ways.add(np.maximum(ends, next_arrival), np.concatenate([lost[in_time], lost[last] + 1]))
    return len(times) - round(ways.least_cost)


def lock_step_latency(callers: int, law: Law, max_batch_size: int | None = None) -> float:
    """Find the least mean latency of `callers` that send again at once when answered: T(callers).

    Where all fit into one batch, and larger batches have the better rate, it is the time of that batch. In
    general it is, by Little's law, the callers over the best rate of the batches that they can fill; and it
    is attained, for all of them are pending at each end. Callers that think for a while (on the mean) before
    they send again can have a lower latency, but by no more than that while.

    Args:
        callers: how many.
        law: seconds that a batch takes.
        max_batch_size: the most requests in one batch; by default all callers fit.

    Returns:
        Seconds.

    Raises:
        ValueError: there are no callers, or the law is not of positive times.
    """
    if callers < 1:
        raise ValueError(f"there are {callers} callers; there must be 1 or more")
    durations = durations_of(law, callers if max_batch_size is None else min(callers, max_batch_size))
    return callers * float(min(duration / size for size, duration in enumerate(durations) if size))


def _checked_times(arrivals: Sequence[float]) -> Floats:
    """The arrivals, counted from the first."""
    times = np.array(arrivals, dtype=np.float64)
    if len(times) == 0 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError("arrivals must be one or more finite times in order")
    times -= times[0]
    return times


def _checked_deadlines(arrivals: Sequence[float], deadlines: Sequence[float]) -> Floats:
    """The last moments that still count as in time, counted from the first arrival."""
    limits = np.array(deadlines, dtype=np.float64)
    if len(limits) != len(arrivals):
        raise ValueError(f"there are {len(limits)} deadlines for {len(arrivals)} arrivals; give one for each")
    if np.isnan(limits).any() or (limits[1:] < limits[:-1]).any():
        raise ValueError("deadlines must be in the order of the arrivals; for others this bound is not exact")
    limits += LENIENCE - arrivals[0]
    return limits


def durations_of(law: Law, max_batch_size: int) -> Floats:
    """Seconds by batch size; at 0 nothing is asked."""
    if max_batch_size < 1:
        raise ValueError(f"max_batch_size is {max_batch_size}; it must be at least 1")
    durations = np.array([0.0, *(law(size) for size in range(1, max_batch_size + 1))])
    if not (np.isfinite(durations).all() and (durations[1:] > 0).all()):
        raise ValueError("the law must give a positive, finite time for every batch size")
    return durations
