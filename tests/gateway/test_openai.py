"""OpenAI's own client, against routes that have its presets."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx2
import msgspec
import openai
import pytest
import trio
from openai import AsyncOpenAI
from trio.testing import MockClock

from rpcb_models.asr import Moonshine, SpeechRecognition
from rpcb_trio import Outcome, Reply, RequestError, RpcClient, Success
from rpcb_trio._gateway import hash_of
from rpcb_trio.errors import CallInterrupted, PublishRefused, ReplyTimeout, RequestTooBig
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from rpcb_trio.streaming import Step
from rpcb_trio.testing import VirtualExecutor
from tests.gateway.fronts import Canned, Front, Started, front, one_by_one
from tests.gateway.hangup import hang_up_after
from tests.gateway.listening import listening

RECORDING = Path(__file__).parents[2] / "models" / "rpcb_models" / "recordings" / "librivox-0870.wav"
EMBED: dict[str, Any] = {"tiny": {"preset": "openai-embeddings"}}
HEAR: dict[str, Any] = {"hear": {"preset": "openai-transcriptions"}}
SEGMENTS = [{"start": 0.0, "end": 1.5, "text": "a"}, {"start": 2.0, "end": 2.5, "text": "b"}]


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
async def asking(app: Any, *, key: str = "none", max_retries: int = 0) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client of an app, without any network."""
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    url = "http://gateway/v1"
    async with AsyncOpenAI(base_url=url, api_key=key, http_client=http, max_retries=max_retries) as client:
        yield client


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
    routes = EMBED | HEAR | {"org/odd": {"preset": "openai-embeddings"}, "other": {"queue": "tiny"}}
    async with front(routes, tiny=Embed()) as gateway, asking(gateway.app) as client:
        models = [each.id async for each in client.models.list()]
        found = [(await client.models.retrieve(each)).id for each in models]
        with pytest.raises(openai.NotFoundError, match="there is no model 'other'"):
            await client.models.retrieve("other")
    assert models == found == ["tiny", "hear", "org/odd"]


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
