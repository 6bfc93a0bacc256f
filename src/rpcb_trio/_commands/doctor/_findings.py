"""What follows from a broker's version, the connection and the settings, without asking any more."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from rpcb_trio._commands._settings._gateway import is_loopback
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._values import BYTES, SECONDS
from rpcb_trio._commands.serve._ack_time import hold_warning, longest_hold
from rpcb_trio._commands.serve._setup import held
from rpcb_trio._transports import BrokerFacts

SOON = 30.0
"""Days that a certificate should last still."""

SINCE_NEWER_QUORUM = (4, 3)
"""The version that gave quorum queues strict priorities, stopped counting what is requeued uncomputed, and
left it to quorum queues to look for deliveries that are not acked in time."""


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True):
    level: Level
    what: str
    found: str
    remedy: str = ""


def ok(what: str, found: str) -> Finding:
    return Finding(Level.OK, what, found)


def warning(what: str, found: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, what, found, remedy)


def problem(what: str, found: str, remedy: str) -> Finding:
    """A fault: a worker with these settings would not work, or not for all requests."""
    return Finding(Level.PROBLEM, what, found, remedy)


def of_connection(broker: BrokerFacts) -> Iterator[Finding]:
    """The broker, the login, and how soon a lost connection is noticed."""
    where = f"{broker.host}:{broker.port}, virtual host {broker.vhost!r}"
    yield ok("broker", f"{broker.product} {broker.version} at {where}")
    yield ok("login", f"as {broker.user!r}, by {broker.login}")
    yield _of_tls(broker)
    if broker.heartbeat:
        noticed = 3 * (broker.heartbeat + 1)
        yield ok("heartbeat", f"{broker.heartbeat} s: a dead connection is noticed within {noticed} s")
    else:
        yield warning("heartbeat", "none: a dead connection may never be noticed", "set heartbeat, 15 say")


def _of_tls(broker: BrokerFacts) -> Finding:
    if broker.tls is None:
        if is_loopback(broker.host):
            return ok("tls", "none, and none is needed on this machine")
        return warning("tls", "none: password and requests travel in plain text", "use amqps://")
    if not broker.verified:
        return warning("tls", f"{broker.tls}, the certificate is not checked", "drop no_verify_ssl from url")
    days = broker.certificate_days
    if days is not None and days < SOON:
        return warning("tls", f"{broker.tls}, its certificate ends in {days:.0f} days", "renew it")
    return ok("tls", f"{broker.tls}, certificate checked")


def of_version(broker: BrokerFacts, settings: Settings) -> Iterator[Finding]:
    """What this version means for these settings."""
    if broker.product != "RabbitMQ":
        yield warning("product", f"{broker.product} is not RabbitMQ", "use RabbitMQ, 3.10 or newer")
        return
    if broker.largest_message is not None:
        size = BYTES.show(broker.largest_message)
        yield ok("largest message", f"{size}, unless max_message_size says otherwise; replies too")
    yield _of_direct_replies(broker)
    yield _of_priorities(broker, settings)
    if settings.queue_type == "quorum":
        yield _of_delivery_limit(broker, settings)
    if settings.on_refused_reply == "requeue":
        yield _of_refused_replies(broker, settings)
    if not settings.durable:
        yield _of_transience(broker)


def _of_direct_replies(broker: BrokerFacts) -> Finding:
    if broker.release <= (4, 1):
        return ok(
            "direct reply-to",
            "this version returns mandatory replies even if it delivers them, so the worker sends none",
        )
    return ok("direct reply-to", "this version does not say whether the caller is still there")


def _of_priorities(broker: BrokerFacts, settings: Settings) -> Finding:
    what = "priorities"
    if settings.queue_type == "quorum":
        if broker.release >= SINCE_NEWER_QUORUM:
            return ok(what, "32 in a quorum queue, the highest first; a request without one counts as 4")
        if broker.release >= (4, 0):
            return ok(
                what, "two in a quorum queue: above 4, and the rest; all apply among delivered requests"
            )
        return ok(what, "none in a quorum queue of this version; they apply among delivered requests")
    if _given("x-max-priority", settings):
        return ok(what, "the queue has them, and they apply among delivered requests")
    return ok(
        what, "apply among delivered requests only; for the whole queue set queue_argument x-max-priority"
    )


def _of_delivery_limit(broker: BrokerFacts, settings: Settings) -> Finding:
    what = "delivery limit"
    if _given("x-delivery-limit", settings):
        return ok(what, f"as x-delivery-limit says; {_what_counts(broker)}")
    if broker.release >= (4, 0):
        return ok(what, f"20, the default of this version; {_what_counts(broker)}")
    return warning(
        what,
        "none by default in this version: a request that kills workers comes back for ever",
        "set queue_argument x-delivery-limit=20",
    )


def _what_counts(broker: BrokerFacts) -> str:
    if broker.release >= SINCE_NEWER_QUORUM:
        return "what a worker held when it died or lost its connection counts, what it requeues does not"
    return "every return counts: by a worker that died or lost its connection, and by one that requeues"


def _of_refused_replies(broker: BrokerFacts, settings: Settings) -> Finding:
    """Whether a request whose reply is refused goes round for ever."""
    what = "refused replies"
    if settings.queue_type == "quorum" and broker.release < SINCE_NEWER_QUORUM:
        limited = _given("x-delivery-limit", settings) or broker.release >= (4, 0)
        if limited:
            return ok(what, "their requests are requeued until the delivery limit is reached")
    return ok(what, "their requests are requeued for as long as the broker refuses the replies")


def _of_transience(broker: BrokerFacts) -> Finding:
    what, remedy = "durability", "set durable; a queue that should go by itself has queue_argument x-expires"
    if broker.release >= (4, 0):
        found = "none: this version deprecates such queues, a later one refuses them"
        return warning(what, f"{found}; queue and requests are gone with a restart of the broker", remedy)
    return warning(what, "none: queue and requests are gone with a restart of the broker", remedy)


def _given(argument: str, settings: Settings) -> bool:
    return any(each.startswith(f"{argument}=") for each in settings.queue_argument)


def of_ack_time(settings: Settings, broker: BrokerFacts | None = None) -> Finding:
    """Whether what is held can be acked in time; without a broker, as by most versions.

    Raises:
        SettingError: the settings don't go together.
    """
    what = "ack timeout"
    _, executors, prefetch = held(settings)
    if broker is not None and broker.release >= SINCE_NEWER_QUORUM and settings.queue_type == "classic":
        return ok(what, "none: this version waits for as long as it takes on a classic queue")
    limit = f"{SECONDS.show(settings.consumer_timeout)} (consumer_timeout)"
    if settings.infer_timeout is None:
        return warning(
            what,
            f"{limit}; infer_timeout is not set, so the {prefetch} requests held may take longer",
            f"set infer_timeout below {settings.consumer_timeout * executors / prefetch:.3g}s, so that even "
            "one by one they are in time",
        )
    held_too_long = hold_warning(prefetch, executors, settings.infer_timeout, settings.consumer_timeout)
    if held_too_long is not None:
        found, _, remedy = held_too_long.partition("; ")
        return warning(what, found, remedy)
    hold = longest_hold(prefetch, executors, settings.infer_timeout)
    return ok(what, f"{limit}; a request is held for {SECONDS.show(hold)} at most")
