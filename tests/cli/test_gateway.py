"""The command `gateway`."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio

from rpcb_models.simple import echo
from rpcb_trio import Topology
from rpcb_trio._commands.gateway._command import allow_all_files
from rpcb_trio._commands.gateway._embedded import rerouted
from rpcb_trio._gateway import read_routes
from rpcb_trio._service import bind
from tests.amqp.serving import serving
from tests.cli.conftest import Ended
from tests.cli.processes import Command, command
from tests.gateway.curl import TYPE, curl
from tests.gateway.listening import status_of
from tests.rabbitmq import Broker

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "models" / "rpcb_models" / "recordings" / "librivox-0870.wav"


class Gated:
    """An echo that answers once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()

    def __call__(self, bodies: list[bytes]) -> list[bytes]:
        self.may.wait()
        return bodies


async def port_of(gateway: Command) -> int:
    """Where it says that it is."""
    line = await gateway.line_with("gateway: http://127.0.0.1:")
    return int(line.split("http://127.0.0.1:")[1].split(",")[0])


def ask(queue: str) -> bytes:
    """A request as it is on the wire."""
    return f"POST /rpc/{queue} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()


async def in_flight(port: int) -> None:
    """Wait until a request is in flight."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        while (await http.get("/readyz")).json()["in_flight"] != 1:  # noqa: ASYNC110 - it tells who asks
            await trio.sleep(0.02)


async def test_the_first_sigterm_drains_what_is_in_flight_is_answered_and_nobody_new_is_let_in(
    broker: Broker, queue: str, workplace: Path
) -> None:
    service = Gated()
    argv = ("gateway", "--port", "0", "--rpc", queue, "--url", broker.url)
    async with serving(service, broker, Topology(queue=queue)), command(*argv, cwd=workplace) as gateway:
        port = await port_of(gateway)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(
                f"POST /rpc/{queue} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()
            )
            await in_flight(port)
            gateway.send(signal.SIGTERM)
            await gateway.line_with("SIGTERM: draining")
            await refused(port)
            service.may.set()
            assert await status_of(stream) == 200
        assert await gateway.end() == 0


def test_the_urls_of_callbacks_are_in_no_line_of_the_log(run_command: Callable[..., Ended]) -> None:
    assert "there is nothing to answer" in run_command("gateway").err
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)


async def refused(port: int) -> None:
    """Wait until nobody is let in any more."""
    while True:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        except OSError:
            return


async def test_the_second_signal_ends_it_at_once_and_its_code_says_which(
    broker: Broker, queue: str, workplace: Path
) -> None:
    argv = ("gateway", "--port", "0", "--rpc", queue, "--url", broker.url)
    with broker.channel() as channel:
        channel.queue_declare(queue)
    async with command(*argv, cwd=workplace) as gateway:
        port = await port_of(gateway)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(
                f"POST /rpc/{queue} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()
            )
            await in_flight(port)
            gateway.send(signal.SIGTERM)
            await gateway.line_with("SIGTERM: draining")
            assert await gateway.insist(signal.SIGINT) == 128 + signal.SIGINT


async def test_it_serves_a_model_without_any_broker_answers_the_ancestor_s_curl_line_and_has_metrics() -> (
    None
):
    argv = (
        "gateway",
        "--port",
        "0",
        "--config",
        "models/rpcb_models/gateway.toml",
        "--serve",
        "asr=rpcb_models.asr:SpeechRecognition",
    )
    body = curl(filename=RECORDING.name, audio=RECORDING.read_bytes(), format="wav")
    async with command(*argv, cwd=ROOT) as gateway:
        port = await port_of(gateway)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            heard = await http.post("/asr", content=body, headers=TYPE)
            page, other = await http.get("/"), await http.post("/api/se", content=body, headers=TYPE)
            metrics = await http.get("/metrics")
        gateway.send(signal.SIGTERM)
        assert await gateway.end() == 0
    assert len(heard.json()["data"]["sentence"].split()) > 5
    assert (page.status_code, other.status_code) == (200, 404)
    assert 'rpcb_gateway_requests_total{route="/asr",status="200"} 1.0' in metrics.text
    assert 'rpcb_requests_total{outcome="success",queue="asr"} 1.0' in metrics.text
    assert "[routes.se] is left out: it needs --serve se=MODULE:ATTRIBUTE" in "".join(gateway.lines)
    assert "[routes.main] is left out: it needs --serve se=MODULE:ATTRIBUTE" in "".join(gateway.lines)


def test_a_service_in_the_gateway_is_reached_by_the_route_of_its_name_and_by_those_with_its_queue(
    caplog: pytest.LogCaptureFixture,
) -> None:
    form = {"text": "text"}
    routes = read_routes(
        {
            "echo": {"queue": "elsewhere", "form": form},
            "closed": {"queue": "echo", "auth": ["ann"], "form": form},
            "other": {"queue": "other", "form": form},
            "both": {"form": form, "parts": {"a": {"route": "echo"}, "b": {"route": "closed"}}},
            "broken": {"form": form, "parts": {"a": {"route": "other"}}},
        }
    )
    kept = rerouted(routes, {"echo": bind(echo)})
    assert {name: route.queue for name, route in kept.items()} == {
        "echo": "echo",
        "closed": "echo",
        "both": None,
    }
    assert kept["closed"].auth == ("ann",)
    left_out = "is left out: it needs --serve other=MODULE:ATTRIBUTE"
    assert caplog.messages == [f"[routes.{name}] {left_out}" for name in ("other", "broken")]


SERVED = ("gateway", "--port", "0", "--serve", "echo=rpcb_models.simple:echo")


@pytest.mark.parametrize(
    ("flags", "status"),
    [((), 421), (("--allowed-host", "other.example"), 421), (("--allowed-host", "evil.example"), 200)],
)
async def test_on_this_machine_s_own_address_it_answers_to_no_name_that_a_page_may_have_given_it(
    flags: tuple[str, ...], status: int
) -> None:
    async with command(*SERVED, *flags, cwd=ROOT) as gateway:
        url = f"http://127.0.0.1:{await port_of(gateway)}"
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            foreign = await http.post("/rpc/echo", headers={"host": "evil.example:8083"})
            own = [
                await http.get("/", headers={"host": name}) for name in ("localhost", "gateway", "[::1]:1")
            ]
    assert foreign.status_code == status
    assert {each.status_code for each in own} == {200}


async def test_on_every_address_it_warns_until_it_knows_callers_and_a_reload_reads_their_keys(
    workplace: Path, run_command: Callable[..., Ended]
) -> None:
    (workplace / "echoing.py").write_text("def echo(bodies):\n    return bodies\n")
    file = workplace / "rpcb.toml"
    file.write_text('[gateway]\nhost = "0.0.0.0"\nport = 0\nserve = ["echo=echoing:echo"]\n')
    made = await trio.to_thread.run_sync(run_command, "api-key", "mobile")
    key, line = (each.rpartition(": ")[2].strip() for each in made.out.splitlines())
    async with command("gateway", cwd=workplace) as gateway:
        told = await gateway.line_with("gateway: http://0.0.0.0:")
        url = f"http://127.0.0.1:{told.split('0.0.0.0:')[1].split(',')[0]}"
        await gateway.line_with("WARNING", "knows no callers, so whoever reaches it", "set api_key_file")
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.post("/rpc/echo", content=b"x")).status_code == 200
            file.write_text(f'{file.read_text()}api_key_file = "keys"\n')
            (workplace / "keys").write_text(line)
            gateway.send(signal.SIGHUP)
            await gateway.line_with("reload: 1 changed live")
            shown = {"x-api-key": key}
            assert (await http.post("/rpc/echo", content=b"x")).status_code == 401
            assert (await http.post("/rpc/echo", content=b"x", headers=shown)).status_code == 200
            (workplace / "keys").write_text(f"# mobile's was taken away\nother={'0' * 64}\n")
            file.write_text(f'{file.read_text()}rate_limit = "100/m"\n')
            gateway.send(signal.SIGHUP)
            await gateway.line_with("reload: 2 changed live")
            assert (await http.post("/rpc/echo", content=b"x", headers=shown)).status_code == 401
            (workplace / "keys").write_text("")  # it must not let in everybody
            gateway.send(signal.SIGHUP)
            await gateway.line_with("reload: ", "holds no keys", "the settings that were in force stay")
            assert (await http.post("/rpc/echo", content=b"x")).status_code == 401
        gateway.send(signal.SIGTERM)
        assert await gateway.end() == 0
    assert not any(key in line for line in gateway.lines)


def test_an_api_key_has_a_name_that_logs_can_show(run_command: Callable[..., Ended]) -> None:
    ended = run_command("api-key", "a b")
    assert (ended.code, "is written as NAME=HASH" in ended.line) == (2, True)
    ended = run_command("api-key", "a=b")
    assert (ended.code, "give the name alone" in ended.line) == (2, True)


def test_a_file_of_keys_that_everybody_may_write_lets_nobody_in(
    run_command: Callable[..., Ended], workplace: Path
) -> None:
    (workplace / "keys").write_text(f"mobile={'0' * 64}\n")
    (workplace / "keys").chmod(0o666)
    ended = run_command("gateway", "--rpc=q", "--api-key-file=keys", "--port=0")
    assert (ended.code, "can be written by everybody; take that away with chmod o-w" in ended.line) == (
        2,
        True,
    )


async def test_without_a_temporary_directory_it_serves_as_long_as_no_route_makes_files(
    workplace: Path,
) -> None:
    (workplace / "sitecustomize.py").write_text(
        "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/proc/none']\n"
    )
    where = f"{workplace}:{ROOT / 'models'}:{ROOT / 'src'}"
    async with command(*SERVED, cwd=workplace, PYTHONPATH=where) as gateway:
        url = f"http://127.0.0.1:{await port_of(gateway)}"
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            assert (await http.post("/rpc/echo", content=b"x" * 3_000_000)).status_code == 200
    (workplace / "rpcb.toml").write_text(
        '[routes.echo]\nform = {a = "file"}\nqueue = "q"\nurls = {a = "url"}\n'
    )
    async with command(*SERVED, cwd=workplace, PYTHONPATH=where) as gateway:
        await gateway.line_with("files: there is no temporary directory: ")
        assert await gateway.end() != 0
        assert "Traceback" not in "".join(gateway.lines)


async def test_without_its_extra_it_names_what_to_install(workplace: Path) -> None:
    (workplace / "hypercorn.py").write_text("raise ModuleNotFoundError('gone', name='hypercorn')")
    async with command("gateway", "--rpc", "x", cwd=workplace, PYTHONPATH=str(workplace)) as gateway:
        line = await gateway.line_with("the gateway needs hypercorn")
        assert "pip install 'rpcb-trio[gateway]'" in line
        assert await gateway.end() != 0


def test_it_takes_all_the_open_files_that_it_may_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
        allow_all_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_anything_to_answer_it_says_what_to_write(run_command: Callable[..., Ended]) -> None:
    ended = run_command("gateway")
    assert "write [routes.NAME] into rpcb.toml, name a queue with --rpc, or a service" in ended.line
    assert ended.code != 0


@pytest.mark.parametrize(
    ("serve", "complaint"),
    [
        ("shout", "--serve shout: write it as NAME=MODULE:ATTRIBUTE"),
        ("shout=nowhere:shout", "there is no module nowhere"),
    ],
)
def test_a_service_that_can_t_be_served_is_told_in_one_line(
    run_command: Callable[..., Ended], serve: str, complaint: str
) -> None:
    ended = run_command("gateway", "--port", "0", "--serve", serve)
    assert complaint in ended.line
    assert ended.code != 0


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ('[routes.asr]\nqueu = "asr"\n', "[routes.asr]: there is no key queu; did you mean queue?"),
        ('[routes]\nasr = "asr"\n', "routes"),
        ('[gateway]\nprt = 1\n[routes.asr]\nqueue = "asr"\n', "prt"),
        ('[gateway]\nport = "x"\n[routes.asr]\nqueue = "asr"\n', "port"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_in_one_line(
    run_command: Callable[..., Ended], workplace: Path, file: str, complaint: str
) -> None:
    (workplace / "rpcb.toml").write_text(file)
    ended = run_command("gateway")
    assert complaint in ended.line
    assert ended.code != 0


def test_a_port_that_is_taken_is_named(run_command: Callable[..., Ended]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_command("gateway", "--rpc", "x", "--port", str(port))
    assert f"port {port} of host 127.0.0.1 can't be listened on: Address already in use" in ended.line
    assert ended.code != 0


def test_a_place_for_files_that_can_t_be_used_is_named(
    run_command: Callable[..., Ended], broker: Broker
) -> None:
    ended = run_command("gateway", "--rpc", "x", "--port", "0", "--url", broker.url, "--files", "/proc/none")
    assert "files: /proc/none can't be used" in ended.err.splitlines()[-1]
    assert ended.code != 0


def test_a_broker_that_is_not_there_is_named(run_command: Callable[..., Ended]) -> None:
    ended = run_command("gateway", "--rpc", "x", "--port", "0", "--url", "amqp://127.0.0.1:1/")
    assert "127.0.0.1:1" in ended.line
    assert ended.code != 0
