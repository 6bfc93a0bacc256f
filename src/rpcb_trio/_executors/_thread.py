"""The executor for models that release the GIL, as torch and onnxruntime do: a thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import trio

from rpcb_trio._errors import SettingError
from rpcb_trio._executors._memory import as_too_large, empty_cache
from rpcb_trio._service import BoundService


class ThreadExecutor:
    """Runs a service's `infer` in a worker thread, one batch at a time.

    Threads can't be cancelled. A cancelled `infer` leaves its thread to run to its end and drops the result
    (the broker redelivers those requests); the limiter of one keeps the next batch off the model until then.
    """

    def __init__(self, service: BoundService, *, device: str | None = None, name: str = "executor") -> None:
        self._service = service
        self._device = device
        self._name = name
        self._limiter = trio.CapacityLimiter(1)

    async def warm_up(self) -> None:
        """Place the service on its device and call its `warm_up`, in the executor's thread.

        Raises:
            SettingError: the device is not there.
        """
        await trio.to_thread.run_sync(self._prepare, limiter=self._limiter, abandon_on_cancel=True)

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
            self._infer, list(items), thread_name=self._name, limiter=self._limiter, abandon_on_cancel=True
        )

    def _prepare(self) -> None:
        _refuse_missing_device(self._device)
        self._service = self._service.placed(self._device)
        if self._service.warm_up is not None:
            with _torch_inference(self._device):
                self._service.warm_up()

    def _infer(self, items: list[Any]) -> Sequence[Any]:
        with _torch_inference(self._device):
            try:
                return self._service.infer(items)
            except Exception as error:
                too_large = as_too_large(error)
                if too_large is None:
                    raise
            empty_cache()  # `error` is gone, and with it the last reference to the batch's tensors
        try:
            raise too_large
        finally:
            del too_large  # or its traceback would hold this frame, and this frame the error, in a circle


@contextmanager
def _torch_inference(device: str | None) -> Iterator[None]:
    """Torch's modes belong to a thread, so each call sets them, if torch is loaded at all."""
    torch = sys.modules.get("torch")
    with ExitStack() as modes:
        if torch is not None:
            modes.enter_context(torch.inference_mode())
            if device is not None and device.startswith("cuda"):
                modes.enter_context(torch.cuda.device(device))
        yield


def _refuse_missing_device(device: str | None) -> None:
    if device is None or device == "cpu":
        return
    try:
        import torch  # noqa: PLC0415 - only who asks for a device needs torch
    except ImportError:
        raise SettingError(
            f"device is {device}, but torch is not installed; install rpcb-trio[torch] or leave device out"
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"device is {device}, but torch can't use it ({reason}); name one that is there, or cpu"
        ) from error
