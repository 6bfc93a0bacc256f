"""Several services composed by a client, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import msgspec
import pytest
import trio

from rpcb_models.composition import Ears, PartFailed
from rpcb_models.wire import AudioRequest, Enhanced, Enhancement, Recognition, Status
from rpcb_trio import MemoryBroker, Reply, RpcClient, open_client, serve
from rpcb_trio.errors import Unroutable
from rpcb_trio.testing import VirtualExecutor, in_place


def recogniser(bodies: list[bytes]) -> list[bytes]:
    """Hears the audio's own bytes; silence is refused."""
    heard = [msgspec.msgpack.decode(body, type=AudioRequest).audio for body in bodies]
    return [
        msgspec.msgpack.encode(
            Recognition(audio.decode(), Status.SUCCESS) if audio else Recognition("", Status.EMPTY)
        )
        for audio in heard
    ]


def enhancer(bodies: list[bytes]) -> list[bytes]:
    """Takes the noise away; what is all noise is refused."""
    clean = [msgspec.msgpack.decode(body, type=AudioRequest).audio.replace(b"*", b"") for body in bodies]
    return [
        msgspec.msgpack.encode(
            Enhancement(Status.SUCCESS, Status.SUCCESS.message, Enhanced(audio, "1.00"))
            if audio
            else Enhancement(Status.ALGORITHM_FAILED, Status.ALGORITHM_FAILED.message, None)
        )
        for audio in clean
    ]


@asynccontextmanager
async def ears(**services: Callable[[list[bytes]], list[bytes]]) -> AsyncIterator[Ears]:
    broker = MemoryBroker()
    async with trio.open_nursery() as nursery:
        for queue, service in services.items():
            executor = VirtualExecutor(service, service_time=lambda _: 1.0)
            await nursery.start(
                partial(serve, service, broker, queue, executors=[executor], offload=in_place, instruments=[])
            )
        async with open_client(broker) as client:
            yield Ears(client, timeout=10.0)
        nursery.cancel_scope.cancel()


both = {"asr-en": recogniser, "seBase": enhancer}


async def test_a_clip_is_heard_as_it_came_and_once_enhanced(autojump_clock: trio.testing.MockClock) -> None:
    async with ears(**both) as listening:
        heard = await listening.hear(b"he*l*lo")
    assert (heard.as_it_came, heard.once_enhanced, heard.enhanced) == ("he*l*lo", "hello", b"hello")
    assert autojump_clock.current_time() == pytest.approx(2.0), "the first two parts run side by side"


async def test_the_part_that_failed_is_named_with_its_status(autojump_clock: trio.testing.MockClock) -> None:
    async with ears(**both) as listening:
        with pytest.raises(PartFailed, match="seBase answered with status 409") as failed:
            await listening.hear(b"***")
    assert (failed.value.part, failed.value.status) == ("seBase", Status.ALGORITHM_FAILED)


async def test_why_a_part_failed_is_said_in_words_where_its_worker_tells() -> None:
    refusal = Reply(
        body=msgspec.msgpack.encode(Recognition("", Status.UNPARSEABLE)),
        headers={"rpcb-error": "request", "rpcb-error-reason": "the audio is longer than the 5 s allowed"},
    )

    class Refuses:
        async def call(self, _: bytes, **__: object) -> Reply:
            return refusal

    with pytest.raises(PartFailed, match="status 403: the audio is longer than the 5 s allowed") as failed:
        await Ears(cast("RpcClient", Refuses())).recognise(b"a")
    assert failed.value.reason == "the audio is longer than the 5 s allowed"


async def test_a_part_that_is_not_there_is_told_as_such(autojump_clock: trio.testing.MockClock) -> None:
    async with ears(seBase=enhancer) as listening:
        assert await listening.enhance(b"a*b") == b"ab"
        with pytest.raises(Unroutable, match="asr-en"):
            await listening.hear(b"a*b")
