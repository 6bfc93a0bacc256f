"""`call` against a worker on a real broker."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import trio
from yarl import URL

from rpcb_trio import RequestError, serve
from rpcb_trio.__main__ import main
from tests.cli.conftest import Ended
from tests.cli.processes import PATIENCE, command
from tests.rabbitmq import Broker

Call = Callable[..., Awaitable[Ended]]


def shout(bodies: list[bytes]) -> list[bytes | Exception]:
    return [RequestError("not this") if body == b"bad" else body.upper() for body in bodies]


def lengths(bodies: list[bytes]) -> list[bytes]:
    maps = [msgspec.msgpack.decode(body) for body in bodies]
    return [msgspec.msgpack.encode({key: len(value) for key, value in each.items()}) for each in maps]


@pytest.fixture
async def shouting(broker: Broker, queue: str) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, shout, broker.url, queue))
        yield queue
        nursery.cancel_scope.cancel()


@pytest.fixture
async def measuring(broker: Broker, queue: str) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, lengths, broker.url, queue))
        yield queue
        nursery.cancel_scope.cancel()


@pytest.fixture
def call(
    broker: Broker, workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Run `call` in a thread, for it has an event loop of its own."""
    monkeypatch.setenv("RPCB_URL", broker.url)

    async def run(*argv: str) -> Ended:
        code = await trio.to_thread.run_sync(main, ["call", *argv])
        printed = capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


async def test_text_goes_in_and_the_reply_comes_out_as_it_is(call: Call, shouting: str) -> None:
    assert await call("hello", "--queue", shouting) == Ended(0, "HELLO", "")


async def test_the_queue_of_the_file_will_do(call: Call, shouting: str, workplace: Path) -> None:
    (workplace / "rpcb.toml").write_text(f"queue = '{shouting}'\nmax_batch_size = 3\n")
    assert await call("hello") == Ended(0, "HELLO", "")


async def test_an_exchange_and_a_key_will_do(call: Call, shouting: str, broker: Broker) -> None:
    with broker.channel() as channel:
        channel.exchange_declare(exchange := broker.fresh_name("exchange"), "topic", auto_delete=True)
        channel.queue_bind(shouting, exchange, "rpc")
        assert await call("hello", "--exchange", exchange, "--routing-key", "rpc") == Ended(0, "HELLO", "")


async def test_a_file_goes_in_and_a_file_comes_out(call: Call, shouting: str, workplace: Path) -> None:
    (workplace / "in").write_bytes(b"from a file")
    assert await call("--body", "in", "--output", "out", "--queue", shouting) == Ended(0, "", "")
    assert (workplace / "out").read_bytes() == b"FROM A FILE"


async def test_a_dash_is_stdin(call: Call, shouting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"piped")))
    assert await call("--body", "-", "--queue", shouting) == Ended(0, "PIPED", "")


async def test_json_goes_in_as_it_is(call: Call, shouting: str, workplace: Path) -> None:
    assert await call("--json", '{"a": 1.50}', "--queue", shouting) == Ended(0, '{"A": 1.50}', "")
    (workplace / "in").write_text("[1]")
    assert await call("--json", "@in", "--queue", shouting) == Ended(0, "[1]", "")


async def test_fields_make_a_msgpack_map_and_the_reply_is_shown_as_json(
    call: Call, measuring: str, workplace: Path
) -> None:
    (workplace / "clip.wav").write_bytes(b"RIFF\xff")
    ended = await call("--field", "audio=@clip.wav", "--field", "format=wav", "--queue", measuring)
    assert ended.code == 0
    assert json.loads(ended.out) == {"audio": 5, "format": 3}


async def test_an_error_reply_is_printed_and_has_a_code_of_its_own(call: Call, shouting: str) -> None:
    ended = await call("bad", "--queue", shouting)
    assert (ended.code, ended.out) == (7, "request: not this")
    assert "(request)" in ended.line


async def test_a_queue_that_is_not_there_is_unroutable(call: Call, queue: str) -> None:
    ended = await call("hello", "--queue", queue)
    assert ended.code == 8
    assert queue in ended.line


async def test_a_queue_that_nobody_serves_times_out(call: Call, queue: str, broker: Broker) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, auto_delete=True)
        ended = await call("hello", "--queue", queue, "--timeout", "0.05")
    assert ended.code == 9
    assert f"no reply from {queue} within 0.05 s" in ended.line


async def test_an_interrupt_shows_nothing_but_its_exit_code(
    queue: str, broker: Broker, workplace: Path
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, auto_delete=True)
        async with command("call", "hello", "--queue", queue, cwd=workplace, RPCB_URL=broker.url) as calling:
            next(channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE))
            calling.send(signal.SIGINT)
            assert await calling.end() == 130
    assert calling.lines == []


async def test_a_refused_login_has_a_code_of_its_own(call: Call, queue: str, broker: Broker) -> None:
    ended = await call("hello", "--queue", queue, "--url", str(URL(broker.url).with_password("hunter2")))
    assert ended.code == 3
    assert "hunter2" not in ended.line


async def test_a_broker_that_is_not_there_has_a_code_of_its_own(call: Call, queue: str) -> None:
    ended = await call("hello", "--queue", queue, "--url", "amqp://127.0.0.1:1/")
    assert ended.code == 5
    assert "127.0.0.1:1" in ended.line


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--queue=q"], "TEXT, --body, --json and --field"),
        (["hello", "--body=x", "--queue=q"], "TEXT, --body, --json and --field"),
        (["hello"], "queue is missing"),
        (["--body=nowhere", "--queue=q"], "--body: nowhere can't be read"),
        (["--field=audio=@nowhere", "--queue=q"], "--field audio: nowhere can't be read"),
        (["--json={a", "--queue=q"], "--json: it is no JSON"),
        (["--json=@nowhere", "--queue=q"], "--json: nowhere can't be read"),
        (["--field=audio", "--queue=q"], "--field audio: write it as NAME=VALUE"),
        (["hello", "--header=x", "--queue=q"], "--header x: write it as NAME=VALUE"),
        (["hello", "--timeout=0", "--queue=q"], "--timeout"),
        (["hello", "world", "--queue=q"], "world"),
    ],
)
def test_a_request_that_makes_no_sense_is_not_sent(
    argv: list[str], part: str, run_command: Callable[..., Ended]
) -> None:
    ended = run_command("call", *argv)
    assert ended.code == 2
    assert part in ended.line


async def test_a_reply_that_is_no_msgpack_is_not_shown_as_json(call: Call, shouting: str) -> None:
    ended = await call("hello", "--msgpack", "--queue", shouting)
    assert ended.code == 2
    assert "--msgpack" in ended.line


async def test_an_error_reply_that_is_no_msgpack_is_printed_all_the_same(call: Call, measuring: str) -> None:
    ended = await call("not a map", "--msgpack", "--queue", measuring)
    assert (ended.code, ended.out) == (7, "infer: infer failed: DecodeError")


async def test_a_place_that_can_not_be_written_is_told(call: Call, shouting: str) -> None:
    ended = await call("hello", "--output", "no/where", "--queue", shouting)
    assert ended.code == 2
    assert "no/where can't be written" in ended.line
