"""The client in programs that asyncio runs: the same promises, and nothing of it is left behind."""

from __future__ import annotations

import asyncio  # noqa: TID251 - it runs the programs
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from pamqp.header import ContentHeader  # noqa: TID251 - it reads the properties

from rpcb_trio import (
    CallInterrupted,
    LoginRefused,
    MemoryBroker,
    Refused,
    ReplyTimeout,
    RpcClient,
    SessionLost,
    SettingError,
    Unroutable,
    open_client,
    serve,
)
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._native import NativeLoop
from rpcb_trio._transports._amqp._unreadable import Unreadable
from rpcb_trio.amqp import AmqpTransport
from tests.amqp.proxy import Proxy, open_proxy
from tests.rabbitmq import Broker

PATIENCE = 30.0


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """A thread that runs trio, for what the programs talk to."""
    with start_blocking_portal("trio") as portal:
        yield portal


@pytest.fixture(scope="module")
def shouting(broker: Broker, portal: BlockingPortal) -> Iterator[str]:
    """A queue whose worker answers in capitals."""
    queue = broker.fresh_name()
    shout = partial(serve, lambda bodies: [body.upper() for body in bodies], broker.url, queue)
    ended, worker = portal.start_task(shout)
    yield queue
    portal.call(worker.drain)
    ended.result(PATIENCE)


@pytest.fixture
def silent(broker: Broker) -> str:
    """A queue that nobody reads."""
    name = broker.fresh_name()
    with broker.channel() as channel:
        channel.queue_declare(name)
    return name


@contextmanager
def proxied(portal: BlockingPortal, broker: Broker) -> Iterator[Proxy]:
    with portal.wrap_async_context_manager(open_proxy(broker.url)) as proxy:
        yield proxy


def run(program: Callable[[], Awaitable[None]]) -> None:
    """Run it under asyncio; at its end all tasks must be gone, and no error may be left unasked for."""
    unasked: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unasked.append(context))
        async with asyncio.timeout(PATIENCE):
            await program()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gc.collect()

    asyncio.run(main())
    assert unasked == []


