"""A service's model on its device: what every executor does with it, wherever it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, TypeVar

from rpcb_trio._executors._device import as_out_of_memory, empty_cache, refuse_lost_device
from rpcb_trio._guard import judge_infer, outcomes_of, warming_up
from rpcb_trio._messages import Failure, Outcome
from rpcb_trio._parts import Happened, steps_of
from rpcb_trio._service import BoundService, placed
from rpcb_trio._typed import is_async
from rpcb_trio.errors import SettingError

T = TypeVar("T")

INFER_TIMEOUT = 600.0
"""Seconds, unless set otherwise, that one run of `infer` may take; RabbitMQ redelivers after 30 minutes."""
WARM_UP_TIMEOUT = 1800.0
"""Seconds, unless set otherwise, that warming up may take: much may be loaded from a slow disk."""


class Model:
    """The hooks `warm_up` and `infer` of a service, run in torch's modes; for one thread at a time."""

    def __init__(
        self, service: BoundService, device: str | None = None, *, takes_async: bool = False
    ) -> None:
        if service.is_async is not takes_async:
            raise SettingError(
                f"{service.name}: infer is async, so it runs on the event loop; leave executor out, or use "
                "an AsyncExecutor"
                if service.is_async
                else f"{service.name}: infer is a plain function, which an AsyncExecutor can't await"
            )
        self._given = service
        self.service = service
        self._device = device

    @property
    def frees(self) -> bool:
        """Whether the service has the hook `close`."""
        return self.service.close is not None

    @property
    def blocks(self) -> bool:
        """Whether `prepare` may block."""
        given = self._given
        is_plain = given.warm_up is not None and not is_async(given.warm_up)
        return is_plain or given.on_device is not None or self._device is not None

    def prepare(self) -> None:
        """Place the service on its device and call its `warm_up`, unless that is to be awaited.

        Raises:
            SettingError: the device is not there, or the service says that a setting is wrong.
            WarmUpFailed: whatever else its hooks raised.
        """
        refuse_missing_device(self._device)
        with warming_up(self.service.name, "on_device"):
            self.service = placed(self._given, self._device)
        if self.service.warm_up is not None and not is_async(self.service.warm_up):
            with warming_up(self.service.name, "warm_up"), _torch_inference(self._device):
                self.service.warm_up()

    def close(self) -> None:
        """Call the service's `close`, unless that is to be awaited; torch releases its cache of GPU memory.

        Raises:
            SettingError, WarmUpFailed: whatever the hook raised.
        """
        if self.service.close is not None and not is_async(self.service.close):
            with warming_up(self.service.name, "close"):
                self.service.close()
        self.service = self._given
        empty_cache()

    def infer(self, items: list[Any]) -> list[Outcome[Any]]:
        """Compute a batch; returns one outcome for each item.

        Raises:
            OutOfMemory: as `torch.OutOfMemoryError`, `MemoryError`, or the service says. What the failed
                batch held is free again, torch's cache of GPU memory included.
            OutcomeError: `infer` raised, or its results are not one for each item.
            DeviceLost: no run on its device can succeed any more.
        """
        if "torch" not in sys.modules and self._device is None:  # no modes to set
            return self._compute(items)
        with _torch_inference(self._device):
            return self._compute(items)

    def stream(self, items: list[Any], whole: Collection[int]) -> Generator[Happened, Collection[int], None]:
        """Compute a batch step by step, in one thread from its beginning to its end.

        It is sent the numbers of the items that nobody wants any more; those in `whole` have no parts.

        Raises:
            OutOfMemory, OutcomeError, DeviceLost: as `infer`.
        """
        stream_infer, join = self.service.stream_infer, self.service.join
        assert stream_infer is not None and join is not None  # noqa: S101, PT018 - for the type checker
        begun = self._in_modes(lambda: iter(stream_infer(items)))
        with closing(steps_of(begun, len(items), whole=whole, join=join)) as steps:
            step = self._in_modes(lambda: next(steps, None))
            while step is not None:
                gone = (yield step) or ()
                step = self._in_modes(partial(_sent, steps, gone))

    def _in_modes(self, compute: Callable[[], T]) -> T:
        """Have one step computed: another stream of the same thread may come between, as in virtual time."""
        with _torch_inference(self._device):
            return self._judged(compute)

    def _compute(self, items: list[Any]) -> list[Outcome[Any]]:
        outcomes = self._judged(lambda: outcomes_of(self.service.infer(items), len(items)))
        if all(type(each) is Failure for each in outcomes):  # it may have caught the error itself
            refuse_lost_device()
        return outcomes

    @staticmethod
    def _judged(compute: Callable[[], T]) -> T:
        try:
            return compute()
        except BaseException as error:
            out_of_memory = as_out_of_memory(error)
            if out_of_memory is None:
                refuse_lost_device()
                raise judge_infer(error) from error
        empty_cache()  # `error` is gone, and with it the last reference to the batch's tensors
        try:
            raise out_of_memory
        finally:
            del out_of_memory  # or its traceback would hold this frame, and this frame the error, in a circle


def _sent(steps: Generator[Happened, Collection[int], None], gone: Collection[int]) -> Happened | None:
    try:
        return steps.send(gone)
    except StopIteration:
        return None


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


def refuse_missing_device(device: str | None) -> None:
    """Look whether torch can use a device.

    Raises:
        SettingError: it can't.
    """
    if device is None or device == "cpu":
        return
    try:
        import torch  # noqa: PLC0415 - needed only where a device is set
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
