"""One soak from beginning to end.

1. The queues are made, the workers started; once all consume, the producers begin, and for a
   while nothing is wrong.
2. The storm: faults are injected by the plan while producers send.
3. The calm: all faults are lifted, nothing more is sent, and what is open is answered.
4. The workers drain; what is left in the queue is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import trio

from benches.soak.accounts import Accounts
from benches.soak.bodies import Kind
from benches.soak.course import Course, Phase
from benches.soak.direct import DirectProducer
from benches.soak.faults import Injector
from benches.soak.fleet import DRAIN_SECONDS, Fleet
from benches.soak.foreign import Address, ForeignProducer
from benches.soak.mix import Mix
from benches.soak.plan import PRODUCERS, WORKERS, Plan, schedule
from benches.soak.queues import DeadLetters, Queues, consumers, declare, delete, enter_left
from tests.amqp.proxy import Proxy, open_proxy
from tests.amqp.withholding import Withholding
from tests.rabbitmq import Broker

T = TypeVar("T")

START_SECONDS = 60.0
POLLING = 0.05
CALLING_PRODUCERS = 2
NAMES = [f"RpcClient {n + 1}" for n in range(CALLING_PRODUCERS)] + [f"pika, {each}" for each in Address]
"""Of the producers."""
OF_NAMED_QUEUE = CALLING_PRODUCERS + list(Address).index(Address.NAMED)
"""The producer whose queue may be one that confirms nothing."""
LATE_SECONDS = 0.5
"""How long repeated replies may take when nothing is waited for any more."""
HEARTBEAT = 5
PASSWORD = "secret"  # noqa: S105 - of a node of our own
MAX_DEATHS = 2
FORGED_ARE_DROPPED = (4, 3)
"""From this broker on, with a confirm and without a word."""
SAMPLES = 600


class NotStarted(Exception):
    """There is nothing to soak."""


class Soak:
    """What a soak consists of; the display reads its state."""

    def __init__(
        self,
        broker: Broker,
        plan: Plan,
        logs: Path,
        workers: Sequence[Withholding],
        producers: Sequence[Proxy],
        *,
        user: str | None,
    ) -> None:
        self._broker = broker
        self._producers = producers
        self.plan = plan
        self.queues = Queues.fresh(broker)
        journal = logs / "journal"
        flags = worker_flags(plan, self.queues, journal)
        self.fleet = Fleet([as_user(proxy.url, user) for proxy in workers], flags, logs)
        self._mixes = [Mix(plan.seed + address, _never(address, broker)) for address in range(PRODUCERS)]
        self.injector = Injector(
            broker,
            self.fleet,
            workers,
            producers,
            self._mixes,
            user=user,
            journal=journal,
            replies=self.queues.replies,
        )
        self.accounts = Accounts(
            self.injector.disturbed,
            lambda address, since, until: address == OF_NAMED_QUEUE and self.injector.withheld(since, until),
        )
        self.course = Course()
        self.consuming = 0
        """How many workers consumed at the end."""
        self.stormed = 0.0
        """How many seconds the storm took."""

    async def run(self) -> None:
        await _in_thread(partial(declare, self._broker, self.queues, self.plan.queue_type))
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self._sample)
                async with trio.open_nursery() as fleet:
                    fleet.start_soon(self.fleet.run)
                    await self._start()
                    for work in self._clients():
                        nursery.start_soon(work)
                    await self._be_quiet()
                    await self._storm()
                    await self._calm()
                    self.course.phase = Phase.DRAIN
                    self.fleet.drain()
                await trio.sleep(LATE_SECONDS)
            finally:
                self.course.phase = Phase.OVER
                nursery.cancel_scope.cancel()
        await _in_thread(partial(enter_left, self._broker, self.queues, self.accounts))
        await _in_thread(partial(delete, self._broker, self.queues))

    async def _start(self) -> None:
        with trio.move_on_after(START_SECONDS):
            await self._wait_for_workers()
        if self.consuming < WORKERS:
            raise NotStarted(f"the workers did not start; the last line of one: {self.fleet.last_words()}")

    async def _wait_for_workers(self) -> None:
        while self.consuming < WORKERS:
            await trio.sleep(POLLING)
            self.consuming = await _in_thread(partial(consumers, self._broker, self.queues))

    async def _be_quiet(self) -> None:
        """What is compared with: the same load, and nothing wrong."""
        self.course.phase = Phase.QUIET
        self.accounts.note_phase(Phase.QUIET)
        await trio.sleep(self.plan.quiet)

    async def _storm(self) -> None:
        self.course.phase = Phase.STORM
        self.accounts.note_phase(Phase.STORM)
        for mix in self._mixes:
            mix.begin()
        began = trio.current_time()
        await self.injector.run(schedule(self.plan, has_control=self._broker.has_control))
        await trio.sleep_until(began + self.plan.seconds)
        self.stormed = trio.current_time() - began

    async def _calm(self) -> None:
        """Wait until nothing is open, and all workers are back."""
        self.course.phase = Phase.CALM
        self.accounts.note_phase(Phase.CALM)
        self.consuming = 0
        with trio.move_on_after(self.plan.patience):
            while self.accounts.open:  # noqa: ASYNC110 - threads write to the accounts
                await trio.sleep(POLLING)
        with trio.move_on_after(self.plan.patience):
            await self._wait_for_workers()

    async def _sample(self) -> None:
        while True:
            self.fleet.sample()
            await trio.sleep(max(1.0, self.plan.seconds / SAMPLES))

    def _clients(self) -> Iterator[Callable[[], Awaitable[object]]]:
        for address, proxy in enumerate(self._producers):
            if address < CALLING_PRODUCERS:
                yield self._direct(address, proxy.url).run
            else:
                yield partial(_in_thread, self._foreign(address, proxy.url).run)
        dead = DeadLetters(
            self._broker.url, self.queues.dead_letters, accounts=self.accounts, course=self.course
        )
        yield partial(_in_thread, dead.run)

    def _direct(self, address: int, url: str) -> DirectProducer:
        return DirectProducer(
            url,
            self.queues.requests,
            address,
            accounts=self.accounts,
            mix=self._mixes[address],
            course=self.course,
        )

    def _foreign(self, address: int, url: str) -> ForeignProducer:
        return ForeignProducer(
            url,
            self.queues.requests,
            address,
            replies=list(Address)[address - CALLING_PRODUCERS],
            name=self.queues.replies,
            full=self.queues.full,
            accounts=self.accounts,
            mix=self._mixes[address],
            course=self.course,
        )


async def soak(broker: Broker, plan: Plan, logs: Path, show: Callable[[Soak], Awaitable[None]]) -> Soak:
    """Run a soak; `show` is an asynchronous function that shows it until it is cancelled."""
    async with AsyncExitStack() as stack:
        workers = [
            cast(Withholding, await stack.enter_async_context(open_proxy(broker.url, kind=Withholding)))
            for _ in range(WORKERS)
        ]
        producers = [await stack.enter_async_context(open_proxy(broker.url)) for _ in range(PRODUCERS)]
        user = await stack.enter_async_context(a_user(broker)) if broker.has_control else None
        running = Soak(broker, plan, logs, workers, producers, user=user)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, running)
            await running.run()
            nursery.cancel_scope.cancel()
    return running


@asynccontextmanager
async def a_user(broker: Broker) -> AsyncIterator[str]:
    """A user for the workers, since their rights are taken from them."""
    name = broker.fresh_name("soak-user")
    await broker.rabbitmqctl("add_user", name, PASSWORD)
    await broker.rabbitmqctl("set_permissions", name, ".*", ".*", ".*")
    try:
        yield name
    finally:
        with trio.CancelScope(shield=True):
            await broker.rabbitmqctl("delete_user", name)


def as_user(url: str, user: str | None) -> str:
    return url if user is None else f"amqp://{user}:{PASSWORD}@{url.partition('@')[2]}"


def worker_flags(plan: Plan, queues: Queues, journal: Path) -> list[str]:
    """Flags of `python -m rpcb_trio serve`."""
    return [
        f"--queue={queues.requests}",
        f"--queue-type={plan.queue_type}",
        f"--dead-letter-exchange={queues.dead_letter_exchange}",
        f"--queue-argument=x-dead-letter-exchange={queues.dead_letter_exchange}",  # for what can't be read
        f"--drain-timeout={DRAIN_SECONDS:g}",
        f"--heartbeat={HEARTBEAT}",
        "--max-batch-size=8",
        "--prefetch=32",
        f"--journal={journal}",
        f"--max-deaths={MAX_DEATHS}",
    ]


def _never(address: int, broker: Broker) -> set[Kind]:
    """`RpcClient` has an address and a correlation id of its own; what a broker drops can't be counted."""
    if address < CALLING_PRODUCERS:
        return {Kind.BARE, Kind.FORGED, Kind.FULL}
    return {Kind.FORGED} if broker.version >= FORGED_ARE_DROPPED else set()


async def _in_thread(function: Callable[[], T]) -> T:
    """Run it in a thread, which ends when it sees that all is over; never abandoned."""
    return await trio.to_thread.run_sync(function)
