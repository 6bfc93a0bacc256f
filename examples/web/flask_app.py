"""Flask: gunicorn --preload --workers 4 --threads 8 flask_app:app."""

import os

from flask import Flask, Response, request

from rpcb_trio import BlockingRpcClient, RemoteError, RpcbError

QUEUE = os.environ.get("QUEUE", "shout")
STATUS = {"request": 400, "busy": 503}

app = Flask(__name__)
client = BlockingRpcClient(os.environ.get("AMQP_URL", "amqp://localhost"))


@app.post("/shout")
def shout() -> Response:
    reply = client.call(request.get_data(), queue=QUEUE, timeout=5)
    return Response(reply.raise_for_error().body, mimetype=reply.content_type)


@app.errorhandler(RemoteError)
def error_reply(error: RemoteError) -> tuple[str, int]:
    return str(error), STATUS.get(error.kind or "", 502)


@app.errorhandler(RpcbError)
def no_reply(error: RpcbError) -> tuple[str, int]:  # none in time, no such queue, no broker
    return str(error), 503
