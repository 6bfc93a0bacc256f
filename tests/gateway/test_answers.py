"""Routes: how a form becomes a body, and a reply becomes an answer."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from rpcb_models import simple
from rpcb_trio import Failure, Outcome, RequestError, Success
from rpcb_trio.gateway import GatewayOptions
from rpcb_trio.testing import Recorder
from tests.gateway.fronts import Started, batch_headers, echo, front, one_by_one, told


class Picky:
    """Refuses what says so, in msgpack of its own."""

    def decode(self, body: bytes) -> str:
        text: str = msgspec.msgpack.decode(body)["text"]
        if text == "refuse me":
            raise RequestError("no")
        if text == "misread me":
            raise ValueError("what?")
        return text

    def infer(self, items: list[str]) -> list[str | Exception]:
        return [ArithmeticError("0") if item == "fail me" else item for item in items]

    def encode(self, outcome: Outcome[str]) -> bytes:
        match outcome:
            case Success(value=text):
                return msgspec.msgpack.encode({"text": text, "how": 200})
            case Failure(error=error):
                return msgspec.msgpack.encode({"text": "", "how": 415, "why": error.code})


PICKY: dict[str, Any] = {"queue": "picky", "form": {"text": {}}}


async def test_a_form_becomes_a_msgpack_map_with_defaults_and_constants_and_the_reply_becomes_json() -> None:
    route = {
        "queue": "see",
        "constants": {"model": "small"},
        "form": {
            "audio": "file",
            "format": {"default": "wav", "choices": ["wav", "mp3"]},
            "beams": "integer",
            "weight": {"type": "number", "default": 0.5},
            "loud": "boolean",
            "note": {"optional": True},
        },
    }
    async with front({"see": route}, see=one_by_one(lambda body: body)) as gateway:
        answer = await gateway.http.post(
            "/see", files={"audio": b"\x00\xff"}, data={"beams": "3", "loud": "yes", "unknown": "x"}
        )
    assert answer.json() == {
        "audio": base64.b64encode(b"\x00\xff").decode(),
        "format": "wav",
        "beams": 3,
        "weight": 0.5,
        "loud": True,
        "model": "small",
    }
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("how", ["multipart", "urlencoded"])
async def test_the_accelerator_takes_its_text_as_bytes_and_answers_in_json(how: str) -> None:
    route = {"queue": "fast", "body": "bytes", "reply": "json", "form": {"text": "text"}}
    async with front({"fast": route}, fast=simple.Accelerator(0, 0)) as gateway:
        sent: Any = (
            {"files": {"text": (None, "hello")}} if how == "multipart" else {"data": {"text": "hello"}}
        )
        answer = await gateway.http.post("/fast", **sent)
    assert answer.json() == {"echo": "hello", "batch_size": 1}


async def test_a_route_without_a_form_passes_bytes_and_content_type_through() -> None:
    async with front({"echo": {"queue": "echo", "path": "/v1/echo", "method": "PUT"}}, echo=echo) as gateway:
        answer = await gateway.http.put("/v1/echo", content=b"\x00hello")
        other = await gateway.http.post("/v1/echo", content=b"")
    assert (answer.status_code, answer.content) == (200, b"\x00hello")
    assert (other.status_code, other.headers["allow"], other.json()["error"]) == (405, "PUT", "method")


@pytest.mark.parametrize(
    ("sent", "field", "why"),
    [
        ({}, "audio", "missing"),
        ({"data": {"audio": "text"}}, "audio", "send it as a file"),
        ({"files": {"audio": b"", "format": b"wav"}}, "format", "sent as a file"),
        ({"files": {"audio": b""}, "data": {"format": "flac"}}, "format", "none of wav, mp3"),
        ({"files": {"audio": b""}, "data": {"beams": "many"}}, "beams", "no integer"),
        ({"files": {"audio": b""}, "data": {"beams": "1" * 30}}, "beams", "too large"),
        ({"files": {"audio": b""}, "data": {"gain": "nan"}}, "gain", "no number"),
        ({"files": {"audio": b""}, "data": {"gain": "1e999"}}, "gain", "no number"),
    ],
)
async def test_a_wrong_form_is_refused_with_the_field_that_is_wrong(
    sent: dict[str, Any], field: str, why: str
) -> None:
    form = {
        "audio": "file",
        "format": {"default": "wav", "choices": ["wav", "mp3"]},
        "beams": {"type": "integer", "default": 1},
        "gain": {"type": "number", "default": 1.5},
    }
    async with front({"asr": {"queue": "asr", "form": form}}, asr=told({})) as gateway:
        answer = await gateway.http.post("/asr", **sent)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["error"]) == (422, 422, "form")
    assert problem["field"] == field
    assert why in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_malformed_form_is_a_bad_request() -> None:
    async with front({"asr": {"queue": "asr", "form": {"audio": "file"}}}, asr=told({})) as gateway:
        answer = await gateway.http.post(
            "/asr", content=b"--nothing", headers={"content-type": "multipart/form-data; boundary=x"}
        )
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize(
    ("charset", "status"), [("unicode_escape", 422), ("undefined", 400), ("none", 200), ("latin-1", 200)]
)
async def test_a_charset_that_is_none_for_texts_is_the_client_s_fault(charset: str, status: int) -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="text"\r\n\r\n\\ud800\r\n--b--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    async with front({"picky": PICKY}, picky=Picky()) as gateway:
        answer = await gateway.http.post("/picky", content=body, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [("refuse me", 400, "request"), ("misread me", 422, "decode"), ("fail me", 500, "infer")],
)
async def test_an_error_reply_has_the_status_of_whose_fault_it_is_and_says_what_the_service_said(
    text: str, status: int, code: str
) -> None:
    async with front({"picky": PICKY}, picky=Picky()) as gateway:
        answer = await gateway.http.post("/picky", data={"text": text})
    assert (answer.status_code, answer.json()["error"], answer.headers["rpcb-error"]) == (status, code, code)
    assert answer.json()["reply"] == {"text": "", "how": 415, "why": code}


async def test_a_status_in_the_reply_decides_where_the_route_says_so() -> None:
    status = {"field": "how", "http": {"415": 415}}
    async with front({"picky": PICKY | {"status": status}}, picky=Picky()) as gateway:
        refused = await gateway.http.post("/picky", data={"text": "refuse me"})
        fine = await gateway.http.post("/picky", data={"text": "fine"})
    assert (refused.status_code, fine.status_code) == (415, 200)


@pytest.mark.parametrize(
    ("reply", "route"),
    [
        (b"no msgpack", {}),
        (b"", {}),
        (b"\x91" * 200_000 + b"\x90", {}),  # deeper than any Python reads
        (msgspec.msgpack.encode({"a": 1}), {"answer": "data"}),
        (msgspec.msgpack.encode({(1, 2): 3}), {}),
    ],
)
async def test_a_reply_that_makes_no_sense_is_a_bad_gateway(reply: bytes, route: dict[str, Any]) -> None:
    table = {"queue": "odd", "form": {"text": {}}} | route
    async with front({"odd": table}, odd=lambda bodies: [reply] * len(bodies)) as gateway:
        answer = await gateway.http.post("/odd", data={"text": ""})
    assert (answer.status_code, answer.json()["error"]) == (502, "bad-reply")


async def test_a_worker_s_headers_of_its_batches_come_through() -> None:
    async with front({"echo": {"queue": "echo"}}, echo=batch_headers(echo)) as gateway:
        answer = await gateway.http.post("/echo")
    assert (answer.headers["rpcb-batch-size"], float(answer.headers["rpcb-wait"]) >= 0) == ("1", True)


@pytest.mark.parametrize(
    ("tenant", "sent", "travels"),
    [
        ("x-tenant", {"X-Tenant": "gold"}, "gold"),
        ("X-Tenant", {"x-tenant": "a" * 1000}, "a" * 255),
        ("x-tenant", {"x-other": "gold"}, None),
        ("reply-to", {"reply-to": "gold"}, None),
        (None, {"x-tenant": "gold"}, None),
    ],
    ids=["named", "long", "missing", "by reply_to", "not set"],
)
async def test_the_header_that_names_a_tenant_goes_on_to_the_worker(
    tenant: str | None, sent: dict[str, str], travels: str | None
) -> None:
    worker = Recorder()
    echoing = Started(echo, {"instruments": [worker]})
    async with front({"echo": {"queue": "echo"}}, GatewayOptions(tenant=tenant), echo=echoing) as gateway:
        await gateway.http.post("/echo", headers=sent)
    [request] = worker.received
    assert request.headers.get(tenant or "x-tenant") == travels


async def test_the_id_of_a_request_is_the_client_s_if_it_makes_sense_and_else_our_own() -> None:
    async with front({"echo": {"queue": "echo"}}, echo=echo) as gateway:
        given = await gateway.http.post("/echo", headers={"x-request-id": "abc-1"})
        made = await gateway.http.post("/echo")
        forged = await gateway.http.post("/echo", headers={"x-request-id": "a b\tc"})
    assert given.headers["x-request-id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 32
    assert forged.headers["x-request-id"] not in ("a b\tc", made.headers["x-request-id"])
