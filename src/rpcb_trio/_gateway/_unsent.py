"""Responses that wait for their clients to take them: what they hold, and which client is cut off first."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rpcb_trio._gateway._middleware import Cut, HttpMiddleware
from rpcb_trio._gateway._problems import busy
from rpcb_trio._gateway._responses import failure

log = logging.getLogger("rpcb_trio")

GRACE = 5.0
"""Seconds that every client has to take its response, however many others wait."""

SMALL = FileResponse.chunk_size
"""Bytes that are not counted: the server closes the connection of a client that does not take so many."""


@dataclass(eq=False)
class Taking:
    """A response, or a piece of one, that its client is taking."""

    size: int
    client: str
    since: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Unsent:
    """Counts the bytes that wait, of which there may be `most` in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taking: set[Taking] = set()
        self.held = 0
        """How many bytes wait."""
        self.cut = 0
        """How many responses were cut off to make room for others."""

    def make_room(self, size: int) -> bool:
        """Whether so many bytes more may wait; slow clients are cut off for them.

        A client is slow after its grace. Of those the one that holds the most goes first, with the response
        that it has been taking for the longest time.
        """
        while self.held + size > self._most:
            slow = self._slowest()
            if slow is None:
                return False
            self._cut(slow)
        return True

    @contextmanager
    def taking(self, size: int, client: str) -> Iterator[None]:
        """While so many bytes are taken by a client; it ends early if the client is cut off."""
        each = Taking(size, client, anyio.current_time())
        self._taking.add(each)
        self.held += size
        try:
            with each.scope:
                yield
        finally:
            self._release(each)

    def break_off(self, size: int, client: str) -> None:
        self.cut += 1
        log.warning(
            "a response to %s was broken off before its next %d bytes: others hold all the room (max_unsent)",
            client,
            size,
        )

    def _slowest(self) -> Taking | None:
        now = anyio.current_time()
        holds = Counter[str]()
        for each in self._taking:
            holds[each.client] += each.size
        slow = [each for each in self._taking if each.since + GRACE <= now]
        return max(slow, key=lambda each: (holds[each.client], -each.since), default=None)

    def _cut(self, slow: Taking) -> None:
        self._release(slow)
        slow.scope.cancel()
        self.cut += 1
        log.warning(
            "a response of %d bytes to %s was cut off: it was not taken within %.0f s, and others need its "
            "room (max_unsent)",
            slow.size,
            slow.client,
            anyio.current_time() - slow.since,
        )

    def _release(self, each: Taking) -> None:
        if each in self._taking:
            self._taking.remove(each)
            self.held -= each.size


class BoundedResponses(HttpMiddleware):
    """Middleware that holds all responses together to `Unsent`'s bound."""

    def __init__(self, app: ASGIApp, unsent: Unsent, retry_after: int) -> None:
        super().__init__(app)
        self._unsent = unsent
        self._retry_after = retry_after

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = str((scope.get("client") or ("?",))[0])
        start: Message | None = None
        is_refused = False

        async def send_within(message: Message) -> None:
            nonlocal start, is_refused
            if is_refused:
                return
            if message["type"] == "http.response.start" and _has_length(message):
                start = message  # its body follows, and there may be no room for that
                return
            size = len(message.get("body", b""))
            head, start = start, None
            if size > SMALL and not self._unsent.make_room(size):
                if head is None:
                    self._unsent.break_off(size, client)
                    raise Cut
                is_refused = True
                problem = busy(
                    f"responses that other clients have not taken yet hold {self._unsent.held} bytes"
                )
                refusal = failure(None, problem, scope, retry_after=self._retry_after)
                await refusal(scope, receive, send)
                return
            if head is not None:
                await send(head)
            if size <= SMALL:
                await send(message)
                return
            with self._unsent.taking(size, client):
                await send(message)
                return
            raise Cut

        await self.app(scope, receive, send_within)


def _has_length(start: Message) -> bool:
    return any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))
