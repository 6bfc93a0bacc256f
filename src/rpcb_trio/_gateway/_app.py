"""The ASGI app."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Path
from starlette.types import Lifespan

from rpcb_trio._client import RpcClient, open_client
from rpcb_trio._events import EventWatch
from rpcb_trio._gateway._answers import BoundedAnswers
from rpcb_trio._gateway._arrivals import Arrivals
from rpcb_trio._gateway._docs import docs_routes
from rpcb_trio._gateway._endpoints import Endpoints
from rpcb_trio._gateway._faults import Faults, Guard
from rpcb_trio._gateway._front import REQUEST_ID_HEADER, Front
from rpcb_trio._gateway._last_words import LastWords
from rpcb_trio._gateway._live import Live
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._own_paths import own_paths
from rpcb_trio._gateway._page import page_routes
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._request_ids import LONGEST_PATH, RequestIds, request_id_of
from rpcb_trio._gateway._responses import failure
from rpcb_trio._gateway._routes import Route
from rpcb_trio._gateway._store import Store
from rpcb_trio._gateway._tables import check_routes
from rpcb_trio._messages import ERROR_HEADER, KIND_HEADER, REASON_HEADER

log = logging.getLogger("rpcb_trio.http")

EXPOSED = (
    REQUEST_ID_HEADER,
    "retry-after",
    ERROR_HEADER,
    KIND_HEADER,
    REASON_HEADER,
    "rpcb-batch",
    "rpcb-batch-size",
    "rpcb-wait",
)
"""Headers that pages of other origins may read."""


def make_app(
    broker: RpcClient | str,
    routes: Mapping[str, Route] | None = None,
    options: GatewayOptions = GatewayOptions(),  # noqa: B008 - it is frozen
    *,
    more: Sequence[BaseRoute] = (),
    events: EventWatch | None = None,
) -> Starlette:
    """The gateway as an ASGI app: to be served by hypercorn's trio worker, or mounted in an app of yours.

    What mounts it must run its lifespan too (`app.router.lifespan_context(app)`).

    Args:
        broker: an AMQP URL, to which it then connects within its lifespan; or a client of yours.
        routes: by name (see `read_routes`).
        options: what holds for all of them.
        more: further routes, of Starlette; they come before the gateway's own.
        events: of `watch_events`, for the page's live view; the app is who iterates over it.

    Raises:
        SettingError: the routes don't make sense.
    """
    checked = check_routes(routes or {})
    has_files = options.files is not None or any(each.urls for each in checked.values())
    front, store = Front(options), Store(options, is_needed=has_files)
    live = Live(front, events)
    endpoints = Endpoints(front, checked, store)
    app = Starlette(
        routes=[
            *more,
            *own_paths(front, store),
            *docs_routes(checked, options),
            *page_routes(checked, options, is_live=events is not None),
            Path("/events", live.endpoint),
            Path("/rpc/{name:path}", endpoints.rpc, methods=["POST"]),
            *(
                Path(path, endpoints.of(each), methods=[each.method])
                for each in checked.values()
                for path in _spellings(each.path)
            ),
        ],
        middleware=_middleware(front),
        exception_handlers={HTTPException: _refused},
        lifespan=_lifespan(front, store, live, broker),
    )
    app.router.redirect_slashes = False  # it would send clients to where we are not: behind a proxy
    app.state.front, app.state.live = front, live
    return app


def _spellings(path: str) -> tuple[str, ...]:
    """A route answers with a slash at its end too, as rabbit-rpc-client does."""
    return (path,) if path.endswith("/") else (path, f"{path}/")


def _lifespan(front: Front, store: Store, live: Live, broker: RpcClient | str) -> Lifespan[Starlette]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(store.opened())
            if isinstance(broker, str):
                front.client = await stack.enter_async_context(open_client(broker))
            else:
                front.client = broker
            await stack.enter_async_context(live.running())
            yield

    return lifespan


def _middleware(front: Front) -> list[Middleware]:
    options = front.options
    outer = [
        Middleware(LastWords),
        Middleware(RequestIds),
        Middleware(Guard, faults=Faults(log)),
        Middleware(BoundedAnswers, unsent=front.unsent, retry_after=options.retry_after),
        Middleware(Arrivals, options=options),
    ]
    if not options.cors:
        return outer
    everything = options.cors_credentials
    return [
        *outer,
        Middleware(
            CORSMiddleware,
            # With credentials browsers take no `*`; each origin is told that it may.
            allow_origins=() if everything and "*" in options.cors else options.cors,
            allow_origin_regex=".*" if everything and "*" in options.cors else None,
            allow_credentials=everything,
            allow_methods=["GET", "POST", "PUT", *(["DELETE"] if everything else [])],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        ),
    ]


async def _refused(request: Request, error: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    code = "method" if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else "not-found"
    path = str(request.scope["path"])[:LONGEST_PATH]
    why = f"{path} takes no {request.method[:20]}" if code == "method" else f"there is no {path}; see /docs"
    problem = Problem(error.status_code, code, why)
    response = failure(None, problem, request_id=request_id_of(request), retry_after=0, lingering=True)
    response.headers.update(error.headers or {})
    return response
