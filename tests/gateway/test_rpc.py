"""`POST /rpc/NAME`: bytes in, bytes out."""

from __future__ import annotations

import pytest

from rpcb_models import simple
from rpcb_trio import Reply, SettingError
from rpcb_trio._gateway._responses import passed
from rpcb_trio._messages import ERROR_HEADER
from rpcb_trio.gateway import GatewayOptions, read_routes
from tests.gateway.fronts import answered_with, echo, front

ANY = GatewayOptions(rpc=("*",))


async def test_the_name_of_a_route_or_an_allowed_queue_reaches_its_service_and_no_other_does() -> None:
    routes = {"shown": {"queue": "echo", "path": "/x"}}
    async with front(routes, GatewayOptions(rpc=("asr-*",)), echo=echo, **{"asr-en": echo}) as gateway:
        statuses = [
            (await gateway.http.post(f"/rpc/{name}", content=b"hi")).status_code
            for name in ("shown", "asr-en", "echo", "asr", "x" * 300)
        ]
    assert statuses == [200, 200, 404, 404, 404]


async def test_bodies_and_content_types_pass_as_they_are() -> None:
    async with front({}, ANY, fast=simple.Accelerator(0, 0)) as gateway:
        answer = await gateway.http.post(
            "/rpc/fast", content="grüß".encode(), headers={"content-type": "text/plain"}
        )
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"echo": "grüß", "batch_size": 1}


async def test_an_error_reply_passes_as_it_is_with_the_status_of_its_code() -> None:
    async with front({}, ANY, fast=simple.Accelerator(0, 0)) as gateway:
        answer = await gateway.http.post("/rpc/fast", content=b"\xff")
    assert (answer.status_code, answer.headers["rpcb-error"]) == (422, "decode")
    assert answer.json()["error"] == "decode"


def test_an_overloaded_worker_s_503_says_when_to_try_again() -> None:
    answer = passed(Reply(body=b"no", headers={ERROR_HEADER: "overloaded"}), retry_after=7)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


async def test_a_queue_that_is_not_there_is_a_bad_gateway() -> None:
    async with front({}, ANY) as gateway:
        answer = await gateway.http.post("/rpc/nobody", content=b"hi")
    assert (answer.status_code, answer.json()["error"]) == (502, "unroutable")


async def test_a_content_type_that_amqp_can_t_carry_does_no_harm() -> None:
    async with front({}, ANY, echo=echo) as gateway:
        answer = await gateway.http.post("/rpc/echo", content=b"hi", headers={"content-type": "x" * 400})
    assert (answer.status_code, answer.content) == (200, b"hi")


async def test_a_route_of_several_services_has_no_one_body_to_pass() -> None:
    routes = {
        "one": {"queue": "echo", "form": {"a": {}}},
        "all": {"form": {"a": {}}, "parts": {"x": {"route": "one"}}},
    }
    async with front(routes, echo=echo) as gateway:
        answer = await gateway.http.post("/rpc/all", content=b"hi")
    assert (answer.status_code, "use /all" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("pattern", ["*", "amq.*", "amq.rabbitmq.reply-to.*", "amq.gen-1", "?mq.*"])
async def test_no_pattern_reaches_a_name_that_only_the_broker_makes(pattern: str) -> None:
    reply = Reply(body=b"reached")
    async with answered_with(reply, {}, GatewayOptions(rpc=(pattern,))) as http:
        answers = [
            await http.post(f"/rpc/{name}")
            for name in ("amq.rabbitmq.reply-to.g1h2", "amq.rabbitmq.reply-to", "amq.gen-1", "%61mq.x")
        ]
    assert {answer.status_code for answer in answers} == {404}


@pytest.mark.parametrize(
    "target", [{"queue": "amq.gen-1"}, {"routing_key": "amq.rabbitmq.reply-to.x"}, {"queue": "amq."}]
)
def test_no_route_leads_to_a_name_that_only_the_broker_makes(target: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="only the broker makes names with amq"):
        read_routes({"x": target})
    read_routes({"x": {"exchange": "amq.topic", "routing_key": "amq.x"}})
