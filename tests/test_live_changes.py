"""Settings that change while a worker runs: they hold at once, what was learned stays, nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, FixedPolicy, LogInstrument, MemoryBroker, SettingError, Topology
from rpcb_trio.batching import Policy, Trigger
from rpcb_trio.transports import Session
from tests.scenarios import QUEUE, Running, Shouting, answers, ask, expected, steady, taken, working

SECONDS = 1.0
"""Of a batch, whatever its size."""


def slow(_: int) -> float:
    return SECONDS


async def test_a_batch_that_the_earlier_policy_holds_is_closed_as_soon_as_a_new_one_would(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2")
    async with working(Shouting(), broker, batching=FixedPolicy(8, max_wait=1000)) as running:
        await trio.sleep(5)
        assert running.batches == []
        await running.worker.change(batching=FixedPolicy(8, max_wait=3))
        await running.until_settled(2)
        assert trio.current_time() == 5
    assert running.sizes == [2]


async def test_a_smaller_largest_batch_holds_from_the_next_batch_on(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *(b"good %d" % n for n in range(16)))
    async with working(Shouting(), broker, batching=AutoPolicy(8), service_time=slow) as running:
        await trio.sleep(SECONDS / 2)
        changes = await running.worker.change(batching=AutoPolicy(2))
        await running.until_settled(16)
    assert running.sizes == [1, *[2] * 7, 1]
    assert changes == {"max_batch_size": (8, 2)}


async def test_what_was_learned_of_service_times_and_memory_stays(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=AutoPolicy(8), service_time=slow) as running:
        for number in range(4):
            ask(broker, b"good %d" % number)
            await running.until_settled(number + 1)
        await running.worker.change(batching=AutoPolicy(4, latency_objective=60))
        ask(broker, b"good 5")
        await running.until_settled(5)
    assert running.batches[0].predicted is None
    assert running.batches[-1].predicted == pytest.approx(SECONDS)
    assert running.batches[-1].trigger is Trigger.DEADLINE


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (FixedPolicy(8), FixedPolicy(8, 0.5), {"max_wait": (0.0, 0.5)}),
        (AutoPolicy(8), AutoPolicy(8), {}),
        (AutoPolicy(8), AutoPolicy(8, latency_objective=2), {"latency_objective": (None, 2)}),
        (AutoPolicy(8), AutoPolicy(8, batch_sizes=[8, 4]), {"batch_sizes": ((), (4, 8))}),
        (AutoPolicy(8), FixedPolicy(4, 1), {
            "batching": ("AutoPolicy", "FixedPolicy"),
            "max_batch_size": (8, 4),
            "max_wait": (None, 1),
            "ageing": (None, 1.0),
        }),
    ],
    ids=["a wait", "nothing", "an objective", "sizes", "another policy"],
)  # fmt: skip
async def test_a_change_of_policy_is_told_by_the_policys_own_settings(
    before: Policy, after: Policy, told: dict[str, Any], autojump_clock: MockClock
) -> None:
    async with working(Shouting(), MemoryBroker(), batching=before) as running:
        assert await running.worker.change(batching=after) == told
    assert running.changes == ([told] if told else [])


LONG = b"good and rather long 1"


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"max_body_size": 20}, b"failed:too-big"),
        ({"max_reply_size": 24}, b"failed:reply-too-big"),
        ({"hook_timeout": 5.0}, b"ok:GOOD AND RATHER LONG 1"),
        ({"check_caller": True}, b"ok:GOOD AND RATHER LONG 1"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
async def test_a_limit_holds_for_requests_after_the_change(
    change: dict[str, Any], after: bytes, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker) as running:
        for number, body in enumerate((b"ok:GOOD AND RATHER LONG 1", after), start=1):
            ask(broker, LONG)
            await running.until_settled(number)
            assert [reply.body for reply in taken(broker)] == [body]
            changes = await running.worker.change(**change)
            assert changes.keys() == (change.keys() if number == 1 else set())


async def test_replies_are_remembered_and_forgotten_again_as_it_is_set(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker) as running:
        for number, most in enumerate((5, 5, 0, 0), start=1):
            await running.worker.change(remember_replies=most)
            ask(broker, b"good 1")
            await running.until_settled(number)
    assert len(running.repeated) == 1


async def test_what_waits_is_bounded_as_soon_as_max_pending_is_set(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(
        Shouting(), broker, batching=FixedPolicy(2), prefetch=50, service_time=slow
    ) as running:
        await running.worker.change(max_pending=2)
        ask(broker, *(b"crowd %d" % n for n in range(10)))
    ends = [reply.body for reply in taken(broker)]
    assert ends.count(b"failed:overloaded") == 7  # one is computed, two wait


async def test_expired_requests_and_those_without_a_reply_to_are_treated_as_set_last(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    topology = Topology(queue=QUEUE, dead_letter_exchange="dead")
    async with working(
        Shouting(), broker, queue=topology, batching=FixedPolicy(1), service_time=slow
    ) as running:
        await running.worker.change(expired="drop", no_reply_to="dead-letter", batch_headers=True)
        ask(broker, b"good 1", b"good 2")
        ask(broker, b"good 3", reply_to=None)
        await trio.sleep(SECONDS / 2)
        ask(broker, b"brief 4", expiration=SECONDS)
        await running.until_settled(4)
    replies = {reply.correlation_id: reply for reply in taken(broker)}
    assert replies.keys() == {"1", "2"}
    assert replies["1"].headers["rpcb-batch-size"] == 1
    assert [type(error).__name__ for _, error in running.refusals] == ["NoReplyTo", "Expired"]


async def test_the_drain_has_the_time_that_was_set_last(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(Shouting(), broker, service_time=lambda _: 60, drain_timeout=1) as running:
        await trio.sleep(5)
        await running.worker.change(drain_timeout=100)
    assert running.drain_steps[-1] == "drained"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_pending": 3, "drain_timeout": 1.0}, r"^max_pending is 3, but max_batch_size is 8"),
        ({"batching": AutoPolicy(64), "prefetch": 64}, r"^prefetch is 64, .*at least 128 "),
        ({"batching": "auto"}, r"^batching is 'auto', which is no policy"),
        ({"expired": "forget"}, r"^expired is 'forget'; set it to answer or drop$"),
        ({"max_body_size": 0}, r"^max_body_size is 0; it must be at least 1$"),
        ({"hook_timeout": "5s"}, r"^hook_timeout is '5s'; it must be a number$"),
        ({"replicas": 2}, r"^replicas can't be changed while a worker runs, only batching, prefetch, "),
    ],
    ids=["together", "a policy", "a name", "a choice", "a bound", "a type", "only at the start"],
)
async def test_a_wrong_change_is_refused_by_its_name_and_changes_nothing(
    wrong: dict[str, Any], message: str, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=FixedPolicy(8, max_wait=1)) as running:
        with pytest.raises(SettingError, match=message):
            await running.worker.change(**wrong)
        ask(broker, *(b"good %d" % n for n in range(9)))
        await running.until_settled(9)
    assert running.sizes == [8, 1]
    assert running.changes == []


class Unwilling(FixedPolicy):
    """Can't take the place of another one."""

    def succeed(self, earlier: Policy) -> None:
        raise RuntimeError(f"never after {earlier.max_batch_size}")


