"""What a worker holds, and which redelivered requests may have killed the worker that held them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

import trio

from rpcb_trio._claims import CLAIM_HEADER
from rpcb_trio._messages import Request
from rpcb_trio._transports import LARGEST_PREFETCH

MOST_FORGIVEN = LARGEST_PREFETCH
"""As many as one session can hold. Some are redelivered to other workers instead."""
ID_SIZE = 16
"""Bytes of an identity."""
LOOKED_AT = 4096
"""Bytes at either end of a body that its identity is made of, by default; bodies may be large."""


def identity(request: Request, *, looked_at: int = LOOKED_AT) -> bytes:
    """The same for every delivery of a request, in this process and every other; never all zero.

    It is made of the addresses, the body's length, and as many bytes at either end of the body; or of the
    claim to it.
    """
    body = request.body or ascii(request.headers.get(CLAIM_HEADER, "")).encode()
    head = ascii((request.reply_to, request.correlation_id, len(body))).encode()
    digest = hashlib.blake2b(head, digest_size=ID_SIZE)
    digest.update(body[:looked_at])
    digest.update(body[max(looked_at, len(body) - looked_at) :])
    return digest.digest()


class Ledger:
    """The requests that were delivered and are not yet settled.

    A redelivered request may be what killed the worker that held it, so it is a suspect and runs alone. Those
    that this very process held when its session was lost are not: it is alive.
    """

    def __init__(self) -> None:
        self._held: set[Request] = set()
        self._deliveries: trio.MemoryReceiveChannel[Request] | None = None
        self._running: set[Request] = set()
        self._forgiven: Counter[bytes] = Counter()

    def __len__(self) -> int:
        unread = 0 if self._deliveries is None else self._deliveries.statistics().current_buffer_used
        return len(self._held) + unread

    def open_session(self, deliveries: trio.MemoryReceiveChannel[Request]) -> None:
        """Count what lies in `deliveries` and was not received yet as held, too."""
        self._deliveries = deliveries

    def receive(self, requests: Sequence[Request]) -> Collection[Request]:
        """Enter requests as held; returns those that are suspects."""
        self._held.update(requests)
        return {request for request in requests if request.redelivered and not self._forgive(request)}

    def _forgive(self, request: Request) -> bool:
        """Whether this very process held the request before."""
        known = identity(request)
        times = self._forgiven.pop(known, 0)
        if times > 1:
            self._forgiven[known] = times - 1
        return times > 0

    def begin(self, requests: Iterable[Request]) -> None:
        """Note that the service's code runs on these."""
        self._running.update(requests)

    def end(self, requests: Iterable[Request]) -> None:
        """Note that it has returned from these."""
        self._running.difference_update(requests)

    def idle(self) -> list[Request]:
        """Those that are held and on which no code of the service runs, in the order of their delivery."""
        self._receive_unread()
        return sorted(self._held - self._running, key=lambda request: request.tag)

    def settle(self, requests: Iterable[Request]) -> None:
        """Remove what is settled."""
        self._held.difference_update(requests)

    def lose_session(self) -> None:
        """Remove all: the broker redelivers it, perhaps only after further sessions were lost."""
        self._receive_unread()
        self._forgiven.update(map(identity, self._held))
        for oldest in [*self._forgiven][:-MOST_FORGIVEN]:
            del self._forgiven[oldest]
        self._held.clear()
        self._running.clear()

    def _receive_unread(self) -> None:
        if self._deliveries is not None:
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:
                    self.receive([self._deliveries.receive_nowait()])
