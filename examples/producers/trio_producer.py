"""Sends one request and prints the reply: python trio_producer.py QUEUE TEXT [SECONDS]."""

import os
import sys
from functools import partial

import trio

from rpcb_trio import RpcbError, open_client


async def main(queue: str, text: str, seconds: str = "5") -> None:
    async with open_client(os.environ.get("AMQP_URL", "amqp://localhost")) as client:
        reply = await client.call(text.encode(), queue=queue, timeout=float(seconds))
    print(reply.raise_for_error().body.decode())


try:
    trio.run(partial(main, *sys.argv[1:]))
except RpcbError as error:  # an error reply, none in time, no such queue, no broker
    sys.exit(f"{type(error).__name__}: {error}")
