"""Real signals to real workers on a real broker, at every stage: one process has a worker at each of them."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from rpcb_trio import Reply, Worker, open_client, serve
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.testing import Recorder
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.proxy import Proxy, open_proxy
from tests.cli.processes import PATIENCE, Command, Gate, collect, command
from tests.rabbitmq import Broker

SERVICES = """
from pathlib import Path

def shout(bodies):
    return [body.upper() for body in bodies]

class Staged:
    def decode(self, body): return body
    def infer(self, items): return shout(items)
    def encode(self, outcome): return outcome.value

class Held(Staged):
    def decode(self, body):
        Path("decoded").read_text()
        return body

class Stuck(Staged):
    def decode(self, body):
        Path("received").read_text()
        Path("never").read_text()

class Inferring(Staged):
    def infer(self, items):
        Path("inferring").read_text()
        Path("gate").read_text()
        return shout(items)

class Warming(Staged):
    def warm_up(self):
        Path("warming").read_text()
        Path("never").read_text()
"""

IN, OUT = 0, 1
"""A session's connections, in the order it opens them."""


class Fleet:
    """Workers by name, each with a queue of its own, in processes that read one file."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self._folder = folder
        self._broker = broker
        self._file = folder / "rpcb.toml"
        self._file.write_text("heartbeat = 600\nconnect_timeout = 600\n")
        (folder / "staged.py").write_text(SERVICES)
        self.queues: dict[str, str] = {}

    def add(self, name: str, service: str, *settings: str, url: str | None = None) -> str:
        """Write a worker into the file; returns its queue."""
        self.queues[name] = queue = self._broker.fresh_name(name)
        lines = [f"[workers.{name}]", f"target = 'staged:{service}'", f"queue = '{queue}'", *settings]
        lines.append("prefetch_follows = false")  # nothing but the stages is on the wire
        with self._file.open("a") as file:
            file.write("\n".join([*lines, f"url = '{url or self._broker.url}'\n"]))
        return queue

    @asynccontextmanager
    async def process(self, *names: str) -> AsyncIterator[Command]:
        """A process of some of the workers."""
        async with command("serve", *(f"--worker={name}" for name in names), cwd=self._folder) as running:
            yield running


@pytest.fixture
def fleet(workplace: Path, broker: Broker) -> Fleet:
    return Fleet(workplace, broker)


@pytest.fixture
def gates(workplace: Path) -> dict[str, Gate]:
    names = ("decoded", "received", "inferring", "gate", "warming", "never")
    return {name: Gate(workplace / name) for name in names}


async def left(broker: Broker, fleet: Fleet) -> dict[str, list[tuple[bool, bytes]]]:
    """What lies in the workers' queues, as (redelivered, body)."""
    return {
        name: [(method.redelivered, body) for method, _, body in await Producer(broker, queue).read()]
        for name, queue in fleet.queues.items()
    }


async def lose(proxy: Proxy) -> None:
    """Cut the two connections of a session that has just been opened."""
    for _ in (IN, OUT):
        await proxy.arrival()
    proxy.cut()


def check_lines(process: Command) -> None:
    """What a log has at its usual level is lines, and no tracebacks."""
    assert not [line for line in process.lines if "Traceback" in line], process.lines


async def test_sigterm_at_every_stage_answers_what_is_held_once_and_leaves_the_rest_in_order(
    fleet: Fleet, broker: Broker, gates: dict[str, Gate]
) -> None:
    async with (
        open_proxy(broker.url) as stalled,
        open_proxy(broker.url) as unreachable,
        open_proxy(broker.url) as undeclaring,
        open_client(broker.url) as client,
    ):
        fleet.add("idle", "shout")
        fleet.add("holding", "Held", "batching = 'fixed'", "max_wait = 3600")
        fleet.add("inferring", "Inferring", "max_batch_size = 1", "prefetch = 2")
        fleet.add("publishing", "shout", url=stalled.url)
        fleet.add("reconnecting", "shout", url=unreachable.url)
        fleet.add("redeclaring", "shout", url=undeclaring.url)
        await declare_durable(broker, fleet.add("warming", "Warming"))
        replies: list[Reply] = []
        async with fleet.process(*fleet.queues) as process, trio.open_nursery() as nursery:
            await gates["warming"].open()  # the last to start, so the others are consuming
            confirm = stalled.hold(OUT, "client")
            for name in ("holding", "inferring", "inferring", "publishing"):
                nursery.start_soon(collect, client, name.encode(), fleet.queues[name], replies)
            await gates["decoded"].open()
            await gates["inferring"].open()
            await confirm.has_caught.wait()
            undeclaring.freeze_at(fleet.queues["redeclaring"].encode())
            unreachable.freeze()
            await lose(undeclaring)
            await lose(unreachable)
            await undeclaring.is_frozen.wait()
            await unreachable.arrival()
            for name in ("inferring", "reconnecting", "redeclaring"):
                await Producer(broker, fleet.queues[name]).send(b"left")
            process.send(signal.SIGTERM)
            for line in ("idle: drain: drained", "inferring: drain: finish 2", "publishing: drain: finish 1"):
                await process.line_with(line)
            stalled.thaw()
            await gates["gate"].open()
            await gates["inferring"].open()  # its second batch
            await gates["gate"].open()
            assert await process.end() == 0
    assert sorted(reply.body for reply in replies) == [b"HOLDING", b"INFERRING", b"INFERRING", b"PUBLISHING"]
    waiting = {name: [(False, b"left")] for name in ("inferring", "reconnecting", "redeclaring")}
    assert await left(broker, fleet) == {
        "idle": [],
        "holding": [],
        "publishing": [],
        "warming": [],
        **waiting,
    }
    check_lines(process)
    for name in ("reconnecting", "redeclaring"):
        await process.line_with(f"{name}: drain: stop connecting")


