"""Typed services over the wire: the content type of a request says its coding, and that of its reply."""

from __future__ import annotations

import msgspec
import pytest

from rpcb_trio import Reply, RequestInfo, open_client, open_worker
from tests.rabbitmq import Broker

JSON, MSGPACK = "application/json", "application/msgpack"


class Text(msgspec.Struct):
    text: str


class Label(msgspec.Struct):
    label: str
    language: object
    seconds_left: float


async def classify(texts: list[Text], requests: list[RequestInfo]) -> list[Label]:
    return [
        Label(each.text.upper(), info.headers["language"], info.seconds_left or 0.0)
        for each, info in zip(texts, requests, strict=True)
    ]


async def test_a_request_in_either_coding_is_answered_in_it_with_what_came_along(
    broker: Broker, queue: str
) -> None:
    replies: dict[str, list[Reply]] = {}
    async with open_worker(classify, broker.url, queue), open_client(broker.url) as client:
        for content_type, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
            replies[content_type] = [
                await client.call(
                    encode(value),
                    queue=queue,
                    timeout=20,
                    content_type=content_type,
                    headers={"language": "de"},
                )
                for value in ({"text": "ä"}, {"text": 5})
            ]
    for content_type, decoder in (
        (JSON, msgspec.json.Decoder(dict)),
        (MSGPACK, msgspec.msgpack.Decoder(dict)),
    ):
        good, bad = replies[content_type]
        label = decoder.decode(good.body)
        assert (label["label"], label["language"]) == ("Ä", "de")
        assert label["seconds_left"] == pytest.approx(10, abs=10)
        assert decoder.decode(bad.body)["error"]["path"] == "$.text"
        assert (good.content_type, bad.content_type) == (content_type, content_type)
        assert (bad.error, bad.error_kind) == ("invalid", "request")
