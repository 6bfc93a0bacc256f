"""What workers tell of themselves while they work, and how others see it."""

from rpcb_trio._events._counters import Counters
from rpcb_trio._events._events import SILENT_AFTER, AnyEvent, BatchEvent, StateEvent, WorkerEvent
from rpcb_trio._events._instrument import EventInstrument
from rpcb_trio._events._publishing import publish_events
from rpcb_trio._events._summary import Observer, QueueSummary, Summary, WorkerSummary
from rpcb_trio._events._times import percentile, request_times
from rpcb_trio._events._watching import EventWatch, watch_events

__all__ = [
    "SILENT_AFTER",
    "AnyEvent",
    "BatchEvent",
    "Counters",
    "EventInstrument",
    "EventWatch",
    "Observer",
    "QueueSummary",
    "StateEvent",
    "Summary",
    "WorkerEvent",
    "WorkerSummary",
    "percentile",
    "publish_events",
    "request_times",
    "watch_events",
]
