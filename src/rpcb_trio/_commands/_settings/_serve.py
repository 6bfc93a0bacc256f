"""Every setting of a worker, once.

A field of the name of an argument of `rpcb_trio.serve` or of `Topology` is given to it as it is.
"""

# No annotations from __future__: as strings, those that a subclass inherits would be looked up in its module.

from dataclasses import dataclass
from typing import Annotated, Literal

from rpcb_trio._bounds import COUNT, FINITE, FINITE_OR_0, NOT_NEGATIVE, POSITIVE, Bounds
from rpcb_trio._cache import CACHE_BYTES, MAX_CACHE_BYTES
from rpcb_trio._claims import CLAIMS_KEPT
from rpcb_trio._commands._settings._parameters import (
    BATCHING,
    BROKER,
    EXECUTORS,
    REPLIES,
    SERVICE,
    TOPOLOGY,
    WORKER,
    setting,
    several,
)
from rpcb_trio._commands._settings._shared import QueueSettings, ServiceSettings
from rpcb_trio._commands._settings._values import BYTES, SECONDS
from rpcb_trio._pipeline import BOUNDS, MAX_BODY_SIZE
from rpcb_trio._transports import LARGEST_PREFETCH

DEFAULT_CONSUMER_TIMEOUT = 1800.0
"""Seconds after which RabbitMQ takes back an unacked delivery, if its consumer_timeout is not set
(https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout)."""


