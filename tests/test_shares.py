"""Tenants share a worker fairly, whatever one of them sends; and where one is alone, nothing is changed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcb_trio import AutoPolicy, FixedPolicy, Request, SettingError
from rpcb_trio._batching._orders import deadline_of
from rpcb_trio._batching._waiting import Waiting
from rpcb_trio.batching import Decision, Pending, Policy, Shares, Trigger
from rpcb_trio.simulation import (
    Arrival,
    Law,
    Mixed,
    OpenLoad,
    Simulation,
    linear,
    padded,
    poisson,
    simulate,
)
from tests.pendings import Event, Played, histories, pending
from tests.scenarios import steady

FIFO: Callable[[], Policy] = lambda: FixedPolicy(4)  # noqa: E731 - a maker among others
MAKERS: list[Callable[[], Policy]] = [
    FIFO,
    lambda: FixedPolicy(6, 0.5, max_batch_cost=8.0),
    lambda: AutoPolicy(6),
    lambda: AutoPolicy(6, max_batch_cost=8.0, latency_objective=2.0),
]
makers = st.sampled_from(MAKERS)
few = settings(steady, max_examples=40)
weights = st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.5, 1.0, 3.0]))


def names(served: Iterable[Pending]) -> str:
    return "".join(each.request.reply_to or "-" for each in served)


def served(waiting: Waiting, policy: Policy, now: float = 0.0) -> Decision:
    """One decision, as the batcher makes it."""
    decision = policy.decide(waiting.shown(now, policy), now, final=True)
    waiting.charge(decision.batch)
    waiting.leave((*decision.batch, *decision.expired, *decision.too_late))
    return decision


def all_served(waiting: Waiting, policy: Policy) -> list[str]:
    batches = []
    while waiting:
        batches.append(names(served(waiting, policy).batch))
    return batches


def line(*callers: str, **more: float) -> list[Pending]:
    """Requests in this order, one each."""
    return [pending(number, caller=caller, **more) for number, caller in enumerate("".join(callers))]  # type: ignore[arg-type] # a cost


def test_each_tenant_is_served_in_turn_however_many_requests_another_sent_before() -> None:
    assert all_served(Waiting(line("aaaaaaabbc"), Shares()), FixedPolicy(4)) == ["abca", "baaa", "aa"]


def test_a_tenant_of_weight_three_is_served_three_times_as_often() -> None:
    waiting = Waiting(line("b" * 9, "a" * 9), Shares(weights={"a": 3}))
    assert [Counter(batch) for batch in all_served(waiting, FixedPolicy(4))[:3]] == [{"a": 3, "b": 1}] * 3


def test_what_counts_is_cost_and_not_the_number_of_requests() -> None:
    dear = [pending(0, caller="a", cost=3.0) for _ in range(4)]
    cheap = [pending(0, caller="b", cost=1.0) for _ in range(12)]
    assert all_served(Waiting([*dear, *cheap], Shares()), FixedPolicy(4)) == ["bbab"] + ["bbab"] * 3


def test_requests_that_cost_nothing_keep_nobody_waiting_for_long() -> None:
    free = [pending(0, caller="a", cost=0.0) for _ in range(1000)]
    waiting = Waiting([*free, *line("bb")], Shares())
    batches = all_served(waiting, FixedPolicy(8))
    assert max(place for place, batch in enumerate(batches) if "b" in batch) < 10


def test_a_tenant_saves_nothing_up_while_it_is_away_and_owes_nothing_when_it_is_back() -> None:
    waiting, policy = Waiting(line("aaaaaaaabbbb"), Shares()), FixedPolicy(4)
    assert [Counter(names(served(waiting, policy).batch)) for _ in range(2)] == [{"a": 2, "b": 2}] * 2
    waiting.join(line("cccc"))
    assert Counter(names(served(waiting, policy).batch)) == {"a": 2, "c": 2}
    waiting.join(line("bbbb"))
    assert Counter(names(served(waiting, FixedPolicy(3)).batch)) == {"a": 1, "b": 1, "c": 1}


def test_priorities_count_within_a_tenant_and_buy_nothing_of_the_others_shares() -> None:
    urgent = [pending(1, caller="a", priority=9) for _ in range(6)]
    usual = [pending(0, caller="a"), *line("bbb")]
    waiting, policy = Waiting([*usual, *urgent], Shares()), FixedPolicy(4)
    first = served(waiting, policy).batch
    assert Counter(names(first)) == {"a": 2, "b": 2}
    assert [each.request.priority for each in first if each.request.reply_to == "a"] == [9, 9]


def test_a_suspect_runs_alone_when_its_tenants_turn_has_come_and_cuts_no_batch_of_others() -> None:
    suspects = [pending(0, caller="a", suspect=True) for _ in range(2)]
    waiting, policy = Waiting([*suspects, *line("bbbbbb")], Shares()), FixedPolicy(4)
    decisions = [served(waiting, policy) for _ in range(4)]
    assert [names(each.batch) for each in decisions] == ["a", "bbbb", "a", "bb"]
    assert [each.trigger for each in decisions][::2] == [Trigger.ALONE] * 2


def test_what_has_expired_leaves_at_once_though_its_turn_has_not_come() -> None:
    late = pending(9, caller="a", deadline=11.0)
    waiting = Waiting([*line("aaaaaaaab"), late], Shares())
    decision = served(waiting, FixedPolicy(2), now=11.0)
    assert decision.expired == (late,)
    assert Counter(names(decision.batch)) == {"a": 1, "b": 1}


@steady
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1.0, 2.0, 5.0])), max_size=60),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    weights,
    st.sampled_from([FixedPolicy(1), FixedPolicy(4), FixedPolicy(6, max_batch_cost=12.0)]),
)
def test_while_two_tenants_wait_what_they_are_served_differs_by_the_largest_cost_of_each_at_most(
    comers: list[tuple[str, float]], chunks: list[int], weights: dict[str, float], policy: Policy
) -> None:
    """By their weights, over any interval in which both have requests waiting."""
    shares = Shares(weights=weights)
    waiting = Waiting((), shares)
    requests = iter([pending(number, caller=name, cost=cost) for number, (name, cost) in enumerate(comers)])
    paid: dict[str, float] = defaultdict(float)
    since: dict[str, list[dict[str, float]]] = {pair: [] for pair in ("ab", "ac", "bc")}
    for size in [*chunks, *[0] * len(comers)]:
        waiting.join(islice(requests, size))
        if waiting:
            for pair, starts in since.items():
                backlogged = all(any(each.request.reply_to == name for each in waiting) for name in pair)
                starts[:] = [*starts, dict(paid)] if backlogged else []
            before = names(waiting)
            for each in served(waiting, policy).batch:
                name = each.request.reply_to or ""
                paid[name] += each.cost / shares.weight_of(name)
            after = names(waiting)
            for pair, starts in since.items():
                if not all(name in before and name in after for name in pair):
                    starts.clear()  # one of them may have had too few for its share
                    continue
                one, other = pair[0], pair[1]
                most = 5.0 / shares.weight_of(one) + 5.0 / shares.weight_of(other)
                for start in starts:
                    got = [paid[name] - start.get(name, 0.0) for name in (one, other)]
                    assert abs(got[0] - got[1]) <= most + 1e-9


arrivals = st.lists(
    st.builds(
        Arrival,
        at=st.integers(0, 40).map(lambda eighths: eighths / 8),
        caller=st.sampled_from("abc"),
    ),
    max_size=40,
)


@few
@given(arrivals, weights, st.sampled_from([1, 2, 4, 8]), st.integers(1, 2))
def test_no_batch_is_smaller_for_the_shares(
    arrivals: list[Arrival], weights: dict[str, float], size: int, executors: int
) -> None:
    found = [
        simulate(
            FixedPolicy(size, 0.25), OpenLoad(arrivals), linear(0.25, 0.125), executors=executors, shares=each
        )
        for each in (None, Shares(weights=weights))
    ]
    assert found[0].batches == found[1].batches


@few
@given(makers, st.integers(1, 2), histories)
def test_where_one_tenant_is_alone_every_decision_is_as_without_shares(
    make: Callable[[], Policy], executors: int, history: list[Event]
) -> None:
    """Whatever its callers, costs, priorities and deadlines."""
    plain = Played(make(), executors=executors).play(history)
    shared = Played(make(), executors=executors, shares=Shares(weights={"*": 1})).play(history)
    assert [as_told(plain, each.decision) for each in plain.shown] == [
        as_told(shared, each.decision) for each in shared.shown
    ]


def as_told(played: Played, decision: Decision) -> tuple[object, ...]:
    """A decision by the places at which its requests came, for requests are compared by identity."""
    parts = (decision.expired, decision.too_late, decision.batch)
    places = [tuple(played.came.index(each) for each in part) for part in parts]
    return *places, decision.trigger, decision.predicted, decision.hold_until


@few
@given(makers, st.integers(1, 2), histories, weights)
def test_whatever_happens_every_request_leaves_once_and_no_limit_is_exceeded(
    make: Callable[[], Policy], executors: int, history: list[Event], weights: dict[str, float]
) -> None:
    played = Played(make(), executors=executors, shares=Shares(weights=weights)).play(history)
    left = Counter[Pending]()
    for shown in played.shown:
        decision = shown.decision
        left.update([*decision.batch, *decision.expired, *decision.too_late])
        assert len(decision.batch) <= played.policy.max_batch_size
        assert len(decision.batch) == 1 or not any(each.suspect for each in decision.batch)
        late = {each for each in shown.waiting if deadline_of(each) <= shown.now}
        assert late == set(decision.expired)
    assert left == Counter(played.came)


class Device(NamedTuple):
    """How long batches take, what requests cost, and how many a second full batches serve at least."""

    law: Law
    cost: Callable[[Random], float]
    capacity: float


SAME = Device(linear(0.010, 0.001), lambda _: 1.0, 32 / 0.042)
PADDED = Device(padded(0.010, 0.0005), lambda chance: chance.lognormvariate(1.0, 0.8), 330.0)
SECONDS = 4.0


def sender(name: str, rate: float, device: Device) -> OpenLoad:
    chance = Random(name)  # noqa: S311 - no secret
    times = list(takewhile(lambda at: at < SECONDS, poisson(rate * device.capacity, chance)))
    return OpenLoad([Arrival(at, device.cost(chance), caller=name, tenant=name) for at in times])


def p99_beside(loud: float, device: Device, shares: Shares | None) -> float:
    """Of one who asks for two fifths of the capacity, beside one who asks for so much."""
    load = Mixed([sender("quiet", 0.4, device), sender("loud", loud, device)])
    max_pending = None if shares is None else 256
    found = simulate(AutoPolicy(), load, device.law, shares=shares, max_pending=max_pending)
    own = tuple(each for each in found.requests if each.arrival.caller == "quiet")
    assert not any(each.refused for each in own)
    return Simulation(own, found.batches).percentile(99)


def test_one_that_floods_raises_the_p99_of_another_by_less_than_a_fifth() -> None:
    """Against what it is beside the same neighbour while that sends no more than its half."""
    during = p99_beside(4.0, SAME, Shares())
    assert during < 1.2 * p99_beside(0.5, SAME, Shares())
    assert during < 0.1 * p99_beside(4.0, SAME, None)


def test_where_batches_are_chosen_by_cost_as_well_it_raises_it_by_less_than_half() -> None:
    during = p99_beside(4.0, PADDED, Shares("x-tenant"))
    assert during < 1.5 * p99_beside(0.5, PADDED, Shares("x-tenant"))
    assert during < 0.1 * p99_beside(4.0, PADDED, None)


@pytest.mark.parametrize(
    "make", [AutoPolicy, lambda: FixedPolicy(32, max_batch_cost=200.0)], ids=["auto", "fixed"]
)
def test_in_the_long_run_tenants_are_served_by_their_weights_whatever_the_policy_chooses_by(
    make: Callable[[], Policy],
) -> None:
    """By cost, deadline and priority; the smaller tenant sends dearer requests, all of them urgent."""
    loads = []
    for name, mean, priority in (("a", 1.0, 0), ("b", 2.0, 9)):
        chance = Random(name)  # noqa: S311 - no secret
        times = takewhile(lambda at: at < SECONDS, poisson(500, chance))
        for at in times:
            cost, deadline = chance.lognormvariate(mean, 0.8), at + chance.uniform(0.2, 1.0)
            loads.append(Arrival(at, cost, priority, deadline, caller=name))
    shares = Shares(weights={"a": 3})
    found = simulate(make(), OpenLoad(loads), PADDED.law, shares=shares, max_pending=256)
    paid: dict[str | None, float] = defaultdict(float)
    for each in found.requests:
        if each.finished is not None and each.finished < SECONDS:
            paid[each.arrival.caller] += each.arrival.cost
    assert paid["a"] / paid["b"] == pytest.approx(3, rel=0.15)


def test_where_too_many_wait_the_tenant_with_the_most_is_refused_and_no_other() -> None:
    loud = OpenLoad([Arrival(0.0, caller="loud") for _ in range(100)])
    quiet = OpenLoad([Arrival(0.5 + number / 100, caller="quiet") for number in range(10)])
    found = simulate(FixedPolicy(4), Mixed([loud, quiet]), linear(1.0, 0.0), shares=Shares(), max_pending=20)
    refused = Counter(each.arrival.caller for each in found.requests if each.refused == "overloaded")
    assert refused == {"loud": 100 - 20 - 4 + 10}
    assert [batch.size for batch in found.batches] == [4] * 6
    assert max(each.latency for each in found.requests if each.arrival.caller == "quiet") < 6


def test_one_tenant_alone_may_have_all_that_may_wait() -> None:
    found = simulate(
        FixedPolicy(4),
        OpenLoad([Arrival(0.0, caller="a") for _ in range(30)]),
        linear(1.0, 0.0),
        shares=Shares(),
        max_pending=20,
    )
    assert sum(each.refused is None for each in found.requests) == 20


def test_a_stream_of_new_names_has_one_share_where_all_others_have_a_weight_together() -> None:
    ever_new = [Arrival(number / 100, caller=f"{number}") for number in range(300)]
    known = OpenLoad([Arrival(1.0, caller="known") for _ in range(3)])
    shares = Shares(weights={"known": 1, "*": 1})
    found = simulate(FixedPolicy(4), Mixed([OpenLoad(ever_new), known]), linear(0.1, 0.0), shares=shares)
    assert max(each.latency for each in found.requests if each.arrival.caller == "known") < 0.4


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ({"x-tenant": "gold"}, "gold"),
        ({"x-tenant": b"gold"}, "gold"),
        ({"x-tenant": b"\xff"}, "\\xff"),
        ({"x-tenant": 7}, "7"),
        ({"x-tenant": ""}, "address"),
        ({"x-tenant": ["gold"]}, "address"),
        ({"x-tenant": math.nan}, "address"),
        ({}, "address"),
    ],
    ids=str,
)
def test_a_header_names_the_tenant_or_else_its_address_does(headers: dict[str, object], tenant: str) -> None:
    request = Request(body=b"", arrived=0.0, reply_to="address", headers=headers)
    assert Shares("x-tenant").tenant_of(request) == tenant
    assert Shares().tenant_of(request) == "address"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Shares(" "), "tenant is empty; name a header"),
        (lambda: Shares(weights={"a": 0}), "weight of 'a' is 0; it must be at least 0.001"),
        (lambda: Shares(weights={"a": math.inf}), "weight of 'a' is inf; it must be at most 1000"),
        (lambda: Shares(weights={"a": math.nan}), "weight of 'a' is nan; it must be a number"),
    ],
    ids=["no name", "zero", "infinite", "no number"],
)
def test_shares_that_make_no_sense_are_refused(make: Callable[[], Shares], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        make()
