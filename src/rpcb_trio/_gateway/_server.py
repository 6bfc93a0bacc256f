"""Serves the app by hypercorn's parts, with a drain of our own."""

from __future__ import annotations

import logging
import math
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from starlette.applications import Starlette

from rpcb_trio._gateway._connections import HttpConnection
from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._middleware import Faults

log = logging.getLogger("rpcb_trio.http")

LONGEST_PAUSE = 5.0
"""Seconds for a request's headers to come, and between two requests on a connection."""

LONGEST_HANDSHAKE = 10.0
"""Seconds for that of TLS."""

SILENCE = 10.0
"""Seconds between two lines of the log that say that no connection can be accepted."""

BACKLOG = 1024
"""Connections that wait to be accepted."""


async def serve_app(
    app: Starlette,
    listener: socket.socket,
    *,
    drain: trio.Event,
    drain_timeout: float,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serve the app of `make_app` until `drain` is set and what is in flight is answered, within a deadline.

    Args:
        app: of `make_app`.
        listener: a bound socket; it is taken over and closed at the end.
        drain: when to accept no more.
        drain_timeout: seconds for what is in flight then.
        tls: for HTTPS, with the server's certificate; None for HTTP.
        task_status: started once it is served.

    Returns:
        How many requests were in flight at the deadline, and got no answer.

    Raises:
        SettingError, BrokerError: the app can't start.
    """
    dispatcher: Dispatcher = app.state.dispatcher
    context = WorkerContext(None)
    served = partial(
        HttpConnection,
        Faults(),
        ASGIWrapper(cast("ASGIFramework", app)),  # Starlette types the same protocol in its own way
        _config(),
        context,
        ConnectionState({}),
    )
    with listener, _rarely_logged():
        async with app.router.lifespan_context(app), trio.open_nursery() as connections:
            listener.listen(BACKLOG)
            accepting = _accepting(listener, tls)
            async with accepting, trio.open_nursery() as nursery:
                serving = partial(trio.serve_listeners, handler_nursery=connections)
                await nursery.start(serving, served, [accepting])
                task_status.started()
                await drain.wait()
                dispatcher.is_draining = True
                nursery.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + drain_timeout
    return dispatcher.cut


def _accepting(
    listener: socket.socket, tls: ssl.SSLContext | None
) -> trio.SocketListener | trio.SSLListener[trio.SocketStream]:
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    return plain if tls is None else trio.SSLListener(plain, tls, https_compatible=True)


@contextmanager
def _rarely_logged() -> Iterator[None]:
    """Bound what trio logs while no file descriptor is left, which is ten tracebacks a second."""
    last = -math.inf

    def is_due(record: logging.LogRecord) -> bool:
        nonlocal last
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
        if time.monotonic() - last < SILENCE:
            return False
        last = time.monotonic()
        return True

    trio_log = logging.getLogger("trio.serve_listeners")
    trio_log.addFilter(is_due)
    try:
        yield
    finally:
        trio_log.removeFilter(is_due)


def _config() -> Config:
    config = Config()
    config.keep_alive_timeout = LONGEST_PAUSE
    config.ssl_handshake_timeout = LONGEST_HANDSHAKE
    config.errorlog = log
    config.include_server_header = False
    return config
