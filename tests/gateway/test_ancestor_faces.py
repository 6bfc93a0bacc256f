"""`POST /asr` and `POST /api/se`, as rabbit-rpc-client had them; the routes are of `models/gateway.toml`."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from models.asr import Moonshine, SpeechRecognition
from models.wire import Status
from tests.gateway.fronts import Front, front, one_by_one, told

ROOT = Path(__file__).parents[2]
QUEUES = {"asr": "asr-en", "se": "seBase"}

ENHANCED = {"enhance": b"RIFF", "duration": "1.25"}


@asynccontextmanager
async def faces(**services: Any) -> AsyncIterator[Front]:
    """The routes of the file; on the embedded broker, which has no exchanges, by their queues."""
    routes = tomllib.loads((ROOT / "models" / "gateway.toml").read_text())["routes"]
    for name, route in routes.items():
        if "exchange" in route:
            del route["exchange"], route["routing_key"]
            route["queue"] = name
    async with front(routes, **services) as gateway:
        yield gateway


async def test_real_speech_is_recognised_through_the_ancestor_s_curl_line(moonshine: Moonshine) -> None:
    recording = (ROOT / "models" / "recordings" / "librivox-0870.wav").read_bytes()
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
    assert answer.json() == {"status": 500, "message": "服务内部未知错误", "data": None}


async def test_a_timeout_is_status_400_in_the_ancestor_s_shape(autojump_clock: MockClock) -> None:
    async with faces(asr=None) as gateway:
        answer = await gateway.http.post("/asr", files={"audio": b"1"}, data={"format": "wav"})
    assert answer.status_code == 200
    assert answer.json() == {"status": 400, "message": "内部服务调用超时", "data": None}


async def test_a_missing_field_is_status_500_with_its_name() -> None:
    async with faces(asr=None) as gateway:
        answer = await gateway.http.post("/asr", files={"audio": b"1"})
    assert answer.status_code == 200
    assert answer.json() == {"status": 500, "message": "参数缺失: name=format", "data": None}


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
