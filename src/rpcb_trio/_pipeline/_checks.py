"""Checks of the settings of `serve`; each raises a `SettingError` with the setting's name and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rpcb_trio._batching import Policy
from rpcb_trio._bounds import COUNT, FINITE, NOT_NEGATIVE, POSITIVE, Bounds
from rpcb_trio._cache import Cache
from rpcb_trio._shares import Shares
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
    "claims_kept": FINITE,
    "decode_threads": COUNT,
    "max_body_size": COUNT,
    "max_reply_size": COUNT,
    "max_deaths": COUNT,
    "remember_replies": NOT_NEGATIVE,
}
"""Of the numbers that `serve` takes, and of the settings of the same names."""


SHARED_BATCHES: Final = 8
"""Full batches of requests that may wait where tenants share the worker, unless `max_pending` is set."""

TURNED_AWAY: Final = 128
"""Deliveries that the prefetch leaves room for beyond those that wait and are computed, where tenants share
the worker: requests that are refused, until the broker has confirmed it. So many can be refused in each round
trip to the broker; what a tenant sends beyond that stands before the others' requests in the queue."""


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


def checked_shares(shares: object) -> Shares | None:
    if shares is not None and not isinstance(shares, Shares):
        raise SettingError(f"shares is {shares!r}; give Shares('x-tenant'), say, or leave it out")
    return shares


def checked_cache(cache: object) -> Cache | None:
    if cache is not None and not isinstance(cache, Cache):
        raise SettingError(f"cache is {cache!r}; give Cache(ttl=60), say, or leave it out")
    return cache


def checked_intake(
    prefetch: int | None,
    max_pending: int | None,
    shares: Shares | None,
    *,
    max_batch_size: int,
    executors: int,
) -> tuple[int, int | None]:
    """The prefetch and `max_pending` as set, or what the other and the number of executors ask for.

    Where tenants share the worker it must take in what they send, and refuse what is more than their share:
    in the broker's queue every request waits for all that came before it.

    Raises:
        SettingError: one of them is too small or too large.
    """
    if shares is None:
        return checked_prefetch(prefetch, max_batch_size, executors, max_pending), max_pending
    beside = max_batch_size * executors + TURNED_AWAY
    least = beside + (max_batch_size if max_pending is None else max_pending)
    if prefetch is not None and prefetch < least:
        wanted = "max_batch_size" if max_pending is None else "max_pending"
        raise SettingError(
            f"prefetch is {prefetch}, but where tenants share the worker it must be at least "
            f"{least} (max_batch_size * executors + {wanted} + {TURNED_AWAY}), or the flood of one keeps the "
            "requests of the others at the broker; raise prefetch, or leave it out"
        )
    if max_pending is None:
        most = min(SHARED_BATCHES * max_batch_size, LARGEST_PREFETCH - beside)
        max_pending = max(max_batch_size, most) if prefetch is None else prefetch - beside
    if prefetch is None:
        prefetch = beside + max_pending
    return checked_prefetch(prefetch, max_batch_size, executors, max_pending), max_pending


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
