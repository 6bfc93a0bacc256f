"""Whatever happens to a worker, at whatever await of whichever stage, no request is lost or mixed up.

The scenario has all there is: full and partial batches, requests that fail in every way, a lost session, a
drain. It is played again and again, and cut short one await later each time, until it comes through uncut.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import (
    Cache,
    Failure,
    FixedPolicy,
    MemoryBroker,
    Outcome,
    Pieces,
    Request,
    Success,
    Topology,
    _backoff,
)
from rpcb_trio._backoff import keep_connected
from rpcb_trio._batching import _batcher
from rpcb_trio._pipeline import (
    _admission,
    _computing,
    _content_cache,
    _flights,
    _generation,
    _generations,
    _isolation,
    _journal,
    _pipeline,
    _receiving,
    _remembered,
    _replying,
    _shared,
    _stages,
    _worker,
)
from rpcb_trio._pipeline._deaths import DeathRecord
from rpcb_trio._pipeline._ledger import identity
from rpcb_trio._service import BoundService
from rpcb_trio._shares import Shares
from rpcb_trio.batching import Policy
from rpcb_trio.errors import RpcbError, WarmUpFailed
from rpcb_trio.testing import VirtualExecutor
from tests.interventions import AtStep, awaits
from tests.journal import Journal, check_books
from tests.scenarios import (
    ANSWERS,
    QUEUE,
    Running,
    Shouting,
    Stubborn,
    ask,
    expected,
    taken,
    working,
)
from tests.spelling import Spelling

STAGES = ["receive", "batch", "compute", "reply", "settle"]
AROUND_THEM = ["serve", "watch", "_stop_when_draining", "_end_if_hooks_hang", "_report_blockages", "follow"]
SWAPPING = ["swap_models", "_run", "warm_up", "_close", "decode"]


def shout(bodies: list[bytes]) -> list[bytes]:
    return [b"ok:" + body.upper() for body in bodies]


def as_shouting(outcome: Outcome[bytes]) -> bytes:
    match outcome:
        case Success(value=value):
            return value
        case Failure(error=error):
            return f"failed:{error.code}".encode()


class Scenario(NamedTuple):
    service: Callable[[], Any]
    bodies: Sequence[bytes]
    policy: Policy
    max_pending: int | None = None
    settings: Mapping[str, Any] = {}
    keeps_journal: bool = False
    """Whether the worker notes on disk which requests it runs."""
    are_suspects: bool = False
    """Whether a worker died before that ran the first requests."""
    swaps: Sequence[bool] = ()
    """Of each swap meanwhile, whether it unloads first; then all of them again, and they fail."""


HOOKS = Scenario(
    Shouting,
    [b"good 1", b"poison 2", b"good 3", b"\xff 4", b"good 5", b"sick 6", b"mute 7", b"good 8"],
    FixedPolicy(3, max_wait=0.5),
)
PLAIN = Scenario(lambda: shout, [b"good %d" % number for number in range(8)], FixedPolicy(3, max_wait=0.5))
CROWDED = Scenario(
    lambda: BoundService(name="shout", infer=shout, encode=as_shouting),
    [b"crowd %d" % number for number in range(10)],
    PLAIN.policy,
    max_pending=3,
)


class ByFirstWord(Cache, frozen=True):
    """Takes all requests for equal that fare alike."""

    def key_of(self, request: Request) -> bytes:
        return request.body.split()[0]


class EachItsOwn(Shares, frozen=True):
    """Takes each request for that of another tenant, so that none waits for another's."""

    def tenant_of(self, request: Request) -> str:
        return request.correlation_id or ""


