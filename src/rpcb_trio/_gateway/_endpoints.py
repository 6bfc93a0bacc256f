"""Endpoints of routes, of composite routes, and of `/rpc/NAME`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rpcb_trio._gateway._access import Access
from rpcb_trio._gateway._composites import Composition
from rpcb_trio._gateway._dispatcher import Dispatcher, read_aside
from rpcb_trio._gateway._forms import to_body
from rpcb_trio._gateway._middleware import refuse_foreign_page
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import Keep, plain_or, read_answer, reply_headers, to_json, written
from rpcb_trio._gateway._responses import (
    BINARY,
    asks_for_problems,
    failure,
    passed,
    success,
    travelling,
)
from rpcb_trio._gateway._routes import Route, Routes
from rpcb_trio._gateway._server_sent import (
    Frames,
    PartEvents,
    PartFrames,
    ServerSentEvents,
    as_text,
    asks_for_events,
)
from rpcb_trio._gateway._store import Store
from rpcb_trio._gateway._traced import note_route
from rpcb_trio._gateway._uploads import Buffer, HungUp, Upload
from rpcb_trio._messages import Reply

CLIENT_CLOSED_REQUEST = 499
"""For the log alone; the client has gone."""

LONGEST_NAME = 255
"""Bytes of a queue's name, as AMQP has it."""

T = TypeVar("T")

Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Request, Upload], Awaitable[Response]]


