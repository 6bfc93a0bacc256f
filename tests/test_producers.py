"""The producers of docs/how-to/producers.md, as their files are, against a real broker and a real worker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio

from rpcb_trio import FixedPolicy, RequestError, Topology
from tests.amqp.producer import Producer
from tests.amqp.serving import serving
from tests.answering import PATIENCE
from tests.rabbitmq import Broker

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "producers"
PAGE = ROOT / "docs" / "how-to" / "producers.md"
ALIKE = ["asyncio", "blocking", "node", "pika", "trio"]

NOBODY = "amqp://127.0.0.1:1"
PACKAGES = {"amqp-consume": "amqp-tools", "node": "nodejs", "npm": "npm", "sh": "dash"}


def found(program: str) -> str:
    """Its path; a test that needs it fails where it is missing, rather than be skipped."""
    path = shutil.which(program)
    remedy = f"install it (on Debian, as root: apt-get install {PACKAGES[program]})"
    return path or pytest.fail(f"The tests run a producer with {program}: {remedy}.")


def plain(url: str) -> str:
    """Without a last slash, which amqp-tools take for a virtual host without a name."""
    return url.removesuffix("/")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node producer with what its lock file names."""
    folder = tmp_path_factory.mktemp("node") / "node"
    shutil.copytree(FOLDER / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(
        [found("npm"), "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return folder


@pytest.fixture
def command(name: str, request: pytest.FixtureRequest) -> list[str]:
    """How the producer of this name is run."""
    if name == "node":
        return [found("node"), str(request.getfixturevalue("node_folder") / "producer.mjs")]
    return [sys.executable, str(FOLDER / f"{name}_producer.py")]


def shout(bodies: list[bytes]) -> Sequence[bytes | Exception]:
    return [body.upper() if body.islower() else RequestError("no capitals, please") for body in bodies]


Ended = tuple[int, str, str]


async def run_all(command: list[str], *runs: tuple[str, ...]) -> list[Ended]:
    """Run it at once with each of these URLs and arguments; returns exit codes and what was printed."""
    endings: dict[int, Ended] = {}

    async def run(number: int, url: str, arguments: Sequence[str]) -> None:
        start = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False)
        ended = await start([*command, *arguments], env={**os.environ, "AMQP_URL": url})
        endings[number] = ended.returncode, ended.stdout.decode(), ended.stderr.decode()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number, (url, *arguments) in enumerate(runs):
                nursery.start_soon(run, number, url, arguments)
    return [endings[number] for number in range(len(runs))]


@pytest.mark.parametrize("name", ALIKE)
async def test_a_producer_prints_its_reply_or_one_line_that_says_why_there_is_none(
    name: str, command: list[str], broker: Broker, queue: str
) -> None:
    silent, nowhere, url = broker.fresh_name(), broker.fresh_name(), plain(broker.url)
    producer = Producer(broker, silent)
    await producer.declare(silent)
    async with serving(shout, broker, Topology(queue=queue)):
        reply, *others = await run_all(
            command,
            (url, queue, "hello"),
            (url, queue, "HELLO"),
            (url, silent, "hello", "0.2"),
            (url, nowhere, "hello"),
            (NOBODY, queue, "hello"),
        )
    assert reply == (0, "HELLO\n", "")
    words = [
        ("request", "no capitals, please"),
        (f"no reply from {silent} within 0.2 s",),
        ("no queue", nowhere),
        (),
    ]
    for (code, printed, said), mentioned in zip(others, words, strict=True):
        [line] = said.splitlines()
        assert (code, printed) == (1, "")
        assert all(word in line for word in mentioned), line
    assert await producer.count(silent) == 0, "the request outlived its producer's patience"


async def test_amqp_tools_see_the_body_of_each_reply_and_nothing_else_of_it(
    broker: Broker, queue: str
) -> None:
    command = [found("sh"), str(FOLDER / "shell" / "producer.sh")]
    found("amqp-consume")
    nowhere, url = broker.fresh_name(), plain(broker.url)
    async with serving(shout, broker, Topology(queue=queue)):
        reply, error, lost, away = await run_all(
            command,
            (url, queue, "hello"),
            (url, queue, "HELLO"),
            (url, nowhere, "hello", "3"),
            (NOBODY, queue, "hello"),
        )
    assert reply == (0, "HELLO\n", "")
    assert error == (0, "request: no capitals, please\n", "")
    assert lost == (1, "", f"no reply from {nowhere} within 3 s; is there such a queue?\n")
    assert away == (1, "", "the broker can't be used: opening socket to 127.0.0.1:1\n")


SOURCES = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.suffix in {".py", ".mjs", ".sh", ".java"} and "node_modules" not in path.parts
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_page_shows_each_producer_as_its_file_is(source: Path) -> None:
    shown = re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```$', PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert dict(shown)[str(source.relative_to(ROOT))] == source.read_text()


async def test_a_producer_that_cancels_what_it_gives_up_is_heard_by_the_worker(
    broker: Broker, queue: str
) -> None:
    gate = threading.Event()

    def slowly(bodies: list[bytes]) -> list[bytes]:
        gate.wait(PATIENCE)
        return bodies

    command, url = [sys.executable, str(FOLDER / "pika_cancel.py")], plain(broker.url)
    async with serving(
        slowly, broker, Topology(queue=queue, cancel=True), batching=FixedPolicy(1)
    ) as running:
        await Producer(broker, queue).send(b"first")
        [(code, printed, said)] = await run_all(command, (url, queue, "second", "0.01"))
        await running.until_settled(1)
        gate.set()
        [answered] = await run_all(command, (url, queue, "third"))
    assert (code, printed, "is cancelled" in said) == (1, "", True)
    assert [answer.request.body for answer, _ in running.settled] == [b"second", b"first", b"third"]
    assert answered == (0, "third\n", "")
