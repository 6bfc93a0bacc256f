"""A signal at any moment of the start ends a process of workers in order."""

from __future__ import annotations

import signal
from functools import partial

import pytest
import trio

from rpcb_trio import MemoryBroker, Topology, Worker, serve
from rpcb_trio._cli._lifetime import run_jobs, signals_held
from rpcb_trio._cli._setup import Job


def echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


async def start(checkpoints: int, *, task_status: trio.TaskStatus[Worker]) -> None:
    """Serve from memory; a signal comes some checkpoints before the start is done."""
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(partial(serve, echo, MemoryBroker(), Topology(queue="q")))
        signal.raise_signal(signal.SIGTERM)
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        task_status.started(worker)


def job(name: str, checkpoints: int) -> Job:
    return Job(name=name, line=name, start=partial(start, checkpoints))


@pytest.mark.parametrize("checkpoints", range(8))
async def test_a_signal_close_to_the_start_is_not_missed(checkpoints: int) -> None:
    with trio.fail_after(60):
        assert await run_jobs([job("only", checkpoints)]) == 0


async def test_a_signal_between_the_import_of_the_service_and_the_start_is_not_missed_either() -> None:
    async def never_to_start(**_: object) -> None:
        await trio.sleep_forever()

    with trio.fail_after(60), signals_held():
        signal.raise_signal(signal.SIGTERM)
        assert await run_jobs([Job(name="only", line="only", start=never_to_start)]) == 0