SHARED = HOOKS._replace(
    bodies=[b"sick 1", b"sick 2", b"good 3", b"good 4", b"good 5", b"brief 6", b"brief 7", b"sick 8"],
    settings={"cache": ByFirstWord(0.5)},
)
STRANGERS = SHARED._replace(settings={**SHARED.settings, "shares": EachItsOwn()})
WARY = HOOKS._replace(settings={"remember_replies": 8, "check_caller": True})
NOTING = HOOKS._replace(keeps_journal=True)
WATCHFUL = NOTING._replace(are_suspects=True)
STUBBORN = HOOKS._replace(policy=Stubborn(3, max_wait=0.5))
SWAPPED = HOOKS._replace(swaps=(False, True))
UNLOADED = PLAIN._replace(swaps=(True, False))
GIVEN_UP = HOOKS._replace(
    bodies=[b"good 1", b"brief 2", b"brief 3", b"poison 4", b"good 5", b"brief 6", b"brief 7", b"good 8"],
    settings={"queue": Topology(queue=QUEUE, cancel=True)},
)
"""What is brief is given up by its callers."""


class Reloading(VirtualExecutor):
    """Takes its time to load and to close, and may fail at that."""

    frees = True

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__(Shouting().infer, lambda _: 1.0)
        self._failure = failure

    async def warm_up(self) -> None:
        await trio.sleep(0.2)
        if self._failure is not None:
            raise self._failure

    async def aclose(self) -> None:
        await trio.sleep(0.1)


async def swap_models(running: Running, swaps: Sequence[bool]) -> None:
    await running.worker.change(prefetch=12)
    for failure in (None, WarmUpFailed("no weights")):
        for unload_first in swaps:
            with suppress(RpcbError):
                await running.worker.swap(
                    Shouting(),
                    executors=[Reloading(failure), Reloading(failure)],
                    unload_first=unload_first,
                )


Action = Callable[[MemoryBroker, Running], None]


def cancel(_: MemoryBroker, running: Running) -> None:
    running.cancel()


def disconnect(broker: MemoryBroker, _: Running) -> None:
    broker.disconnect()


def drain(_: MemoryBroker, running: Running) -> None:
    running.worker.drain()


async def happen(broker: MemoryBroker, bodies: Sequence[bytes], *, are_suspects: bool) -> None:
    """What happens around the worker, whatever becomes of it."""
    ask(broker, *bodies[:5])
    if are_suspects:
        async with broker.open_session(Topology(queue=QUEUE), prefetch=len(bodies)):
            pass
    await trio.sleep(0.25)
    give_up(broker, bodies)
    await trio.sleep(0.5)
    ask(broker, *bodies[5:])
    await trio.sleep(0.75)
    broker.disconnect()


def give_up(broker: MemoryBroker, bodies: Sequence[bytes]) -> None:
    """Some before they are sent; nobody hears of it unless that is set."""
    for name in (body.split()[-1].decode() for body in bodies if body.startswith(b"brief")):
        broker.publish(b"", exchange="rpcb.cancel", routing_key=QUEUE, reply_to=ANSWERS, correlation_id=name)


def die_over(bodies: Sequence[bytes], folder: Path) -> None:
    """Be a worker that dies while it runs these."""
    names = [body.split()[-1].decode() for body in bodies]
    record = DeathRecord(folder, QUEUE)
    requests = [
        Request(body=body, arrived=0.0, reply_to=ANSWERS, correlation_id=name)
        for body, name in zip(bodies, names, strict=True)
    ]
    record.write(None, b"".join(map(identity, requests)))
    record.close(keep=True)


def folder_of(scenario: Scenario) -> AbstractContextManager[str | None]:
    """Where a worker keeps its journal, if it does."""
    return TemporaryDirectory() if scenario.keeps_journal else nullcontext()


async def play(scenario: Scenario, stage: str, step: float, action: Action) -> AtStep:
    broker = MemoryBroker()
    journal = Journal(broker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(happen, broker, scenario.bodies, are_suspects=scenario.are_suspects))
        with folder_of(scenario) as folder, AtStep(stage, step) as cut, trio.move_on_after(60):
            if folder and scenario.are_suspects:
                die_over(scenario.bodies[:5], Path(folder))
            async with working(
                scenario.service(),
                journal,
                batching=scenario.policy,
                max_pending=scenario.max_pending,
                executors=[Reloading(), Reloading()] if scenario.swaps else 2,
                service_time=lambda _: 1.0,
                instruments=[journal],
                journal=folder,
                **scenario.settings,
            ) as running:
                cut.act = lambda: action(broker, running)
                if scenario.swaps:
                    nursery.start_soon(swap_models, running, scenario.swaps)
                await running.until_settled(len(scenario.bodies))
    is_shared = "cache" in scenario.settings
    of_others = [each for body in scenario.bodies for each in expected(body)] if is_shared else ()
    check_books(broker, [journal], scenario.bodies, also=of_others)
    return cut


