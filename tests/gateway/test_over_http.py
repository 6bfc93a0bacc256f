"""What only a real port shows: what curl does on the wire, and that connections are kept and used again."""

from __future__ import annotations

from typing import Any

import h11
import httpx
import pytest
import trio

from tests.gateway.curl import TYPE, curl
from tests.gateway.fronts import echo, told
from tests.gateway.listening import listening, status_of

FORM = {"audio": "file"}
ROUTES: dict[str, Any] = {"asr": {"queue": "asr", "body": "bytes", "form": FORM}}


async def test_curl_that_expects_100_continue_for_a_large_file_gets_it() -> None:
    body = curl(filename="0.wav", audio=bytes(2_000_000), format="wav")
    client = h11.Connection(h11.CLIENT)
    head = h11.Request(
        method="POST",
        target="/asr",
        headers=[
            ("host", "x"),
            ("expect", "100-continue"),
            ("content-length", str(len(body))),
            *TYPE.items(),
        ],
    )
    routes = {"asr": {"queue": "asr", "form": FORM}}
    async with listening(routes, asr=told({"sentence": "hello"})) as gateway:
        stream = await gateway.stream()
        await stream.send_all(client.send(head) or b"")
        client.receive_data(bytes(await stream.receive_some()))
        told_so = client.next_event()
        assert isinstance(told_so, h11.InformationalResponse)
        assert told_so.status_code == 100
        await stream.send_all(body)
        assert await status_of(stream) == 200


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with listening(ROUTES, asr=echo) as gateway, gateway.asking() as http:
        answers = [await http.post("/asr", files={"audio": b"%d" % number}) for number in range(50)]
        streams = {answer.extensions["network_stream"].get_extra_info("client_addr") for answer in answers}
    assert [answer.content for answer in answers] == [b"%d" % number for number in range(50)]
    assert len(streams) == 1


@pytest.mark.parametrize(
    ("path", "status"), [("/none", 404), ("/livez", 405), ("/rpc/none", 404), ("/asr", 422)]
)
async def test_a_refusal_leaves_the_connection_as_it_was(path: str, status: int) -> None:
    async with listening(ROUTES, asr=echo) as gateway, gateway.asking() as http:
        answers = [await http.post(path, content=b"x" * 10_000) for _ in range(20)]
        streams = {answer.extensions["network_stream"].get_extra_info("client_addr") for answer in answers}
    assert {answer.status_code for answer in answers} == {status}
    assert len(streams) == 1


async def test_many_at_once_each_get_their_own_answer() -> None:
    answers: dict[int, httpx.Response] = {}
    async with listening(ROUTES, asr=echo) as gateway, gateway.asking() as http:

        async def ask(number: int) -> None:
            answers[number] = await http.post("/asr", files={"audio": b"%d" % number})

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
    assert {number: answer.content for number, answer in answers.items()} == {
        number: b"%d" % number for number in range(50)
    }
