"""What a service's batches take on this machine: its own `decode` and `infer`, in the worker's executors.

Each size is run until it is warm, then all sizes take turns, in another order each round, so that a machine
that slows down or is busy for a while is not mistaken for a size. Items are drawn from the samples anew for
each batch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import trio

from rpcb_trio._executors import Executor, executor_of
from rpcb_trio._measure._law import Observation, ServiceLaw, fit_law
from rpcb_trio._messages import Ending, Failure, Outcome, Pending, Request
from rpcb_trio._pipeline import Decoding, Hooks, Isolation, in_thread
from rpcb_trio._service import BoundService
from rpcb_trio.errors import SettingError

MOST_ROUNDS = 100
LEAST_ROUNDS = 3
"""A size is measured only if the time allows so many rounds of all up to it."""


class _Sample(NamedTuple):
    name: str
    """Of what it was read from."""
    pending: Pending


class Measured(msgspec.Struct, frozen=True):
    """What batches took while so many replicas computed at once."""

    replicas: int
    sizes: tuple[int, ...]
    observations: tuple[Observation, ...]
    law: ServiceLaw
    """That fits the observations best."""
    left_out: str | None = None
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


async def _decode(service: BoundService, bodies: Mapping[str, tuple[bytes, str]]) -> list[_Sample]:
    decoding = Decoding(service, Hooks(in_thread, most=1, timeout=math.inf))
    samples = []
    for name, (body, content_type) in bodies.items():
        request = Request(body=body, content_type=content_type, arrived=trio.current_time())
        decoded = await decoding.decode(request)
        if isinstance(decoded, Failure):
            raise SettingError(f"{name}: the service can't take it: {decoded.error.in_full}")
        samples.append(_Sample(name, decoded))
    return samples


async def survey(
    service: BoundService,
    bodies: Mapping[str, tuple[bytes, str]],
    devices: Sequence[str | None],
    sizes: Sequence[int],
    *,
    seconds: float,
    progress: Callable[[float], None],
) -> Survey:
    """Warm up a replica on each device, and measure with 1, 2, ... of them computing at once.

    Args:
        service: what decodes and infers.
        bodies: of requests, each with its content type, by the name that errors give.
        devices: one for each replica; None for wherever the service computes by itself.
        sizes: of batches, in ascending order.
        seconds: how long to measure in all, once all is warm.
        progress: called now and then with the share of it that is done, 0 to 1.

    Raises:
        SettingError: the service fails on a body, or a device is not there; in exception groups.
    """
    executors = [executor_of(service, device=device) for device in devices]
    async with trio.open_nursery() as nursery:
        for executor in executors:
            nursery.start_soon(executor.warm_up)
    samples = await _decode(service, bodies)
    share = 1 / len(executors)
    measured = [
        await _measure(
            _Meter(executors[: done + 1], samples),
            sizes,
            seconds * share,
            lambda part, done=done: progress((done + part) * share),  # type: ignore[misc] # its default binds it
        )
        for done in range(len(executors))
    ]
    return Survey(tuple(each.pending.cost for each in samples), tuple(measured))


async def _measure(
    meter: _Meter, sizes: Sequence[int], seconds: float, progress: Callable[[float], None]
) -> Measured:
    """Measure batches of each size, for so many seconds once all sizes are warm."""
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
    observations = tuple(meter.observations)
    return Measured(len(meter.executors), tuple(sizes), observations, fit_law(observations), left_out)


class _Meter:
    def __init__(self, executors: Sequence[Executor], samples: Sequence[_Sample]) -> None:
        self.executors = executors
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
            for executor in self.executors:
                drawn = self._random.choices(self._samples, k=size)
                nursery.start_soon(self._run_one, executor, drawn)
        return trio.current_time() - began

    async def _run_one(self, executor: Executor, drawn: Sequence[_Sample]) -> None:
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
        raise SettingError(f"{name}: the service fails on it: {outcome.error.in_full}")
