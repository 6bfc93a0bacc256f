"""Gives what sources count to a registry of prometheus_client."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import accumulate
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from rpcb_trio._metrics._counts import Distribution, Merged, Source, Value
from rpcb_trio._metrics._series import ALL, BUILD_INFO, Series

INFINITY = "+Inf"


class Collector:
    """Collects from the sources of one registry."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._ended = Merged()
        self._lock = threading.Lock()
        self._build = (BUILD_INFO, (version("rpcb-trio"),), 1.0)

    def add(self, source: Source) -> None:
        """Collect from a source, too."""
        with self._lock:
            self._sources.append(source)

    def end(self, source: Source) -> None:
        """Keep what a source has counted, which counts no more; a second call does nothing."""
        with self._lock:
            if source in self._sources:
                self._sources.remove(source)
                self._ended.add(source.samples())

    @contextmanager
    def counting(self, source: Source) -> Iterator[None]:
        """Collect from a source within it, and keep afterwards what that has counted."""
        self.add(source)
        try:
            yield
        finally:
            self.end(source)

    def describe(self) -> Iterator[Metric]:
        """As prometheus_client asks for names."""
        return (_family(each) for each in ALL)

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks for values; in any thread."""
        families = {series: _family(series) for series in ALL}
        found = Merged()
        with self._lock:
            found.add(iter([self._build]))
            for source in self._sources:
                found.add(source.samples())
            found.add_ended(self._ended)
        for (series, labels), value in found.values.items():
            _put(families[series], series, labels, value)
        return (family for family in families.values() if family.samples)


_collectors: WeakKeyDictionary[CollectorRegistry, Collector] = WeakKeyDictionary()
_finding = threading.Lock()


def collector_of(registry: CollectorRegistry | None) -> Collector:
    """The one of a registry (by default prometheus_client's own), registered at the first call."""
    registry = REGISTRY if registry is None else registry
    with _finding:
        found = _collectors.get(registry)
        if found is None:
            found = Collector()
            registry.register(found)
            _collectors[registry] = found
        return found


def _family(series: Series) -> Metric:
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    family: Metric = kinds[series.kind](series.name, series.text, labels=series.labels)
    return family


def _put(family: Metric, series: Series, labels: Sequence[str], value: Value) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Distribution)  # noqa: S101 - for the type checker
        family.add_metric(labels, list(_buckets(series.bounds, value.counts)), value.total)
    else:
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)  # noqa: S101 - likewise
        assert not isinstance(value, Distribution)  # noqa: S101 - likewise
        family.add_metric(labels, value)


def _buckets(bounds: Sequence[float], counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    names = [*map(floatToGoString, bounds), INFINITY]
    return zip(names, accumulate(counts), strict=True)
