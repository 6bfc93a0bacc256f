"""The way down from the symptom: is it slow, is it the load, the wait, the batches, the model?"""

from __future__ import annotations

from deploy.dashboards._parts import Kind, Panel, Query, Row
from deploy.dashboards._promql import (
    BUSY,
    ERROR_RATIO,
    OBJECTIVE,
    WAIT_AT_BROKER,
    buckets,
    mean,
    percentiles,
    quantile,
    rate,
    total,
)

DURATION, WAIT = "rpcb_request_duration_seconds", "rpcb_queue_wait_seconds"
INFER, PREDICTED, SIZE = "rpcb_infer_seconds", "rpcb_infer_predicted_seconds", "rpcb_batch_size"


def number(title: str, description: str, expr: str, unit: str = "short", columns: int = 5) -> Panel:
    """What it is now, for each queue."""
    return Panel(title, description, [Query(expr, "{{queue}}")], unit, Kind.NUMBER, columns)


GLANCE = Row(
    "At a glance",
    "**Is it slow, and since when?** Then go down: each row rules one cause out.",
    "operating/runbook.html#latency-went-up",
    [
        number(
            "Latency, 99th percentile",
            "From a request's delivery until its reply is confirmed.",
            quantile(0.99, DURATION),
            "s",
        ),
        number(
            "Requests per second",
            "Answered, by a reply or an error reply.",
            rate("rpcb_requests_total"),
            "reqps",
        ),
        number(
            "Errors",
            "The part of the requests that ended in an error reply.",
            ERROR_RATIO,
            "percentunit",
        ),
        number(
            "Workers ready", "They consume, are warm, and RabbitMQ takes their replies.", total("rpcb_ready")
        ),
        number("Executors busy", "The part of the time that they compute.", BUSY, "percentunit", columns=4),
        Panel(
            "Latency against its objective",
            "Median, 99th percentile, and the objective, where the alert rules are loaded.",
            [*percentiles(DURATION), Query(OBJECTIVE, "{{queue}} objective")],
            "s",
            columns=12,
        ),
        Panel(
            "Latency of all requests",
            "How many took how long. Two bands are two kinds of requests, or of workers.",
            buckets(DURATION),
            "s",
            Kind.HEAT,
            columns=12,
        ),
    ],
)

LOAD = Row(
    "Load",
    "**Has the load risen?** More requests per second, or as many for fewer workers, show as waiting below. "
    "What is ready in the queue waits before any worker has it; that is not in the latency above.",
    "concepts/backpressure.html",
    [
        Panel(
            "Requests per second, by worker",
            "A worker that stands out has another device, another load beside it, or another prefetch.",
            [Query(rate("rpcb_requests_total", "queue, instance"), "{{queue}} {{instance}}")],
            "reqps",
            Kind.STACK,
        ),
        Panel(
            "Held and waiting in the workers",
            "Held is all that they have not settled. Of it that waits which is in no batch yet.",
            [
                Query(total("rpcb_held"), "{{queue}} held"),
                Query(total("rpcb_pending"), "{{queue}} waiting"),
            ],
        ),
        Panel(
            "Estimated wait in the queue",
            "How long what is ready in the queue takes, at the present rate of requests.",
            [Query(WAIT_AT_BROKER, "{{queue}}")],
            "s",
        ),
    ],
)

WAITING = Row(
    "Waiting in the worker",
    "**Has the wait risen, and the service time below has not?** Then there are more requests than "
    "executors can take, or fewer workers. Where the service time has risen too, look there first: the wait "
    "follows it.",
    "concepts/request.html",
    [
        Panel("Wait until the batch is closed", "From a request's delivery.", percentiles(WAIT), "s"),
        Panel("Wait of all requests", "How many waited how long.", buckets(WAIT), "s", Kind.HEAT),
        Panel(
            "Where the time goes",
            "Means: of a request in all, of its wait, of a batch in infer. The rest is decoding, encoding, "
            "the broker.",
            [
                Query(mean(DURATION), "{{queue}} in all"),
                Query(mean(WAIT), "{{queue}} wait"),
                Query(mean(INFER), "{{queue}} infer"),
            ],
            "s",
        ),
    ],
)

BATCHES = Row(
    "Batches",
    "**Are batches smaller than before, at the same load?** Then each request costs more of the device. The "
    "trigger says why a batch was closed: `size` and `cost` mean that it was full.",
    "concepts/batching.html",
    [
        Panel("Requests per batch", "The mean.", [Query(mean(SIZE), "{{queue}}")]),
        Panel("Sizes of all batches", "How many batches had which size.", buckets(SIZE), kind=Kind.HEAT),
        Panel(
            "Batches per second, by trigger",
            "Why they were closed.",
            [Query(f"{rate('rpcb_batches_total', 'queue, trigger')} > 0", "{{queue}} {{trigger}}")],
            "ops",
            Kind.STACK,
        ),
    ],
)

MODEL = Row(
    "The model",
    "**Has the service time risen?** With batches of the same size, the model or its device is slower. "
    "Where the prediction is far off, the policy decides by wrong numbers. Executors that are always busy "
    "have no room for more load.",
    "how-to/tune.html",
    [
        Panel("Service time of a batch", "How long infer takes.", percentiles(INFER), "s", columns=6),
        Panel(
            "Service time against prediction",
            "Means. A policy that predicts nothing has one line.",
            [Query(mean(INFER), "{{queue}} measured"), Query(mean(PREDICTED), "{{queue}} predicted")],
            "s",
            columns=6,
        ),
        Panel(
            "Executors busy",
            "The part of the time that they compute.",
            [Query(BUSY, "{{queue}}")],
            "percentunit",
            columns=6,
        ),
        Panel(
            "Executors busy at the moment",
            "As they were when Prometheus asked; one that stays busy while no batch ends hangs.",
            [
                Query(total("rpcb_executors_busy"), "{{queue}} busy"),
                Query(total("rpcb_executors"), "{{queue}} in all"),
            ],
            columns=6,
        ),
    ],
)
