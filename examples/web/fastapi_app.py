"""FastAPI, on asyncio: uvicorn fastapi_app:app."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from rpcb_trio import RemoteError, RpcbError, open_client

QUEUE = os.environ.get("QUEUE", "shout")
STATUS = {"request": 400, "busy": 503}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_client(os.environ.get("AMQP_URL", "amqp://localhost")) as client:
        app.state.client = client  # for all requests, over one connection
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/shout")
async def shout(request: Request) -> Response:
    reply = await app.state.client.call(await request.body(), queue=QUEUE, timeout=5)
    return Response(reply.raise_for_error().body, media_type=reply.content_type)


@app.exception_handler(RemoteError)
async def error_reply(_: Request, error: RemoteError) -> Response:
    return Response(str(error), STATUS.get(error.kind or "", 502))


@app.exception_handler(RpcbError)
async def no_reply(_: Request, error: RpcbError) -> Response:  # none in time, no such queue, no broker
    return Response(str(error), 503)
