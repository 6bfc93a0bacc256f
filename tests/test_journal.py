"""The death journal: what ran when its worker died is found out, counted, and in the end run no more.

A worker's death is played by leaving its file as it was and letting go of its lock, as the kernel does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rpcb_trio import ExecutorHung, FixedPolicy, MemoryBroker, Request, SettingError, Topology, serve
from rpcb_trio._pipeline import _deaths as deaths
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio.testing import Recorder, VirtualExecutor, in_place
from tests.scenarios import ANSWERS, QUEUE, answers, ask, taken

MAX_DEATHS = 2


def request(name: str, body: bytes = b"body") -> Request:
    return Request(body=body, arrived=0.0, reply_to="me", correlation_id=name, redelivered=True)


def opened(directory: Path, queue: str = QUEUE, max_deaths: int = MAX_DEATHS) -> Journal:
    return Journal(directory, queue, slots=3, most=4, max_deaths=max_deaths)


def files(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


async def run_and_die(directory: Path, *slots: Sequence[Request]) -> None:
    """Be a worker that dies while these run in its slots."""
    journal = opened(directory)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def run(slot: int, requests: Sequence[Request]) -> None:
                async with journal.running(slot, requests):
                    await trio.sleep_forever()

            for slot, requests in enumerate(slots):
                nursery.start_soon(run, slot, requests)
            await wait_all_tasks_blocked()
            scope.cancel()
    os.close(journal._file)


def verdicts(directory: Path, *requests: Request, max_deaths: int = MAX_DEATHS) -> list[str | None]:
    journal = opened(directory, max_deaths=max_deaths)
    found = [journal.verdict(each) for each in requests]
    journal.close(hung=False)
    return [None if each is None else str(each) for each in found]


async def test_what_ran_alone_when_its_workers_died_runs_no_more(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    for _ in range(MAX_DEATHS):
        assert verdicts(tmp_path, request("a")) == [None]
        await run_and_die(tmp_path, [request("a")])
    assert verdicts(tmp_path, request("a"), request("b")) == ["it killed the worker 2 times", None]


@pytest.mark.parametrize("slots", [[["a", "b"]], [["a"], ["b"]]], ids=["in a batch", "in two executors"])
async def test_who_was_in_company_is_counted_no_death(
    slots: list[list[str]], autojump_clock: MockClock, tmp_path: Path
) -> None:
    await run_and_die(tmp_path, *([request(name) for name in slot] for slot in slots))
    assert verdicts(tmp_path, request("a"), request("b"), max_deaths=1) == [None, None]
    await run_and_die(tmp_path, [request("a")], [request("b")])
    assert verdicts(tmp_path, request("a"), request("b"), max_deaths=1).count(None) == 1, "by then apart"


async def test_a_suspect_runs_while_nothing_else_does(autojump_clock: MockClock, tmp_path: Path) -> None:
    await run_and_die(tmp_path, [request("a"), request("b")])
    journal = opened(tmp_path)
    running: set[str] = set()
    company: dict[str, set[str]] = {}

    async def run(slot: int, name: str) -> None:
        async with journal.running(slot, [request(name)]):
            running.add(name)
            await trio.sleep(1)
            company[name] = running - {name}
            await trio.sleep(1)
            running.discard(name)

    async with trio.open_nursery() as nursery:
        for slot, name in enumerate("cab"):
            nursery.start_soon(run, slot, name)
    assert company["a"] == company["b"] == set()
    journal.close(hung=False)


async def test_suspects_that_are_cut_while_they_wait_leave_all_turns_to_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    await run_and_die(tmp_path, [request("a"), request("b")])
    journal = opened(tmp_path)

    async def run(slot: int, name: str) -> None:
        async with journal.running(slot, [request(name)]):
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 0, "c")
        with trio.move_on_after(0.5):
            await run(1, "a")
    with trio.fail_after(3):
        await run(1, "b")
        async with trio.open_nursery() as nursery:
            for slot in range(3):
                nursery.start_soon(run, slot, "c")
    journal.close(hung=False)


async def test_what_has_run_to_its_end_is_nobodys_death(autojump_clock: MockClock, tmp_path: Path) -> None:
    for _ in range(MAX_DEATHS):
        journal = opened(tmp_path)
        async with journal.running(0, [request("a")]):
            pass
        with pytest.raises(ZeroDivisionError):
            async with journal.running(1, [request("b")]):
                raise ZeroDivisionError
        os.close(journal._file)
    assert verdicts(tmp_path, request("a"), request("b")) == [None, None]


async def test_a_hang_is_as_good_as_a_death(autojump_clock: MockClock, tmp_path: Path) -> None:
    for _ in range(MAX_DEATHS):
        journal = opened(tmp_path)
        with pytest.raises(ExecutorHung):
            async with journal.running(0, [request("a")]):
                raise ExecutorHung(1.0)
        journal.close(hung=True)
    assert verdicts(tmp_path, request("a")) == ["it killed the worker 2 times"]


async def test_a_worker_that_lives_is_not_taken_for_dead_and_hears_of_the_deaths_of_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    living = opened(tmp_path)
    async with living.running(0, [request("b")]):
        for _ in range(MAX_DEATHS):
            await run_and_die(tmp_path, [request("a")])
        assert verdicts(tmp_path, request("b")) == [None]
        await trio.sleep(2)
        assert living.verdict(request("a")) is not None
    living.close(hung=False)


async def test_queues_that_share_a_directory_know_nothing_of_each_other(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    for _ in range(MAX_DEATHS):
        await run_and_die(tmp_path, [request("a")])
    other = opened(tmp_path, "another")
    assert other.verdict(request("a")) is None
    other.close(hung=False)


async def test_a_worker_that_ends_in_order_leaves_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    opened(tmp_path).close(hung=False)
    assert not files(tmp_path, "*.running")


async def test_the_record_is_bounded_in_size_and_age(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deaths, "MOST_REMEMBERED", 2)
    for name in "abc":
        for _ in range(MAX_DEATHS):
            await run_and_die(tmp_path, [request(name)])
    assert verdicts(tmp_path, *map(request, "abc"))[0] is None
    assert None not in verdicts(tmp_path, *map(request, "bc"))
    monkeypatch.setattr(deaths, "LONGEST_REMEMBERED", -1.0)
    await run_and_die(tmp_path, [request("d")])
    assert verdicts(tmp_path, *map(request, "abcd")) == [None] * 4


async def test_a_record_that_is_broken_is_begun_anew(autojump_clock: MockClock, tmp_path: Path) -> None:
    await run_and_die(tmp_path, [request("a")])
    verdicts(tmp_path)
    [file] = files(tmp_path, "*.deaths")
    file.write_bytes(b"{")
    await run_and_die(tmp_path, [request("a")])
    assert verdicts(tmp_path, request("a")) == [None]


async def test_a_directory_that_is_gone_stops_no_worker(autojump_clock: MockClock, tmp_path: Path) -> None:
    journal = opened(tmp_path / "state")
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    (tmp_path / "state").rmdir()
    await trio.sleep(2)
    async with journal.running(0, [request("a")]):
        assert journal.verdict(request("a")) is None
    journal.close(hung=False)


async def test_a_directory_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"^journal is .*file/journal, which can't be written \(.*\); "):
        await serve(lambda bodies: bodies, MemoryBroker(), QUEUE, journal=tmp_path / "file" / "journal")


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
    assert deaths.identity(one) != deaths.identity(other)


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
    assert not files(tmp_path, "*.running")
