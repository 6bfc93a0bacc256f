"""A new version of the model takes over under load, on a real broker and in real threads."""

from __future__ import annotations

import trio

from rpcb_trio import FixedPolicy, Topology, open_client
from rpcb_trio.instruments import Settled
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.versions import Tagged, all_by

CALLERS = 8
VERSIONS = ["1", "2", "3", "4"]


async def test_under_load_each_request_is_answered_once_and_by_one_version_and_none_by_a_former_one_later(
    broker: Broker, queue: str, limit: None
) -> None:
    answered: list[tuple[float, float, str]] = []
    sent, is_over = 0, False

    async def call() -> None:
        nonlocal sent
        while not is_over:
            sent += 1
            text, began = f"r {sent}", trio.current_time()
            reply = await client.call(text.encode(), queue=queue, timeout=60)
            version = reply.headers["rpcb-model-version"]
            assert isinstance(version, str)
            assert reply.body == all_by(version, text)
            answered.append((began, trio.current_time(), version))

    async def until_answered(more: int) -> None:
        enough = len(answered) + more
        while len(answered) < enough:  # noqa: ASYNC110 - the callers have no event for it
            await trio.sleep(0.005)

    services = [Tagged(version) for version in VERSIONS]
    swapped = [(-1.0, VERSIONS[0])]
    async with (
        serving(services[0], broker, Topology(queue=queue), batching=FixedPolicy(4), replicas=2) as running,
        open_client(broker.url) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(CALLERS):
            nursery.start_soon(call)
        for number, service in enumerate(services[1:]):
            await until_answered(40)
            await running.worker.swap(service, unload_first=number == 1)
            swapped.append((trio.current_time(), service.version))
        await until_answered(40)
        is_over = True
    assert len(answered) == sent
    assert [ending for _, ending in running.settled] == [Settled.REPLIED] * sent
    for began, _, version in answered:
        newest = max(each for at, each in swapped if at <= began)
        assert version >= newest, "whatever was sent after a swap is computed by that version or a later one"
    assert {version for *_, version in answered} == {*VERSIONS}
    assert running.versions == VERSIONS[1:]
