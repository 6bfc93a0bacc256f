"""Compute a batch so that a bad item fails alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from rpcb_trio._executors import Executor
from rpcb_trio._guard import judge_infer, outcomes_of
from rpcb_trio._messages import Ending, Failure, Outcome, Pending, Run, Success, Work
from rpcb_trio._pipeline._decoding import ITEM
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio.errors import ExecutorHung, OutOfMemory


class Isolation:
    """Computes one batch; where it fails as a whole, splits it until each bad item is alone.

    One bad item among n costs about 2*log2(n) further runs; if all fail, there are 2*n - 1 runs in all. A
    batch that the device's memory can't hold is split likewise.
    """

    def __init__(
        self,
        executor: Executor,
        journal: Journal | None = None,
        slot: int = 0,
        given: Callable[[Pending], Any] = ITEM,
    ) -> None:
        self._executor = executor
        self._given = given
        self._journal = journal or Journal()
        self._slot = slot
        self.runs: list[Run] = []
        """Each run of `infer`, in order."""

    async def infer_once(self, members: Sequence[Pending], equal: Mapping[int, int]) -> list[Outcome[Any]]:
        """As `infer`, but the members at the places `equal` get the result of an earlier one.

        `equal` has the place of that one for each. Where it failed, each is computed for itself.

        Raises:
            ExecutorHung: as the executor.
        """
        if not equal:
            return await self.infer(members)
        different = [place for place in range(len(members)) if place not in equal]
        computed = await self.infer([members[place] for place in different])
        outcomes = dict(zip(different, computed, strict=True))
        again = [place for place, first in equal.items() if not isinstance(outcomes[first], Success)]
        outcomes |= {place: outcomes[first] for place, first in equal.items() if place not in again}
        if again:
            each_alone = await self.infer([members[place] for place in again])
            outcomes |= dict(zip(again, each_alone, strict=True))
        return [outcomes[place] for place in range(len(members))]

    async def infer(self, members: Sequence[Pending]) -> list[Outcome[Any]]:
        """Compute one outcome for each member, in order.

        Raises:
            ExecutorHung: as the executor.
        """
        try:
            results = await self._run(members)
        except ExecutorHung:
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            if len(members) == 1:
                return [Failure(judge_infer(error))]
        else:
            return results
        middle = len(members) // 2
        return [*await self.infer(members[:middle]), *await self.infer(members[middle:])]

    async def _run(self, members: Sequence[Pending]) -> list[Outcome[Any]]:
        requests = [member.request for member in members]
        if self.runs:  # while it waits for its turn, nothing runs here
            self._journal.note(self._slot, ())
        async with self._journal.turn(requests):
            self._journal.note(self._slot, requests)
            return await self._infer(members)

    async def _infer(self, members: Sequence[Pending]) -> list[Outcome[Any]]:
        started = trio.current_time()
        ending = Ending.FAILED
        try:
            results = await self._executor.infer(list(map(self._given, members)))
            outcomes = outcomes_of(results, len(members))
            ending = Ending.COMPUTED
        except OutOfMemory:
            ending = Ending.OUT_OF_MEMORY
            raise
        finally:
            work = Work.of([member.cost for member in members])
            self.runs.append(Run(work, trio.current_time() - started, ending))
        return outcomes