async def test_a_policy_that_can_not_succeed_the_earlier_one_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=FixedPolicy(2), service_time=slow) as running:
        with pytest.raises(RuntimeError, match="never after 2"):
            await running.worker.change(batching=Unwilling(8), max_body_size=1)
        ask(broker, *(b"good %d" % n for n in range(8)))
        await running.until_settled(8)
        assert await running.worker.change(batching=FixedPolicy(4)) == {"max_batch_size": (2, 4)}
    assert max(running.sizes) == 2


async def test_a_change_while_no_session_is_open_holds_for_the_next_one(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, batching=FixedPolicy(8), service_time=slow) as running:
        await trio.testing.wait_all_tasks_blocked()
        broker.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        await running.worker.change(batching=FixedPolicy(2, max_wait=1), max_body_size=6)
        ask(broker, b"good 1", b"good 2", b"good 33")
        await running.until_settled(3)
    assert running.sizes == [2]
    assert answers(broker)["33"] == b"failed:too-big"


class SlowBroker(MemoryBroker):
    """Takes a while to connect to."""

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncIterator[Session]:
        await trio.sleep(10)
        async with super().open_session(topology, prefetch=prefetch) as session:
            yield session


async def test_a_change_while_a_session_is_opened_holds_for_it(autojump_clock: MockClock) -> None:
    broker = SlowBroker()
    async with working(Shouting(), broker, batching=FixedPolicy(1), service_time=lambda _: 1000) as running:
        broker.disconnect()
        await trio.sleep(10)
        await running.worker.change(prefetch=20)
        await trio.sleep(60)
        ask(broker, *(b"good %d" % n for n in range(30)))
        await trio.testing.wait_all_tasks_blocked()
        assert len(running.lost_sessions) == 1
        assert running.worker.held == 20
        await running.until_settled(30)


