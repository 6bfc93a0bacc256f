"""Sends one request, and cancels it if no reply comes in time: python pika_cancel.py QUEUE TEXT [SECONDS]."""

import os
import sys
import time
import uuid

import pika

DIRECT = "amq.rabbitmq.reply-to"


def call(channel, queue, body, seconds):
    correlation_id, replies = str(uuid.uuid4()), []
    channel.basic_consume(DIRECT, lambda *reply: replies.append(reply[-1]), auto_ack=True)
    named = pika.BasicProperties(reply_to=DIRECT, correlation_id=correlation_id)
    channel.basic_publish("", queue, body, named)
    give_up = time.monotonic() + seconds
    while not replies and (left := give_up - time.monotonic()) > 0:
        channel.connection.process_data_events(left)
    if not replies:  # on the same channel, so that the broker writes the same address on it
        channel.basic_publish("rpcb.cancel", queue, b"", named)
        sys.exit(f"no reply from {queue} within {seconds:g} s; the request is cancelled")
    return replies[0]


def main(queue, text, seconds="5"):
    url = pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    with pika.BlockingConnection(url) as connection:
        print(call(connection.channel(), queue, text.encode(), float(seconds)).decode())


main(*sys.argv[1:])
