"""What a simulation found."""

from __future__ import annotations

import math
import statistics

import msgspec

from rpcb_trio._messages import Trigger, Work
from rpcb_trio._statistics import percentile
from rpcb_trio.simulation._loads import Arrival


class SimulatedRequest(msgspec.Struct, frozen=True):
    """One request. `finished` and `batch` (an index of `Simulation.batches`) are None if it was refused."""

    arrival: Arrival
    refused: str | None = None
    """The code of its error reply, as `expired` or `too-late`; None if it was served."""
    finished: float | None = None
    batch: int | None = None

    @property
    def latency(self) -> float:
        """Seconds from arrival to reply; infinity if it was refused."""
        return math.inf if self.finished is None else self.finished - self.arrival.at

    @property
    def on_time(self) -> bool:
        """Whether it was served by its deadline; without one, whether it was served."""
        if self.finished is None:
            return False
        return self.arrival.deadline is None or self.finished <= self.arrival.deadline


class SimulatedBatch(msgspec.Struct, frozen=True):
    """One batch: when it was closed and started, what it held, and how many seconds it took."""

    closed: float
    size: int
    work: Work
    trigger: Trigger
    predicted: float | None
    seconds: float
    worker: int = 0
    """Which worker of a fleet computed it, in their order."""


class Simulation(msgspec.Struct, frozen=True):
    """All requests in order of arrival, and all batches in order of their start. Times are in seconds.

    Figures of latency are of the requests that were served, and NaN where none was.
    """

    requests: tuple[SimulatedRequest, ...]
    batches: tuple[SimulatedBatch, ...]
    executors: int = 1

    @property
    def latencies(self) -> list[float]:
        """Of the served requests, in order of arrival."""
        return [each.latency for each in self.requests if each.finished is not None]

    @property
    def mean_latency(self) -> float:
        """Of the served requests."""
        latencies = self.latencies
        return statistics.fmean(latencies) if latencies else math.nan

    def percentile(self, percent: float) -> float:
        """The latency that `percent` % (0 to 100) of the served requests do not exceed."""
        return percentile(sorted(self.latencies), percent)

    @property
    def span(self) -> float:
        """From the first arrival to the last reply."""
        finished = [each.finished for each in self.requests if each.finished is not None]
        return max(finished) - self.requests[0].arrival.at if finished else 0.0

    @property
    def throughput(self) -> float:
        """Served requests per second of the span."""
        return len(self.latencies) / self.span if self.span else math.nan

    @property
    def on_time_share(self) -> float:
        """Of all requests, those that were served by their deadline."""
        return sum(each.on_time for each in self.requests) / len(self.requests) if self.requests else math.nan

    @property
    def mean_batch_size(self) -> float:
        """Requests in a batch."""
        return statistics.fmean(each.size for each in self.batches) if self.batches else math.nan

    @property
    def busy_share(self) -> float:
        """Of the span, how much the executors computed; their mean."""
        busy = math.fsum(each.seconds for each in self.batches)
        return busy / (self.span * self.executors) if self.span else math.nan
