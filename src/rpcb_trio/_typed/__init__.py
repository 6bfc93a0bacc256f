"""Typed services: what is read, written and documented follows from the annotations of `infer`."""

from rpcb_trio._typed._binding import MSGPACK, Typed, is_async, is_msgpack, typed_of, typed_stream_of
from rpcb_trio._typed._requests import Asked, RequestInfo, info_of
from rpcb_trio._typed._schemas import Schemas

__all__ = [
    "MSGPACK",
    "Asked",
    "RequestInfo",
    "Schemas",
    "Typed",
    "info_of",
    "is_async",
    "is_msgpack",
    "typed_of",
    "typed_stream_of",
]
