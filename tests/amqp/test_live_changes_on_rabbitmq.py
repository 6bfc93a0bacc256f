"""Settings that change while a worker serves from RabbitMQ."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rpcb_trio import AutoPolicy, FixedPolicy, RpcClient, Topology, open_client
from rpcb_trio.batching import Policy
from rpcb_trio.instruments import Settled
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.scenarios import Running, steady

CALLERS = 12
CALLS = 12

policies = st.one_of(
    st.builds(AutoPolicy, st.integers(1, 8)),
    st.builds(FixedPolicy, st.integers(1, 8), st.sampled_from([0.0, 0.01])),
)
changes = st.lists(
    st.tuples(policies, st.integers(0, 10), st.sampled_from([None, 60]), st.booleans()),
    min_size=8,
    max_size=8,
)


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


async def call_again_and_again(
    client: RpcClient, queue: str, caller: int, replies: dict[bytes, bytes], progress: trio.Semaphore
) -> None:
    for number in range(CALLS):
        body = b"caller %d call %d" % (caller, number)
        reply = await client.call(body, queue=queue, timeout=60)
        assert body not in replies
        replies[body] = reply.body
        progress.release()


async def change_now_and_then(
    plan: list[tuple[Policy, int, int | None, bool]], running: Running, progress: trio.Semaphore
) -> None:
    """A change for each so many replies."""
    for policy, spare, max_pending, batch_headers in plan:
        for _ in range(CALLERS * CALLS // (len(plan) + 1)):
            await progress.acquire()
        settings: dict[str, Any] = {"max_pending": max_pending, "batch_headers": batch_headers}
        settings["prefetch"] = None if max_pending else 2 * policy.max_batch_size + spare
        await running.worker.change(batching=policy, **settings)


async def flood(plan: list[tuple[Policy, int, int | None, bool]], broker: Broker, queue: str) -> None:
    replies, progress = dict[bytes, bytes](), trio.Semaphore(0)
    with trio.fail_after(60):
        async with (
            serving(shout, broker, Topology(queue=queue), batching=AutoPolicy(4)) as running,
            open_client(broker.url) as client,
            trio.open_nursery() as nursery,
        ):
            for caller in range(CALLERS):
                nursery.start_soon(call_again_and_again, client, queue, caller, replies, progress)
            nursery.start_soon(change_now_and_then, plan, running, progress)
    assert len(replies) == CALLERS * CALLS
    assert all(reply == body.upper() for body, reply in replies.items())
    assert running.endings == {Settled.REPLIED: CALLERS * CALLS}
    assert not any(request.redelivered for request in running.received)
    assert running.lost_sessions == []


@settings(steady, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes)
def test_whatever_changes_during_a_flood_each_caller_gets_its_own_reply_once(
    broker: Broker, plan: list[tuple[Policy, int, int | None, bool]]
) -> None:
    trio.run(flood, plan, broker, broker.fresh_name())
