"""The client for ordinary threads."""

from __future__ import annotations

import gc
import math
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
import trio

from rpcb_trio import BlockingRpcClient, Reply, ReplyTimeout, SettingError, Topology
from rpcb_trio._messages import Outgoing
from rpcb_trio._transports import CallerSession, Inboxes, Session
from rpcb_trio.errors import CallInterrupted, RpcbError, SessionLost, Unroutable


class Echo:
    """A transport whose every queue echoes, but for `silence`, which never answers, and `nowhere`."""

    def __init__(self) -> None:
        self.was_met_with_silence = threading.Event()
        self.was_closed = threading.Event()
        self.opened = 0
        self.cancelled = list[bytes]()

    def open_session(self, topology: Topology, *, prefetch: int) -> AbstractAsyncContextManager[Session]:
        raise NotImplementedError(topology, prefetch)

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        await trio.lowlevel.checkpoint()
        self.opened += 1
        try:
            yield EchoSession(self)
        finally:
            self.was_closed.set()


class EchoSession:
    inboxes: Inboxes
    max_request_size = None

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._take: Callable[[Reply], None]

    def on_reply(self, take: Callable[[Reply], None]) -> None:
        self._take = take

    async def allow_cancels(self) -> None:
        await trio.lowlevel.checkpoint()

    def cancel(self, request: Outgoing) -> None:
        self._echo.cancelled.append(request.body)

    async def publish(self, request: Outgoing, _: Callable[[RpcbError], None], __: object = None) -> None:
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


class AbsentAtFirst(Echo):
    """A broker that is started too late for the first attempt."""

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        if not self.opened:
            self.opened = 1
            raise SessionLost("connection refused")
        async with super().open_caller() as session:
            yield session


class Unanswering(Echo):
    """A broker that accepts connections and says nothing."""

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        self.was_met_with_silence.set()
        await trio.sleep_forever()
        yield EchoSession(self)


def test_an_ordinary_thread_calls_and_gets_its_reply() -> None:
    with BlockingRpcClient(Echo()) as client:
        assert client.call(b"a", queue="echo").body == b"a"
        assert client.call(b"b", exchange="e", routing_key="k").body == b"b"
        assert client.late_replies == 0


def test_many_threads_call_at_once() -> None:
    with BlockingRpcClient(Echo()) as client, ThreadPoolExecutor(8) as threads:
        replies = threads.map(lambda number: client.call(b"%d" % number, queue="echo"), range(50))
        assert [reply.body for reply in replies] == [b"%d" % number for number in range(50)]


def test_errors_reach_the_thread_that_called_as_they_are() -> None:
    with BlockingRpcClient(Echo()) as client:
        with pytest.raises(Unroutable):
            client.call(b"a", queue="nowhere")
        with pytest.raises(SettingError):
            client.call(b"a")
        with pytest.raises(ReplyTimeout):
            client.call(b"a", queue="silence", timeout=0.001)


def test_leaving_the_client_ends_the_calls_of_other_threads() -> None:
    echo = Echo()
    with ThreadPoolExecutor(1) as threads:
        with BlockingRpcClient(echo) as client:
            call = threads.submit(client.call, b"a", queue="silence", timeout=3600)
            echo.was_met_with_silence.wait()
        with pytest.raises(CallInterrupted):
            call.result()


