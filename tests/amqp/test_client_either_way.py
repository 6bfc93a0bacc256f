"""The client keeps the same promises in the same words, whether trio, asyncio or uvloop runs the program."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.from_thread import BlockingPortal

from rpcb_trio import RpcClient, open_client
from tests.amqp.proxy import Proxy, proxied
from tests.answering import PATIENCE, silent_queue
from tests.rabbitmq import Broker

Endings = dict[str, str]
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])


async def ending(of: Awaitable[Any]) -> str:
    """What it returned or raised, in words."""
    try:
        return repr(await of)
    except Exception as error:  # noqa: BLE001 - whichever it is
        return f"{type(error).__name__}: {error}"


async def opening(url: str) -> None:
    async with open_client(url):
        pytest.fail("it is connected")


def taken_from(broker: Broker, queue: str) -> Any:
    """The next message of a queue, as (method, properties, body)."""
    with broker.channel() as channel:
        return next(channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE))


def under(backend: str, program: Any, *args: Any) -> Any:
    async def main() -> Any:
        with anyio.fail_after(PATIENCE):
            return await program(*args)

    if backend == "uvloop":
        return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})
    return anyio.run(main, backend=backend)


async def all_refusals(url: str, shouting: str, silent: str, full: str) -> Endings:
    """How each call ends that does not get its result."""
    async with open_client(url) as client:
        call = client.call
        told = {
            "nowhere": await ending(call(b"x", queue="no-such-queue")),
            "no exchange": await ending(call(b"x", exchange="no-such-exchange", routing_key="")),
            "full": await ending(call(b"x", queue=full)),
            "silent": await ending(call(b"x", queue=silent, timeout=0.5)),
            "priority": await ending(call(b"x", queue=silent, priority=300)),
            "header": await ending(call(b"x", queue=silent, headers={"x": object})),
            "timeout": await ending(call(b"x", queue=silent, timeout=0)),
            "destination": await ending(call(b"x")),
            "both": await ending(call(b"x", queue=silent, exchange="e")),
        }
        sick = await call(b"sick", queue=shouting)
        told["error reply"] = f"{sick.body!r} {sick.error} {sick.content_type}"
        with pytest.raises(Exception, match="answered with an error") as raised:
            sick.raise_for_error()
        told["raised"] = f"{raised.type.__name__}: {raised.value}"
    told["closed"] = await ending(call(b"x", queue=shouting))
    wrong = url.replace("guest:guest", "guest:wrong")
    for what in (wrong, "amqp://localhost:1/", "http://localhost/", url + "no-such-vhost"):
        told[what] = await ending(opening(what))
    return told


def test_what_raises_and_what_it_says_are_the_same_under_all(broker: Broker, shouting: str) -> None:
    silent, full = (
        silent_queue(broker),
        silent_queue(broker, **{"x-max-length": 0, "x-overflow": "reject-publish"}),
    )
    told = under("trio", all_refusals, broker.url, shouting, silent, full)
    assert under("asyncio", all_refusals, broker.url, shouting, silent, full) == told
    assert under("uvloop", all_refusals, broker.url, shouting, silent, full) == told
    kinds = [each.partition(":")[0] for each in told.values()]
    assert kinds == [
        *["Unroutable"] * 2,
        "PublishRefused",
        "ReplyTimeout",
        *["SettingError"] * 5,
        "b'failed",
        "RemoteError",
        "CallInterrupted",
        *["LoginRefused", "SessionLost", "SettingError", "LoginRefused"],
    ]


@BACKENDS
def test_the_timeout_travels_as_the_requests_expiration(broker: Broker, silent: str, backend: str) -> None:
    sent = list[Any]()

    async def program() -> None:
        async with open_client(broker.url) as client, anyio.create_task_group() as tasks:
            call = partial(client.call, timeout=120.5, headers={"lang": "en"}, priority=3)
            tasks.start_soon(partial(call, b"x", queue=silent))
            sent.extend(await anyio.to_thread.run_sync(taken_from, broker, silent))
            tasks.cancel_scope.cancel()

    under(backend, program)
    _, properties, body = sent
    assert (body, properties.expiration, properties.headers, properties.priority) == (
        b"x",
        "120500",
        {"lang": "en"},
        3,
    )
    assert properties.reply_to.startswith("amq.rabbitmq.reply-to.")


@BACKENDS
def test_many_calls_at_once_get_each_its_own_reply(broker: Broker, shouting: str, backend: str) -> None:
    replies: dict[int, bytes] = {}

    async def call(client: RpcClient, number: int) -> None:
        replies[number] = (await client.call(b"good %d" % number, queue=shouting)).body

    async def program() -> None:
        async with open_client(broker.url) as client:
            async with anyio.create_task_group() as calls:
                for number in range(100):
                    calls.start_soon(call, client, number)
            assert client.late_replies == 0

    under(backend, program)
    assert replies == {number: b"ok:GOOD %d" % number for number in range(100)}


@BACKENDS
def test_a_lost_connection_ends_the_calls_under_way_and_later_ones_wait_until_it_is_back(
    broker: Broker, portal: BlockingPortal, shouting: str, silent: str, backend: str
) -> None:
    endings: list[str] = []

    async def call_in_vain(client: RpcClient) -> None:
        endings.append(await ending(client.call(b"x", queue=silent)))

    async def program(proxy: Proxy) -> None:
        async with open_client(proxy.url) as client:
            async with anyio.create_task_group() as calls:
                for _ in range(3):
                    calls.start_soon(call_in_vain, client)
                while len(client._waiting) < 3:
                    await anyio.lowlevel.checkpoint()
                assert (await client.call(b"good", queue=shouting)).body == b"ok:GOOD"
                await anyio.to_thread.run_sync(portal.call, proxy.cut)
            assert not client.is_connected
            assert (await client.call(b"good again", queue=shouting)).body == b"ok:GOOD AGAIN"
            assert client.is_connected

    with proxied(portal, broker.url) as proxy:
        under(backend, program, proxy)
    assert endings == ["CallInterrupted: the connection was lost: the broker hung up"] * 3
