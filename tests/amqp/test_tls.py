"""TLS with a real RabbitMQ: verification is on, and whatever is wrong is one line that names what to mend."""

from __future__ import annotations

import re
from functools import partial

import pytest
import trio

from rpcb_trio import RpcbError, SettingError, Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import LoginRefused
from tests.amqp.certificates import TlsPorts, listen_with_tls
from tests.amqp.producer import Producer, answer
from tests.rabbitmq import Node

pytestmark = pytest.mark.usefixtures("limit")

USER = "worker-of-the-certificate"


@pytest.fixture(scope="module")
def tls(node: Node, tmp_path_factory: pytest.TempPathFactory) -> TlsPorts:
    """Listeners on TLS, and a user who has a certificate and no password."""
    ports = trio.run(partial(listen_with_tls, node, tmp_path_factory.mktemp("certificates"), MAKE_USER))
    ports.certificates.issue("worker", "worker.test", user=USER)
    ports.certificates.lock("worker")
    ports.certificates.issue("stranger", "stranger.test", user="somebody-else")
    return ports


MAKE_USER = f"""
rabbit_auth_backend_internal:add_user(<<"{USER}">>, <<"never used">>, <<"test">>),
rabbit_auth_backend_internal:clear_password(<<"{USER}">>, <<"test">>),
rabbit_auth_backend_internal:set_permissions(<<"{USER}">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)
"""


def url_of(port: int, *options: str, host: str = "localhost", login: str = "guest:guest@") -> str:
    return f"amqps://{login}{host}:{port}/?{'&'.join(options)}"


async def serve_one(url: str, node: Node, queue: str) -> None:
    async with AmqpTransport(url).open_session(Topology(queue=queue), prefetch=10) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, session, 1)
            [(_, body)] = await Producer(node, queue).call(b"over tls")
        assert body == b"OVER TLS"
        await session.stop_consuming()


async def refusal(url: str) -> RpcbError:
    with pytest.raises(RpcbError) as caught:
        async with AmqpTransport(url).open_session(Topology(queue="q"), prefetch=10):
            pass
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_broker_whose_authority_is_named_is_served(tls: TlsPorts, node: Node) -> None:
    await serve_one(url_of(tls.usual, f"cafile={tls.certificates.path('ca.pem')}"), node, node.fresh_name())


async def test_a_clients_certificate_lets_it_in_where_one_is_wanted(tls: TlsPorts, node: Node) -> None:
    files = [f"{option}={tls.certificates.path(name)}" for option, name in WORKER.items()]
    await serve_one(url_of(tls.strict, *files), node, node.fresh_name())


async def test_auth_external_logs_in_by_the_certificate_alone(tls: TlsPorts, node: Node) -> None:
    files = [f"{option}={tls.certificates.path(name)}" for option, name in WORKER.items()]
    await serve_one(url_of(tls.usual, "auth=external", *files, login=""), node, node.fresh_name())


WORKER = {"cafile": "ca.pem", "certfile": "worker.pem", "keyfile": "worker.key"}
STRANGER = {"cafile": "ca.pem", "certfile": "stranger.pem", "keyfile": "stranger.key"}


@pytest.mark.parametrize(
    ("port", "host", "files", "told"),
    [
        ("usual", "localhost", {}, "cafile in the URL names the authority to trust"),
        ("usual", "localhost", {"cafile": "other-ca.pem"}, "cafile in the URL names the authority"),
        ("usual", "127.0.0.1", {"cafile": "ca.pem"}, "the URL's host must be"),
        ("expired", "localhost", {"cafile": "ca.pem"}, "has expired; renew the broker's certificate"),
        (
            "strict",
            "localhost",
            {"cafile": "ca.pem"},
            "require.* a client's certificate.*: name it with certfile",
        ),
        (
            "usual",
            "localhost",
            STRANGER | {"auth": "external"},
            "refused the client's certificate: .*; check certfile",
        ),
    ],
    ids=["no authority", "wrong authority", "wrong host", "expired", "no certificate", "unknown to EXTERNAL"],
)
async def test_what_can_not_be_trusted_is_refused_with_the_option_and_the_remedy(
    tls: TlsPorts, port: str, host: str, files: dict[str, str], told: str
) -> None:
    options = [f"{name}={v if name == 'auth' else tls.certificates.path(v)}" for name, v in files.items()]
    error = await refusal(url_of(getattr(tls, port), *options, host=host))
    assert isinstance(error, LoginRefused)
    assert f"{host}:{getattr(tls, port)}" in str(error)
    assert re.search(told, str(error)), str(error)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["cafile=/no/such"], "cafile=/no/such can't be used: No such file"),
        (["capath=/no/such"], "capath=/no/such can't be used: No such file"),
        (["certfile=/no/such"], "certfile=/no/such can't be used: No such file"),
        (["cafile={0}/not-pem"], "cafile=.* can't be used: .*PEM"),
        (["cadata=x"], "cadata can't be used: "),
        (["certfile={0}/worker.pem"], "certfile=.* can't be used: .*PEM"),
        (["certfile={0}/worker.pem", "keyfile=/no/such"], "keyfile=/no/such can't be used: No such file"),
        (
            ["certfile={0}/worker.pem", "keyfile={0}/stranger.key"],
            "certfile=.*, keyfile=.* key values mismatch",
        ),
        (
            ["certfile={0}/worker.pem", "keyfile={0}/worker-locked.key"],
            "the key is encrypted; write it without",
        ),
    ],
)
async def test_a_file_for_tls_that_can_not_be_used_is_named_before_anything_is_sent(
    tls: TlsPorts, options: list[str], told: str
) -> None:
    folder = tls.certificates.folder
    (folder / "not-pem").write_text("what is this?")
    error = await refusal(url_of(1, *[option.format(folder) for option in options]))
    assert isinstance(error, SettingError)
    assert re.search(told, str(error)), str(error)
