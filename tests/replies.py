"""A caller's replies, for a test to wait for."""

from __future__ import annotations

import math
from typing import NoReturn

import trio

from rpcb_trio import Reply
from rpcb_trio._messages import Outgoing
from rpcb_trio._transports import CallerSession
from rpcb_trio.errors import RpcbError


def replies_of(caller: CallerSession) -> trio.MemoryReceiveChannel[Reply]:
    """All that come from now on, in order."""
    take, replies = trio.open_memory_channel[Reply](math.inf)
    caller.on_reply(take.send_nowait)
    return replies


def unexpected(error: RpcbError) -> NoReturn:
    """For requests that no broker has anything against."""
    raise AssertionError("the broker took the request ill") from error


async def refusal_of(caller: CallerSession, request: Outgoing) -> RpcbError:
    """Publish a request that the broker will not have, and return what it says of it."""
    tell, told = trio.open_memory_channel[RpcbError](1)
    try:
        await caller.publish(request, tell.send_nowait)
    except RpcbError as error:
        return error
    return await told.receive()
