"""Sends one request and prints the reply: python blocking_producer.py QUEUE TEXT [SECONDS]."""

import os
import sys

from rpcb_trio import BlockingRpcClient, RpcbError


def main(queue: str, text: str, seconds: str = "5") -> None:
    with BlockingRpcClient(os.environ.get("AMQP_URL", "amqp://localhost")) as client:
        reply = client.call(text.encode(), queue=queue, timeout=float(seconds))
    print(reply.raise_for_error().body.decode())


try:
    main(*sys.argv[1:])
except RpcbError as error:  # an error reply, none in time, no such queue, no broker
    sys.exit(f"{type(error).__name__}: {error}")
