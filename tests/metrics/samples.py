"""What a registry shows, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from prometheus_client import CollectorRegistry

Labels = tuple[tuple[str, str], ...]


def samples(registry: CollectorRegistry, name: str) -> dict[Labels, float]:
    """All samples of this name, by their labels but for the queue and the bucket."""
    return {
        tuple((key, text) for key, text in each.labels.items() if key != "queue"): each.value
        for family in registry.collect()
        for each in family.samples
        if each.name == name
    }


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """The only sample of this name with these labels, whatever its queue; None where there is none."""
    found = [
        each.value
        for family in registry.collect()
        for each in family.samples
        if each.name == name and labels.items() <= each.labels.items()
    ]
    assert len(found) <= 1
    return found[0] if found else None


def buckets(registry: CollectorRegistry, name: str, **labels: str) -> Mapping[float, float]:
    """How many values each bucket of a histogram has for itself, by its upper bound; the empty left out."""
    found = [
        (float(each.labels["le"]), each.value)
        for family in registry.collect()
        for each in family.samples
        if each.name == f"{name}_bucket" and labels.items() <= each.labels.items()
    ]
    assert [bound for bound, _ in found] == sorted(bound for bound, _ in found)
    steps = pairwise([(0.0, 0.0), *found])
    return {bound: count - before for (_, before), (bound, count) in steps if count > before}
