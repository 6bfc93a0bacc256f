"""Replies in parts: what a service yields, and what a caller gets."""

from rpcb_trio._client import ReplyStream
from rpcb_trio._parts import END, End, Step, by_item
from rpcb_trio._public import publish
from rpcb_trio._service import PlainStream, StreamingService

__all__ = ["END", "End", "PlainStream", "ReplyStream", "Step", "StreamingService", "by_item"]

publish(__name__)
