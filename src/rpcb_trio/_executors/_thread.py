"""The executor for models that release the GIL, as torch and onnxruntime do: a thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar, cast

import trio

from rpcb_trio._executors._model import INFER_TIMEOUT, Model
from rpcb_trio._executors._protocol import Sink
from rpcb_trio._executors._relay import Relay
from rpcb_trio._forks import ending_children
from rpcb_trio._messages import Outcome
from rpcb_trio._service import AnyService, bind_again
from rpcb_trio.errors import ExecutorHung

T = TypeVar("T")


class ThreadExecutor:
    """Runs a service's `infer` in a worker thread, one batch at a time.

    Threads can't be cancelled. A cancelled `infer` leaves its thread to run to its end and drops the result
    (the broker redelivers those requests); until then the executor is not idle. Threads can't be killed
    either: one that runs for longer than `infer_timeout` ends its worker.

    Args:
        service: a `Service`, a class of one, or a plain function, as for `serve`.
        device: the torch device to compute on.
        name: of the thread, as a debugger and the system show it.
        infer_timeout: seconds that one run of `infer` may take; None for 10 minutes, infinity for any time.
    """

    def __init__(
        self,
        service: AnyService,
        *,
        device: str | None = None,
        name: str = "executor",
        infer_timeout: float | None = None,
    ) -> None:
        self._model = Model(bind_again(service), device)
        self._infer_timeout = INFER_TIMEOUT if infer_timeout is None else infer_timeout
        self._due = math.inf
        self._lane = Lane(name)
        self._is_warm = False

    async def warm_up(self) -> None:
        """Place the service on its device and call its `warm_up`, in the executor's thread.

        Raises:
            SettingError: the device is not there.
            WarmUpFailed: it raised.
        """
        await self._lane.run(self._model.prepare)
        self._is_warm = True

    @property
    def frees(self) -> bool:
        """Whether the service has the hook `close`; for what else it has loaded, Python decides."""
        return self._model.frees

    async def aclose(self) -> None:
        """Call the service's `close`, in the executor's thread; not where it has not been warmed up.

        Raises:
            SettingError, WarmUpFailed: it raised.
        """
        if self._is_warm:
            self._is_warm = False
            await self._lane.run(self._model.close)

    async def idle(self) -> None:
        """Wait until the thread is free.

        Raises:
            ExecutorHung: what a cancelled `infer` left behind takes too long.
        """
        if self._lane.is_free:
            return
        with trio.move_on_at(self._due):
            await self._lane.free()
            return
        raise ExecutorHung(self._infer_timeout)

    async def infer(self, items: Sequence[Any]) -> list[Outcome[Any]]:
        """Compute a batch in the executor's thread; returns one outcome for each item.

        Raises:
            OutOfMemory: as `torch.OutOfMemoryError`, `MemoryError`, or the service says. What
                the failed batch held is free again, torch's cache of GPU memory included.
            OutcomeError: it failed as a whole.
            ExecutorHung: it took longer than `infer_timeout`. Its thread is left to run.
            DeviceLost: no run on its device can succeed any more.
        """
        if self._infer_timeout == math.inf:
            return await self._lane.run(self._model.infer, list(items))
        self._due = trio.current_time() + self._infer_timeout
        with trio.move_on_at(self._due):
            return await self._lane.run(self._infer, list(items))
        raise ExecutorHung(self._infer_timeout)

    async def stream(self, items: Sequence[Any], whole: Collection[int], sink: Sink) -> None:
        """Compute a batch step by step; `infer_timeout` is for each step.

        Raises:
            OutOfMemory, OutcomeError, ExecutorHung, DeviceLost: as `infer`.
        """
        try:
            relay = Relay(self._infer_timeout)
            if not await relay.run(self._lane.run, self._model.stream(list(items), whole), sink):
                raise ExecutorHung(self._infer_timeout)
        finally:
            self._due = trio.current_time() + self._infer_timeout  # for a thread that is left to run

    def _infer(self, items: list[Any]) -> list[Outcome[Any]]:
        try:
            return self._model.infer(items)
        finally:
            self._due = math.inf


class Lane:
    """Runs functions in threads, never two at once; trio's limiter costs a turn of the scheduler more.

    A function whose caller was cancelled runs to its end, and the lane is free again only then.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._borrower: object = None
        self._returned = trio.Event()

    @property
    def is_free(self) -> bool:
        return self._borrower is None

    async def free(self) -> None:
        while self._borrower is not None:
            await self._returned.wait()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        limiter = cast(trio.CapacityLimiter, self)  # trio takes whatever has the two methods below
        return await trio.to_thread.run_sync(
            ending_children, function, *args, thread_name=self._name, limiter=limiter, abandon_on_cancel=True
        )

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self.free()
        self._borrower = borrower

    def release_on_behalf_of(self, _borrower: object) -> None:
        self._borrower = None
        self._returned.set()
        self._returned = trio.Event()
