"""OpenAI's own client: transcripts, whole and as they are heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from openai import AsyncOpenAI

from rpcb_models.asr import Moonshine, SpeechRecognition
from rpcb_trio import Outcome, RequestError, Success
from rpcb_trio.streaming import Step
from rpcb_trio.testing import VirtualExecutor
from tests.gateway.fronts import Started, front
from tests.gateway.listening import listening
from tests.gateway.openai_client import asking

RECORDING = Path(__file__).parents[2] / "models" / "rpcb_models" / "recordings" / "librivox-0870.wav"
HEAR: dict[str, Any] = {"hear": {"preset": "openai-transcriptions"}}
SEGMENTS = [{"start": 0.0, "end": 1.5, "text": "a"}, {"start": 2.0, "end": 2.5, "text": "b"}]


class Hearing:
    """Keeps what it is asked, and answers as a recogniser does."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, bodies: list[bytes]) -> list[bytes]:
        self.asked += [msgspec.msgpack.decode(body) for body in bodies]
        timed = {"segments": SEGMENTS} if self.asked[-1].get("timestamps") else {}
        return [msgspec.msgpack.encode({"sentence": "a b", "other": 200} | timed)] * len(bodies)


@asynccontextmanager
async def hearing(service: Any = None) -> AsyncIterator[AsyncOpenAI]:
    async with front(HEAR, hear=service or Hearing()) as gateway, asking(gateway.app) as client:
        yield client


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ("text", "a b\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,500\na\n\n2\n00:00:02,000 --> 00:00:02,500\nb\n\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na\n\n00:00:02.000 --> 00:00:02.500\nb\n\n"),
    ],
)
async def test_a_transcript_comes_in_the_format_that_is_asked_for(
    response_format: Any, expected: str
) -> None:
    async with hearing() as client:
        answer = await client.audio.transcriptions.create(
            model="hear", file=("a.wav", b"audio"), response_format=response_format
        )
    assert answer == expected


async def test_segments_tell_when_each_part_was_spoken() -> None:
    async with hearing() as client:
        plain = await client.audio.transcriptions.create(model="hear", file=("a.wav", b"audio"))
        answer = await client.audio.transcriptions.create(
            model="hear",
            file=("a.wav", b"audio"),
            response_format="verbose_json",
            timestamp_granularities=["segment"],
        )
    assert plain.text == answer.text == "a b"
    assert [(each.id, each.start, each.end, each.text) for each in answer.segments or ()] == [
        (0, 0.0, 1.5, "a"),
        (1, 2.0, 2.5, "b"),
    ]
    assert (answer.duration, answer.language) == (2.5, "unknown")


async def test_the_service_gets_the_file_and_what_the_client_says_of_it() -> None:
    service = Hearing()
    async with hearing(service) as client:
        create = client.audio.transcriptions.create
        await create(model="hear", file=("talk.M4A", b"audio"), language="zh", prompt="p", temperature=0.5)
        await create(model="hear", file=("audio", b"audio"), response_format="srt")
    assert service.asked == [
        {"audio": b"audio", "format": "m4a", "language": "zh"},
        {"audio": b"audio", "timestamps": True},
    ]


