"""hypercorn's trio worker around the app."""

from __future__ import annotations

import logging
import socket
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette

from rpcb_trio._gateway._front import Front

LONGEST_PAUSE = 5.0
"""Seconds for a request's headers to come, and between two requests on a connection."""


async def serve_app(
    app: Starlette,
    listener: socket.socket,
    *,
    drain: trio.Event,
    drain_timeout: float,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serve the app of `make_app` until `drain` is set and what is in flight is answered, within a deadline.

    Args:
        app: of `make_app`.
        listener: a bound socket; it is taken over and closed at the end.
        drain: when to accept no more.
        drain_timeout: seconds for what is in flight then.
        task_status: started with the URLs that are served, once they are.

    Returns:
        How many requests were in flight when the deadline came, and got no answer.
    """
    front: Front = app.state.front

    async def until_drained() -> None:
        await drain.wait()
        front.is_draining = True

    config = _config(listener, drain_timeout)
    asgi = cast("ASGIFramework", app)  # the same, typed by others
    await serve(asgi, config, shutdown_trigger=until_drained, task_status=task_status)
    return front.cut


def _config(listener: socket.socket, drain_timeout: float) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = drain_timeout
    config.keep_alive_timeout = LONGEST_PAUSE
    config.errorlog = logging.getLogger("rpcb_trio.http")
    config.include_server_header = False
    return config
