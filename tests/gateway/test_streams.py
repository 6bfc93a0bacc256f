"""Replies in parts, as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from rpcb_trio import Outcome, Success
from rpcb_trio.gateway import GatewayOptions
from rpcb_trio.streaming import Step, by_item
from rpcb_trio.testing import VirtualExecutor
from tests.gateway.fronts import Front, Started, front
from tests.gateway.listening import listening
from tests.spelling import Spelling

ANY = GatewayOptions(rpc=("*",))
HEAD = b"POST /rpc/spell?stream=true HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
EVENTS = {"accept": "text/event-stream"}


class Text(Spelling):
    content_type = "text/plain; charset=utf-8"


def slowly(service: Any, seconds: float) -> Started:
    executor = VirtualExecutor(list, service=service, step_time=lambda _: seconds)
    return Started(service, {"executors": [executor]})


async def events_of(gateway: Front, body: bytes, **request: Any) -> str:
    answer = await gateway.http.post("/rpc/spell", content=body, **request)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    return answer.text


@pytest.mark.parametrize(
    "how",
    [{"headers": EVENTS}, {"params": {"stream": "true"}}, {"params": {"stream": "Yes"}}],
    ids=["accept", "query", "as in forms"],
)
async def test_a_client_that_asks_gets_each_part_as_an_event(how: dict[str, Any]) -> None:
    async with front({}, ANY, spell=slowly(Text(), 0)) as gateway:
        assert (await events_of(gateway, b"ab", **how)).split("\n\n") == [
            "id: 0\ndata: a",
            "id: 1\ndata: b",
            "event: end\ndata: {}",
            "",
        ]
        assert (await gateway.http.post("/rpc/spell", content=b"ab")).text == "ab"
        assert gateway.in_flight == 0


async def test_what_the_query_says_of_parts_is_a_boolean_and_counts_before_what_is_accepted() -> None:
    routes = {"form": {"queue": "spell", "body": "bytes", "form": {"text": {}}}}
    async with front(routes, ANY, spell=slowly(Text(), 0)) as gateway:
        for no in ("false", "0", "No"):
            how: dict[str, Any] = {"params": {"stream": no}, "headers": EVENTS}
            assert (await gateway.http.post("/rpc/spell", content=b"ab", **how)).text == "ab"
        for path, body in (("/rpc/spell", {"content": b"ab"}), ("/form", {"data": {"text": "ab"}})):
            for value in ("maybe", "", "2"):
                answer = await gateway.http.post(path, params={"stream": value}, **body)
                problem = answer.json()
                assert (answer.status_code, problem["error"], problem["field"]) == (422, "form", "stream")
                assert problem["detail"] == f"stream: {value!r} is no boolean; send true or false"


async def test_a_field_stream_of_a_form_may_stand_in_the_query_and_asks_for_nothing() -> None:
    routes = {"form": {"queue": "spell", "body": "bytes", "form": {"stream": {}}}}
    async with front(routes, ANY, spell=slowly(Text(), 0)) as gateway:
        for value in ("true", "ab"):
            assert (await gateway.http.post("/form", params={"stream": value})).text == value
        operation = (await gateway.http.get("/openapi.json")).json()["paths"]["/form"]["post"]
    assert "parameters" not in operation


async def test_bytes_that_are_no_text_are_in_base64_and_lines_stay_lines() -> None:
    class Lines(Text):
        def stream_infer(self, items: list[str]) -> Iterator[Step[str]]:  # type: ignore[override] # no letters
            yield from by_item([item, ""] for item in items)

    async with front({}, ANY, spell=slowly(Spelling(), 0)) as gateway:
        assert "data: YQ==\n" in await events_of(gateway, b"a", headers=EVENTS)
    async with front({}, ANY, spell=slowly(Lines(), 0)) as gateway:
        text = await events_of(gateway, b"a\nb", headers=EVENTS)
    assert text.startswith("id: 0\ndata: a\ndata: b\n\nid: 1\ndata: \n\n")


async def test_an_error_before_the_first_part_has_a_status_and_one_after_it_is_an_event() -> None:
    async with front({}, ANY, spell=slowly(Text(), 0)) as gateway:
        refused = await gateway.http.post("/rpc/spell", content=b"\xff", headers=EVENTS)
        assert (refused.status_code, refused.json()["error"]) == (422, "decode")
        first, event, end = (await events_of(gateway, b"a!", headers=EVENTS)).split("\n\n")
    assert (first, end) == ("id: 0\ndata: a", "")
    kind, data = event.split("\n")
    assert kind == "event: error"
    problem = msgspec.json.decode(data.removeprefix("data: "))
    assert (problem["status"], problem["error"]) == (500, "infer")


async def test_on_a_route_with_a_form_each_part_is_read_as_the_reply_would_be() -> None:
    class Counting:
        def decode(self, body: bytes) -> Any:
            return msgspec.msgpack.decode(body)["upto"]

        def stream_infer(self, items: list[int]) -> Iterator[Step[int]]:
            yield from by_item(range(item) for item in items)

        def encode(self, outcome: Outcome[int]) -> bytes:
            return msgspec.msgpack.encode({"n": outcome.value} if isinstance(outcome, Success) else {})

    routes = {"count": {"form": {"upto": {"type": "integer"}}, "queue": "count", "answer": "n"}}
    async with front(routes, count=slowly(Counting(), 0)) as gateway:
        answer = await gateway.http.post("/count", data={"upto": "2"}, headers=EVENTS)
    assert answer.text == "id: 0\ndata: 0\n\nid: 1\ndata: 1\n\nevent: end\ndata: {}\n\n"


async def test_while_no_part_comes_a_comment_does(autojump_clock: MockClock) -> None:
    async with front({}, ANY, spell=slowly(Text(), 40)) as gateway:
        text = await events_of(gateway, b"a", headers=EVENTS)
    assert text.split("\n\n") == [
        "id: 0\ndata: a",
        *[": no part yet"] * 2,
        "event: error\ndata: " + text.split("data: ")[-1].rstrip("\n"),
        "",
    ]
    assert '"timeout"' in text


async def test_a_client_that_hangs_up_ends_its_stream() -> None:
    service = Text()
    async with listening(options=ANY, spell=slowly(service, 0.01)) as gateway:
        client = await gateway.stream()
        await client.send_all(HEAD % 2000 + b"a" * 2000)
        while b"id: 1" not in await client.receive_some():
            pass
        await client.aclose()
        await gateway.behind.until_in_flight(0)
    assert service.steps < 2000


async def test_a_stream_that_the_end_of_a_drain_cuts_is_counted() -> None:
    async with listening(options=ANY, drain_timeout=0.05, spell=slowly(Text(), 60)) as gateway:
        client = await gateway.stream()
        await client.send_all(HEAD % 2 + b"ab")
        while b"id: 0" not in await client.receive_some():
            pass
    assert gateway.cut == 1
