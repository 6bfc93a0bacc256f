"""`load` against a worker on a real broker, and what it refuses; no timing is asserted."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from rpcb_trio import RequestError, serve
from rpcb_trio.__main__ import main
from rpcb_trio.testing import Recorder
from tests.cli.conftest import Ended
from tests.cli.processes import command
from tests.rabbitmq import Broker

Load = Callable[..., Awaitable[Ended]]
QUICK = ("--warm-up=0", "--figures=found.json")


class Service:
    """Echoes, fails what is bad, and remembers what came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.busy = trio.Event()
        self.seen = Recorder()

    def echo(self, bodies: list[bytes]) -> list[bytes | Exception]:
        self.bodies += bodies
        if len(self.bodies) >= 100:
            trio.from_thread.run_sync(self.busy.set)
        return [RequestError("not this") if body == b"bad" else body for body in bodies]


@pytest.fixture
async def service(broker: Broker, queue: str) -> AsyncIterator[Service]:
    service = Service()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, service.echo, broker.url, queue, instruments=[service.seen]))
        yield service
        nursery.cancel_scope.cancel()


@pytest.fixture
def load(
    broker: Broker,
    queue: str,
    workplace: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Load:
    """Run `load` in a thread, for it has an event loop of its own."""
    monkeypatch.setenv("RPCB_URL", broker.url)
    monkeypatch.setenv("RPCB_QUEUE", queue)
    for name in ("good", "bad"):
        (workplace / name).write_text(name)

    async def run(*argv: str) -> Ended:
        code = await trio.to_thread.run_sync(main, ["load", *QUICK, *argv])
        printed = capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


def drawn(name: str) -> bool:
    return Path(name).read_bytes().startswith(b"\x89PNG")


def written() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("found.json").read_text())
    return found


async def test_callers_are_answered_and_the_figures_are_printed_written_and_drawn(
    load: Load, service: Service
) -> None:
    ended = await load("hello", "--callers=3", "--requests=30", "--connections=2", "--plot=load.png")
    assert (ended.code, ended.err) == (0, "")
    assert "3 callers in a closed loop: 30 of 30 answered" in ended.out
    assert "p99.9" in ended.out
    assert "█" in ended.out
    [step] = written()["steps"]
    assert step["answered"] == step["requests"] == sum(bar[2] for bar in step["histogram"]) == 30
    assert step["mean"] <= step["max"]
    assert service.bodies == [b"hello"] * 30
    assert drawn("load.png")


async def test_an_open_load_draws_its_bodies_from_the_files(load: Load, service: Service) -> None:
    ended = await load("--body", "good", "bad", "--rate=500", "--requests=50", "--max-errors=0.9")
    assert ended.code == 0
    assert "error request: " in ended.out
    [step] = written()["steps"]
    assert set(service.bodies) == {b"good", b"bad"}
    assert step["errors"] == {"request": service.bodies.count(b"bad")}
    assert step["answered"] == service.bodies.count(b"good")


async def test_fields_make_the_bodies_and_each_says_what_it_is(load: Load, service: Service) -> None:
    assert (await load("--field=audio=@good", "--field=format=wav", "--requests=2")).code == 0
    assert [msgspec.msgpack.decode(body) for body in service.bodies] == [
        {"audio": b"good", "format": "wav"}
    ] * 2
    assert {each.content_type for each in service.seen.received} == {"application/msgpack"}


async def test_more_errors_than_are_borne_have_a_code_of_their_own(load: Load, service: Service) -> None:
    assert (await load("bad", "--requests=2")).code == 14
    assert (await load("bad", "--requests=2", "--max-errors=1")).code == 0


async def test_a_queue_that_is_not_there_is_an_error_by_its_kind(load: Load) -> None:
    ended = await load("hello", "--requests=2")
    assert ended.code == 14
    assert "error unroutable: 2" in ended.out


async def test_the_ramp_shows_each_step_and_the_highest_rate(load: Load, service: Service) -> None:
    ended = await load(
        "hello", "--ramp", "--p99=60", "--rate=8", "--requests=3", "--max-in-flight=1", "--plot=ramp.png"
    )
    found = written()
    assert found["steps"][0]["rate"] == 8
    assert ended.code == (14 if found["highest_rate"] is None else 0)
    assert ("No rate meets it" in ended.out) == (found["highest_rate"] is None)
    assert drawn("ramp.png")


async def test_no_rate_meets_what_no_service_can(load: Load, service: Service) -> None:
    ended = await load("bad", "--ramp", "--mean=1", "--rate=50000", "--requests=1")
    assert ended.code == 14
    assert "No rate meets it." in ended.out


async def test_an_interrupt_shows_what_is_known_so_far(
    broker: Broker, queue: str, workplace: Path, service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ("load", "hello", "--queue", queue, "--seconds=600", "--callers=2", *QUICK)
    async with command(*argv, cwd=workplace, RPCB_URL=broker.url) as loading:
        await service.busy.wait()
        loading.send(signal.SIGINT)
        assert await loading.end() == 130
    assert loading.lines == []
    assert "in a closed loop" in capfd.readouterr().out
    assert written()["steps"][0]["answered"] > 0


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ([], "TEXT, --body, --bodies and --field"),
        (["hello", "--body=good"], "TEXT, --body, --bodies and --field"),
        (["--body=nowhere"], "--body: nowhere can't be read"),
        (["hello", "--callers=2", "--rate=1"], "give one of them"),
        (["hello", "--ramp"], "--ramp goes with --p99 or --mean"),
        (["hello", "--p99=1"], "--ramp goes with --p99 or --mean"),
        (["hello", "--ramp", "--p99=1", "--mean=1"], "exclude each other"),
        (["hello", "--rate=0"], "--rate"),
        (["hello", "--callers=0"], "--callers"),
        (["hello", "--max-errors=2"], "--max-errors"),
        (["hello", "--plot=nowhere/x.png"], "--plot: nowhere/x.png can't be written"),
        (["hello", "--queue="], "queue is missing"),
    ],
)
async def test_a_wrong_flag_is_one_line(argv: list[str], part: str, load: Load) -> None:
    ended = await load(*argv)
    assert ended.code == 2
    assert part in ended.line
