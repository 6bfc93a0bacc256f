"""Replies by their keys, bounded in number, bytes and age."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

import trio

from rpcb_trio._messages import Reply

LONG_BODY = 2**18
"""Bytes from which on a body is hashed in a thread; a shorter one takes less than a millisecond."""


class _Kept(NamedTuple):
    reply: Reply
    since: float


class KeptReplies:
    """Keeps what was used last, within its bounds; a bound that is changed holds at once.

    Args:
        most: how many.
        most_bytes: of all their bodies, with `overhead` bytes for each.
        ttl: seconds after which one is forgotten, whether or not it was used.
    """

    def __init__(
        self,
        *,
        most: float = math.inf,
        most_bytes: float = math.inf,
        ttl: float = math.inf,
        overhead: int = 0,
    ) -> None:
        self._kept = OrderedDict[bytes, _Kept]()
        """The least recently used first."""
        self._by_age = dict[bytes, None]()
        """The oldest first."""
        self._overhead = overhead
        self.size = 0
        self._most, self._most_bytes, self._ttl = most, most_bytes, ttl

    def __len__(self) -> int:
        return len(self._kept)

    def limit(
        self, *, most: float | None = None, most_bytes: float | None = None, ttl: float | None = None
    ) -> None:
        """Have other bounds; one that is None stays."""
        self._most = self._most if most is None else most
        self._most_bytes = self._most_bytes if most_bytes is None else most_bytes
        self._ttl = self._ttl if ttl is None else ttl
        self._evict()

    def get(self, key: bytes) -> Reply | None:
        """The reply, if it is kept and not too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        if self._is_old(found):
            self._remove(key)
            return None
        self._kept.move_to_end(key)
        return found.reply

    def put(self, key: bytes, reply: Reply) -> None:
        """Keep it; where it alone is more than may be kept, the others stay."""
        if key in self._kept:
            self._remove(key)
        if self._size(reply) > self._most_bytes:
            return
        self._kept[key] = _Kept(reply, trio.current_time() if self._ttl < math.inf else 0.0)
        self._by_age[key] = None
        self.size += self._size(reply)
        self._evict()

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._by_age.clear()
        self.size = 0

    def _evict(self) -> None:
        while self._by_age and self._is_old(self._kept[oldest := next(iter(self._by_age))]):
            self._remove(oldest)
        while len(self._kept) > self._most or self.size > self._most_bytes:
            self._remove(next(iter(self._kept)))

    def _remove(self, key: bytes) -> None:
        self.size -= self._size(self._kept.pop(key).reply)
        del self._by_age[key]

    def _is_old(self, kept: _Kept) -> bool:
        return self._ttl < math.inf and trio.current_time() - kept.since >= self._ttl

    def _size(self, reply: Reply) -> int:
        return len(reply.body) + self._overhead
