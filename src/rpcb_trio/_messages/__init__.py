"""The frozen values that are passed from room to room."""

from rpcb_trio._messages._addresses import DIRECT_REPLY_TO, MADE_BY_A_BROKER, caller_hash, shown_address
from rpcb_trio._messages._batches import Batch, Ending, Run, Trigger, Work
from rpcb_trio._messages._headers import (
    CACHE_HEADER,
    END_HEADER,
    ERROR_HEADER,
    KIND_HEADER,
    MODEL_VERSION_HEADER,
    NO_HEADERS,
    PART_HEADER,
    REASON_HEADER,
    REQUEST_ID_HEADER,
    STREAM_HEADER,
)
from rpcb_trio._messages._outcomes import Answer, Failure, Outcome, Settled, Success
from rpcb_trio._messages._outgoing import Notice, Outgoing
from rpcb_trio._messages._replies import RemoteError, Reply
from rpcb_trio._messages._requests import CallId, Pending, Pieces, Request, wants_parts

__all__ = [
    "CACHE_HEADER",
    "DIRECT_REPLY_TO",
    "END_HEADER",
    "ERROR_HEADER",
    "KIND_HEADER",
    "MADE_BY_A_BROKER",
    "MODEL_VERSION_HEADER",
    "NO_HEADERS",
    "PART_HEADER",
    "REASON_HEADER",
    "REQUEST_ID_HEADER",
    "STREAM_HEADER",
    "Answer",
    "Batch",
    "CallId",
    "Ending",
    "Failure",
    "Notice",
    "Outcome",
    "Outgoing",
    "Pending",
    "Pieces",
    "RemoteError",
    "Reply",
    "Request",
    "Run",
    "Settled",
    "Success",
    "Trigger",
    "Work",
    "caller_hash",
    "shown_address",
    "wants_parts",
]
