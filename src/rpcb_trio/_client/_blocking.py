"""The client for programs that are not async: trio runs in a thread of its own."""

from __future__ import annotations

import atexit
import math
import os
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from threading import TIMEOUT_MAX, RLock, Thread
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import trio
from anyio.from_thread import BlockingPortal

from rpcb_trio._client._blocking_jobs import BlockingJobCalls
from rpcb_trio._client._client import RpcClient
from rpcb_trio._client._opening import open_client
from rpcb_trio._client._outgoing import CLOSED, SHORTEST_EXPIRATION, checked_expiration
from rpcb_trio._client._reply_stream import MAX_UNREAD, ReplyStream
from rpcb_trio._green import refuse_green_threads
from rpcb_trio._messages import NO_HEADERS, Reply
from rpcb_trio._transports import Transport, as_transport
from rpcb_trio.errors import CallInterrupted, ReplyTimeout

T = TypeVar("T")

GREEN_REMEDY = "call the worker over a gateway's HTTP, or from a process without monkey-patching"

LONGEST_CLOSE = 10.0
"""Seconds that closing may take; a broker that does not answer takes less."""

LONGEST_FORK = 1.0
"""Seconds that a fork waits for connections that are being opened."""


class BlockingRpcClient(BlockingJobCalls):
    """As `RpcClient`, for programs without an event loop. Any number of threads may call at once.

        client = BlockingRpcClient("amqp://localhost")  # kept in a module, for all requests of a web server
        reply = client.call(b"hello", queue="shout", timeout=5)

    It connects at the first call, or when it is entered by `with`, and keeps the connection and a thread for
    it. `close`, leaving the `with`, and the end of the interpreter close both. A process that is forked from
    this one, as by Gunicorn or Celery, connects anew at its own first call.

    Args:
        transport: an AMQP URL, or a transport.
        max_message_size: as `open_client` takes it.
        claims: likewise.
        cancel: as for `open_client`; an interrupted call is given up, too.

    Raises:
        SettingError: the URL is wrong.
    """

    _connection: _Connection | None = None

    def __init__(
        self,
        transport: Transport | str,
        *,
        max_message_size: int | None = None,
        claims: str | None = None,
        cancel: bool = False,
    ) -> None:
        as_transport(transport)  # so that a wrong URL is refused here
        self._open = partial(
            open_client, transport, max_message_size=max_message_size, claims=claims, cancel=cancel
        )
        self._is_closed = False
        with _lock:
            _clients.add(self)

    def __enter__(self) -> Self:
        self._connected().opened(TIMEOUT_MAX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.stop()

    @property
    def late_replies(self) -> int:
        """How many replies came for calls that had ended, since the client connected; they are dropped."""
        return 0 if self._connection is None else self._connection.late_replies

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

        An exception that interrupts the thread, as Ctrl-C does, ends the call too.

        Raises:
            LoginRefused, SessionLost: the client was not open yet, and could not be opened. The next call
                tries again.
            CallError, SettingError: as `RpcClient.call`.
        """
        call = partial(
            RpcClient.call,
            body=body,
            queue=queue,
            exchange=exchange,
            routing_key=routing_key,
            headers=headers,
            priority=priority,
            content_type=content_type,
        )
        return self._within(timeout, call)

    def stream(
        self,
        body: bytes,
        *,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        timeout: float = 30.0,
        part_timeout: float = math.inf,
        headers: Mapping[str, object] = NO_HEADERS,
        priority: int | None = None,
        content_type: str = "application/octet-stream",
        max_unread: int = MAX_UNREAD,
    ) -> Generator[Reply, None, None]:
        """Send one request, and return its reply's parts as they come; see `RpcClient.stream`.

        The request is sent when the first part is asked for. To leave the loop early leaves the stream.

        Raises, when the next part is asked for:
            LoginRefused, SessionLost: as `call`.
            CallError, SettingError: as `RpcClient.stream`.
        """
        connection, client, left = self._opened(timeout)

        async def begin() -> ReplyStream:
            return client.stream(
                body,
                queue=queue,
                exchange=exchange,
                routing_key=routing_key,
                timeout=left,
                part_timeout=part_timeout,
                headers=headers,
                priority=priority,
                content_type=content_type,
                max_unread=max_unread,
            )

        stream = connection.run(begin)
        try:
            while (part := connection.run(stream.next_part)) is not None:
                yield part
        finally:
            connection.soon(stream.close)

    def close(self) -> None:
        """End the connection and its thread. Calling it again does nothing.

        Calls that other threads have under way end with `CallInterrupted`, and so do later ones.
        """
        with _lock:
            self._is_closed = True
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _within(self, timeout: float, call: Callable[..., Coroutine[Any, Any, T]]) -> T:
        """Have the client do it; what opening has taken is no longer its to take."""
        connection, client, left = self._opened(timeout)
        return connection.run(partial(call, client, timeout=left))

    def _opened(self, timeout: float) -> tuple[_Connection, RpcClient, float]:
        """The open client, and what is left of a timeout."""
        checked_expiration(timeout)
        connection = self._connected()
        began = time.monotonic()
        client = connection.opened(timeout)
        opening = round(time.monotonic() - began, 3)  # 0 where it was open
        left = max(timeout - opening, SHORTEST_EXPIRATION) if opening else timeout
        return connection, client, left

    def _connected(self) -> _Connection:
        with _lock:
            if self._is_closed:
                raise CallInterrupted(CLOSED)
            if self._connection is None or self._connection.is_over:
                refuse_green_threads(GREEN_REMEDY)
                self._connection = _Connection(self._open)
            return self._connection


class _Connection:
    """A thread that runs trio, and the client that is open in it."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[RpcClient]]) -> None:
        self.is_over = False
        self._all = trio.CancelScope()
        self.opening: Future[tuple[RpcClient, BlockingPortal]] = Future()
        started: Future[trio.lowlevel.TrioToken] = Future()
        # A daemon: the interpreter waits for all other threads before it calls `_close_all`.
        self._thread = Thread(target=self._run, args=(opened, started), name="rpcb_trio-client", daemon=True)
        self._thread.start()
        self._token = started.result()

    @property
    def late_replies(self) -> int:
        is_open = self.opening.done() and self.opening.exception() is None
        return self.opening.result()[0].late_replies if is_open else 0

    def opened(self, seconds: float) -> RpcClient:
        """The client, as soon as it is open; raises why it can't be opened."""
        try:
            return self.opening.result(min(seconds, TIMEOUT_MAX))[0]
        except TimeoutError:
            raise ReplyTimeout(f"the broker did not let us in within {seconds:g} s") from None

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        _, portal = self.opening.result()
        try:
            under_way: Future[T] = portal.start_task_soon(call)
        except RuntimeError as error:  # the portal is closed, or this thread runs trio itself
            if not self.is_over:
                raise
            raise CallInterrupted(CLOSED) from error
        try:
            return under_way.result()
        except CancelledError as error:
            raise CallInterrupted(CLOSED) from error
        finally:
            under_way.cancel()

    def soon(self, function: Callable[[], object]) -> None:
        """Have the connection's thread call a function, and do not wait."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)

    def stop(self) -> None:
        """Begin to close, from any thread, and do not wait."""
        self.is_over = True
        self.soon(self._all.cancel)

    def close(self) -> None:
        self.stop()
        self._thread.join(LONGEST_CLOSE)

    def _run(
        self,
        opened: Callable[[], AbstractAsyncContextManager[RpcClient]],
        started: Future[trio.lowlevel.TrioToken],
    ) -> None:
        error: BaseException = CallInterrupted(CLOSED)
        try:
            trio.run(self._hold_open, opened, started)
        except BaseException as raised:
            if self.opening.done():
                raise  # an error in this package; `threading.excepthook` prints it
            error = raised
        finally:
            self.is_over = True
        futures: list[Future[Any]] = [started, self.opening]
        for each in futures:  # `started` too, where no file descriptor is left for a loop for example
            if not each.done():
                each.set_exception(error)

    async def _hold_open(
        self,
        opened: Callable[[], AbstractAsyncContextManager[RpcClient]],
        started: Future[trio.lowlevel.TrioToken],
    ) -> None:
        started.set_result(trio.lowlevel.current_trio_token())
        with self._all:
            async with opened() as client, BlockingPortal() as portal:
                self.opening.set_result((client, portal))
                await trio.sleep_forever()


_clients = WeakSet[BlockingRpcClient]()
_lock = RLock()
"""Of all clients: they are made under it, their connections are replaced, and no process is forked meanwhile.
Reentrant, since a signal handler may close a client in the thread of its call."""


def _close_all() -> None:
    with _lock:
        clients = list(_clients)
    for client in clients:
        client.close()


def _before_fork() -> None:
    """Let connections open: a module that is being imported for one could never be imported in the child."""
    _lock.acquire()
    openings = [each._connection.opening for each in list(_clients) if each._connection is not None]  # noqa: SLF001 - one room
    wait(openings, LONGEST_FORK)


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._connection = None  # noqa: SLF001 - one room; its thread and sockets are the parent's
    _lock.release()


atexit.register(_close_all)
os.register_at_fork(before=_before_fork, after_in_parent=_lock.release, after_in_child=_after_fork_in_child)
