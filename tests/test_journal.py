"""The death journal: what ran when its worker died is found out, counted, and in the end run no more.

A worker's death is played by an error of its own, which leaves its file as a death does.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rpcb_trio import FixedPolicy, MemoryBroker, Outcome, Request, SettingError, Topology, serve
from rpcb_trio._pipeline import _deaths as deaths
from rpcb_trio._pipeline._isolation import Isolation
from rpcb_trio._pipeline._journal import TIMEOUT, Journal
from rpcb_trio._pipeline._ledger import ID_SIZE, identity
from rpcb_trio.batching import Pending
from rpcb_trio.errors import ExecutorHung, ExecutorLost, SessionLost
from rpcb_trio.testing import Recorder, VirtualExecutor, in_place
from tests.scenarios import ANSWERS, QUEUE, answers, ask, taken, working

MAX_DEATHS = 2


def request(name: str, body: bytes = b"body") -> Request:
    return Request(body=body, arrived=0.0, reply_to="me", correlation_id=name, redelivered=True)


@asynccontextmanager
async def opened(directory: Path, queue: str = QUEUE, max_deaths: int = MAX_DEATHS) -> AsyncIterator[Journal]:
    journal = Journal(max_deaths)
    async with journal.opened(directory, queue, in_place, required=True):
        yield journal


async def run_and_end(directory: Path, error: BaseException, *slots: Sequence[Request]) -> None:
    """Be a worker that ends so while these run in its slots."""
    with suppress(type(error)):
        async with opened(directory) as journal:
            for slot, requests in enumerate(slots):
                journal.note(slot, requests)
            raise error


async def run_and_die(directory: Path, *slots: Sequence[Request]) -> None:
    await run_and_end(directory, ZeroDivisionError(), *slots)


async def verdicts(
    directory: Path, *requests: Request, max_deaths: int = MAX_DEATHS, queue: str = QUEUE
) -> list[str | None]:
    async with opened(directory, queue, max_deaths) as journal:
        found = [await journal.verdict(each) for each in requests]
    return [None if each is None else str(each) for each in found]


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_what_ran_alone_when_its_workers_died_runs_no_more(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    for _ in range(MAX_DEATHS):
        assert await verdicts(tmp_path, request("a")) == [None]
        await run_and_die(tmp_path, [request("a")])
    assert await verdicts(tmp_path, request("a"), request("b")) == ["it killed the worker 2 times", None]


@pytest.mark.parametrize("slots", [[["a", "b"]], [["a"], ["b"]]], ids=["in a batch", "in two executors"])
async def test_who_was_in_company_is_counted_no_death(
    slots: list[list[str]], autojump_clock: MockClock, tmp_path: Path
) -> None:
    await run_and_die(tmp_path, *([request(name) for name in slot] for slot in slots))
    assert await verdicts(tmp_path, request("a"), request("b"), max_deaths=1) == [None, None]
    await run_and_die(tmp_path, [request("a")])
    assert await verdicts(tmp_path, request("a"), request("b"), max_deaths=1) == [
        "it killed the worker 1 times",
        None,
    ]


async def test_a_suspect_runs_while_nothing_else_does(autojump_clock: MockClock, tmp_path: Path) -> None:
    await run_and_die(tmp_path, [request("a"), request("b")])
    running: set[str] = set()
    company: dict[str, set[str]] = {}

    async def run(journal: Journal, name: str) -> None:
        async with journal.turn([request(name)]):
            running.add(name)
            await trio.sleep(1)
            company[name] = running - {name}
            await trio.sleep(1)
            running.discard(name)

    async with opened(tmp_path) as journal, trio.open_nursery() as nursery:
        for name in "cabdcb":
            nursery.start_soon(run, journal, name)
    assert company["a"] == company["b"] == set()


async def test_suspects_that_are_cut_while_they_wait_leave_all_turns_to_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    await run_and_die(tmp_path, [request("a"), request("b")])
    async with opened(tmp_path) as journal:

        async def run(name: str) -> None:
            async with journal.turn([request(name)]):
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "c")
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.5):
                await run("a")
        with trio.fail_after(2.5):
            await run("b")
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(run, "c")


async def test_nothing_is_noted_of_a_batch_that_waits_for_the_turn_of_its_next_part(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    waiting: list[set[bytes]] = []

    class Watched(Journal):
        @asynccontextmanager
        async def turn(self, requests: Sequence[Request]) -> AsyncIterator[None]:
            waiting.append(noted(tmp_path))
            async with super().turn(requests):
                yield

    def refuse_many(items: list[bytes]) -> list[bytes]:
        if len(items) > 1:
            raise ValueError("too many for a suspect to stand alone")
        return items

    journal = Watched()
    members = [Pending(request(name), b"item") for name in "abcd"]
    async with journal.opened(tmp_path, QUEUE, in_place, required=True):
        await Isolation(VirtualExecutor(refuse_many), journal).infer(members)
    assert waiting == [set()] * 7


async def test_what_has_run_to_its_end_is_nobodys_death(tmp_path: Path) -> None:
    for _ in range(MAX_DEATHS):
        with suppress(ZeroDivisionError):
            async with opened(tmp_path) as journal:
                with journal.running([request("a")]):
                    pass
                journal.note(0, [request("b")])
                journal.note(0, ())
                raise ZeroDivisionError
    assert await verdicts(tmp_path, request("a"), request("b")) == [None, None]
    assert not files(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        ExecutorHung(1.0),
        RuntimeError(),
        BaseExceptionGroup("", [KeyboardInterrupt(), ExceptionGroup("", [ValueError()])]),
    ],
    ids=["hung", "crashed", "crashed in company"],
)
async def test_a_hang_or_a_crash_of_the_worker_is_as_good_as_a_death(
    error: BaseException, tmp_path: Path
) -> None:
    for _ in range(MAX_DEATHS):
        await run_and_end(tmp_path, error, [request("a")])
    assert await verdicts(tmp_path, request("a")) == ["it killed the worker 2 times"]


@pytest.mark.parametrize(
    "error",
    [
        SessionLost("gone"),
        KeyboardInterrupt(),
        ExceptionGroup("", [SessionLost("gone")]),
        ExecutorLost("no memory to start its process"),
    ],
    ids=["session lost", "interrupted", "session lost in a group", "its process can't be started"],
)
async def test_an_end_that_no_request_is_to_blame_for_is_no_death(
    error: BaseException, tmp_path: Path
) -> None:
    await run_and_end(tmp_path, error, [request("a")])
    async with opened(tmp_path) as journal:
        assert not journal.is_suspect(request("a"))
    assert not files(tmp_path)


async def test_a_worker_that_lives_is_not_taken_for_dead_and_hears_of_the_deaths_of_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with opened(tmp_path) as living:
        living.note(0, [request("b")])
        for _ in range(MAX_DEATHS):
            await run_and_die(tmp_path, [request("a")])
        assert await verdicts(tmp_path, request("b")) == [None]
        await trio.sleep(2)
        assert await living.verdict(request("a")) is not None


async def test_queues_that_share_a_directory_know_nothing_of_each_other(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    for _ in range(MAX_DEATHS):
        await run_and_die(tmp_path, [request("a")])
    assert await verdicts(tmp_path, request("a"), queue="another") == [None]
    assert await verdicts(tmp_path, request("a")) != [None]


async def test_a_worker_that_ends_in_order_leaves_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with opened(tmp_path):
        assert files(tmp_path)
    assert not files(tmp_path)


async def test_its_files_are_their_owners_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "state"):
        [file] = files(tmp_path / "state")
        assert [each.stat().st_mode & 0o777 for each in (tmp_path / "state", file)] == [0o700, 0o600]


async def test_a_directory_that_does_not_answer_holds_nobody_up_for_ever(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, answering = Journal(), True

    async def offload(function: Callable[[], Any]) -> Any:
        if not answering:
            await trio.sleep_forever()
        return await in_place(function)

    async with journal.opened(tmp_path, QUEUE, offload, required=True):
        answering, record = False, journal._record
        await trio.sleep(10)
        assert await journal.verdict(request("a")) is None
    with pytest.raises(SettingError, match=r"which can't be used \(it does not answer\), so a request"):
        async with journal.opened(tmp_path, QUEUE, offload, required=True):
            pass
    async with journal.opened(tmp_path, QUEUE, offload, required=False):
        assert await journal.verdict(request("a")) is None
    assert trio.current_time() == 10 + 4 * TIMEOUT
    assert "(it does not answer)" in caplog.text
    assert record is not None
    record.close(keep=False)


async def test_what_is_kept_of_the_dead_is_bounded_in_number_and_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deaths, "MOST_FILES", 4)
    ages = iter(range(100, 0, -1))
    for name in "abc":
        for _ in range(MAX_DEATHS):
            before = set(files(tmp_path))
            await run_and_die(tmp_path, [request(name)])
            [left] = set(files(tmp_path)) - before
            died = time.time() - next(ages)
            os.utime(left, (died, died))
    assert await verdicts(tmp_path, *map(request, "abc")) == [None, *["it killed the worker 2 times"] * 2]
    assert len(files(tmp_path)) == 4
    monkeypatch.setattr(deaths, "MOST_IDENTITIES", 3)
    assert await verdicts(tmp_path, *map(request, "abc")) == [None, None, "it killed the worker 2 times"]
    monkeypatch.setattr(deaths, "LONGEST_KEPT", -1.0)
    assert await verdicts(tmp_path, *map(request, "abc")) == [None] * 3
    assert not files(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request("a", b"x"), request("a", b"y")),
        (request("a"), request("b")),
        (request("a", bytes(20_000) + b"x"), request("a", bytes(20_000) + b"y")),
        (request("a", b"x" + bytes(20_000)), request("a", b"y" + bytes(20_000))),
        (request("a", bytes(20_000)), request("a", bytes(20_001))),
        (request("a"), Request(body=b"body", arrived=0.0, correlation_id="a")),
    ],
)
def test_requests_are_told_apart(one: Request, other: Request) -> None:
    assert identity(one) != identity(other)


async def test_a_killer_is_answered_with_an_error_and_buried_with_its_reason(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    broker, recorder = MemoryBroker(), Recorder()
    broker.declare("dead")
    ask(broker, b"good 1", b"deadly 2")
    for _ in range(MAX_DEATHS):
        killer = Request(body=b"deadly 2", arrived=0.0, reply_to=ANSWERS, correlation_id="2")
        await run_and_die(tmp_path, [killer])
    topology = Topology(queue=QUEUE, dead_letter_exchange="", dead_letter_routing_key="dead")
    async with broker.open_session(topology, prefetch=10):
        pass  # both are redelivered

    def infer(bodies: list[bytes]) -> list[bytes]:
        assert bodies == [b"good 1"]
        return bodies

    settings: dict[str, Any] = {
        "journal": tmp_path,
        "max_deaths": MAX_DEATHS,
        "batching": FixedPolicy(),
        "executors": [VirtualExecutor(infer)],
        "offload": in_place,
        "instruments": [recorder],
    }
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(partial(serve, infer, broker, topology, **settings))
        await trio.sleep(1)
        worker.drain()
    assert answers(broker) == {"1": b"good 1", "2": b"killed-worker: it killed the worker 2 times"}
    [letter] = taken(broker, "dead")
    assert (letter.body, letter.headers["rpcb-dead-letter-reason"]) == (
        b"deadly 2",
        "it killed the worker 2 times",
    )
    [(_, error)] = recorder.failures
    assert error.code == "killed-worker"
    assert len(files(tmp_path)) == MAX_DEATHS, "what the dead have left"


def noted(directory: Path) -> set[bytes]:
    """What a living worker of this process has in its file."""
    [name] = deaths._own
    content = (directory / name).read_bytes()[ID_SIZE:]
    return {content[at : at + ID_SIZE] for at in range(0, len(content), ID_SIZE)} - {bytes(ID_SIZE)}


class Watching:
    """Takes down what the journal says while each hook runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.seen: list[tuple[str, set[bytes]]] = []

    def _look(self, hook: str) -> None:
        self.seen.append((hook, noted(self._directory)))

    def decode(self, body: bytes) -> bytes:
        self._look("decode")
        return body

    def infer(self, items: list[bytes]) -> list[bytes]:
        self._look("infer")
        return items

    def encode(self, outcome: Outcome[bytes]) -> bytes:
        self._look("encode")
        return getattr(outcome, "value", b"failed")


