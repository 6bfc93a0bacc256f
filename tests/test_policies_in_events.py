"""Whatever happens in whatever order, every policy keeps its promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio.batching import Decision, Ending, Pending, Trigger, Work
from tests.pendings import Event, Played, Shown, histories, leaving, turns
from tests.scenarios import steady

Maker: TypeAlias = partial[FixedPolicy | AutoPolicy]

max_costs = st.sampled_from([math.inf, math.inf, 4.0, 1.5])
fixeds = st.builds(
    partial,
    st.just(FixedPolicy),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.25, 2.0]),
    max_batch_cost=max_costs,
    ageing=st.sampled_from([0.0, 0.5, 1.0]),
)
autos = st.builds(
    partial,
    st.just(AutoPolicy),
    st.integers(1, 6),
    max_batch_cost=max_costs,
    batch_sizes=st.sampled_from([(), (), (1, 2, 4, 8), (6,)]),
    latency_objective=st.sampled_from([None, None, 0.5, 4.0]),
)
START = 123456.789
"""A clock that has run for long tells times less exactly."""
makers = st.one_of(fixeds, autos)
executors = st.integers(1, 3)


def played(make: Maker, count: int, history: list[Event]) -> Played:
    return Played(make(), executors=count, now=START).play(history)


def is_expired(each: Pending, now: float) -> bool:
    return each.request.deadline is not None and each.request.deadline <= now


def alive(shown: Shown) -> Sequence[Pending]:
    return [each for each in shown.waiting if not is_expired(each, shown.now)]


@steady
@given(makers, executors, histories)
def test_no_request_is_lost_and_none_leaves_twice(make: Maker, count: int, history: list[Event]) -> None:
    game = played(make, count, history)
    left = [each for shown in game.shown for each in leaving(shown.decision)]
    assert len(left) == len({id(each) for each in left}) == len(game.came)
    assert {id(each) for each in left} == {id(each) for each in game.came}


@steady
@given(makers, executors, histories)
def test_only_what_is_shown_leaves(make: Maker, count: int, history: list[Event]) -> None:
    for shown in played(make, count, history).shown:
        assert {id(each) for each in leaving(shown.decision)} <= {id(each) for each in shown.waiting}


@steady
@given(makers, executors, histories)
def test_exactly_the_expired_leave_as_expired_and_none_of_them_is_computed(
    make: Maker, count: int, history: list[Event]
) -> None:
    for shown in played(make, count, history).shown:
        assert list(shown.decision.expired) == [each for each in shown.waiting if is_expired(each, shown.now)]


@steady
@given(makers, executors, histories)
def test_nobody_without_a_deadline_is_ever_refused(make: Maker, count: int, history: list[Event]) -> None:
    for shown in played(make, count, history).shown:
        for each in (*shown.decision.expired, *shown.decision.too_late):
            assert each.request.deadline is not None


@steady
@given(makers, executors, histories)
def test_the_caps_hold_for_every_batch(make: Maker, count: int, history: list[Event]) -> None:
    game = played(make, count, history)
    most = make.keywords["max_batch_cost"]
    for shown in game.batches:
        work = Work.of([each.cost for each in shown.decision.batch])
        assert work.size <= game.policy.max_batch_size
        assert work.size == 1 or work.padded <= most


@steady
@given(makers, executors, histories)
def test_after_a_batch_that_was_too_large_none_is_more_than_half_so_large_until_sixteen_have_fitted(
    make: Maker, count: int, history: list[Event]
) -> None:
    game = played(make, count, history)
    for index, (before, run) in enumerate(game.runs):
        if run.ending is not Ending.OUT_OF_MEMORY or run.work.size == 1 or run.work.padded == 0:
            continue
        later = [when for when, each in game.runs[index + 1 :] if each.ending is Ending.COMPUTED]
        until = later[15] if len(later) > 15 else math.inf
        for number, shown in enumerate(game.shown):
            work = Work.of([each.cost for each in shown.decision.batch] or [0.0])
            if before <= number < until and work.size > 1:
                assert work.padded <= run.work.padded / 2


@steady
@given(makers, executors, histories)
def test_a_suspect_shares_its_batch_with_nobody(make: Maker, count: int, history: list[Event]) -> None:
    for shown in played(make, count, history).batches:
        if any(each.suspect for each in shown.decision.batch):
            assert (len(shown.decision.batch), shown.decision.trigger) == (1, Trigger.ALONE)


@steady
@given(makers, executors, histories)
def test_a_hold_ends_in_the_future_and_before_anybody_expires(
    make: Maker, count: int, history: list[Event]
) -> None:
    for shown in played(make, count, history).shown:
        if alive(shown) and not leaving(shown.decision):
            assert shown.now < shown.decision.hold_until < math.inf
            for each in shown.waiting:
                deadline = each.request.deadline
                assert deadline is None or shown.decision.hold_until <= deadline


def plain(game: Played) -> list[object]:
    """What was decided, of whichever requests these are."""
    number = {id(each): index for index, each in enumerate(game.came)}
    return [
        (
            each.now,
            [number[id(one)] for one in each.decision.batch],
            [number[id(one)] for one in each.decision.too_late],
            each.decision.trigger,
            each.decision.predicted,
            each.decision.hold_until,
        )
        for each in game.shown
    ]


class Foreseeing(AutoPolicy):
    """Asks itself at each hold what it would do at its end, if nothing came; and whose turn it is."""

    def __init__(self, *args: int, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.at_the_end: list[Decision] = []
        self.firsts: list[Pending] = []

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        living = [each for each in pending if not is_expired(each, now)]
        self.firsts += list(turns(living, self.ageing))[:1]
        decision = super().decide(pending, now, final=final, others_idle=others_idle)
        if living and not leaving(decision):
            later = AutoPolicy.decide(deepcopy(self), pending, decision.hold_until, final=False)
            self.at_the_end.append(later)
        return decision


@steady
@given(autos, executors, histories)
def test_a_hold_ends_while_all_that_wait_can_be_answered_in_time_and_is_followed_by_a_batch(
    make: Maker, count: int, history: list[Event]
) -> None:
    policy = Foreseeing(*make.args, **make.keywords)
    Played(policy, executors=count, now=START).play(history)
    for decision in policy.at_the_end:
        assert decision.batch
        assert not decision.too_late
        assert not decision.expired


@steady
@given(autos, executors, histories)
def test_the_first_in_turn_leaves_if_any_does_unless_there_is_no_time_for_it(
    make: Maker, count: int, history: list[Event]
) -> None:
    policy = Foreseeing(*make.args, **make.keywords)
    game = Played(policy, executors=count, now=START).play(history)
    shown = [each for each in game.shown if alive(each)]
    for first, each in zip(policy.firsts, shown, strict=True):
        if each.decision.batch and first not in leaving(each.decision):
            assert each.decision.trigger in {Trigger.DEADLINE, Trigger.SIZE}
            assert first.request.deadline is not None


@steady
@given(makers, executors, histories)
def test_nobody_without_a_deadline_sees_more_batches_go_than_requests_that_could_go_before_it(
    make: Maker, count: int, history: list[Event]
) -> None:
    game = played(make, count, history)
    for each in game.came:
        if each.request.deadline is None:
            seen = [shown for shown in game.batches if each in shown.waiting]
            before = [
                one
                for one in game.came
                if one.request.arrived <= each.request.arrived or one.request.priority > each.request.priority
            ]
            assert len(seen) <= len(before)


@steady
@given(fixeds, executors, histories)
def test_a_fixed_policy_lets_one_be_overtaken_only_within_the_ageing_for_each_level(
    make: Maker, count: int, history: list[Event]
) -> None:
    for shown in played(make, count, history).batches:
        for overtaken in shown.left:
            for each in shown.decision.batch:
                later_by = each.request.arrived - overtaken.request.arrived
                levels = each.request.priority - overtaken.request.priority
                assert later_by <= levels * make.keywords["ageing"]


@steady
@given(makers, executors, histories)
def test_when_no_more_come_every_decision_makes_progress(
    make: Maker, count: int, history: list[Event]
) -> None:
    for shown in played(make, count, history).shown:
        if shown.final and shown.waiting:
            assert leaving(shown.decision)


@steady
@given(makers, executors, histories)
def test_the_same_events_bring_the_same_decisions(make: Maker, count: int, history: list[Event]) -> None:
    first, second = (played(make, count, history) for _ in range(2))
    assert plain(first) == plain(second)


@steady
@given(makers, histories)
def test_a_plain_list_of_what_is_pending_brings_the_same_decisions_as_what_the_batcher_shows(
    make: Maker, history: list[Event]
) -> None:
    shown = Played(make(), now=START).play(history)
    as_list = Played(make(), now=START, show=list).play(history)
    assert plain(shown) == plain(as_list)
