"""What a user writes, and how each form of it becomes the one form that the pipeline runs."""

from rpcb_trio._service._binding import bind, bind_again, placed
from rpcb_trio._service._hooks import check_version
from rpcb_trio._service._service import (
    AnyService,
    BoundService,
    PlainFunction,
    PlainStream,
    Service,
    StreamingService,
    name_of,
)

__all__ = [
    "AnyService",
    "BoundService",
    "PlainFunction",
    "PlainStream",
    "Service",
    "StreamingService",
    "bind",
    "bind_again",
    "check_version",
    "name_of",
    "placed",
]
