"""What is no `Exception` (an exit, an interrupt) fails the request that caused it, never the worker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import pytest
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, Outcome, Success, ThreadExecutor
from rpcb_trio._pipeline._hooks import in_thread
from rpcb_trio._service import bind
from rpcb_trio.errors import InferError
from rpcb_trio.testing import VirtualExecutor, push_batch
from tests.scenarios import Shouting, answers, ask, working


def leave() -> None:
    sys.exit("the model's own idea")


def interrupt() -> None:
    raise KeyboardInterrupt


def stop_generating() -> None:
    raise GeneratorExit


def fail_in_a_group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])


def leave_in_a_group() -> None:
    raise BaseExceptionGroup("several", [ValueError("one"), SystemExit(3)])


def stop_iterating() -> None:
    raise StopIteration


WAYS = [leave, interrupt, stop_generating, fail_in_a_group, leave_in_a_group, stop_iterating]
ways = pytest.mark.parametrize("way", WAYS)


class Wayward(Shouting):
    """Goes its way in the hook that a body's first word names."""

    def __init__(self, way: Callable[[], None]) -> None:
        super().__init__()
        self._way = way

    def decode(self, body: bytes) -> str:
        return self._unless("decode", super().decode(body))

    def cost(self, item: str) -> float:
        return float(len(self._unless("cost", item)))

    def infer(self, items: list[str]) -> list[str | Exception]:
        self.runs.append(items)
        return [self._unless("infer", item) for item in items]

    def encode(self, outcome: Outcome[str]) -> bytes:
        if isinstance(outcome, Success):
            self._unless("encode", outcome.value)
        return super().encode(outcome)

    def _unless(self, hook: str, text: str) -> str:
        if text.startswith(hook):
            self._way()
        return text


@ways
async def test_whatever_a_hook_raises_fails_that_request_alone(way: Callable[[], None]) -> None:
    broker, service = MemoryBroker(), Wayward(way)
    ask(broker, b"good 1", b"decode 2", b"infer 3", b"encode 4", b"cost 5", b"good 6")
    executors = [ThreadExecutor(bind(service))]
    async with working(service, broker, executors=executors, offload=in_thread) as running:
        await running.until_settled(6)
    no_body_causes_it = way in (leave, interrupt, stop_generating, leave_in_a_group)
    assert answers(broker) == {
        "1": b"ok:good 1",
        "2": b"failed:service" if no_body_causes_it else b"failed:decode",
        "3": b"failed:infer",
        "4": b"failed:encode",
        "5": b"failed:cost",
        "6": b"ok:good 6",
    }


@ways
async def test_a_batch_is_split_until_who_raised_it_stands_alone(way: Callable[[], None]) -> None:
    class Plain(Wayward):
        decode, encode = Shouting.decode, Shouting.encode

    service = Plain(way)
    with pytest.raises(InferError):
        await ThreadExecutor(bind(service)).infer(["good 1", "infer 2"])
    if way is not interrupt:  # in the main thread it is the operator's
        one, two, three = await push_batch(service, [b"good 1", b"infer 2", b"good 3"])
        assert (one.error, two.error, three.error) == (None, "infer", None)


@pytest.mark.parametrize("hook", [b"decode 1", b"infer 1", b"encode 1"])
async def test_an_interrupt_in_the_main_thread_is_the_operators(hook: bytes) -> None:
    with pytest.raises(KeyboardInterrupt):
        await push_batch(Wayward(interrupt), [hook])


async def test_an_exit_among_the_results_fails_its_request_alone() -> None:
    def infer(items: list[bytes]) -> list[bytes | BaseException]:
        return [SystemExit(2) if item == b"bad" else item for item in items]

    good, bad = await push_batch(infer, [b"good", b"bad"])
    assert (good.error, bad.error) == (None, "infer")


async def test_an_encode_that_exits_at_its_own_error_still_leaves_an_answer() -> None:
    class Leaving(Shouting):
        def encode(self, outcome: Outcome[str]) -> bytes:  # noqa: ARG002 - it leaves
            return sys.exit(1)

    [reply] = await push_batch(Leaving(), [b"good 1"])
    assert (reply.error, reply.body) == ("encode", b"encode: the result could not be encoded")


async def test_the_cause_of_such_a_failure_is_told() -> None:
    with pytest.raises(InferError, match=r"^infer failed: SystemExit$") as caught:
        await VirtualExecutor(Wayward(leave).infer).infer(["infer 1"])
    assert isinstance(caught.value.__cause__, SystemExit)


async def test_an_interrupt_that_an_executor_returns_and_nobody_raised_fails_its_request_alone(
    autojump_clock: MockClock,
) -> None:
    class Returning(VirtualExecutor):
        async def infer(self, items: Sequence[object]) -> list[object]:
            return [KeyboardInterrupt() if item == b"bad" else item for item in items]

    broker = MemoryBroker()
    ask(broker, b"bad", b"good")
    async with working(lambda bodies: bodies, broker, executors=[Returning(list)]) as running:
        await running.until_settled(2)
    assert answers(broker) == {"bad": b"infer: infer failed: KeyboardInterrupt", "good": b"good"}
