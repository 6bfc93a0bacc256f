"""For choosing a policy: the worker's own batcher and policy under a simulated load, in virtual time.

    load = LockStep(callers=10, think=lambda: 0.001, requests=300)
    found = simulate(FixedPolicy(max_batch_size=12), load, linear(0.150, 0.025))
    print(found.mean_latency, found.mean_batch_size)

No time is slept, and nothing is random but what the load and the noise bring: the same seeds give the same
figures to the last digit.
"""

from rpcb_trio._public import publish
from rpcb_trio.simulation._fleet import SimulatedWorker, simulate_fleet
from rpcb_trio.simulation._found import SimulatedBatch, SimulatedRequest, Simulation
from rpcb_trio.simulation._loads import (
    Arrival,
    Law,
    Load,
    LockStep,
    Mixed,
    OpenLoad,
    linear,
    padded,
    poisson,
)
from rpcb_trio.simulation._world import simulate

__all__ = [
    "Arrival",
    "Law",
    "Load",
    "LockStep",
    "Mixed",
    "OpenLoad",
    "SimulatedBatch",
    "SimulatedRequest",
    "SimulatedWorker",
    "Simulation",
    "linear",
    "padded",
    "poisson",
    "simulate",
    "simulate_fleet",
]

publish(__name__)
