"""Whether what a worker holds can be acked before the broker takes it back.

RabbitMQ closes the channel of a consumer that leaves a delivery unacked for longer than `consumer_timeout`,
and redelivers (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
"""

from __future__ import annotations

import logging

from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._values import SECONDS

log = logging.getLogger("rpcb_trio")


def longest_hold(prefetch: int, executors: int, infer_timeout: float) -> float:
    """Seconds until the last of `prefetch` requests is computed, in the worst case.

    That is when each is a batch by itself, as redelivered requests are, and takes all of `infer_timeout`.
    """
    return prefetch / executors * infer_timeout


def hold_warning(
    prefetch: int, executors: int, infer_timeout: float | None, consumer_timeout: float
) -> str | None:
    """What to warn the operator of; None where it fits, or where `infer_timeout` is not set."""
    if infer_timeout is None:
        return None
    hold = longest_hold(prefetch, executors, infer_timeout)
    if hold <= consumer_timeout:
        return None
    return (
        f"a request may be held for {SECONDS.show(hold)} (prefetch {prefetch} * infer_timeout "
        f"{SECONDS.show(infer_timeout)} / {executors} executor(s)), but the broker takes it back after "
        f"{SECONDS.show(consumer_timeout)} (consumer_timeout); lower prefetch or infer_timeout, or raise "
        "consumer_timeout there and here"
    )


def warn_of_long_holds(name: str, settings: Settings, executors: int, prefetch: int) -> None:
    """Warn in the log where a worker may hold a request for too long."""
    warning = hold_warning(prefetch, executors, settings.infer_timeout, settings.consumer_timeout)
    if warning is not None:
        log.warning("%s: %s", name, warning)
