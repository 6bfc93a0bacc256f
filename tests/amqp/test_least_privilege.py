"""The permissions that docs/how-to/security.md recommends are enough for each role, and for nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from rpcb_trio import JobStatus, Reply, Topology, open_client
from rpcb_trio._client import deposit, keep_inbox
from rpcb_trio._messages import Notice, Outgoing
from rpcb_trio._transports import Session
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import BrokerError, PublishRefused, TopologyMismatch
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer, answer
from tests.amqp.users import add_user, permit, tell, url_of
from tests.rabbitmq import Node

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "security.md").read_text()
RECOMMENDED = re.findall(
    r"^\$ rabbitmqctl set_permissions (\S+) '(\S+)' '(\S+)' '(\S+)'$", PAGE, re.MULTILINE
)
"""Each role with what it may configure, write and read."""

pytestmark = pytest.mark.usefixtures("limit")


class Site:
    """A queue that clients reach through an exchange, dead letters, and a user for each role."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.queue, self.exchange, self.dead, self.events = map(node.fresh_name, ("q", "x", "dlx", "ev"))
        self._suffix = uuid4().hex[:8]
        here = {
            "shout": self.queue,
            "shout-exchange": self.exchange,
            "shout-dead": self.dead,
            "shout-events": self.events,
        }
        self.rights = {
            role: [re.sub(r"shout[a-z-]*", lambda name: here[name[0]], right) for right in rights]
            for role, *rights in RECOMMENDED
        }

    def transport(self, role: str) -> AmqpTransport:
        return AmqpTransport(url_of(self.node, f"{role}-{self._suffix}"))

    async def prepare(self) -> None:
        done = Topology(queue=self.queue, exchange=self.exchange, routing_keys=("rpc",))
        for topology in (done, Topology(queue=self.dead, exchange=self.dead, exchange_type="fanout")):
            async with AmqpTransport(self.node.url).open_session(topology, prefetch=1) as session:
                await session.stop_consuming()
        await tell(self.node, *self._grants())

    def _grants(self) -> list[str]:
        found = []
        for role, rights in self.rights.items():
            user = f"{role}-{self._suffix}"
            found += [add_user(user), permit(user, *rights)]
        return found


@pytest.fixture(scope="module")
def site(node: Node) -> Site:
    made = Site(node)
    trio.run(made.prepare)
    return made


async def test_a_worker_needs_to_read_its_queue_and_to_reply(site: Site) -> None:
    topology = Topology(queue=site.queue, declare="passive")
    async with site.transport("worker").open_session(topology, prefetch=10) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, session, 1)
            [(_, body)] = await Producer(site.node, site.queue).call(b"x")
        assert body == b"X"
        await session.stop_consuming()


async def test_a_worker_with_dead_letters_needs_to_write_to_their_exchange_too(site: Site) -> None:
    producer = Producer(site.node, site.queue)
    topology = Topology(queue=site.queue, declare="never", dead_letter_exchange=site.dead)
    async with site.transport("dead-letter-worker").open_session(topology, prefetch=10) as session:
        await producer.send(b"poison", reply_to="nobody")
        request = await session.requests.receive()
        assert await session.settle([Answer(request, None, dead_letter="poison")]) == [Settled.REJECTED]
    [(_, _, body)] = await producer.read(site.dead)
    assert body == b"poison"


async def answer_one_by_one(session: Session, count: int) -> None:
    for _ in range(count):
        await answer(session, 1)


async def test_a_client_needs_to_publish_alone(site: Site) -> None:
    async with AmqpTransport(site.node.url).open_session(Topology(queue=site.queue), prefetch=10) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_one_by_one, session, 2)
            async with open_client(site.transport("client")) as client:
                assert (await client.call(b"x", queue=site.queue)).body == b"X"
            async with open_client(site.transport("exchange-client")) as client:
                reply = await client.call(b"y", exchange=site.exchange, routing_key="rpc")
        assert reply.body == b"Y"
        await session.stop_consuming()


