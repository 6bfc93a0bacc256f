"""Callers of a worker in a process of their own: `python -m benches.rpc_load CALLERS`, these as JSON."""

from __future__ import annotations

import subprocess
import sys
import time

import msgspec
import trio

from benches.http_load import Asked
from rpcb_trio import RpcClient, open_client


class Callers(msgspec.Struct, frozen=True, kw_only=True):
    """How many call at a time, whom and how often."""

    url: str
    queue: str
    callers: int
    requests: int
    body_size: int


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """What they saw, and what their client cost."""

    asked: Asked
    cpu_seconds: float


async def call_all(callers: Callers) -> Called:
    """Make all calls from here, each caller its next one when it has the reply to its last."""
    async with open_client(callers.url) as client:
        await _call_in_turn(client, callers, callers.callers)  # the first call of a connection does not count
        before, started = time.process_time(), time.perf_counter()
        latencies = await _call_in_turn(client, callers, callers.requests)
        return Called(
            asked=Asked.of(latencies, time.perf_counter() - started),
            cpu_seconds=time.process_time() - before,
        )


async def _call_in_turn(client: RpcClient, callers: Callers, requests: int) -> list[float]:
    body = b"#" * callers.body_size
    turns = iter(range(requests))
    latencies: list[float] = []

    async def run_one() -> None:
        for _ in turns:
            sent = time.perf_counter()
            reply = await client.call(body, queue=callers.queue)
            latencies.append(time.perf_counter() - sent)
            assert reply.body == body

    async with trio.open_nursery() as nursery:
        for _ in range(callers.callers):
            nursery.start_soon(run_one)
    return latencies


def run_callers(callers: Callers) -> Called:
    """Make all calls from a process of their own.

    Raises:
        SystemExit: a call failed; the process has said why.
    """
    command = [sys.executable, "-m", "benches.rpc_load", msgspec.json.encode(callers).decode()]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - it is this module
    if ended.returncode:
        raise SystemExit(ended.returncode)
    return msgspec.json.decode(ended.stdout, type=Called)


if __name__ == "__main__":
    called = trio.run(call_all, msgspec.json.decode(sys.argv[1], type=Callers))
    print(msgspec.json.encode(called).decode())
