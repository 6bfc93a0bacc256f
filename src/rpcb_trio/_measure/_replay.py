"""What an audit recorded, played again under another policy.

The requests come when they came, with the costs, priorities, deadlines and callers that were recorded. Each
start of the worker is played on its own, for its clock is its own. Requests that could not be decoded never
reached the batcher and are left out; those that were refused as too many did arrive, and come again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import msgspec

from rpcb_trio._batching import Policy
from rpcb_trio._instruments import Audit, AuditBatch, AuditRequest, read_audit
from rpcb_trio._measure._law import Observation, ServiceLaw, fit_law
from rpcb_trio._messages import Ending
from rpcb_trio._shares import Shares
from rpcb_trio.errors import Expired, Overloaded, SettingError, TooLate
from rpcb_trio.simulation import (
    Arrival,
    OpenLoad,
    SimulatedBatch,
    SimulatedRequest,
    Simulation,
    simulate,
)

REPLAYED = (Expired.code, TooLate.code, Overloaded.code)
"""The requests that were not computed for lack of time."""
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

    def starts(self) -> list[Simulation]:
        """Each start that had requests, as if it had been simulated; the first request comes at 0."""
        costs = [request.cost for batch in self._batches for request in batch.requests]
        typical = fmean(cost for cost in costs if cost is not None) if costs else 1.0
        starts = [_as_simulated(audit, typical) for audit in self.audits]
        return [start for start in starts if start.requests]

    def law(self) -> ServiceLaw:
        """What batches took, by those that were computed in one run.

        Raises:
            SettingError: they don't tell.
        """
        observed = [
            Observation(batch.work, batch.seconds)
            for batch in self._batches
            if [run.ending for run in batch.runs] == [Ending.COMPUTED]
        ]
        works = [each.work.padded for each in observed]
        if not works or max(works) < UNLIKE * min(works):
            raise SettingError(
                f"the {len(works)} batches that {self.worker} computed are too much alike to tell what "
                "others would take; give --fixed-seconds and --per-cost-seconds"
            )
        return fit_law(observed)

    @property
    def _batches(self) -> list[AuditBatch]:
        return [batch for audit in self.audits for batch in audit.batches]


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
    if not recording.starts():
        raise SettingError(f"{file}: no request of {name} is in it; record while requests come")
    return recording


def replay(
    recording: Recording,
    policy: Callable[[], Policy],
    law: ServiceLaw,
    replicas: int,
    *,
    shares: Shares | None = None,
    max_pending: int | None = None,
) -> tuple[Simulation, Simulation]:
    """All starts as recorded, and as a policy (a new one for each start) would have served them.

    Latencies are from arrival to the computed result.
    """
    before = recording.starts()
    after = [
        simulate(
            policy(),
            OpenLoad(request.arrival for request in start.requests),
            law,
            executors=replicas,
            noise=law.noise(seed=number),
            shares=shares,
            max_pending=max_pending,
        )
        for number, start in enumerate(before)
    ]
    return _together(before), _together(after)


def _as_simulated(audit: Audit, typical: float) -> Simulation:
    ends: list[tuple[AuditRequest, str | None, float | None, int | None]] = [
        (request, None, request.wait + batch.seconds, number)
        for number, batch in enumerate(audit.batches)
        for request in batch.requests
    ]
    ends += [(each.request, each.why, None, None) for each in audit.refused if each.why in REPLAYED]
    ends.sort(key=lambda end: end[0].arrived)
    requests = []
    for request, refused, latency, number in ends:
        at = request.arrived - ends[0][0].arrived
        arrival = Arrival(
            at=at,
            cost=typical if request.cost is None else request.cost,
            priority=request.priority,
            deadline=None if request.deadline is None else at + request.deadline,
            caller=request.caller,
            tenant=request.tenant,
        )
        finished = None if latency is None else at + latency
        requests.append(SimulatedRequest(arrival, refused, finished, number))
    batches = [
        SimulatedBatch(each.at, each.size, each.work, each.trigger, each.predicted, each.seconds)
        for each in audit.batches
    ]
    return Simulation(tuple(requests), tuple(batches), audit.start.setup.executors)


def _together(starts: Sequence[Simulation]) -> Simulation:
    """For the figures; requests of later starts no longer know their batch."""
    requests = tuple(request for start in starts for request in start.requests)
    batches = tuple(batch for start in starts for batch in start.batches)
    return Simulation(requests, batches, starts[-1].executors)
