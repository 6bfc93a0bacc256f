"""Why a batch was closed: one scenario for each reason that the policy which learns can have."""

from __future__ import annotations

from collections.abc import Sequence

from rpcb_trio import AutoPolicy
from rpcb_trio._batching._auto import TRUSTED
from rpcb_trio.batching import Batch, Decision, Ending, Pending, Run, Trigger
from tests.pendings import pending

FIXED, EACH = 0.150, 0.025
LARGEST = 12


def taught(policy: AutoPolicy, *, callers: Sequence[str] = (), rounds: int = 12) -> float:
    """Teach it `FIXED + EACH * padded cost`, and that `callers` come 10 ms after their replies; the time."""
    now = 0.0
    for number in range(rounds):
        size = 1 + number % policy.max_batch_size
        now = computed(policy, [pending(now, caller=each) for each in callers or ["x"] * size], now)
        for each in callers:
            policy.arrived(pending(now + 0.010, caller=each))
    return computed(policy, [pending(now, caller=each) for each in callers], now) if callers else now


def computed(policy: AutoPolicy, members: Sequence[Pending], now: float) -> float:
    batch = Batch(id=1, members=tuple(members), trigger=Trigger.IDLE, closed=now)
    seconds = FIXED + EACH * batch.work.padded
    policy.completed(batch, [Run(batch.work, seconds, Ending.COMPUTED)], now + seconds)
    return now + seconds


def test_idle_an_executor_that_is_idle_starts_at_once() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy)
    waiting = [pending(now), pending(now)]
    decision = policy.decide(waiting, now, final=False)
    assert (decision.trigger, decision.batch) == (Trigger.IDLE, tuple(waiting))


def test_size_nobody_more_has_room() -> None:
    policy = AutoPolicy(LARGEST)
    decision = policy.decide([pending() for _ in range(LARGEST + 1)], taught(policy), final=False)
    assert (decision.trigger, len(decision.batch)) == (Trigger.SIZE, LARGEST)


def test_cost_the_next_one_would_be_too_much() -> None:
    policy = AutoPolicy(LARGEST, max_batch_cost=10)
    waiting = [pending(cost=3) for _ in range(LARGEST)]
    decision = policy.decide(waiting, taught(policy), final=False)
    assert (decision.trigger, len(decision.batch)) == (Trigger.COST, 3)


def test_callers_those_who_were_just_answered_are_back() -> None:
    policy, callers = AutoPolicy(LARGEST), ["a", "b", "c"]
    now = taught(policy, callers=callers)
    waiting = list[Pending]()
    decision = Decision()
    for position, caller in enumerate(callers):
        now += 0.010 if position == 0 else 0.001
        waiting.append(pending(now, caller=caller))
        policy.arrived(waiting[-1])
        decision = policy.decide(waiting, now, final=False)
        assert bool(decision.batch) == (caller == "c")
    assert (decision.trigger, len(decision.batch)) == (Trigger.CALLERS, 3)


def test_a_caller_that_another_idle_executor_can_serve_is_not_waited_for() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy, callers=["a", "b"]) + 0.010
    waiting = [pending(now, caller="a")]
    policy.arrived(waiting[0])
    decision = policy.decide(waiting, now, final=False, others_idle=1)
    assert (decision.trigger, len(decision.batch)) == (Trigger.IDLE, 1)


def test_wait_a_caller_that_was_waited_for_has_not_come() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy, callers=["a", "b"]) + 0.010
    waiting = [pending(now, caller="a")]
    policy.arrived(waiting[0])
    held = policy.decide(waiting, now, final=False)
    assert not held.batch
    decision = policy.decide(waiting, held.hold_until, final=False)
    assert (decision.trigger, len(decision.batch)) == (Trigger.WAIT, 1)


def test_deadline_to_wait_for_a_caller_would_be_too_late() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy, callers=["a", "b"]) + 0.010
    waiting = [pending(now, caller="a", deadline=now + 0.2)]
    policy.arrived(waiting[0])
    decision = policy.decide(waiting, now, final=False)
    assert (decision.trigger, len(decision.batch)) == (Trigger.DEADLINE, 1)


def test_deadline_there_is_no_time_for_the_others() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy)
    waiting = [pending(now, deadline=now + 0.3) for _ in range(LARGEST)]
    decision = policy.decide(waiting, now, final=False)
    assert decision.trigger is Trigger.DEADLINE
    assert 3 <= len(decision.batch) <= 6


def test_flush_no_more_requests_come() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy, callers=["a", "b"]) + 0.010
    waiting = [pending(now, caller="a")]
    policy.arrived(waiting[0])
    decision = policy.decide(waiting, now, final=True)
    assert (decision.trigger, len(decision.batch)) == (Trigger.FLUSH, 1)


def test_alone_it_may_have_killed_the_worker_before() -> None:
    policy = AutoPolicy(LARGEST)
    decision = policy.decide([pending(suspect=True), pending()], taught(policy), final=False)
    assert (decision.trigger, len(decision.batch)) == (Trigger.ALONE, 1)


def test_a_batch_says_what_it_is_expected_to_take_once_anything_is_known() -> None:
    policy = AutoPolicy(LARGEST)
    assert policy.decide([pending()], 0.0, final=False).predicted is None
    now = taught(policy, rounds=100)
    predicted = policy.decide([pending(), pending()], now, final=False).predicted
    assert predicted is not None
    assert abs(predicted / (FIXED + 2 * EACH) - 1) < 0.05


def test_a_hold_ends_while_there_is_time_to_answer() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy, callers=["a", "b"]) + 0.010
    free = policy.decide([pending(now, caller="a")], now, final=False).hold_until
    takes = FIXED + 2 * EACH
    for slack in (0.5, 0.25, 0.05, 0.01, 0.001):
        decision = policy.decide([pending(now, deadline=now + takes + slack)], now, final=False)
        assert decision.batch or now < decision.hold_until <= min(free, now + slack)


def test_nothing_is_refused_as_too_late_before_the_service_time_can_be_trusted() -> None:
    policy = AutoPolicy(LARGEST)
    now = 0.0
    for _ in range(TRUSTED):
        waiting = [pending(now, deadline=now + 0.001)]
        assert policy.decide(waiting, now, final=False).batch == tuple(waiting)
        now = computed(policy, waiting, now)
    decision = policy.decide([pending(now, deadline=now + 0.001)], now, final=False)
    assert len(decision.too_late) == 1


def test_a_prediction_that_gives_everybody_up_is_put_to_the_test_so_that_a_wrong_one_is_put_right() -> None:
    policy = AutoPolicy(LARGEST)
    now = taught(policy, rounds=50)  # by a device that was slow for a while, and is fast from now on
    fast = 0.01
    refused = 0
    for _ in range(40):
        waiting = [pending(now, deadline=now + 5 * fast) for _ in range(3)]
        decision = policy.decide(waiting, now, final=False)
        refused = len(decision.too_late)
        if decision.batch:
            batch = Batch(id=1, members=decision.batch, trigger=decision.trigger, closed=now)
            policy.completed(batch, [Run(batch.work, fast, Ending.COMPUTED)], now + fast)
        now += 1.0
    assert refused == 0
