"""A service's model on its device: what every executor does with it, wherever it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rpcb_trio._errors import InferError, SettingError
from rpcb_trio._executors._lost import have_all_failed, refuse_lost_device
from rpcb_trio._executors._memory import as_too_large, empty_cache
from rpcb_trio._service import BoundService, is_of_the_hook


class Model:
    """The hooks `warm_up` and `infer` of a service, run in torch's modes; for one thread at a time."""

    def __init__(self, service: BoundService, device: str | None = None) -> None:
        self._service = service
        self._device = device

    def prepare(self) -> None:
        """Place the service on its device and call its `warm_up`.

        Raises:
            SettingError: the device is not there.
        """
        _refuse_missing_device(self._device)
        self._service = self._service.placed(self._device)
        if self._service.warm_up is not None:
            with _torch_inference(self._device):
                self._service.warm_up()

    def infer(self, items: list[Any]) -> Sequence[Any]:
        """Compute a batch.

        Raises:
            TooLarge: memory ran out (`torch.OutOfMemoryError`, `MemoryError`, or the service says so). What
                the failed batch held is free again, torch's cache of GPU memory included.
            InferError: it raised what is no `Exception`.
            DeviceLost: no run on its device can succeed any more.
        """
        if "torch" not in sys.modules and self._device is None:  # no modes to set, and no time to lose
            return self._compute(items)
        with _torch_inference(self._device):
            return self._compute(items)

    def _compute(self, items: list[Any]) -> Sequence[Any]:
        try:
            results = run_infer(self._service.infer, items)
            if have_all_failed(results):
                refuse_lost_device(results[0])
        except Exception as error:
            too_large = as_too_large(error)
            if too_large is None:
                refuse_lost_device(error)
                raise
        else:
            return results
        empty_cache()  # `error` is gone, and with it the last reference to the batch's tensors
        try:
            raise too_large
        finally:
            del too_large  # or its traceback would hold this frame, and this frame the error, in a circle


def run_infer(infer: Callable[[list[Any]], Sequence[Any]], items: list[Any]) -> Sequence[Any]:
    """Call a service's `infer`; nothing but an `Exception` comes out of it.

    Raises:
        InferError: it raised what is no `Exception`, as `sys.exit()` does, which would end the worker.
    """
    try:
        return infer(items)
    except Exception:
        raise
    except BaseException as error:
        if not is_of_the_hook(error):
            raise
        raise InferError(f"infer failed: {type(error).__name__}") from error


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
