"""Who may wait for a batch: `max_pending` bounds them, and who is one too many is told so at once.

A newcomer is refused before it is decoded. A redelivered request is none: it has been admitted before, and
losing a session must not turn what was held into refusals; the prefetch bounds those.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from rpcb_trio._errors import Overloaded
from rpcb_trio._messages import Failure, Pending, Request
from rpcb_trio._pipeline._codec import Codec

TURNS = 2
"""Of the scheduler: in that many, the batcher has taken a batch if an executor is idle."""


class Admission:
    """The way into the pending requests, through `decode`.

    Args:
        codec: decodes who is admitted.
        backlog: tells how many decoded requests wait for a batch.
        max_pending: how many may; None for as many as come.
    """

    def __init__(self, codec: Codec, backlog: Callable[[], int], max_pending: int | None) -> None:
        self._codec = codec
        self._backlog = backlog
        self._max_pending = max_pending
        self._decoding = 0

    @property
    def takes_bodies(self) -> bool:
        """Whether nothing needs decoding (see `Codec`)."""
        return self._codec.takes_bodies

    async def decode(self, request: Request, *, suspect: bool) -> Pending | Failure:
        """Decode a request, or refuse it as `Overloaded`."""
        if self._max_pending is not None and not request.redelivered:
            await self._let_a_batch_go()
            if self._is_full():
                return Failure(Overloaded(f"{self._max_pending} requests wait already (max_pending)"))
        self._decoding += 1
        try:
            return await self._codec.decode(request, suspect=suspect)
        finally:
            self._decoding -= 1

    async def _let_a_batch_go(self) -> None:
        """Many come at once, before the batcher has had a turn; what an idle executor takes makes room."""
        if self._is_full():
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()

    def _is_full(self) -> bool:
        return self._max_pending is not None and self._backlog() + self._decoding >= self._max_pending
