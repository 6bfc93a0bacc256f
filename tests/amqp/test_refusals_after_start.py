"""What ends a worker at its start makes a running one unready only; it serves again once that is mended."""

from __future__ import annotations

import pytest

from rpcb_trio import Topology
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import LoginRefused, TopologyMismatch
from tests.amqp.producer import Producer, declare_durable
from tests.amqp.users import ONLY_REPLY, add_user, b, permit, tell, url_of
from tests.amqp.watched import Model, Watched, short_waits, working
from tests.rabbitmq import Broker, Node

pytestmark = pytest.mark.usefixtures("limit")


async def test_a_password_a_vhost_a_permission_and_a_queue_that_change_under_running_workers_are_waited_for(
    node: Node,
) -> None:
    user, reader, vhost = node.fresh_name("user"), node.fresh_name("reader"), node.fresh_name("vhost")
    queues = [node.fresh_name() for _ in range(4)]
    await declare_durable(node, queues[2])
    least = [each.format(queue=queues[2]) for each in ONLY_REPLY]
    await tell(
        node, add_user(user), permit(user), add_user(reader), permit(reader, *least), *add_vhost(vhost)
    )
    of_user = AmqpTransport(url_of(node, user))
    of_reader = AmqpTransport(url_of(node, reader))
    elsewhere = Broker(node.url + vhost)
    with short_waits():
        async with (
            working(Model(0), of_user, queues[0]) as by_password,
            working(Model(0), AmqpTransport(elsewhere.url), queues[1]) as in_vhost,
            working(Model(0), of_reader, Topology(queue=queues[2], declare="passive")) as by_permission,
            working(Model(0), of_user, queues[3]) as of_queue,
        ):
            assert [body for _, body in await Producer(node, queues[2]).call(b"a")] == [b"A"]
            await tell(
                node,
                f"rabbit_auth_backend_internal:change_password({b(user)}, {b('another')}, {b('test')})",
                permit(reader, "^$", "^$", "^$"),
                f"rabbit_vhost:delete({b(vhost)}, {b('test')})",
                f'rabbit_networking:close_connections(rabbit_networking:connections(), "{MAINTENANCE}")',
            )
            await refused(by_password, LoginRefused, f"refused the user '{user}'", "check user and password")
            await refused(of_queue, LoginRefused, f"refused the user '{user}'")
            await refused(in_vhost, LoginRefused, f"vhost {vhost} not found", "check the virtual host")
            no_right = "the user may not" if node.version < (4, 3) else "the user has no right to it"
            await refused(by_permission, TopologyMismatch, f"queue '{queues[2]}'", no_right)
            await Producer(node, queues[3]).delete(queues[3])
            await Producer(node, queues[3]).declare(queues[3], **{"x-max-priority": 5})
            await tell(
                node,
                f"rabbit_auth_backend_internal:change_password({b(user)}, {b('secret')}, {b('test')})",
                permit(reader, *least),
                *add_vhost(vhost),
            )
            await of_queue.until(lambda seen: isinstance(seen.failed_attempts[-1], TopologyMismatch))
            assert f"queue '{queues[3]}': it exists with another " in str(of_queue.failed_attempts[-1])
            assert not of_queue.is_ready
            await Producer(node, queues[3]).delete(queues[3])
            for number, (broker, seen) in enumerate(
                [(node, by_password), (elsewhere, in_vhost), (node, by_permission), (node, of_queue)]
            ):
                await seen.until_back()
                assert [body for _, body in await Producer(broker, queues[number]).call(b"b")] == [b"B"]
                assert MAINTENANCE in str(seen.lost_sessions[0]) or seen is in_vhost


MAINTENANCE = "an operator closes it"


async def refused(seen: Watched, kind: type[Exception], *parts: str) -> None:
    """An attempt is refused so; one before it may have met a broker that was still busy with the change."""
    await seen.until(lambda seen: any(isinstance(each, kind) for each in seen.failed_attempts[-1:]))
    assert not seen.is_ready
    for part in parts:
        assert part in str(seen.failed_attempts[-1])


def add_vhost(name: str) -> list[str]:
    return [f"rabbit_vhost:add({b(name)}, {b('test')})", permit("guest", vhost=name)]
