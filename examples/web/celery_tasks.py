"""Celery: celery -A celery_tasks worker --concurrency 4."""

import os

from celery import Celery

from rpcb_trio import BlockingRpcClient

QUEUE = os.environ.get("QUEUE", "shout")
URL = os.environ.get("AMQP_URL", "amqp://localhost")

app = Celery("celery_tasks", broker=URL, backend="rpc://")
client = BlockingRpcClient(URL)


@app.task
def shout(text: str) -> str:
    return client.call(text.encode(), queue=QUEUE, timeout=5).raise_for_error().body.decode()
