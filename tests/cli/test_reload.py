"""Settings that are read again while workers run: SIGHUP, the command `reload`, and POST /reload."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from rpcb_trio import RpcClient, open_client
from rpcb_trio._commands import _control
from tests.cli.conftest import Ended, Serve
from tests.cli.processes import command
from tests.rabbitmq import Broker

FILE = """
control_token_file = "token"
log_level = "{level}"
[workers.one]
target = "moving:shout"
queue = "{one}"
max_batch_size = {size}
[workers.two]
target = "moving:Greeting"
option = ["word={word}"]
queue = "{two}"
drain_timeout = "{drain}"
replicas = {replicas}
{more}
"""

MOVING = """
import os

os.chdir("/")
os.environ["RPCB_MAX_BATCH_SIZE"] = "1"

def shout(bodies):
    return [body.upper() for body in bodies]

class Greeting:
    def __init__(self, word):
        self.word = word

    def warm_up(self):
        if self.word == "none":
            raise RuntimeError("no weights")

    def decode(self, body):
        return body

    def infer(self, bodies):
        return [self.word.encode() + body for body in bodies]

    def encode(self, outcome):
        return outcome.value
"""

Reload = Callable[..., Awaitable[Ended]]


class Written:
    """An rpcb.toml that is written again and again."""

    def __init__(self, path: Path, broker: Broker) -> None:
        self._path = path
        self.one, self.two = broker.fresh_name(), broker.fresh_name()
        self.write()

    def write(
        self,
        *,
        size: int = 8,
        drain: str = "30s",
        replicas: int = 1,
        level: str = "info",
        word: str = "good",
        more: str = "",
    ) -> None:
        values = {
            "size": size,
            "drain": drain,
            "replicas": replicas,
            "level": level,
            "word": word,
            "more": more,
        }
        self._path.write_text(FILE.format(one=self.one, two=self.two, **values))


@pytest.fixture
def written(workplace: Path, broker: Broker) -> Written:
    (workplace / "token").write_text("sesame\n")
    (workplace / "wrong").write_text("open")
    (workplace / "moving.py").write_text(MOVING)
    return Written(workplace / "rpcb.toml", broker)


@pytest.fixture
def reload(run_command: Callable[..., Ended]) -> Reload:
    """Runs the command in a thread of this process."""
    return lambda *argv: trio.to_thread.run_sync(partial(run_command, "reload", *argv))


async def swap_models(reload: Callable[[], Awaitable[Ended]], client: RpcClient, written: Written) -> None:
    written.write(size=5, word="new", more="model_version = '2'")
    ended = await reload()
    assert ended.code == 0
    assert "two: option: changed live, word=good -> word=new" in ended.out.splitlines()
    reply = await client.call(b"!", queue=written.two, timeout=30)
    assert (reply.body, reply.headers["rpcb-model-version"]) == (b"new!", "2")
    written.write(size=6, word="none", more="model_version = '3'")
    ended = await reload()
    assert ended.code == 16
    assert "two: option: could not be changed, word=new -> word=none (" in ended.out
    assert "one: max_batch_size: changed live, 5 -> 6" in ended.out
    reply = await client.call(b"!", queue=written.two, timeout=30)
    assert (reply.body, reply.headers["rpcb-model-version"]) == (b"new!", "2")


async def test_a_reload_changes_what_it_can_of_every_worker_and_tells_of_the_rest(
    serve: Serve, broker: Broker, written: Written, reload: Reload, workplace: Path
) -> None:
    async with serve("--health-port=0", "--max-pending=64") as serving, open_client(broker.url) as client:
        await serving.line_with("two: consuming")
        here = f"--pid={serving.pid}"
        line = await serving.line_with("health: http://127.0.0.1:")
        url = line.partition("health: ")[2].partition("/livez")[0]

        written.write(size=4, drain="5s", more="max_pending = 70")
        ended = await reload(here)
        assert (ended.code, ended.err) == (0, "")
        *changes, summary = ended.out.splitlines()
        assert changes == [
            "one: max_batch_size: changed live, 8 -> 4",
            "two: drain_timeout: changed live, 30s -> 5s",
        ], "a flag comes before the file, and what the service has set is nothing"
        assert re.fullmatch(
            rf"process {serving.pid}: 2 changed live, 0 need\(s\) a restart, \d+ unchanged", summary
        )
        await serving.line_with("one: max_batch_size changed from 8 to 4")

        for _ in range(2):  # what needs a restart is told until then
            written.write(size=2, drain="5s", replicas=2)
            ended = await reload("--url", url, "--token-file", "token")
            assert (ended.code, ended.err) == (18, "")
            assert "two: replicas: needs a restart, 1 -> 2" in ended.out.splitlines()
        assert "max_batch_size" not in ended.out
        await serving.line_with("WARNING", "reload: two: replicas: needs a restart, 1 -> 2")

        written.write(more='log_level = "debug"')
        ended = await reload(here)
        assert (ended.code, ended.out) == (2, "")
        assert "rpcb.toml [workers.two]: there is no key log_level; it is for the whole process" in ended.line
        assert ended.line.endswith("; nothing was changed")
        await serving.line_with("ERROR", "reload: rpcb.toml", "the settings that were in force stay")

        written.write(size=2, drain="5s", more="prefetch = 3")
        assert "two: max_pending is 64, but with a prefetch of 3 " in (await reload(here)).line

        for argv in ([], ["--token-file", "wrong"]):
            ended = await reload("--url", f"{url}/reload", *argv)
            assert (ended.code, ended.out) == (2, "")
        assert "the token is missing or wrong" in ended.line
        (workplace / "token").write_text("open")  # it is read for each request
        written.write(size=3, drain="5s", level="debug")
        ended = await reload("--url", url, "--token-file", "wrong")
        assert "log_level: changed live, info -> debug" in ended.out.splitlines()

        written.write(size=5)
        serving.send(signal.SIGHUP)
        await serving.line_with("one: max_batch_size changed from 3 to 5")
        await serving.line_with("reload: 3 changed live, 0 need(s) a restart")
        await swap_models(partial(reload, here), client, written)
        assert (await client.call(b"hello", queue=written.one, timeout=30)).body == b"HELLO"
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0
        ended = await reload(here)
        assert ended.code == 5
        assert ended.line.startswith(
            f"rpcb-trio: process {serving.pid} can't be asked: Connection refused; is it"
        )


GATEWAY = """
[gateway]
port = {port}
serve = ["echo=echoing:echo"]
max_upload = "{size}"
"""


async def test_a_gateway_reloads_its_limits_and_needs_a_restart_for_its_routes(
    workplace: Path, reload: Reload
) -> None:
    (workplace / "token").write_text("sesame")
    (workplace / "echoing.py").write_text("def echo(bodies):\n    return bodies\n")
    file = workplace / "rpcb.toml"
    file.write_text(GATEWAY.format(port=0, size="1KiB"))
    async with command("gateway", cwd=workplace) as gateway:
        line = await gateway.line_with("gateway: http://127.0.0.1:")
        url = line.partition("gateway: ")[2].partition(",")[0]
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.post("/rpc/echo", content=b"x" * 100)).status_code == 200
            ended = await reload("--url", url, "--token-file", "token")
            assert (ended.code, "that is a gateway, which reloads at SIGHUP" in ended.line) == (2, True)
            file.write_text(GATEWAY.format(port=1, size="10B") + "[routes.more]\nqueue = 'more'\n")
            ended = await reload(f"--pid={gateway.pid}")
            assert ended.code == 18
            assert ended.out.splitlines()[:3] == [
                "port: needs a restart, 0 -> 1",
                "max_upload: changed live, 1KiB -> 10B",
                'routes.more: needs a restart, not set -> {"queue":"more"}',
            ]
            assert (await http.post("/rpc/echo", content=b"x" * 100)).status_code == 413
        file.write_text("[gateway]\nport = 'none'\n")
        gateway.send(signal.SIGHUP)
        await gateway.line_with("reload: rpcb.toml [gateway]: port", "the settings that were in force stay")
        gateway.send(signal.SIGTERM)
        assert await gateway.end() == 0


def test_it_says_what_is_missing_where_nothing_is_found(
    run_command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcb_trio._commands.reload._command.own_processes", list)
    assert "no process of rpcb-trio is found" in run_command("reload").line
    assert "--token-file is for --url" in run_command("reload", "--token-file=x").line
    assert "both given" in run_command("reload", "--pid=1", "--url=http://localhost:1").line
    assert "control_token is missing" in run_command("reload", "--url=http://localhost:1").line
    assert "write it as http://" in run_command("reload", "--url=localhost:1").line
    monkeypatch.setenv("RPCB_CONTROL_TOKEN", "sesame")
    ended = run_command("reload", "--url=http://localhost:1")
    assert (ended.code, "does serve run with --health-port?" in ended.line) == (5, True)


def test_processes_of_this_user_and_of_this_container_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = _control._listener()
    assert (listener is not None) == _control.IS_THERE
    if listener is None:
        return
    with listener:
        assert os.getpid() in _control.own_processes()
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
        assert _control.own_processes() == []
    monkeypatch.undo()
    assert os.getpid() not in _control.own_processes()