async def test_a_service_of_bytes_gets_the_file_alone_and_answers_with_text() -> None:
    routes: dict[str, Any] = {"hear": HEAR["hear"] | {"body": "bytes"}}
    async with (
        front(routes, hear=lambda bodies: [body.upper() for body in bodies]) as gateway,
        asking(gateway.app) as client,
    ):
        answer = await client.audio.transcriptions.create(model="hear", file=("a.wav", b"audio"))
    assert answer.text == "AUDIO"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"model": "other"}, "model"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"timestamp_granularities": ["segment", "word"]}, "timestamp_granularities"),
        ({"include": ["logprobs"]}, "include"),
        ({"extra_body": {"stream": "perhaps"}}, "stream"),
        ({"stream": True, "response_format": "srt"}, "response_format"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_what_a_transcript_can_t_have_is_refused_and_named(asked: dict[str, Any], field: str) -> None:
    async with hearing() as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.audio.transcriptions.create(**{"model": "hear", "file": ("a.wav", b"audio")} | asked)
    assert raised.value.status_code == (404 if field == "model" else 400)
    assert raised.value.param == field


def telling(write: Callable[[str], object]) -> Started:
    """A service that tells a transcript in parts, served so."""
    service = Telling(write)
    return Started(service, {"executors": [VirtualExecutor(list, service=service)]})


class Telling:
    """Tells a transcript in parts: the words of the file, an error for `?`."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def decode(self, body: bytes) -> list[str]:
        audio: bytes = msgspec.msgpack.decode(body)["audio"]
        return audio.decode().split("_")

    def stream_infer(self, items: list[list[str]]) -> Iterator[Step[str]]:
        for words in items:
            for word in words:
                yield {items.index(words): RequestError("no word") if word == "?" else word}

    def encode(self, outcome: Outcome[str]) -> bytes:
        return msgspec.msgpack.encode(self._write(outcome.value) if isinstance(outcome, Success) else None)


@pytest.mark.parametrize(
    ("write", "audio", "expected"),
    [
        (lambda word: {"sentence": word, "other": 200}, b"one_two", ["one", " two", "one two"]),
        (lambda word: {"delta": word}, b"hel_lo", ["hel", "lo", "hello"]),
        (lambda word: {"text": word}, b"a__b", ["a", " b", "a b"]),
    ],
    ids=["segments", "deltas", "silence"],
)
async def test_a_transcript_comes_as_it_is_heard_and_at_last_as_a_whole(
    write: Callable[[str], object], audio: bytes, expected: list[str]
) -> None:
    async with hearing(telling(write)) as client:
        stream = await client.audio.transcriptions.create(model="hear", file=("a", audio), stream=True)
        texts = [each.delta if each.type == "transcript.text.delta" else each.text async for each in stream]
    assert texts == expected


@pytest.mark.parametrize(
    ("second", "status", "told"),
    [("?", 400, "no word"), ("odd", 502, "the reply holds no transcript: it has no text or sentence")],
)
async def test_an_error_after_the_first_part_of_a_transcript_is_its_last_event(
    second: str, status: int, told: str
) -> None:
    service = telling(lambda word: {"text": None if word == "odd" else word})
    form = {"model": "hear", "stream": "true"}
    async with front(HEAR, hear=service) as gateway:
        answer = await gateway.http.post(
            "/v1/audio/transcriptions", data=form, files={"file": f"one_{second}_three".encode()}
        )
        early = await gateway.http.post(
            "/v1/audio/transcriptions", data=form, files={"file": second.encode()}
        )
        assert gateway.in_flight == 0
    events = [msgspec.json.decode(each.removeprefix("data: ")) for each in answer.text.split("\n\n")[:-1]]
    assert events[0] == {"type": "transcript.text.delta", "delta": "one"}
    assert [each["error"]["message"] for each in events[1:]] == [told]
    assert (early.status_code, early.json()["error"]["message"]) == (status, told)


async def test_a_recogniser_that_does_not_stream_tells_all_at_once() -> None:
    async with hearing() as client:
        stream = await client.audio.transcriptions.create(model="hear", file=("a", b"x"), stream=True)
        assert [each.type async for each in stream] == ["transcript.text.delta", "transcript.text.done"]


@pytest.mark.parametrize(
    ("how", "status", "field"),
    [
        ({"data": {"model": "hear"}, "files": {"other": b"x"}}, 400, "file"),
        ({"data": {"model": "hear", "file": "text"}, "files": {"other": b"x"}}, 400, "file"),
        ({"files": {"file": b"x"}}, 400, "model"),
        ({"json": {"model": "hear"}}, 415, None),
        ({"content": b"--", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, None),
    ],
    ids=["no-file", "file-as-text", "no-model", "json", "broken"],
)
async def test_a_form_that_is_none_is_refused_in_openai_s_shape(
    how: Any, status: int, field: str | None
) -> None:
    async with front(HEAR, hear=Hearing()) as gateway:
        answer = await gateway.http.post("/v1/audio/transcriptions", **how)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)


async def test_no_text_of_a_form_that_utf_8_can_t_carry_gets_to_the_service() -> None:
    part = '--b\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    head = {"content-type": "multipart/form-data; boundary=b; charset=utf-7"}
    file = part.format("file", '; filename="a.+2AA-"', "x")
    async with front(HEAR, hear=Hearing()) as gateway:
        for field, status in (("model", 400), ("language", 400), ("prompt", 200)):
            texts = {"model": "hear"} | {field: "+2AA-"}
            body = file + "".join(part.format(name, "", text) for name, text in texts.items()) + "--b--\r\n"
            answer = await gateway.http.post("/v1/audio/transcriptions", content=body, headers=head)
            assert answer.status_code == status, answer.text


async def test_a_real_recording_is_heard_over_a_real_connection_with_times(moonshine: Moonshine) -> None:
    async with (
        listening(
            {"whisper-1": {"preset": "openai-transcriptions", "queue": "asr"}},
            asr=SpeechRecognition(moonshine),
        ) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        answer = await client.audio.transcriptions.create(
            model="whisper-1", file=RECORDING, response_format="verbose_json"
        )
        with pytest.raises(openai.BadRequestError):
            await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))
    segments = answer.segments or []
    assert len(answer.text.split()) > 5
    assert answer.duration == pytest.approx(7.1, abs=0.1)
    assert 0 <= segments[0].start < segments[-1].end <= answer.duration + 0.01
    assert " ".join(each.text for each in segments) == answer.text
