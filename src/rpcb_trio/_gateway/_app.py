"""The ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as HttpRoute
from starlette.types import Lifespan

from rpcb_trio._client import RpcClient, open_client
from rpcb_trio._events import EventWatch
from rpcb_trio._gateway._access import Access, Authenticated
from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._endpoints import Endpoints
from rpcb_trio._gateway._faces._paths import Shaped, face_paths
from rpcb_trio._gateway._job_endpoints import JobEndpoints
from rpcb_trio._gateway._jobs import Jobs
from rpcb_trio._gateway._live import Live
from rpcb_trio._gateway._middleware import (
    LONGEST_PATH,
    ExposedHeaders,
    FaultBarrier,
    Faults,
    RequestIds,
    ShieldedEnd,
    TrustedHosts,
)
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._own_paths import docs_paths, own_paths
from rpcb_trio._gateway._page import page_paths
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import failure
from rpcb_trio._gateway._routes import Route, Routes
from rpcb_trio._gateway._store import Store
from rpcb_trio._gateway._tables import check_routes
from rpcb_trio._gateway._traced import Traced
from rpcb_trio._gateway._typed_bodies import typed_bodies
from rpcb_trio._gateway._unsent import BoundedResponses, Unsent

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def make_app(
    broker: RpcClient | str,
    routes: Mapping[str, Route] | None = None,
    options: GatewayOptions = GatewayOptions(),  # noqa: B008 - it is frozen
    *,
    more: Sequence[BaseRoute] = (),
    events: EventWatch | None = None,
    metrics: CollectorRegistry | None = None,
    typed: Mapping[str, Any] | None = None,
) -> Starlette:
    """The gateway as an ASGI app, for `serve_app`, hypercorn's trio worker, or another app that mounts it.

    An app that mounts it must run its lifespan too (`app.router.lifespan_context(app)`).

    Args:
        broker: an AMQP URL, to which the app connects within its lifespan; or an open client.
        routes: by name (see `read_routes`).
        options: what holds for all of them.
        more: further routes, of Starlette; they come before the gateway's own.
        events: of `watch_events`, for the page's live view; nothing else may iterate over it.
        metrics: a registry of prometheus_client, to count requests for and to show at `/metrics`; without it
            there are none.
        typed: services by the names of their queues, so that `/docs`, and the metadata of `open-inference`,
            say what those take and return that are typed. They are not run here.

    Raises:
        SettingError: the routes don't make sense.
    """
    checked = check_routes(routes or {})
    has_files = options.files is not None or any(each.urls for each in checked.values())
    dispatcher, unsent = Dispatcher(options), Unsent(options.max_unsent)
    store = Store(options, is_needed=has_files)
    live = Live(dispatcher, events)
    access = Access(lambda: dispatcher.options)
    access.check_routes(checked)
    endpoints = Endpoints(dispatcher, checked, store, access)
    jobs = None if options.jobs is None else JobEndpoints(endpoints, dispatcher, options.jobs, options)
    running = [live.running, *([] if jobs is None else [jobs.jobs.running])]
    meter = _Meter(metrics, checked, options, None if jobs is None else jobs.jobs)
    app = Starlette(
        routes=[
            *more,
            *own_paths(dispatcher, unsent, store),
            *docs_paths(checked, options, typed_bodies(typed or {})),
            *page_paths(checked, options, is_live=events is not None),
            *meter.paths,
            HttpRoute("/events", live.endpoint),
            *([] if jobs is None else jobs.paths),
            HttpRoute("/rpc/{name:path}", endpoints.rpc, methods=["POST"]),
            *face_paths(endpoints, checked, typed or {}),
            *(
                HttpRoute(path, endpoints.of(each), methods=[each.method])
                for each in checked.values()
                if each.preset is None
                for path in _spellings(each.path)
            ),
        ],
        middleware=_middleware(options, checked, unsent, meter, access),
        exception_handlers={HTTPException: _not_found},
        lifespan=_lifespan(dispatcher, store, meter, broker, running),
    )
    app.router.redirect_slashes = False  # behind a proxy it would send clients to an address that is not ours
    app.state.dispatcher, app.state.unsent, app.state.live = dispatcher, unsent, live
    return app


def _spellings(path: str) -> tuple[str, ...]:
    """A route answers with a slash at its end, too, for nobody is redirected."""
    return (path,) if path.endswith("/") else (path, f"{path}/")


class _Meter:
    """What the app has for metrics: nothing where there are to be none, so that the extra is not needed."""

    def __init__(
        self, registry: CollectorRegistry | None, routes: Routes, options: GatewayOptions, jobs: Jobs | None
    ) -> None:
        self.paths: list[BaseRoute] = []
        self.middleware: list[Middleware] = []
        self.counting: list[Callable[[], AbstractContextManager[None]]] = []
        if registry is not None:
            from rpcb_trio._gateway._metered import Labels, Metered, metrics_path  # noqa: PLC0415 - an extra
            from rpcb_trio._metrics import GatewayCounts, JobCounts  # noqa: PLC0415 - likewise

            counts = GatewayCounts(registry)
            self.counting.append(counts.counting)
            self.paths.append(metrics_path(registry))
            self.middleware.append(Middleware(Metered, counts=counts, labels=Labels(routes, options)))
            if jobs is not None:
                store = jobs.store
                job_counts = JobCounts(registry, lambda: store.open_jobs, lambda: store.size)
                jobs.count = lambda reply: job_counts.ended(has_failed=reply.error is not None)
                self.counting.append(job_counts.counting)


def _lifespan(
    dispatcher: Dispatcher,
    store: Store,
    meter: _Meter,
    broker: RpcClient | str,
    running: Sequence[Callable[[], AbstractAsyncContextManager[None]]],
) -> Lifespan[Starlette]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for count in meter.counting:
                stack.enter_context(count())
            await stack.enter_async_context(store.opened())
            if isinstance(broker, str):
                dispatcher.client = await stack.enter_async_context(
                    open_client(broker, cancel=dispatcher.options.cancel)
                )
            else:
                dispatcher.client = broker
            for run in running:
                await stack.enter_async_context(run())
            yield

    return lifespan


def _middleware(
    options: GatewayOptions, routes: Routes, unsent: Unsent, meter: _Meter, access: Access
) -> list[Middleware]:
    outer = [
        Middleware(ShieldedEnd),
        *meter.middleware,
        Middleware(Traced),
        Middleware(RequestIds),
        *([Middleware(Shaped, routes=routes)] if any(each.preset for each in routes.values()) else []),
        Middleware(FaultBarrier, faults=Faults()),
        Middleware(BoundedResponses, unsent=unsent, retry_after=options.retry_after),
        Middleware(TrustedHosts, options=options),
    ]
    inner = [Middleware(Authenticated, access=access)]  # browsers ask whether they may call without any key
    if not options.cors:
        return [*outer, *inner]
    everything = options.cors_credentials
    return [
        *outer,
        Middleware(
            CORSMiddleware,
            # With credentials browsers accept no `*`: each origin gets its own name.
            allow_origins=() if everything and "*" in options.cors else options.cors,
            allow_origin_regex=".*" if everything and "*" in options.cors else None,
            allow_credentials=everything,
            allow_methods=["GET", "POST", "PUT", *(["DELETE"] if everything or options.jobs else [])],
            allow_headers=["*"],
        ),
        Middleware(ExposedHeaders),
        *inner,
    ]


async def _not_found(request: Request, error: Exception) -> Response:
    """404 or 405."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    code = "method" if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else "not-found"
    path = str(request.scope["path"])[:LONGEST_PATH]
    why = f"{path} takes no {request.method[:20]}" if code == "method" else f"there is no {path}; see /docs"
    problem = Problem(error.status_code, code, why)
    response = failure(None, problem, request, is_lingering=True)
    response.headers.update(error.headers or {})
    return response
