"""The examples for web frameworks and Celery call a worker, from processes that were forked and threads."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from rpcb_trio.errors import RequestError
from tests.answering import PATIENCE, answering
from tests.rabbitmq import Broker

EXAMPLES = Path(__file__).parent.parent / "examples" / "web"


def shout(bodies: list[bytes]) -> list[bytes | Exception]:
    return [body.upper() if body else RequestError("there is nothing to shout") for body in bodies]


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal("trio") as portal:
        yield portal


@pytest.fixture(scope="module")
def environment(broker: Broker, portal: BlockingPortal) -> Iterator[dict[str, str]]:
    """Where the examples find the broker and a queue that shouts."""
    with answering(portal, broker, shout) as queue:
        yield os.environ | {"AMQP_URL": broker.url, "QUEUE": queue}


@contextmanager
def running(environment: dict[str, str], *command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=EXAMPLES, env=environment, text=True)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(PATIENCE) in {0, -15}


SERVERS = {
    "flask": ("gunicorn", "--preload", "--workers", "2", "--threads", "4", "flask_app:app"),
    "django": ("gunicorn", "--preload", "--workers", "2", "--threads", "4", "django_app:application"),
    "fastapi": ("hypercorn", "--workers", "2", "fastapi_app:app"),
}


@pytest.mark.parametrize("framework", SERVERS)
def test_the_example_of_a_web_framework_calls_from_each_of_its_processes(
    framework: str, environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "http"
    with (
        running(environment, *SERVERS[framework], "--bind", f"unix:{path}") as server,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as http,
        ThreadPoolExecutor(8) as threads,
    ):
        await_server(path, server)
        answers = list(threads.map(lambda n: http.post("/shout", content=b"hello %d" % n), range(40)))
        assert [answer.content for answer in answers] == [b"HELLO %d" % n for n in range(40)]
        refused = http.post("/shout")
        assert (refused.status_code, "nothing to shout" in refused.text) == (400, True)


def await_server(path: Path, server: subprocess.Popen[str]) -> None:
    """Wait until it accepts connections."""
    give_up = monotonic() + PATIENCE
    while True:
        assert server.poll() is None
        assert monotonic() < give_up
        with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
            probe.connect(str(path))
            return
        sleep(0.05)


def test_the_example_of_celery_calls_from_its_forked_workers(environment: dict[str, str]) -> None:
    ask = "from celery_tasks import shout; print(*[each.get(timeout=30) for each in map(shout.delay, 'abc')])"
    worker = ("celery", "-A", "celery_tasks", "worker", "--concurrency", "2", "--without-mingle")
    with running(environment, *worker):
        told = subprocess.run(
            [sys.executable, "-c", ask],
            cwd=EXAMPLES,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (told.stdout, told.returncode) == ("A B C\n", 0), told.stderr
