"""The port for probes."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

import trio

from rpcb_trio._exposition import Registry, exposed
from rpcb_trio._forks import close_in_children
from rpcb_trio._instruments import Health, HealthInstrument
from rpcb_trio.errors import SettingError
from rpcb_trio.health._control import HINT, Control
from rpcb_trio.health._http import Response, answer_one, not_allowed

log = logging.getLogger("rpcb_trio")

TIMEOUT = 5.0
"""Seconds for a whole connection; a probe takes milliseconds."""

MOST_CONNECTIONS = 32
"""At once. With one more, the oldest is closed, so that idle ones can't keep probes away."""

PERIOD = 1.0
"""Seconds between two looks at how late the event loop is."""

LOOKS = 60
"""Looks that are remembered."""


class LoopLag:
    """Remembers how late the event loop was: a model that holds the GIL stops it, and its heartbeats."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=LOOKS)
        self._due = trio.current_time()

    @property
    def longest_stall(self) -> float:
        """For how many seconds the loop stood still at most, within the last `LOOKS` looks."""
        return max([*self._late, trio.current_time() - self._due, 0.0])

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self._due = trio.current_time() + PERIOD
            await trio.sleep_until(self._due)
            self._late.append(trio.current_time() - self._due)


class HealthPort:
    """Responds to probes of the workers of this process, and to scrapes of its metrics.

    Args:
        workers: one instrument for each worker.
        metrics: a registry of prometheus_client, for `/metrics`; without it there are none.
        control: what else may be asked, by who bears its token; without it nothing.
    """

    def __init__(
        self,
        workers: Sequence[HealthInstrument],
        metrics: Registry | None = None,
        control: Control | None = None,
    ) -> None:
        self._workers = workers
        self._metrics = metrics
        self._control = control
        self._scrapes = trio.CapacityLimiter(1)
        self._lag = LoopLag()
        self._open: deque[trio.CancelScope] = deque()
        self.port = 0
        """The TCP port that it listens on."""

    def answer(self, path: str) -> Response:
        """The response to a GET of `path`."""
        if path == "/livez":
            stall = round(self._lag.longest_stall, 3)
            return Response(HTTPStatus.OK, {"live": True, "longest_stall": stall})
        if path == "/readyz":
            workers = [each.health for each in self._workers]
            ready = all(each.ready for each in workers)
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return Response(status, {"ready": ready, "workers": [_facts(each) for each in workers]})
        return Response(HTTPStatus.NOT_FOUND, {"error": f"there are {self.paths}"})

    @property
    def paths(self) -> str:
        """What there is to ask."""
        return "/livez, /readyz" if self._metrics is None else "/livez, /readyz, /metrics"

    async def respond(self, path: str, accept: str) -> Response:
        """The response to a GET of `path`, with metrics in the format that `accept` asks for."""
        if path == "/reload" and self._control is not None:
            return not_allowed("POST")
        if path != "/metrics" or self._metrics is None:
            return self.answer(path)
        try:
            body, content_type = await trio.to_thread.run_sync(
                exposed, self._metrics, accept, limiter=self._scrapes, abandon_on_cancel=True
            )
        except Exception as error:
            log.exception("the metrics could not be collected")
            why = {"error": f"a collector raised {type(error).__name__}; see the log"}
            return Response(HTTPStatus.INTERNAL_SERVER_ERROR, why)
        return Response(HTTPStatus.OK, body, content_type)

    async def post(self, scope: trio.CancelScope, path: str, authorization: str) -> Response:
        """The response to a POST of `path` on the connection of that scope."""
        if path != "/reload":
            return not_allowed("GET, HEAD")
        if self._control is None:
            return Response(HTTPStatus.NOT_FOUND, {"error": HINT})
        refusal = await self._control.refusal(authorization)
        if refusal is not None:
            return refusal
        scope.deadline = math.inf  # a model may have to be loaded
        if scope in self._open:  # not where others have just taken its place
            self._open.remove(scope)
        return await self._control.reloaded()

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Respond until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lag.watch)
            nursery.start_soon(trio.serve_listeners, self.serve_one, list(listeners))

    async def serve_one(self, stream: trio.abc.Stream) -> None:
        """Respond to one request on a connection, in bounded time, and close it."""
        if len(self._open) >= MOST_CONNECTIONS:
            self._open.popleft().cancel()
        with trio.move_on_after(TIMEOUT) as scope:
            self._open.append(scope)
            async with stream:
                try:
                    await answer_one(stream, self.respond, partial(self.post, scope))
                except trio.BrokenResourceError:
                    pass  # the client has closed it
                except Exception:
                    log.exception("a probe could not be answered")
        if scope in self._open:
            self._open.remove(scope)


@asynccontextmanager
async def open_health_port(
    port: int,
    workers: Sequence[HealthInstrument],
    *,
    host: str = "127.0.0.1",
    metrics: Registry | None = None,
    control: Control | None = None,
) -> AsyncIterator[HealthPort]:
    """Listen for probes. Leaving it closes all connections at once.

    Args:
        port: TCP port; 0 takes any that is free.
        workers: one instrument for each worker.
        host: address to listen on; 0.0.0.0 for all addresses of this machine.
        metrics: a registry of prometheus_client, for `/metrics`; without it there are none.
        control: for `POST /reload`; without it there is none.

    Raises:
        SettingError: it can't listen there.
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
    health = HealthPort(workers, metrics, control)
    health.port = listeners[0].socket.getsockname()[1]
    log.info("health: http://%s:%d%s", host, health.port, health.paths)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(health.serve, listeners))
        yield health
        nursery.cancel_scope.cancel()


def _facts(health: Health) -> dict[str, object]:
    return {
        "worker": health.worker,
        "condition": health.condition,
        "ready": health.ready,
        "reason": health.reason,
        "seconds": round(health.seconds, 3),
    }
