"""A caller's replies, for a test to wait for."""

from __future__ import annotations

import math

import trio

from rpcb_trio import Reply
from rpcb_trio._transports import CallerSession


def replies_of(caller: CallerSession) -> trio.MemoryReceiveChannel[Reply]:
    """All that come from now on, in order."""
    take, replies = trio.open_memory_channel[Reply](math.inf)
    caller.on_reply(take.send_nowait)
    return replies
