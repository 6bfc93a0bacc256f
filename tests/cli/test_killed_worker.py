"""Requests that kill the process that runs them: real workers, really killed, and started again."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.amqp.producer import Producer, declare_durable
from tests.cli.conftest import Serve
from tests.cli.processes import PATIENCE
from tests.rabbitmq import Broker

DEADLY = """
import ctypes, os, signal

def die(body):
    if b"abort" in body: os.abort()
    if b"segfault" in body: ctypes.string_at(0)
    if b"exit" in body: os._exit(0)
    if b"kill" in body: os.kill(os.getpid(), signal.SIGKILL)

def fork(body):
    if b"kill" in body and not os.fork():
        os.closerange(0, 3)  # it is our sockets that it should not have
        open("forked", "a").write(f"{os.getpid()}\\n")
        signal.pause()

def forking(bodies):
    for body in bodies: fork(body)
    return shout(bodies)

def shout(bodies):
    for body in bodies: die(body)
    return [body.upper() for body in bodies]

class Decoding:
    def decode(self, body):
        die(body)
        return body
    def infer(self, items): return [item.upper() for item in items]
    def encode(self, outcome): return getattr(outcome, "value", b"failed")

class Encoding:
    def decode(self, body):
        if b"bad" in body: raise ValueError
        return body
    def infer(self, items): return [item.upper() for item in items]
    def encode(self, outcome):
        if not hasattr(outcome, "value"): os.abort()
        die(outcome.value.lower())
        return outcome.value
"""

GOOD = [b"good %d" % n for n in range(8)]


class Supervisor:
    """Starts a worker again whenever it dies, as systemd would."""

    def __init__(self, serve: Serve, *argv: str) -> None:
        self._serve = serve
        self._argv = argv
        self.starts = 0
        self.lines: list[str] = []

    async def run(self) -> None:
        while True:
            self.starts += 1
            async with self._serve(*self._argv) as serving:
                self.lines = serving.lines
                await serving.end()


async def until_answered(producer: Producer, answers: str, count: int) -> dict[str, tuple[Any, bytes]]:
    """Read replies until there are so many; an answer that comes again must be the same."""
    replies: dict[str, tuple[Any, bytes]] = {}
    while len(replies) < count:
        for _, properties, body in await producer.read(answers):
            assert replies.setdefault(properties.correlation_id, (properties, body))[1] == body
        await trio.sleep(0.05)
    return replies


async def until_read(producer: Producer, queue: str, bodies: list[bytes]) -> list[Any]:
    """Read dead letters until each is there; one whose worker dies before its ack comes again."""
    letters: list[Any] = []
    while not {body for _, _, body in letters}.issuperset(bodies):
        letters += await producer.read(queue)
        await trio.sleep(0.05)
    return letters


KILLERS: dict[str, list[tuple[str, str, list[bytes]]]] = {
    "in infer": [("shout", "classic", [b"abort", b"kill"]), ("shout", "quorum", [b"segfault"])],
    "around it": [("Decoding", "classic", [b"exit"]), ("Encoding", "classic", [b"segfault", b"bad"])],
    "with a child that lives on": [("forking", "classic", [b"kill"])],
}


@pytest.mark.parametrize("killers", KILLERS.values(), ids=KILLERS)
async def test_a_request_that_kills_its_worker_becomes_a_dead_letter_and_all_others_are_answered(
    killers: list[tuple[str, str, list[bytes]]], serve: Serve, broker: Broker, workplace: Path
) -> None:
    (workplace / "deadly.py").write_text(DEADLY)
    (workplace / "forked").touch()
    try:
        async with trio.open_nursery() as nursery:
            for target, queue_type, poison in killers:
                nursery.start_soon(survive, serve, broker, target, queue_type, poison)
    finally:
        for child in (workplace / "forked").read_text().split():
            os.kill(int(child), signal.SIGKILL)  # each outlived its worker


async def survive(serve: Serve, broker: Broker, target: str, queue_type: str, poison: list[bytes]) -> None:
    queue, answers, dead = (broker.fresh_name(name) for name in ("queue", "answers", "dead"))
    producer = Producer(broker, queue)
    await declare_durable(broker, answers, dead)
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": queue_type})
    bodies = [*GOOD[:4], *poison, *GOOD[4:]]
    for body in bodies:
        await producer.send(body, reply_to=answers, correlation_id=body.decode(), delivery_mode=2)
    supervisor = Supervisor(
        serve,
        f"deadly:{target}",
        f"--queue={queue}",
        "--declare=passive",
        "--dead-letter-exchange=",
        f"--dead-letter-routing-key={dead}",
        "--max-deaths=2",
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        with trio.fail_after(PATIENCE):
            replies = await until_answered(producer, answers, len(bodies))
            letters = await until_read(producer, dead, poison)
        nursery.cancel_scope.cancel()
    for body in GOOD:
        assert replies[body.decode()][1] == body.upper()
    for body in poison:
        properties, told = replies[body.decode()]
        assert properties.headers["rpcb-error"] == "killed-worker"
        assert told == b"failed" or re.fullmatch(rb"killed-worker: it killed the worker [23] times", told)
    assert {body for _, _, body in letters} == set(poison)
    reasons = {properties.headers["rpcb-dead-letter-reason"] for _, properties, _ in letters}
    over_errors = {"it killed the worker 3 times"} if target == "Encoding" else set()
    assert reasons <= {"it killed the worker 2 times"} | over_errors
    most = 2 + 2 * len(poison) + 2 * len(over_errors) * len(poison)
    assert supervisor.starts <= most, (
        "deaths in company, two alone each, one more over its error, and the last"
    )


async def test_without_a_journal_the_broker_buries_who_kills_more_workers_than_its_delivery_limit_allows(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "deadly.py").write_text(DEADLY)
    dead = broker.fresh_name("dead")
    await declare_durable(broker, dead)
    buries = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    with broker.channel() as channel:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1, **buries}
        channel.queue_declare(queue, durable=True, arguments=arguments)
    producer = Producer(broker, queue)
    await producer.send(b"abort", delivery_mode=2)
    supervisor = Supervisor(serve, "deadly:shout", f"--queue={queue}", "--declare=passive", "--journal=off")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        with trio.fail_after(PATIENCE):
            [letter, *more] = await until_read(producer, dead, [b"abort"])
            [(_, answer)] = await producer.call(b"good")
        nursery.cancel_scope.cancel()
    assert (answer, more) == (b"GOOD", [])
    assert letter[1].headers["x-death"][0]["reason"] == "delivery_limit"
    assert supervisor.starts == 1 + 2, "it lives on once the limit of one redelivery is passed"
