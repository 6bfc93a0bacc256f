"""All rows, and those that lie around the worker: sessions, errors, gateway, RabbitMQ, versions."""

from __future__ import annotations

from deploy.dashboards._parts import Kind, Panel, Query, Row
from deploy.dashboards._promql import (
    FAILED,
    INSTANCES,
    WORKERS,
    at_broker,
    increase,
    percentiles,
    rate,
    total,
)
from deploy.dashboards._worker_rows import BATCHES, GLANCE, LOAD, MODEL, WAITING

SESSIONS = Row(
    "Sessions and replies",
    "**Are replies blocked, or workers not ready?** Blocked replies wait until RabbitMQ has memory and disk "
    "again. A lost session has what it held redelivered, and some of it computed twice.",
    "operating/health.html",
    [
        Panel(
            "Ready",
            "Each worker.",
            [Query(f"min by (queue, instance) (rpcb_ready{{{WORKERS}}})", "{{queue}} {{instance}}")],
            kind=Kind.STATES,
            columns=12,
        ),
        Panel(
            "Sessions that are up, and that are blocked",
            "A blocked session consumes, and its replies wait.",
            [
                Query(total("rpcb_session_up"), "{{queue}} up"),
                Query(total("rpcb_session_blocked"), "{{queue}} blocked"),
            ],
            columns=6,
        ),
        Panel(
            "Reconnects",
            "Sessions that were opened again.",
            [Query(increase("rpcb_reconnects_total", "queue, instance"), "{{queue}} {{instance}}")],
            columns=6,
        ),
        Panel(
            "Parts of replies per second",
            "Where callers take their replies in parts.",
            [Query(rate("rpcb_reply_parts_total"), "{{queue}}")],
            "reqps",
            columns=24,
        ),
    ],
)

CACHE = Row(
    "Equal requests",
    "**How much does the cache save?** Only where a worker keeps replies. Few hits, and many bytes: requests "
    "are hardly ever equal. Few hits, and no more bytes to be had: raise `cache_max_bytes`.",
    "how-to/cache.html",
    [
        Panel(
            "Hits per second",
            "Requests that got the reply to an equal one.",
            [Query(rate("rpcb_cache_hits_total"), "{{queue}}")],
            "reqps",
        ),
        Panel(
            "Misses per second",
            "Requests that were computed.",
            [Query(rate("rpcb_cache_misses_total"), "{{queue}}")],
            "reqps",
        ),
        Panel("Bytes kept", "Of the replies.", [Query(total("rpcb_cache_bytes"), "{{queue}}")], "bytes"),
    ],
)

ERRORS = Row(
    "Errors, redeliveries, dead letters",
    "**What goes wrong?** The code says whose fault it is. Redeliveries after a restart are normal; a "
    "steady rate of them means that something kills workers or sessions. Most callers of dead letters "
    "wait in vain.",
    "how-to/errors.html",
    [
        Panel(
            "Errors per second, by code",
            "Error replies.",
            [Query(f"{rate('rpcb_requests_total', 'queue, outcome', FAILED)} > 0", "{{queue}} {{outcome}}")],
            "reqps",
            Kind.STACK,
        ),
        Panel(
            "Redelivered per second",
            "Requests that a session had before, and did not settle.",
            [Query(rate("rpcb_redelivered_total"), "{{queue}}")],
            "reqps",
        ),
        Panel(
            "Dead letters, by reason",
            "Since the workers' starts.",
            [Query(f"{total('rpcb_dead_letters_total', 'queue, reason')} > 0", "{{queue}} {{reason}}")],
        ),
    ],
)

GATEWAY = Row(
    "Gateway",
    "**Do HTTP callers see what the workers do?** A duration far above the workers' latency is waiting in "
    "the queue, or a large body on a slow line.",
    "how-to/gateway.html#operate-it",
    [
        Panel(
            "Responses per second, by route and status",
            "Of all gateways.",
            [Query(rate("rpcb_gateway_requests_total", "route, status", INSTANCES), "{{route}} {{status}}")],
            "reqps",
            Kind.STACK,
        ),
        Panel(
            "Duration, by route",
            "From a request's head until its response begins.",
            percentiles("rpcb_gateway_request_duration_seconds", "route", INSTANCES),
            "s",
        ),
        Panel(
            "In flight, by route",
            "Requests that have no response yet.",
            [Query(total("rpcb_gateway_in_flight", "route", INSTANCES), "{{route}}")],
        ),
        Panel(
            "Replies to jobs per second, by outcome",
            "Kept by all gateways.",
            [Query(rate("rpcb_gateway_jobs_total", "outcome", INSTANCES), "{{outcome}}")],
            "reqps",
        ),
        Panel(
            "Jobs that wait",
            "They have no reply yet. `--jobs-max` bounds them.",
            [Query(f"max by (instance) (rpcb_gateway_jobs_open{{{INSTANCES}}})", "{{instance}}")],
        ),
        Panel(
            "Bytes of jobs",
            "And of their replies. `--jobs-size` bounds them.",
            [Query(f"max by (instance) (rpcb_gateway_jobs_bytes{{{INSTANCES}}})", "{{instance}}")],
            "bytes",
        ),
    ],
)

RABBITMQ = Row(
    "RabbitMQ",
    "**Do requests reach workers?** Ready, and no consumer: no worker runs. Ready, and consumers: they are "
    "too few. Nothing is ready, and callers wait: their `reply_to` leads elsewhere. For this row RabbitMQ "
    "itself must be scraped.",
    "operating/runbook.html#callers-get-no-reply",
    [
        Panel(
            "Ready in the queue",
            "No worker has them yet.",
            at_broker("rabbitmq_detailed_queue_messages_ready"),
        ),
        Panel(
            "Unacked",
            "Workers hold them; at most their prefetch.",
            at_broker("rabbitmq_detailed_queue_messages_unacked"),
        ),
        Panel(
            "Consumers",
            "One for each worker that has a session.",
            at_broker("rabbitmq_detailed_queue_consumers"),
        ),
    ],
)

VERSIONS = Row(
    "Versions",
    "**What has changed?** A new version of the program, or of a model, is the first suspect.",
    "operating/versions.html",
    [
        Panel(
            "Processes, by version of rpcb-trio",
            "Workers and gateways.",
            [Query(f"count by (version) (rpcb_build_info{{{INSTANCES}}})", "{{version}}")],
            kind=Kind.TABLE,
            columns=12,
        ),
        Panel(
            "Workers, by version of their model",
            "As their services or their settings name it.",
            [Query(f"count by (queue, version) (rpcb_model_info{{{WORKERS}}})", "{{queue}} {{version}}")],
            kind=Kind.TABLE,
            columns=12,
        ),
    ],
)

ROWS = [GLANCE, LOAD, WAITING, BATCHES, MODEL, SESSIONS, ERRORS, CACHE, GATEWAY, RABBITMQ, VERSIONS]
