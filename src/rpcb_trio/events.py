"""What workers publish about themselves while they work, and how to watch it."""

from rpcb_trio._events import (
    BatchEvent,
    EventInstrument,
    EventWatch,
    StateEvent,
    publish_events,
    watch_events,
)
from rpcb_trio._public import publish
from rpcb_trio._tracing import RequestIds

__all__ = [
    "BatchEvent",
    "EventInstrument",
    "EventWatch",
    "RequestIds",
    "StateEvent",
    "publish_events",
    "watch_events",
]

publish(__name__)
