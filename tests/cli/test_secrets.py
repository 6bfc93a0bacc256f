"""The broker's password is in no line that a command writes, whatever is wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from yarl import URL

from rpcb_trio._commands._logs import JsonFormatter, PlainFormatter, TextFormatter
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._shown import without_passwords
from tests.cli.conftest import Ended, Serve
from tests.rabbitmq import Broker, Node

Run = Callable[..., Ended]

SECRET = "hunter2"  # noqa: S105 - what no line may hold


@pytest.fixture(autouse=True)
def _service(workplace: Path) -> None:
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")


@pytest.mark.parametrize(
    "flags",
    [
        ["--url", f"amqp://u:{SECRET}@127.0.0.1:1/"],
        ["--url", f"amqp://u:{SECRET}@127.0.0.1:1/", "--log-level", "debug"],
        ["--url", f"amqp://u:{SECRET}@127.0.0.1:1/", "--log-format", "json"],
        ["--url", f"amqp://u:{SECRET}@[h/"],
        ["--url", f"amqp://u:{SECRET}\N{ACCOUNT OF}@h/"],
        ["--url", f"amqp://u:p/{SECRET}@h/"],
        ["--url", f"amqp://u:p@{SECRET}@h/"],
        ["--url", f"amqp://u:{SECRET}@h/?unknown=1"],
        ["--url", f"amqps://u:{SECRET}@h/?cafile=nowhere"],
        ["--ulr", f"amqp://u:{SECRET}@h/"],
        ["--heartbeat", f"amqp://u:{SECRET}@h/"],
        [f"amqp://u:{SECRET}@h/"],
        ["--password", SECRET, "--heartbeat", "often"],
        ["--password", SECRET, "--url", "amqp://u:p@h/"],
        ["--password", SECRET, "--url", "amqp://u@127.0.0.1:1/", "--log-level", "debug"],
        ["--password-file", "password", "--url", "amqp://u@127.0.0.1:1/", "--log-level", "debug"],
        ["--password-file", "password", "--password", SECRET],
        ["--url-file", "half"],
        ["--url-file", "url", "--url", f"amqp://u:{SECRET}@h/"],
    ],
    ids=str,
)
def test_no_wrong_setting_shows_it(run_command: Run, workplace: Path, flags: list[str]) -> None:
    (workplace / "half").write_text(f"amqp://u:{SECRET}")
    (workplace / "password").write_text(f"{SECRET}\n")
    (workplace / "url").write_text(f"amqp://u:{SECRET}@h/")
    ended = run_command("serve", "service:echo", "--queue", "q", *flags)
    assert ended.code in (2, 5)
    assert SECRET not in ended.out + ended.err


@pytest.mark.parametrize(
    "line", ["password = ['{0}']", 'url = ["{0}"]', 'url = "{0}', 'heartbeat = "{0}"', 'ulr = "{0}"']
)
def test_no_wrong_file_shows_it(run_command: Run, workplace: Path, line: str) -> None:
    (workplace / "rpcb.toml").write_text(line.format(f"amqp://u:{SECRET}@h/"))
    ended = run_command("serve", "service:echo", "--queue", "q")
    assert ended.code == 2
    assert SECRET not in ended.err


@pytest.mark.parametrize("formatter", [PlainFormatter(), TextFormatter(), JsonFormatter()])
def test_a_crash_that_quotes_the_url_is_logged_without_it(formatter: logging.Formatter) -> None:
    try:
        int(f"amqp://u:{SECRET}@h/")
    except ValueError as error:
        crash = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, f"see amqp://u:{SECRET}@h/", None, crash)
    line = formatter.format(record)
    assert SECRET not in line
    assert line.count("amqp://u:***@h/") >= 2


async def test_a_worker_at_log_level_debug_never_shows_it(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    refused = broker.url.replace("guest:guest", f"guest:{SECRET}")
    async with serve("service:echo", "--queue", queue, "--log-level", "debug", url=refused) as running:
        assert await running.end() == 3
    assert any("refused the user 'guest'" in line for line in running.lines)
    assert not [line for line in running.lines if SECRET in line]


def test_the_url_may_stand_in_a_file_that_is_read_for_each_connection(
    run_command: Run, broker: Broker, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "url").write_text(f"{broker.url}\n")
    monkeypatch.setenv("RPCB_URL_FILE", "url")
    assert run_command("call", "--queue", "there-is-no-such-queue", "x").code == 8


def test_a_file_for_the_url_that_can_not_be_read_is_named(run_command: Run, workplace: Path) -> None:
    ended = run_command("call", "--queue", "q", "--url-file", "nowhere", "x")
    assert ended.code == 2
    assert ended.line == "rpcb-trio: url_file nowhere can't be read: No such file or directory"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("amqp://me:secret@host:5672/v", "amqp://me:***@host:5672/v"),
        ("amqp://me:s@cret@host/", "amqp://me:***@host/"),
        ("amqps://me@host/?name=x", "amqps://me@host/?name=x"),
        ("amqp://host", "amqp://host"),
        ("amqp://me:secret@[::1]:5672/", "amqp://me:***@[::1]:5672/"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, masked: str) -> None:
    assert without_passwords(url) == masked


def test_no_representation_of_the_settings_shows_a_password_that_stands_beside_the_url() -> None:
    assert SECRET not in repr(Settings(password=SECRET))


def test_a_password_with_any_characters_logs_in_as_it_is(
    run_command: Run, node: Node, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "p/w@:#?%25 '\"&+"  # noqa: S105 - of a test
    trio.run(node.rabbitmqctl, "add_user", queue, password)
    trio.run(node.rabbitmqctl, "set_permissions", queue, ".*", ".*", ".*")
    url = URL(node.url).with_user(None).with_password(None)
    monkeypatch.setenv("RPCB_URL", str(url))
    monkeypatch.setenv("RPCB_USER", queue)
    monkeypatch.setenv("RPCB_PASSWORD", password)
    assert run_command("call", "--queue", "there-is-no-such-queue", "x").code == 8
    monkeypatch.setenv("RPCB_PASSWORD", f"{password}x")
    assert run_command("call", "--queue", "there-is-no-such-queue", "x").code == 3
