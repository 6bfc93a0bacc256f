"""What workers publish about themselves while they work, how to watch it, and its summary."""

from rpcb_trio._events._events import AnyEvent, BatchEvent, StateEvent, WorkerEvent
from rpcb_trio._events._instrument import EventInstrument
from rpcb_trio._events._publishing import publish_events
from rpcb_trio._events._summary import Observer, QueueSummary, WorkerState, WorkerSummary
from rpcb_trio._events._watching import EventWatch, LiveSummary, watch_events

__all__ = [
    "AnyEvent",
    "BatchEvent",
    "EventInstrument",
    "EventWatch",
    "LiveSummary",
    "Observer",
    "QueueSummary",
    "StateEvent",
    "WorkerEvent",
    "WorkerState",
    "WorkerSummary",
    "publish_events",
    "watch_events",
]
