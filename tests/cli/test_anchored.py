"""A path is meant where the command was started, whatever directory the service changes to."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from rpcb_trio import open_client
from rpcb_trio._commands._settings._anchored import anchored
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._serve import Settings
from tests.cli.conftest import Serve
from tests.rabbitmq import Broker


def test_every_relative_path_becomes_absolute_and_nothing_else_changes(workplace: Path) -> None:
    given = Settings(url_file="u", password_file="p", audit="../a", journal="./j", queue="off")  # noqa: S106 - a path
    assert anchored(given) == replace(
        given,
        url_file=f"{workplace}/u",
        password_file=f"{workplace}/p",
        audit=f"{workplace}/../a",
        journal=f"{workplace}/j",
    )


@pytest.mark.parametrize(
    "given",
    [
        Settings(),
        Settings(journal="off"),
        Settings(url_file="/u", audit="/dev/stdout"),
        Settings(url="amqps://u:p%2F@h/v%2f?cafile=/ca.pem&heartbeat=5"),
        GatewaySettings(files="s3://bucket/prefix"),
    ],
    ids=range(5),
)
def test_what_is_no_relative_path_stays(given: Settings | GatewaySettings, workplace: Path) -> None:
    assert anchored(given) == given


def test_so_do_files_of_the_url_and_of_the_gateway(workplace: Path) -> None:
    url = "amqps://u:p%2F@h/v?cafile=my ca.pem&auth=external&keyfile=k"
    assert anchored(Settings(url=url)).url == (
        f"amqps://u:p%2F@h/v?cafile={workplace}/my%20ca.pem&auth=external&keyfile={workplace}/k"
    )
    assert anchored(GatewaySettings(files="stored")).files == f"{workplace}/stored"


async def test_a_service_that_changes_the_directory_moves_no_file_of_ours(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "moving.py").write_text(
        "import os\nos.makedirs('elsewhere', exist_ok=True)\nos.chdir('elsewhere')\n"
        "def echo(bodies):\n    os.chdir('/')\n    return bodies\n"
    )
    (workplace / "url").write_text(broker.url)
    argv = ("moving:echo", "--queue", queue, "--audit=audit.jsonl", "--journal=state/j", "--url-file=url")
    (workplace / "state" / "j").mkdir(parents=True)
    async with serve(*argv, url="") as serving, open_client(broker.url) as client:
        await serving.line_with("consuming from queue")
        await client.call(b"x", queue=queue)
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    assert '"line":"batch"' in (workplace / "audit.jsonl").read_text()
    assert list((workplace / "elsewhere").iterdir()) == []