@dataclass(frozen=True, kw_only=True)
class Settings(QueueSettings, ServiceSettings):
    """One worker: where its requests come from and how they are computed."""

    model_version: Annotated[str | None, setting(SERVICE, "TEXT", shown="the service's own", live=True)] = (
        None
    )
    """Version of the model, for the replies' header rpcb-model-version, metrics, events and the log."""
    declare: Annotated[Literal["active", "passive", "never"], setting(TOPOLOGY)] = "active"
    """active creates what is missing, passive checks that it is there, never does neither."""
    queue_type: Annotated[Literal["classic", "quorum"], setting(TOPOLOGY)] = "classic"
    """Type of the queue, if it is declared."""
    consumer_timeout: Annotated[float, setting(BROKER, unit=SECONDS, bounds=POSITIVE, live=True)] = (
        DEFAULT_CONSUMER_TIMEOUT
    )
    """The broker's own limit for an unacked delivery (consumer_timeout in rabbitmq.conf). A worker that may
    hold a request for longer warns of it at its start."""
    durable: Annotated[bool, setting(TOPOLOGY)] = True
    """Whether queue and exchange outlive a restart of the broker."""
    queue_argument: Annotated[tuple[str, ...], several(TOPOLOGY, "NAME=VALUE")] = ()
    """Further queue argument, as x-max-priority=10. Repeatable."""
    exchange: Annotated[str, setting(TOPOLOGY, "NAME", shown=False)] = ""
    """Exchange to bind the queue to."""
    exchange_type: Annotated[
        Literal["direct", "topic", "fanout", "headers"], setting(TOPOLOGY, needs="exchange")
    ] = "topic"
    """Type of the exchange, if it is declared."""
    routing_key: Annotated[tuple[str, ...], several(TOPOLOGY, "KEY")] = ()
    """Key that binds the queue to the exchange. Repeatable."""
    dead_letter_exchange: Annotated[str | None, setting(TOPOLOGY, "NAME")] = None
    """Where requests go that no reply can be sent for."""
    dead_letter_routing_key: Annotated[str | None, setting(TOPOLOGY, "KEY")] = None
    """Their routing key there, in place of their own."""
    on_refused_reply: Annotated[Literal["dead-letter", "requeue"], setting(TOPOLOGY)] = "dead-letter"
    """Where a request goes if the broker keeps refusing its reply: to the dead letters, or back."""

    max_batch_size: Annotated[int, setting(BATCHING, "N", bounds=COUNT, common=True, live=True)] = 32
    """The most requests in one batch."""
    batching: Annotated[Literal["auto", "fixed"], setting(BATCHING, common=True, live=True)] = "auto"
    """auto learns when to wait; fixed waits for max-wait."""
    max_wait: Annotated[
        float | None,
        setting(
            BATCHING,
            unit=SECONDS,
            bounds=FINITE_OR_0,
            shown="0",
            common=True,
            live=True,
            needs="batching = fixed",
        ),
    ] = None
    """For fixed: how long a batch waits to fill, from the arrival of its oldest request."""
    latency_objective: Annotated[
        float | None,
        setting(
            BATCHING,
            unit=SECONDS,
            bounds=FINITE,
            shown="none, reply as soon as possible",
            live=True,
            needs="batching = auto",
        ),
    ] = None
    """For auto: fill batches as long as every request still gets its reply within this time, to save device
    time."""
    max_batch_cost: Annotated[
        float | None, setting(BATCHING, "COST", bounds=POSITIVE, shown="none", live=True)
    ] = None
    """The most padded cost of a batch: its size times the largest cost(item) in it."""
    batch_size: Annotated[tuple[int, ...], several(BATCHING, "SIZE", live=True, needs="batching = auto")] = ()
    """For auto: a size the model is compiled for; the service pads a batch to the next one. Repeatable."""
    prefetch: Annotated[
        int | None,
        setting(
            BATCHING,
            "N",
            bounds=Bounds(least=1, most=LARGEST_PREFETCH),
            shown="max-batch-size * (executors + 1), or as max-pending or tenant needs",
            live=True,
        ),
    ] = None
    """The most requests held unanswered; it bounds the memory."""
    prefetch_follows: Annotated[bool, setting(BATCHING, live=True)] = True
    """While other workers consume the queue, ask for no more than the next batches need, so that none holds
    what another one would do sooner."""
    max_pending: Annotated[
        int | None,
        setting(
            BATCHING,
            "N",
            bounds=COUNT,
            shown="as the prefetch allows; with tenant, max-batch-size * 8",
            live=True,
        ),
    ] = None
    """The most requests that wait for a batch; further requests are refused at once, as overloaded. With
    tenant, those of the tenant that has more than its share."""
    tenant: Annotated[str | None, setting(BATCHING, "HEADER", shown="none, requests are served in turn")] = (
        None
    )
    """Share the worker fairly among tenants, whatever each sends: the header that says whose a request is; or
    reply-to, for the address that it is answered at."""
    weight: Annotated[tuple[str, ...], several(BATCHING, "TENANT=N", live=True, needs="tenant")] = ()
    """With tenant: how many shares a tenant has, where it is not 1. All tenants that are not named are one
    together if there is a weight for *. Repeatable."""
    expired: Annotated[Literal["answer", "drop"], setting(BATCHING, live=True)] = "answer"
    """answer expired requests with an error reply, or drop them without a reply."""

    no_reply_to: Annotated[Literal["run", "dead-letter"], setting(REPLIES, live=True)] = "run"
    """A request without a reply_to: run it and drop the result, or dead-letter it."""
    max_body_size: Annotated[int, setting(REPLIES, unit=BYTES, bounds=BOUNDS["max_body_size"], live=True)] = (
        MAX_BODY_SIZE
    )
    """The largest request that is decoded; larger ones get the error too-big."""
    max_reply_size: Annotated[
        int | None,
        setting(
            REPLIES,
            unit=BYTES,
            bounds=BOUNDS["max_reply_size"],
            shown="what the broker takes by default, by its version",
            live=True,
        ),
    ] = None
    """The largest reply; a larger one becomes the error reply-too-big."""
    cancel: Annotated[bool, setting(REPLIES)] = False
    """Whether callers may cancel requests: what they give up is not computed, or not answered. It takes the
    exchange rpcb.cancel."""
    claims: Annotated[tuple[str, ...], several(REPLIES, "PLACE")] = ()
    """Store where the body of a request may be, and where a large reply may go: a directory, or a URL that
    fsspec knows. A body elsewhere is never fetched. Repeatable."""
    claims_kept: Annotated[
        float, setting(REPLIES, unit=SECONDS, bounds=BOUNDS["claims_kept"], needs="claims")
    ] = CLAIMS_KEPT
    """How long a body stays in a store that no worker has removed."""
    check_caller: Annotated[bool, setting(REPLIES, live=True)] = False
    """Whether to ask the broker if the caller of a direct reply-to is still there, and not to compute the
    request if not."""
    remember_replies: Annotated[int, setting(REPLIES, "N", bounds=BOUNDS["remember_replies"], live=True)] = 0
    """How many replies to keep, to answer a request that comes again without computing it."""
    cache: Annotated[
        float | None,
        setting(REPLIES, unit=SECONDS, bounds=NOT_NEGATIVE, shown="the service's own, else none", live=True),
    ] = None
    """How long the reply to a request answers equal ones, of any caller, without computing them; 0 for no
    cache."""
    cache_max_bytes: Annotated[
        int, setting(REPLIES, unit=BYTES, bounds=CACHE_BYTES, live=True, needs="cache")
    ] = MAX_CACHE_BYTES
    """With cache: how much memory the replies may take that are kept."""
    cache_header: Annotated[tuple[str, ...], several(REPLIES, "HEADER", live=True, needs="cache")] = ()
    """With cache: a header that a reply depends on, as the language; requests in which it differs are not
    equal. Repeatable."""

    replicas: Annotated[int, setting(EXECUTORS, "N", bounds=BOUNDS["replicas"], common=True)] = 1
    """How many executors compute at once."""
    executor: Annotated[Literal["thread", "process"], setting(EXECUTORS)] = "thread"
    """Where infer runs; a process of its own is for models that crash, or that hold the GIL."""
    infer_timeout: Annotated[
        float | None, setting(EXECUTORS, unit=SECONDS, bounds=BOUNDS["infer_timeout"], shown="10m")
    ] = None
    """How long one run of infer may take; choose several times what the largest batch takes. Then the worker
    ends, and what it held is redelivered. A process of its own is killed instead."""
    hook_timeout: Annotated[
        float, setting(EXECUTORS, unit=SECONDS, bounds=BOUNDS["hook_timeout"], live=True)
    ] = 60.0
    """How long decode and cost, or encode, may take for one request; then the request gets an error."""
    warm_up_timeout: Annotated[float, setting(EXECUTORS, unit=SECONDS, bounds=BOUNDS["warm_up_timeout"])] = (
        1800.0
    )
    """How long warming up may take; then the worker ends."""
    max_deaths: Annotated[int, setting(EXECUTORS, "N", bounds=BOUNDS["max_deaths"])] = 3
    """How many workers must have died while they ran a request, and nothing else, until it goes to the dead
    letters."""
    unload_first: Annotated[bool, setting(EXECUTORS, live=True)] = False
    """For a swap of the model: unload the present one first, where there is no memory for two. Requests wait
    meanwhile."""
    max_batches: Annotated[
        int | None, setting(EXECUTORS, "N", bounds=COUNT, shown="none", needs="executor = process")
    ] = None
    """For executor = process: after so many batches a fresh process takes its place, once it is warm."""
    max_memory: Annotated[
        int | None, setting(EXECUTORS, unit=BYTES, bounds=COUNT, shown="none", needs="executor = process")
    ] = None
    """The same, where the process has more resident memory than this after a batch."""
    decode_threads: Annotated[int, setting(EXECUTORS, "N", bounds=BOUNDS["decode_threads"])] = 2
    """How many threads decode and encode."""

    drain_timeout: Annotated[
        float, setting(WORKER, unit=SECONDS, bounds=BOUNDS["drain_timeout"], live=True)
    ] = 30.0
    """After a signal, how long the replies to what is held may take."""
    batch_headers: Annotated[bool, setting(WORKER, live=True)] = False
    """Whether replies carry the id and size of their batch, and the wait."""
    journal: Annotated[
        str | None, setting(WORKER, "DIRECTORY", shown="rpcb-trio in XDG_STATE_HOME or ~/.local/state")
    ] = None
    """Directory for notes of what runs, which find a request that kills its worker; or off."""
    audit: Annotated[str | None, setting(WORKER, "FILE")] = None
    """File to append every batch and its requests to, as JSON lines; workers may share it."""
    events: Annotated[str | None, setting(WORKER, "EXCHANGE", common=True)] = None
    """Topic exchange for events, for top and the gateway."""
