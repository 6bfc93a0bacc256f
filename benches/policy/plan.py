"""Which cells there are."""

from __future__ import annotations

from collections.abc import Iterator

from benches.policy.cells import Both, Cell, Closed, Open, Oracle, Overload, Padded
from benches.policy.loads import DEVICES, RECOGNISER, Device

LOADS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
OVERLOADS = (1.0, 1.1, 1.2, 1.3)
PATIENCES = (2.0, 4.0)
CALLERS = (1, 2, 5, 10, 20)
THINKS_MS = (0.3, 1.0, 3.0)
ROUNDS = 60
"""Requests of each caller in lock step."""
SIGMAS = (0.6, 0.8, 1.0)
DEPTHS = (64, 256)
ORACLE_RATES = (50.0, 200.0, 400.0, 550.0)


def full(requests: int) -> list[Cell]:
    """All cells; an open load is of so many `requests`."""
    cells = [cell for device in DEVICES for cell in on(device, requests)]
    padded = [
        Padded(device=RECOGNISER, requests=2 * requests, sigma=sigma, depth=depth)
        for sigma in SIGMAS
        for depth in DEPTHS
    ]
    oracle = [Oracle(requests=8 * requests, rate=rate) for rate in ORACLE_RATES]
    return [*oracle, *cells, *padded]


def quick(requests: int) -> list[Cell]:
    """A few of them, one or two of each kind."""
    return [
        Oracle(requests=requests, rate=200.0),
        Open(requests=requests, shape="Poisson", load=0.3),
        Open(requests=requests, shape="Poisson", load=0.9),
        Open(requests=requests, shape="bursty", load=0.5),
        Closed(requests=2 * ROUNDS, callers=2, think_ms=1.0),
        Closed(requests=10 * ROUNDS, callers=10, think_ms=1.0),
        Overload(requests=requests, load=1.2, patience=2.0),
        Both(requests=requests, load=0.3, callers=5, think_ms=1.0),
        Padded(device=RECOGNISER, requests=requests, sigma=0.8, depth=256),
    ]


def on(device: Device, requests: int) -> Iterator[Cell]:
    for shape in ("Poisson", "bursty"):
        for load in LOADS:
            yield Open(device=device, requests=requests, shape=shape, load=load)
    for callers in CALLERS:
        for think_ms in THINKS_MS:
            yield Closed(device=device, requests=ROUNDS * callers, callers=callers, think_ms=think_ms)
    for load in OVERLOADS:
        for patience in PATIENCES:
            yield Overload(device=device, requests=2 * requests, load=load, patience=patience)
    for callers in (5, 10):
        yield Both(device=device, requests=requests, load=0.3, callers=callers, think_ms=1.0)
