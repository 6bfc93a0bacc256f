"""The last replies, for requests that come again: redelivered after a lost session, or sent twice.

Requests are the same when reply_to, correlation_id and the whole body are: a client may count its correlation
ids from 1 again, and must not get the reply to another request.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from rpcb_trio._messages import END_HEADER, Answer, Reply, Request
from rpcb_trio._pipeline._hooks import Offload
from rpcb_trio._pipeline._ledger import identity
from rpcb_trio.errors import BodyTooBig

MOST_BYTES = 64 * 2**20
"""Of the bodies of all replies; the oldest are removed first."""

LONG_BODY = 2**18
"""Bytes from which on a body is hashed in a thread; a shorter one takes less than a millisecond."""


class ReplyCache:
    """Keeps at most so many replies, and at most `most_bytes` of them; with 0 it keeps none."""

    def __init__(self, most: int, offload: Offload, *, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._offload = offload
        self._replies: OrderedDict[bytes, Reply] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def is_on(self) -> bool:
        """Whether it ever keeps a reply."""
        return self._most > 0

    def limit(self, most: int) -> None:
        """Keep at most so many from now on."""
        self._most = most
        self._evict()

    async def get(self, request: Request) -> Reply | None:
        """The reply that the same request had before, if it is kept."""
        key = await self._key(request)
        if key is None or key not in self._replies:
            return None
        self._replies.move_to_end(key)
        return self._replies[key]

    async def put(self, answers: Sequence[Answer]) -> None:
        """Keep these replies, except for errors that are not the request's own."""
        for answer in answers:
            if answer.reply is not None and _is_lasting(answer):
                key = await self._key(answer.request)
                if key is not None:
                    self._keep(key, answer.reply)

    def _keep(self, key: bytes, reply: Reply) -> None:
        before = self._replies.pop(key, None)
        self._bytes += len(reply.body) - (0 if before is None else len(before.body))
        self._replies[key] = reply
        self._evict()

    def _evict(self) -> None:
        while len(self._replies) > self._most or self._bytes > self._most_bytes:
            _, oldest = self._replies.popitem(last=False)
            self._bytes -= len(oldest.body)

    async def _key(self, request: Request) -> bytes | None:
        """None where the request can't be distinguished from others."""
        if request.reply_to is None or request.correlation_id is None:
            return None
        if len(request.body) < LONG_BODY:
            return identity(request, looked_at=LONG_BODY)
        return await self._offload(lambda: identity(request, looked_at=len(request.body)))


def _is_lasting(answer: Answer) -> bool:
    error = answer.error
    if answer.reply is not None and END_HEADER in answer.reply.headers:
        return False  # its parts are not kept
    if isinstance(error, BodyTooBig):
        return False  # refusing it again costs nothing
    return error is None or error.kind == "request"
