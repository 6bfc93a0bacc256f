"""What one writes on aiormq and plain asyncio for the same batches: no drain, no reconnecting.

It is tuned as the worker's transport is, and gives the same promises otherwise: two connections, `mandatory`
for named reply queues, a confirm awaited for each reply, and only then the acks, in one frame.
"""

from __future__ import annotations

import asyncio

import aiormq
from aiormq.abc import AbstractConnection, DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from benches.servers.job import DIRECT_REPLY_TO, Job, this_job


async def open_channel(connection: AbstractConnection, *, confirms: bool) -> Channel:
    """Open a channel that does not stop reading when a few frames wait."""
    channel = await connection.channel(publisher_confirms=confirms, frame_buffer_size=0)
    assert isinstance(channel, Channel)
    return channel


async def reply(channel: Channel, message: DeliveredMessage, result: bytes) -> None:
    """Answer one request and await the broker's confirm."""
    properties = message.header.properties
    reply_to = properties.reply_to or ""
    await channel.basic_publish(
        result,
        routing_key=reply_to,
        properties=Basic.Properties(
            content_type="application/octet-stream",
            delivery_mode=1,
            correlation_id=properties.correlation_id,
        ),
        mandatory=not reply_to.startswith(DIRECT_REPLY_TO),
        wait=False,  # for the socket; the confirm is awaited
    )


async def infer(job: Job, bodies: list[bytes]) -> list[bytes]:
    """Run the model, in a thread if it takes time."""
    return await asyncio.to_thread(job.infer, bodies) if job.is_slow else job.infer(bodies)


async def run(job: Job) -> None:
    """Take what is there, at most a batch, answer it, ack it, and so on."""
    async with aiormq.connect(job.url) as consuming, aiormq.connect(job.url) as publishing:
        requests = await open_channel(consuming, confirms=False)
        replies = await open_channel(publishing, confirms=True)
        deliveries: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        await requests.basic_qos(prefetch_count=job.prefetch)
        await requests.basic_consume(job.queue, deliveries.put)
        while True:
            batch = [await deliveries.get()]
            while len(batch) < job.batch_size and not deliveries.empty():
                batch.append(deliveries.get_nowait())
            results = await infer(job, [message.body for message in batch])
            await asyncio.gather(*map(reply, [replies] * len(batch), batch, results))
            await requests.basic_ack(batch[-1].delivery_tag or 0, multiple=True)


if __name__ == "__main__":
    asyncio.run(run(this_job()))
