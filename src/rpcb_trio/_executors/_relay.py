"""One batch's steps, out of the executor's thread and onto the event loop.

A whole stream runs in one thread, since what a model sets there (torch's modes) belongs to the thread. The
thread computes some steps ahead of those that are on their way to their callers; then it waits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import closing, suppress
from typing import Any

import trio

from rpcb_trio._executors._protocol import Sink
from rpcb_trio._parts import Happened

AHEAD = 16
"""Steps that are computed before the first of them is on its way."""

Steps = Generator[Happened, Collection[int], None]


class Relay:
    """Passes the steps of one stream on.

    Args:
        seconds: that one step may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._token = trio.lowlevel.current_trio_token()
        self._send, self._steps = trio.open_memory_channel[Happened](math.inf)
        self._may_compute = threading.Semaphore(AHEAD)
        self._ahead = 0
        self._gone: Collection[int] = ()
        self._is_over = False
        self._due = trio.current_time() + seconds
        self._error: Exception | None = None
        self._has_ended = False

    async def run(
        self, in_thread: Callable[[Callable[[], None]], Awaitable[Any]], steps: Steps, sink: Sink
    ) -> bool:
        """Run the steps in a thread, and give them to the sink; False where one takes too long.

        Raises:
            Exception: whatever the steps or the sink raise.
        """
        sink.begin()
        is_in_time = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._computed, in_thread, steps)
                try:
                    is_in_time = await self._pass_on(sink)
                except Exception as error:  # noqa: BLE001 - raised again below, out of the group
                    self._error = error
                nursery.cancel_scope.cancel()  # a thread that goes on is left to run
        finally:
            self._is_over = True
            self._may_compute.release()
        if self._error is not None:
            raise self._error
        return is_in_time

    async def _computed(
        self, in_thread: Callable[[Callable[[], None]], Awaitable[Any]], steps: Steps
    ) -> None:
        with self._send:
            try:
                await in_thread(lambda: self._compute(steps))
            except Exception as error:  # noqa: BLE001 - likewise
                self._error = error
            self._has_ended = True

    def _compute(self, steps: Steps) -> None:
        """In the thread."""
        with closing(steps), suppress(StopIteration, trio.RunFinishedError):
            step = next(steps)
            while True:
                self._token.run_sync_soon(self._put, step)
                self._may_compute.acquire()
                if self._is_over:
                    return
                step = steps.send(self._gone)

    def _put(self, step: Happened) -> None:
        self._ahead += 1
        self._due = math.inf if self._ahead > AHEAD else trio.current_time() + self._seconds
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self._send.send_nowait(step)

    async def _pass_on(self, sink: Sink) -> bool:
        with self._steps:
            while True:
                steps = await self._at_hand()
                if not steps:
                    return self._has_ended
                self._gone = await sink.take(steps)
                if self._ahead > AHEAD:  # the thread goes on only now
                    self._due = trio.current_time() + self._seconds
                self._ahead -= len(steps)
                self._may_compute.release(len(steps))

    async def _at_hand(self) -> list[Happened]:
        """All steps that have come, at least one; none where there will be none, or not in time."""
        steps = list[Happened]()
        with suppress(trio.EndOfChannel):
            with trio.move_on_at(self._due):
                steps.append(await self._steps.receive())
            with suppress(trio.WouldBlock):
                while True:
                    steps.append(self._steps.receive_nowait())
        return steps
