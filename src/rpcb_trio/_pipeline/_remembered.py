"""The last replies, for requests that come again: redelivered after a lost session, or sent twice.

They are the same when reply_to, correlation_id and body are; the body too, for a client may count its
correlation ids from 1 again, and must not get the answer to another question.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

from rpcb_trio._errors import BodyTooBig
from rpcb_trio._messages import Answer, Reply, Request
from rpcb_trio._pipeline._hooks import Offload

MOST_BYTES = 64 * 2**20
"""Of bodies that are remembered in all; the oldest go first."""

LONG_BODY = 2**18
"""Bytes from which on a body is hashed in a thread; a shorter one takes less than a millisecond."""

Key: TypeAlias = tuple[str, str, bytes]


class Remembered:
    """At most so many replies, and at most `MOST_BYTES` of them; 0 remembers none."""

    def __init__(self, most: int, offload: Offload, *, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._offload = offload
        self._replies: OrderedDict[Key, Reply] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def is_on(self) -> bool:
        """Whether anything is ever remembered."""
        return self._most > 0

    async def recall(self, request: Request) -> Reply | None:
        """The reply that such a request had before, if it is remembered."""
        key = await self._key(request)
        if key is None or key not in self._replies:
            return None
        self._replies.move_to_end(key)
        return self._replies[key]

    async def remember(self, answers: Sequence[Answer]) -> None:
        """Keep these replies, but for errors that are not the request's own."""
        for answer in answers:
            if answer.reply is not None and _is_lasting(answer):
                key = await self._key(answer.request)
                if key is not None:
                    self._keep(key, answer.reply)

    def _keep(self, key: Key, reply: Reply) -> None:
        before = self._replies.pop(key, None)
        self._bytes += len(reply.body) - (0 if before is None else len(before.body))
        self._replies[key] = reply
        while len(self._replies) > self._most or self._bytes > self._most_bytes:
            _, oldest = self._replies.popitem(last=False)
            self._bytes -= len(oldest.body)

    async def _key(self, request: Request) -> Key | None:
        """None where it can't be told from others."""
        if request.reply_to is None or request.correlation_id is None:
            return None
        if len(request.body) < LONG_BODY:
            return request.reply_to, request.correlation_id, _digest(request.body)
        digest = await self._offload(lambda: _digest(request.body))
        return request.reply_to, request.correlation_id, digest


def _is_lasting(answer: Answer) -> bool:
    error = answer.error
    if isinstance(error, BodyTooBig):
        return False  # it costs nothing to find that again
    return error is None or error.kind == "request"


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
