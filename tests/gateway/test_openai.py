"""OpenAI's own client: embeddings, models, and what all of its paths share."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import msgspec
import openai
import pytest
import trio
from openai import AsyncOpenAI
from trio.testing import MockClock

from rpcb_trio import Outcome, Reply, RequestError, RpcClient, Success
from rpcb_trio._gateway import hash_of
from rpcb_trio.errors import CallInterrupted, PublishRefused, ReplyTimeout, RequestTooBig
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from rpcb_trio.testing import VirtualExecutor
from tests.gateway.fronts import Canned, Front, Started, front, one_by_one
from tests.gateway.hangup import hang_up_after
from tests.gateway.openai_client import asking

EMBED: dict[str, Any] = {"tiny": {"preset": "openai-embeddings"}}


class Embed:
    """Makes vectors of texts, and keeps the sizes of the batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def decode(self, body: bytes) -> str:
        text: str = msgspec.msgpack.decode(body, type=str)
        if text == "bad":
            raise RequestError("the text is bad")
        return text

    def infer(self, items: list[str]) -> list[list[float]]:
        self.batches.append(len(items))
        return [[len(item), 0.1] for item in items]

    def encode(self, outcome: Outcome[list[float]]) -> bytes:
        return msgspec.msgpack.encode(outcome.value if isinstance(outcome, Success) else None)


@asynccontextmanager
async def tiny(service: Any = None, **options: Any) -> AsyncIterator[tuple[AsyncOpenAI, Front]]:
    """A gateway with a model for embeddings, and OpenAI's client of it."""
    async with (
        front(EMBED, GatewayOptions(**options), tiny=service or Embed()) as gateway,
        asking(gateway.app) as client,
    ):
        yield client, gateway


async def test_each_text_of_a_request_is_a_message_and_the_vectors_come_in_their_order(
    autojump_clock: MockClock,
) -> None:
    service = Embed()
    slow = Started(service, {"executors": [VirtualExecutor(service.infer, lambda _: 0.25)]})
    texts = ["a" * length for length in range(1, 41)]
    async with tiny(slow) as (client, _):
        answer = await client.embeddings.create(model="tiny", input=texts)
    assert [each.index for each in answer.data] == [*range(40)]
    assert [each.embedding[0] for each in answer.data] == [*range(1, 41)]
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == ("tiny", 40, 40)
    assert sum(service.batches) == 40
    assert max(service.batches) > 1


async def test_a_vector_is_the_same_in_base64_and_in_numbers_but_for_its_precision() -> None:
    async with tiny() as (client, _):
        packed = await client.embeddings.create(model="tiny", input="abc", encoding_format="base64")
        plain = await client.embeddings.create(
            model="tiny", input="abc", encoding_format="float", dimensions=2
        )
    packed_vector: Any = packed.data[0].embedding  # the client leaves it packed where it was asked for so
    assert plain.data[0].embedding == [3.0, 0.1]
    assert packed_vector == "AABAQM3MzD0="


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        ({}, lambda body: msgspec.msgpack.encode([len(msgspec.msgpack.decode(body)), 1])),
        ({"body": "json"}, lambda body: msgspec.json.encode([len(msgspec.json.decode(body)), 1])),
        ({"body": "bytes", "reply": "json"}, lambda body: msgspec.json.encode({"embedding": [len(body), 1]})),
        ({"body": "bytes"}, lambda body: struct.pack("<2f", len(body), 1)),
        (
            {"body": "json", "reply": "msgpack", "answer": "data.first"},
            lambda body: msgspec.msgpack.encode({"data": {"first": [len(msgspec.json.decode(body)), 1]}}),
        ),
    ],
    ids=["msgpack", "json", "text", "floats", "answer"],
)
async def test_a_service_has_its_texts_and_its_vectors_in_the_coding_that_its_route_names(
    how: dict[str, Any], answer: Callable[[bytes], bytes]
) -> None:
    routes = {"tiny": EMBED["tiny"] | how}
    async with (
        front(routes, tiny=lambda bodies: [answer(each) for each in bodies]) as gateway,
        asking(gateway.app) as client,
    ):
        found = await client.embeddings.create(model="tiny", input=["abc", "é"[:1]])
    size = 2.0 if how.get("body") == "bytes" else 1.0
    assert [each.embedding for each in found.data] == [[3.0, 1.0], [size, 1.0]]


