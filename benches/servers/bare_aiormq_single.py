"""What one writes on aiormq without batches: each delivery is answered and acked by itself, many at once."""

from __future__ import annotations

import asyncio

import aiormq
from aiormq.abc import DeliveredMessage

from benches.meter import Job, Meter, run_metered
from benches.servers.bare_aiormq import open_channel, reply


async def serve_echo(job: Job, meter: Meter) -> None:
    """Let aiormq run one task for each delivery."""
    finished = asyncio.Event()
    async with aiormq.connect(job.url) as consuming, aiormq.connect(job.url) as publishing:
        requests = await open_channel(consuming, confirms=False)
        replies = await open_channel(publishing, confirms=True)

        async def answer(message: DeliveredMessage) -> None:
            await reply(replies, message)
            await requests.basic_ack(message.delivery_tag or 0)
            if meter.answered(1):
                finished.set()

        await requests.basic_qos(prefetch_count=job.prefetch)
        await requests.basic_consume(job.queue, answer)
        meter.ready()
        await finished.wait()


def main(job: Job, meter: Meter) -> None:
    """Run it."""
    asyncio.run(serve_echo(job, meter))


if __name__ == "__main__":
    run_metered(main)
