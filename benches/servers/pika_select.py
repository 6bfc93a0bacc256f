"""What one writes on pika's event loop: each reply is sent at once, nothing is confirmed."""

from __future__ import annotations

import pika  # type: ignore[import-untyped] # it carries no types
from pika.adapters.select_connection import SelectConnection  # type: ignore[import-untyped] # as above
from pika.channel import Channel  # type: ignore[import-untyped] # as above
from pika.spec import Basic, BasicProperties  # type: ignore[import-untyped] # as above

from benches.servers.job import Job, this_job


def run(job: Job) -> None:
    """Serve until the process is ended."""

    def consume(channel: Channel) -> None:
        channel.basic_qos(prefetch_count=job.prefetch)
        channel.basic_consume(job.queue, answer)

    def answer(channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        [result] = job.infer([body])
        reply = pika.BasicProperties(
            content_type="application/octet-stream",
            delivery_mode=1,
            correlation_id=properties.correlation_id,
        )
        channel.basic_publish("", properties.reply_to, result, reply)
        channel.basic_ack(method.delivery_tag)

    def open_channel(connection: SelectConnection) -> None:
        connection.channel(on_open_callback=consume)

    SelectConnection(pika.URLParameters(job.url), on_open_callback=open_channel).ioloop.start()


if __name__ == "__main__":
    run(this_job())
