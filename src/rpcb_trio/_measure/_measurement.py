"""What a service's batches take on this machine: its own `decode` and `infer`, in the worker's executors.

Each size is run until it is warm, then all sizes take turns, in another order each round, so that a machine
that slows down or is busy for a while is not mistaken for a size. Items are drawn from the samples anew for
each batch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
import trio

from rpcb_trio._errors import SettingError
from rpcb_trio._executors import Executor, ThreadExecutor
from rpcb_trio._measure._law import Observation
from rpcb_trio._messages import Ending, Failure, Outcome, Pending, Request
from rpcb_trio._pipeline import Codec, Hooks, Isolation, in_thread
from rpcb_trio._service import BoundService

MOST_ROUNDS = 100
LEAST_ROUNDS = 3
"""A size is measured only if the time allows so many rounds of all up to it."""


class Sample(msgspec.Struct, frozen=True, eq=False):
    """A decoded request, and the name of what it was read from."""

    name: str
    pending: Pending


class Measured(msgspec.Struct, frozen=True):
    """What batches took while so many replicas computed at once."""

    replicas: int
    sizes: tuple[int, ...]
    observations: tuple[Observation, ...]
    left_out: str | None
    """Why larger sizes were not measured, if they were to be."""

    def seconds_of(self, size: int) -> list[float]:
        """What batches of one size took, sorted."""
        return sorted(each.seconds for each in self.observations if each.work.size == size)


class Survey(msgspec.Struct, frozen=True):
    """What a service was found to take, by how many replicas compute at once: 1, 2, ..."""

    costs: tuple[float, ...]
    """Of the samples."""
    measured: tuple[Measured, ...]


def sizes_up_to(largest: int) -> list[int]:
    """The powers of two below `largest`, and itself."""
    return [*(1 << power for power in range(largest.bit_length()) if 1 << power < largest), largest]


async def _decode(service: BoundService, bodies: Mapping[str, bytes]) -> list[Sample]:
    codec = Codec(service, Hooks(in_thread, most=1, timeout=math.inf))
    samples = []
    for name, body in bodies.items():
        decoded = await codec.decode(Request(body=body, arrived=trio.current_time()))
        if isinstance(decoded, Failure):
            raise SettingError(f"{name}: the service can't take it: {decoded.error}{decoded.error.origin}")
        samples.append(Sample(name, decoded))
    return samples


async def survey(
    service: BoundService,
    bodies: Mapping[str, bytes],
    devices: Sequence[str | None],
    sizes: Sequence[int],
    *,
    seconds: float,
    progress: Callable[[float], None],
) -> Survey:
    """Warm up a replica on each device, and measure with 1, 2, ... of them computing at once.

    Args:
        service: what decodes and infers.
        bodies: of requests, by a name that errors may tell.
        devices: one for each replica; None for wherever the service computes by itself.
        sizes: of batches, in ascending order.
        seconds: how long to measure in all, once all is warm.
        progress: told now and then which share of it is done, 0 to 1.

    Raises:
        SettingError: the service fails on a body, or a device is not there; in exception groups.
    """
    executors = [ThreadExecutor(service, device=device) for device in devices]
    async with trio.open_nursery() as nursery:
        for executor in executors:
            nursery.start_soon(executor.warm_up)
    samples = await _decode(service, bodies)
    share = 1 / len(executors)
    measured = []
    for count in range(len(executors)):
        told = partial(_tell_part, progress, count * share, share)
        found = await measure(executors[: count + 1], samples, sizes, seconds=seconds * share, progress=told)
        measured.append(found)
    return Survey(tuple(each.pending.cost for each in samples), tuple(measured))


def _tell_part(progress: Callable[[float], None], before: float, share: float, done: float) -> None:
    progress(before + share * done)


async def measure(
    executors: Sequence[Executor],
    samples: Sequence[Sample],
    sizes: Sequence[int],
    *,
    seconds: float,
    progress: Callable[[float], None],
) -> Measured:
    """Measure batches of each size, all executors computing at once.

    Args:
        executors: warm; the worker's replicas.
        samples: what the batches are made of. One may be in a batch several times.
        sizes: in ascending order.
        seconds: how long to measure, once all sizes are warm.
        progress: told now and then which share of it is done, 0 to 1.

    Raises:
        SettingError: the service fails on a sample; in an exception group.
    """
    meter = _Meter(executors, samples)
    sizes, left_out = await meter.warm(sizes, seconds / LEAST_ROUNDS)
    meter.observations.clear()
    began = trio.current_time()
    for number in range(MOST_ROUNDS):
        for size in meter.shuffled(sizes):
            spent = (trio.current_time() - began) / seconds
            progress(min(1.0, max(spent, number / MOST_ROUNDS)))
            if number and spent >= 1:
                break
            await meter.run(size)
    progress(1.0)
    return Measured(len(executors), tuple(sizes), tuple(meter.observations), left_out)


class _Meter:
    def __init__(self, executors: Sequence[Executor], samples: Sequence[Sample]) -> None:
        self._executors = executors
        self._samples = samples
        self._random = random.Random(0)  # noqa: S311 - the same in every run
        self._is_out_of_memory = False
        self.observations: list[Observation] = []

    def shuffled(self, sizes: Sequence[int]) -> list[int]:
        return self._random.sample(sizes, len(sizes))

    async def warm(self, sizes: Sequence[int], round_seconds: float) -> tuple[list[int], str | None]:
        """Run each size twice; say which ones one round has time for, and why not all."""
        warm: list[int] = []
        spent = last = 0.0
        for size in sizes:
            if warm and spent + 2 * last > round_seconds:
                return warm, f"batches of {size} take too long to be measured; raise --seconds"
            await self.run(size)
            last = await self.run(size)
            if self._is_out_of_memory:
                return warm, f"the device's memory does not hold {size} at once"
            spent += last
            warm.append(size)
        return warm, None

    async def run(self, size: int) -> float:
        """Let each executor compute a batch of `size`, all at once; return how many seconds all took."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for executor in self._executors:
                drawn = self._random.choices(self._samples, k=size)
                nursery.start_soon(self._run_one, executor, drawn)
        return trio.current_time() - began

    async def _run_one(self, executor: Executor, drawn: Sequence[Sample]) -> None:
        isolation = Isolation(executor)
        outcomes = await isolation.infer([each.pending for each in drawn])
        for sample, outcome in zip(drawn, outcomes, strict=True):
            _refuse_failure(sample.name, outcome)
        first, *more = isolation.runs
        if first.ending is Ending.OUT_OF_MEMORY:
            self._is_out_of_memory = True
        elif more:
            raise SettingError(
                f"infer fails on {len(drawn)} items at once, though on none of them alone; mend it, or set "
                "--max-batch-size lower"
            )
        else:
            self.observations.append(Observation(first.work, first.seconds))


def _refuse_failure(name: str, outcome: Outcome[object]) -> None:
    if isinstance(outcome, Failure):
        raise SettingError(f"{name}: the service fails on it: {outcome.error}{outcome.error.origin}")
