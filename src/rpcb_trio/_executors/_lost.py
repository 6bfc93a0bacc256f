"""What happens when a device is lost to its process: every later run on it fails, whatever it is given.

CUDA's errors in a kernel (an illegal address, an assertion, a fault of the hardware) stick to the process.
Those of a call that was wrong in itself, and want of memory, do not. Torch raises the same class for both
(`torch.AcceleratorError`; a plain `RuntimeError` in other libraries' names), so the device is asked. Where a
service uses CUDA without torch, nobody tells.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rpcb_trio._errors import DeviceLost


def refuse_lost_device(failed: object) -> None:
    """Look after a run that failed, or all of whose results did, whether there is any use in another.

    Raises:
        DeviceLost: there is none.
    """
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return
    for _ in range(2):  # the first may tell of something that is over
        try:
            cuda.synchronize()
        except Exception as error:  # noqa: BLE001 - of whatever class
            told = error
        else:
            return
    reason = next(iter(str(told).splitlines()), type(told).__name__)
    raise DeviceLost(
        f"the device is lost ({reason[:500]}), and every later run would fail; the process that uses it ends"
    ) from (failed if isinstance(failed, BaseException) else told)


def have_all_failed(results: Any) -> bool:
    """Whether `infer` has caught an error itself, and returned it for each item."""
    return (
        isinstance(results, Sequence) and bool(results) and all(isinstance(r, BaseException) for r in results)
    )
