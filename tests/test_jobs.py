"""Jobs of a client: their replies wait until somebody asks, whoever that is and however often."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import JobStatus, MemoryBroker, RemoteError, ReplyTimeout, SettingError, open_client
from rpcb_trio._client import _jobs
from rpcb_trio._client._jobs import PREFIX
from rpcb_trio.errors import CallInterrupted, JobGone, PublishRefused, RequestTooBig, Unroutable
from rpcb_trio.transports import CallerSession
from tests.scenarios import QUEUE, Shouting, working


def silent_broker(**settings: Any) -> MemoryBroker:
    """Has the queue, and no worker."""
    broker = MemoryBroker(**settings)
    broker.declare(QUEUE)
    return broker


async def test_a_reply_waits_for_whoever_has_the_id_as_often_as_asked_until_it_is_forgotten(
    autojump_clock: MockClock,
) -> None:
    broker = silent_broker()
    async with open_client(broker) as client:
        job = await client.submit(b"good", queue=QUEUE)
        assert await client.status(job) is JobStatus.QUEUED
    async with working(Shouting(), broker) as running:
        await running.until_settled(1)
    async with open_client(broker) as client, open_client(broker) as other:
        assert await client.status(job) is JobStatus.DONE
        for asking in (client, other, client):
            assert (await asking.result(job)).body == b"ok:GOOD"
        assert await client.status(job) is JobStatus.DONE
        await other.forget(job)
        assert await client.status(job) is JobStatus.GONE
        with pytest.raises(JobGone, match=job):
            await client.result(job)
        await client.forget(job)


async def test_all_who_wait_for_a_reply_get_it_and_one_who_gives_up_takes_it_from_nobody(
    autojump_clock: MockClock,
) -> None:
    broker = silent_broker()
    bodies: list[bytes] = []
    async with open_client(broker) as client:
        job = await client.submit(b"sick", queue=QUEUE)
        with pytest.raises(ReplyTimeout, match=f"no reply to job {job} within 5 s"):
            await client.result(job, timeout=5)

        async def wait() -> None:
            reply = await client.result(job, timeout=math.inf)
            bodies.append(reply.body)
            with pytest.raises(RemoteError, match="infer"):
                reply.raise_for_error()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await trio.sleep(3600)
            async with working(Shouting(), broker) as running:
                await running.until_settled(1)
    assert bodies == [b"failed:infer"] * 3


async def test_a_lost_connection_ends_neither_a_wait_nor_a_submission(autojump_clock: MockClock) -> None:
    broker = silent_broker()
    async with open_client(broker) as client:
        job = await client.submit(b"good", queue=QUEUE)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait() -> None:
                assert (await client.result(job, timeout=math.inf)).body == b"ok:GOOD"

            await trio.sleep(1)
            broker.disconnect()
            again = await client.submit(b"good again", queue=QUEUE)
            async with working(Shouting(), broker) as running:
                await running.until_settled(2)
        assert (await client.result(again)).body == b"ok:GOOD AGAIN"


class CutWhileStoring(MemoryBroker):
    """Its first connection is lost after a request is stored and before that is confirmed."""

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        async with super().open_caller() as session:
            publish = session.publish

            async def publish_and_break(request: Any, failed: Any, confirmed: Any = None) -> None:
                await publish(request, failed, None if self.stored == 0 else confirmed)
                self.stored += 1
                if self.stored == 1:
                    self.disconnect()

            session.publish = publish_and_break  # type: ignore[method-assign] # to meddle with it
            yield session

    stored = 0


async def test_what_is_stored_twice_since_a_confirm_was_lost_is_one_job(autojump_clock: MockClock) -> None:
    broker = CutWhileStoring()
    broker.declare(QUEUE)
    async with open_client(broker) as client, working(Shouting(), broker) as running:
        job = await client.submit(b"good", queue=QUEUE)
        await running.until_settled(2)
        assert broker.stored == 2
        assert (await client.result(job)).body == b"ok:GOOD"


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"queue": "nowhere"}, Unroutable, "there is no queue 'nowhere'"),
        ({"queue": QUEUE, "body": b"12345"}, RequestTooBig, "5 bytes"),
        ({}, SettingError, "give queue"),
        ({"queue": QUEUE, "keep": 0.5}, SettingError, "keep is 0.5; it must be at least 1"),
        ({"queue": QUEUE, "keep": math.inf}, SettingError, "keep is inf; it must be at most"),
        ({"queue": QUEUE, "expiration": 0}, SettingError, "expiration is 0; it must be more than 0"),
        ({"queue": QUEUE, "timeout": -1}, SettingError, "timeout is -1"),
        ({"queue": QUEUE, "body": "text"}, TypeError, "must be bytes, not str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_job_that_is_refused_leaves_nothing_behind(
    arguments: dict[str, Any], error: type[Exception], said: str, autojump_clock: MockClock
) -> None:
    broker = silent_broker(max_message_size=4)
    async with open_client(broker) as client:
        with pytest.raises(error, match=said):
            await client.submit(**{"body": b"x", **arguments})
    assert broker.depth(QUEUE) == 0
    assert [name for name in broker._router.queues if name.startswith(PREFIX)] == []


async def test_a_client_keeps_no_more_jobs_than_a_broker_bears_until_some_are_forgotten_or_their_time_is_over(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jobs, "MOST_KEPT", 2)
    async with open_client(silent_broker()) as client:
        with pytest.raises(Unroutable):
            await client.submit(b"", queue="nowhere")
        first, _ = [await client.submit(b"", queue=QUEUE, keep=100) for _ in range(2)]
        with pytest.raises(PublishRefused, match="keeps 2 jobs already; forget those that are used"):
            await client.submit(b"", queue=QUEUE)
        await client.forget(first)
        await client.submit(b"", queue=QUEUE, keep=1000)
        await trio.sleep(101)
        await client.submit(b"", queue=QUEUE)
        with pytest.raises(PublishRefused):
            await client.submit(b"", queue=QUEUE)


async def test_what_is_no_id_of_a_job_leads_to_no_queue(autojump_clock: MockClock) -> None:
    broker = silent_broker()
    broker.declare(f"{PREFIX}secret")
    async with open_client(broker) as client:
        for text in ("secret", "", "x" * 33, "ä" * 32, "../" + "x" * 29):
            assert await client.status(text) is JobStatus.GONE
            await client.forget(text)
            with pytest.raises(JobGone, match="is no id of a job"):
                await client.result(text)
    assert broker.depth(f"{PREFIX}secret") == 0


async def test_a_closed_client_says_so_and_its_waits_end(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_client(silent_broker()) as client:
            job = await client.submit(b"good", queue=QUEUE)

            async def wait(ask: Callable[[], Any]) -> None:
                with pytest.raises(CallInterrupted, match="closed"):
                    await ask()

            nursery.start_soon(wait, lambda: client.result(job))
            await trio.sleep(1)
        for ask in (
            lambda: client.status(job),
            lambda: client.forget(job),
            lambda: client.submit(b"", queue=QUEUE),
        ):
            await wait(ask)