def asked(number: int) -> Request:
    """What `ask` sends, as the worker sees it."""
    return Request(body=b"good %d" % number, arrived=0.0, reply_to=ANSWERS, correlation_id=str(number))


async def test_each_hook_runs_on_what_is_noted_and_nothing_else_is(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2", b"good 3")
    service = Watching(tmp_path)
    async with working(service, broker, batching=FixedPolicy(3, max_wait=1.0), journal=tmp_path) as running:
        await running.until_settled(3)
    one, two, three = (identity(asked(number)) for number in (1, 2, 3))
    assert service.seen == [
        *(("decode", {each}) for each in (one, two, three)),
        ("infer", {one, two, three}),
        *[("encode", {one, two, three})] * 3,
    ]


async def test_what_ran_in_a_dead_worker_is_encoded_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    await run_and_die(tmp_path, [asked(1), asked(2)])
    broker = MemoryBroker()
    ask(broker, *(b"good %d" % number for number in (1, 2, 3, 4)))
    async with broker.open_session(Topology(queue=QUEUE), prefetch=10):
        pass  # all are redelivered
    service = Watching(tmp_path)
    async with working(service, broker, executors=4, journal=tmp_path) as running:
        await running.until_settled(4)
    suspects = [{identity(asked(number))} for number in (1, 2)]
    encoded = [seen for hook, seen in service.seen if hook == "encode"]
    assert all(each in encoded for each in suspects)
    assert not any(each < seen for each in suspects for _, seen in service.seen)


class Careless(FixedPolicy):
    """Lets the worker crash once a batch is computed."""

    def completed(self, *_: Any) -> None:
        raise ZeroDivisionError


async def lives(make: Callable[[], Any], directory: Path, bodies: list[bytes], **settings: Any) -> Any:
    """How often a worker is started until all is answered, and the answers."""
    broker = MemoryBroker()
    ask(broker, *bodies)
    replies: dict[str | None, bytes] = {}
    starts = 0
    while len(replies) < len(bodies):
        starts += 1
        assert starts < 20, "it is never found out"
        with suppress(Exception):
            async with working(
                make(), broker, journal=directory, max_deaths=MAX_DEATHS, **settings
            ) as running:
                await running.until_settled(len(bodies) - len(replies))
        replies |= answers(broker)
    return starts, replies


async def test_an_error_that_crashes_the_worker_after_a_batch_is_counted(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    def infer(bodies: list[bytes]) -> list[bytes]:
        return bodies

    starts, replies = await lives(lambda: infer, tmp_path, [b"only 1"], batching=Careless(1))
    assert replies == {"1": b"killed-worker: it killed the worker 2 times"}
    assert starts == MAX_DEATHS + 1
