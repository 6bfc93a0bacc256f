"""What an audit recorded, played again under another policy.

The requests come when they came, with the costs, priorities, deadlines and callers that were recorded. Each
start of the worker is played on its own, for its clock is its own. Requests that could not be decoded never
reached the batcher and are left out; those that were refused as too many did arrive, and come again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import msgspec

from rpcb_trio._batching import Policy
from rpcb_trio._errors import Expired, Overloaded, SettingError, TooLate
from rpcb_trio._instruments import Audit, AuditBatch, AuditRequest, read_audit
from rpcb_trio._messages import Ending, Work
from rpcb_trio._tuning._law import Observation, ServiceLaw, fit_law
from rpcb_trio.simulation import Arrival, Fate, OpenLoad, Simulation, simulate

LATE = (Expired.code, TooLate.code)
REPLAYED = (*LATE, Overloaded.code)
"""The requests that were not computed for want of time."""
UNLIKE = 1.5
"""The largest batch must be so many times the smallest, or nothing tells the law's two parts apart."""


class Recording(msgspec.Struct, frozen=True):
    """What one worker wrote, from all its starts in a file."""

    worker: str
    audits: tuple[Audit, ...]

    @property
    def max_batch_size(self) -> int:
        """As it was last set."""
        return self.audits[-1].start.setup.max_batch_size

    @property
    def replicas(self) -> int:
        """As it was last set."""
        return self.audits[-1].start.setup.executors

    @property
    def policy(self) -> str:
        """The name of the last start's policy."""
        return self.audits[-1].start.setup.policy

    @property
    def batches(self) -> list[AuditBatch]:
        """Of all starts, in order."""
        return [batch for audit in self.audits for batch in audit.batches]

    def loads(self) -> list[list[Arrival]]:
        """The requests of each start that had any, in order of arrival; the first comes at 0."""
        costs = [request.cost for batch in self.batches for request in batch.requests]
        typical = fmean(cost for cost in costs if cost is not None) if costs else 1.0
        loads = [_arrivals(audit, typical) for audit in self.audits]
        return [load for load in loads if load]

    def law(self) -> ServiceLaw:
        """What batches took, by those that were computed in one run.

        Raises:
            SettingError: they don't tell.
        """
        observed = [
            Observation(Work(batch.size, batch.work.longest, batch.work.total), batch.seconds)
            for batch in self.batches
            if [run.ending for run in batch.runs] == [Ending.COMPUTED]
        ]
        works = [each.work.padded for each in observed]
        if not works or max(works) < UNLIKE * min(works):
            raise SettingError(
                f"the {len(works)} batches that {self.worker} computed are too much alike to tell what "
                "others would take; give --fixed-seconds and --per-cost-seconds"
            )
        return fit_law(observed)


class Figures(msgspec.Struct, frozen=True):
    """Recorded or simulated. Latencies are in seconds, from arrival to the computed result; of the served."""

    requests: int
    served: int
    expired: int
    refused: int
    mean: float
    p50: float
    p99: float
    batches: int
    mean_batch_size: float
    largest_batch: int
    latencies: tuple[float, ...]
    """Sorted."""


def recorded(file: Path, worker: str | None) -> Recording:
    """Read what one worker wrote.

    Raises:
        SettingError: the file is empty or broken, or it is not clear whose part of it is meant.
    """
    audits = read_audit(file)
    if not audits:
        raise SettingError(f"{file}, line 1: there is none, it is empty; name a file that --audit wrote")
    workers = list(dict.fromkeys(audit.start.worker for audit in audits))
    if worker is None and len(workers) > 1:
        raise SettingError(f"{file}: {', '.join(workers)} wrote it; choose one with --worker NAME")
    name = workers[0] if worker is None else worker
    if name not in workers:
        raise SettingError(f"--worker {name}: {file} has nothing of it; {', '.join(workers)} wrote it")
    recording = Recording(name, tuple(audit for audit in audits if audit.start.worker == name))
    if not recording.loads():
        raise SettingError(f"{file}: no request of {name} is in it; record while requests come")
    return recording


def replay(
    recording: Recording, policy: Callable[[], Policy], law: ServiceLaw, replicas: int
) -> tuple[Figures, Figures]:
    """The figures as recorded, and as a policy (a new one for each start) would have made them."""
    found = [
        simulate(policy(), OpenLoad(load), law, executors=replicas, noise=law.noise(seed=number))
        for number, load in enumerate(recording.loads())
    ]
    return _of_recording(recording), _of_simulations(found)


def _arrivals(audit: Audit, typical: float) -> list[Arrival]:
    requests = [request for batch in audit.batches for request in batch.requests]
    requests += [each.request for each in audit.refused if each.why in REPLAYED]
    requests.sort(key=lambda request: request.arrived)
    return [_arrival(request, requests[0].arrived, typical) for request in requests]


def _arrival(request: AuditRequest, start: float, typical: float) -> Arrival:
    at = request.arrived - start
    return Arrival(
        at=at,
        cost=typical if request.cost is None else request.cost,
        priority=request.priority,
        deadline=None if request.deadline is None else at + request.deadline,
        caller=request.caller,
    )


def _of_recording(recording: Recording) -> Figures:
    batches = recording.batches
    refused = [each.why for audit in recording.audits for each in audit.refused]
    return _figures(
        [request.wait + batch.seconds for batch in batches for request in batch.requests],
        [batch.size for batch in batches],
        expired=sum(why in LATE for why in refused),
        refused=sum(why == Overloaded.code for why in refused),
    )


def _of_simulations(found: Sequence[Simulation]) -> Figures:
    return _figures(
        [latency for each in found for latency in each.latencies],
        [batch.size for each in found for batch in each.batches],
        expired=sum(request.fate is not Fate.SERVED for each in found for request in each.requests),
        refused=0,
    )


def _figures(latencies: list[float], sizes: list[int], *, expired: int, refused: int) -> Figures:
    latencies.sort()
    return Figures(
        requests=len(latencies) + expired + refused,
        served=len(latencies),
        expired=expired,
        refused=refused,
        mean=fmean(latencies) if latencies else math.nan,
        p50=_percentile(latencies, 50),
        p99=_percentile(latencies, 99),
        batches=len(sizes),
        mean_batch_size=fmean(sizes) if sizes else math.nan,
        largest_batch=max(sizes, default=0),
        latencies=tuple(latencies),
    )


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """As `Simulation.percentile`."""
    if not ordered:
        return math.nan
    place = percent / 100 * (len(ordered) - 1)
    below = ordered[math.floor(place)]
    return below + (ordered[math.ceil(place)] - below) * (place - math.floor(place))
