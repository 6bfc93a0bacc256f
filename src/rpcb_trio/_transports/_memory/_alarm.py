"""The embedded broker's alarm: while it lasts, replies wait."""

from __future__ import annotations

import math
from contextlib import suppress

import trio


class Alarm:
    """Whether replies are taken, told to every session that listens."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._passed = trio.Event()
        self._listeners: list[trio.MemorySendChannel[str | None]] = []

    def listen(self) -> trio.MemoryReceiveChannel[str | None]:
        """Each change from now on: the reason, or None; and the reason first, where there is one already."""
        send, changes = trio.open_memory_channel[str | None](math.inf)
        self._listeners = [each for each in self._listeners if each.statistics().open_receive_channels]
        self._listeners.append(send)
        if self._reason is not None:
            send.send_nowait(self._reason)
        return changes

    async def passed(self) -> None:
        """Wait until replies are taken."""
        if self._reason is not None:
            await self._passed.wait()

    def raise_for(self, reason: str) -> None:
        """Have replies wait."""
        self._change(reason)

    def clear(self) -> None:
        """Take replies again."""
        self._change(None)
        self._passed.set()
        self._passed = trio.Event()

    def _change(self, reason: str | None) -> None:
        self._reason = reason
        for listener in self._listeners:
            with suppress(trio.BrokenResourceError):  # its session is over
                listener.send_nowait(reason)
