"""A RabbitMQ for the tests: a private node started from Debian's package, or the one that a URL names."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from uuid import uuid4

import pika  # type: ignore[import-untyped] # it carries no types
import pytest
import trio

URL_VARIABLE = "RPCB_TEST_AMQP_URL"
ROOT_VARIABLE = "RPCB_TEST_RABBITMQ_ROOT"
ENTER = Path(__file__).parent / "nodes" / "enter"
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 90.0
STOP_SECONDS = 20.0

START_AND_STOP = """
exec 3<&0
"$0" 3<&- & server=$!
(read -r line <&3; kill -TERM $server) &
wait $server
epmd -kill
"""
"""Runs a server until standard input ends: when the tests say so, or however else they end."""

PLUGINS = "[rabbitmq_auth_mechanism_ssl, rabbitmq_auth_backend_oauth2].\n"

CONFIGURATION = """
disk_free_limit.absolute = 1MB
log.file.level = info
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
ssl_cert_login_from = common_name
ssl_options.verify = verify_peer
"""

TOKEN_KEY = "of the tests"  # noqa: S105 - as it says

ADVANCED_CONFIGURATION = f"""
[{{rabbit, [{{auth_backends, [rabbit_auth_backend_internal, rabbit_auth_backend_oauth2]}}]}},
 {{rabbitmq_auth_backend_oauth2, [
   {{resource_server_id, <<"rabbitmq">>}},
   {{key_config, [{{default_key, <<"tests">>}}, {{signing_keys, #{{<<"tests">> =>
     {{map, #{{<<"kty">> => <<"oct">>, <<"k">> => <<"{urlsafe_b64encode(TOKEN_KEY.encode()).decode()}">>}}}}
   }}}}]}}
 ]}}].
"""
"""It takes OAuth 2 tokens that are signed with `TOKEN_KEY`."""

NO_BUSY_WAIT = "+sbwt none +sbwtdcpu none +sbwtdio none"
"""Erlang's threads sleep as soon as they have nothing to do: the processors are for the tests."""

REMEDIES = (
    "The tests need a RabbitMQ. Either install Debian's package as root (apt-get install rabbitmq-server), "
    f"or name the root that holds one (export {ROOT_VARIABLE}=.rabbitmq/forky, see tests/nodes), "
    f"or name a broker (export {URL_VARIABLE}=amqp://guest:guest@localhost:5672/), "
    "or start one (docker compose up -d rabbitmq) and name it."
)


class Broker:
    """A broker that tests may use, each with queues of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._names: list[str] = []

    @property
    def has_control(self) -> bool:
        """Whether it can be stopped, started and asked by `rabbitmqctl`."""
        return False

    @cached_property
    def version(self) -> tuple[int, int]:
        """Major and minor, as it says when somebody connects."""
        with self.channel() as channel:
            said: str = channel.connection._impl.server_properties["version"]  # it shows it nowhere else
        major, minor = said.split(".")[:2]
        return int(major), int(minor)

    def fresh_name(self, what: str = "queue") -> str:
        """A name for a queue or an exchange that no other test uses."""
        self._names.append(f"rpcb-test-{what}-{uuid4().hex[:12]}")
        return self._names[-1]

    def tidy(self) -> None:
        """Delete what has a name of `fresh_name`."""
        with self.channel() as channel:
            for name in self._names:
                channel.queue_delete(name)
                channel.exchange_delete(name)

    @contextmanager
    def channel(self) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
        """A blocking channel of another library; for threads."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            yield connection.channel()
        finally:
            with suppress(pika.exceptions.AMQPError):
                connection.close()

    async def rabbitmqctl(self, *args: str) -> str:
        """Run `rabbitmqctl` on it and return what it prints."""
        pytest.fail(
            f"This test runs `rabbitmqctl {args[0]}`, which {URL_VARIABLE} does not allow. {REMEDIES}"
        )

    async def stop_app(self) -> None:
        """Take the broker down; its Erlang node lives on."""
        await self.rabbitmqctl("stop_app")

    async def start_app(self) -> None:
        """Bring it back."""
        await self.rabbitmqctl("start_app")


class Node(Broker):
    """A private node: its own ports, name server, cookie, database and logs, all below one folder."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._enter = [] if root == Path("/") else [str(ENTER), str(root), gettempdir()]
        self.port, dist_port, self._epmd_port = free_ports(3)
        super().__init__(f"amqp://guest:guest@127.0.0.1:{self.port}/")
        self._folder = folder
        (folder / "enabled_plugins").write_text(PLUGINS)
        (folder / "rabbitmq.conf").write_text(CONFIGURATION)
        (folder / "advanced.config").write_text(ADVANCED_CONFIGURATION)
        (folder / "env.conf").touch()
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": "rpcb-test@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": NO_BUSY_WAIT,
            "RABBITMQ_CTL_ERL_ARGS": NO_BUSY_WAIT,
        }

    @property
    def has_control(self) -> bool:
        return True

    @contextmanager
    def running(self) -> Iterator[Node]:
        """Start it, wait until it speaks AMQP, and take it down at the end, its epmd too."""
        with (self._folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*self._enter, "/bin/sh", "-c", START_AND_STOP, SCRIPTS / "rabbitmq-server"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                self._await_start(process)
                yield self
            finally:
                self._stop(process)

    async def rabbitmqctl(self, *args: str) -> str:
        rabbitmqctl = [str(SCRIPTS / "rabbitmqctl"), "--quiet", "-n", "rpcb-test@localhost"]
        command = [*self._enter, *rabbitmqctl, *args]
        run = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False)
        done = await run(command, env=self._environment, cwd=self._folder)
        if done.returncode:
            pytest.fail(f"rabbitmqctl {' '.join(args)} failed: {(done.stderr + done.stdout).decode()}")
        return str(done.stdout.decode())

    def _await_start(self, process: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not self._speaks_amqp():
            if process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"rabbitmq-server did not start: {(self._folder / 'output').read_text()[-2000:]}")
            time.sleep(0.1)

    def _speaks_amqp(self) -> bool:
        try:
            with self.channel():
                return True
        except (pika.exceptions.AMQPError, OSError):
            return False

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nothing listens on.

    They lie below those that a system gives to outgoing connections: one of these could take a port before
    its server listens there.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), k=1_000):
        with socket.socket() as each, suppress(OSError):
            each.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    pytest.fail(f"there are no {count} free ports from 20000 to 31999")


@contextmanager
def some_broker() -> Iterator[Broker]:
    """The broker that `RPCB_TEST_AMQP_URL` names, else a private node."""
    url = os.environ.get(URL_VARIABLE)
    if url:
        broker = Broker(url)
        yield broker
        broker.tidy()
        return
    with private_node() as node:
        yield node


@contextmanager
def private_node() -> Iterator[Node]:
    """A node of the tests' own: of this machine's RabbitMQ, or of one in another root."""
    root = Path(os.environ.get(ROOT_VARIABLE, "/")).absolute()
    if not (root / SCRIPTS.relative_to("/") / "rabbitmq-server").exists():
        pytest.fail(REMEDIES)
    with (
        TemporaryDirectory(prefix="rpcb-rabbitmq-", ignore_cleanup_errors=True) as folder,
        Node(Path(folder), root).running() as node,
    ):
        yield node
