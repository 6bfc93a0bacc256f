"""Injecting the faults and lifting them again."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import msgspec
import pytest
import trio

from benches.soak.bodies import Kind
from benches.soak.fleet import Fleet
from benches.soak.mix import Mix
from benches.soak.plan import NEEDS_CONTROL, Fault, Injection
from tests.amqp.proxy import Proxy
from tests.rabbitmq import Broker

ALARM = "{0}(0.00001), timer:sleep({1}), {0}(0.4)."
"""In Erlang, so that the broker ends the alarm by itself, whatever becomes of the soak."""
LIMIT = "vm_memory_monitor:set_vm_memory_high_watermark"
SIGNALS = {Fault.KILL: signal.SIGKILL, Fault.TERM: signal.SIGTERM}
AFTERMATH = 20.0
"""Seconds after a fault in which it may still cause a redelivery: a heartbeat's patience and more."""


class Injected(msgspec.Struct, kw_only=True):
    """A fault as it was injected; times are monotonic."""

    fault: Fault
    target: int
    began: float
    lifted: float | None = None


class Injector:
    """Injects faults into workers, producers and the broker."""

    def __init__(
        self,
        broker: Broker,
        fleet: Fleet,
        workers: Sequence[Proxy],
        producers: Sequence[Proxy],
        mixes: Sequence[Mix],
    ) -> None:
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
        target, lasts = injection.target, injection.lasts
        match injection.fault:
            case Fault.KILL | Fault.TERM:
                self._fleet.send(target, SIGNALS[injection.fault])
            case Fault.PAUSE:
                self._fleet.send(target, signal.SIGSTOP)
                await trio.sleep(lasts)
                self._fleet.send(target, signal.SIGCONT)
            case Fault.CUT_WORKER:
                self._workers[target].cut()
            case Fault.CUT_PRODUCER:
                self._producers[target].cut()
            case Fault.STALL_WORKER:
                await stall(self._workers[target], lasts)
            case Fault.STALL_PRODUCER:
                await stall(self._producers[target], lasts)
            case Fault.LETHAL:
                self._mixes[target].ask_for(Kind.LETHAL)
            case Fault.RESTART:
                await self._control("stop_app")
                await self._control("start_app")
            case Fault.ALARM:
                await self._control("eval", ALARM.format(LIMIT, round(1000 * lasts)))
        injected.lifted = time.monotonic()

    async def _control(self, *words: str) -> None:
        try:
            await self._broker.rabbitmqctl(*words)
        except pytest.fail.Exception as error:  # the tests' way to say that it failed
            raise RuntimeError(str(error)) from None


async def stall(proxy: Proxy, seconds: float) -> None:
    """Let nothing through for a while."""
    proxy.freeze()
    await trio.sleep(seconds)
    proxy.thaw()
