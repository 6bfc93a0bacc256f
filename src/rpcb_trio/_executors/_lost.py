"""What happens when a device is lost to its process: every later run on it fails, whatever it is given.

CUDA's errors in a kernel (an illegal address, an assertion, a fault of the hardware) stick to the process.
Those of a call that was wrong in itself, and want of memory, do not. Torch raises the same class for both
(`torch.AcceleratorError`; a plain `RuntimeError` in other libraries' names), so the device is asked. Where a
service uses CUDA without torch, nobody tells.
"""

from __future__ import annotations

import sys

from rpcb_trio._errors import DeviceLost
from rpcb_trio._guard import text_of, type_name
from rpcb_trio._shown import shown


def refuse_lost_device() -> None:
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
    reason = next(iter(text_of(told).splitlines()), type_name(told))
    raise DeviceLost(
        f"the device is lost ({shown(reason)}), and every later run would fail; the process that uses it ends"
    ) from told
