"""`POST /asr` and `POST /api/se`, as rabbit-rpc-client had them, by `models/rpcb_models/gateway.toml`."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from rpcb_models.asr import Moonshine, SpeechRecognition
from rpcb_models.wire import Status
from rpcb_trio import Reply
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import ENVELOPE, Front, answered_with, front, one_by_one, told

ROOT = Path(__file__).parents[2]
QUEUES = {"asr": "asr-en", "se": "seBase"}

ENHANCED = {"enhance": b"RIFF", "duration": "1.25"}


@asynccontextmanager
async def faces(**services: Any) -> AsyncIterator[Front]:
    """The routes of the file; on the embedded broker, which has no exchanges, by their queues."""
    routes = tomllib.loads((ROOT / "models" / "rpcb_models" / "gateway.toml").read_text())["routes"]
    for name, route in routes.items():
        if "exchange" in route:
            del route["exchange"], route["routing_key"]
            route["queue"] = name
    async with front(routes, **services) as gateway:
        yield gateway


async def test_real_speech_is_recognised_through_the_ancestor_s_curl_line(moonshine: Moonshine) -> None:
    recording = (ROOT / "models" / "rpcb_models" / "recordings" / "librivox-0870.wav").read_bytes()
    async with faces(asr=SpeechRecognition(moonshine)) as gateway:
        files: dict[str, Any] = {"audio": ("0.wav", recording, "audio/wav"), "format": (None, "wav")}
        answer = await gateway.http.post("/asr", files=files)
    told = answer.json()
    assert (answer.status_code, list(told), told["status"], told["message"]) == (
        200,
        ["status", "message", "data"],
        200,
        "success",
    )
    assert told["data"]["other"] == 200
    assert len(told["data"]["sentence"].split()) > 5


async def test_a_recogniser_s_own_failure_comes_as_its_data_as_it_always_did(moonshine: Moonshine) -> None:
    async with faces(asr=SpeechRecognition(moonshine)) as gateway:
        answer = await gateway.http.post("/asr", files={"audio": b"no audio"}, data={"format": "wav"})
    told = answer.json()
    assert (told["status"], told["message"], told["data"]["sentence"]) == (200, "success", "")
    assert told["data"]["other"] in list(Status)


async def test_enhanced_speech_comes_in_base64_and_as_a_url() -> None:
    service = told({"status": 200, "message": "成功", "data": ENHANCED})
    async with faces(se=service) as gateway:
        answer = await gateway.http.post("/api/se", files={"audio": b"wav"})
        data = answer.json()["data"]
        file = await gateway.http.get(data["url"])
    assert answer.json() | {"data": None} == {"status": 200, "message": "success", "data": None}
    assert data.keys() == {"url", "duration", "enhance"}
    assert (base64.b64decode(data["enhance"]), data["duration"]) == (b"RIFF", "1.25")
    assert (file.status_code, file.content, file.headers["content-type"]) == (200, b"RIFF", "audio/x-wav")


async def test_the_format_of_enhancement_is_wav_unless_it_is_said() -> None:
    heard: list[object] = []

    def answer(body: dict[str, Any]) -> object:
        heard.append(body)
        return {"status": 200, "message": "", "data": ENHANCED}

    async with faces(se=one_by_one(answer)) as gateway:
        await gateway.http.post("/api/se", files={"audio": b"1"})
        await gateway.http.post("/api/se", files={"audio": b"2"}, data={"format": "mp3"})
    assert heard == [{"audio": b"1", "format": "wav"}, {"audio": b"2", "format": "mp3"}]


@pytest.mark.parametrize(
    "reply", [{"status": 402, "message": "音频格式不支持", "data": None}, {"status": 200}]
)
async def test_enhancement_that_failed_is_status_500_in_the_ancestor_s_shape(reply: object) -> None:
    async with faces(se=told(reply)) as gateway:
        answer = await gateway.http.post("/api/se", files={"audio": b"1"})
    assert answer.status_code == 200
    assert answer.json() == {"status": 500, "message": "程序内部未知错误", "data": None}


async def test_a_timeout_is_status_400_in_the_ancestor_s_shape(autojump_clock: MockClock) -> None:
    async with faces(asr=None) as gateway:
        answer = await gateway.http.post("/asr", files={"audio": b"1"}, data={"format": "wav"})
    assert answer.status_code == 200
    assert answer.json() == {"status": 400, "message": "内部服务调用超时", "data": None}


async def test_a_missing_field_is_status_500_with_its_name() -> None:
    async with faces(asr=None) as gateway:
        answer = await gateway.http.post("/asr", files={"audio": b"1"})
    assert answer.status_code == 200
    assert answer.json() == {"status": 500, "message": "参数缺失: name=format type=String", "data": None}


async def test_the_ancestor_s_load_test_gets_json_from_its_own_path() -> None:
    recognised = one_by_one(lambda body: {"sentence": body["audio"].decode(), "other": 200})
    enhancing = told({"status": 200, "message": "", "data": ENHANCED})
    async with faces(asr=recognised, se=enhancing) as gateway:
        answer = await gateway.http.post(
            "/aisaps/main", files={"audio": ("0.wav", b"noisy")}, headers={"authorization": "x"}
        )
        told_of = answer.json()
    assert told_of["plain"] == {"sentence": "noisy", "other": 200}
    assert told_of["clear"] == {"sentence": "RIFF", "other": 200}
    assert told_of["enhanced"]["url"].startswith("http://gateway/files/")


async def test_missing_fields_are_named_in_the_ancestor_s_order_and_words() -> None:
    async with faces(asr=None, se=None) as gateway:

        async def message(path: str, **sent: Any) -> str:
            told = (await gateway.http.post(path, **sent)).json()
            assert (told["status"], told["data"]) == (500, None)
            return str(told["message"])

        other: Any = {"other": b"1"}
        assert await message("/asr", files=other) == "参数缺失: name=audio"
        assert await message("/asr", files=other, data={"format": "wav"}) == "参数缺失: name=audio"
        assert await message("/asr", files={"audio": b"1"}) == "参数缺失: name=format type=String"
        assert await message("/asr") == "程序内部未知错误"
        assert await message("/api/se", files=other) == "程序内部未知错误"
        assert await message("/api/se") == "程序内部未知错误"


@pytest.mark.parametrize("path", ["/asr?format=mp3", "/asr/?format=mp3"])
async def test_the_query_and_a_slash_at_the_end_are_taken_as_the_ancestor_takes_them(path: str) -> None:
    async with faces(asr=one_by_one(lambda body: {"sentence": body["format"], "other": 200})) as gateway:
        answer = await gateway.http.post(path, files={"audio": b"1"})
    assert answer.json() == {"status": 200, "message": "success", "data": {"sentence": "mp3", "other": 200}}


async def test_enhancement_answers_in_the_ancestor_s_order() -> None:
    async with faces(se=told({"status": 200, "message": "", "data": ENHANCED})) as gateway:
        answer = await gateway.http.post("/api/se", files={"audio": b"wav"})
    assert list(answer.json()["data"]) == ["url", "duration", "enhance"]


async def test_a_failed_recognition_keeps_its_envelope_and_has_its_reason_beside_it() -> None:
    failed = msgspec.msgpack.encode({"sentence": "", "other": 402})
    headers = {"rpcb-error": "request", "rpcb-error-kind": "request", "rpcb-error-reason": "it is a text"}
    routes = {
        "asr": {
            "queue": "asr",
            "envelope": ENVELOPE,
            "form": {"audio": "file", "format": {}},
        }
    }
    sent: Any = {"files": {"audio": b"text"}, "data": {"format": "wav"}}
    async with answered_with(Reply(body=failed, headers=headers), routes) as http:
        plain = await http.post("/asr", **sent)
        asked = await http.post("/asr", **sent, headers={"accept": "application/problem+json"})
    assert (plain.status_code, plain.json()["status"], plain.json()["data"]["other"]) == (200, 200, 402)
    assert plain.headers["rpcb-error-reason"] == "it is a text"
    assert (asked.status_code, asked.json()["detail"]) == (400, "it is a text")


async def test_any_page_may_call_with_its_cookies_where_that_is_set_as_the_ancestor_lets_it() -> None:
    options = GatewayOptions(cors=("*",), cors_credentials=True)
    asked = {"origin": "https://x.example", "access-control-request-method": "DELETE"}
    async with front({}, options) as gateway:
        may = await gateway.http.options("/livez", headers=asked)
        answer = await gateway.http.get("/livez", headers={"origin": "https://x.example"})
    for each in (may, answer):
        assert each.headers["access-control-allow-origin"] == "https://x.example"
        assert each.headers["access-control-allow-credentials"] == "true"
    assert may.status_code == 200
