"""The client for ordinary threads."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count

import pytest
import trio

from rpcb_trio import BlockingRpcClient, Reply, ReplyTimeout, SettingError, Topology, open_blocking_client
from rpcb_trio._errors import RpcbError
from rpcb_trio._messages import Outgoing
from rpcb_trio._transports import CallerSession, Session
from rpcb_trio.errors import CallInterrupted, SessionLost, Unroutable


class Echo:
    """A transport whose every queue echoes, but for `silence`, which never answers, and `nowhere`."""

    def __init__(self) -> None:
        self.was_met_with_silence = threading.Event()

    def open_session(self, topology: Topology, *, prefetch: int) -> AbstractAsyncContextManager[Session]:
        raise NotImplementedError(topology, prefetch)

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        await trio.lowlevel.checkpoint()
        yield EchoSession(self)


class EchoSession:
    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._take: Callable[[Reply], None]

    def on_reply(self, take: Callable[[Reply], None]) -> None:
        self._take = take

    async def publish(self, request: Outgoing, _: Callable[[RpcbError], None]) -> None:
        await trio.lowlevel.checkpoint()
        if request.routing_key == "nowhere":
            raise Unroutable("no such queue")
        if request.routing_key == "silence":
            self._echo.was_met_with_silence.set()
        else:
            self._take(Reply(body=request.body, correlation_id=request.correlation_id))

    async def watch(self) -> None:
        await trio.sleep_forever()


class Unreachable(Echo):
    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        await trio.lowlevel.checkpoint()
        raise SessionLost("connection refused")
        yield


def test_an_ordinary_thread_calls_and_gets_its_reply() -> None:
    with open_blocking_client(Echo()) as client:
        assert client.call(b"a", queue="echo").body == b"a"
        assert client.call(b"b", exchange="e", routing_key="k").body == b"b"
        assert client.late_replies == 0


def test_many_threads_call_at_once() -> None:
    with open_blocking_client(Echo()) as client, ThreadPoolExecutor(8) as threads:
        replies = threads.map(lambda number: client.call(b"%d" % number, queue="echo"), range(50))
        assert [reply.body for reply in replies] == [b"%d" % number for number in range(50)]


def test_errors_reach_the_thread_that_called_as_they_are() -> None:
    with open_blocking_client(Echo()) as client:
        with pytest.raises(Unroutable):
            client.call(b"a", queue="nowhere")
        with pytest.raises(SettingError):
            client.call(b"a")
        with pytest.raises(ReplyTimeout):
            client.call(b"a", queue="silence", timeout=0.001)


def test_leaving_the_client_ends_the_calls_of_other_threads() -> None:
    echo = Echo()
    with ThreadPoolExecutor(1) as threads:
        with open_blocking_client(echo) as client:
            call = threads.submit(client.call, b"a", queue="silence", timeout=3600)
            echo.was_met_with_silence.wait()
        with pytest.raises(CallInterrupted):
            call.result()


def test_a_call_after_the_client_was_left_is_interrupted_too() -> None:
    with open_blocking_client(Echo()) as client:
        pass
    with pytest.raises(CallInterrupted, match="the client is closed"):
        client.call(b"a", queue="echo")


def test_threads_that_call_while_the_client_is_left_get_a_reply_or_are_interrupted() -> None:
    under_way = threading.Barrier(9)

    def call_until_the_end(client: BlockingRpcClient) -> int:
        for number in count():
            if number == 3:
                under_way.wait()
            try:
                assert client.call(b"%d" % number, queue="echo").body == b"%d" % number
            except CallInterrupted:
                return number
        raise AssertionError

    with ThreadPoolExecutor(8) as threads:
        with pytest.raises(ZeroDivisionError), open_blocking_client(Echo()) as client:  # noqa: PT012 - while they run
            callers = [threads.submit(call_until_the_end, client) for _ in range(8)]
            under_way.wait()
            raise ZeroDivisionError
        assert all(caller.result() >= 3 for caller in callers)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Collect no garbage: what a signal raises in a callback of the collector, as of hypothesis, is lost."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_ctrl_c_ends_the_call_that_it_meets_and_leaves_the_client_as_it_was() -> None:
    echo, main_thread = Echo(), threading.get_ident()

    def press_ctrl_c() -> None:
        echo.was_met_with_silence.wait()
        signal.pthread_kill(main_thread, signal.SIGINT)

    with ThreadPoolExecutor(1) as threads, open_blocking_client(echo) as client:
        threads.submit(press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            client.call(b"a", queue="silence", timeout=60)
        assert client.call(b"b", queue="echo").body == b"b"


def test_a_blocking_call_on_an_event_loop_is_told_so() -> None:
    async def call(client: BlockingRpcClient) -> None:
        client.call(b"a", queue="echo")

    with open_blocking_client(Echo()) as client, pytest.raises(RuntimeError, match="call it from a thread"):
        trio.run(call, client)


FORKING = """
import os, sys
from rpcb_trio import MemoryBroker, SettingError, open_blocking_client

with open_blocking_client(MemoryBroker()) as client:
    child = os.fork()
    if not child:
        try:
            client.call(b"a", queue="echo")
        except SettingError as error:
            sys.exit(str(error))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_is_told_to_open_a_client_of_its_own_and_can_end() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "1\n"
    assert ended.stderr == (
        "this client was opened before a fork; open one in each process, after the fork\n"
    )


def test_a_broker_that_cannot_be_reached_is_told_with_a_bare_error() -> None:
    with pytest.raises(SessionLost, match="connection refused"), open_blocking_client(Unreachable()):
        pass


def test_an_error_of_the_clients_user_leaves_it_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError), open_blocking_client(Echo()):
        raise ZeroDivisionError
