"""What is refused at the start is one line that says what and what to do, and an exit code of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio
from yarl import URL

from tests.cli.conftest import Ended
from tests.rabbitmq import Broker, Node, free_ports

WRONG_SETTING, LOGIN_REFUSED, TOPOLOGY_MISMATCH, UNREACHABLE = 2, 3, 4, 5

Refused = Callable[..., None]


@pytest.fixture
def refused(run_command: Callable[..., Ended], workplace: Path, queue: str) -> Refused:
    """Serve, and check how that is refused."""
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")

    def check(
        code: int, *parts: str, url: str | URL, flags: tuple[str, ...] = (), queue: str = queue
    ) -> None:
        ended = run_command("serve", "service:echo", f"--queue={queue}", f"--url={url}", *flags)
        [line] = [line for line in ended.err.splitlines() if line.startswith("rpcb-trio: ")]
        assert (ended.code, ended.out) == (code, "")
        assert "Traceback" not in ended.err
        for part in parts:
            assert part in line

    return check


def test_a_wrong_password(refused: Refused, broker: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    url = URL(broker.url).with_password("hunter2")
    refused(LOGIN_REFUSED, "refused the user 'guest'", "check user and password", url=url)
    assert "hunter2" not in "".join(capfd.readouterr())


def test_a_virtual_host_that_is_not_there(refused: Refused, broker: Broker) -> None:
    refused(
        LOGIN_REFUSED, "vhost nowhere not found", "check the virtual host", url=URL(broker.url) / "nowhere"
    )


def test_a_virtual_host_that_the_user_may_not_use(refused: Refused, node: Node, queue: str) -> None:
    ctl(node, "add_user", queue, "secret")
    url = URL(node.url).with_user(queue).with_password("secret")
    refused(LOGIN_REFUSED, f"access to vhost '/' refused for user '{queue}'", "may use it", url=url)


def test_a_port_that_nobody_listens_on(refused: Refused) -> None:
    [port] = free_ports(1)
    url = f"amqp://127.0.0.1:{port}"
    refused(UNREACHABLE, f"127.0.0.1:{port} can't be reached", "is RabbitMQ running", "check url", url=url)


def test_a_host_that_nobody_knows(refused: Refused) -> None:
    refused(UNREACHABLE, "nowhere.invalid:5672 can't be reached", "check url", url="amqp://nowhere.invalid")


def test_a_port_that_does_not_speak_amqp(refused: Refused) -> None:
    with speaking_http() as port:
        refused(UNREACHABLE, f"127.0.0.1:{port}", "AMQP", "port", url=f"amqp://127.0.0.1:{port}")


def test_a_port_that_never_answers(refused: Refused) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"amqp://127.0.0.1:{listener.getsockname()[1]}"
        flags = ("--connect-timeout=0.1",)
        refused(UNREACHABLE, "did not answer within 0.1 s (connect_timeout)", url=url, flags=flags)


@pytest.mark.parametrize(
    ("flag", "argument"),
    [
        ("--queue-type=quorum", "x-queue-type"),
        ("--no-durable", "durable"),
        ("--queue-argument=x-max-priority=5", "x-max-priority"),
        ("--queue-argument=x-dead-letter-exchange=amq.topic", "x-dead-letter-exchange"),
    ],
)
def test_a_queue_that_is_there_with_another_argument(
    refused: Refused, broker: Broker, queue: str, flag: str, argument: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True)
    refused(TOPOLOGY_MISMATCH, f"queue '{queue}': {differs(argument)}", url=broker.url, flags=(flag,))


def test_an_exchange_that_is_there_with_another_type(refused: Refused, broker: Broker) -> None:
    exchange = broker.fresh_name("exchange")
    with broker.channel() as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
    flags = (f"--exchange={exchange}", "--exchange-type=fanout")
    refused(TOPOLOGY_MISMATCH, f"exchange '{exchange}': {differs('type')}", url=broker.url, flags=flags)


def differs(argument: str) -> str:
    return f"it exists with another {argument}; set that so, or delete it, or use declare=passive"


def test_a_queue_that_is_not_there_and_is_only_looked_for(
    refused: Refused, broker: Broker, queue: str
) -> None:
    parts = (f"queue '{queue}': it does not exist; create it, or use declare=active",)
    for declare in ("passive", "never"):
        refused(TOPOLOGY_MISMATCH, *parts, url=broker.url, flags=(f"--declare={declare}",))


def test_a_queue_that_another_connection_has_for_itself(refused: Refused, broker: Broker, queue: str) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, exclusive=True)
        for flags in (("--no-durable",), ("--declare=passive",), ("--declare=never",)):
            parts = ("another connection has it for itself", "use another name")
            refused(TOPOLOGY_MISMATCH, *parts, url=broker.url, flags=flags)


def test_a_user_who_may_not_declare_or_not_read(refused: Refused, node: Node, queue: str) -> None:
    with node.channel() as channel:
        channel.queue_declare(queue, durable=True)
    ctl(node, "add_user", queue, "secret")
    ctl(node, "set_permissions", queue, "^$", "^$", "^$")
    url = URL(node.url).with_user(queue).with_password("secret")
    told = f"queue '{queue}': the user may not; grant it, or use declare=passive if it exists"
    refused(TOPOLOGY_MISMATCH, told, url=url)
    no_right = (
        "the user has no right to it, so the broker does not tell whether it exists; grant the user what"
    )
    told = f"queue '{queue}': {'the user may not read it; grant that' if node.version < (4, 3) else no_right}"
    refused(TOPOLOGY_MISMATCH, told, url=url, flags=("--declare=passive",))


def test_a_name_that_amqp_can_not_carry(refused: Refused, broker: Broker) -> None:
    name = "wö" * 100
    refused(WRONG_SETTING, "can't be put into AMQP", url=broker.url, queue=name)


def ctl(node: Node, *args: str) -> None:
    """Run `rabbitmqctl`; outside of trio, where commands are run."""
    trio.run(node.rabbitmqctl, *args)


@contextmanager
def speaking_http() -> Iterator[int]:
    """A port that answers each line with a refusal, as a web server does."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(8)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()
