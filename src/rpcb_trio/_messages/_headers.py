"""The names of the headers that requests and replies carry."""

from __future__ import annotations

from collections.abc import Mapping

ERROR_HEADER = "rpcb-error"
"""AMQP header of an error reply: one word for the error (see `OutcomeError.code`)."""

KIND_HEADER = "rpcb-error-kind"
"""AMQP header of an error reply: whose fault it is (see `OutcomeError.kind`)."""

REASON_HEADER = "rpcb-error-reason"
"""AMQP header of an error reply: its text, on one line, bounded."""

MODEL_VERSION_HEADER = "rpcb-model-version"
"""AMQP header of a reply: the version of the model that made it; absent where that has none."""

STREAM_HEADER = "rpcb-stream"
"""AMQP header of a request, a boolean: its caller takes the reply in parts."""

PART_HEADER = "rpcb-part"
"""AMQP header of a part of a reply: its number, from 0."""

END_HEADER = "rpcb-end"
"""AMQP header of the last message of a reply in parts, true."""

CACHE_HEADER = "rpcb-cache"
"""AMQP header of a reply that was made for an equal request: `hit`; absent in all others."""

REQUEST_ID_HEADER = "x-request-id"
"""Header of HTTP, and of AMQP in any spelling: it comes back in the reply. Some client libraries know their
replies again by it, and not by the `correlation_id`."""

NO_HEADERS: Mapping[str, object] = {}
