"""The health port of a real worker, and the command that asks it."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from tests.amqp.proxy import open_proxy
from tests.cli.conftest import Ended, Serve
from tests.cli.processes import Command, Gate
from tests.rabbitmq import Broker, free_ports

Run = Callable[..., Ended]


async def url_of(serving: Command) -> str:
    """Where a worker says that it answers probes."""
    line = await serving.line_with("health: http://")
    found = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert found is not None
    return f"{found[0]}readyz"


async def ask(run_command: Run, url: str) -> Ended:
    return await trio.to_thread.run_sync(lambda: run_command("health", "--url", url))


async def test_a_start_up_probe_sees_503_until_the_model_is_warm_then_200_and_nobody_at_the_end(
    serve: Serve, queue: str, run_command: Run, arrival: Gate, gate: Gate
) -> None:
    async with serve("services:SlowToWarm", "--queue", queue, "--health-port=0") as serving:
        url = await url_of(serving)
        await arrival.open()
        cold = await ask(run_command, url)
        await gate.open()
        await serving.line_with("consuming from queue", queue)
        warm = await ask(run_command, url)
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
        gone = await ask(run_command, url)
    assert (cold.code, cold.out.startswith(f"not ready: {queue} warming up for ")) == (1, True)
    assert (warm.code, warm.out.startswith(f"ready: {queue} consuming for ")) == (0, True)
    assert (gone.code, "can't be asked: Connection refused" in gone.out) == (1, True)
    assert [each.out.count("\n") for each in (cold, warm, gone)] == [1, 1, 1]


async def test_a_worker_that_lost_its_broker_is_not_ready_until_it_is_back_and_shows_no_password(
    serve: Serve, broker: Broker, queue: str, run_command: Run
) -> None:
    async with open_proxy(broker.url) as proxy:
        argv = ("services:shout", "--queue", queue, "--health-port=0")
        async with serve(*argv, url=proxy.url) as serving:
            url = await url_of(serving)
            await serving.line_with("consuming from queue", queue)
            proxy.refuse_more()
            proxy.cut()
            await serving.line_with("session lost")
            lost = await ask(run_command, url)
            alive = await ask(run_command, url.replace("readyz", "livez"))
    assert (lost.code, f"{queue} reconnecting (" in lost.out) == (1, True)
    assert "guest" not in lost.out
    assert alive.code == 0


@asynccontextmanager
async def stuck_client(url: str) -> AsyncIterator[None]:
    """Asks, and never ends its question."""
    port = urlsplit(url).port or 0
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(b"GET /readyz HTTP/1.1\r\n")
        yield


async def test_who_never_ends_its_question_does_not_delay_the_end(serve: Serve, queue: str) -> None:
    async with serve("services:shout", "--queue", queue, "--health-port=0") as serving:
        url = await url_of(serving)
        await serving.line_with("consuming from queue", queue)
        async with stuck_client(url):
            serving.send(signal.SIGTERM)
            assert await serving.end() == 0


def test_a_port_that_is_taken_ends_serve_with_one_line(run_command: Run, workplace: Path) -> None:
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run_command(
            "serve", "service:echo", "--queue=q", f"--health-port={port}", "--log-level=error"
        )
    assert ended.code == 2
    assert f"health_port {port} of health_host 127.0.0.1 can't be listened on: " in ended.line


def test_the_command_finds_the_port_where_serve_does(
    run_command: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [port, other] = free_ports(2)
    (workplace / "rpcb.toml").write_text(f"health_port = {port}\nhealth_host = '0.0.0.0'\n")
    assert f"127.0.0.1:{port} can't be asked" in run_command("health").out
    monkeypatch.setenv("RPCB_HEALTH_PORT", str(other))
    assert f"127.0.0.1:{other} can't be asked" in run_command("health").out


@pytest.mark.parametrize("url", ["8080", "ftp://localhost/", "http:///readyz", "http://localhost:x/"])
def test_a_url_that_is_none_is_refused(url: str, run_command: Run) -> None:
    ended = run_command("health", "--url", url)
    assert ended.code == 2
    assert "--url" in ended.line


@pytest.mark.parametrize(
    "url", ["http://a..b:1/readyz", f"http://{'x' * 64}/", "http://127.0.0.1:1/\N{SNOWMAN}"]
)
def test_a_url_that_names_nobody_is_told_as_nobody_who_answers(url: str, run_command: Run) -> None:
    ended = run_command("health", "--url", url)
    assert (ended.code, ended.err) == (1, "")
    assert "can't be asked" in ended.out


def test_without_a_port_the_command_says_how_to_give_one(run_command: Run) -> None:
    ended = run_command("health")
    assert ended.code == 2
    assert "--health-port" in ended.line


def test_a_health_port_is_for_the_whole_process(run_command: Run, workplace: Path) -> None:
    (workplace / "rpcb.toml").write_text("[workers.asr]\nhealth_port = 8080\n")
    ended = run_command("serve")
    assert ended.code == 2
    assert "whole process" in ended.line


@pytest.mark.parametrize(
    ("flags", "warnings"),
    [
        (["--infer-timeout=28"], 0),
        (["--infer-timeout=29"], 1),
        (["--infer-timeout=29", "--consumer-timeout=3600"], 0),
        (["--infer-timeout=29", "--replicas=2"], 0),
        ([], 0),
    ],
)
def test_serve_warns_where_what_it_may_hold_can_not_be_acked_in_time(
    flags: list[str], warnings: int, run_command: Run, workplace: Path
) -> None:
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")
    ended = run_command("serve", "service:echo", "--queue=q", "--url=amqp://127.0.0.1:1/", *flags)
    told = [line for line in ended.err.splitlines() if "WARNING" in line and "consumer_timeout" in line]
    assert len(told) == warnings
