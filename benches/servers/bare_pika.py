"""What one writes on pika's blocking connection: one request after the other, confirmed, then acked."""

from __future__ import annotations

import pika  # type: ignore[import-untyped] # it carries no types

from benches.meter import Job, Meter, run_metered

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."


def main(job: Job, meter: Meter) -> None:
    """Serve until the last request is answered."""
    with (
        pika.BlockingConnection(pika.URLParameters(job.url)) as consuming,
        pika.BlockingConnection(pika.URLParameters(job.url)) as publishing,
    ):
        requests, replies = consuming.channel(), publishing.channel()
        replies.confirm_delivery()
        requests.basic_qos(prefetch_count=job.prefetch)
        deliveries = requests.consume(job.queue)
        meter.ready()
        for method, properties, body in deliveries:
            replies.basic_publish(
                "",
                properties.reply_to,
                body,
                pika.BasicProperties(
                    content_type="application/octet-stream",
                    delivery_mode=1,
                    correlation_id=properties.correlation_id,
                ),
                mandatory=not properties.reply_to.startswith(DIRECT_REPLY_TO),
            )
            requests.basic_ack(method.delivery_tag)
            if meter.answered(1):
                return


if __name__ == "__main__":
    run_metered(main)
