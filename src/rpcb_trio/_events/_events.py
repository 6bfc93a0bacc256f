"""What workers publish about themselves while they work, as JSON on a topic exchange.

`event` says which it is:

    batch   the requests of a batch are settled (`BatchEvent`)
    state   how a worker is, each second and at each change of its condition (`StateEvent`)

Of a request they have nothing but its ids. Readers pass over fields that they don't know, and over events
with values beyond the bounds below, because anyone who may publish decides what is in them.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from rpcb_trio._instruments import Condition
from rpcb_trio._messages import Trigger
from rpcb_trio._tracing import RequestIds

LONGEST_QUEUE = 160
"""Bytes of a queue's name in a routing key, which has 255."""

LONGEST_NAME = 255
"""Characters of a name in an event: of a worker, a host, a queue, a device, a policy."""

LONGEST_REASON = 600
"""Characters of a reason in an event."""

LONGEST_EVENT = 64 * 1024
"""Bytes of an event; one of ours has a few thousand."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Number = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
Reason = Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)]

SILENT_AFTER = 5.0
"""Seconds of silence after which a worker counts as gone; a living one publishes its state each second."""

MOST_WAITS = 32
"""How many of a batch's waits stand in its event."""

MOST_REQUESTS = 64
"""Of how many of a batch's requests the ids stand in its event."""

LONGEST_CORRELATION_ID = 64
"""Characters of it that stand in an event."""


class WorkerEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """What all events have."""

    worker: Name
    host: Name
    pid: Count
    start: Name = ""
    """The id of the worker's start, random, the same as in its audit: containers may share a host's name and
    process ids. Empty from older workers."""
    queue: Name
    device: Name | None
    """What its model computes on, where it was set."""
    unix: Number
    """When it happened, in seconds since 1970."""

    @property
    def place(self) -> str:
        """The worker's process and start, and with its name the worker itself."""
        return f"{self.host}:{self.pid}:{self.start}" if self.start else f"{self.host}:{self.pid}"

    @property
    def routing_key(self) -> str:
        """`worker.<queue>.<host-pid>.<event>`, for readers that need some of the events only."""
        queue = self.queue.encode()[:LONGEST_QUEUE].decode(errors="ignore")
        host = self.host.replace(".", "-")[:32]
        return f"worker.{queue}.{host}-{self.pid}.{self.__struct_config__.tag}"


class BatchEvent(WorkerEvent, frozen=True, kw_only=True, tag="batch"):
    """A batch was computed, and its requests are settled. Milliseconds."""

    id: Count
    size: Count
    trigger: Trigger
    """Why the batch was closed."""
    wait_mean_ms: Number
    """From a request's arrival until the batch was closed."""
    wait_max_ms: Number
    waits_ms: Annotated[tuple[Number, ...], msgspec.Meta(max_length=8 * MOST_WAITS)]
    """Of each request; of a large batch, of some in even steps."""
    predicted_ms: Number | None
    """The service time that the policy expected."""
    version: Name | None = None
    """Of the model that computed it; None where that has none, and from older workers."""
    service_ms: Number
    """The service time it took."""
    total_ms: Number
    """From its first arrival until its requests were settled."""
    failed: Count
    """How many of its requests ended in an error."""
    waiting: Count
    """How many requests wait in the worker for a batch."""
    requests: Annotated[tuple[RequestIds, ...], msgspec.Meta(max_length=8 * MOST_REQUESTS)] = ()
    """The ids of its requests; of a large batch, those of the first 64. None from older workers."""


class StateEvent(WorkerEvent, frozen=True, kw_only=True, tag="state"):
    """How a worker is. Counts are from its start."""

    condition: Condition
    reason: Reason | None
    seconds: Number
    """For how long it has been so."""
    version: Name | None = None
    """Of the model that computes now; None where it has none, and from older workers."""
    policy: Name
    max_batch_size: Count
    executors: Count
    waiting: Count
    """How many requests wait in it for a batch."""
    held: Count
    """How many it has not settled."""
    received: Count
    answered: Count
    """With the model's result, whether or not anyone was there to take it."""
    failed: Count
    """With an error reply, computed or not, or sent to the dead letters."""
    cancelled: Count = 0
    """Given up by its caller, computed or not, and not answered. None from older workers."""
    batches: Count
    rss: Count | None
    """Bytes of memory that the process has; None where the system does not say."""
    dropped: Count
    """Events that could not be published in time."""


AnyEvent: TypeAlias = BatchEvent | StateEvent

_decoder = msgspec.json.Decoder[AnyEvent](AnyEvent)


def decoded(body: bytes | memoryview) -> AnyEvent | None:
    """The event in a body; None if it is of a newer version, or none at all."""
    if len(body) > LONGEST_EVENT:
        return None
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event if len(event.queue.encode()) <= LONGEST_NAME else None  # what AMQP allows a queue
