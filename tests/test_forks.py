"""A model that forks: its child keeps nothing alive by which others know that the worker lives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trio

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


async def test_the_health_port_is_free_again_though_a_forked_child_lives_on() -> None:
    with ExitStack() as child:
        async with open_health_port(0, []) as health:
            child.enter_context(forked_child())
        async with open_health_port(health.port, []):
            await trio.lowlevel.checkpoint()
