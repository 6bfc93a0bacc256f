"""The series that a process exports: their names, labels and texts, in the order of a scrape."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]


class Series(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One metric family."""

    name: str
    kind: Kind
    labels: tuple[str, ...] = ("queue",)
    text: str
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, without infinity."""
    together: Literal["sum", "least", "most"] = "sum"
    """What a gauge of several workers of one queue is; everything else is added up."""


SECONDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5),
    *(10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""From what an echo takes to the default `infer_timeout`; finest where most models are."""
SIZES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 256.0, 512.0, 1024.0)

REQUESTS = Series(
    name="rpcb_requests_total",
    kind="counter",
    labels=("queue", "outcome"),
    text="Requests that were settled, by how they ended: success, or the code of the error.",
)
REQUEST_SECONDS = Series(
    name="rpcb_request_duration_seconds",
    kind="histogram",
    bounds=SECONDS,
    text="From the delivery of a request until the broker has confirmed its reply, error replies included.",
)
QUEUE_WAIT_SECONDS = Series(
    name="rpcb_queue_wait_seconds",
    kind="histogram",
    bounds=SECONDS,
    text="From the delivery of a request until its batch was closed.",
)
INFER_SECONDS = Series(
    name="rpcb_infer_seconds",
    kind="histogram",
    bounds=SECONDS,
    text="Service time of a batch, further runs included where it was split.",
)
INFER_PREDICTED_SECONDS = Series(
    name="rpcb_infer_predicted_seconds",
    kind="histogram",
    bounds=SECONDS,
    text="Service time that the policy had predicted for a batch that was computed.",
)
BATCH_SIZE = Series(
    name="rpcb_batch_size", kind="histogram", bounds=SIZES, text="Requests in a batch that was closed."
)
BATCHES = Series(
    name="rpcb_batches_total",
    kind="counter",
    labels=("queue", "trigger"),
    text="Batches that were closed, by what closed them.",
)
HELD = Series(name="rpcb_held", kind="gauge", text="Requests that were delivered and are not settled.")
PENDING = Series(
    name="rpcb_pending", kind="gauge", text="Requests that were delivered and are in no batch yet."
)
EXECUTORS_BUSY = Series(name="rpcb_executors_busy", kind="gauge", text="Executors that compute a batch.")
EXECUTORS = Series(name="rpcb_executors", kind="gauge", text="Executors.")
SESSION_UP = Series(
    name="rpcb_session_up", kind="gauge", together="least", text="1 while a session with the broker is open."
)
SESSION_BLOCKED = Series(
    name="rpcb_session_blocked", kind="gauge", together="most", text="1 while the broker takes no replies."
)
READY = Series(
    name="rpcb_ready", kind="gauge", together="least", text="1 while the worker is ready, as /readyz says."
)
REDELIVERED = Series(
    name="rpcb_redelivered_total",
    kind="counter",
    text="Deliveries of requests that had been delivered before.",
)
DEAD_LETTERS = Series(
    name="rpcb_dead_letters_total",
    kind="counter",
    labels=("queue", "reason"),
    text="Requests that were dead-lettered, or dropped where there are no dead letters.",
)
RECONNECTS = Series(
    name="rpcb_reconnects_total", kind="counter", text="Sessions that were opened after one was lost."
)
REPLY_PARTS = Series(
    name="rpcb_reply_parts_total",
    kind="counter",
    text="Parts of replies that the broker has confirmed, where callers take their replies in parts.",
)
CACHE_HITS = Series(
    name="rpcb_cache_hits_total", kind="counter", text="Requests that got the reply to an equal one."
)
CACHE_MISSES = Series(
    name="rpcb_cache_misses_total",
    kind="counter",
    text="Requests that were computed, since there was no reply to an equal one.",
)
CACHE_BYTES = Series(
    name="rpcb_cache_bytes", kind="gauge", text="Bytes of the replies that are kept for equal requests."
)
GATEWAY_REQUESTS = Series(
    name="rpcb_gateway_requests_total",
    kind="counter",
    labels=("route", "status"),
    text="HTTP requests that were answered, by status; 499 where the client hung up.",
)
GATEWAY_REQUEST_SECONDS = Series(
    name="rpcb_gateway_request_duration_seconds",
    kind="histogram",
    labels=("route",),
    bounds=SECONDS,
    text="From an HTTP request's head until its response began.",
)
GATEWAY_IN_FLIGHT = Series(
    name="rpcb_gateway_in_flight",
    kind="gauge",
    labels=("route",),
    text="HTTP requests that are being answered.",
)
GATEWAY_JOBS = Series(
    name="rpcb_gateway_jobs_total",
    kind="counter",
    labels=("outcome",),
    text="Jobs whose replies this gateway has kept: done, or failed where that was an error reply.",
)
GATEWAY_JOBS_OPEN = Series(
    name="rpcb_gateway_jobs_open",
    kind="gauge",
    labels=(),
    together="most",
    text="Jobs in the gateway's place that have no reply yet.",
)
GATEWAY_JOBS_BYTES = Series(
    name="rpcb_gateway_jobs_bytes",
    kind="gauge",
    labels=(),
    together="most",
    text="Bytes that jobs and their replies take in the gateway's place.",
)
BUILD_INFO = Series(
    name="rpcb_build_info", kind="gauge", labels=("version",), text="1, with the version of rpcb-trio."
)

MODEL_INFO = Series(
    name="rpcb_model_info",
    kind="gauge",
    labels=("queue", "version"),
    text="1, with the version of the model that computes.",
)

WORKER = (
    *(REQUESTS, REQUEST_SECONDS, QUEUE_WAIT_SECONDS, INFER_SECONDS, INFER_PREDICTED_SECONDS, BATCH_SIZE),
    *(BATCHES, HELD, PENDING, EXECUTORS_BUSY, EXECUTORS, SESSION_UP, SESSION_BLOCKED, READY),
    *(REDELIVERED, DEAD_LETTERS, RECONNECTS, REPLY_PARTS, CACHE_HITS, CACHE_MISSES, CACHE_BYTES, MODEL_INFO),
)
GATEWAY = (
    *(GATEWAY_REQUESTS, GATEWAY_REQUEST_SECONDS, GATEWAY_IN_FLIGHT),
    *(GATEWAY_JOBS, GATEWAY_JOBS_OPEN, GATEWAY_JOBS_BYTES),
)
ALL = (*WORKER, *GATEWAY, BUILD_INFO)
