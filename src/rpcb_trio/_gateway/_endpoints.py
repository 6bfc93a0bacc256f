"""What answers a request: a route, a composite route, or `/rpc/NAME`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response

from rpcb_trio._gateway._bodies import to_body
from rpcb_trio._gateway._front import Front, content_type_of
from rpcb_trio._gateway._origins import refuse_foreign_page
from rpcb_trio._gateway._parts import Composition
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import Keep, to_json, written
from rpcb_trio._gateway._reply_headers import plain_or, reply_headers
from rpcb_trio._gateway._request_ids import request_id_of
from rpcb_trio._gateway._responses import BINARY, asks_for_problems, failure, passed, success
from rpcb_trio._gateway._routes import Route, Routes
from rpcb_trio._gateway._store import Store
from rpcb_trio._gateway._uploads import Buffer, HungUp, Upload
from rpcb_trio._messages import Reply

CLIENT_CLOSED_REQUEST = 499
"""What logs call it; nobody is there to read it."""

LONGEST_NAME = 255
"""Bytes of a queue's name, as AMQP has it."""

T = TypeVar("T")

Endpoint = Callable[[Request], Awaitable[Response]]
Answering = Callable[[Request, Upload], Awaitable[Response]]


class Endpoints:
    """Makes them for one gateway."""

    def __init__(self, front: Front, routes: Routes, store: Store) -> None:
        self._front = front
        self._routes = routes
        self._store = store
        self._buffer = Buffer(front.options)

    def of(self, route: Route) -> Endpoint:
        """The endpoint of a route."""
        if route.parts:
            return self._kindly(route, lambda request, upload: self._compose(route, request, upload))
        if route.form:
            return self._kindly(route, lambda request, upload: self._ask(route, request, upload))
        return self._kindly(route, lambda request, upload: self._pass(route, request, upload))

    async def rpc(self, request: Request) -> Response:
        """`/rpc/NAME`: bytes in, bytes out."""
        name = request.path_params["name"]
        route = self._routes.get(name)
        if route is None and self._front.options.allows_queue(name):
            route = Route(queue=name)

        async def answer(request: Request, upload: Upload) -> Response:
            return await self._pass(_named(name, route), request, upload)

        return await self._kindly(None, answer)(request)

    def _kindly(self, route: Route | None, answer: Answering) -> Endpoint:
        """An endpoint whose problems are told in the route's shape."""

        async def endpoint(request: Request) -> Response:
            with Upload(request, self._buffer, self._front.options.upload_timeout) as upload:
                try:
                    refuse_foreign_page(request, self._front.options)
                    self._front.refuse_if_full()
                    return await answer(request, upload)
                except HungUp:
                    return Response(status_code=CLIENT_CLOSED_REQUEST)
                except Problem as problem:
                    return failure(
                        None if asks_for_problems(request) else route,
                        problem,
                        request_id=request_id_of(request),
                        retry_after=self._front.options.retry_after,
                        lingering=not upload.is_complete,
                    )

        return endpoint

    async def _ask(self, route: Route, request: Request, upload: Upload) -> Response:
        values = await upload.form(route.form)
        if route.reply_coding == "bytes":
            content_type = content_type_of(route)
            return self._passed(await self._call(route, to_body(route, values), request, content_type))
        with self._front.place():
            answer, reply = await unless_hung_up(
                request,
                lambda: self._front.ask(
                    route, values, request_id_of(request), is_strict=asks_for_problems(request)
                ),
            )
        return success(route, await to_json(route, answer, self._keeper(request)), reply_headers(reply))

    async def _compose(self, route: Route, request: Request, upload: Upload) -> Response:
        values = await upload.form(route.form)
        with self._front.place():
            composition = Composition(
                self._front,
                self._routes,
                route,
                values,
                request_id_of(request),
                is_strict=asks_for_problems(request),
            )
            answer = await unless_hung_up(request, lambda: composition.run(self._keeper(request)))
        return success(route, written(answer), {})

    async def _pass(self, route: Route, request: Request, upload: Upload) -> Response:
        body = await upload.whole()
        content_type = request.headers.get("content-type", BINARY)
        return self._passed(await self._call(route, body, request, plain_or(content_type, BINARY)))

    def _passed(self, reply: Reply) -> Response:
        return passed(reply, retry_after=self._front.options.retry_after)

    async def _call(self, route: Route, body: bytes, request: Request, content_type: str) -> Reply:
        with self._front.place():
            return await unless_hung_up(
                request,
                lambda: self._front.call(route, body, request_id_of(request), content_type=content_type),
            )

    def _keeper(self, request: Request) -> Keep:
        start = self._front.options.public_url or str(request.base_url)

        async def keep(content: bytes, media_type: str) -> str:
            return f"{start.rstrip('/')}/files/{await self._store.keep(content, media_type)}"

        return keep


async def unless_hung_up(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, but not for a client that has hung up.

    Raises:
        HungUp: it has; the work is cancelled.
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


def _named(name: str, route: Route | None) -> Route:
    if route is None or len(name.encode()) > LONGEST_NAME:
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", f"there is no service {name[:40]}")
    if route.parts:
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", f"{name} calls several services; use {route.path}")
    return route
