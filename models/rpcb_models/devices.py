"""Where a torch model computes: the device that is asked for, or an error; and how its batches get there."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rpcb_trio import SettingError

try:
    import torch
except ModuleNotFoundError as missing:
    raise SettingError(f"this model needs {missing.name}: pip install -e '.[se,quartznet]'") from missing


def resolve_device(name: str | None) -> torch.device:
    """Find a device by its torch name (`cpu`, `cuda`, `cuda:1`); None is the CPU, whatever else is there.

    Raises:
        rpcb_trio.SettingError: torch can't use it. There is no silent way back to the CPU, which would be
            found out by its slowness.
    """
    try:
        device = torch.device(name or "cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"device is {name}, but torch can't use it ({reason}); name one that is there, or cpu"
        ) from error
    return device


def set_threads(count: int) -> None:
    """Let torch compute in `count` threads, in the calling thread and in those that have not used it yet.

    Call it where the model is run, for each thread keeps the number it began with; it takes microseconds. One
    leaves the other cores to the event loop, to decoding audio and to further replicas.

    Raises:
        rpcb_trio.SettingError: it is not at least 1.
    """
    if count < 1:
        raise SettingError(f"threads is {count}; give 1 or more")
    torch.set_num_threads(count)


class Lane:
    """A replica's own way on its device, made once: a stream to compute on and one for copies.

    Streams that are made anew for each batch would keep memory of their own each, and on the default stream
    two replicas of one GPU would wait for each other. On the processor there are no streams.

    Args:
        device: As `resolve_device` found it. What is there already, weights above all, is awaited.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams: tuple[torch.cuda.Stream, torch.cuda.Stream] | None = None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            self._streams = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch is typed in part

    def computing(self) -> AbstractContextManager[object]:
        """Within it torch computes on the lane's own stream."""
        if self._streams is None:
            return nullcontext()
        return torch.cuda.stream(self._streams[0])

    def uploaded(self, batches: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Bring batches to the device, one ahead of the one that is computed.

        On a GPU each goes by pinned memory and the stream for copies, so that the next batch's copy overlaps
        the present one's work. On the CPU they are passed on as they are.

        Args:
            batches: In host memory, of any shapes and types; taken one ahead.

        Yields:
            The same batches on the device, safe to use on the current stream.
        """
        if self._streams is None:
            yield from (batch.to(self._device) for batch in batches)
            return
        _, side = self._streams
        ahead: tuple[torch.Tensor, torch.cuda.Event] | None = None
        for batch in batches:
            copying = _copying(batch, self._device, side)
            if ahead is not None:
                yield _arrived(*ahead)
            ahead = copying
        if ahead is not None:
            yield _arrived(*ahead)


def sent(numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """A few whole numbers, int64 on the device, without waiting for what it still computes."""
    there = torch.tensor(numbers)
    return there if device.type == "cpu" else there.pin_memory().to(device, non_blocking=True)


class _Exact:
    """Counts the replicas that need exact float32: the switch is one for the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = (False, False)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within it no product or convolution of float32 is rounded to TF32, which has 10 bits of 23."""
        with self._lock:
            if not self._inside:
                self._before = _tf32()
                _set_tf32(products=False, convolutions=False)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    _set_tf32(products=self._before[0], convolutions=self._before[1])


exact = _Exact()


def _tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tf32(*, products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions


def _copying(
    batch: torch.Tensor, device: torch.device, side: torch.cuda.Stream
) -> tuple[torch.Tensor, torch.cuda.Event]:
    with torch.cuda.stream(side):
        copy = batch.pin_memory().to(device, non_blocking=True)
        return copy, side.record_event()


def _arrived(copy: torch.Tensor, copied: torch.cuda.Event) -> torch.Tensor:
    current = torch.cuda.current_stream(copy.device)
    current.wait_event(copied)
    copy.record_stream(current)  # or its memory could be given away while this stream still reads it
    return copy
