"""The port that probes ask."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

import trio

from rpcb_trio._errors import SettingError
from rpcb_trio._forks import close_in_children
from rpcb_trio._instruments import Health, HealthInstrument
from rpcb_trio.health._http import Response, answer_one
from rpcb_trio.health._pulse import Pulse

log = logging.getLogger("rpcb_trio")

PATIENCE = 5.0
"""Seconds for a whole connection; a probe takes milliseconds."""

MOST_CONNECTIONS = 32
"""At once. With one more, the oldest is cut, so that idle ones can't keep probes away."""


class HealthPort:
    """Answers probes about the workers of this process.

    Args:
        workers: one instrument for each worker.
    """

    def __init__(self, workers: Sequence[HealthInstrument]) -> None:
        self._workers = workers
        self._pulse = Pulse()
        self._open: deque[trio.CancelScope] = deque()
        self.port = 0
        """Where it listens."""

    def answer(self, path: str) -> Response:
        """The response to a GET of `path`."""
        if path == "/livez":
            return Response(
                HTTPStatus.OK, {"live": True, "longest_stall": round(self._pulse.longest_stall, 3)}
            )
        if path == "/readyz":
            workers = [each.health for each in self._workers]
            ready = all(each.ready for each in workers)
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return Response(status, {"ready": ready, "workers": [_told(each) for each in workers]})
        return Response(HTTPStatus.NOT_FOUND, {"error": "ask /livez or /readyz"})

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pulse.beat)
            nursery.start_soon(trio.serve_listeners, self.serve_one, list(listeners))

    async def serve_one(self, stream: trio.abc.Stream) -> None:
        """Answer one request on a connection, in bounded time, and close it."""
        if len(self._open) >= MOST_CONNECTIONS:
            self._open.popleft().cancel()
        with trio.move_on_after(PATIENCE) as scope:
            self._open.append(scope)
            async with stream:
                try:
                    await answer_one(stream, self.answer)
                except trio.BrokenResourceError:
                    pass  # it has hung up
                except Exception:
                    log.exception("a probe could not be answered")
        if scope in self._open:
            self._open.remove(scope)


@asynccontextmanager
async def open_health_port(
    port: int, workers: Sequence[HealthInstrument], *, host: str = "127.0.0.1"
) -> AsyncIterator[HealthPort]:
    """Listen for probes; leaving it cuts those that are being answered, at once.

    Args:
        port: TCP port; 0 takes any that is free.
        workers: one instrument for each worker.
        host: address to listen on; 0.0.0.0 for all of this machine's.

    Raises:
        SettingError: it can't be listened on.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except (OSError, OverflowError, UnicodeError) as error:  # the last of a name that no look-up can carry
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingError(
            f"health_port {port} of health_host {host} can't be listened on: {reason}; set another, or leave "
            "health_port out"
        ) from error
    for listener in listeners:  # or the next worker could not listen while a model's child lives
        close_in_children(listener.socket)
    health = HealthPort(workers)
    health.port = listeners[0].socket.getsockname()[1]
    log.info("health: http://%s:%d/livez and /readyz", host, health.port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(health.serve, listeners))
        yield health
        nursery.cancel_scope.cancel()


def _told(health: Health) -> dict[str, object]:
    return {
        "worker": health.worker,
        "condition": health.condition,
        "ready": health.ready,
        "reason": health.reason,
        "seconds": round(health.seconds, 3),
    }
