"""The worker with a null model, embedded in a trio app; it logs as it does by default."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from benches.meter import Job, Meter, run_metered
from rpcb_trio import Answer, FixedPolicy, Instrument, LogInstrument, Settled, Worker, serve


def echo(bodies: list[bytes]) -> list[bytes]:
    """The null model."""
    return bodies


class Metered(Instrument):
    """Counts what is settled, and has the worker drain after the last request."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.finished = trio.Event()

    def session_opened(self, queue: str) -> None:  # noqa: ARG002 - there is but one
        """Say that it consumes."""
        self._meter.ready()

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:  # noqa: ARG002 - the producer checks
        """Count."""
        if self._meter.answered(len(answers)):
            self.finished.set()


async def serve_echo(job: Job, meter: Meter) -> None:
    """Serve until the last request is answered."""
    metered = Metered(meter)
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[Worker]) -> None:
            await serve(
                echo,
                job.url,
                job.queue,
                batching=FixedPolicy(max_batch_size=job.batch_size, max_wait=job.max_wait),
                prefetch=job.prefetch,
                instruments=[LogInstrument(job.queue), metered],
                task_status=task_status,
            )

        worker: Worker = await nursery.start(start)
        await metered.finished.wait()
        worker.drain()


def main(job: Job, meter: Meter) -> None:
    """Run it."""
    trio.run(serve_echo, job, meter)


if __name__ == "__main__":
    run_metered(main)