@pytest.mark.parametrize("action", [cancel, disconnect, drain])
@pytest.mark.parametrize(
    "scenario",
    [HOOKS, PLAIN, CROWDED, WARY, NOTING, WATCHFUL, STUBBORN],
    ids=["hooks", "plain", "crowded", "wary", "noting", "watchful", "stubborn"],
)
@pytest.mark.parametrize("stage", STAGES)
async def test_no_request_is_lost_or_answered_twice_whichever_await_is_cut(
    stage: str, scenario: Scenario, action: Action, autojump_clock: MockClock
) -> None:
    await cut_at_each_await(stage, scenario, action)


@pytest.mark.parametrize("action", [cancel, disconnect, drain])
@pytest.mark.parametrize("scenario", [HOOKS, CROWDED, WATCHFUL], ids=["hooks", "crowded", "watchful"])
@pytest.mark.parametrize("stage", AROUND_THEM)
async def test_nor_where_what_is_around_the_stages_is_cut(
    stage: str, scenario: Scenario, action: Action, autojump_clock: MockClock
) -> None:
    """It awaits the same for each scenario, but for the journal and the error replies to a crowd."""
    await cut_at_each_await(stage, scenario, action)


@pytest.mark.parametrize("action", [cancel, disconnect, drain])
@pytest.mark.parametrize(
    ("scenario", "stage"),
    [*((SHARED, each) for each in ("receive", "reply", "await_flight")), (STRANGERS, "compute")],
    ids=["receive", "reply", "await_flight", "compute"],
)
async def test_nor_where_some_get_the_reply_to_an_equal_one(
    scenario: Scenario, stage: str, action: Action, autojump_clock: MockClock
) -> None:
    await cut_at_each_await(stage, scenario, action)


@pytest.mark.parametrize("action", [cancel, disconnect, drain])
@pytest.mark.parametrize("scenario", [SWAPPED, UNLOADED], ids=["beside", "unloaded"])
async def test_nor_while_the_model_is_swapped(
    scenario: Scenario, action: Action, autojump_clock: MockClock
) -> None:
    await cut_at_each_await("_run", scenario, action)


@pytest.mark.parametrize(("stage", "action"), [("compute", disconnect), ("_take_cancels", cancel)])
async def test_nor_while_callers_give_requests_up(
    stage: str, action: Action, autojump_clock: MockClock
) -> None:
    await cut_at_each_await(stage, GIVEN_UP, action)


class Pages:
    """Takes the first word of a body: in pieces, where it has hyphens or `is_split`."""

    def __init__(self, *, is_split: bool = False) -> None:
        self._is_split = is_split

    def decode(self, body: bytes) -> str | Pieces[str]:
        pages = body.split()[0].decode().split("-")
        pages = [*"".join(pages)] if self._is_split else pages
        return Pieces(pages) if len(pages) > 1 else pages[0]

    def infer(self, items: list[str]) -> list[str]:
        return items

    def encode(self, outcome: Outcome[Any]) -> bytes:
        return str(outcome).encode()


class SpelledPages(Pages):
    def stream_infer(self, items: list[str]) -> Any:
        return Spelling().stream_infer(items)


async def play_in_parts(service: Pages, stage: str, step: float, action: Action, *swaps: Pages) -> AtStep:
    def executor_of(service: Pages) -> VirtualExecutor:
        streams = service if isinstance(service, SpelledPages) else None
        return VirtualExecutor(service.infer, lambda _: 1.0, service=streams, step_time=lambda _: 1.0)

    broker, executors = MemoryBroker(), [executor_of(service)]
    ask(broker, b"abc 1", b"ab-c 2", b"fg-h 3", headers={"rpcb-stream": True})
    ask(broker, b"jk-l 4", b"mno 5")
    with AtStep(stage, step) as cut, trio.move_on_after(60):
        async with working(service, broker, executors=executors, batching=FixedPolicy(2)) as running:
            cut.act = lambda: action(broker, running)
            for following in swaps:
                await trio.sleep(1.25)
                await running.worker.swap(following, executors=[executor_of(following)])
            await running.until_settled(5)
    replies = list(taken(broker))
    ended = {each.correlation_id for each in replies if each.part is None or "rpcb-end" in each.headers}
    queued = {each.correlation_id for each in taken(broker, QUEUE)}
    assert ended | queued == {f"{number}" for number in range(1, 6)}
    return cut