def program(url: str, use: Callable[[RpcClient], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def main() -> None:
        async with open_client(url) as client:
            await use(client)

    return main


def test_many_calls_at_once_get_each_its_own_reply(broker: Broker, shouting: str) -> None:
    async def use(client: RpcClient) -> None:
        calls = [client.call(b"good %d" % n, queue=shouting) for n in range(100)]
        assert [reply.body for reply in await asyncio.gather(*calls)] == [b"GOOD %d" % n for n in range(100)]
        assert client.late_replies == 0

    run(program(broker.url, use))


def test_whoever_can_not_be_reached_is_named_as_under_trio(
    broker: Broker, shouting: str, silent: str
) -> None:
    full = broker.fresh_name()
    with broker.channel() as channel:
        channel.queue_declare(full, arguments={"x-max-length": 0, "x-overflow": "reject-publish"})

    async def use(client: RpcClient) -> None:
        with pytest.raises(Unroutable):
            await client.call(b"x", queue="no-such-queue")
        with pytest.raises(Unroutable, match="the exchange is missing"):
            await client.call(b"x", exchange="no-such-exchange", routing_key="")
        with pytest.raises(Refused, match="full"):
            await client.call(b"x", queue=full)
        with pytest.raises(ReplyTimeout, match=r"within 0\.05 s"):
            await client.call(b"x", queue=silent, timeout=0.05)
        with pytest.raises(SettingError, match="can't be put into AMQP"):
            await client.call(b"x", queue=silent, priority=300)
        assert (await client.call(b"good", queue=shouting)).body == b"GOOD"

    run(program(broker.url, use))


def test_a_lost_connection_interrupts_the_calls_under_way_and_is_rebuilt(
    broker: Broker, portal: BlockingPortal, shouting: str, silent: str
) -> None:
    with proxied(portal, broker) as proxy:

        async def use(client: RpcClient) -> None:
            calls = [asyncio.create_task(client.call(b"x", queue=silent)) for _ in range(3)]
            assert (await client.call(b"good", queue=shouting)).body == b"GOOD"
            portal.call(proxy.cut)
            for call in calls:
                with pytest.raises(CallInterrupted, match=r"the connection was lost: .*hung up"):
                    await call
            assert (await client.call(b"good again", queue=shouting)).body == b"GOOD AGAIN"

        run(program(proxy.url, use))


def test_a_cancelled_call_leaves_the_client_as_it_was(broker: Broker, shouting: str, silent: str) -> None:
    async def use(client: RpcClient) -> None:
        call = asyncio.create_task(client.call(b"x", queue=silent))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.call(b"x", queue=silent)
        assert (await client.call(b"good", queue=shouting)).body == b"GOOD"

    run(program(broker.url, use))


def test_a_loss_during_the_confirm_is_no_cancellation_even_for_a_task_that_once_ignored_one(
    broker: Broker, portal: BlockingPortal, silent: str
) -> None:
    with proxied(portal, broker) as proxy:

        async def ignore_a_cancellation_and_call(client: RpcClient) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
            with pytest.raises(CallInterrupted):
                await client.call(b"x", queue=silent)

        async def use(client: RpcClient) -> None:
            portal.call(proxy.freeze)
            call = asyncio.create_task(ignore_a_cancellation_and_call(client))
            await asyncio.sleep(0.05)
            portal.call(proxy.cut)
            await call

        run(program(proxy.url, use))


def test_leaving_the_client_ends_the_calls_of_other_tasks_and_all_of_its_own(
    broker: Broker, silent: str
) -> None:
    calls: list[asyncio.Task[Any]] = []

    async def use(client: RpcClient) -> None:
        calls.append(asyncio.create_task(client.call(b"x", queue=silent)))
        await asyncio.sleep(0)

    async def main() -> None:
        await program(broker.url, use)()
        with pytest.raises(CallInterrupted, match=r"closed|lost"):
            await calls[0]

    run(main)


@pytest.mark.parametrize("ending", [ZeroDivisionError(), asyncio.CancelledError()], ids=repr)
def test_what_ends_the_clients_user_leaves_it_unwrapped(broker: Broker, ending: BaseException) -> None:
    async def use(client: RpcClient) -> None:
        raise ending

    async def main() -> None:
        with pytest.raises(type(ending)):
            await program(broker.url, use)()

    run(main)


def test_a_broker_that_will_not_have_us_is_told_with_a_bare_error(broker: Broker) -> None:
    async def use(client: RpcClient) -> None:
        pytest.fail("it is connected")

    async def main() -> None:
        with pytest.raises(LoginRefused, match="check user and password"):
            await program(broker.url.replace("guest:guest", "guest:wrong"), use)()
        with pytest.raises(SessionLost, match="can't be reached: Connection refused"):
            await program("amqp://127.0.0.1:1/", use)()
        with pytest.raises(SettingError, match="MemoryBroker runs under trio only"):
            async with open_client(MemoryBroker()):
                pass

    run(main)


def test_a_broker_that_says_nothing_is_given_up_and_nothing_stays_open(
    broker: Broker, portal: BlockingPortal
) -> None:
    with proxied(portal, broker) as proxy:
        portal.call(proxy.freeze)

        async def main() -> None:
            with pytest.raises(SessionLost, match=r"did not answer within 0\.2 s"):
                async with open_client(AmqpTransport(proxy.url, connect_timeout=0.2)):
                    pass

        run(main)


def test_unreadable_properties_are_borne_on_our_connections_and_on_no_others() -> None:
    async def read() -> ContentHeader:
        header = ContentHeader()
        header.unmarshal(b"\x00\x3c\x00\x00" + bytes(8) + b"\x80\x00" + b"\x01\xff")
        return header

    async def main() -> None:
        assert isinstance((await NativeLoop(Loss()).call(read)).properties, Unreadable)
        with pytest.raises(UnicodeDecodeError):
            await read()

    run(main)
