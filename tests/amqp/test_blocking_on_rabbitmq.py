"""Many ordinary threads share one client, and one connection, to a real broker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import pytest
from anyio.from_thread import BlockingPortal

from rpcb_trio import BlockingRpcClient, Outcome, Success
from rpcb_trio.errors import CallInterrupted
from tests.amqp.proxy import proxied
from tests.answering import PATIENCE, answering
from tests.rabbitmq import Broker

THREADS = 16


class Gated:
    """Answers once the gate is open."""

    def __init__(self) -> None:
        self.arrivals = Semaphore(0)
        self.gate = Event()

    def decode(self, body: bytes) -> bytes:
        self.arrivals.release()
        return body

    def infer(self, items: list[bytes]) -> list[bytes]:
        self.gate.wait(PATIENCE)
        return items

    def encode(self, outcome: Outcome[bytes]) -> bytes:
        assert isinstance(outcome, Success)
        return outcome.value

    def await_arrivals(self, count: int) -> None:
        for _ in range(count):
            assert self.arrivals.acquire(timeout=PATIENCE)


def test_each_of_many_threads_gets_its_own_replies_over_one_connection(
    broker: Broker, portal: BlockingPortal, shouting: str
) -> None:
    with (
        proxied(portal, broker.url) as proxy,
        BlockingRpcClient(proxy.url) as client,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        bodies = [b"good %d" % number for number in range(20 * THREADS)]
        replies = threads.map(lambda body: client.call(body, queue=shouting).body, bodies)
        assert list(replies) == [b"ok:" + body.upper() for body in bodies]
        assert proxy.accepted == 1
        assert client.late_replies == 0


def test_leaving_the_client_interrupts_the_threads_whose_calls_are_under_way(
    broker: Broker, portal: BlockingPortal
) -> None:
    gated = Gated()
    with answering(portal, broker, gated) as queue, ThreadPoolExecutor(THREADS) as threads:
        with BlockingRpcClient(broker.url) as client:
            calls = [threads.submit(client.call, b"a", queue=queue) for _ in range(THREADS)]
            gated.await_arrivals(THREADS)
        for call in calls:
            with pytest.raises(CallInterrupted, match="the client is closed"):
                call.result(PATIENCE)
        gated.gate.set()


def test_a_lost_connection_interrupts_the_threads_and_later_calls_find_it_rebuilt(
    broker: Broker, portal: BlockingPortal
) -> None:
    gated = Gated()
    with (
        answering(portal, broker, gated) as queue,
        proxied(portal, broker.url) as proxy,
        BlockingRpcClient(proxy.url) as client,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        calls = [threads.submit(client.call, b"a", queue=queue) for _ in range(THREADS)]
        gated.await_arrivals(THREADS)
        portal.call(proxy.cut)
        for call in calls:
            with pytest.raises(CallInterrupted, match="the connection was lost: the broker hung up"):
                call.result(PATIENCE)
        gated.gate.set()
        replies = threads.map(lambda body: client.call(body, queue=queue).body, [b"b"] * THREADS)
        assert list(replies) == [b"b"] * THREADS
