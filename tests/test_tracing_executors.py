"""The span `infer` is the current one where the service's code runs: in a thread, and in another process."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
from opentelemetry.trace import format_span_id, format_trace_id

from rpcb_trio import MemoryBroker, ProcessExecutor, ThreadExecutor, open_client
from rpcb_trio.executors import Executor
from rpcb_trio.instruments import TracingInstrument
from tests.scenarios import QUEUE, working
from tests.spans import recording, trace_of
from tests.telling_spans import tell_span, telling


@pytest.mark.parametrize(
    "make",
    [lambda: ThreadExecutor(tell_span), lambda: ProcessExecutor(telling)],
    ids=["in a thread", "in a process"],
)
async def test_the_span_of_infer_is_current_in_the_services_own_code(
    make: Callable[[], Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, executor = MemoryBroker(), make()
    with recording(monkeypatch) as spans, trio.fail_after(60):
        async with (
            working(tell_span, broker, executors=[executor], instruments=[TracingInstrument()]),
            open_client(broker) as client,
        ):
            replies = [await client.call(b"", queue=QUEUE) for _ in range(2)]
    if isinstance(executor, ProcessExecutor):
        executor.close()
    contexts = [span.get_span_context() for span in spans.named("infer")]
    assert [json.loads(reply.body) for reply in replies] == [
        [format_trace_id(each.trace_id), format_span_id(each.span_id)]
        for each in contexts
        if each is not None
    ]


async def test_a_service_that_calls_another_one_carries_the_trace_on(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker()

    def call_on(bodies: list[bytes]) -> list[bytes]:
        async def ask_both() -> list[bytes]:
            async with open_client(broker) as own:
                return [(await own.call(body, queue="second")).body for body in bodies]

        return trio.from_thread.run(ask_both)

    def shout(bodies: list[bytes]) -> list[bytes]:
        return [body.upper() for body in bodies]

    with recording(monkeypatch) as spans, trio.fail_after(60):
        async with (
            working(call_on, broker, executors=[ThreadExecutor(call_on)], instruments=[TracingInstrument()]),
            working(
                shout,
                broker,
                queue="second",
                executors=[ThreadExecutor(shout)],
                instruments=[TracingInstrument()],
            ),
            open_client(broker) as client,
        ):
            assert (await client.call(b"hello", queue=QUEUE)).body == b"HELLO"
    first, second = spans.one("process work"), spans.one("process second")
    assert trace_of(first) == trace_of(second) == trace_of(spans.one("send work"))
    [infer] = [child for child in spans.below(first) if child.name == "infer"]
    assert [child.name for child in spans.below(infer)] == ["send second"]
