"""The client for programs that are not async: a thread of its own runs trio."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import trio
from anyio.from_thread import BlockingPortal

from rpcb_trio._client import RpcClient, open_client
from rpcb_trio._errors import CallInterrupted, SettingError
from rpcb_trio._green import refuse_green_threads
from rpcb_trio._messages import NO_HEADERS, Reply
from rpcb_trio._transports import Transport

OPENED_BEFORE_A_FORK = "this client was opened before a fork; open one in each process, after the fork"

GREEN_REMEDY = "call the worker over a gateway's HTTP from here, or in a process without that"


class BlockingRpcClient:
    """As `RpcClient`, for ordinary threads. Made by `open_blocking_client`; many threads may call at once.

    It has a thread of its own, which a forked process lacks, and a connection, which no two processes can
    share: calls there raise `SettingError`. Open a client in each process, after the fork (in Gunicorn's
    `post_fork`, say).
    """

    def __init__(self, portal: BlockingPortal, client: RpcClient) -> None:
        self._portal = portal
        self._client = client
        self._process = os.getpid()
        self._is_closed = False

    @property
    def late_replies(self) -> int:
        """How many replies came when nobody awaited them any more; they are dropped."""
        return self._client.late_replies

    def call(
        self,
        body: bytes,
        *,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, object] = NO_HEADERS,
        priority: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> Reply:
        """Send one request, block until its reply is here, and return it; see `RpcClient.call`.

        What interrupts the thread, as Ctrl-C does, ends the call too.
        """
        return self._run(
            partial(
                self._client.call,
                body,
                queue=queue,
                exchange=exchange,
                routing_key=routing_key,
                timeout=timeout,
                headers=headers,
                priority=priority,
                content_type=content_type,
            )
        )

    def _run(self, call: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
        if self._is_foreign:
            raise SettingError(OPENED_BEFORE_A_FORK)
        try:
            under_way: Future[Reply] = self._portal.start_task_soon(call)
        except RuntimeError as error:  # the portal is closed, or this is no ordinary thread
            if not self._is_closed:
                raise
            raise CallInterrupted("the client is closed") from error
        try:
            return under_way.result()
        except CancelledError as error:
            raise CallInterrupted("the client is closed") from error
        finally:
            under_way.cancel()

    @property
    def _is_foreign(self) -> bool:
        return os.getpid() != self._process

    def _close(self, ended: Future[None]) -> None:
        self._is_closed = True
        if not self._is_foreign:
            with suppress(RuntimeError):  # the portal is closed, for the client has broken down
                self._portal.call(self._portal.stop, True)  # noqa: FBT003 - it is anyio's
            ended.result()


@contextmanager
def open_blocking_client(transport: Transport | str) -> Iterator[BlockingRpcClient]:
    """Connect a `BlockingRpcClient` to an AMQP URL or a transport; leaving it ends it and its thread.

    Calls that other threads have under way then end with `CallInterrupted`, and so do later ones.

    Raises:
        LoginRefused, SessionLost, SettingError: as `open_client`.
    """
    refuse_green_threads(GREEN_REMEDY)
    opened: Future[BlockingRpcClient] = Future()
    # No context manager of anyio's own here: a forked process that leaves this one would wait for the thread.
    with ThreadPoolExecutor(1, thread_name_prefix="rpcb_trio-client") as thread:
        ended: Future[None] = thread.submit(trio.run, _hold_open, transport, opened)
        either: list[Future[Any]] = [opened, ended]
        try:
            wait(either, return_when=FIRST_COMPLETED)
            if not opened.done():
                ended.result()  # raises why
            yield opened.result()
        finally:
            if not opened.cancel():
                opened.result()._close(ended)  # noqa: SLF001 - one room


async def _hold_open(transport: Transport | str, opened: Future[BlockingRpcClient]) -> None:
    async with open_client(transport) as client, BlockingPortal() as portal:
        if opened.set_running_or_notify_cancel():
            opened.set_result(BlockingRpcClient(portal, client))
            await portal.sleep_until_stopped()
