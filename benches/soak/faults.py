"""Injecting the faults and lifting them again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from benches.soak.bodies import Kind
from benches.soak.fleet import Fleet
from benches.soak.mix import Mix
from benches.soak.plan import NEEDS_CONTROL, Fault, Injection
from tests.amqp.proxy import Proxy
from tests.amqp.withholding import Withholding
from tests.rabbitmq import Broker

CLOSE_ALL = "close_all_user_connections"
"""What else it takes to change rights: on an open channel the broker remembers what it has allowed."""
GARBAGE_BYTES = 4096
ALARM = "{0}(0.00001), timer:sleep({1}), {0}(0.4)."
"""In Erlang, so that the broker ends the alarm by itself, whatever becomes of the soak."""
LIMIT = "vm_memory_monitor:set_vm_memory_high_watermark"
SIGNALS = {Fault.KILL: signal.SIGKILL, Fault.TERM: signal.SIGTERM}
AFTERMATH = 40.0
"""Seconds after a fault in which it may still cause a redelivery: a worker waits 30 for its confirms."""


class Injected(msgspec.Struct, kw_only=True):
    """A fault as it was injected; times are monotonic."""

    fault: Fault
    target: int
    began: float
    lifted: float | None = None


class Injector:
    """Injects faults into workers, producers and the broker.

    Args:
        user: of the workers, whose rights may be taken.
        journal: the workers' directory.
        replies: the queue of replies whose confirms may be withheld.
    """

    def __init__(
        self,
        broker: Broker,
        fleet: Fleet,
        workers: Sequence[Withholding],
        producers: Sequence[Proxy],
        mixes: Sequence[Mix],
        *,
        user: str | None,
        journal: Path,
        replies: str,
    ) -> None:
        self._user = user
        self._journal = journal
        self._replies = replies.encode()
        self._broker = broker
        self._fleet = fleet
        self._workers = workers
        self._producers = producers
        self._mixes = mixes
        self._controlling = trio.Lock()
        self.injected: list[Injected] = []

    def disturbed(self, since: float, until: float) -> bool:
        """Whether any fault may have had an effect between two moments."""
        return any(
            each.began <= until and (each.lifted is None or since <= each.lifted + AFTERMATH)
            for each in self.injected
        )

    def withheld(self, since: float, until: float) -> bool:
        """Whether confirms were withheld between two moments."""
        return any(
            each.fault is Fault.WITHHELD and each.began <= until and (each.lifted or until) >= since
            for each in self.injected
        )

    async def run(self, injections: Sequence[Injection]) -> None:
        """Inject all faults when they are due; returns when all are lifted."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for each in injections:
                await trio.sleep_until(began + each.at)
                nursery.start_soon(self._inject, each)

    async def _inject(self, injection: Injection) -> None:
        if injection.fault in NEEDS_CONTROL:
            async with self._controlling:
                await self._inject_now(injection)
        else:
            await self._inject_now(injection)

    async def _inject_now(self, injection: Injection) -> None:
        injected = Injected(fault=injection.fault, target=injection.target, began=time.monotonic())
        self.injected.append(injected)
        await self._do(injection.fault, injection.target, injection.lasts)
        injected.lifted = time.monotonic()

    async def _do(self, fault: Fault, target: int, lasts: float) -> None:
        if fault in NEEDS_CONTROL:
            await self._trouble_the_broker(fault, lasts)
        elif fault in {Fault.KILL, Fault.TERM, Fault.PAUSE, Fault.TOGETHER}:
            await self._signal(fault, target, lasts)
        elif fault in {Fault.LETHAL, Fault.FORKING}:
            self._mixes[target].ask_for(Kind[fault.name])
        elif fault is Fault.GARBAGE:
            scatter_garbage(self._journal)
        else:
            await self._break_ways(fault, target, lasts)

    async def _signal(self, fault: Fault, target: int, lasts: float) -> None:
        if fault is Fault.PAUSE:
            self._fleet.send(target, signal.SIGSTOP)
            await trio.sleep(lasts)
            self._fleet.send(target, signal.SIGCONT)
        elif fault is Fault.TOGETHER:
            for worker in range(1, len(self._workers)):
                self._fleet.send(worker, signal.SIGTERM)
        else:
            self._fleet.send(target, SIGNALS[fault])

    async def _break_ways(self, fault: Fault, target: int, lasts: float) -> None:
        match fault:
            case Fault.CUT_WORKER:
                self._workers[target].cut()
            case Fault.CUT_PRODUCER:
                self._producers[target].cut()
            case Fault.STALL_WORKER:
                await stall(self._workers[target], lasts)
            case Fault.STALL_PRODUCER:
                await stall(self._producers[target], lasts)
            case Fault.WITHHELD:
                await self._withhold(lasts)

    async def _trouble_the_broker(self, fault: Fault, lasts: float) -> None:
        match fault:
            case Fault.RESTART:
                await self._control("stop_app")
                await self._control("start_app")
            case Fault.ALARM:
                await self._control("eval", ALARM.format(LIMIT, round(1000 * lasts)))
            case Fault.RIGHTS:
                await self._without_rights(lasts)

    async def _without_rights(self, seconds: float) -> None:
        assert self._user is not None
        for write in ("^$", ".*"):
            await self._control("set_permissions", self._user, ".*", write, ".*")
            await self._control(CLOSE_ALL, self._user, "rights have changed")
            await trio.sleep(seconds if write == "^$" else 0)

    async def _withhold(self, seconds: float) -> None:
        for worker in self._workers:
            worker.queue = self._replies
        await trio.sleep(seconds)
        for worker in self._workers:
            worker.queue = None

    async def _control(self, *words: str) -> None:
        try:
            await self._broker.rabbitmqctl(*words)
        except pytest.fail.Exception as error:  # the tests' way to say that it failed
            raise RuntimeError(str(error)) from None


def scatter_garbage(journal: Path) -> None:
    """Leave files there that no worker wrote, under names like those of workers'."""
    for path in [*journal.glob("*.running")]:
        for size in (0, 1, GARBAGE_BYTES):
            (journal / f"{path.stem}{size}.running").write_bytes(os.urandom(size))


async def stall(proxy: Proxy, seconds: float) -> None:
    """Let nothing through for a while."""
    proxy.freeze()
    await trio.sleep(seconds)
    proxy.thaw()
