"""The producers' wire, byte for byte as Java and the ancestor's Python write and read it."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_models.wire import AudioRequest, Recognition, RefusedRequest, Status, read_request, status_of
from rpcb_trio import RequestError, ServiceError
from rpcb_trio.errors import DecodeError, EncodeError, Expired, InferError, OutcomeError, WrongResultCount

REQUEST = b"\x82\xa5audio\xc4\x04RIFF\xa6format\xa3wav"
REPLY = b"\x82\xa8sentence\xa5hello\xa5other\xcc\xc8"
CHINESE_REPLY = b"\x82\xa8sentence\xa6\xe4\xbd\xa0\xe5\xa5\xbd\xa5other\xcc\xc8"
ERROR_REPLY = b"\x82\xa8sentence\xa0\xa5other\xcd\x01\x93"


def refusal(body: bytes) -> Status:
    with pytest.raises(RefusedRequest) as caught:
        read_request(body)
    return caught.value.status


def test_a_producers_request_is_read() -> None:
    assert read_request(REQUEST) == AudioRequest(audio=b"RIFF", format="wav")


def test_the_keys_may_come_in_any_order_and_unknown_ones_are_ignored() -> None:
    body = b"\x84\xa2id\x01\xa6format\xa3mp3\xa5extra\x92\x01\xc0\xa5audio\xc5\x00\x01a"
    assert read_request(body) == AudioRequest(audio=b"a", format="mp3")


@pytest.mark.parametrize("rest", [b"", b"\xa6format\xc0"])
def test_the_format_may_be_missing_or_nil(rest: bytes) -> None:
    body = bytes([0x81 + bool(rest)]) + b"\xa5audio\xc4\x01a" + rest
    assert read_request(body).format is None


def test_our_own_producers_write_the_same_request() -> None:
    assert msgspec.msgpack.encode(AudioRequest(b"RIFF", "wav")) == REQUEST


@pytest.mark.parametrize(
    ("sentence", "status", "body"),
    [
        ("hello", Status.SUCCESS, REPLY),
        ("你好", Status.SUCCESS, CHINESE_REPLY),
        ("", Status.UNPARSEABLE, ERROR_REPLY),
    ],
)
def test_a_reply_is_the_map_java_reads_and_nothing_more(sentence: str, status: Status, body: bytes) -> None:
    assert msgspec.msgpack.encode(Recognition(sentence, status)) == body


def test_an_empty_message_is_408() -> None:
    assert refusal(b"") == Status.EMPTY
    assert refusal(b"\x82\xa5audio\xc4\x00\xa6format\xa3wav") == Status.EMPTY


@pytest.mark.parametrize(
    "body",
    [
        REQUEST[:-1],
        REQUEST + b"\x00",
        b"\xc1",
        b'{"audio": "UklGRg==", "format": "wav"}',
        b"\x80",
        b"\x81\xa6format\xa3wav",
        b"\x82\xa5audio\xa4RIFF\xa6format\xa3wav",
        b"\x82\xa5audio\xc4\x04RIFF\xa6format\x05",
        b"\x81\xa5audio\xc6\xff\xff\xff\xffRIFF",
        b"\x81\xa1x" + b"\x91" * 100_000,
        b"\x81\xa1\xf0\xc0",
    ],
)
def test_a_message_that_is_no_request_is_407(body: bytes) -> None:
    assert refusal(body) == Status.DESERIALISATION_FAILED


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    with contextlib.suppress(RefusedRequest):
        assert read_request(body).audio


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RefusedRequest(Status.EMPTY, "nothing there"), 408),
        (DecodeError("a bug in decode"), 403),
        (Expired("too late"), 404),
        (EncodeError("not to be written"), 406),
        (InferError("the model failed"), 409),
        (WrongResultCount("3 results for 4"), 409),
        (RequestError("some other fault of the request"), 400),
        (ServiceError("some other fault of the service"), 400),
    ],
)
def test_every_kind_of_error_has_its_status(error: OutcomeError, status: int) -> None:
    assert status_of(error) == status


def test_every_status_has_its_message() -> None:
    assert {int(status): status.message for status in Status} == {
        200: "成功",
        400: "服务端未定义异常",
        401: "运行状态错误",
        402: "音频格式不支持",
        403: "服务端接收到的数据无法解析",
        404: "服务端接收消息超时",
        405: "服务端发布消息失败",
        406: "服务端消息序列化失败",
        407: "服务端消息反序列化失败",
        408: "服务端接收到的消息为空",
        409: "服务端算法处理异常",
        410: "服务端调用中断",
    }
