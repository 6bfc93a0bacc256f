"""Publishing a worker's events to an exchange, beside its work and never in its way."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import trio

from rpcb_trio._backoff import ConnectionLog, keep_connected
from rpcb_trio._events._buffer import LIFETIME, EventBuffer
from rpcb_trio._events._events import AnyEvent
from rpcb_trio._events._instrument import EventInstrument
from rpcb_trio._messages import Notice
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports import NoticePublisher, NoticeTransport, as_notice_transport
from rpcb_trio.errors import BrokerError

log = logging.getLogger("rpcb_trio")

FLUSH_TIMEOUT = 1.0
"""Seconds, at the end, for what is still to be published."""

PAUSE = 0.1
"""Seconds between two bursts: events that go out together cost less, and an eye sees no faster."""


@asynccontextmanager
async def publish_events(
    transport: NoticeTransport | str, exchange: str, instrument: EventInstrument, *, interval: float = 1.0
) -> AsyncIterator[None]:
    """Publish a worker's events to a topic exchange while the body runs: `serve`, with the instrument.

        events = EventInstrument("asr")
        async with publish_events(url, "rpcb.events", events):
            await serve(service, url, "asr", instruments=[LogInstrument("asr"), events])

    The exchange is declared if it is not there. Events are published on a connection of their own, not
    persistent and without confirms, and expire after 5 s. While the broker is away, or blocked, they are
    dropped; the work goes on.

    Args:
        transport: an AMQP URL, or a transport.
        exchange: its name.
        instrument: one of the worker's.
        interval: seconds between two states.

    Raises:
        LoginRefused, TopologyMismatch, SessionLost: the broker refused at the start.
        SettingError: the URL or the exchange is wrong.
    """
    transport = as_notice_transport(transport)
    async with open_serving_nursery() as nursery:
        is_done = trio.Event()

        async def publish(*, task_status: trio.TaskStatus[None]) -> None:
            use = partial(_publish_all, instrument.buffer)
            own_log = ConnectionLog("events", task_status.started)
            await keep_connected(lambda: transport.open_publisher(exchange), use, own_log)
            is_done.set()

        await nursery.start(publish)
        nursery.start_soon(_beat, instrument, interval)
        try:
            yield
        finally:
            instrument.buffer.close()
            with trio.move_on_after(FLUSH_TIMEOUT, shield=True):
                await is_done.wait()
        nursery.cancel_scope.cancel()


async def _beat(instrument: EventInstrument, interval: float) -> None:
    while True:
        await trio.sleep(interval)
        instrument.put_state()


async def _publish_all(buffer: EventBuffer, publisher: NoticePublisher) -> None:
    while events := await buffer.take():
        try:
            await publisher.publish([_notice(each) for each in events])
        except BrokerError:  # it is opened again
            buffer.dropped += len(events)
            raise
        except Exception:
            log.exception("events: an internal error, so no more are published; the work goes on")
            return
        await buffer.pause(PAUSE)


def _notice(event: AnyEvent) -> Notice:
    return Notice(routing_key=event.routing_key, body=msgspec.json.encode(event), expiration=LIFETIME)
