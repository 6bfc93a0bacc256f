"""Replies that say in which batch their request was computed, where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker
from tests.scenarios import Shouting, ask, taken, working

NAMES = {"rpcb-batch", "rpcb-batch-size", "rpcb-wait"}


async def headers_of_replies(
    *, batch_headers: bool
) -> tuple[list[int], dict[str | None, Mapping[str, object]]]:
    """The ids of the batches, and the headers of each reply: of two batches and an undecodable request."""
    broker = MemoryBroker()
    policy = FixedPolicy(2, max_wait=1.0)
    async with working(Shouting(), broker, batching=policy, batch_headers=batch_headers) as running:
        ask(broker, b"good 1", b"\xff 2")
        await trio.sleep(0.25)
        ask(broker, b"sick 3")
        await running.until_settled(3)
        ask(broker, b"poison 4")
        await running.until_settled(4)
    return [batch.id for batch in running.batches], {
        reply.correlation_id: reply.headers for reply in taken(broker)
    }


async def test_replies_carry_the_id_and_the_size_of_their_batch_and_the_wait_in_milliseconds(
    autojump_clock: MockClock,
) -> None:
    (first, second), headers = await headers_of_replies(batch_headers=True)
    assert headers["1"] == {"rpcb-batch": first, "rpcb-batch-size": 2, "rpcb-wait": 250}
    assert first != second


async def test_error_replies_of_a_batchs_members_carry_them_too(autojump_clock: MockClock) -> None:
    (first, second), headers = await headers_of_replies(batch_headers=True)
    error = {"rpcb-error": "infer", "rpcb-error-kind": "service"}
    assert headers["3"] == {
        **error,
        "rpcb-error-reason": "infer failed: ValueError",
        "rpcb-batch": first,
        "rpcb-batch-size": 2,
        "rpcb-wait": 0,
    }
    assert headers["4"] == {
        **error,
        "rpcb-error-reason": "infer failed: RuntimeError",
        "rpcb-batch": second,
        "rpcb-batch-size": 1,
        "rpcb-wait": 1000,
    }


async def test_a_request_that_never_was_in_a_batch_has_none(autojump_clock: MockClock) -> None:
    _, headers = await headers_of_replies(batch_headers=True)
    assert headers["2"] == {
        "rpcb-error": "decode",
        "rpcb-error-kind": "request",
        "rpcb-error-reason": "the request could not be decoded",
    }


async def test_nobody_gets_them_unasked(autojump_clock: MockClock) -> None:
    _, headers = await headers_of_replies(batch_headers=False)
    assert len(headers) == 4
    assert not any(NAMES & set(each) for each in headers.values())
