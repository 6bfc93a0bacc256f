"""What a failure of `infer` says of the device: its memory ran out, or it is lost to this process.

Halving a batch helps only if the failed one is gone from memory before its halves are tried. It is kept alive
by the frames of the traceback, and by torch's cache of blocks; so the frames are cleared, and the cache is
emptied.

A device is lost where every later run on it fails, whatever it is given. CUDA's errors in a kernel (an
illegal address, an assertion, a fault of the hardware) stick to the process. Errors of a call that was wrong
in itself, and a lack of memory, do not. Torch raises the same class for both (`torch.AcceleratorError`, or a
plain `RuntimeError`), so the device is asked. A service that uses CUDA without torch can't be checked.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

from rpcb_trio._guard import (
    cause_of,
    context_of,
    forget_traceback,
    judge_infer,
    text_of,
    traceback_of,
    type_name,
)
from rpcb_trio._shown import shown
from rpcb_trio.errors import DeviceLost, OutcomeError, OutOfMemory

CUDA_ERROR_MEMORY_ALLOCATION = 2


def as_out_of_memory(error: BaseException) -> OutcomeError | None:
    """An error of ours where memory ran out, else None; it keeps nothing of the batch alive."""
    if not (
        issubclass(type(error), (OutOfMemory, MemoryError, *_torch_errors())) or _is_out_of_memory(error)
    ):
        return None
    judged = judge_infer(error)
    if type(judged) is not OutOfMemory:
        first_line = next(iter(text_of(error).splitlines()), "out of memory")
        ours = OutOfMemory(first_line)
        ours.where, ours.frames = judged.where, judged.frames
        judged = ours
    _clear_frames(error)
    return judged


def empty_cache() -> None:
    """Let torch release what it keeps of a GPU's memory, where it has any; call it outside `except`."""
    if (cuda := _initialized_cuda()) is not None:
        cuda.empty_cache()


def refuse_lost_device() -> None:
    """After a run that failed, or all of whose results did, check whether the device can still be used.

    Raises:
        DeviceLost: it can't.
    """
    cuda = _initialized_cuda()
    if cuda is None:
        return
    for _ in range(2):  # the first may report an error that is over
        try:
            cuda.synchronize()
        except Exception as error:  # noqa: BLE001 - of whatever class
            last = error
        else:
            return
    reason = next(iter(text_of(last).splitlines()), type_name(last))
    raise DeviceLost(
        f"the device is lost ({shown(reason)}), and every later run would fail; the process that uses it ends"
    ) from last


def _initialized_cuda() -> Any | None:
    """The module `torch.cuda`, if torch is loaded and uses a GPU."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _torch_errors() -> tuple[type[Exception], ...]:
    """Torch's errors for this, of the accelerator or (before torch 2.5) of CUDA, if torch is loaded."""
    torch = sys.modules.get("torch")
    found = (getattr(module, "OutOfMemoryError", None) for module in (torch, getattr(torch, "cuda", None)))
    return tuple(each for each in found if each is not None)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it is CUDA's own error for this: torch passes that on where it did not allocate itself."""
    accelerator_error = getattr(sys.modules.get("torch"), "AcceleratorError", None)
    is_of_device = accelerator_error is not None and issubclass(type(error), accelerator_error)
    return is_of_device and getattr(error, "error_code", None) == CUDA_ERROR_MEMORY_ALLOCATION


def _clear_frames(error: BaseException) -> None:
    """Drop the locals of all frames that an error and what led to it went through, cycles or not."""
    left, seen = [error], set[int]()
    while left:
        each = left.pop()
        if id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(traceback_of(each))
            forget_traceback(each)
            left += [led for led in (cause_of(each), context_of(each)) if led is not None]
