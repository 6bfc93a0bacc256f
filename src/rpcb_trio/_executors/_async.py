"""The executor for an `infer` that is async: a task on the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from rpcb_trio._executors._model import INFER_TIMEOUT, Model
from rpcb_trio._executors._thread import Lane, ThreadExecutor
from rpcb_trio._guard import await_infer, warming_up
from rpcb_trio._messages import Outcome
from rpcb_trio._service import AnyService, BoundService, bind_again
from rpcb_trio._typed import is_async
from rpcb_trio.errors import InferError


class AsyncExecutor:
    """Awaits a service's `infer` on the event loop, one batch at a time: for models that other hosts run.

    What waits there costs no thread, and is cancelled with its worker, or after `infer_timeout`. What blocks,
    blocks the whole worker: its heartbeats, and all other batches. `warm_up` and `close` may be async too; as
    plain functions they run in a thread.

    Args:
        service: as for `serve`; its `infer` is async.
        device: given to the service's `on_device`.
        name: of the thread that plain hooks run in.
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
        self._model = Model(bind_again(service), device, takes_async=True)
        self._infer_timeout = INFER_TIMEOUT if infer_timeout is None else infer_timeout
        self._lane = Lane(name)
        self._is_warm = False

    async def warm_up(self) -> None:
        """Place the service on its device and call its `warm_up`.

        Raises:
            SettingError: the device is not there.
            WarmUpFailed: it raised.
        """
        if self._model.blocks:
            await self._lane.run(self._model.prepare)
        else:
            self._model.prepare()
        await self._await_hook("warm_up", self._model.service.warm_up)
        self._is_warm = True

    @property
    def frees(self) -> bool:
        """Whether the service has the hook `close`."""
        return self._model.frees

    async def aclose(self) -> None:
        """Call the service's `close`; not where it has not been warmed up.

        Raises:
            SettingError, WarmUpFailed: it raised.
        """
        if self._is_warm:
            self._is_warm = False
            await self._await_hook("close", self._model.service.close)
            await self._lane.run(self._model.close)

    async def idle(self) -> None:
        """Return at once: a run that was cancelled has ended."""
        await trio.lowlevel.checkpoint()

    async def infer(self, items: Sequence[Any]) -> list[Outcome[Any]]:
        """Compute a batch; returns one outcome for each item.

        Raises:
            OutcomeError: it failed as a whole, or took longer than `infer_timeout`.
        """
        with trio.move_on_after(self._infer_timeout):
            return await await_infer(self._model.service.infer, list(items))
        raise InferError(f"infer took longer than infer_timeout ({self._infer_timeout:g} s)")

    async def _await_hook(self, name: str, hook: Callable[[], Any] | None) -> None:
        """Await a hook that is async; the model calls others."""
        if hook is None or not is_async(hook):
            return
        try:
            await hook()
        except trio.Cancelled:
            raise
        except BaseException as error:
            with warming_up(self._model.service.name, name):
                raise error from None


def executor_of(
    service: BoundService, *, device: str | None, name: str = "executor", infer_timeout: float | None = None
) -> AsyncExecutor | ThreadExecutor:
    """The executor for a service: a task where its `infer` is async, else a thread."""
    kind = AsyncExecutor if service.is_async else ThreadExecutor
    return kind(service, device=device, name=name, infer_timeout=infer_timeout)
