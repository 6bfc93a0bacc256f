"""Jobs over HTTP: they are entered, sent, and finished by the replies that come to the gateways' inbox."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import msgspec

from rpcb_trio._backoff import Backoff
from rpcb_trio._client import deposit, give_up, keep_inbox
from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._job_store import Job, JobStore, shown_id
from rpcb_trio._gateway._problems import Problem, no_broker
from rpcb_trio._gateway._routes import Route
from rpcb_trio._gateway._webhooks import Webhooks
from rpcb_trio._messages import Outgoing, Reply
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio.errors import CallError, SettingError

log = logging.getLogger("rpcb_trio")

SUBMIT_SECONDS = 30.0
"""How long the broker may take to store a request."""

LOOK = 2.0
"""Seconds after which a watched job is looked at, since another gateway may have its reply."""


class Jobs:
    """The jobs of one gateway. Replies are taken within `running`.

    Args:
        dispatcher: has the client, and what bounds requests.
        store: keeps the jobs.
        webhooks: tell of those that are done.
    """

    def __init__(self, dispatcher: Dispatcher, store: JobStore, webhooks: Webhooks) -> None:
        self._dispatcher = dispatcher
        self.store = store
        self.webhooks = webhooks
        self._watching: dict[str, set[anyio.Event]] = {}
        """Of jobs that are watched, what to set once they are done."""
        self.count: Callable[[Reply], None] = lambda _: None
        """Is told of each reply that was kept."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take replies until the end.

        Raises:
            SettingError: the place for jobs can't be used.
            TopologyMismatch: the broker will not have the queue for replies.
        """
        client = self._dispatcher.client
        assert client is not None  # noqa: S101 - it is opened before
        async with self.store.opened(), self.webhooks.running(), open_serving_nursery() as tasks:
            await tasks.start(keep_inbox, client, self.store.inbox, self._take)
            for job in self.store.to_tell():  # an earlier gateway had no time for them
                self.webhooks.tell(job)
            yield
            tasks.cancel_scope.cancel()

    async def submit(
        self,
        job: str,
        facts: Job,
        route: Route,
        body: bytes,
        *,
        headers: Mapping[str, object],
        content_type: str,
    ) -> None:
        """Enter a job, and send its request to its route; return once the broker has that.

        Raises:
            Problem: it can't be done.
        """
        client = self._dispatcher.client
        if client is None or not client.is_connected:
            raise no_broker()
        self.store.check_room()
        await self.store.enter(job, facts)
        request = msgspec.structs.replace(
            self._request(job, route),
            body=body,
            expiration=self.store.expires(job) - self.store.made(job),
            priority=0,  # calls may have a higher one
            headers=headers,
            content_type=content_type,
        )
        try:
            await deposit(client, request, SUBMIT_SECONDS)
        except (CallError, SettingError) as error:
            await self.store.drop(job)
            raise Problem.of_call(error) from error

    def cancel(self, job: str, route: Route) -> None:
        """Tell workers that nobody asks for a job any more, where they may be told."""
        if (client := self._dispatcher.client) is not None:
            give_up(client, self._request(job, route))

    def _request(self, job: str, route: Route) -> Outgoing:
        """What a job's request is known by, and where it goes."""
        return Outgoing(
            body=b"",
            exchange=route.exchange,
            routing_key=(route.queue if route.queue is not None else route.routing_key) or "",
            correlation_id=job,
            reply_to=self.store.inbox,
        )

    async def changes(self, job: str) -> AsyncGenerator[bool]:
        """Whether a job is done: each time it is looked at, until it is, or the gateway drains."""
        done = anyio.Event()
        watching = self._watching.setdefault(job, set())
        watching.add(done)
        try:
            while not self._dispatcher.is_draining:
                is_done = done.is_set() or await self.store.has_reply(job)
                yield is_done
                if is_done:
                    return
                with anyio.move_on_after(LOOK):
                    await done.wait()
        finally:
            watching.discard(done)
            if not watching:
                self._watching.pop(job, None)

    async def _take(self, reply: Reply) -> None:
        """Keep a reply; it is acked once this returns."""
        job, backoff, has_warned = reply.correlation_id or "", Backoff(), False
        while True:
            try:
                facts = await self.store.finish(job, reply)
                break
            except OSError as error:
                if not has_warned:
                    log.warning("jobs: a reply can't be kept, and waits (job %s): %s", shown_id(job), error)
                has_warned = True
            await backoff.wait()
        if facts is None:
            log.info("jobs: a reply to job %s is dropped: nobody waits for it", shown_id(job))
        else:
            self.count(reply)
        for event in self._watching.get(job, ()):
            event.set()
        if facts is not None and facts.callback is not None:
            self.webhooks.tell(job)
