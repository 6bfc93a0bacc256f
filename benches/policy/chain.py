"""Exact mean latencies under Poisson arrivals, for a policy that does not know what is to come.

The requests left at each end of service form a Markov chain (Kendall 1953; Bailey 1954 for batches).
Its stationary distribution says how long a cycle from end to end lasts and how many are in the system
meanwhile, and Little's law makes a latency of that. For one executor.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benches.policy.bounds import Floats, Law, durations_of

Counts: TypeAlias = NDArray[np.int64]

TAIL = 1e-12
"""The chain is cut off where all beyond has less probability than this."""
MOST_STATES = 2048
"""Beyond so many states the load is too near 1 to be worth the memory."""


def greedy_mean_latency(rate: float, law: Law, max_batch_size: int) -> float:
    """Find the mean latency of a policy whose idle executor starts at once with all that is pending.

    Args:
        rate: Poisson arrivals per second.
        law: seconds that a batch of 1 to `max_batch_size` requests takes.
        max_batch_size: the most requests in one batch.

    Returns:
        Seconds from arrival to the end of the batch.

    Raises:
        ValueError: an argument is senseless, or the load is 1 or more, or too near to it.
    """
    return control_limit_mean_latency(rate, law, max_batch_size, 1)


def control_limit_mean_latency(rate: float, law: Law, max_batch_size: int, threshold: int) -> float:
    """Find the mean latency if an idle executor starts only once `threshold` requests are pending.

    All else is as for `greedy_mean_latency`, which is the threshold of 1.

    Raises:
        ValueError: an argument is senseless, or the load is 1 or more, or too near to it.
    """
    durations = _stable_durations(rate, law, max_batch_size)
    if not 1 <= threshold <= max_batch_size:
        raise ValueError(f"threshold is {threshold}; it must be 1 to max_batch_size ({max_batch_size})")
    states = 4 * max_batch_size
    while states <= MOST_STATES:
        left = np.arange(states)
        pending = np.maximum(left, threshold)
        sizes = np.minimum(pending, max_batch_size)
        shares = _stationary(_transitions(rate * durations, pending - sizes, sizes))
        if shares[-max_batch_size:].sum() < TAIL:
            return _by_littles_law(rate, shares, left, pending, durations[sizes])
        states *= 2
    raise ValueError(f"at {rate:g} requests/s the load is too near 1 for an exact figure")


def best_threshold(rate: float, law: Law, max_batch_size: int) -> tuple[int, float]:
    """Find the threshold with the least mean latency, the smaller one of equals, and that latency in seconds.

    For Poisson arrivals such a control limit is the best that can be done without foreknowledge (Deb and
    Serfozo, Optimal control of batch service queues, Adv. Appl. Prob. 5, 1973), so it tells how much any
    policy could gain on greedy. That is for batches of all that is pending, up to the largest. To divide a
    backlog can pay where time grows with size, but hardly ever: policy iteration over all batch sizes found
    less than a part in 100,000 for the laws of this bench, at loads of 0.1 to 0.9.

    Raises:
        ValueError: an argument is senseless, or the load is 1 or more, or too near to it.
    """
    latencies = [
        control_limit_mean_latency(rate, law, max_batch_size, threshold)
        for threshold in range(1, max_batch_size + 1)
    ]
    best = int(np.argmin(latencies))
    return best + 1, latencies[best]


def _stable_durations(rate: float, law: Law, max_batch_size: int) -> Floats:
    durations = durations_of(law, max_batch_size)
    if not rate > 0:
        raise ValueError(f"rate is {rate:g}; it must be more than 0 requests per second")
    if rate * durations[-1] >= max_batch_size:
        raise ValueError(f"{rate:g} requests/s are more than batches of {max_batch_size} can serve")
    return durations


def _transitions(means: Floats, waiting: Counts, sizes: Counts) -> Floats:
    """Probabilities from each number left at an end to the next; the last column takes all beyond it.

    Args:
        means: of the arrivals while a batch of each size is served; Poisson.
        waiting: how many stay behind when the next batch starts, by the number left before.
        sizes: of that batch, likewise.
    """
    counts = np.arange(len(sizes))
    log_factorials = np.append(0.0, np.cumsum(np.log(counts[1:])))
    matrix = np.zeros((len(sizes), len(sizes)))
    for left, (stay, mean) in enumerate(zip(waiting, means[sizes], strict=True)):
        arriving = counts[: len(sizes) - stay]
        matrix[left, stay:] = np.exp(arriving * np.log(mean) - mean - log_factorials[: len(arriving)])
        matrix[left, -1] += 1.0 - matrix[left].sum()
    return matrix


def _stationary(matrix: Floats) -> Floats:
    """How often the chain is in each state, in the long run."""
    balance = matrix.T - np.eye(len(matrix))
    balance[0] = 1.0  # one balance equation follows from the others; in its place, they add up to 1
    return np.linalg.solve(balance, np.eye(len(matrix))[0])


def _by_littles_law(rate: float, shares: Floats, left: Counts, pending: Counts, serving: Floats) -> float:
    """Mean latency in seconds, from what one cycle takes and how many request-seconds are spent in it."""
    missing = pending - left
    filling = missing * (left + pending - 1) / 2 / rate  # one by one, each for 1 / rate on average
    served = pending * serving + rate * serving**2 / 2
    cycle = shares @ (missing / rate + serving)
    return float(shares @ (filling + served) / cycle / rate)
