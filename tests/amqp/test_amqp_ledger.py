"""Acks in the fewest frames, and never for a request that is not answered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import Request
from rpcb_trio._transports._amqp._ledger import Ledger


def delivered(count: int) -> tuple[Ledger, list[Request]]:
    ledger = Ledger()
    requests = [Request(body=b"", arrived=0.0, tag=tag) for tag in range(1, count + 1)]
    for request in requests:
        ledger.enter(request)
    return ledger, requests


@given(st.permutations(range(1, 13)), st.lists(st.integers(1, 4), min_size=12))
def test_the_broker_hears_of_each_tag_exactly_once_when_it_is_settled(
    order: list[int], sizes: list[int]
) -> None:
    ledger, _ = delivered(len(order))
    unacked = set(order)
    for size in sizes:
        batch, order = set(order[:size]), order[size:]
        expected = unacked - batch
        for tag, multiple in ledger.strike(batch):
            assert tag in unacked
            unacked -= {each for each in unacked if each <= tag} if multiple else {tag}
        assert unacked == expected
        assert len(ledger) == len(unacked)


def test_a_batch_in_order_takes_one_frame() -> None:
    ledger, _ = delivered(64)
    assert ledger.strike(set(range(1, 33))) == [(32, True)]
    assert ledger.strike({33}) == [(33, False)]


def test_a_gap_takes_a_frame_for_each_tag_behind_it() -> None:
    ledger, _ = delivered(6)
    assert sorted(ledger.strike({1, 2, 4, 6})) == [(2, True), (4, False), (6, False)]


def test_a_request_of_another_session_is_not_held_even_under_the_same_tag() -> None:
    ledger, requests = delivered(2)
    assert ledger.holds(requests[0])
    assert not ledger.holds(Request(body=b"", arrived=0.0, tag=1))
    ledger.strike({1})
    assert not ledger.holds(requests[0])
