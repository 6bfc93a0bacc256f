"""The client in programs that asyncio runs: at home there, and nothing of it is left behind."""

from __future__ import annotations

import asyncio  # noqa: TID251 - it runs the programs
import gc
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from rpcb_trio import MemoryBroker, RpcClient, SettingError, open_client
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.errors import CallInterrupted, SessionLost
from tests.amqp.proxy import proxied
from tests.answering import PATIENCE
from tests.rabbitmq import Broker


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
        assert (await client.call(b"good", queue=shouting)).body == b"ok:GOOD"

    run(program(broker.url, use))


def test_a_loss_during_the_confirm_is_no_cancellation_even_for_a_task_that_once_ignored_one(
    broker: Broker, portal: BlockingPortal, silent: str
) -> None:
    with proxied(portal, broker.url) as proxy:

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


def test_the_embedded_broker_says_that_it_runs_under_trio_only() -> None:
    async def main() -> None:
        with pytest.raises(SettingError, match="MemoryBroker runs under trio only"):
            async with open_client(MemoryBroker()):
                pass

    run(main)


def test_a_broker_that_says_nothing_is_given_up_and_nothing_stays_open(
    broker: Broker, portal: BlockingPortal
) -> None:
    with proxied(portal, broker.url) as proxy:
        portal.call(proxy.freeze)

        async def main() -> None:
            with pytest.raises(SessionLost, match=r"did not answer within 0\.2 s"):
                async with open_client(AmqpTransport(proxy.url, connect_timeout=0.2)):
                    pass

        run(main)


IN_A_PROGRAM_OF_ITS_OWN = """
import asyncio, os, sys
from rpcb_trio import open_client

async def main():
    before = type(asyncio.get_event_loop_policy())
    async with open_client(os.environ["URL"]) as client:
        print((await client.call(b"good", queue=os.environ["QUEUE"])).body.decode())
    assert type(asyncio.get_event_loop_policy()) is before

asyncio.run(main())
print(*{"trio_asyncio", "uvloop"} & set(sys.modules))
"""


def test_an_asyncio_program_loads_no_trio_asyncio_and_its_loop_is_its_own(
    broker: Broker, shouting: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_A_PROGRAM_OF_ITS_OWN],
        env={**os.environ, "URL": broker.url, "QUEUE": shouting},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("ok:GOOD\n\n", "", 0)


def test_a_job_is_submitted_waited_for_given_up_and_forgotten_under_asyncio(
    broker: Broker, shouting: str, silent: str
) -> None:
    async def use(client: RpcClient) -> None:
        job, waiting = [await client.submit(b"good", queue=queue) for queue in (shouting, silent)]
        waits = [asyncio.create_task(client.result(each)) for each in (job, waiting)]
        assert (await waits[0]).body == b"ok:GOOD"
        assert (await client.status(job), await client.status(waiting)) == ("done", "queued")
        waits[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits[1]
        for each in (job, waiting):
            await client.forget(each)
            assert await client.status(each) == "gone"

    run(program(broker.url, use))
