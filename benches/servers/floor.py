"""The floor: the worker's promises, by hand on trio, and nothing else.

Two connections; a batch is closed when the executor is idle, and runs in a thread; a request is acked once
the broker has confirmed its reply. No drain, no reconnecting, no isolation of failures: what goes
wrong ends it.

Replies leave in the order in which their requests came, and both are counted from one. So the number of a
confirm is the delivery tag to ack.
"""

from __future__ import annotations

import socket

import trio
from pamqp import commands

from benches.servers.floor_codec import Deliveries, Inbox, Request, ack, confirms, reply
from benches.servers.job import Job, this_job
from benches.wire import Wire


async def send(where: socket.socket, data: bytes) -> None:
    """Send all of it; the kernel nearly always takes it at once."""
    while True:
        try:
            count = where.send(data)
        except BlockingIOError:
            count = 0
        if count == len(data):
            return
        data = data[count:]
        await trio.lowlevel.wait_writable(where)


class Floor:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._consuming, self._publishing = Wire(job.url), Wire(job.url)
        self._pending: list[Request] = []
        self._arrived = trio.lowlevel.ParkingLot()
        self._publishing.ask(commands.Confirm.Select(), commands.Confirm.SelectOk)
        self._consuming.ask(commands.Basic.Qos(prefetch_count=job.prefetch), commands.Basic.QosOk)
        self._consuming.ask(commands.Basic.Consume(queue=job.queue), commands.Basic.ConsumeOk)
        for wire in (self._consuming, self._publishing):
            wire.socket.settimeout(0)

    async def run(self) -> None:
        """Serve until the process is ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._answer)
            nursery.start_soon(self._settle)

    async def _receive(self) -> None:
        source = self._consuming.socket
        inbox, deliveries = Inbox(source), Deliveries()
        while True:
            await trio.lowlevel.wait_readable(source)
            self._pending += deliveries.requests(inbox.receive())
            if self._pending:
                self._arrived.unpark()

    async def _answer(self) -> None:
        limiter, pending, size = trio.CapacityLimiter(1), self._pending, self._job.batch_size
        frame_max = self._publishing.frame_max
        while True:
            while not pending:
                await self._arrived.park()
            batch = pending[:size]
            del pending[:size]
            bodies = [request.body for request in batch]
            results = await trio.to_thread.run_sync(self._job.infer, bodies, limiter=limiter)
            replies = [reply(request, body, frame_max) for request, body in zip(batch, results, strict=True)]
            await send(self._publishing.socket, b"".join(replies))

    async def _settle(self) -> None:
        source = self._publishing.socket
        inbox = Inbox(source)
        acked = settled = 0
        ahead: set[int] = set()
        while True:
            await trio.lowlevel.wait_readable(source)
            for number, multiple in confirms(inbox.receive()):
                if multiple:
                    settled = max(settled, number)
                else:
                    ahead.add(number)
            while settled + 1 in ahead:
                settled += 1
            if settled > acked:
                ahead = {number for number in ahead if number > settled}
                await send(self._consuming.socket, ack(settled))
                acked = settled


if __name__ == "__main__":
    trio.run(Floor(this_job()).run)
