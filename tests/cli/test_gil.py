"""A model that holds the GIL longer than the heartbeat, in a thread and in a process of its own."""

from __future__ import annotations

import signal
from pathlib import Path

import trio

from rpcb_trio import Reply, open_client
from tests.cli.conftest import Serve
from tests.cli.processes import collect
from tests.rabbitmq import Broker

HOLDING = """
import ctypes

held = False

def hold(bodies):
    global held
    if b"hold" in bodies and not held:
        held = True
        ctypes.PyDLL(None).sleep(6)  # in C, with the GIL: no other thread runs, nor the event loop
    return [body.upper() for body in bodies]
"""


async def test_the_loss_is_survived_in_a_thread_and_does_not_happen_with_a_process(
    serve: Serve, broker: Broker, workplace: Path
) -> None:
    (workplace / "holding.py").write_text(HOLDING)
    lost: dict[str, bool] = {}

    async def answer_all(executor: str) -> None:
        queue = broker.fresh_name()
        replies: list[Reply] = []
        argv = ("holding:hold", "--queue", queue, f"--executor={executor}", "--heartbeat=1")
        async with serve(*argv) as serving, open_client(broker.url) as client:
            await serving.line_with("consuming from queue", queue)
            async with trio.open_nursery() as calls:
                for body in (b"hold", b"a", b"b"):
                    calls.start_soon(collect, client, body, queue, replies)
            serving.send(signal.SIGTERM)
            assert await serving.end() == 0
        assert sorted(reply.body for reply in replies) == [b"A", b"B", b"HOLD"]
        lost[executor] = any("session lost" in line for line in serving.lines)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_all, "thread")
        nursery.start_soon(answer_all, "process")
    assert lost == {"thread": True, "process": False}
