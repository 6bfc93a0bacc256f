"""The executor for models that crash, or that hold the GIL: a process of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

import trio

from rpcb_trio._backoff import Backoff
from rpcb_trio._executors._handle import Process, ProcessDied, pickled
from rpcb_trio._executors._model import INFER_TIMEOUT, WARM_UP_TIMEOUT
from rpcb_trio._executors._protocol import DiedTogether, Sink
from rpcb_trio._executors._recycling import Recycling
from rpcb_trio._executors._relay import Relay
from rpcb_trio._messages import Failure
from rpcb_trio.errors import ExecutorHung, ExecutorLost, KilledWorker, WrongResultCount

MOST_STARTS = 5
"""Attempts to start the process again, before the executor is lost."""

GRACE = 10.0
"""Seconds for a thread that unpickles results, with the service's code, once the process is killed."""

log = logging.getLogger("rpcb_trio")


class ProcessExecutor:
    """Runs a service's `infer` in a process of its own, one batch at a time.

    The process may die (abort, segmentation fault, `kill -9`), lose its device, or be killed because it took
    longer than `infer_timeout` seconds. Then what it has forked is killed with it, and each item of the batch
    is computed again alone, in a new process. An item over which it dies alone `max_deaths` times gets a
    `KilledWorker` for its result, all others get theirs; the worker's own process lives on.

    Items and results travel by pickle, large arrays and bodies beside it in shared memory. So results should
    be on the CPU. The other hooks run in the worker, which has a service object of its own. Load weights in
    `warm_up`, so that the worker's own object has none.

    Args:
        make: called without arguments in that process, returns the service: its class, a function, or a
            `functools.partial` of one. It is pickled by name, so it must be of a module that can be imported.
        device: the torch device to compute on.
        name: for the log.
        infer_timeout: seconds that one run of `infer` may take; None for 10 minutes, infinity for any time.
        warm_up_timeout: seconds that warming up may take where the process is started again.
        max_deaths: after how many deaths over it alone an item is computed no more.
        max_batches: after how many runs of `infer` a fresh process takes its place; None for never. The fresh
            one warms up first, while this one computes, so that there are two models in memory meanwhile.
        max_memory: the same, above how many bytes of resident memory after a batch, its children's not
            counted; None for never.

    Raises:
        SettingError: `make` can't be pickled, or a limit is wrong.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        device: str | None = None,
        name: str = "executor",
        infer_timeout: float | None = None,
        warm_up_timeout: float = WARM_UP_TIMEOUT,
        max_deaths: int = 3,
        max_batches: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        self._make = pickled(make)
        self._device = device
        self._name = name
        self._infer_timeout = INFER_TIMEOUT if infer_timeout is None else infer_timeout
        self._warm_up_timeout = warm_up_timeout
        self._max_deaths = max_deaths
        self._limiter = trio.CapacityLimiter(1)
        self._process: Process | None = None
        self._due = math.inf
        self._recycling = Recycling(
            lambda: Process(self._make, self._device),
            self._take_over,
            name=name,
            max_batches=max_batches,
            max_memory=max_memory,
            warm_up_timeout=warm_up_timeout,
        )

    async def warm_up(self) -> None:
        """Start the process; have it make the service, place it on its device, and call its `warm_up`.

        Raises:
            SettingError: the service can't be made there, or the device is not there, or the process exceeds
                `max_memory` from the start.
            ExecutorLost: the process died of that.
        """
        try:
            process = await self._start()
        except ProcessDied as died:
            raise ExecutorLost(f"its process died while it warmed up: {died}") from None
        self._recycling.refuse_too_large(process)

    async def idle(self) -> None:
        """Wait until nothing is computed; what a cancelled `infer` left is killed where it takes too long."""
        with trio.move_on_at(self._due):
            async with self._limiter:
                return
        self._end_process()
        await self._comes_back()

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        """Compute a batch in the process.

        Raises:
            ExecutorLost: the process could not be started again.
            ExecutorHung: its results take too long to be unpickled, in a thread of the worker's.
            InferError: there is no memory or no descriptor left to pass on items or results, or they can't
                be pickled or unpickled.
        """
        if len(items) == 1:
            return await self._retry(items[0])
        try:
            results: Sequence[Any] = await self._run(items)
        except ProcessDied:
            return [await self._result_of(item) for item in items]
        return results

    async def stream(self, items: Sequence[Any], whole: Collection[int], sink: Sink) -> None:
        """Compute a batch step by step in the process; `infer_timeout` is for each step.

        Raises:
            DiedTogether: the process died over several.
            ExecutorLost, ExecutorHung, InferError: as `infer`.
        """
        for _ in range(self._max_deaths if len(items) == 1 else 1):
            try:
                await self._stream(items, whole, sink)
            except ProcessDied as died:
                last = died
            else:
                return
        if len(items) > 1:
            raise DiedTogether
        sink.begin()
        await sink.take([[(0, Failure(self._killed(last)))]])

    frees = True

    async def aclose(self) -> None:
        """Kill the process, if there is one, without blocking the event loop meanwhile."""
        for process in self._given_up():
            await trio.to_thread.run_sync(process.end, abandon_on_cancel=True)

    def close(self) -> None:
        """Kill the process, if there is one."""
        for process in self._given_up():
            process.end()

    def _given_up(self) -> list[Process]:
        processes, self._process = [self._process, self._recycling.given_up()], None
        return [each for each in processes if each is not None]

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _replace(self, process: Process) -> None:
        """End it, unless a fresh one has taken its place already."""
        if process is self._process:
            self._end_process()

    def _take_over(self) -> None:
        """Have the fresh process from now on, if there is one and this one computes nothing."""
        if not self._limiter.borrowed_tokens:
            self._process = self._recycling.taken(self._process) or self._process

    async def _result_of(self, item: Any) -> Any:
        try:
            results = await self._retry(item)
        except ExecutorLost:
            raise
        except Exception as error:  # noqa: BLE001 - the model's; it fails this item alone
            return error
        if len(results) != 1:
            return WrongResultCount(f"infer returned {len(results)} result(s) for 1 item(s)")
        return results[0]

    async def _retry(self, item: Any) -> Sequence[Any]:
        """Compute one item, again where the process dies over it; in the end with an error for its result."""
        for _ in range(self._max_deaths):
            try:
                results: Sequence[Any] = await self._run([item])
            except ProcessDied as died:
                last = died
            else:
                return results
        return [self._killed(last)]

    def _killed(self, last: ProcessDied) -> KilledWorker:
        return KilledWorker(f"it killed the executor's process {self._max_deaths} times ({last})")

    async def _ready(self) -> Process:
        if self._process is not None and not self._process.is_alive:
            self._end_process()  # it died of what was cancelled
        self._take_over()
        return self._process or await self._restart()

    async def _stream(self, items: Sequence[Any], whole: Collection[int], sink: Sink) -> None:
        process = await self._ready()
        try:
            try:
                relay = Relay(self._infer_timeout)
                is_in_time = await relay.run(self._in_thread, process.stream(items, whole), sink)
            finally:
                self._due = trio.current_time() + self._infer_timeout  # for a thread that is left to run
                self._recycling.computed(process)
                self._take_over()
            if not is_in_time:
                await self._kill(process)
        except ProcessDied as died:
            self._replace(process)
            log.warning("%s: its process died over a batch of %d: %s", self._name, len(items), died)
            raise

    async def _run(self, items: Sequence[Any]) -> Any:
        process = await self._ready()
        self._due = trio.current_time() + self._infer_timeout
        try:
            with trio.move_on_at(self._due):
                try:
                    return await self._in_thread(lambda: process.infer(items))
                finally:
                    self._recycling.computed(process)
                    self._take_over()
            await self._kill(process)
        except ProcessDied as died:
            self._replace(process)
            log.warning("%s: its process died over a batch of %d: %s", self._name, len(items), died)
            raise

    async def _kill(self, process: Process) -> NoReturn:
        self._replace(process)
        await self._comes_back()
        raise ProcessDied(f"killed, since infer took longer than {self._infer_timeout:g} s")

    async def _comes_back(self) -> None:
        with trio.move_on_after(GRACE):
            async with self._limiter:
                return
        raise ExecutorHung(self._infer_timeout)

    async def _restart(self) -> Process:
        waits = Backoff()
        for attempt in range(1, MOST_STARTS + 1):
            try:
                return await self._start(self._warm_up_timeout)
            except Exception as error:  # noqa: BLE001 - its warm_up may raise anything
                last = error
            log.warning("%s: its process can't be started (attempt %d): %s", self._name, attempt, last)
            await trio.sleep(waits.after(0))
        raise ExecutorLost(
            f"its process can't be started any more: {last}; what the worker held is redelivered"
        )

    async def _start(self, most: float = math.inf) -> Process:
        process = Process(self._make, self._device)
        self._due = math.inf
        try:
            with trio.move_on_after(most):
                await self._in_thread(process.prepare)
                self._process = process
                self._recycling.begun()
                return process
        except BaseException:
            process.end()
            raise
        process.end()
        await self._comes_back()
        raise ProcessDied(f"killed, since warming up took longer than {most:g} s (warm_up_timeout)")

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        def call() -> Any:
            try:
                return function()
            finally:
                self._due = math.inf

        return await trio.to_thread.run_sync(
            call, thread_name=self._name, limiter=self._limiter, abandon_on_cancel=True
        )
