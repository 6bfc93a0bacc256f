"""An inbox that a program keeps for all its jobs, and takes the replies out of as they come."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskStatus

from rpcb_trio._backoff import Backoff
from rpcb_trio._client._client import RpcClient
from rpcb_trio._messages import Outgoing, Reply
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports import CallerSession, Inbox
from rpcb_trio.errors import CallInterrupted, PublishRefused, SessionLost, TopologyMismatch

log = logging.getLogger("rpcb_trio")

MONTH = 30 * 86400.0
"""Seconds for which an inbox outlives the program that takes out of it."""

AT_ONCE = 8
"""Replies that are taken at once, each with its body."""

Take = Callable[[Reply], Awaitable[None]]
"""Puts a reply where it is safe; it is acked once this returns, and comes again if this is cut off."""


async def deposit(client: RpcClient, request: Outgoing, seconds: float) -> None:
    """Send a request whose `reply_to` is an inbox; return once the broker has stored it.

    A connection that is lost meanwhile may have it stored twice.

    Raises:
        Unroutable, PublishRefused, RequestTooBig, SettingError: as `RpcClient.call`.
        ReplyTimeout: the broker did not store it within so many seconds.
        CallInterrupted: the client was closed.
    """
    await client._deposit(request, seconds)  # noqa: SLF001 - one room


def give_up(client: RpcClient, request: Outgoing) -> None:
    """Tell workers that nobody awaits the reply to a request of `deposit`, if the client may; best effort."""
    session = client._session  # noqa: SLF001 - one room
    if client._may_cancel and client.is_connected and session is not None:  # noqa: SLF001 - likewise
        session.cancel(request)


async def keep_inbox(
    client: RpcClient, queue: str, take: Take, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Take replies out of a durable queue, over one connection after another, until it is cancelled.

    Raises:
        TopologyMismatch: the queue can't be had; only before it has started.
    """
    backoff, has_started, has_warned = Backoff(), False, False

    def started() -> None:
        nonlocal has_started, has_warned
        if not has_started:
            task_status.started()
        has_started, has_warned = True, False

    while True:
        began = anyio.current_time()
        try:
            await _empty(await client._open_session(), queue, take, started)  # noqa: SLF001 - one room
        except SessionLost:
            pass
        except CallInterrupted:  # the client is closed
            return
        except PublishRefused as error:
            if not has_started:
                raise TopologyMismatch(f"jobs: {error}") from error
            if not has_warned:
                log.warning("jobs: their replies can't be taken, and wait: %s", error)
            has_warned = True
        await anyio.sleep(backoff.after(anyio.current_time() - began))


async def _empty(session: CallerSession, queue: str, take: Take, started: Callable[[], None]) -> None:
    """Take replies out of it until the connection, or the queue, is gone."""
    await session.inboxes.declare(queue, unused=MONTH)
    async with session.inboxes.open(queue, prefetch=AT_ONCE) as inbox, open_serving_nursery() as tasks:
        if inbox is None:
            return
        started()
        async for tag, reply in inbox.replies:
            tasks.start_soon(_taken, inbox, tag, reply, take)
        tasks.cancel_scope.cancel()  # each comes again


async def _taken(inbox: Inbox, tag: int, reply: Reply, take: Take) -> None:
    await take(reply)
    inbox.ack(tag)
