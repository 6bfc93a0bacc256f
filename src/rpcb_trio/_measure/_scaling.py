"""How many workers a load needs: what an autoscaler is told, and what each worker must be given for it."""

from __future__ import annotations

import math

import msgspec

from rpcb_trio._measure._demand import Demand, Objective
from rpcb_trio._measure._law import ServiceLaw
from rpcb_trio._measure._prospect import Predicted
from rpcb_trio.errors import SettingError

QUEUE_SECONDS = 10.0
"""Of waiting requests for each worker, where nothing else is said: an autoscaler looks about as often."""
ABOVE_PREFETCH = 1.5
"""Times the prefetch that a worker's part of the queue has at least, where nothing else is said."""
DRAIN_TIMEOUT = 30.0
"""The default of the setting."""
ROUNDING = 1e-6
LATE = 2.0
"""Times as long as predicted that a drain may take."""
CLOSING = 5.0
"""Seconds that a worker may take to close and to end, after its drain."""


class Scaling(msgspec.Struct, frozen=True):
    """What follows from a worker's settings for many workers. Times are in seconds."""

    worker: Predicted
    demand: Demand
    objective: Objective
    rate: float
    """Requests per second that one worker answers within the objective."""
    queue_seconds: float
    """How long a worker would need for its part of the queue."""
    backlog: int
    """Requests that wait or are held, for each worker; above its prefetch."""
    most_workers: int
    """As many as the whole load needs, and one more for when a worker is replaced."""
    drain_seconds: float
    """What the requests take that a worker holds at most."""

    @property
    def drain_timeout(self) -> int:
        return math.ceil(max(DRAIN_TIMEOUT, LATE * self.drain_seconds))

    @property
    def grace(self) -> int:
        """From the signal until the worker may be killed."""
        return math.ceil(self.drain_timeout + CLOSING)


def check_scaling(demand: Demand, objective: Objective) -> None:
    """Refuse what no number of workers follows from.

    Raises:
        SettingError: the load has no rate, or there is no objective.
    """
    if demand.rate is None:
        raise SettingError("--keda needs the requests per second of all workers together; give --rate")
    if objective == Objective():
        raise SettingError("--keda needs the latency that each worker has to keep; give --p99 or --mean")


def scale(
    worker: Predicted,
    law: ServiceLaw,
    cost: float,
    demand: Demand,
    objective: Objective,
    *,
    queue_seconds: float | None = None,
) -> Scaling:
    """What an autoscaler is told.

    Args:
        worker: the settings of each worker, and the highest rate at which it meets the objective.
        law: what its batches take.
        cost: the largest of a request.
        demand: the load of all workers together.
        objective: what `worker.highest` meets.
        queue_seconds: how long a worker may need for its part of the queue; None for what suits it.

    Raises:
        SettingError: it can't be derived; the text names the flags.
    """
    check_scaling(demand, objective)
    prefetch, rate = worker.setting.prefetch, worker.highest
    if not rate:
        raise SettingError(
            f"no rate meets a {objective}, so the number of workers can't be derived; allow a longer latency "
            "(--p99, --mean), or measure on a faster device"
        )
    if queue_seconds is None:
        queue_seconds = max(QUEUE_SECONDS, math.ceil(ABOVE_PREFETCH * prefetch / rate))
    backlog = math.floor(rate * queue_seconds + ROUNDING)
    if backlog <= prefetch:
        raise SettingError(
            f"--queue-seconds {queue_seconds:g} are {backlog} requests for each worker, but a busy one holds "
            f"up to {prefetch} (prefetch), which RabbitMQ counts too, so it would call for a second; give "
            f"--queue-seconds {math.ceil((prefetch + 1) / rate)} or more, or a smaller --max-batch-size"
        )
    setting = worker.setting
    batches = math.ceil(prefetch / setting.max_batch_size / setting.replicas)
    return Scaling(
        worker=worker,
        demand=demand,
        objective=objective,
        rate=rate,
        queue_seconds=queue_seconds,
        backlog=backlog,
        most_workers=math.ceil((demand.rate or 0.0) / rate) + 1,
        drain_seconds=batches * law.mean(setting.max_batch_size, cost),
    )
