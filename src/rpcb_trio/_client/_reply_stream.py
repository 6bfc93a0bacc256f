"""The parts of a reply, as a caller reads them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio

from rpcb_trio._client._call import as_calls_have_it
from rpcb_trio._messages import END_HEADER, Outgoing, Reply
from rpcb_trio.errors import (
    BrokerError,
    CallInterrupted,
    ReplyTimeout,
    RpcbError,
    StreamChanged,
    StreamOverrun,
)

MAX_UNREAD = 64 * 2**20
"""Bytes of parts that wait to be read, unless set otherwise."""

OVERHEAD = 1024
"""Bytes that a part takes beside its body."""

Begin = Callable[[Outgoing, "ReplyStream"], Awaitable[Callable[[], None]]]
"""Sends the request; returns what ends the wait for its reply."""


class ReplyStream:
    """The parts of one reply, as `RpcClient.stream` returns it: an async iterator, for one task.

    The request is sent when the first part is asked for. To leave the loop early, by `break` or an error,
    leaves the stream; `aclose`, or an `async with` around it, does so on any Python.
    """

    def __init__(
        self,
        request: Outgoing,
        begin: Begin,
        leave: Callable[[Outgoing], None],
        *,
        where: str,
        timeout: float,
        part_timeout: float,
        max_unread: int,
    ) -> None:
        self._request = request
        self._begin = begin
        self._leave = leave
        self._where = where
        self._timeout = timeout
        self._part_timeout = part_timeout
        self._max_unread = max_unread
        self._deadline = math.inf
        self._has_begun = self._is_closed = False
        self._done: Callable[[], None] | None = None
        self._unread = deque[Reply]()
        self._unread_bytes = 0
        self._seen: list[int] = []
        """A hash of each part that came: when a worker dies, another begins anew."""
        self._news = anyio.Event()
        self._is_complete = False
        self._error: RpcbError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        part = await self.next_part()
        if part is None:
            raise StopAsyncIteration
        return part

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    async def next_part(self) -> Reply | None:
        """Wait for the next part; None once there is none.

        Raises:
            RemoteError: the reply ended with an error.
            ReplyTimeout: it did not come in time.
            CallError: as `RpcClient.stream` says.
        """
        if self._is_closed:
            if self._has_begun and self._done is None:
                raise CallInterrupted("it was cancelled while the request was sent")
            return None
        if not self._has_begun:
            self._deadline = anyio.current_time() + self._timeout
        due = min(self._deadline, anyio.current_time() + self._part_timeout)
        with anyio.CancelScope(deadline=due):
            if not self._has_begun:
                await self._send()
            while not (self._unread or self.is_answered):
                self._news = anyio.Event()
                await self._news.wait()
        if self._unread:
            return self._read()
        is_over = self.is_answered
        self.close()
        if self._error is not None:
            raise self._error
        if not is_over:
            raise ReplyTimeout(self._why_late(due))
        return None

    async def _send(self) -> None:
        self._has_begun = self._is_closed = True  # where it is cancelled
        self._done = await self._begin(self._request, self)
        self._is_closed = False

    def _read(self) -> Reply:
        part = self._unread.popleft()
        self._unread_bytes -= OVERHEAD + len(part.body)
        if part.error is not None:
            self.close()
        return part.raise_for_error()

    async def aclose(self) -> None:
        """Leave the stream; what comes of it later is dropped."""
        self.close()

    def close(self) -> None:
        """As `aclose`, in the event loop's thread."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._done is not None:
            self.give_up()
            self._done()

    def give_up(self) -> None:
        """Await nothing more; workers learn of it where more could come."""
        if not self.is_answered:
            self._leave(self._request)

    @property
    def is_answered(self) -> bool:
        """Whether nothing more is awaited."""
        return self._is_complete or self._error is not None

    def finish(self, reply: Reply) -> None:
        """Take a message of the reply."""
        if reply.error is not None or reply.part is None:
            if reply.error is not None or END_HEADER not in reply.headers:  # a whole one, as others send
                self._keep(reply)
        elif self._is_new(reply.part, reply.body):
            self._keep(reply)
        self._is_complete = reply.is_last or reply.error is not None
        self._news.set()

    def fail(self, error: RpcbError) -> None:
        """End it without the rest of the reply."""
        is_lost = isinstance(error, BrokerError)
        if self.is_answered or (self._seen and not is_lost):  # a part that came proves the delivery
            return
        self._error = as_calls_have_it(error)
        self._news.set()

    def _is_new(self, number: int, body: bytes) -> bool:
        known = hash(body)
        if number == len(self._seen):
            self._seen.append(known)
            return True
        if number > len(self._seen):
            self._error = CallInterrupted(f"part {len(self._seen)} of the reply is missing")
        elif self._seen[number] != known:
            self._error = StreamChanged(
                f"the worker died, and the reply of {self._where} began anew with another part {number}"
            )
        return False

    def _keep(self, reply: Reply) -> None:
        self._unread_bytes += OVERHEAD + len(reply.body)
        if self._unread_bytes > self._max_unread and self._unread:
            self._unread_bytes -= OVERHEAD + len(reply.body)
            self._error = StreamOverrun(
                f"parts of {self._unread_bytes} bytes wait to be read, and {self._max_unread} are allowed "
                "(max_unread)"
            )
        else:
            self._unread.append(reply)

    def _why_late(self, due: float) -> str:
        if due == self._deadline:
            return f"the reply from {self._where} was not complete within {self._timeout:g} s"
        return f"no further part from {self._where} within {self._part_timeout:g} s (part_timeout)"
