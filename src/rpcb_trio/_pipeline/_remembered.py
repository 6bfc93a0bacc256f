"""The last replies, for requests that come again: redelivered after a lost session, or sent twice.

Requests are the same when reply_to, correlation_id and the whole body are: a client may count its correlation
ids from 1 again, and must not get the reply to another request. What equal requests of several callers share
is in `_content_cache`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rpcb_trio._messages import END_HEADER, Answer, Reply, Request
from rpcb_trio._pipeline._hooks import Offload
from rpcb_trio._pipeline._kept import LONG_BODY, KeptReplies
from rpcb_trio._pipeline._ledger import identity
from rpcb_trio.errors import BodyTooBig

MOST_BYTES = 64 * 2**20
"""Of the bodies of all replies; those least recently used are removed first."""


class RememberedReplies:
    """Keeps at most so many replies, and at most `most_bytes` of them; with 0 it keeps none."""

    def __init__(self, most: int, offload: Offload, *, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._offload = offload
        self._replies = KeptReplies(most=most, most_bytes=most_bytes)

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def is_on(self) -> bool:
        """Whether it ever keeps a reply."""
        return self._most > 0

    def limit(self, most: int) -> None:
        """Keep at most so many from now on."""
        self._most = most
        self._replies.limit(most=most)

    async def get(self, request: Request) -> Reply | None:
        """The reply that the same request had before, if it is kept."""
        key = await self._key(request)
        return None if key is None else self._replies.get(key)

    async def put(self, answers: Sequence[Answer]) -> None:
        """Keep these replies, except for errors that are not the request's own."""
        for answer in answers:
            if answer.reply is not None and _is_lasting(answer):
                key = await self._key(answer.request)
                if key is not None:
                    self._replies.put(key, answer.reply)

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
