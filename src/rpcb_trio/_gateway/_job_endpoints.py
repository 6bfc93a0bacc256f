"""`/jobs`: the endpoints of jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as HttpRoute

from rpcb_trio._gateway._dispatcher import Dispatcher, read_aside
from rpcb_trio._gateway._endpoints import Endpoint, Endpoints
from rpcb_trio._gateway._forms import JSON, to_body
from rpcb_trio._gateway._job_store import Job, JobStore, Kept
from rpcb_trio._gateway._jobs import Jobs
from rpcb_trio._gateway._middleware import refuse_foreign_page
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem, busy, status_of_error
from rpcb_trio._gateway._replies import UNREADABLE, plain_or, written
from rpcb_trio._gateway._responses import BINARY, failure, request_id_of
from rpcb_trio._gateway._routes import Route
from rpcb_trio._gateway._server_sent import ServerSentEvents, event_of
from rpcb_trio._gateway._traced import note_route
from rpcb_trio._gateway._uploads import Upload
from rpcb_trio._gateway._webhooks import Webhooks
from rpcb_trio._messages import Reply

CALLBACK_HEADER = "rpcb-callback-url"

INLINE = 2**20
"""Bytes of the largest answer that stands in the status of its job, too."""

QUEUED, DONE, FAILED = "queued", "done", "failed"

STILL = b": not done yet\n\n"
"""A comment, by which a stream that has nothing to say stays open on its way through proxies."""

NO_STORE = {"cache-control": "no-store"}


class JobEndpoints:
    """All under `/jobs`.

    Args:
        endpoints: of the routes, whose jobs these are.
        dispatcher: has the options, and what is in flight.
        where: keeps the jobs.
        options: of the gateway.
    """

    def __init__(
        self, endpoints: Endpoints, dispatcher: Dispatcher, where: str, options: GatewayOptions
    ) -> None:
        store = JobStore(where, lambda: dispatcher.options)
        self._endpoints = endpoints
        self._dispatcher = dispatcher
        self._webhooks = Webhooks(store, options, self._outcome)
        self._store = store
        self.jobs = Jobs(dispatcher, store, self._webhooks)
        self._watched = 0

    @property
    def paths(self) -> list[BaseRoute]:
        """`/jobs/ID` and what is below it; `POST /jobs/NAME`."""
        submit = self._endpoints.handled("/jobs/{name}", None, self._submit)
        return [
            HttpRoute("/jobs/{name:path}", submit, methods=["POST"]),
            HttpRoute("/jobs/{id}", self._kept(self._show), methods=["GET"]),
            HttpRoute("/jobs/{id}", self._kept(self._delete), methods=["DELETE"]),
            HttpRoute("/jobs/{id}/result", self._kept(self._result), methods=["GET"]),
            HttpRoute("/jobs/{id}/events", self._kept(self._events), methods=["GET"]),
        ]

    def _kept(self, show: Callable[[Request, str], Awaitable[Response]]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            note_route(request, "/jobs/{id}")
            try:
                return await show(request, request.path_params["id"])
            except Problem as problem:
                return failure(None, problem, request, retry_after=self._dispatcher.options.retry_after)

        return endpoint

    async def _submit(self, request: Request, upload: Upload) -> Response:
        name = request.path_params["name"]
        route = _as_written(self._endpoints.named(name))
        self._endpoints.admit(request, upload, route)
        callback = request.headers.get(CALLBACK_HEADER)
        if callback is not None:
            self._webhooks.check(callback)
        self._store.check_room()  # before the upload; and again after it
        if route.form:
            body, content_type = to_body(route, await upload.form(route.form)), route.content_type
        else:
            body = await upload.whole()
            content_type = plain_or(request.headers.get("content-type", BINARY), BINARY)
        job = self._store.new_id()
        start = self._dispatcher.options.public_url or str(request.base_url)
        url = f"{start.rstrip('/')}/jobs/{job}"
        facts = Job(name=name, request_id=request_id_of(request), url=url, callback=callback)
        with self._dispatcher.place():
            headers = self._endpoints.travelling(request)
            await self.jobs.submit(job, facts, route, body, headers=headers, content_type=content_type)
        return _json(self._head(job, facts), HTTPStatus.ACCEPTED, location=url)

    async def _show(self, _: Request, job: str) -> Response:
        facts = await self._store.facts(job)
        return _json(await self._view(job, facts))

    async def _delete(self, request: Request, job: str) -> Response:
        refuse_foreign_page(request, self._dispatcher.options)
        facts = await self._store.facts(job)
        await self._store.drop(job)
        self.jobs.cancel(job, self._endpoints.route_of(facts.name))
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=NO_STORE)

    async def _result(self, request: Request, job: str) -> Response:
        """As the route itself would have answered."""
        facts = await self._store.facts(job)
        kept = await self._store.kept(job)
        if kept is None:
            raise Problem(HTTPStatus.CONFLICT, "job-not-done", "the job is not done yet")
        return await self._endpoints.answered(
            _as_written(self._endpoints.route_of(facts.name)), kept.reply, request
        )

    async def _events(self, _: Request, job: str) -> Response:
        """Server-sent events: `queued`, then `done`, `failed` or `gone`, which ends the stream."""
        facts = await self._store.facts(job)
        options = self._dispatcher.options
        if self._dispatcher.is_draining:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "draining", "the gateway drains")
        if self._watched >= options.max_streams:
            raise busy(f"{self._watched} clients watch jobs already (max_streams)")
        self._watched += 1
        held = ExitStack()
        held.callback(self._end_stream)
        return ServerSentEvents(self._frames(job, facts), held)

    def _end_stream(self) -> None:
        self._watched -= 1

    async def _frames(self, job: str, facts: Job) -> AsyncGenerator[bytes]:
        yield _frame("queued", self._head(job, facts))
        async with aclosing(self.jobs.changes(job)) as changes:
            async for is_done in changes:
                try:
                    await self._store.facts(job)
                    view = await self._view(job, facts) if is_done else None
                except Problem:
                    yield _frame("gone", {"id": job})
                    return
                yield STILL if view is None else _frame(view["status"], view)

    async def _view(self, job: str, facts: Job) -> dict[str, Any]:
        """What a client is told of its job."""
        head, kept = self._head(job, facts), await self._store.kept(job)
        if kept is None:
            return head
        route = _as_written(self._endpoints.route_of(facts.name))
        ended = {"finished": _at(kept.finished), "result_url": f"{facts.url}/result"}
        try:
            content = await _as_json(route, kept)
        except Problem as problem:
            why = msgspec.Raw(problem.as_json(request_id=facts.request_id))
            return {**head, **ended, "status": FAILED, "problem": why}
        if content is None or len(content) > INLINE:
            return {**head, **ended, "status": DONE}
        return {**head, **ended, "status": DONE, "result": msgspec.Raw(content)}

    async def _outcome(self, job: str) -> str:
        """How a job has ended, for webhooks."""
        facts = await self._store.facts(job)
        status: str = (await self._view(job, facts))["status"]
        return status

    def _head(self, job: str, facts: Job) -> dict[str, Any]:
        return {
            "id": job,
            "name": facts.name,
            "status": QUEUED,
            "created": _at(self._store.made(job)),
            "expires": _at(self._store.expires(job)),
            "url": facts.url,
            "events_url": f"{facts.url}/events",
        }


async def _as_json(route: Route, kept: Kept) -> bytes | None:
    """The answer in a job's reply, as JSON; None where it is no JSON, or has files.

    Raises:
        Problem: it is an error reply, or can't be decoded.
    """
    reply = kept.reply
    if route.reply_coding != "bytes":
        answer = await read_aside(route, reply, is_strict=True)
        return None if route.urls else written(answer)
    own = _own_json(reply)
    if reply.error is None:
        return own
    why = reply.error_reason or f"the service answered with an error ({reply.error})"
    whole = None if own is None else msgspec.json.decode(own)
    raise Problem(status_of_error(reply), reply.error, why, reply=whole)


def _own_json(reply: Reply) -> bytes | None:
    """The reply itself, where it is JSON."""
    media_type = (reply.content_type or "").partition(";")[0].strip().lower()
    if media_type != JSON or len(reply.body) > INLINE:
        return None
    try:
        msgspec.json.decode(reply.body)
    except UNREADABLE:
        return None
    return reply.body


def _as_written(route: Route) -> Route:
    """The route; one with a preset takes and gives what its service does, as `/rpc/NAME` has it."""
    return msgspec.structs.replace(route, preset=None) if route.preset is not None else route


def _at(moment: float) -> str:
    return datetime.fromtimestamp(round(moment), UTC).isoformat()


def _json(facts: object, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> Response:
    return Response(msgspec.json.encode(facts), status, {**NO_STORE, **headers}, JSON)


def _frame(event: str, facts: object) -> bytes:
    return event_of(msgspec.json.encode(facts), name=event)
