"""The policy is pure, so whatever is pending, at whatever time, its promises can be tried out."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import FixedPolicy, SettingError
from rpcb_trio.batching import Decision, Pending, Policy, Trigger
from tests.pendings import pending
from tests.scenarios import steady

times = st.floats(0, 100)
policies = st.builds(FixedPolicy, st.integers(1, 6), st.floats(0, 20))
requests = st.builds(
    pending, times, deadline=st.none() | times, suspect=st.sampled_from([False, False, False, True])
)
queues = st.lists(requests, max_size=12).map(lambda each: sorted(each, key=lambda one: one.request.arrived))


class Moment(NamedTuple):
    """What a policy is asked about."""

    waiting: list[Pending]
    now: float
    final: bool

    def is_expired(self, each: Pending) -> bool:
        return each.request.deadline is not None and each.request.deadline <= self.now

    @property
    def alive(self) -> list[Pending]:
        return [each for each in self.waiting if not self.is_expired(each)]

    def put_to(self, policy: Policy) -> Decision:
        return policy.decide(self.waiting, self.now, final=self.final)


moments = st.builds(Moment, queues, times, st.booleans())


@steady
@given(policies, moments)
def test_a_batch_never_holds_more_than_max_batch_size(policy: FixedPolicy, moment: Moment) -> None:
    assert len(moment.put_to(policy).batch) <= policy.max_batch_size


@steady
@given(policies, moments)
def test_requests_are_taken_in_order_of_arrival_and_none_is_passed_over(
    policy: FixedPolicy, moment: Moment
) -> None:
    batch = moment.put_to(policy).batch
    assert list(batch) == moment.alive[: len(batch)]


@steady
@given(policies, moments)
def test_exactly_the_expired_leave_as_expired_and_none_of_them_is_computed(
    policy: FixedPolicy, moment: Moment
) -> None:
    decision = moment.put_to(policy)
    assert list(decision.expired) == [each for each in moment.waiting if moment.is_expired(each)]
    assert not set(decision.batch) & set(decision.expired)


@steady
@given(policies, moments)
def test_a_suspect_shares_its_batch_with_nobody(policy: FixedPolicy, moment: Moment) -> None:
    decision = moment.put_to(policy)
    if any(each.suspect for each in decision.batch):
        assert (len(decision.batch), decision.trigger) == (1, Trigger.ALONE)


@steady
@given(policies, moments)
def test_a_hold_ends_in_the_future_and_not_after_the_oldest_has_waited_max_wait(
    policy: FixedPolicy, moment: Moment
) -> None:
    decision = moment.put_to(policy)
    if decision.batch or not moment.alive:
        assert decision.hold_until == math.inf
    else:
        oldest = moment.alive[0].request
        assert moment.now < decision.hold_until <= oldest.arrived + policy.max_wait


@steady
@given(policies, moments)
def test_nothing_is_held_that_must_not_wait(policy: FixedPolicy, moment: Moment) -> None:
    is_due = bool(moment.alive) and moment.alive[0].request.arrived + policy.max_wait <= moment.now
    if is_due or (moment.alive and moment.final):
        assert moment.put_to(policy).batch


@steady
@given(policies, moments)
def test_when_no_more_come_every_decision_makes_progress_until_nothing_is_left(
    policy: FixedPolicy, moment: Moment
) -> None:
    left, computed = moment.waiting, list[Pending]()
    while left:
        decision = policy.decide(left, moment.now, final=True)
        leaving = {*decision.batch, *decision.expired}
        assert leaving
        computed += decision.batch
        left = [each for each in left if each not in leaving]
    assert computed == moment.alive


@pytest.mark.parametrize(
    ("moment", "trigger", "size"),
    [
        pytest.param(
            Moment([pending(0), pending(0), pending(0)], 0, final=False), Trigger.SIZE, 3, id="full"
        ),
        pytest.param(
            Moment([pending(0) for _ in range(5)], 0, final=False), Trigger.SIZE, 3, id="more than full"
        ),
        pytest.param(
            Moment([pending(0), pending(1)], 2, final=False), Trigger.WAIT, 2, id="oldest has waited"
        ),
        pytest.param(Moment([pending(0), pending(1)], 1, final=True), Trigger.FLUSH, 2, id="no more come"),
        pytest.param(
            Moment([pending(0, suspect=True), pending(0)], 0, final=False),
            Trigger.ALONE,
            1,
            id="suspect first",
        ),
    ],
)
def test_every_batch_says_why_it_was_closed(moment: Moment, trigger: Trigger, size: int) -> None:
    decision = moment.put_to(FixedPolicy(3, max_wait=2))
    assert (decision.trigger, len(decision.batch)) == (trigger, size)


def test_a_request_that_has_waited_for_an_executor_has_served_its_wait() -> None:
    decision = FixedPolicy(32, max_wait=2).decide([pending(0), pending(99.5)], 100, final=False)
    assert len(decision.batch) == 2


def test_without_a_wait_a_single_request_goes_at_once() -> None:
    assert len(FixedPolicy(32).decide([pending(5)], 5, final=False).batch) == 1


def test_the_hold_ends_early_when_a_request_would_expire_in_it() -> None:
    decision = FixedPolicy(32, max_wait=2).decide([pending(0), pending(0, deadline=1)], 0, final=False)
    assert decision.hold_until == 1


def test_nothing_pending_is_nothing_to_decide() -> None:
    assert FixedPolicy().decide([], 7, final=False) == Decision()


@pytest.mark.parametrize(
    ("size", "wait", "named"),
    [(0, 0.0, "max_batch_size"), (1, -1.0, "max_wait"), (1, math.inf, "max_wait"), (1, math.nan, "max_wait")],
)
def test_a_senseless_setting_is_refused_by_its_name(size: int, wait: float, named: str) -> None:
    with pytest.raises(SettingError, match=named):
        FixedPolicy(size, wait)


def test_a_batch_that_a_suspect_cuts_off_does_not_wait_for_more() -> None:
    held, suspect = pending(0), pending(0, suspect=True)
    decision = FixedPolicy(8, max_wait=10.0).decide([held, suspect], 0.0, final=False)
    assert decision.batch == (held,)
