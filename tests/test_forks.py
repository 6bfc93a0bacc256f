"""A model that forks: its child keeps nothing alive by which others know that the worker lives."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio

from rpcb_trio import MemoryBroker, Outcome, Success, open_client, serve
from rpcb_trio._commands._apart import own_stderr
from rpcb_trio.health import open_health_port
from tests.amqp.wires import pair, under_both, wired


@contextmanager
def forked_child() -> Iterator[None]:
    """A child that runs, and lives for as long as this lasts."""
    wait, go = os.pipe()
    here, there = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        os.write(there, b"!")
        os.read(wait, 1)
        os._exit(0)
    assert os.read(here, 1) == b"!"
    for each in (wait, here, there):
        os.close(each)
    try:
        yield
    finally:
        os.close(go)
        os.waitpid(child, 0)


@under_both
async def test_the_broker_sees_the_end_of_a_connection_though_a_forked_child_lives_on() -> None:
    near, far = pair()
    with far, ExitStack() as child:
        async with wired(near):
            child.enter_context(forked_child())
        far.settimeout(10)
        assert far.recv(1) == b""


@under_both
async def test_streams_that_a_log_has_closed_keep_no_connection_open_in_a_child() -> None:
    near, far = pair()
    streams = [own_stderr() for _ in range(20)]  # children close what is theirs in any order
    for each in streams:
        each.close()
    with far, ExitStack() as child:
        async with wired(near):
            child.enter_context(forked_child())
        far.settimeout(10)
        assert far.recv(1) == b""


async def test_the_health_port_is_free_again_though_a_forked_child_lives_on() -> None:
    with ExitStack() as child:
        async with open_health_port(0, []) as health:
            child.enter_context(forked_child())
        async with open_health_port(health.port, []):
            await trio.lowlevel.checkpoint()


class Forking:
    """Forks in one of its hooks, and waits for the child there, which leaves as programs do."""

    def __init__(self, hook: str, leave: Callable[[], object]) -> None:
        self._hook, self._leave = hook, leave

    def decode(self, body: bytes) -> bytes:
        return self._forked("decode", body)

    def infer(self, items: list[bytes]) -> list[bytes]:
        return [self._forked("infer", item) for item in items]

    def encode(self, outcome: Outcome[bytes]) -> bytes:
        assert isinstance(outcome, Success)
        return self._forked("encode", outcome.value)

    def _forked(self, hook: str, value: bytes) -> bytes:
        if hook == self._hook:
            child = os.fork()
            if not child:
                self._leave()
            else:
                os.waitpid(child, 0)
        return value


@pytest.mark.parametrize("hook", ["decode", "infer", "encode"])
@pytest.mark.parametrize("leave", [sys.exit, lambda: None], ids=["by sys.exit", "by coming back"])
async def test_a_child_that_a_hook_forks_ends_where_it_comes_back(
    hook: str, leave: Callable[[], object]
) -> None:
    broker = MemoryBroker()
    async with trio.open_nursery() as nursery, open_client(broker) as client:
        worker = await nursery.start(serve, Forking(hook, leave), broker, "queue")
        reply = await client.call(b"x", queue="queue", timeout=5)  # half of what an idle thread lives
        assert reply.body == b"x"
        worker.drain()