@pytest.mark.parametrize(("stage", "action"), [("compute", disconnect), ("in_pieces", cancel)])
async def test_nor_where_replies_go_out_in_parts(
    stage: str, action: Action, autojump_clock: MockClock
) -> None:
    step = 1
    while (await play_in_parts(SpelledPages(), stage, step, action)).has_acted:
        step += 1
    assert step > 1, "the stage ran"


async def places_in_parts() -> set[tuple[str, int]]:
    """Where the stages await of which some replies go out in parts, with a swap and without."""
    places = set[tuple[str, int]]()
    for kind in (Pages, SpelledPages):
        for stage in ("compute", "in_pieces", "decode"):
            for swaps in ([], [kind(is_split=True)]):
                places |= (await play_in_parts(kind(), stage, math.inf, cancel, *swaps)).places
    return places


async def cut_at_each_await(stage: str, scenario: Scenario, action: Action) -> None:
    step = 1
    while (await play(scenario, stage, step, action)).has_acted:
        step += 1
    assert step > 1, "the stage ran"


async def test_every_await_of_every_stage_is_among_those_that_are_cut(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (_remembered, _content_cache):
        monkeypatch.setattr(room, "LONG_BODY", 0)  # every body is hashed in a thread
    places = set[tuple[str, int]]()
    for stage in [*STAGES, *AROUND_THEM]:
        places |= (await play(HOOKS, stage, math.inf, cancel)).places
    for scenario in (CROWDED, WARY, SHARED):
        for stage in ("receive", "reply", "await_flight"):
            places |= (await play(scenario, stage, math.inf, cancel)).places
    places |= await places_in_parts()
    places |= (await play(GIVEN_UP, "_take_cancels", math.inf, cancel)).places
    places |= (await play(STRANGERS, "compute", math.inf, cancel)).places
    monkeypatch.setattr(_journal, "FRESH", -1.0)
    for stage in ("receive", "compute"):
        places |= (await play(WATCHFUL, stage, math.inf, cancel)).places
    for stage in ("compute", "receive", *SWAPPING):
        for scenario in (SWAPPED, UNLOADED, HOOKS._replace(swaps=(True,))):
            places |= (await play(scenario, stage, math.inf, cancel)).places
    for step in range(1, 10):
        places |= (await play(STUBBORN, "batch", step, drain)).places
    lines, first = inspect.getsourcelines(keep_connected)
    of_the_loop = {each for each in awaits(_backoff) if first <= each[1] < first + len(lines)}
    # Where a session begins it waits only if the prefetch was changed while it was opened.
    lines, at = inspect.getsourcelines(_worker.WorkerLoop._serve)
    unlikely = {(inspect.getfile(_worker), at + lines.index(each)) for each in lines if "_follow" in each}
    # What is in pieces waits there only for a broker that is slow.
    lines, at = inspect.getsourcelines(_receiving.Receiving.in_pieces)
    rare = [each for each in lines if "catch_up" in each]
    unlikely |= {(inspect.getfile(_receiving), at + lines.index(each)) for each in rare}
    lines, at = inspect.getsourcelines(_generations.Generations.opened)
    of_a_manager = {(inspect.getfile(_generations), at + line) for line in range(len(lines))}
    rooms = awaits(
        _admission,
        _content_cache,
        _flights,
        _remembered,
        _receiving,
        _computing,
        _replying,
        _shared,
        _stages,
        _batcher,
        _isolation,
    )
    rooms |= awaits(_generation, _generations, _pipeline, _worker)
    assert (rooms | of_the_loop) - of_a_manager - unlikely - places == set()
