"""What happens when the device's memory, or the machine's, can't hold a batch.

Halving helps only if the failed batch is gone from memory before its halves are tried. It lives on in the
frames of the traceback, and in torch's cache of blocks; so the frames are cleared, and the cache is emptied.
"""

from __future__ import annotations

import sys
import traceback

from rpcb_trio._errors import OutcomeError, OutOfMemory
from rpcb_trio._guard import (
    cause_of,
    context_of,
    forget_traceback,
    judge_infer,
    text_of,
    traceback_of,
)

CUDA_ERROR_MEMORY_ALLOCATION = 2


def as_out_of_memory(error: BaseException) -> OutcomeError | None:
    """The error in our words where it says that memory ran out, else None; nothing of the batch is in it."""
    if not (
        issubclass(type(error), (OutOfMemory, MemoryError, *_torch_errors())) or _is_out_of_memory(error)
    ):
        return None
    told = judge_infer(error)
    if type(told) is not OutOfMemory:
        first_line = next(iter(text_of(error).splitlines()), "out of memory")
        told, judged = OutOfMemory(first_line), told
        told.where, told.frames = judged.where, judged.frames
    _clear_frames(error)
    return told


def empty_cache() -> None:
    """Let torch give back what it keeps of a GPU's memory, where it has any; call it outside `except`."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        cuda.empty_cache()


def _torch_errors() -> tuple[type[Exception], ...]:
    """Its errors for this, of the accelerator or (before torch 2.5) of CUDA, if torch is loaded at all."""
    torch = sys.modules.get("torch")
    found = (getattr(room, "OutOfMemoryError", None) for room in (torch, getattr(torch, "cuda", None)))
    return tuple(each for each in found if each is not None)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it is CUDA's own error for this, which torch passes on where it did not allocate by itself."""
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
