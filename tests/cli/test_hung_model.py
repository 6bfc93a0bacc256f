"""A model that hangs, in a real process on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.amqp.producer import Producer, declare_durable
from tests.cli.conftest import Serve
from tests.rabbitmq import Broker

HANGING = """
import threading, time

def native(bodies):
    if b"hang" in bodies:
        time.sleep(3600)
    return bodies

def at_exit(bodies):
    if b"hang" in bodies:
        threading.Thread(target=time.sleep, args=(3600,)).start()  # the interpreter waits for it at its end
        time.sleep(3600)
    return bodies
"""


@pytest.mark.parametrize("model", ["native", "at_exit"])
async def test_the_process_ends_though_the_thread_hangs_and_what_was_held_is_redelivered(
    model: str, serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "hanging.py").write_text(HANGING)
    answers = broker.fresh_name("answers")
    producer = Producer(broker, queue)
    await declare_durable(broker, queue, answers)
    await producer.send(b"good", b"hang", b"next", reply_to=answers)
    argv = (f"hanging:{model}", "--queue", queue, "--max-batch-size=1", "--infer-timeout=1")
    async with serve(*argv) as serving:
        code = await serving.end()
        assert code == 12, serving.lines
        await serving.line_with("an executor hangs on batch 2 of 1 request(s)")
        await serving.line_with("rpcb-trio: infer has not returned within infer_timeout (1 s)")
    assert [body for _, _, body in await producer.read(answers)] == [b"good"]
    assert [(body, method.redelivered) for method, _, body in await producer.read()] == [
        (b"hang", True),
        (b"next", True),
    ]
