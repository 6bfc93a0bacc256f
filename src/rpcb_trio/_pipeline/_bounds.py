"""How much a worker may hold: the prefetch bounds all of it, `max_pending` what waits for a batch."""

from __future__ import annotations

from rpcb_trio._errors import SettingError
from rpcb_trio._transports import LARGEST_PREFETCH

MAX_BODY_SIZE = 96 * 2**20
"""Bytes, unless set otherwise: a file of 90 MiB, the most that clients of speech services upload, and what
they wrap around it. RabbitMQ lets 128 MiB pass up to 3.13, and 16 MiB from 4.0 on."""


def checked_prefetch(
    prefetch: int | None, max_batch_size: int, executors: int, max_pending: int | None = None
) -> int:
    """The prefetch as set, or the least that keeps all executors busy and lets `max_pending` be reached.

    Raises:
        SettingError: it is too little for that or more than AMQP allows, or `max_pending` is too little.
    """
    least = max_batch_size * (executors + 1)
    if prefetch is None:
        prefetch = least if max_pending is None else max_batch_size * executors + max_pending + 1
    if max_pending is not None:
        _check_max_pending(max_pending, prefetch, max_batch_size, executors)
    if prefetch < least:
        raise SettingError(
            f"prefetch is {prefetch}, but {executors} executor(s) with a max_batch_size of {max_batch_size} "
            f"need at least {least} (max_batch_size * (executors + 1)), or batches can't fill while "
            "others are computed; raise prefetch or lower max_batch_size"
        )
    if prefetch > LARGEST_PREFETCH:
        raise SettingError(
            f"prefetch is {prefetch}; AMQP allows {LARGEST_PREFETCH} at most, so lower prefetch or "
            "max_batch_size" + ("" if max_pending is None else " or max_pending")
        )
    return prefetch


def _check_max_pending(max_pending: int, prefetch: int, max_batch_size: int, executors: int) -> None:
    if max_pending < max_batch_size:
        raise SettingError(
            f"max_pending is {max_pending}, but max_batch_size is {max_batch_size}, so batches can't fill; "
            "raise max_pending or lower max_batch_size"
        )
    # While so many wait, every executor is busy, if only with a batch of one; and one more must come.
    if prefetch < executors + max_pending + 1:
        raise SettingError(
            f"max_pending is {max_pending}, but with a prefetch of {prefetch} the broker never delivers so "
            f"many; raise prefetch to {max_batch_size * executors + max_pending + 1} (max_batch_size * "
            "executors + max_pending + 1), lower max_pending, or leave it out"
        )