@pytest.mark.parametrize("where", ["connecting", "declaring"])
async def test_sigterm_while_the_broker_does_not_answer_at_the_start_ends_it_at_once(
    where: str, fleet: Fleet, broker: Broker
) -> None:
    async with open_proxy(broker.url) as proxy:
        queue = fleet.add("starting", "shout", url=proxy.url)
        if where == "connecting":
            proxy.freeze()
        proxy.freeze_at(queue.encode())
        async with fleet.process("starting") as process:
            await (proxy.arrival() if where == "connecting" else proxy.is_frozen.wait())
            process.send(signal.SIGTERM)
            assert await process.end() == 0
        check_lines(process)


async def test_a_drain_that_is_cut_short_says_what_it_left_and_all_of_it_is_redelivered_at_once(
    fleet: Fleet, broker: Broker, gates: dict[str, Gate]
) -> None:
    answers = broker.fresh_name("answers")
    await Producer(broker, answers).declare(answers)
    async with open_proxy(broker.url) as proxy:
        fleet.add("cut", "Held", "batching = 'fixed'", "max_wait = 3600", url=proxy.url)
        fleet.add("slow", "Inferring", "max_batch_size = 1", "prefetch = 3", "drain_timeout = 0.1")
        async with fleet.process(*fleet.queues) as process:
            await process.line_with("slow: consuming")
            bodies = {"cut": [b"1"], "slow": [b"1", b"2", b"3", b"4"]}
            for name, sent in bodies.items():
                await Producer(broker, fleet.queues[name]).send(*sent, reply_to=answers)
            await gates["inferring"].open()
            confirm = proxy.hold(OUT, "client")
            await gates["decoded"].open()
            process.send(signal.SIGTERM)
            await process.line_with("cut: drain: finish 1")
            await confirm.has_caught.wait()
            proxy.cut()
            assert await process.end() == 6
        assert await left(broker, fleet) == {
            "cut": [(True, b"1")],
            "slow": [(True, b"1"), (True, b"2"), (True, b"3"), (False, b"4")],
        }
    for line in (
        "cut: session lost (",
        "cut: stopped with 1 request(s) unanswered; the broker redelivers them",
        "slow: stopped with 3 request(s) unanswered; the broker redelivers them",
        "rpcb-trio: drain_timeout of 0.1 s ran out with 3 request(s)",
    ):
        await process.line_with(line)
    check_lines(process)


async def test_sigkill_at_every_stage_loses_nothing_and_repeats_no_more_than_the_reply_in_doubt(
    fleet: Fleet, broker: Broker, gates: dict[str, Gate]
) -> None:
    answers = broker.fresh_name("answers")
    await Producer(broker, answers).declare(answers)
    async with open_proxy(broker.url) as unconfirmed, open_proxy(broker.url) as unacked:
        fleet.add("received", "Stuck")
        fleet.add("inferring", "Inferring")
        fleet.add("published", "shout", url=unconfirmed.url)
        fleet.add("confirmed", "shout", url=unacked.url)
        async with fleet.process(*fleet.queues) as process:
            await process.line_with("confirmed: consuming")
            held = unconfirmed.hold(OUT, "client"), unacked.hold(IN, "broker")
            for name, queue in fleet.queues.items():
                await Producer(broker, queue).send(name.encode(), reply_to=answers, correlation_id=name)
            await gates["received"].open()
            await gates["inferring"].open()
            for each in held:
                await each.has_caught.wait()
            process.send(signal.SIGKILL)
            assert await process.end() == -signal.SIGKILL
            unconfirmed.cut()
            unacked.cut()
        received = await answer_all(broker, fleet)
    assert received == dict.fromkeys(fleet.queues, True)
    replies = [
        (properties.correlation_id, body) for _, properties, body in await Producer(broker, answers).read()
    ]
    in_doubt = ["confirmed", "published"]
    assert sorted(replies) == sorted((name, name.upper().encode()) for name in [*fleet.queues, *in_doubt])


class Counting(Recorder):
    """Counts what is settled, for those who wait."""

    def __init__(self) -> None:
        super().__init__()
        self.one_settled = trio.Semaphore(0)

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        super().requests_settled(answers, settled)
        for _ in answers:
            self.one_settled.release()


async def answer_all(broker: Broker, fleet: Fleet) -> dict[str, bool]:
    """Answer one request of each queue; returns which were marked as redelivered, by their bodies."""
    recorder = Counting()
    async with trio.open_nursery() as nursery:
        workers: list[Worker] = []
        for queue in fleet.queues.values():
            start = partial(serve, shout, broker.url, queue, instruments=[recorder])
            workers.append(await nursery.start(start))
        with trio.fail_after(PATIENCE):
            for _ in workers:
                await recorder.one_settled.acquire()
        for worker in workers:
            worker.drain()
    return {request.body.decode(): request.redelivered for request in recorder.received}


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]
