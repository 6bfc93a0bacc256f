"""Typed services behind the gateway: JSON in, JSON out, and /docs that says what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from rpcb_trio._gateway._server_sent import EVENT_STREAM
from tests.gateway.fronts import front


class Text(msgspec.Struct):
    text: str


class Label(msgspec.Struct):
    label: str


def classify(texts: list[Text]) -> list[Label]:
    return [Label(each.text.upper()) for each in texts]


def draw(texts: list[Text]) -> list[bytes]:
    return [each.text.encode() for each in texts]


ROUTES: dict[str, Any] = {
    "plain": {"queue": "typed"},
    "msgpack": {"queue": "typed", "form": {"text": {}}},
    "json": {"queue": "typed", "body": "json", "form": {"text": {}}},
}


@pytest.mark.parametrize("path", ["/rpc/plain", "/plain"])
async def test_json_that_is_posted_as_curl_does_it_is_answered_in_json(
    path: str, autojump_clock: MockClock
) -> None:
    async with front(ROUTES, typed=classify) as gateway:
        for content_type in ("application/x-www-form-urlencoded", "application/json"):
            response = await gateway.http.post(
                path,
                content=b'{"text": "a"}',
                headers={"content-type": content_type},
            )
            assert (response.status_code, response.json()) == (200, {"label": "A"})
            assert response.headers["content-type"] == "application/json"


async def test_messagepack_is_answered_in_messagepack(autojump_clock: MockClock) -> None:
    async with front(ROUTES, typed=classify) as gateway:
        response = await gateway.http.post(
            "/plain",
            content=msgspec.msgpack.encode({"text": "a"}),
            headers={"content-type": "application/x-msgpack"},
        )
    assert msgspec.msgpack.decode(response.content) == {"label": "A"}


async def test_what_does_not_fit_is_422_with_the_path(autojump_clock: MockClock) -> None:
    async with front(ROUTES, typed=classify) as gateway:
        response = await gateway.http.post("/plain", content=b'{"text": 5}')
    error = {"code": "invalid", "message": "Expected `str`, got `int`", "path": "$.text"}
    assert (response.status_code, response.json()) == (422, {"error": error})


@pytest.mark.parametrize("path", ["/msgpack", "/json"])
async def test_a_form_reaches_a_typed_service_in_either_coding(path: str, autojump_clock: MockClock) -> None:
    async with front(ROUTES, typed=classify) as gateway:
        response = await gateway.http.post(path, data={"text": "a"})
        assert (response.status_code, response.json()) == (200, {"label": "A"})


async def test_a_form_s_field_that_a_typed_service_refuses_is_named_in_the_problem(
    autojump_clock: MockClock,
) -> None:
    routes = {"number": {"queue": "typed", "form": {"text": {"type": "integer"}}}}
    async with front(routes, typed=classify) as gateway:
        response = await gateway.http.post("/number", data={"text": "5"})
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["error"], problem["field"]) == (422, "invalid", "text")


async def test_docs_say_what_a_typed_service_takes_and_returns(autojump_clock: MockClock) -> None:
    async with front(ROUTES, typed=classify, typed_bytes=draw, other=lambda bodies: bodies) as gateway:
        document = (await gateway.http.get("/openapi.json")).json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    for path in ("/rpc/typed", "/plain"):
        operation = paths[path]["post"]
        for coding in ("application/json", "application/msgpack"):
            taken = operation["requestBody"]["content"][coding]["schema"]
            given = operation["responses"]["200"]["content"][coding]["schema"]
            refused = operation["responses"]["422"]["content"][coding]["schema"]
            assert taken == {"$ref": "#/components/schemas/typed.Text"}
            assert given == {"$ref": "#/components/schemas/typed.Label"}
            assert refused == {"$ref": "#/components/schemas/Error"}
    assert schemas["typed.Text"]["properties"] == {"text": {"type": "string"}}
    assert schemas["typed_bytes.Text"] == schemas["typed.Text"]
    assert list(paths["/rpc/typed_bytes"]["post"]["responses"]["200"]["content"]) == ["*/*", EVENT_STREAM]
    assert "multipart/form-data" in paths["/msgpack"]["post"]["requestBody"]["content"]
    assert "/rpc/other" not in paths
