"""The executor for models that release the GIL, as torch and onnxruntime do: a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from rpcb_trio._executors._model import Model
from rpcb_trio._service import BoundService


class ThreadExecutor:
    """Runs a service's `infer` in a worker thread, one batch at a time.

    Threads can't be cancelled. A cancelled `infer` leaves its thread to run to its end and drops the result
    (the broker redelivers those requests); the limiter of one keeps the next batch off the model until then.
    """

    def __init__(self, service: BoundService, *, device: str | None = None, name: str = "executor") -> None:
        self._model = Model(service, device)
        self._name = name
        self._limiter = trio.CapacityLimiter(1)

    async def warm_up(self) -> None:
        """Place the service on its device and call its `warm_up`, in the executor's thread.

        Raises:
            SettingError: the device is not there.
        """
        await trio.to_thread.run_sync(self._model.prepare, limiter=self._limiter, abandon_on_cancel=True)

    async def idle(self) -> None:
        """Wait until the thread is free."""
        async with self._limiter:
            pass

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        """Compute a batch in the executor's thread.

        Raises:
            TooLarge: memory ran out (`torch.OutOfMemoryError`, `MemoryError`, or the service says so). What
                the failed batch held is free again, torch's cache of GPU memory included.
        """
        return await trio.to_thread.run_sync(
            self._model.infer,
            list(items),
            thread_name=self._name,
            limiter=self._limiter,
            abandon_on_cancel=True,
        )
