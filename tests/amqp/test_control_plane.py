"""aiormq and trio-asyncio are as we know them; a new version that is not fails here, in words."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import aiormq  # noqa: TID251 - under test
import aiormq.connection  # noqa: TID251 - likewise
import anyio
import pytest
from pamqp import commands  # noqa: TID251 - it has the frames
from pamqp.frame import marshal  # noqa: TID251 - likewise

from rpcb_trio import Topology
from rpcb_trio._transports._amqp._control import _channel, _plane
from rpcb_trio._transports._amqp._control._loop import open_loop
from rpcb_trio._transports._amqp._control._plane import ControlWriter
from rpcb_trio._transports._amqp._data._connection import Connection, dial
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._amqp._url import parse_url
from rpcb_trio._transports._codec._frames import HEARTBEAT_FRAME
from rpcb_trio._transports._codec._tables import Unsendable
from rpcb_trio.amqp import AmqpTransport
from tests.rabbitmq import Broker
from tests.raw_frames import DELIVER, header

OURS = {"write", "drain", "is_closing", "can_write_eof", "close", "wait_closed", "transport", "abort"}
"""What `ControlWriter` has."""


async def test_aiormq_asks_no_more_of_a_writer_than_ours_has(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, queue: str
) -> None:
    asked: set[str] = set()

    class Asked(ControlWriter):
        def __getattribute__(self, name: str) -> Any:
            caller = sys._getframe(1).f_globals["__name__"]
            if caller.startswith("aiormq"):
                asked.add(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(_plane, "ControlWriter", Asked)
    async with AmqpTransport(broker.url).open_session(Topology(queue=queue), prefetch=1):
        pass
    assert {"write", "close"} <= asked, "aiormq no longer uses the writer that its transport factory gives it"
    assert asked <= OURS, f"aiormq asks for more of a writer now: {sorted(asked - OURS)}"
    named = set(re.findall(r"\bwriter\.(\w+)", inspect.getsource(aiormq.connection)))
    assert named <= OURS | {"write_eof"}, f"aiormq knows more of a writer now: {sorted(named - OURS)}"


async def test_aiormq_tells_what_we_read_of_a_connection(broker: Broker, queue: str) -> None:
    async with open_loop(SessionEnd()) as loop, anyio.create_task_group() as tasks:
        connection = await dial(
            tasks, loop, parse_url(broker.url, heartbeat=7), name="test", connect_timeout=10
        )
        plane = connection.plane
        theirs = plane._aiormq
        assert theirs.connection_tune.frame_max == connection.frame_max == 131072
        assert plane.heartbeat == theirs.heartbeat_timeout == 7
        assert theirs.is_connection_was_stuck is False
        assert plane.silence is None
        assert plane.vhost == "/"
        assert connection.server_properties["product"] == "RabbitMQ"
        assert {"new_secret", "reason", "timeout"} <= set(inspect.signature(theirs.update_secret).parameters)
        await connection.aclose()


def test_update_secret_is_never_logged_and_all_else_of_aiormq_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = aiormq.connection.log
    caplog.set_level(logging.DEBUG, logger=log.name)
    monkeypatch.setattr(log, "disabled", False)  # as who sets up logging may leave it
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(logging.getLogger("aiormq"), "propagate", True)
    assert log.name == "aiormq.connection", "aiormq logs frames elsewhere now: the filter must stand there"
    assert _plane._tells_no_secret in log.filters
    for command in (
        commands.Connection.UpdateSecret("swordfish", "renewed"),
        commands.Queue.Declare(queue="told"),
    ):
        log.debug("Prepare to send %r", aiormq.abc.ChannelFrame.marshall(0, [command]))
    assert "swordfish" not in caplog.text
    assert "told" in caplog.text, "aiormq's log of a frame shows no frame"


def test_pamqp_lets_a_method_judge_its_own_names() -> None:
    name = "Requests`1[[System.String]]"
    assert _channel._DeclareQueue(queue=name).queue == name, "pamqp no longer asks `validate` of a method"
    with pytest.raises(Unsendable, match="AMQP carries 255"):
        _channel._DeclareQueue(queue=256 * "q")
    with pytest.raises(ValueError, match="queue"):
        commands.Queue.Declare(queue=name)  # else ours are needed no more


def test_trio_asyncio_takes_its_policy_back_as_we_ask_it_to() -> None:
    program = """
import asyncio
before = asyncio.get_event_loop_policy()
from rpcb_trio._transports._amqp._control._loop import import_trio_asyncio
trio_asyncio = import_trio_asyncio()
loops = trio_asyncio._loop
assert hasattr(loops, "_FakedPolicy"), "trio-asyncio no longer keeps each thread's policy in _FakedPolicy"
assert hasattr(loops, "_original_policy"), "trio-asyncio no longer keeps the policy that was there before"
assert asyncio.get_event_loop_policy() is before, "trio-asyncio's policy shows where trio does not run"
assert hasattr(trio_asyncio.TrioEventLoop, "_main_loop_one"), "trio-asyncio runs callbacks elsewhere now"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def delivery() -> bytes:
    return DELIVER + header(0, b"\x00\x00")


async def test_a_connection_that_is_busy_with_deliveries_only_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiormq gives up after 3 * (heartbeat + 1) seconds without a frame, and sees no deliveries."""
    now = 1000.0
    monkeypatch.setattr(_plane, "time", SimpleNamespace(monotonic=lambda: now))
    async with open_loop(SessionEnd()) as loop:
        connection = Connection(loop, parse_url("amqp://localhost", heartbeat=1), "test")
        connection.plane._has_logged_in = True
        signs: list[float] = []
        for _ in range(200):
            now += 0.1
            connection._take(delivery())
            if connection.plane._reader._buffer:  # type: ignore[attr-defined] # asyncio's own
                assert connection.plane._reader._buffer == HEARTBEAT_FRAME  # type: ignore[attr-defined] # likewise
                connection.plane._reader._buffer.clear()  # type: ignore[attr-defined] # likewise
                signs.append(now)
    gaps = [later - earlier for earlier, later in pairwise(signs)]
    assert max(gaps) < 2, "a third of what aiormq bears with a heartbeat of 1 s"
    assert min(gaps) > 0.9, "and not for each delivery"


async def test_a_log_in_that_comes_in_pieces_is_disturbed_by_no_heartbeat() -> None:
    start = marshal(commands.Connection.Start(0, 9, {}, "PLAIN", "en_US"), 0)
    async with open_loop(SessionEnd()) as loop:
        connection = Connection(loop, parse_url("amqp://localhost", heartbeat=1), "test")
        for at in range(len(start)):
            assert not connection.plane._reader._buffer  # type: ignore[attr-defined] # asyncio's own
            connection._take(start[at : at + 1])
        assert connection.plane._reader._buffer == start  # type: ignore[attr-defined] # asyncio's own
