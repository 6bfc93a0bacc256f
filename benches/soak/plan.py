"""What a soak does, and which faults it injects when: all of it follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

WORKERS = 3
PRODUCERS = 5


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One soak. Times are in seconds."""

    seconds: float
    seed: int
    pause: float
    """The mean time from one fault to the next."""
    patience: float
    """How long all that is open may take to be answered once no fault is left."""
    lethal: bool
    queue_type: str
    quiet: float = 0.0
    """How long requests are sent before the first fault, to compare with."""


class Fault(StrEnum):
    """What is done to the system from outside."""

    KILL = "worker killed (SIGKILL)"
    TERM = "worker drained (SIGTERM)"
    PAUSE = "worker paused (SIGSTOP, SIGCONT)"
    CUT_WORKER = "worker's connections cut"
    STALL_WORKER = "worker's connections stalled"
    CUT_PRODUCER = "producer's connection cut"
    STALL_PRODUCER = "producer's connection stalled"
    LETHAL = "request that aborts its workers"
    RESTART = "broker stopped and started"
    ALARM = "broker's memory alarm"
    RIGHTS = "workers' right to write taken and given back"
    WITHHELD = "confirms withheld for one producer's queue"
    FORKING = "request over which the model forks and dies"
    TOGETHER = "siblings drained and started together"
    GARBAGE = "garbage among the files of the journal"


FOR_PRODUCERS = {Fault.CUT_PRODUCER, Fault.STALL_PRODUCER, Fault.LETHAL, Fault.FORKING}

NEEDS_CONTROL = (Fault.RESTART, Fault.ALARM, Fault.RIGHTS)
"""Only `rabbitmqctl` can do these, one at a time."""

ENDS_WORKERS = {Fault.KILL, Fault.TERM}

LONGEST = {
    Fault.PAUSE: 3.0,
    Fault.STALL_WORKER: 4.0,
    Fault.STALL_PRODUCER: 3.0,
    Fault.ALARM: 1.0,
    Fault.RIGHTS: 3.0,
    Fault.WITHHELD: 4.0,
}
"""Seconds that such a fault lasts at most; others are over at once."""


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: `at` so many seconds from the beginning, on the worker or producer `target`."""

    at: float
    fault: Fault
    target: int
    lasts: float


def schedule(plan: Plan, *, has_control: bool) -> list[Injection]:
    """The faults of a soak, in order.

    They come in rounds in a new order each, so that even a short soak has all kinds. What takes the broker
    or several workers from everybody comes once a round, the rest twice. The first worker is never ended from
    outside, so that the growth of its memory shows.
    """
    dice = random.Random(plan.seed)  # noqa: S311 - not a secret
    rare = {Fault.LETHAL, Fault.FORKING, Fault.TOGETHER, *NEEDS_CONTROL}
    kinds = [fault for fault in Fault if fault not in rare] * 2
    kinds += [Fault.TOGETHER]
    kinds += [Fault.LETHAL, Fault.FORKING] * plan.lethal
    kinds += NEEDS_CONTROL * has_control
    found: list[Injection] = []
    at = dice.uniform(0.5, 1.5) * plan.pause
    for fault in _rounds(kinds, dice):
        if at >= plan.seconds:
            return found
        targets = _targets(fault)
        longest = min(LONGEST.get(fault, 0.0), plan.seconds / 4)
        found.append(
            Injection(
                at=at,
                fault=fault,
                target=targets[dice.randrange(len(targets))],
                lasts=dice.uniform(0.3, 1.0) * longest,
            )
        )
        at += dice.uniform(0.5, 1.5) * plan.pause
    return found


def _rounds(kinds: Sequence[Fault], dice: random.Random) -> Iterator[Fault]:
    while True:
        yield from dice.sample(kinds, len(kinds))


def _targets(fault: Fault) -> range:
    if fault in FOR_PRODUCERS:
        return range(PRODUCERS)
    return range(1 if fault in ENDS_WORKERS else 0, WORKERS)