def test_a_call_after_the_client_was_left_is_interrupted_too() -> None:
    with BlockingRpcClient(Echo()) as client:
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
        with pytest.raises(ZeroDivisionError), BlockingRpcClient(Echo()) as client:  # noqa: PT012 - while they run
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

    with ThreadPoolExecutor(1) as threads, BlockingRpcClient(echo, cancel=True) as client:
        threads.submit(press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            client.call(b"a", queue="silence", timeout=60)
        assert client.call(b"b", queue="echo").body == b"b"
    assert echo.cancelled == [b"a"]


@pytest.mark.parametrize(("cancel", "cancelled"), [(True, [b"a"]), (False, [])])
def test_a_call_that_takes_too_long_is_cancelled_at_the_workers_where_that_is_asked_for(
    cancel: bool,  # noqa: FBT001 - a parameter of the test
    cancelled: list[bytes],
) -> None:
    echo = Echo()
    with BlockingRpcClient(echo, cancel=cancel) as client, pytest.raises(ReplyTimeout):
        client.call(b"a", queue="silence", timeout=0.001)
    assert echo.cancelled == cancelled


def test_a_blocking_call_on_an_event_loop_is_told_so() -> None:
    async def call(client: BlockingRpcClient) -> None:
        client.call(b"a", queue="echo")

    with BlockingRpcClient(Echo()) as client, pytest.raises(RuntimeError, match="call it from a thread"):
        trio.run(call, client)


KEPT = """
import os, sys
from contextlib import asynccontextmanager
from rpcb_trio import BlockingRpcClient
from tests.test_blocking_client import Echo

class Telling(Echo):
    @asynccontextmanager
    async def open_caller(self):
        print("opened")
        try:
            async with super().open_caller() as session:
                yield session
        finally:
            print("closed")

client = BlockingRpcClient(Telling())
"""

FORKING = """
assert client.call(b"parent", queue="echo").body == b"parent"
child = os.fork()
if not child:
    print(client.call(b"child", queue="echo").body, flush=True)
    sys.exit()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(client.call(b"parent", queue="echo").body)
"""


def test_a_forked_process_opens_a_connection_of_its_own_and_both_can_end() -> None:
    assert run_python(FORKING) == "opened\nopened\nb'child'\nclosed\n0\nb'parent'\nclosed\n"


FORKING_WHILE_IT_OPENS = """
import threading
is_opening, may_open = threading.Event(), threading.Event()

class Gated(Echo):
    @asynccontextmanager
    async def open_caller(self):
        is_opening.set()
        may_open.wait()
        async with super().open_caller() as session:
            yield session

echo = Gated()
client = BlockingRpcClient(echo)
caller = threading.Thread(target=client.call, args=[b"parent"], kwargs={"queue": "echo"})
caller.start()
is_opening.wait()
os.register_at_fork(before=may_open.set)  # before the client's own, which was registered earlier
child = os.fork()
if not child:
    os._exit(echo.opened)
caller.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_waits_until_a_client_that_is_being_opened_is_open() -> None:
    assert run_python(FORKING_WHILE_IT_OPENS) == "1\n"


def test_the_end_of_the_interpreter_closes_a_client_that_is_still_open() -> None:
    assert run_python('print(client.call(b"a", queue="echo").body)') == "opened\nb'a'\nclosed\n"


def run_python(program: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-u", "-c", KEPT + program],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_a_client_opens_at_its_first_call_and_once_for_all_threads() -> None:
    echo = Echo()
    client = BlockingRpcClient(echo)
    assert echo.opened == 0
    with ThreadPoolExecutor(8) as threads:
        replies = threads.map(lambda number: client.call(b"%d" % number, queue="echo"), range(8))
        assert [reply.body for reply in replies] == [b"%d" % number for number in range(8)]
    assert echo.opened == 1
    client.close()


def test_a_wrong_url_is_refused_where_the_client_is_made() -> None:
    with pytest.raises(SettingError, match="amqp://"):
        BlockingRpcClient("http://localhost")


def test_a_wrong_timeout_is_refused_before_the_client_opens() -> None:
    echo = Echo()
    with pytest.raises(SettingError, match="timeout is 0"):
        BlockingRpcClient(echo).call(b"a", queue="echo", timeout=0)
    assert echo.opened == 0


def test_a_call_says_why_the_client_cannot_be_opened_and_the_next_one_tries_again() -> None:
    echo = AbsentAtFirst()
    client = BlockingRpcClient(echo)
    with pytest.raises(SessionLost, match="connection refused"):
        client.call(b"a", queue="echo")
    assert client.late_replies == 0
    assert client.call(b"b", queue="echo").body == b"b"
    client.close()


def test_the_timeout_of_a_call_covers_the_opening_too() -> None:
    client = BlockingRpcClient(Unanswering())
    with pytest.raises(ReplyTimeout, match=r"did not let us in within 0\.01 s"):
        client.call(b"a", queue="echo", timeout=0.01)
    client.close()


def test_closing_a_client_that_is_being_opened_interrupts_the_calls_that_wait_for_it() -> None:
    silent = Unanswering()
    client = BlockingRpcClient(silent)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.call, b"a", queue="echo", timeout=math.inf)
        silent.was_met_with_silence.wait()
        client.close()
        client.close()
        with pytest.raises(CallInterrupted, match="the client is closed"):
            call.result()


def test_a_client_that_nobody_keeps_ends_its_connection() -> None:
    echo = Echo()
    client = BlockingRpcClient(echo)
    client.call(b"a", queue="echo")
    del client
    gc.collect()
    assert echo.was_closed.wait(60)


def test_a_loop_that_cannot_be_started_is_told_to_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(trio, "run", fail)
    with pytest.raises(OSError, match="Too many open files"):
        BlockingRpcClient(Echo()).call(b"a", queue="echo")


def test_a_broker_that_cannot_be_reached_is_told_with_a_bare_error() -> None:
    with pytest.raises(SessionLost, match="connection refused"), BlockingRpcClient(Unreachable()):
        pass


def test_an_error_of_the_clients_user_leaves_it_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError), BlockingRpcClient(Echo()):
        raise ZeroDivisionError
