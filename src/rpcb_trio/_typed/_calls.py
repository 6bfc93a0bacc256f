"""One run of a typed `infer`: its arguments, and its results as they can be taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rpcb_trio._guard import outcomes_of
from rpcb_trio._typed._arrays import alike, listed, stack
from rpcb_trio._typed._requests import Asked, RequestInfo


class _Run(NamedTuple):
    """A call of the service's own `infer`."""

    places: Sequence[int]
    """Of its items in the batch."""
    items: Any
    requests: dict[str, list[RequestInfo]]


class Call(NamedTuple):
    """How an `infer` is called.

    Args:
        infer: the service's own.
        asks: its parameter for what is known of the requests.
        stacks: whether it takes one array; there is a call for each shape among the items.
        lists: whether arrays among its results become lists.
    """

    infer: Callable[..., Any]
    asks: str | None
    stacks: bool
    lists: bool

    def run(self, items: list[Any]) -> Any:
        """Call it."""
        return self._whole([(run.places, self.infer(run.items, **run.requests)) for run in self._runs(items)])

    async def run_async(self, items: list[Any]) -> Any:
        """Call it and await it."""
        return self._whole(
            [(run.places, await self.infer(run.items, **run.requests)) for run in self._runs(items)]
        )

    def stream(self, items: list[Any]) -> Any:
        """Call what streams; it is given its items at once."""
        [run] = self._runs(items)
        return self.infer(run.items, **run.requests)

    def _runs(self, given: list[Any]) -> Iterator[_Run]:
        items, known = given, [RequestInfo()] * len(given)
        if any(type(each) is Asked for each in given):
            items, known = [each.item for each in given], [each.request for each in given]
        for places in alike(items) if self.stacks else [range(len(items))]:
            yield _Run(
                places,
                stack([items[place] for place in places]) if self.stacks else items,
                {} if self.asks is None else {self.asks: [known[place] for place in places]},
            )

    def _whole(self, results: Sequence[tuple[Sequence[int], Any]]) -> Any:
        if len(results) == 1:
            _, only = results[0]
            return listed(only) if self.lists else only
        found: dict[int, Any] = {}
        for places, several in results:
            outcomes = outcomes_of(listed(several) if self.lists else several, len(places))
            found.update(zip(places, outcomes, strict=True))
        return [found[place] for place in sorted(found)]