class Endpoints:
    def __init__(self, dispatcher: Dispatcher, routes: Routes, store: Store, access: Access) -> None:
        self.dispatcher = dispatcher
        self._access = access
        self._routes = routes
        self._store = store
        self._buffer = Buffer(lambda: dispatcher.options)

    def of(self, route: Route) -> Endpoint:
        if route.parts:
            return self.handled(route.path, route, partial(self._compose, route))
        if route.form:
            return self.handled(route.path, route, partial(self._ask, route))
        return self.handled(route.path, route, partial(self._pass, route))

    async def rpc(self, request: Request) -> Response:
        """`/rpc/NAME`: bytes in, bytes out."""

        async def handle(request: Request, upload: Upload) -> Response:
            return await self._pass(self.named(request.path_params["name"]), request, upload)

        return await self.handled("/rpc/{name}", None, handle)(request)

    def route_of(self, name: str) -> Route:
        """The route of a service; of a queue, where there is none of that name."""
        return self._routes.get(name) or Route(queue=name)

    def named(self, name: str) -> Route:
        """As `route_of`, for a client that may make up any name.

        Raises:
            Problem: 404, there is no such service, or it is several.
        """
        is_known = name in self._routes or self.dispatcher.options.allows_queue(name)
        return _named(name, self._guarded(self.route_of(name)) if is_known else None)

    def _guarded(self, route: Route) -> Route:
        """A queue whose routes are all for some callers is for these alone, by any name of it."""
        if route.auth is not None or route.queue is None:
            return route
        to_it = [each.auth for each in self._routes.values() if _queue_of(each) == route.queue]
        if not to_it or None in to_it:
            return route
        return msgspec.structs.replace(route, auth=tuple(name for auth in to_it for name in auth or ()))

    def handled(self, path: str, route: Route | None, handle: Handler) -> Endpoint:
        """An endpoint that reads uploads within bounds, and whose problems become responses.

        Args:
            path: that of its route.
            route: in whose envelope they are, where it has one.
            handle: answers a request.
        """

        async def endpoint(request: Request) -> Response:
            note_route(request, path)
            options = self.dispatcher.options
            with Upload(request, self._buffer, options.upload_timeout) as upload:
                try:
                    refuse_foreign_page(request, options)
                    self.dispatcher.refuse_if_full()
                    return await handle(request, upload)
                except HungUp:
                    return Response(status_code=CLIENT_CLOSED_REQUEST)
                except Problem as problem:
                    return failure(
                        None if asks_for_problems(request) else route,
                        problem,
                        request,
                        retry_after=options.retry_after,
                        is_lingering=not upload.is_complete,
                    )

        return endpoint

    def admit(self, request: Request, upload: Upload, route: Route) -> None:
        """Let a request go on to a route, with a body that can become a message; once for each.

        Raises:
            Problem: 403, the route is not for its caller; 429, the caller sends too many.
        """
        self._access.admit(request.scope, route)
        upload.largest = self.dispatcher.largest_upload(route)

    async def _ask(self, route: Route, request: Request, upload: Upload) -> Response:
        self.admit(request, upload, route)
        in_parts = asks_for_events(request, route.form)
        values = await upload.form(route.form)
        if in_parts:
            return await self._stream(route, to_body(route, values), request, route.content_type)
        if route.reply_coding == "bytes":
            return self._passed(await self._call(route, to_body(route, values), request, route.content_type))
        is_strict = asks_for_problems(request)
        ask = partial(self.dispatcher.ask, route, values, self.travelling(request), is_strict=is_strict)
        with self.dispatcher.place():
            answer, reply = await unless_hung_up(request, ask)
        return success(route, await to_json(route, answer, self._keeper(request)), reply_headers(reply))

    async def _compose(self, route: Route, request: Request, upload: Upload) -> Response:
        self.admit(request, upload, route)
        values = await upload.form(route.form)
        composition = Composition(
            self.dispatcher,
            self._routes,
            route,
            values,
            self.travelling(request),
            is_strict=asks_for_problems(request),
        )
        with self.dispatcher.place():
            answer = await unless_hung_up(request, partial(composition.run, self._keeper(request)))
        return success(route, written(answer), composition.headers())

    async def _pass(self, route: Route, request: Request, upload: Upload) -> Response:
        self.admit(request, upload, route)
        in_parts = asks_for_events(request)
        body = await upload.whole()
        content_type = plain_or(request.headers.get("content-type", BINARY), BINARY)
        if in_parts:
            return await self._stream(route, body, request, content_type)
        return self._passed(await self._call(route, body, request, content_type))

    async def _stream(self, route: Route, body: bytes, request: Request, content_type: str) -> Response:
        is_strict, keep = asks_for_problems(request), self._keeper(request)

        async def as_json(part: Reply) -> bytes:
            return await to_json(route, read_answer(route, part, is_strict=is_strict), keep)

        read = as_text if not route.form or route.reply_coding == "bytes" else as_json
        return await self.stream(route, body, request, PartFrames(read), content_type=content_type)

    async def stream(
        self, route: Route, body: bytes, request: Request, frames: Frames, *, content_type: str
    ) -> Response:
        """Send the reply's parts as they come; the request is in flight until the last one is taken.

        Raises:
            Problem: there is no part.
            HungUp: the client has closed the connection before there was one.
        """
        with ExitStack() as stack:
            stack.enter_context(self.dispatcher.place())
            headers = self.travelling(request)
            parts = self.dispatcher.stream(route, body, headers, content_type=content_type)
            stack.callback(parts.close)
            events = PartEvents(parts, frames)
            await unless_hung_up(request, events.begin)
            return ServerSentEvents(events.events(), stack.pop_all())

    async def answered(self, route: Route, reply: Reply, request: Request) -> Response:
        """The response with a reply that came earlier."""
        if route.reply_coding == "bytes":
            return self._passed(reply)
        try:
            answer = await read_aside(route, reply, is_strict=asks_for_problems(request))
            content = await to_json(route, answer, self._keeper(request))
        except Problem as problem:
            shape = None if asks_for_problems(request) else route
            return failure(shape, problem, request, retry_after=self.dispatcher.options.retry_after)
        return success(route, content, reply_headers(reply))

    def travelling(self, request: Request) -> dict[str, object]:
        """The headers that travel with a request to services."""
        return travelling(request, self.dispatcher.options.tenant)

    def _passed(self, reply: Reply) -> Response:
        return passed(reply, retry_after=self.dispatcher.options.retry_after)

    async def _call(self, route: Route, body: bytes, request: Request, content_type: str) -> Reply:
        call = partial(self.dispatcher.call, route, body, self.travelling(request), content_type=content_type)
        with self.dispatcher.place():
            return await unless_hung_up(request, call)

    def _keeper(self, request: Request) -> Keep:
        start = self.dispatcher.options.public_url or str(request.base_url)

        async def keep(content: bytes, media_type: str) -> str:
            return f"{start.rstrip('/')}/files/{await self._store.keep(content, media_type)}"

        return keep


async def unless_hung_up(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, and cancel it if the client closes the connection meanwhile.

    Raises:
        HungUp: the client has.
    """
    done: list[T] = []
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, request, tasks.cancel_scope)
        try:
            done.append(await work())
        except Exception as raised:  # noqa: BLE001 - raised again below, out of the group
            error = raised
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    if not done:
        raise HungUp
    return done[0]


async def _watch(request: Request, work: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    work.cancel()


def _queue_of(route: Route) -> str | None:
    """The queue that its requests go to, where the route itself says so."""
    return route.queue or (None if route.exchange else route.routing_key)


def _named(name: str, route: Route | None) -> Route:
    if route is None or len(name.encode()) > LONGEST_NAME:
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", f"there is no service {name[:40]}")
    if route.parts:
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", f"{name} calls several services; use {route.path}")
    return route
