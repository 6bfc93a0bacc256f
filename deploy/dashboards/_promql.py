"""The queries that panels are made of. The variables of the dashboard choose queues and instances."""

from __future__ import annotations

from deploy.dashboards._parts import Query

WORKERS = 'queue=~"$queue",instance=~"$instance"'
INSTANCES = 'instance=~"$instance"'
QUEUES = 'queue=~"$queue"'


def total(gauge: str, by: str = "queue", among: str = WORKERS) -> str:
    """A gauge, summed up."""
    return f"sum by ({by}) ({gauge}{{{among}}})"


def rate(counter: str, by: str = "queue", among: str = WORKERS) -> str:
    """A counter, summed up, per second."""
    return f"sum by ({by}) (rate({counter}{{{among}}}[$__rate_interval]))"


def increase(counter: str, by: str, among: str = WORKERS) -> str:
    """By how much a counter has risen from one point of a panel to the next."""
    return f"sum by ({by}) (increase({counter}{{{among}}}[$__rate_interval]))"


def mean(histogram: str, by: str = "queue", among: str = WORKERS) -> str:
    """The mean of what a histogram has observed."""
    return f"{rate(f'{histogram}_sum', by, among)} / {rate(f'{histogram}_count', by, among)}"


def quantile(q: float, histogram: str, by: str = "queue", among: str = WORKERS) -> str:
    """A percentile of what a histogram has observed."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', f'{by}, le', among)})"


def percentiles(histogram: str, by: str = "queue", among: str = WORKERS) -> list[Query]:
    """The median, and the 99th percentile."""
    label = f"{{{{{by}}}}}"
    return [
        Query(quantile(q, histogram, by, among), f"{label} {name}")
        for q, name in ((0.5, "p50"), (0.99, "p99"))
    ]


def buckets(histogram: str) -> list[Query]:
    """How many observations each bucket got, for a heatmap."""
    return [Query(increase(f"{histogram}_bucket", "le"), "{{le}}")]


def at_broker(gauge: str) -> list[Query]:
    """A gauge of RabbitMQ's; several nodes of a cluster may have that of one queue."""
    return [Query(f"max by (vhost, queue) ({gauge}{{{QUEUES}}})", "{{queue}}")]


BUSY = f"{rate('rpcb_infer_seconds_sum')} / {total('rpcb_executors')}"

FAILED = f'{WORKERS},outcome!~"success|cancelled"'

ERROR_RATIO = f"{rate('rpcb_requests_total', among=FAILED)} / {rate('rpcb_requests_total')}"

WAIT_AT_BROKER = (
    f"max by (queue) (rabbitmq_detailed_queue_messages_ready{{{QUEUES}}})"
    f" / on (queue) {rate('rpcb_requests_total', among=QUEUES)}"
)

OBJECTIVE = f"max by (queue) (rpcb:queue_objective:latency_seconds{{{QUEUES}}})"
"""Of the alert rules; no line where they are not loaded."""
