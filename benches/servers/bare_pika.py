"""What one writes on pika's blocking connection: one request after the other, confirmed, then acked."""

from __future__ import annotations

import pika  # type: ignore[import-untyped] # it carries no types

from benches.servers.job import DIRECT_REPLY_TO, Job, this_job


def run(job: Job) -> None:
    """Serve until the process is ended."""
    with (
        pika.BlockingConnection(pika.URLParameters(job.url)) as consuming,
        pika.BlockingConnection(pika.URLParameters(job.url)) as publishing,
    ):
        requests, replies = consuming.channel(), publishing.channel()
        replies.confirm_delivery()
        requests.basic_qos(prefetch_count=job.prefetch)
        for method, properties, body in requests.consume(job.queue):
            [result] = job.infer([body])
            replies.basic_publish(
                "",
                properties.reply_to,
                result,
                pika.BasicProperties(
                    content_type="application/octet-stream",
                    delivery_mode=1,
                    correlation_id=properties.correlation_id,
                ),
                mandatory=not properties.reply_to.startswith(DIRECT_REPLY_TO),
            )
            requests.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    run(this_job())
