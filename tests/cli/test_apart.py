"""The worker's log is written, once, whatever a module that it serves does to logging."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import trio

from rpcb_trio import open_client
from rpcb_trio._commands._apart import set_all_apart
from rpcb_trio._commands._flood import MOST_KINDS, FloodFilter
from rpcb_trio._commands._logs import JsonFormatter, report, write_logs
from rpcb_trio._commands._settings._shared import LogSettings
from tests.cli.conftest import Serve
from tests.cli.silencing import CONFIGURATIONS, FORMS
from tests.rabbitmq import Broker

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.usefixtures("workplace")

log = logging.getLogger("rpcb_trio")


@pytest.fixture(autouse=True)
def _enabled_again() -> Iterator[None]:
    """`dictConfig` disables all loggers that there are, those of other tests included."""
    yield
    for each in logging.Logger.manager.loggerDict.values():
        if isinstance(each, logging.Logger):
            each.disabled = False


@pytest.fixture(scope="module")
def silenced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stderr of a process for each configuration and form."""
    folder = tmp_path_factory.mktemp("silenced")
    subprocess.run(
        [sys.executable, "-m", "tests.cli.silencing"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        check=True,
    )
    return folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_configuration_silences_the_log_or_doubles_it(name: str, form: str, silenced: Path) -> None:
    written = (silenced / f"{name}-{form}").read_text()
    *lines, last = written.splitlines()
    assert "the reason of its end" in last
    assert written.count("the reason of its end") == 1
    lines = [line for line in lines if "before" in line or "after" in line]
    told = [
        json.loads(line)["message"] if form == "json" else line.split(" ", 2)[2]
        for line in lines
        if line.startswith("{" if form == "json" else "20")
    ]
    wanted = [
        f"{when} {level}"
        for when in ("before", "after")
        for level in ("info", "warning", "error", "exception")
    ]
    assert told == wanted
    others = [line for line in lines if not line.startswith(("{", "20", "ValueError", "Traceback", " "))]
    assert others == []


def test_what_a_module_logs_itself_goes_where_it_sends_it(capfd: pytest.CaptureFixture[str]) -> None:
    write_logs(LogSettings())
    logging.getLogger("mine").info("by our handler")
    logging.basicConfig(force=True, format="MINE %(message)s", level=logging.INFO)
    logging.getLogger("mine").info("by its own")
    text = capfd.readouterr().err
    assert "INFO by our handler" in text
    assert "MINE by its own" in text


def test_a_logger_that_is_made_later_stands_apart_too(capfd: pytest.CaptureFixture[str]) -> None:
    write_logs(LogSettings())
    later = logging.getLogger("rpcb_trio.made.later")
    set_all_apart()
    logging.config.dictConfig({"version": 1})
    later.info("still here")
    assert "still here" in capfd.readouterr().err


def test_why_a_command_ends_keeps_its_form_after_a_configuration(capfd: pytest.CaptureFixture[str]) -> None:
    write_logs(LogSettings(log_format="json"))
    logging.config.dictConfig({"version": 1})
    report("there is no queue")
    assert json.loads(capfd.readouterr().err)["message"] == "there is no queue"


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "\udfff\ud800", "\U0001f511é\u2028"])
def test_no_character_loses_a_line(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    write_logs(LogSettings(log_format="json"))
    log.warning("it is %s", text)
    [line] = capfd.readouterr().err.split("\n")[:-1]
    told = json.loads(line)["message"]
    assert told == f"it is {text.encode(errors='backslashreplace').decode()}"


@pytest.mark.parametrize("text", ["\ud800", "é\u2028\U0001f511"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_nor_does_any_encoding_of_stderr(
    text: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stderr").open("w", encoding=encoding) as file:
        monkeypatch.setattr(sys, "stderr", file)
        write_logs(LogSettings())
        log.warning("it is %s", text)
    assert b"it is " in (tmp_path / "stderr").read_bytes()


def test_half_a_pair_in_a_name_or_a_traceback_loses_no_line_either() -> None:
    error = ValueError("\ud800")
    record = logging.LogRecord("rpcb_trio", 40, "", 1, "m", (), (ValueError, error, None))
    assert "\\ud800" in json.loads(JsonFormatter().format(record))["traceback"]


def test_any_number_of_kinds_costs_a_bounded_memory() -> None:
    flood = FloodFilter()
    for number in range(3 * MOST_KINDS):
        record = logging.LogRecord("rpcb_trio", 30, "", 1, "failed", (), None)
        record.code = f"code-{number}"
        assert flood.filter(record)
    assert len(flood._windows) == MOST_KINDS


HOSTILE = """
import logging, logging.config, os, sys

def configure():
    logging.config.dictConfig({"version": 1})
    logging.basicConfig(force=True, level=logging.ERROR)
    logging.disable(logging.CRITICAL)
    sys.stderr = open(os.devnull, "w")

configure()

class Service:
    def warm_up(self): configure()
    def decode(self, body): configure(); return body
    def infer(self, items):
        configure()
        return [ValueError("told") if item == b"bad" else item for item in items]
    def encode(self, outcome): configure(); return b"x"
"""


async def test_a_worker_tells_of_its_whole_life_though_its_model_silences_all(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "hostile.py").write_text(dedent(HOSTILE))
    async with serve("hostile:Service", "--queue", queue) as serving, open_client(broker.url) as client:
        await serving.line_with("consuming from queue")
        with trio.fail_after(60):
            await client.call(b"bad", queue=queue)
        await serving.line_with("told")
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
    for part in ("serving hostile:Service", "consuming from queue", "told", "draining", "drain: drained"):
        assert len([line for line in serving.lines if part in line]) == 1, part
