"""Checks of the settings of `serve`; each raises a `SettingError` with the setting's name and the remedy."""

from __future__ import annotations

from collections.abc import Mapping

from rpcb_trio._batching import Policy
from rpcb_trio._bounds import COUNT, NOT_NEGATIVE, POSITIVE, Bounds
from rpcb_trio._transports import LARGEST_PREFETCH
from rpcb_trio.errors import SettingError

MAX_BODY_SIZE = 96 * 2**20
"""Bytes, unless set otherwise: a file of 90 MiB, the most that clients of speech services upload, and what
they wrap around it. RabbitMQ lets 128 MiB pass up to 3.13, and 16 MiB from 4.0 on."""


BOUNDS: Mapping[str, Bounds] = {
    "executors": COUNT,
    "replicas": COUNT,
    "infer_timeout": POSITIVE,
    "hook_timeout": POSITIVE,
    "warm_up_timeout": POSITIVE,
    "drain_timeout": NOT_NEGATIVE,
    "decode_threads": COUNT,
    "max_body_size": COUNT,
    "max_reply_size": COUNT,
    "max_deaths": COUNT,
    "remember_replies": NOT_NEGATIVE,
}
"""Of the numbers that `serve` takes, and of the settings of the same names."""


def check_numbers(**numbers: float | None) -> None:
    """Check numbers by their names.

    Raises:
        SettingError: one is out of its bounds.
    """
    for name, value in numbers.items():
        BOUNDS[name].check(name, value)


def checked_prefetch(
    prefetch: int | None, max_batch_size: int, executors: int, max_pending: int | None = None
) -> int:
    """The prefetch as set, or the least that keeps all executors busy and lets `max_pending` be reached.

    Raises:
        SettingError: one of them is too small or too large.
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


def checked_policy(batching: object) -> Policy:
    if not isinstance(batching, Policy):
        raise SettingError(
            f"batching is {batching!r}, which is no policy; give AutoPolicy() or FixedPolicy(32), say, or "
            "leave it out"
        )
    return batching
