"""How many requests a caller may send: a token bucket for each."""

from __future__ import annotations

import re
from collections import OrderedDict

import msgspec

from rpcb_trio.errors import SettingError

RATE = re.compile(r"([1-9][0-9]{0,8})/([smh])", re.ASCII)
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

MOST_CALLERS = 10_000
"""Whose buckets are kept; those that have asked for nothing the longest are forgotten, and full again."""


class Rate(msgspec.Struct, frozen=True):
    """So many requests within so many seconds, all at once or one by one."""

    count: int
    seconds: float

    @classmethod
    def read(cls, text: str) -> Rate:
        """Read `100/m`.

        Raises:
            SettingError: it is written otherwise.
        """
        found = RATE.fullmatch(text)
        if found is None:
            raise SettingError(f"rate_limit is {text}; write it as 10/s, 100/m or 5000/h")
        return cls(int(found[1]), SECONDS[found[2]])


class Rates:
    """The buckets of all callers."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By the caller's name: how many requests it may send, and when that was so; the last to ask last."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, rate: Rate, now: float) -> float:
        """Take a request of a caller at that time; returns after how many seconds it may come, 0 for now."""
        left, since = self._buckets.pop(name, (float(rate.count), now))
        per_second = rate.count / rate.seconds
        left = min(float(rate.count), left + (now - since) * per_second)
        wait = max(0.0, (1.0 - left) / per_second)
        self._buckets[name] = (left if wait else left - 1.0, now)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait
