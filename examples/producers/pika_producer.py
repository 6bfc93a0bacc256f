"""Sends one request and prints the reply: python pika_producer.py QUEUE TEXT [SECONDS]."""

import os
import sys
import time
import uuid

import pika

DIRECT = "amq.rabbitmq.reply-to"  # the broker hands replies to this channel; no queue is declared


def call(channel, queue, body, seconds):
    correlation_id, replies = str(uuid.uuid4()), []

    def take(_channel, _method, properties, reply):
        if properties.correlation_id == correlation_id:  # else it is a late one of an earlier request
            replies.append((properties, reply))

    channel.confirm_delivery()  # so that a request which reaches no queue raises
    channel.basic_consume(DIRECT, take, auto_ack=True)
    request = pika.BasicProperties(
        reply_to=DIRECT, correlation_id=correlation_id, expiration=str(round(1000 * seconds))
    )
    channel.basic_publish("", queue, body, request, mandatory=True)
    give_up = time.monotonic() + seconds
    while not replies and (left := give_up - time.monotonic()) > 0:
        channel.connection.process_data_events(left)
    return replies[0] if replies else sys.exit(f"no reply from {queue} within {seconds:g} s")


def main(queue, text, seconds="5"):
    url = pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    with pika.BlockingConnection(url) as connection:
        properties, body = call(connection.channel(), queue, text.encode(), float(seconds))
    error = (properties.headers or {}).get("rpcb-error")
    if error:
        sys.exit(f"the service failed ({error}): {body.decode()}")
    print(body.decode())


try:
    main(*sys.argv[1:])
except pika.exceptions.UnroutableError:
    sys.exit(f"there is no queue {sys.argv[1]}")
except pika.exceptions.AMQPError as error:
    sys.exit(f"{type(error).__name__}: {error}")
