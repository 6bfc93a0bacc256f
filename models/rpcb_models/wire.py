"""The producers' wire: MessagePack maps whose keys, order and types are exactly what the Java side reads.

Its plain `ObjectMapper` fails on an extra key, so whatever else there is to say goes into AMQP headers.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from rpcb_trio import RequestError
from rpcb_trio.errors import DecodeError, EncodeError, Expired, InferError, OutcomeError, WrongResultCount


class Status(IntEnum):
    """How a request ended, as producers read it. `message` is the text that goes with it on the wire."""

    SUCCESS = 200
    UNDEFINED = 400
    NOT_RUNNING = 401
    UNSUPPORTED_FORMAT = 402
    UNPARSEABLE = 403
    EXPIRED = 404
    PUBLISH_FAILED = 405
    SERIALISATION_FAILED = 406
    DESERIALISATION_FAILED = 407
    EMPTY = 408
    ALGORITHM_FAILED = 409
    INTERRUPTED = 410

    @property
    def message(self) -> str:
        """The status in the producers' language."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.SUCCESS: "成功",
    Status.UNDEFINED: "服务端未定义异常",
    Status.NOT_RUNNING: "运行状态错误",
    Status.UNSUPPORTED_FORMAT: "音频格式不支持",
    Status.UNPARSEABLE: "服务端接收到的数据无法解析",
    Status.EXPIRED: "服务端接收消息超时",
    Status.PUBLISH_FAILED: "服务端发布消息失败",
    Status.SERIALISATION_FAILED: "服务端消息序列化失败",
    Status.DESERIALISATION_FAILED: "服务端消息反序列化失败",
    Status.EMPTY: "服务端接收到的消息为空",
    Status.ALGORITHM_FAILED: "服务端算法处理异常",
    Status.INTERRUPTED: "服务端调用中断",
}


class RefusedRequest(RequestError):
    """A request that can't be served, with the status its producer gets."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class AudioRequest(msgspec.Struct, frozen=True):
    """What a producer sends: an audio file's bytes and its name for the format. Other keys are ignored."""

    audio: bytes
    format: str | None = None
    timestamps: Any = msgspec.UNSET
    """True (or the text) where the reply of recognition may have its third field; all else is ignored."""
    language: Any = msgspec.UNSET
    """For recognition: the language that is spoken, as `en` or `zh-CN`; by default the service's own."""


class SpokenSegment(msgspec.Struct, frozen=True):
    """What was said from when to when, in seconds from the audio's beginning."""

    start: float
    end: float
    text: str


class Recognition(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reply of speech recognition. The field order is the wire's."""

    sentence: str
    other: int
    segments: list[SpokenSegment] | None = None
    """Only where the request asked for it, so that the Java mapper never meets it."""


class Enhanced(msgspec.Struct, frozen=True):
    """The data of a speech-enhancement reply. The field order is the wire's."""

    enhance: bytes
    """A wav file: 16 kHz, mono, PCM16."""
    duration: str
    """Seconds, with two decimals."""


class Enhancement(msgspec.Struct, frozen=True):
    """The reply of speech enhancement; without data where it failed. The field order is the wire's."""

    status: int
    message: str
    data: Enhanced | None


_request_decoder = msgspec.msgpack.Decoder(AudioRequest)


def read_request(body: bytes) -> AudioRequest:
    """Read a request's body.

    Raises:
        RefusedRequest: with `Status.EMPTY` for an empty body or empty audio, with
            `Status.DESERIALISATION_FAILED` for anything but a map with `audio` (bin) and `format` (str).
    """
    if not body:
        raise RefusedRequest(Status.EMPTY, "the request's body is empty")
    try:
        request = _request_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedRequest(Status.DESERIALISATION_FAILED, f"not an audio request: {error}") from error
    if not request.audio:
        raise RefusedRequest(Status.EMPTY, "the request's audio is empty")
    return request


def status_of(error: OutcomeError) -> Status:
    """The status a producer gets for an error: the error's own, or by its kind."""
    match error:
        case RefusedRequest(status=status):
            return status
        case DecodeError():
            return Status.UNPARSEABLE
        case Expired():
            return Status.EXPIRED
        case InferError() | WrongResultCount():
            return Status.ALGORITHM_FAILED
        case EncodeError():
            return Status.SERIALISATION_FAILED
        case _:
            return Status.UNDEFINED
