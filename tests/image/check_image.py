"""The image as the Dockerfile describes it, made and run without a container engine: `make image-check`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from rpcb_trio import open_client
from tests.blocks import ROOT, blocks_of
from tests.image.dockerfile import Stage, read
from tests.image.rootfs import TOOLS, Container, build, running
from tests.rabbitmq import Broker, free_ports

PAGE = ROOT / "docs" / "how-to" / "deploy.md"
ARGUMENTS = {"EXTRAS": "gateway", "TORCH_INDEX": ""}
SENT = 24
METRICS = (
    "python",
    "-c",
    "import sys, urllib.request as r; print(r.urlopen(f'http://127.0.0.1:{sys.argv[1]}/metrics').read())",
)
BACKWARDS = """
def backwards(bodies):
    return [body[::-1] for body in bodies]
"""


class Image:
    def __init__(self, stage: Stage, root: Path) -> None:
        self.stage = stage
        self.root = root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.getuid() != 0 or not all(map(shutil.which, TOOLS)):
        pytest.fail(f"the image is made and run by root on Debian, with {', '.join(TOOLS)}")
    made = tmp_path_factory.mktemp("image")
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def image(folder: Path) -> Image:
    """The image of the Dockerfile."""
    stages = read((ROOT / "Dockerfile").read_text(), ARGUMENTS)
    (folder / "own").mkdir()
    return Image(stages[-1], build(stages, ROOT, folder / "own"))


@pytest.fixture(scope="module")
def derived(folder: Path, image: Image) -> Image:
    """The one that the documentation makes of it, with the service that it shows."""
    context = folder / "context"
    context.mkdir()
    files = {block.title: block.text for block in blocks_of(PAGE) if block.title}
    for name in ("Dockerfile", "shout.py"):
        (context / name).write_text(files[name])
    stages = read(files["Dockerfile"], bases={"rpcb-trio": image.stage})
    (folder / "derived").mkdir()
    return Image(stages[-1], build(stages, context, folder / "derived", {"rpcb-trio": image.root}))


@pytest.fixture
def given(broker: Broker, tmp_path: Path) -> tuple[dict[str, str], dict[str, Path]]:
    """The settings and the volumes of a container that reaches the broker; the password is in a file."""
    url = urlsplit(broker.url)
    secrets, journal = tmp_path / "secrets", tmp_path / "journal"
    for each in (secrets, journal):
        each.mkdir()
        os.chown(each, 10001, 10001)
    (secrets / "password").write_text(f"{url.password}\n")
    [port] = free_ports(1)
    settings = {
        "RPCB_URL": f"amqp://{url.hostname}:{url.port}{url.path}",
        "RPCB_USER": url.username or "",
        "RPCB_PASSWORD_FILE": "/run/secrets/rpcb/password",
        "RPCB_HEALTH_PORT": str(port),
    }
    return settings, {"/run/secrets/rpcb": secrets, "/var/lib/rpcb-trio": journal}


async def healthy(container: Container, stage: Stage) -> None:
    """Ask the image's own check until it is content."""
    with trio.fail_after(60):
        ask = partial(container.run, *stage.health)
        while (asked := await trio.to_thread.run_sync(ask)).returncode:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.2)
    assert asked.stdout.startswith("ready"), asked


async def test_a_worker_runs_as_a_number_on_a_read_only_root_is_healthy_and_drains_on_sigterm(
    image: Image, given: tuple[dict[str, str], dict[str, Path]], broker: Broker, queue: str
) -> None:
    settings, volumes = given
    command = ["serve", "rpcb_models.simple:accelerator", "--queue", queue, "--max-batch-size", "4"]
    with running(image.root, image.stage, command, given=settings, volumes=volumes) as container:
        await healthy(container, image.stage)
        assert container.run("id", "-u").stdout == "10001\n"
        assert container.run("sh", "-c", "cat /proc/1/comm").stdout == "tini\n"
        for path in ("/srv/file", "/opt/rpcb/file", "/file", "/var/lib/file"):
            assert "ead-only" in container.run("touch", path).stderr
        assert list(volumes["/var/lib/rpcb-trio"].iterdir())  # the journal
        assert "rpcb_ready" in container.run(*METRICS, settings["RPCB_HEALTH_PORT"]).stdout
        container.run("sh", "-c", "kill -HUP 1")  # as `kubectl exec` does
        answered = 0
        async with open_client(broker.url) as client, trio.open_nursery() as nursery:
            first = trio.Event()

            async def ask() -> None:
                nonlocal answered
                await client.call(b"hello", queue=queue, timeout=30)
                answered += 1
                first.set()

            for _ in range(SENT):
                nursery.start_soon(ask)
            await first.wait()
            container.terminate()
            code, log = await trio.to_thread.run_sync(container.wait)
            print(log)  # noqa: T201 - who asked for it reads it
            assert code == 0
            assert "reload: " in log
            assert "drained" in log
            with broker.channel() as channel:
                left = channel.queue_declare(queue, passive=True).method.message_count
                channel.queue_purge(queue)
            with trio.fail_after(10):
                while answered < SENT - left:  # noqa: ASYNC110 - the last replies are under way
                    await trio.sleep(0.05)
            assert 4 < answered == SENT - left
            nursery.cancel_scope.cancel()


async def test_a_service_of_one_s_own_is_a_copy_on_top_of_it(
    derived: Image, given: tuple[dict[str, str], dict[str, Path]], broker: Broker, queue: str
) -> None:
    settings, volumes = given
    settings = {**settings, "RPCB_QUEUE": queue}
    with running(
        derived.root, derived.stage, derived.stage.command, given=settings, volumes=volumes
    ) as container:
        await healthy(container, derived.stage)
        async with open_client(broker.url) as client:
            assert (await client.call(b"hello", queue=queue, timeout=30)).body == b"HELLO"
        container.terminate()
        code, log = await trio.to_thread.run_sync(container.wait)
    assert code == 0, log


async def test_a_service_may_also_be_mounted_and_named_by_variables(
    image: Image, given: tuple[dict[str, str], dict[str, Path]], broker: Broker, queue: str, tmp_path: Path
) -> None:
    settings, volumes = given
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "mine.py").write_text(
        "def backwards(bodies):\n    return [b[::-1] for b in bodies]\n"
    )
    settings = {**settings, "RPCB_QUEUE": queue, "RPCB_TARGET": "mine:backwards"}
    volumes = {**volumes, "/srv": tmp_path / "services"}
    with running(image.root, image.stage, ["serve"], given=settings, volumes=volumes) as container:
        await healthy(container, image.stage)
        async with open_client(broker.url) as client:
            assert (await client.call(b"abc", queue=queue, timeout=30)).body == b"cba"
        container.terminate()
        code, log = await trio.to_thread.run_sync(container.wait)
    assert code == 0, log


async def test_the_gateway_of_the_image_answers_and_drains(
    image: Image, given: tuple[dict[str, str], dict[str, Path]], broker: Broker
) -> None:
    settings, volumes = given
    settings = {**settings, "RPCB_PORT": settings["RPCB_HEALTH_PORT"], "RPCB_HOST": "0.0.0.0"}  # noqa: S104 - as in a pod
    with running(
        image.root, image.stage, ["gateway", "--rpc", "any"], given=settings, volumes=volumes
    ) as container:
        await healthy(container, image.stage)
        container.terminate()
        code, log = await trio.to_thread.run_sync(container.wait)
    assert code == 0, log
