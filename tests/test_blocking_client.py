"""The client for ordinary threads."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from rpcb_trio import (
    CallInterrupted,
    Reply,
    ReplyTimeout,
    SessionLost,
    SettingError,
    Topology,
    Unroutable,
    open_blocking_client,
)
from rpcb_trio._messages import Outgoing
from rpcb_trio._transports import CallerSession, Session


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

    async def publish(self, request: Outgoing) -> None:
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


def test_a_broker_that_cannot_be_reached_is_told_with_a_bare_error() -> None:
    with pytest.raises(SessionLost, match="connection refused"), open_blocking_client(Unreachable()):
        pass


def test_an_error_of_the_clients_user_leaves_it_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError), open_blocking_client(Echo()):
        raise ZeroDivisionError
