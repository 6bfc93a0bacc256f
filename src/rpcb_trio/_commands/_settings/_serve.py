"""Every setting of a worker, once: its flag, variable, key in `rpcb.toml`, default and help.

A field is a key of the file; its flag is the same with hyphens, its variable in capitals after `RPCB_`.
"""

# No annotations from __future__: as strings, those that a subclass inherits would be looked up in its module.

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts.validators import Number

from rpcb_trio._commands._settings._parameters import (
    BATCHING,
    BROKER,
    EXECUTORS,
    REPLIES,
    TOPOLOGY,
    WORKER,
    seconds,
    setting,
    several,
    shown_as,
    whole,
)
from rpcb_trio._commands._settings._shared import ConnectionSettings, ServiceSettings
from rpcb_trio._commands.doctor._ack_time import DEFAULT_CONSUMER_TIMEOUT
from rpcb_trio._pipeline import MAX_BODY_SIZE
from rpcb_trio._transports import LARGEST_PREFETCH


@dataclass(frozen=True, kw_only=True)
class Settings(ConnectionSettings, ServiceSettings):
    """One worker: where its requests come from and how they are computed."""

    queue: Annotated[
        str,
        setting(TOPOLOGY, "QUEUE", "Queue to consume from. Required.", metavar="NAME", show_default=False),
    ] = ""
    declare: Annotated[
        Literal["active", "passive", "never"],
        setting(
            TOPOLOGY,
            "DECLARE",
            "active creates what is missing, passive checks that it is there, never does neither.",
        ),
    ] = "active"
    queue_type: Annotated[
        Literal["classic", "quorum"], setting(TOPOLOGY, "QUEUE_TYPE", "Type of the queue, if it is declared.")
    ] = "classic"
    consumer_timeout: Annotated[
        float,
        seconds(
            BROKER,
            "CONSUMER_TIMEOUT",
            "The broker's own limit for an unacked delivery (consumer_timeout in rabbitmq.conf); what may be "
            "held for longer is warned of at the start.",
            validator=Number(gt=0),
        ),
    ] = DEFAULT_CONSUMER_TIMEOUT
    durable: Annotated[
        bool, setting(TOPOLOGY, "DURABLE", "Whether queue and exchange outlive a restart of the broker.")
    ] = True
    queue_argument: Annotated[
        tuple[str, ...],
        several(
            TOPOLOGY, "QUEUE_ARGUMENT", "Further queue argument, as x-max-priority=10.", metavar="NAME=VALUE"
        ),
    ] = ()
    exchange: Annotated[
        str,
        setting(TOPOLOGY, "EXCHANGE", "Exchange to bind the queue to.", metavar="NAME", show_default=False),
    ] = ""
    exchange_type: Annotated[
        Literal["direct", "topic", "fanout", "headers"],
        setting(TOPOLOGY, "EXCHANGE_TYPE", "Type of the exchange, if it is declared."),
    ] = "topic"
    routing_key: Annotated[
        tuple[str, ...],
        several(TOPOLOGY, "ROUTING_KEY", "Key that binds the queue to the exchange.", metavar="KEY"),
    ] = ()
    dead_letter_exchange: Annotated[
        str | None,
        setting(
            TOPOLOGY, "DEAD_LETTER_EXCHANGE", "Where requests go that can't be answered.", metavar="NAME"
        ),
    ] = None
    dead_letter_routing_key: Annotated[
        str | None,
        setting(
            TOPOLOGY,
            "DEAD_LETTER_ROUTING_KEY",
            "Their routing key there, in the place of their own.",
            metavar="KEY",
        ),
    ] = None
    on_refused_reply: Annotated[
        Literal["dead-letter", "requeue"],
        setting(
            TOPOLOGY,
            "ON_REFUSED_REPLY",
            "Where a request goes whose reply the broker goes on refusing: the dead letters, or back.",
        ),
    ] = "dead-letter"

    max_batch_size: Annotated[
        int, whole(BATCHING, "MAX_BATCH_SIZE", "The most requests in one batch.", 1)
    ] = 32
    batching: Annotated[
        Literal["auto", "fixed"],
        setting(
            BATCHING,
            "BATCHING",
            "auto learns when to start, when to wait, and what goes together; fixed goes by max-wait.",
        ),
    ] = "auto"
    max_wait: Annotated[
        float | None,
        seconds(
            BATCHING,
            "MAX_WAIT",
            "For fixed: how long a batch waits to fill, from its oldest request's arrival.",
            validator=Number(gte=0, lt=math.inf),
            show_default=shown_as("0, an idle executor starts at once"),
        ),
    ] = None
    latency_objective: Annotated[
        float | None,
        seconds(
            BATCHING,
            "LATENCY_OBJECTIVE",
            "For auto: fill batches for as long as every request is still answered within this time, to save "
            "the device's.",
            validator=Number(gt=0, lt=math.inf),
            show_default=shown_as("none, answer as soon as possible"),
        ),
    ] = None
    max_batch_cost: Annotated[
        float | None,
        setting(
            BATCHING,
            "MAX_BATCH_COST",
            "The most padded cost of a batch: its size times the largest cost(item) in it.",
            validator=Number(gt=0),
            show_default=shown_as("none"),
        ),
    ] = None
    batch_size: Annotated[
        tuple[int, ...],
        several(
            BATCHING,
            "BATCH_SIZE",
            "For auto: a size that the model is compiled for; the service pads a batch to the next one.",
            metavar="SIZE",
        ),
    ] = ()
    prefetch: Annotated[
        int | None,
        whole(
            BATCHING,
            "PREFETCH",
            "The most requests held unanswered; it bounds the memory.",
            1,
            LARGEST_PREFETCH,
            show_default=shown_as("max-batch-size * (executors + 1), or as max-pending needs"),
        ),
    ] = None
    max_pending: Annotated[
        int | None,
        whole(
            BATCHING,
            "MAX_PENDING",
            "The most requests that wait for a batch; who comes then is refused at once, as overloaded.",
            1,
            show_default=shown_as("as the prefetch allows"),
        ),
    ] = None
    expired: Annotated[
        Literal["answer", "drop"],
        setting(BATCHING, "EXPIRED", "answer expired requests with an error, or drop them without a reply."),
    ] = "answer"

    no_reply_to: Annotated[
        Literal["run", "dead-letter"],
        setting(
            REPLIES,
            "NO_REPLY_TO",
            "A request that names nobody to answer: run it and drop the result, or dead-letter it.",
        ),
    ] = "run"
    max_body_size: Annotated[
        int,
        whole(
            REPLIES,
            "MAX_BODY_SIZE",
            "The largest request that is decoded; others are answered with the error too-big.",
            1,
            metavar="BYTES",
        ),
    ] = MAX_BODY_SIZE
    max_reply_size: Annotated[
        int | None,
        whole(
            REPLIES,
            "MAX_REPLY_SIZE",
            "The largest reply; others become the error reply-too-big.",
            1,
            metavar="BYTES",
            show_default=shown_as("what the broker takes by default, by its version"),
        ),
    ] = None
    check_caller: Annotated[
        bool,
        setting(
            REPLIES,
            "CHECK_CALLER",
            "Whether to ask the broker if a direct caller is still there, and not to compute if not.",
        ),
    ] = False
    remember_replies: Annotated[
        int,
        whole(
            REPLIES,
            "REMEMBER_REPLIES",
            "How many replies to keep, to answer a request that comes again without computing; 0 for none.",
            0,
        ),
    ] = 0

    replicas: Annotated[
        int,
        whole(EXECUTORS, "REPLICAS", "How many executors compute at once, each in a thread of its own.", 1),
    ] = 1
    executor: Annotated[
        Literal["thread", "process"],
        setting(
            EXECUTORS,
            "EXECUTOR",
            "Where infer runs; a process of its own is for models that crash, or that hold the GIL.",
        ),
    ] = "thread"
    infer_timeout: Annotated[
        float | None,
        seconds(
            EXECUTORS,
            "INFER_TIMEOUT",
            "How long one run of infer may take, several times what the largest batch does; then the worker "
            "ends, and what it held is redelivered. A process of its own is killed instead.",
            validator=Number(gt=0),
            show_default=shown_as("10 minutes"),
        ),
    ] = None
    hook_timeout: Annotated[
        float,
        seconds(
            EXECUTORS,
            "HOOK_TIMEOUT",
            "How long decode and cost, or encode, may take for one request; then that gets an error.",
            validator=Number(gt=0),
        ),
    ] = 60.0
    warm_up_timeout: Annotated[
        float,
        seconds(
            EXECUTORS,
            "WARM_UP_TIMEOUT",
            "How long warming up may take; then the worker ends.",
            validator=Number(gt=0),
        ),
    ] = 1800.0
    max_deaths: Annotated[
        int,
        whole(
            EXECUTORS,
            "MAX_DEATHS",
            "How many workers must have died while they ran a request, and nothing else, until it goes to "
            "the dead letters.",
            1,
        ),
    ] = 3
    decode_threads: Annotated[
        int, whole(EXECUTORS, "DECODE_THREADS", "How many threads decode and encode.", 1)
    ] = 2

    drain_timeout: Annotated[
        float,
        seconds(
            WORKER,
            "DRAIN_TIMEOUT",
            "After a signal, how long what is held may take to be answered.",
            validator=Number(gte=0),
        ),
    ] = 30.0
    batch_headers: Annotated[
        bool,
        setting(
            WORKER, "BATCH_HEADERS", "Whether replies carry the id and size of their batch, and the wait."
        ),
    ] = False
    journal: Annotated[
        str | None,
        setting(
            WORKER,
            "JOURNAL",
            "Directory where it is noted what runs, so that a request that kills its worker is found out, or "
            "off.",
            metavar="DIRECTORY",
            show_default=shown_as("rpcb-trio in XDG_STATE_HOME or ~/.local/state"),
        ),
    ] = None
    audit: Annotated[
        str | None,
        setting(
            WORKER,
            "AUDIT",
            "File to append every batch and its requests to, as JSON lines; workers may share it.",
            metavar="FILE",
        ),
    ] = None
    events: Annotated[
        str | None,
        setting(
            WORKER,
            "EVENTS",
            "Topic exchange to tell of every batch and state, for the command top and the gateway's page.",
            metavar="EXCHANGE",
        ),
    ] = None