async def test_each_change_is_a_line_of_the_log_and_the_setup_is_told_anew(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with working(Shouting(), MemoryBroker(), instruments=[LogInstrument("asr")]) as running:
        await running.worker.change(batching=AutoPolicy(4), max_pending=50)
    assert "asr: max_batch_size changed from 32 to 4" in caplog.messages
    assert "asr: max_pending changed from not set to 50" in caplog.messages
    assert [(each.max_batch_size, each.max_pending) for each in running.setups] == [(32, None), (4, 50)]


async def test_another_prefetch_holds_at_once_and_what_is_held_stays(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, *(b"good %d" % n for n in range(60)))
    async with working(
        Shouting(), broker, batching=FixedPolicy(2), prefetch=4, service_time=lambda _: 1000
    ) as running:
        await trio.testing.wait_all_tasks_blocked()
        held = [running.worker.held]
        for policy, prefetch in ((FixedPolicy(2), 10), (FixedPolicy(5), None), (FixedPolicy(1), 2)):
            await running.worker.change(batching=policy, prefetch=prefetch)
            await trio.testing.wait_all_tasks_blocked()
            held.append(running.worker.held)
        assert held == [4, 14, 14, 16], "a new prefetch comes beside what is held"
        assert running.setups[-1].prefetch == 2
        await running.until_settled(60)
    assert not any(request.redelivered for request in running.received)
    assert answers(broker).keys() == {str(n) for n in range(60)}


class Step(NamedTuple):
    """One change during a flood."""

    after: float
    max_batch_size: int
    max_wait: float | None
    """None for the policy that learns."""
    spare_prefetch: int | None
    spare_pending: int | None
    disconnects: bool

    @property
    def policy(self) -> Policy:
        if self.max_wait is None:
            return AutoPolicy(self.max_batch_size)
        return FixedPolicy(self.max_batch_size, self.max_wait)

    @property
    def settings(self) -> dict[str, Any]:
        pending = None if self.spare_pending is None else self.max_batch_size + self.spare_pending
        spare = None if pending is not None else self.spare_prefetch
        prefetch = None if spare is None else self.max_batch_size * 3 + spare
        return {"batching": self.policy, "max_pending": pending, "prefetch": prefetch}


steps = st.builds(
    Step,
    after=st.sampled_from([0.0, 0.25, 1.5, 4.0]),
    max_batch_size=st.integers(1, 6),
    max_wait=st.sampled_from([None, 0.0, 0.25, 3.0]),
    spare_prefetch=st.sampled_from([None, 0, 5]),
    spare_pending=st.sampled_from([None, None, 0, 3]),
    disconnects=st.sampled_from([False, False, True]),
)


async def flood(broker: MemoryBroker, bodies: list[bytes]) -> None:
    for body in bodies:
        ask(broker, body)
        await trio.sleep(0.1)


async def change_all(plan: list[Step], running: Running, broker: MemoryBroker) -> None:
    for step in plan:
        await trio.sleep(step.after)
        await running.worker.change(**step.settings)
        if step.disconnects:
            broker.disconnect()


async def run(plan: list[Step]) -> None:
    broker, bodies = MemoryBroker(), [b"crowd %d" % n for n in range(60)]
    async with (
        working(Shouting(), broker, executors=2, service_time=lambda b: 0.1 * b) as running,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(flood, broker, bodies)
        await change_all(plan, running, broker)
    given = answers(broker)
    assert given.keys() == {body.split()[-1].decode() for body in bodies}
    for body in bodies:
        assert given[body.split()[-1].decode()] in expected(body)
    assert broker.depth(QUEUE) == 0


@settings(steady, max_examples=25)
@given(st.lists(steps, min_size=1, max_size=8))
def test_whatever_changes_during_a_flood_each_request_is_answered_once(plan: list[Step]) -> None:
    trio.run(run, plan, clock=MockClock(autojump_threshold=0))
