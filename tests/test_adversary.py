"""Whatever a service's code does or returns, its own request bears it, and the log tells it."""

from __future__ import annotations

import importlib
import logging
from typing import Any, NoReturn

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import (
    FixedPolicy,
    HealthInstrument,
    LogInstrument,
    MemoryBroker,
    ProcessExecutor,
    RequestError,
    ThreadExecutor,
)
from rpcb_trio._guard import outcomes_of, run_infer
from rpcb_trio._pipeline._hooks import in_thread
from rpcb_trio._service import bind
from rpcb_trio._shown import LONGEST_TEXT
from rpcb_trio.errors import InferError, WrongResultCount
from rpcb_trio.executors import Executor
from rpcb_trio.testing import push_batch
from tests.adversary import DEADLY, HOOKS, WAYS, WHOLE, Adversary, Table
from tests.scenarios import answers, ask, steady, working

GOOD = ("none", "none")
INTERRUPT = "interrupt"

misdeeds = st.one_of(
    st.tuples(st.sampled_from(HOOKS), st.sampled_from(sorted(WAYS))),
    st.tuples(st.just("whole"), st.sampled_from(sorted(WHOLE))),
)
deadly = st.tuples(st.just("infer"), st.sampled_from(sorted(DEADLY)))
requests = st.lists(st.one_of(st.just(GOOD), misdeeds), min_size=1, max_size=12)

LONGEST_LINE = 1500


async def check(
    asked: list[tuple[str, str]], executors: list[Executor] | int, **settings: Any
) -> list[tuple[str, str]]:
    """Every good request has its reply, every other one a reply, and the worker is ready and still logs."""
    broker, health = MemoryBroker(), HealthInstrument("asr")
    bodies = [f"{hook} {way} {number}".encode() for number, (hook, way) in enumerate(asked)]
    ask(broker, *bodies)
    async with working(
        Adversary(),
        broker,
        executors=executors,
        batching=FixedPolicy(max_batch_size=4),
        instruments=[LogInstrument("asr"), health],
        **settings,
    ) as running:
        await running.until_settled(len(bodies))
        assert health.health.ready
        ask(broker, b"none none last")
        await running.until_settled(len(bodies) + 1)
    replies = answers(broker)
    assert set(replies) == {str(number) for number in range(len(bodies))} | {"last"}
    good = [str(number) for number, each in enumerate(asked) if each == GOOD]
    assert {name: replies[name] for name in good} == {name: f"ok {name}".encode() for name in good}
    return [(request.correlation_id or "", error.code) for request, error in running.failures]


@pytest.fixture(autouse=True)
def shown_in_full(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rpcb_trio")


@given(requests)
@settings(steady, max_examples=150)
def test_in_virtual_time_each_misdeed_stays_with_its_request(asked: list[tuple[str, str]]) -> None:
    sane = [
        (hook, "exit" if way == INTERRUPT else way) for hook, way in asked
    ]  # in place it is a real Ctrl-C
    trio.run(check, sane, 1, clock=MockClock(autojump_threshold=0))


@given(requests)
@settings(steady, max_examples=60)
def test_in_threads_each_misdeed_stays_with_its_request(asked: list[tuple[str, str]]) -> None:
    async def run() -> None:
        await check(asked, [ThreadExecutor(bind(Adversary()))], offload=in_thread, decode_threads=2)

    trio.run(run)


@given(st.lists(st.one_of(st.just(GOOD), misdeeds, deadly), min_size=1, max_size=8))
@settings(steady, max_examples=8)
def test_in_a_process_of_its_own_each_misdeed_stays_with_its_request(asked: list[tuple[str, str]]) -> None:
    async def run() -> None:
        executor = ProcessExecutor(Adversary, max_deaths=1)
        try:
            await check(asked, [executor], offload=in_thread, decode_threads=2)
        finally:
            executor.close()

    trio.run(run)


@pytest.mark.parametrize("way", sorted({*WAYS, *WHOLE}))
async def test_every_misdeed_in_every_hook_is_told_in_bounded_lines_and_leaves_the_log_alive(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = [hook for hook in (*HOOKS, "whole") if way in (WHOLE if hook == "whole" else WAYS)]
    asked = [(hook, way) for hook in hooks]
    failed = await check(
        [GOOD, *asked, GOOD], [ThreadExecutor(bind(Adversary()))], offload=in_thread, decode_threads=2
    )
    lines = [record.getMessage() for record in caplog.records if record.name == "rpcb_trio"]
    told = [line for line in lines if "answered with an error" in line]
    assert len(told) == len(failed)
    assert max(map(len, lines)) < LONGEST_LINE
    assert not any("it is called no more" in line for line in lines), "an instrument was lost"


async def test_a_table_with_as_many_columns_as_there_are_items_is_no_list_of_results() -> None:
    with pytest.raises(WrongResultCount, match="one result for each item, not a table \\(Table\\)"):
        outcomes_of(Table(2, 2), 2)


class Named(RequestError):
    """Its text is made anew each time, of many characters."""

    def __init__(self) -> None:
        super().__init__("x")
        self.threads: list[bool] = []

    def __str__(self) -> str:
        self.threads.append(trio.lowlevel.in_trio_run())
        return "x" * 10_000


async def test_the_text_of_a_plain_functions_own_error_is_asked_for_off_the_event_loop_and_bounded() -> None:
    error, broker = Named(), MemoryBroker()

    def refuse(bodies: list[bytes]) -> list[Any]:
        return [error for _ in bodies]

    ask(broker, b"any 1")
    async with working(
        refuse, broker, executors=[ThreadExecutor(bind(refuse))], offload=in_thread
    ) as running:
        await running.until_settled(1)
    assert set(error.threads) == {False}
    body = answers(broker)["1"]
    assert body.startswith(b"request: xxx")
    assert len(body) < 2 * LONGEST_TEXT


async def test_a_code_that_was_set_on_one_error_goes_out_and_encode_sees_what_else_was_set_on_it() -> None:
    class Refusing:
        def decode(self, body: bytes) -> NoReturn:
            error = RequestError(body.decode())
            error.code, error.status = "bad-audio", 402  # type: ignore[attr-defined] # a service may
            raise error

        def infer(self, items: list[Any]) -> list[Any]:
            return items

        def encode(self, outcome: Any) -> bytes:
            return str(outcome.error.status).encode()

    [reply] = await push_batch(Refusing(), [b"no header"])
    assert (reply.error, reply.error_reason, reply.body) == ("bad-audio", "no header", b"402")


async def test_an_import_that_fails_in_a_hook_is_told_with_the_hooks_place_and_none_of_pythons() -> None:
    def infer(bodies: list[bytes]) -> list[bytes]:
        importlib.import_module("there_is_no_such_module")
        return bodies

    with pytest.raises(InferError) as caught:
        run_infer(infer, [b""])
    assert (caught.value.where or "").startswith("test_adversary.py:")
