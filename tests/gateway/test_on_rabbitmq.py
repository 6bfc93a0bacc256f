"""The gateway in front of a real RabbitMQ."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from rpcb_models.asr import Moonshine, SpeechRecognition
from rpcb_models.wire import Enhanced, Enhancement, Status
from rpcb_trio import Topology, open_client
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from tests.amqp.producer import Producer
from tests.amqp.proxy import open_proxy
from tests.amqp.serving import serving
from tests.gateway.curl import TYPE, curl
from tests.gateway.fronts import Front, Gateway, asking, echo
from tests.gateway.hangup import hang_up_after
from tests.rabbitmq import Broker

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "models" / "rpcb_models" / "recordings" / "librivox-0870.wav"
PATIENCE = 30.0


@asynccontextmanager
async def gateway(
    url: str,
    routes: dict[str, Any],
    options: GatewayOptions = GatewayOptions(),  # noqa: B008 - it is frozen
) -> AsyncIterator[Front]:
    """A gateway that reaches the broker by this URL."""
    with trio.fail_after(PATIENCE):
        async with open_client(AmqpTransport(url)) as client:
            app = make_app(client, read_routes(routes), options)
            async with app.router.lifespan_context(app), asking(app) as http:
                yield Front(Gateway(app, client), http)


def enhance(bodies: list[bytes]) -> list[bytes]:
    """Speech enhancement's wire, around what is no enhancement."""
    audio = [msgspec.msgpack.decode(body)["audio"] for body in bodies]
    replies = [Enhancement(Status.SUCCESS, Status.SUCCESS.message, Enhanced(each, "7.10")) for each in audio]
    return [msgspec.msgpack.encode(reply) for reply in replies]


async def test_the_ancestor_s_curl_lines_get_its_answers_through_its_exchanges(
    broker: Broker, moonshine: Moonshine
) -> None:
    routes = tomllib.loads((ROOT / "models" / "rpcb_models" / "gateway.toml").read_text())["routes"]
    topologies = {}
    for name, key in (("asr", "rpc-en"), ("se", "rpc")):
        routes[name]["exchange"] = exchange = broker.fresh_name("exchange")
        topologies[name] = Topology(queue=broker.fresh_name(), exchange=exchange, routing_keys=(key,))
    recording = RECORDING.read_bytes()
    asked = curl(filename=RECORDING.name, audio=recording, format="wav")
    async with (
        serving(SpeechRecognition(moonshine), broker, topologies["asr"]),
        serving(enhance, broker, topologies["se"]),
        gateway(broker.url, routes) as front,
    ):
        asr = (await front.http.post("/asr", content=asked, headers=TYPE)).json()
        se = (await front.http.post("/api/se", content=asked, headers=TYPE)).json()
        file = await front.http.get(se["data"]["url"])
    assert (asr["status"], asr["message"], asr["data"]["other"]) == (200, "success", 200)
    assert len(asr["data"]["sentence"].split()) > 5
    assert se | {"data": None} == {"status": 200, "message": "success", "data": None}
    assert (base64.b64decode(se["data"]["enhance"]), se["data"]["duration"]) == (recording, "7.10")
    assert file.content == recording


async def test_a_closed_connection_ends_the_wait_for_a_request_that_carries_its_timeout_and_id(
    broker: Broker, queue: str
) -> None:
    producer = Producer(broker, queue)
    await producer.declare(queue)
    async with gateway(broker.url, {"slow": {"queue": queue, "timeout": 25.0, "priority": 3}}) as front:

        async def sent() -> None:
            while not await producer.count(queue):  # noqa: ASYNC110 - the broker tells nobody
                await trio.sleep(0.02)

        request = {"type": "http.request", "body": b"x", "more_body": False}
        headers = [(b"x-request-id", b"abc-1"), (b"content-type", b"text/plain")]
        await hang_up_after(front, "/slow", request, headers=headers, when=sent)
        assert front.in_flight == 0
    [(_, properties, body)] = await producer.read()
    assert (properties.expiration, properties.priority, body) == ("25000", 3, b"x")
    assert (properties.headers["x-request-id"], properties.content_type) == ("abc-1", "text/plain")


