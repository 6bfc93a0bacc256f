"""Which settings to use for a load: each is simulated, and one is chosen.

Of the settings that meet the objective, those with the fewest replicas are taken, because replicas cost
memory and share the device; of these, the ones that bear nearly the highest load; and of those, the one with
the smallest batch, because the prefetch, and so the memory, grows with the batch. Without an objective, a
setting meets it if its mean latency is close to the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from rpcb_trio._measure._demand import Demand, Objective
from rpcb_trio._measure._prospect import Predicted, Prospect, Setting

CLOSE = 1.02
"""A mean latency within this factor of the best one is close to it."""
NEARLY = 0.95
"""The share of the highest load that is nearly as much."""
SHOWN = 3
"""Settings: the recommended one, and alternatives."""
POINTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the highest capacity shown, where latency is drawn."""


class Advice(msgspec.Struct, frozen=True):
    """What was simulated, and what follows from it."""

    settings: tuple[Predicted, ...]
    """In the order they were given."""
    recommended: Predicted
    """The best there is, even if it does not meet the objective."""
    alternatives: tuple[Predicted, ...]
    """The next best ones, two at most."""


class LatencyCurve(msgspec.Struct, frozen=True):
    """Latency in seconds over the load: requests per second, or callers where there is no rate."""

    setting: Setting
    loads: tuple[float, ...]
    means: tuple[float, ...]
    p99s: tuple[float, ...]


def advise(prospect: Prospect, settings: Sequence[Setting], demand: Demand, objective: Objective) -> Advice:
    """Simulate each setting, at least one, under the load and choose."""
    table = [_predict(prospect, each, demand, objective) for each in settings]
    first = _choose(table, objective)
    others = sorted((each for each in table if each is not first), key=_order(objective))
    return Advice(tuple(table), first, tuple(others[: SHOWN - 1]))


def latency_over_load(
    prospect: Prospect, shown: Sequence[Predicted], demand: Demand, objective: Objective
) -> list[LatencyCurve]:
    """Latency over the load, for each of the settings, at the same loads as far as it keeps up."""
    if demand.rate is None:
        most = max(each.highest or demand.callers or 1 for each in shown)
        demands = [Demand(callers=callers) for callers in sorted({max(1, round(most * x)) for x in POINTS})]
    else:
        most = max(each.capacity for each in shown)
        demands = [Demand(most * share, demand.callers) for share in POINTS]
    curves = []
    for each in shown:
        found = [(at, prospect.predict(each.setting, at, objective)) for at in demands]
        kept = [(at.rate or at.callers or 0, row) for at, row in found if row.keeps_up]
        loads, rows = tuple(float(at) for at, _ in kept), [row for _, row in kept]
        curves.append(
            LatencyCurve(each.setting, loads, tuple(row.mean for row in rows), tuple(row.p99 for row in rows))
        )
    return curves


def _predict(prospect: Prospect, setting: Setting, demand: Demand, objective: Objective) -> Predicted:
    predicted = prospect.predict(setting, demand, objective)
    if objective == Objective():
        return predicted
    return msgspec.structs.replace(predicted, highest=prospect.highest(setting, demand, objective))


def _choose(table: Sequence[Predicted], objective: Objective) -> Predicted:
    meeting = [each for each in table if each.meets]
    if not meeting:
        return min(table, key=_order(objective))
    if objective == Objective():
        best = min(each.mean for each in meeting)
        meeting = [each for each in meeting if each.mean <= CLOSE * best]
    fewest = min(each.setting.replicas for each in meeting)
    meeting = [each for each in meeting if each.setting.replicas == fewest]
    most = max(map(_headroom, meeting))
    nearly = [each for each in meeting if _headroom(each) >= NEARLY * most]
    return min(nearly, key=lambda each: each.setting.max_batch_size)


def _headroom(predicted: Predicted) -> float:
    return predicted.capacity if predicted.highest is None else predicted.highest


def _order(objective: Objective) -> Callable[[Predicted], tuple[object, ...]]:
    """What meets the objective first, then what is nearer to it; where none keeps up, what bears most."""
    return lambda each: (not each.meets, objective.figure(p99=each.p99, mean=each.mean), -_headroom(each))
