"""What a gateway counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import anyio
from prometheus_client import CollectorRegistry

from rpcb_trio._metrics import _series as series
from rpcb_trio._metrics._collector import collector_of
from rpcb_trio._metrics._counts import Histogram, Sample

HUNG_UP = 499
"""The status of a request whose client did not wait for the response."""


class GatewayCounts:
    """Counts the requests of one gateway by their routes, of which there is a bounded number.

    Args:
        registry: what it counts for.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._collector = collector_of(registry)
        self._statuses: dict[tuple[str, str], int] = defaultdict(int)
        self._durations: dict[str, Histogram] = {}
        self._in_flight: dict[str, int] = {}

    def counting(self) -> AbstractContextManager[None]:
        """Give the counts to the registry; at the end they are kept, as of a gateway that has ended."""
        return self._collector.counting(self)

    @contextmanager
    def request(self, route: str) -> Iterator[Callable[[int], None]]:
        """Count a request; to be told the status of its response when that begins."""
        started = anyio.current_time()
        has_begun = False
        durations = self._durations.setdefault(route, Histogram(series.SECONDS))
        self._in_flight[route] = self._in_flight.get(route, 0) + 1

        def begin_response(status: int) -> None:
            nonlocal has_begun
            has_begun = True
            self._statuses[route, str(status)] += 1
            durations.observe(anyio.current_time() - started)

        try:
            yield begin_response
        finally:
            self._in_flight[route] -= 1
            if not has_begun:
                begin_response(HUNG_UP)

    def samples(self) -> Iterator[Sample]:
        """All that is counted, at this moment."""
        for (route, status), count in list(self._statuses.items()):
            yield series.GATEWAY_REQUESTS, (route, status), count
        for route, durations in list(self._durations.items()):
            yield series.GATEWAY_REQUEST_SECONDS, (route,), durations.distribution
        for route, count in list(self._in_flight.items()):
            yield series.GATEWAY_IN_FLIGHT, (route,), count


class JobCounts:
    """Counts the jobs of one gateway.

    Args:
        registry: what it counts for.
        open_jobs: how many have no reply yet, at the moment.
        size: how many bytes all of them take, likewise.
    """

    def __init__(
        self, registry: CollectorRegistry, open_jobs: Callable[[], int], size: Callable[[], int]
    ) -> None:
        self._collector = collector_of(registry)
        self._open_jobs = open_jobs
        self._size = size
        self._outcomes: dict[str, int] = defaultdict(int)

    def counting(self) -> AbstractContextManager[None]:
        """As `GatewayCounts` has it."""
        return self._collector.counting(self)

    def ended(self, *, has_failed: bool) -> None:
        """Count a job whose reply is kept."""
        self._outcomes["failed" if has_failed else "done"] += 1

    def samples(self) -> Iterator[Sample]:
        """All that is counted, at this moment."""
        for outcome, count in list(self._outcomes.items()):
            yield series.GATEWAY_JOBS, (outcome,), count
        yield series.GATEWAY_JOBS_OPEN, (), self._open_jobs()
        yield series.GATEWAY_JOBS_BYTES, (), self._size()
