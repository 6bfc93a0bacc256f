"""What is kept of the pending requests is what a plain list would say, whoever comes and goes."""

from __future__ import annotations

import math
from functools import partial
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rpcb_trio._batching._orders import arrival, deadline_of, turn
from rpcb_trio._batching._waiting import Turns, Waiting
from rpcb_trio.batching import Pending
from tests.pendings import pending

comers = st.builds(
    lambda early, lives, cost, priority, suspect: (early, lives, cost, priority, suspect),
    st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5]),
    st.sampled_from([None, None, 0.5, 1.0, 1.0, 4.0]),
    st.sampled_from([1.0, 1.0, 1.0, 0.0, 2.5]),
    st.sampled_from([0, 0, 0, 1, 9]),
    st.sampled_from([False, False, False, True]),
)
alike = st.just((0.0, None, 1.0, 0, False))


class Comings(RuleBasedStateMachine):
    """The structure beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting()
        self.plain: list[Pending] = []
        self.now = 1000.0

    @rule(
        come=st.lists(st.one_of(comers, alike), min_size=1, max_size=8),
        after=st.sampled_from([0.0, 0.25, 1.0]),
    )
    def come(self, come: list[tuple[float, float | None, float, int, bool]], after: float) -> None:
        self.now += after
        arrivals = [
            pending(
                self.now - early,
                deadline=None if lives is None else self.now + lives,
                cost=cost,
                priority=priority,
                suspect=suspect,
            )
            for early, lives, cost, priority, suspect in come
        ]
        self.waiting.join(arrivals)
        self.plain = sorted([*self.plain, *arrivals], key=arrival)

    @rule(chance=st.randoms(use_true_random=False), share=st.sampled_from([0.2, 0.5, 1.0]))
    def some_leave(self, chance: Random, share: float) -> None:
        leaving = [each for each in self.plain if chance.random() < share]
        self.leave(leaving)

    @rule(count=st.integers(1, 10))
    def the_first_leave(self, count: int) -> None:
        self.leave(self.plain[:count])

    def leave(self, leaving: list[Pending]) -> None:
        self.waiting.leave(leaving)
        self.plain = [each for each in self.plain if each not in leaving]

    @invariant()
    def it_is_the_sequence_that_a_list_would_be(self) -> None:
        assert list(self.waiting) == self.plain == list(reversed(self.waiting))[::-1]
        assert len(self.waiting) == len(self.plain)
        for part in (slice(0, 2), slice(2, 1), slice(-2, None), slice(None, None, -2)):
            assert self.waiting[part] == self.plain[part]
        for index in range(-len(self.plain), len(self.plain)):
            assert self.waiting[index] is self.plain[index]
        assert self.waiting.has_suspects == any(each.suspect for each in self.plain)

    @invariant()
    def the_expired_are_those_whose_deadline_has_passed(self) -> None:
        expired = [each for each in self.plain if deadline_of(each) <= self.now]
        assert list(self.waiting.expired(self.now)) == expired

    @invariant()
    def turns_costs_and_deadlines_are_those_of_the_list_sorted(self) -> None:
        expired = self.waiting.expired(self.now)
        for ageing in (0.0, 0.125, 1.0):
            turns = Turns(self.waiting, expired, ageing)
            plain = [each for each in self.plain if each not in expired]
            ordered = sorted(plain, key=partial(turn, ageing=ageing))
            assert list(turns) == ordered
            assert len(turns) == len(plain)
            if plain:
                self.check(turns, ordered, plain)

    def check(self, turns: Turns, ordered: list[Pending], plain: list[Pending]) -> None:
        by_cost = sorted(ordered, key=lambda each: each.cost)
        head = by_cost.index(ordered[0])
        assert turns.head is ordered[0]
        assert turns.oldest is plain[0]
        assert list(turns.longer()) == by_cost[head:]
        assert list(turns.shorter()) == by_cost[:head][::-1]
        assert turns.largest_cost >= by_cost[-1].cost
        assert turns.costs_differ or by_cost[0].cost == by_cost[-1].cost
        together = ordered[: next((i for i, each in enumerate(ordered) if each.suspect), None)]
        assert list(turns.before_the_first_suspect()) == together
        by_deadline = turns.by_deadline(0, len(ordered))
        assert list(map(deadline_of, by_deadline)) == sorted(map(deadline_of, ordered))
        assert {id(each) for each in by_deadline} == {id(each) for each in ordered}
        assert by_deadline[turns.dated :] == [each for each in ordered if each.request.deadline is None]
        assert turns.earliest_deadline == deadline_of(by_deadline[0])
        for deadline in (self.now, self.now + 1.0, math.inf):
            assert turns.due_from(deadline) == sum(each < deadline for each in map(deadline_of, by_deadline))


TestComings = Comings.TestCase
TestComings.settings = settings(max_examples=60, stateful_step_count=20, deadline=None, derandomize=True)


def test_what_lies_beyond_the_end_is_refused() -> None:
    with pytest.raises(IndexError):
        Waiting([pending()])[1]


def test_who_does_not_wait_cannot_leave() -> None:
    one, other = pending(), pending()
    waiting = Waiting([one])
    waiting.leave([other, one, one])
    assert not waiting
