"""Where a worker's requests come from, and what no broker would take. Each broker adds what depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from rpcb_trio._bounds import check_choice
from rpcb_trio._messages import NO_HEADERS
from rpcb_trio.errors import SettingError

LARGEST_PREFETCH = 65535
"""AMQP 0-9-1 counts it in 16 bits; `basic.qos` takes 0 for no bound at all."""

LONGEST_HEARTBEAT = 65534
"""Seconds; 0 is for none."""

LONGEST_NAME = 255
"""Bytes in UTF-8 of the name of a queue or an exchange, and of a routing key."""

LARGEST_PRIORITY = 255

RESERVED = "amq."
"""How the names begin that are the broker's own."""

OWN_EXCHANGES: Mapping[str, str] = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.topic": "topic",
}
"""The exchanges that every broker has, and their types. They may be used, but not declared."""

CANCELS = "rpcb.cancel"
"""The exchange, durable and of type direct, to which callers send the ids of requests that they give up."""

MATCH_WITHOUT_KEY = frozenset({"fanout", "headers"})
"""Types of exchanges that a queue is bound to even where no routing key is given."""

MISSING = "it does not exist; create it, or use declare=active"
DIFFERENT = "it exists with another {}; set that so, or delete it, or use declare=passive"
"""What a broker that refuses says of a queue or an exchange; in braces the property that differs."""

