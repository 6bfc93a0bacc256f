"""Memory is bounded by the prefetch, not by the backlog."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.amqp.producer import Producer, declare_durable
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

BODY = 10 * 1024 * 1024
BACKLOG = 24
PREFETCH = 2

SERVICE = "def lengths(bodies): return [str(len(body)).encode() for body in bodies]"


async def test_a_backlog_of_large_bodies_takes_no_more_memory_than_the_prefetch_allows(
    broker: Broker, queue: str, tmp_path: Path
) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    await declare_durable(broker, queue)
    producer = Producer(broker, queue)
    command = [sys.executable, "-m", "rpcb_trio", "serve", "service:lengths", f"--queue={queue}"]
    command += [f"--url={broker.url}", "--max-batch-size=1", f"--prefetch={PREFETCH}"]
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(partial(trio.run_process, command, cwd=tmp_path, check=False))
        await producer.call(b"small")
        before = peak_memory(worker.pid)
        replies = await producer.call(*[bytes(BODY)] * BACKLOG)
        after = peak_memory(worker.pid)
        worker.terminate()
    assert [body for _, body in replies] == [b"%d" % BODY] * BACKLOG
    # A body is there twice while it is put together from its frames; the rest is on its way in or out.
    assert after - before < (2 * PREFETCH + 3) * BODY, f"grew by {(after - before) / BODY:.1f} bodies"


def peak_memory(process: int) -> int:
    """The most memory that was ever resident, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    [kibibytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kibibytes) * 1024
