"""What the doctor asks the broker: topology, permissions, and a request that goes all the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import trio

from rpcb_trio._client import open_client
from rpcb_trio._commands._bodies import Body
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands.doctor._findings import Finding, of_connection, of_version, ok, problem, warning
from rpcb_trio._transports import CANCELS, QueueFacts, Topology, Transport
from rpcb_trio.errors import CallError

if TYPE_CHECKING:
    from rpcb_trio._transports._amqp._examination import Examination


async def examine(
    asked: Examination, wanted: Topology, settings: Settings, *, connections: Mapping[str, int]
) -> AsyncIterator[Finding]:
    """All that can be found at the broker without sending anything.

    `connections` are those that serve needs, with the channels of each.
    """
    for finding in (*of_connection(asked.broker), *of_version(asked.broker, settings)):
        yield finding
    yield _of_connections(connections, await asked.refusal_of_connections(connections))
    seen = await asked.queue(wanted.queue)
    yield await _of_queue(asked, wanted, seen)
    if isinstance(seen, QueueFacts):
        ends = await asked.how_it_goes(wanted.queue)
        if ends is not None:
            yield warning("what waits", ends, "declare the queue anew without that, if requests should wait")
    if wanted.exchange:
        yield await _of_exchange(asked, wanted)
        yield _of_bindings(wanted)
    if wanted.cancel:
        yield await _of_cancels(asked, wanted)
    yield await _of_dead_letters(asked, wanted)
    is_missing = isinstance(seen, str) and seen.startswith("NOT_FOUND")
    async for finding in _of_permissions(asked, wanted, is_missing=is_missing):
        yield finding
    if isinstance(seen, QueueFacts):
        yield _of_traffic(seen)


async def _of_queue(asked: Examination, wanted: Topology, seen: QueueFacts | str) -> Finding:
    what = f"queue {wanted.queue}"
    if isinstance(seen, str):
        return _of_missing(what, seen, wanted, "create it, or set declare to active")
    if wanted.declare != "active":
        return ok(what, f"there; with declare={wanted.declare} its arguments stay as they are")
    return _of_difference(what, await asked.refusal_of_queue(wanted))


async def _of_exchange(asked: Examination, wanted: Topology) -> Finding:
    what = f"exchange {wanted.exchange}"
    missing = await asked.missing_exchange(wanted.exchange)
    if missing is not None:
        return _of_missing(what, missing, wanted, "create it, or set declare to active")
    if wanted.declare != "active" or wanted.exchange.startswith("amq."):
        return ok(what, "there")
    return _of_difference(what, await asked.refusal_of_exchange(wanted))


def _of_missing(what: str, refusal: str, wanted: Topology, remedy: str) -> Finding:
    if refusal.startswith("NOT_FOUND") and wanted.declare == "active":
        return ok(what, "not there yet; serve declares it")
    if refusal.startswith("RESOURCE_LOCKED"):
        remedy = "another connection has it for itself; use another name"
    elif refusal.startswith("ACCESS_REFUSED"):
        remedy = "grant the user what it needs there; without any right it can't see whether it exists"
    elif not refusal.startswith("NOT_FOUND"):
        remedy = "see what it says"
    return problem(what, refusal, remedy)


def _of_difference(what: str, refusal: str | None) -> Finding:
    if refusal is None:
        return ok(what, "there, as the settings say")
    if refusal.startswith("ACCESS_REFUSED"):
        return problem(what, refusal, "grant configure on it, or set declare to passive")
    return problem(what, refusal, "match the setting to it, or delete it, or set declare to passive")


def _of_bindings(wanted: Topology) -> Finding:
    keys = ", ".join(wanted.routing_keys) or "no key"
    if wanted.declare == "active":
        return ok("binding", f"serve binds the queue at its start, by {keys}")
    return warning(
        "binding", f"by {keys}, and AMQP can't be asked whether it is there", "see with --send whether it is"
    )


async def _of_cancels(asked: Examination, wanted: Topology) -> Finding:
    what = "cancels"
    missing = await asked.missing_exchange(CANCELS)
    if missing is not None:
        remedy = f"create the exchange {CANCELS}, durable and of type direct, or leave cancel out"
        return _of_missing(what, missing, wanted, remedy)
    refusal = await asked.refusal_to_hear(CANCELS, wanted.queue)
    return _permitted(what, refusal, f"grant read on {CANCELS!r}, and all rights on queues named amq.gen-...")


async def _of_dead_letters(asked: Examination, wanted: Topology) -> Finding:
    what, name = "dead letters", wanted.dead_letter_exchange
    if name is None:
        return warning(
            what,
            "no dead-letter exchange: a request without a possible reply is dropped",
            "set dead_letter_exchange",
        )
    missing = await asked.missing_exchange(name) if name else None
    if missing is not None:
        if missing.startswith("NOT_FOUND") and wanted.declare == "active":
            return warning(
                what,
                f"exchange {name} is not there yet; serve declares it",
                "bind a queue to it, to keep them",
            )
        return _of_missing(what, missing, wanted, f"create the exchange {name}")
    refusal = await asked.refusal_to_write(name, wanted.dead_letter_routing_key or wanted.queue)
    if refusal is not None:
        return problem(what, refusal, f"grant write on {name!r}")
    seen = f"exchange {name!r} is there, and may be written to"
    return ok(what, f"{seen}; AMQP can't be asked whether a queue is bound to it" if name else seen)


def _of_connections(needed: Mapping[str, int], refusal: tuple[int, str] | None) -> Finding:
    what = "connections"
    if refusal is None:
        return ok(what, f"{len(needed)}, as serve needs them ({', '.join(needed)})")
    count, said = refusal
    return problem(
        what,
        f"{count} of the {len(needed)} that serve needs ({', '.join(needed)}): {said}",
        "raise the limit of the user, the virtual host or the broker; what is connected already counts too",
    )


async def _of_permissions(
    asked: Examination, wanted: Topology, *, is_missing: bool
) -> AsyncIterator[Finding]:
    refusal = await asked.refusal_to_declare(wanted.queue)
    if refusal is None:
        yield ok("may declare", "yes")
    elif wanted.declare == "active":
        yield problem(
            "may declare", refusal, "grant configure, or declare by hand and set declare to passive"
        )
    else:
        yield ok("may declare", f"no, and declare={wanted.declare} needs none")
    if not is_missing:
        refusal = await asked.refusal_to_read(wanted.queue)
        yield _permitted("may consume", refusal, f"grant read on {wanted.queue!r}")
    yield _permitted("may reply", await asked.refusal_to_write(""), "grant write on 'amq.default'")


def _permitted(what: str, refusal: str | None, remedy: str) -> Finding:
    return ok(what, "yes") if refusal is None else problem(what, refusal, remedy)


def _of_traffic(seen: QueueFacts) -> Finding:
    found = f"{seen.ready} message(s) wait, {seen.consumers} consumer(s)"
    if seen.consumers:
        return ok("traffic", found)
    return warning("traffic", found, "start serve: no worker consumes the queue")


async def send_through(way: Transport, settings: Settings, body: Body, seconds: float) -> Finding:
    """Send a request as a caller does, by the exchange if there is one, and wait for its reply."""
    what = "round trip"
    how: dict[str, Any] = {"content_type": body.content_type, "timeout": seconds}
    started = trio.current_time()
    try:
        async with open_client(way) as client:
            if settings.exchange:
                key = (*settings.routing_key, "")[0]
                reply = await client.call(body.content, exchange=settings.exchange, routing_key=key, **how)
            else:
                reply = await client.call(body.content, queue=settings.queue, **how)
    except CallError as error:
        return problem(what, str(error), "start serve, or look at its log")
    took = f"{1e3 * (trio.current_time() - started):.0f} ms"
    if reply.error is not None:
        return warning(
            what,
            f"an error reply ({reply.error}) in {took}",
            "send what the service understands, or see its log",
        )
    return ok(what, f"{len(reply.body)} byte(s) in {took}, connecting included")