async def test_a_client_of_jobs_needs_their_queues_besides(site: Site) -> None:
    async with AmqpTransport(site.node.url).open_session(Topology(queue=site.queue), prefetch=10) as session:
        async with open_client(site.transport("client")) as client:
            with pytest.raises(PublishRefused, match=r"may not use queue 'rpcb-job.*; grant configure"):
                await client.submit(b"x", queue=site.queue)
        async with trio.open_nursery() as nursery, open_client(site.transport("job-client")) as client:
            nursery.start_soon(answer, session, 1)
            job = await client.submit(b"x", queue=site.queue)
            assert (await client.result(job)).body == b"X"
            assert await client.status(job) is JobStatus.DONE
            await client.forget(job)
        async with trio.open_nursery() as nursery, open_client(site.transport("job-gateway")) as client:
            inbox, replies = f"rpcb-jobs.{uuid4().hex}", list[bytes]()
            taken = trio.Event()

            async def take(reply: Reply) -> None:
                replies.append(reply.body)
                taken.set()

            await nursery.start(keep_inbox, client, inbox, take)
            request = Outgoing(
                body=b"y", exchange="", routing_key=site.queue, correlation_id="1", reply_to=inbox
            )
            await deposit(client, request, 30)
            await answer(session, 1)
            await taken.wait()
            nursery.cancel_scope.cancel()
        assert replies == [b"Y"]
        await session.stop_consuming()


async def test_events_need_the_right_to_write_to_their_exchange_and_a_watcher_reads_it_in_a_queue_of_its_own(
    site: Site,
) -> None:
    worker, watcher = site.transport("event-worker"), site.transport("watcher")
    with pytest.raises(TopologyMismatch, match=r"events: .* does not exist, and the user may not declare it"):
        async with worker.open_publisher(site.events):
            pass
    async with AmqpTransport(site.node.url).open_publisher(site.events):
        pass
    async with watcher.open_subscriber(site.events) as heard, worker.open_publisher(site.events) as told:
        await told.publish([Notice(routing_key="x", body=b"event", expiration=5)])
        assert await anext(aiter(heard.bodies)) == b"event"
    may_look = site.node.version < (4, 3)  # at an exchange without any right to it
    no_right = "no right to it, so the broker does not tell whether it exists; grant write to workers"
    publishing = "may not publish there; grant write, or leave" if may_look else no_right
    with pytest.raises(TopologyMismatch, match=f"events: .* {publishing}"):
        async with site.transport("worker").open_publisher(site.events):
            pass
    listening = "may not listen there; grant read" if may_look else no_right
    with pytest.raises(TopologyMismatch, match=f"events: .* {listening}"):
        async with site.transport("worker").open_subscriber(site.events):
            pass


async def test_cancels_need_the_right_to_write_to_their_exchange_and_a_worker_reads_a_queue_of_its_own(
    site: Site,
) -> None:
    topology = Topology(queue=site.queue, declare="passive", cancel=True)
    async with open_client(AmqpTransport(site.node.url), cancel=True):
        pass  # the exchange is declared by whoever may
    worker, client = site.transport("cancel-worker"), site.transport("cancel-client")
    async with (
        worker.open_session(topology, prefetch=1) as session,
        open_client(client, cancel=True) as calls,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: calls.call(b"x", queue=site.queue))
            request = await session.requests.receive()
            nursery.cancel_scope.cancel()
        given_up = await session.cancels.receive()
        assert given_up == (request.reply_to, request.correlation_id)
        await session.settle([Answer(request, None)])
        await session.stop_consuming()
    with pytest.raises(TopologyMismatch, match=r"cancel: .*rpcb\.cancel"):
        async with open_client(site.transport("client"), cancel=True):
            pass
    with pytest.raises(TopologyMismatch, match=r"cancel: .*rpcb\.cancel"):
        async with site.transport("worker").open_session(topology, prefetch=1):
            pass


@pytest.mark.parametrize(
    ("role", "topology"),
    [
        ("client", {"declare": "never"}),
        ("client", {"declare": "passive"}),
        ("worker", {"declare": "active", "dead_letter_exchange": "another"}),
        ("dead-letter-reader", {"declare": "never"}),
    ],
)
async def test_nobody_may_take_requests_or_declare_who_has_no_right_to(
    site: Site, role: str, topology: dict[str, str]
) -> None:
    asked = Topology(queue=site.queue, **topology)  # type: ignore[arg-type] # of any field
    with pytest.raises(BrokerError, match=r"may not|has no right to it, so the broker does not tell"):
        async with site.transport(role).open_session(asked, prefetch=10):
            pass