async def test_what_is_not_answered_in_time_is_504_and_what_goes_nowhere_is_502(
    broker: Broker, queue: str
) -> None:
    producer, dead, letters = Producer(broker, queue), broker.fresh_name("dead"), list[Any]()
    await producer.declare(dead)
    await producer.declare(queue, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    routes = {"slow": {"queue": queue, "timeout": 0.2}, "astray": {"queue": broker.fresh_name()}}
    async with gateway(broker.url, routes) as front:
        late, astray = await front.http.post("/slow"), await front.http.post("/astray")
    assert (late.status_code, late.json()["error"]) == (504, "timeout")
    assert (astray.status_code, astray.json()["error"]) == (502, "unroutable")
    with trio.fail_after(PATIENCE):
        while not letters:
            letters = await producer.read(dead)
            await trio.sleep(0.05)
    [(_, properties, _)] = letters
    assert properties.headers["x-death"][0]["reason"] == "expired"


async def test_odd_names_and_content_types_go_nowhere_and_break_no_connection(
    broker: Broker, queue: str
) -> None:
    names = [
        "%00",
        "%ff",
        "%F0%9F%98%80",
        "a" * 255,
        "%C3%A9" * 127,
        "..%2f..",
        "a%0d%0ab",
        "amq.rabbitmq.reply-to",
    ]
    async with (
        serving(echo, broker, Topology(queue=queue, durable=False)),
        open_proxy(broker.url) as proxy,
        gateway(proxy.url, {"echo": {"queue": queue}}, GatewayOptions(rpc=("*",), timeout=60.0)) as front,
    ):
        connections = proxy.accepted
        statuses = {(await front.http.post(f"/rpc/{name}", content=b"x")).status_code for name in names}
        odd = [
            (await front.http.post("/echo", headers={"content-type": each})).status_code
            for each in ("x" * 300, "a/b; c=\x7f", "")
        ]
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(lambda: front.http.post("/echo", content=b"x"))
        assert proxy.accepted == connections
    assert statuses <= {404, 502}
    assert odd == [200] * 3


async def test_a_forged_address_of_direct_reply_to_costs_no_call_in_flight_its_connection(
    broker: Broker, queue: str
) -> None:
    await Producer(broker, queue).declare(queue)
    answers: list[int] = []
    options = GatewayOptions(rpc=("*",), timeout=60.0)
    async with (
        open_proxy(broker.url) as proxy,
        gateway(proxy.url, {"slow": {"queue": queue, "timeout": 1.0}}, options) as front,
    ):
        connections = proxy.accepted

        async def ask() -> None:
            answers.append((await front.http.post("/slow")).status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await front.until_in_flight(1)
            forged = "amq.rabbitmq.reply-to.g1h2AA5yZXBseUAxMjM0NTY3OAAAAAAAAAAAAAAAAA==.x"
            assert (await front.http.post(f"/rpc/{forged}", content=b"x")).status_code == 404
        assert proxy.accepted == connections
    assert answers == [504]


async def test_a_full_queue_is_503_with_retry_after(broker: Broker, queue: str) -> None:
    await Producer(broker, queue).declare(queue, **{"x-max-length": 0, "x-overflow": "reject-publish"})
    async with gateway(broker.url, {"full": {"queue": queue}}) as front:
        answer = await front.http.post("/full")
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (
        503,
        "refused",
        "1",
    )


async def test_a_gateway_whose_connection_breaks_says_so_and_comes_back_by_itself(
    broker: Broker, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serving(echo, broker, Topology(queue=queue, durable=False)),
        open_proxy(broker.url) as proxy,
        gateway(proxy.url, {"echo": {"queue": queue}}) as front,
    ):
        proxy.refuse_more()
        proxy.cut()
        await until_ready(front, 503)
        away = await front.http.post("/echo", content=b"x")
        proxy.welcome_more()
        await until_ready(front, 200)
        back = await front.http.post("/echo", content=b"x")
    assert (away.status_code, away.json()["error"], away.headers["retry-after"]) == (503, "no-broker", "1")
    assert (back.status_code, back.content) == (200, b"x")
    assert "client: the connection is lost" in caplog.text


async def until_ready(front: Front, status: int) -> None:
    """Wait until its readiness has this status, as a load balancer does."""
    while (await front.http.get("/readyz")).status_code != status:  # noqa: ASYNC110 - as they do
        await trio.sleep(0.02)


def embed(texts: list[str]) -> list[list[float]]:
    return [[float(len(text))] for text in texts]


async def test_a_client_of_a_known_api_is_answered_by_a_typed_worker_behind_rabbitmq(
    broker: Broker, queue: str
) -> None:
    routes = {"tiny": {"preset": "openai-embeddings", "queue": queue}}
    asked = {"model": "tiny", "input": ["a", "bc"]}
    async with serving(embed, broker, Topology(queue=queue)), gateway(broker.url, routes) as front:
        answer = await front.http.post("/v1/embeddings", json=asked)
    assert [each["embedding"] for each in answer.json()["data"]] == [[1.0], [2.0]]