async def test_usage_counts_the_tokens_that_replies_tell_or_else_words() -> None:
    told = one_by_one(lambda _: {"embedding": [1.0], "tokens": 7})
    async with tiny(told) as (client, _):
        usage = (await client.embeddings.create(model="tiny", input=["a", "b"])).usage
    async with tiny() as (client, _):
        words = (await client.embeddings.create(model="tiny", input=["one two", "three"])).usage
    assert (usage.prompt_tokens, words.prompt_tokens) == (14, 3)


@pytest.mark.parametrize(
    ("asked", "error", "code", "field"),
    [
        ({"model": "other"}, openai.NotFoundError, "model_not_found", "model"),
        ({"input": [1, 2]}, openai.BadRequestError, "invalid_value", "input"),
        ({"input": [[1, 2], [3]]}, openai.BadRequestError, "invalid_value", "input"),
        ({"input": []}, openai.BadRequestError, "invalid_value", "input"),
        ({"input": ["a", ""]}, openai.BadRequestError, "invalid_value", "input"),
        ({"input": ["a"] * 2049}, openai.BadRequestError, "invalid_value", "input"),
        ({"input": 5}, openai.BadRequestError, "invalid_value", "input"),
        ({"dimensions": 3}, openai.BadRequestError, "invalid_value", "dimensions"),
        ({"encoding_format": "int8"}, openai.BadRequestError, "invalid_value", "encoding_format"),
        ({"encoding_format": "x" * 50_000}, openai.BadRequestError, "invalid_value", "encoding_format"),
        ({"input": ["a", "bad"]}, openai.BadRequestError, "request", None),
        ({"input": "a" * (16 * 2**20)}, openai.APIStatusError, "too-big", None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_what_can_t_be_answered_is_an_error_of_the_client_s_own_that_names_the_parameter(
    asked: dict[str, Any], error: type[openai.APIStatusError], code: str, field: str | None
) -> None:
    async with tiny() as (client, gateway):
        with pytest.raises(error) as raised:
            await client.embeddings.create(**{"model": "tiny", "input": "a"} | asked)
        assert gateway.in_flight == 0
    assert (raised.value.code, raised.value.param, raised.value.type) == (
        code,
        field,
        "invalid_request_error",
    )
    assert len(raised.value.message) < 2000, "it quotes no long value in full"


async def test_tokens_are_refused_in_words_that_say_what_to_send() -> None:
    async with tiny() as (client, _):
        with pytest.raises(openai.BadRequestError, match="tokens are not taken; send texts"):
            await client.embeddings.create(model="tiny", input=[1, 2])


def error(code: str, kind: str) -> Reply:
    return Reply(
        body=b"\xc0", headers={"rpcb-error": code, "rpcb-error-kind": kind, "rpcb-error-reason": "why"}
    )


@pytest.mark.parametrize(
    ("outcome", "raised", "status", "is_repeated"),
    [
        (error("overloaded", "busy"), openai.RateLimitError, 429, True),
        (PublishRefused("full"), openai.RateLimitError, 429, True),
        (error("mine", "request"), openai.BadRequestError, 400, False),
        (error("invalid", "request"), openai.APIStatusError, None, False),
        (error("decode", "request"), openai.UnprocessableEntityError, 422, False),
        (error("too-big", "request"), openai.APIStatusError, 413, False),
        (RequestTooBig("17 MiB"), openai.APIStatusError, 413, False),
        (error("infer", "service"), openai.InternalServerError, 500, True),
        (CallInterrupted("gone"), openai.InternalServerError, 503, True),
        (error("expired", "busy"), openai.InternalServerError, 504, True),
        (ReplyTimeout("late"), openai.InternalServerError, 504, True),
        (Reply(body=b"\xc0"), openai.InternalServerError, 502, True),
    ],
    ids=[
        "overloaded",
        "refused",
        "request",
        "invalid",
        "decode",
        "too-big",
        "no-room",
        "infer",
        "interrupted",
        "expired",
        "timeout",
        "no-vector",
    ],
)
async def test_how_a_request_fails_decides_what_the_client_raises_and_whether_it_asks_again(
    outcome: Reply | Exception,
    raised: type[openai.APIStatusError],
    status: int | None,
    autojump_clock: MockClock,
    *,
    is_repeated: bool,
) -> None:
    app = make_app(cast("RpcClient", Canned(outcome)), read_routes(EMBED))
    async with app.router.lifespan_context(app), asking(app, max_retries=1) as client:
        with pytest.raises(raised) as found:
            await client.embeddings.create(model="tiny", input="a")
    assert status in (None, found.value.status_code)
    assert (trio.current_time() > 0) == is_repeated
    assert ("retry-after" in found.value.response.headers) == (found.value.status_code in (429, 503))


async def test_a_client_that_met_an_overload_comes_back_and_is_answered(autojump_clock: MockClock) -> None:
    routes: dict[str, Any] = EMBED | {"wait": {"queue": "nobody", "timeout": 2.0}}
    options = GatewayOptions(max_in_flight=1)
    async with (
        front(routes, options, tiny=Embed(), nobody=None) as gateway,
        asking(gateway.app, max_retries=4) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(gateway.http.post, "/wait")
        await gateway.until_in_flight(1)
        answer = await client.embeddings.create(model="tiny", input="a")
    assert len(answer.data) == 1
    assert trio.current_time() >= 2.0


async def test_a_request_of_many_texts_leaves_places_for_others_and_has_one_timeout_for_all(
    autojump_clock: MockClock,
) -> None:
    routes: dict[str, Any] = {"tiny": {"preset": "openai-embeddings", "queue": "nobody", "timeout": 3.0}}
    async with (
        front(routes, GatewayOptions(max_in_flight=20), nobody=None) as gateway,
        asking(gateway.app) as client,
    ):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(openai.InternalServerError, match="504"):
                    await client.embeddings.create(model="tiny", input=["a"] * 100)

            nursery.start_soon(ask)
            await gateway.until_in_flight(11)
            nursery.start_soon(ask)
            await gateway.until_in_flight(16)
        assert trio.current_time() == pytest.approx(3.0)
        assert gateway.in_flight == 0


async def test_a_client_that_hangs_up_gives_up_all_its_rows() -> None:
    routes: dict[str, Any] = {"tiny": {"preset": "openai-embeddings", "queue": "nobody"}}
    body = msgspec.json.encode({"model": "tiny", "input": ["a"] * 5})
    async with front(routes, nobody=None) as gateway:
        request = {"type": "http.request", "body": body, "more_body": False}
        waits = partial(gateway.until_in_flight, 5)
        await hang_up_after(gateway, "/v1/embeddings", request, when=waits)
        assert gateway.in_flight == 0


async def test_a_key_of_the_gateway_is_the_client_s_api_key_and_one_that_is_none_is_told_why() -> None:
    key = f"rpcb_{'k' * 43}"
    options = GatewayOptions(api_keys=(f"mobile={hash_of(key)}",), rate_limit="1/m")
    async with front(EMBED, options, tiny=Embed()) as gateway:
        async with asking(gateway.app, key=key) as client:
            await client.embeddings.create(model="tiny", input="a")
            with pytest.raises(openai.RateLimitError, match="this key may send 1/m requests"):
                await client.embeddings.create(model="tiny", input="a")
        async with asking(gateway.app) as client:
            with pytest.raises(openai.AuthenticationError, match="the key is not valid"):
                await client.embeddings.create(model="tiny", input="a")
            with pytest.raises(openai.AuthenticationError, match="the key is not valid"):
                _ = [each async for each in client.models.list()]


async def test_whoever_finds_a_problem_it_has_openai_s_shape_on_openai_s_paths_alone() -> None:
    options = GatewayOptions(allowed_host=("gateway.example",))
    routes: dict[str, Any] = EMBED | {"own": {"queue": "tiny", "path": "/v1/own"}}
    async with front(routes, options, tiny=Embed()) as gateway:
        http = gateway.http
        wrong_method = await http.get("/v1/embeddings")
        wrong_host = await http.post("/v1/embeddings/", headers={"host": "evil.example"})
        others = [await http.get(path) for path in ("/v1/own", "/v1", "/v2")]
    assert (wrong_method.status_code, wrong_method.json()["error"]["code"]) == (405, "method")
    assert (wrong_host.status_code, wrong_host.json()["error"]["code"]) == (421, "host")
    assert {each.headers["content-type"] for each in others} == {"application/problem+json"}


async def test_all_models_are_listed_and_each_is_found() -> None:
    routes = (
        EMBED
        | {"hear": {"preset": "openai-transcriptions"}}
        | {"org/odd": {"preset": "openai-embeddings"}, "other": {"queue": "tiny"}}
    )
    async with front(routes, tiny=Embed()) as gateway, asking(gateway.app) as client:
        models = [each.id async for each in client.models.list()]
        found = [(await client.models.retrieve(each)).id for each in models]
        with pytest.raises(openai.NotFoundError, match="there is no model 'other'"):
            await client.models.retrieve("other")
    assert models == found == ["tiny", "hear", "org/odd"]
