"""Callers of a worker in a process of their own: `python -m benches.rpc_load CALLERS`, these as JSON."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeAlias

import anyio
import msgspec

from benches.http_load import Asked
from benches.pika_caller import PikaCaller
from rpcb_trio import BlockingRpcClient, RpcClient, open_client

Client: TypeAlias = Literal["trio", "asyncio", "blocking", "pika"]


class Callers(msgspec.Struct, frozen=True, kw_only=True):
    """How many callers at a time, the queue, the number of calls, and the client."""

    url: str
    queue: str
    callers: int
    requests: int
    body_size: int
    client: Client = "trio"

    @property
    def body(self) -> bytes:
        """What each sends, and gets back."""
        return b"#" * self.body_size


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """What they saw, and what their client cost."""

    asked: Asked
    cpu_seconds: float


class Clocks:
    """Read once the first calls are through, and again at the end."""

    def __init__(self) -> None:
        self._cpu, self._started = time.process_time(), time.perf_counter()

    def called(self, latencies: list[float]) -> Called:
        seconds, cpu = time.perf_counter() - self._started, time.process_time() - self._cpu
        return Called(asked=Asked.of(latencies, seconds), cpu_seconds=cpu)


async def call_async(callers: Callers) -> Called:
    """Make all calls from here, each caller its next one when it has the reply to its last."""
    async with open_client(callers.url) as client:
        await _take_turns(client, callers, callers.callers)  # the first call of a connection does not count
        clocks = Clocks()
        return clocks.called(await _take_turns(client, callers, callers.requests))


async def _take_turns(client: RpcClient, callers: Callers, requests: int) -> list[float]:
    body, turns = callers.body, iter(range(requests))
    latencies: list[float] = []

    async def run_one() -> None:
        for _ in turns:
            sent = time.perf_counter()
            reply = await client.call(body, queue=callers.queue)
            latencies.append(time.perf_counter() - sent)
            assert reply.body == body

    async with anyio.create_task_group() as tasks:
        for _ in range(callers.callers):
            tasks.start_soon(run_one)
    return latencies


def call_blocking(callers: Callers) -> Called:
    with BlockingRpcClient(callers.url) as client:
        return _from_threads(callers, lambda body: client.call(body, queue=callers.queue).body)


def call_pika(callers: Callers) -> Called:
    """With pika's blocking connection, which takes one call at a time."""
    with PikaCaller(callers.url, callers.queue) as caller:
        return _from_threads(callers, caller.call)


def _from_threads(callers: Callers, call: Callable[[bytes], bytes]) -> Called:
    body = callers.body

    def run_one(turns: Iterator[int]) -> list[float]:
        latencies = []
        for _ in turns:
            sent = time.perf_counter()
            reply = call(body)
            latencies.append(time.perf_counter() - sent)
            assert reply == body
        return latencies

    if callers.callers == 1:  # as a plain program calls
        run_one(iter(range(1)))
        clocks = Clocks()
        return clocks.called(run_one(iter(range(callers.requests))))
    with ThreadPoolExecutor(callers.callers) as threads:
        list(threads.map(run_one, [iter(range(1)) for _ in range(callers.callers)]))
        clocks, turns = Clocks(), iter(range(callers.requests))
        found = threads.map(run_one, [turns] * callers.callers)
        return clocks.called([latency for latencies in found for latency in latencies])


def call_all(callers: Callers) -> Called:
    """Make all calls from this process."""
    match callers.client:
        case "blocking":
            return call_blocking(callers)
        case "pika":
            return call_pika(callers)
        case backend:
            return anyio.run(call_async, callers, backend=backend)


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
    print(msgspec.json.encode(call_all(msgspec.json.decode(sys.argv[1], type=Callers))).decode())
