"""The command `gateway`."""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING, Annotated

import msgspec
import trio
from cyclopts import Parameter

from rpcb_trio._client import open_client
from rpcb_trio._commands._apart import set_all_apart
from rpcb_trio._commands._control import open_control_socket
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._logs import write_logs
from rpcb_trio._commands._metrics import counting
from rpcb_trio._commands._reloading import Reloading
from rpcb_trio._commands._settings._anchored import anchored
from rpcb_trio._commands._settings._broker import shown_url, transport
from rpcb_trio._commands._settings._gateway import GatewaySettings, is_loopback
from rpcb_trio._commands._settings._shared import ConfigPath, LogSettings
from rpcb_trio._commands._settings._sources import Sources, warn_of_unknown_variables
from rpcb_trio._commands._signals import Signals
from rpcb_trio._commands.gateway._embedded import Services, load_services, rerouted, serving_here
from rpcb_trio._commands.gateway._reload import GatewayReload
from rpcb_trio._commands.gateway._route_tables import route_tables
from rpcb_trio._events import EventWatch, watch_events
from rpcb_trio._gateway import GatewayOptions, Routes, read_routes
from rpcb_trio._transports import MemoryBroker, NoticeTransport
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from rpcb_trio.amqp import AmqpTransport

log = logging.getLogger("rpcb_trio")

OPEN = (
    "gateway: it listens on %s and knows no callers, so whoever reaches it may call everything; set "
    "api_key_file or jwt_keys, or set host to 127.0.0.1 behind a proxy that knows them"
)


def gateway(
    *,
    config: ConfigPath = None,  # noqa: ARG001 - `Sources` has read it
    settings: GatewaySettings = GatewaySettings(),
    logs: LogSettings = LogSettings(),
    sources: Annotated[Sources, Parameter(parse=False)],
) -> int:
    """Serve HTTP in front of services: the [routes.NAME] of the file, and POST /rpc/NAME.

    The first SIGTERM or SIGINT drains, the second one stops at once. SIGHUP reads the settings again.
    """
    settings = anchored(settings)
    write_logs(logs)
    warn_of_unknown_variables()
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # the client gets the error
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it shows callbacks, which may hold a secret
    _check_extra()
    routes = read_routes(route_tables(sources.file.routes, settings))
    if not routes and not settings.rpc and not settings.serve:
        raise SettingError(
            "there is nothing to answer: write [routes.NAME] into rpcb.toml, name a queue with --rpc, or a "
            "service with --serve"
        )
    allow_all_files()
    with counting(settings.metrics) as registry:
        services = load_services(settings.serve)
        if services:
            routes = rerouted(routes, services)
            if settings.jobs is not None:
                log.warning(
                    "jobs: the broker in this process forgets open jobs when it ends; RabbitMQ does not"
                )
        options = msgspec.structs.replace(settings.options, rpc=(*settings.rpc, *services))
        tls = settings.tls
        with _bound(settings) as listener:
            signals = Signals()
            signals.keep()
            set_all_apart()
            drain = trio.Event()
            reload = GatewayReload(sources, drain)
            run = partial(_run, settings, options, routes, services, registry, listener, drain, reload, tls)
            return trio.run(_reloading, run, signals, drain, reload)


async def _reloading(
    run: Callable[[], Awaitable[int]], signals: Signals, drain: trio.Event, reload: GatewayReload
) -> int:
    """Run it, and reload when asked to."""
    reloading = Reloading(reload, reload)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading.run)
        async with open_control_socket(reloading):
            code = await signals.drain_and_stop(run, drain.set, reload=reloading.ask)
        nursery.cancel_scope.cancel()
    return code


async def _run(  # noqa: PLR0917 - all that is served
    settings: GatewaySettings,
    options: GatewayOptions,
    routes: Routes,
    services: Services,
    registry: CollectorRegistry | None,
    listener: socket.socket,
    drain: trio.Event,
    reload: GatewayReload,
    tls: SSLContext | None,
) -> int:
    from rpcb_trio.gateway import make_app, serve_app  # noqa: PLC0415 - an extra

    async with (
        _broker(settings, services, registry) as (broker, exchange),
        open_client(
            broker,
            max_message_size=settings.max_message_size,
            claims=settings.claims,
            cancel=options.cancel,
        ) as client,
        _events(broker, exchange) as events,
    ):
        app = make_app(client, routes, options, events=events, metrics=registry, typed=services)
        reload.begin(app.state.dispatcher, tls)
        listener.listen()
        log.info(_line(settings, routes, services, listener))
        if not (options.has_callers or is_loopback(settings.host)):
            log.warning(OPEN, settings.host)
        cut = await serve_app(app, listener, drain=drain, drain_timeout=settings.drain_timeout, tls=tls)
    if cut:
        log.error("drain_timeout of %g s ran out with %d request(s) in flight", settings.drain_timeout, cut)
    return ExitCode.DRAIN_TIMEOUT if cut else ExitCode.DONE


@asynccontextmanager
async def _broker(
    settings: GatewaySettings, services: Services, registry: CollectorRegistry | None
) -> AsyncIterator[tuple[AmqpTransport | MemoryBroker, str | None]]:
    """The way to the broker, and the exchange of its events."""
    if not services:
        yield transport(settings, name="gateway"), settings.events
        return
    events = settings.events or "events"
    async with serving_here(services, events, registry, cancel=settings.cancel) as broker:
        yield broker, events


def _events(broker: NoticeTransport, exchange: str | None) -> AbstractAsyncContextManager[EventWatch | None]:
    return nullcontext() if exchange is None else watch_events(broker, exchange)


def allow_all_files() -> None:
    """Take all the open files that the system grants: each connection is one, those of slow clients too."""
    _, granted = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS grants more than it gives
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, granted))


def _check_extra() -> None:
    try:
        import rpcb_trio.gateway  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise SettingError(str(error)) from error


def _bound(settings: GatewaySettings) -> socket.socket:
    """A socket at the gateway's address; the server listens on it once the broker is there."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingError(
            f"port {settings.port} of host {settings.host} can't be listened on: {error.strerror}; "
            "set another"
        ) from error
    return listener


def _line(settings: GatewaySettings, routes: Routes, services: Services, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    paths = ", ".join(each.path for each in routes.values()) or "/rpc/NAME"
    behind = f"{', '.join(services)} in this process" if services else shown_url(settings)
    scheme = "http" if settings.certfile is None else "https"
    return (
        f"gateway: {scheme}://{f'[{host}]' if ':' in host else host}:{port}, in front of "
        f"{behind}: {paths}; all of them at /docs"
    )
