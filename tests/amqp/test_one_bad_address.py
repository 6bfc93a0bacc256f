"""A reply address that gives trouble costs the replies to it, and no reply to anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from rpcb_trio import Settled, Topology
from rpcb_trio._transports._amqp import _settlement
from rpcb_trio.amqp import AmqpTransport
from tests.amqp import proxy as proxies
from tests.amqp.producer import Producer
from tests.amqp.watched import Model, Watched, working
from tests.rabbitmq import Broker

pytestmark = pytest.mark.usefixtures("limit")

ACK = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50"
"""How the frame of a confirm on channel 1 begins; on a worker's connection for replies only."""


class Withholds(proxies.Proxy):
    """Keeps back the confirm of each message whose publishing frame names a certain queue."""

    queue = b"?"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.withheld = set[int]()
        self._published = 0

    async def _pass(
        self,
        source: trio.abc.Stream,
        sink: trio.abc.Stream,
        both: trio.CancelScope,
        way: tuple[int, proxies.Side],
    ) -> None:
        rest = b""
        try:
            async for chunk in source:
                frames, rest = split(rest + chunk)
                for frame in frames:
                    if way[1] == "broker":
                        self._count(frame)
                        await sink.send_all(frame)
                    else:
                        await sink.send_all(b"".join(self._confirms(frame)))
        except trio.BrokenResourceError:
            pass
        both.cancel()

    def _count(self, frame: bytes) -> None:
        if frame[7:11] == b"\x00\x3c\x00\x28":
            self._published += 1
            if self.queue in frame:
                self.withheld.add(self._published)

    def _confirms(self, frame: bytes) -> list[bytes]:
        """What is confirmed up to a number is confirmed one by one, but for what is withheld."""
        if not frame.startswith(ACK):
            return [frame]
        tag, multiple = int.from_bytes(frame[11:19]), frame[19] & 1
        first, self._confirmed = (self._confirmed + 1, tag) if multiple else (tag, max(self._confirmed, tag))
        return [
            ACK + each.to_bytes(8) + b"\x00\xce"
            for each in range(first, tag + 1)
            if each not in self.withheld
        ]

    _confirmed = 0


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """Whole frames, and what is left."""
    frames = []
    while stream.startswith(b"AMQP") and len(stream) >= 8:
        frames.append(stream[:8])
        stream = stream[8:]
    while len(stream) >= 7 and len(stream) >= (size := 8 + int.from_bytes(stream[3:7])):
        frames.append(stream[:size])
        stream = stream[size:]
    return frames, stream


@asynccontextmanager
async def withholding(
    broker: Broker, topology: Topology, monkeypatch: pytest.MonkeyPatch, queue: str
) -> AsyncIterator[Watched]:
    """A worker that never hears of the replies to a queue."""
    monkeypatch.setattr(proxies, "Proxy", Withholds)
    async with proxies.open_proxy(broker.url) as proxy:
        assert isinstance(proxy, Withholds)
        proxy.queue = queue.encode()
        async with working(Model(0), AmqpTransport(proxy.url), topology, 2) as seen:
            yield seen


def shortened(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    for name, value in seconds.items():
        monkeypatch.setattr(_settlement, name, value)


def ended(seen: Watched, name: bytes) -> list[Settled]:
    return [ending for answer, ending in seen.settled if answer.request.body.startswith(name)]


async def test_confirms_that_never_come_for_one_queue_hold_up_nobody_else_and_are_told_and_given_up(  # noqa: PLR0917
    broker: Broker,
    topology: Topology,
    dead: str,
    inbox: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shortened(monkeypatch, SLOW_SECONDS=0.05, LOOK_SECONDS=0.05, CONFIRM_SECONDS=1.0, STALL_SECONDS=0.9)
    producer, mute = Producer(broker, topology.queue), broker.fresh_name("mute")
    await producer.declare(mute)
    topology = Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with withholding(broker, topology, monkeypatch, mute) as seen:
        await producer.send(
            b"mute 1", b"mute 2", b"mute 3", reply_to=mute
        )  # more than there are replying tasks
        for n in range(20):
            await producer.send(b"good %d" % n, reply_to=inbox)
        await seen.until(lambda seen: len(ended(seen, b"good")) == 20)
        assert ended(seen, b"mute") == [], "they still wait"
        while len(ended(seen, b"mute")) < 3:
            await producer.send(b"also good", reply_to=inbox)
        assert seen.lost_sessions == []
        assert seen.is_ready
    assert set(ended(seen, b"mute")) == {Settled.REJECTED}
    assert len(await producer.read(dead)) == 3
    assert caplog.text.count("did not confirm it within") == 3


async def test_where_no_reply_is_confirmed_the_worker_is_not_ready_and_gives_all_back(
    broker: Broker, topology: Topology, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortened(monkeypatch, SLOW_SECONDS=0.05, LOOK_SECONDS=0.05, CONFIRM_SECONDS=1.0, STALL_SECONDS=0.2)
    producer, mute = Producer(broker, topology.queue), broker.fresh_name("mute")
    await producer.declare(mute)
    topology = Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with withholding(broker, topology, monkeypatch, mute) as seen:
        await producer.send(b"mute 1", b"mute 2", b"mute 3", reply_to=mute)
        await seen.until(lambda seen: seen.blockages)
        assert not seen.is_ready
        assert "no reply was confirmed" in str(seen.blockages[0])
        assert "the broker has confirmed no reply" in await seen.until_lost()
    assert seen.settled == []
    assert await producer.read(dead) == []


async def test_a_full_reply_queue_keeps_few_others_waiting_and_the_rest_goes_to_the_dead_letters_at_once(
    broker: Broker, topology: Topology, dead: str, inbox: str
) -> None:
    producer, full = Producer(broker, topology.queue), broker.fresh_name("full")
    await producer.declare(full, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    topology = Topology(queue=topology.queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with working(Model(0), AmqpTransport(broker.url), topology, 8) as seen:
        await producer.send(*(b"full %d" % n for n in range(60)), reply_to=full)
        await producer.send(b"good", reply_to=inbox)
        await seen.until(lambda seen: ended(seen, b"good"))
        assert len(ended(seen, b"full")) < 60, "some are offered again still"
        await seen.until_settled(61)
        assert seen.lost_sessions == []
    assert set(ended(seen, b"full")) == {Settled.REJECTED}
    assert len(await producer.read(dead)) == 60