Declare = Literal["active", "passive", "never"]
QueueType = Literal["classic", "quorum"]
ExchangeType = Literal["direct", "topic", "fanout", "headers"]
OnRefusedReply = Literal["dead-letter", "requeue"]


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker's requests come from, and what of it the worker declares.

    Raises:
        SettingError: no broker would take it so; the setting is named, and the remedy.
    """

    queue: str
    declare: Declare = "active"
    """`active` creates what is missing, `passive` only checks that it is there, `never` does neither."""
    queue_type: QueueType = "classic"
    durable: bool = True
    exchange: str = ""
    """The exchange that `routing_keys` bind the queue to; the default exchange needs neither."""
    exchange_type: ExchangeType = "topic"
    routing_keys: tuple[str, ...] = ()
    dead_letter_exchange: str | None = None
    """Where requests go that can't be answered, with the reason in a header; without one the broker drops
    them. The worker publishes there itself, so it needs the right to."""
    dead_letter_routing_key: str | None = None
    """Their routing key there; None for each one's own."""
    on_refused_reply: OnRefusedReply = "dead-letter"
    """What becomes of a request whose reply the broker refuses again and again. One whose `reply_to` makes
    the broker close the connection is never requeued."""
    arguments: Mapping[str, object] = NO_HEADERS
    """Further queue arguments (`x-max-priority`, `x-delivery-limit`, ...)."""
    cancel: bool = False
    """Whether callers may cancel requests. Then the worker hears what is sent to the exchange `rpcb.cancel`
    for its queue, in an exclusive queue of its own."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_names(self)
        _check_dead_letters(self)
        _check_bindings(self)
        _check_arguments(self)

    @property
    def queue_arguments(self) -> dict[str, object]:
        """What the queue is declared with.

        Nothing of its dead letters: the worker publishes them itself, and programs that declare the queue
        too would be refused over an argument that they don't know. It can be named among the arguments.
        """
        arguments = dict(self.arguments)
        # A classic queue has no type argument on older brokers; with one it would differ from queues there.
        if self.queue_type != "classic":
            arguments.setdefault("x-queue-type", self.queue_type)
        return arguments

    @property
    def is_quorum(self) -> bool:
        """Whether the queue is a quorum queue."""
        return self.queue_arguments.get("x-queue-type") == "quorum"

    @property
    def binding_keys(self) -> tuple[str, ...]:
        """The routing keys to bind the queue with; an empty one where its exchange needs none."""
        if not self.exchange:
            return ()
        return self.routing_keys or (("",) if self.exchange_type in MATCH_WITHOUT_KEY else ())

    @property
    def cancel_keys(self) -> tuple[str, ...]:
        """The routing keys of cancels for this queue, by where requests to it are sent (see `cancel_key`)."""
        keys = (cancel_key("", self.queue), *(cancel_key(self.exchange, key) for key in self.binding_keys))
        return tuple(key for key in keys if len(key.encode()) <= LONGEST_NAME)


def cancel_key(exchange: str, routing_key: str) -> str:
    """The routing key of a cancel, by where its request was sent."""
    return f"{exchange}/{routing_key}" if exchange else routing_key


def check_prefetch(prefetch: int) -> None:
    """Refuse a prefetch that AMQP can't carry.

    Raises:
        SettingError: it is out of bounds.
    """
    if not 1 <= prefetch <= LARGEST_PREFETCH:
        raise SettingError(f"prefetch is 1 to {LARGEST_PREFETCH}, not {prefetch}")


def check_exchange(name: str) -> None:
    """Refuse the name of an exchange for events that no exchange can have.

    Raises:
        SettingError: it is none.
    """
    if not name:
        raise SettingError("events names no exchange; name one, or leave it out")
    check_name("events: exchange", name)


def check_name(setting: str, name: str) -> None:
    """Refuse a name that AMQP can't carry.

    Raises:
        SettingError: it is too long, or no text that UTF-8 can write.
    """
    try:
        size = len(name.encode())
    except (UnicodeEncodeError, AttributeError) as exc:
        raise SettingError(f"{setting} {name!r} can't be put into AMQP: {exc}") from exc
    if size > LONGEST_NAME:
        raise SettingError(
            f"{setting} {name[:20]!r}... can't be put into AMQP: it has {size} bytes, and AMQP carries "
            f"{LONGEST_NAME}"
        )


def _check_choices(topology: Topology) -> None:
    for setting, choices in (
        ("declare", Declare),
        ("queue_type", QueueType),
        ("exchange_type", ExchangeType),
        ("on_refused_reply", OnRefusedReply),
    ):
        check_choice(setting, getattr(topology, setting), get_args(choices))


def _check_names(topology: Topology) -> None:
    if not topology.queue:
        raise SettingError("queue must not be empty")
    names = [
        ("queue", topology.queue),
        ("exchange", topology.exchange),
        ("dead_letter_exchange", topology.dead_letter_exchange or ""),
        ("dead_letter_routing_key", topology.dead_letter_routing_key or ""),
        *(("routing key", key) for key in topology.routing_keys),
    ]
    for setting, name in names:
        check_name(setting, name)
    if topology.declare == "active" and topology.queue.startswith(RESERVED):
        raise SettingError(
            f"queue {topology.queue!r}: names that begin with {RESERVED} are the broker's own; use another "
            "name, or declare=passive if it exists"
        )
    for setting, name in names[1:3]:
        if name.startswith(RESERVED) and name not in OWN_EXCHANGES:
            raise SettingError(
                f"{setting} {name!r}: names that begin with {RESERVED} are the broker's own; use another "
                f"name, or one of {', '.join(OWN_EXCHANGES)}"
            )


def _check_dead_letters(topology: Topology) -> None:
    if topology.dead_letter_routing_key is not None and topology.dead_letter_exchange is None:
        raise SettingError("dead_letter_routing_key needs a dead_letter_exchange")
    if topology.dead_letter_exchange == "" and topology.dead_letter_routing_key in {None, topology.queue}:
        raise SettingError(
            "dead_letter_exchange is the default exchange, from where dead letters would come back to the "
            "queue; name another one with dead_letter_routing_key"
        )


def _check_bindings(topology: Topology) -> None:
    if topology.routing_keys and not topology.exchange:
        raise SettingError(
            "routing_keys need an exchange, since the default one delivers by the queue's name; name an "
            "exchange, or leave the keys out"
        )
    if topology.declare == "active" and topology.exchange and not topology.binding_keys:
        raise SettingError(
            f"exchange {topology.exchange!r} of type {topology.exchange_type} delivers nothing to the queue "
            "without routing_keys; give a routing_key, or use exchange_type fanout or headers, which need "
            "none, or declare=passive if the queue is bound already"
        )


def _check_arguments(topology: Topology) -> None:
    arguments = topology.queue_arguments
    for name, value in arguments.items():
        check_name("queue_argument", name)
        if not _can_be_written(value):
            raise SettingError(f"queue_argument {name} is {value!r}, of a type that AMQP lacks")
        if name in KNOWN_ARGUMENTS:
            what, is_right = KNOWN_ARGUMENTS[name]
            if not is_right(value):
                raise SettingError(f"queue_argument {name} is {value!r}; it is {what}")
    if arguments.get("x-queue-type") == "stream":
        raise SettingError(
            "queue_argument x-queue-type is stream, which delivers nothing again, so what is held when a "
            "connection breaks would be lost; use queue_type classic or quorum"
        )
    if "x-dead-letter-routing-key" in arguments and "x-dead-letter-exchange" not in arguments:
        raise SettingError("queue_argument x-dead-letter-routing-key needs x-dead-letter-exchange")
    if topology.declare == "active" and topology.is_quorum and not topology.durable:
        raise SettingError("a quorum queue is durable; leave durable on, or use queue_type classic")


def _can_be_written(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _can_be_written(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(_can_be_written, value))
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str | bytearray | float | Decimal | datetime)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _whole(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _one_of(*choices: str) -> Callable[[object], bool]:
    return lambda value: value in choices


_COUNT = ("a whole number, 0 or more", _whole(0, 2**63 - 1))
_TEXT = ("a text", _is_text)

KNOWN_ARGUMENTS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "x-dead-letter-exchange": _TEXT,
    "x-dead-letter-routing-key": _TEXT,
    "x-expires": ("whole milliseconds, 1 or more", _whole(1, 2**63 - 1)),
    "x-max-length": _COUNT,
    "x-max-length-bytes": _COUNT,
    "x-max-priority": (f"a whole number, 0 to {LARGEST_PRIORITY}", _whole(0, LARGEST_PRIORITY)),
    "x-message-ttl": ("whole milliseconds, 0 or more", _whole(0, 2**63 - 1)),
    "x-overflow": (
        "drop-head, reject-publish or reject-publish-dlx",
        _one_of("drop-head", "reject-publish", "reject-publish-dlx"),
    ),
    "x-queue-type": ("classic or quorum", _one_of("classic", "quorum", "stream")),
    "x-single-active-consumer": ("true or false", _is_flag),
}
"""What RabbitMQ, of every version, takes for its own arguments (https://www.rabbitmq.com/docs/queues)."""
