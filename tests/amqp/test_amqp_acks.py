"""Acks in the fewest frames, and never for a request that is not answered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import Request
from rpcb_trio._transports._amqp._data._consumption import OpenDeliveries


def delivered(count: int) -> tuple[OpenDeliveries, list[Request]]:
    opened = OpenDeliveries()
    requests = [Request(body=b"", arrived=0.0, tag=tag) for tag in range(1, count + 1)]
    for request in requests:
        opened.enter(request)
    return opened, requests


@given(st.permutations(range(1, 13)), st.lists(st.integers(1, 4), min_size=12))
def test_the_broker_hears_of_each_tag_exactly_once_when_it_is_settled(
    order: list[int], sizes: list[int]
) -> None:
    opened, _ = delivered(len(order))
    unacked = set(order)
    for size in sizes:
        batch, order = set(order[:size]), order[size:]
        expected = unacked - batch
        for tag, multiple in opened.strike(batch):
            assert tag in unacked
            unacked -= {each for each in unacked if each <= tag} if multiple else {tag}
        assert unacked == expected
        assert len(opened) == len(unacked)


def test_a_batch_in_order_takes_one_frame() -> None:
    opened, _ = delivered(64)
    assert opened.strike(set(range(1, 33))) == [(32, True)]
    assert opened.strike({33}) == [(33, False)]


def test_a_gap_takes_a_frame_for_each_tag_behind_it() -> None:
    opened, _ = delivered(6)
    assert sorted(opened.strike({1, 2, 4, 6})) == [(2, True), (4, False), (6, False)]


def test_a_request_of_another_session_is_not_held_even_under_the_same_tag() -> None:
    opened, requests = delivered(2)
    assert opened.holds(requests[0])
    assert not opened.holds(Request(body=b"", arrived=0.0, tag=1))
    opened.strike({1})
    assert not opened.holds(requests[0])


def test_what_is_given_back_in_a_list_is_not_searched_for_each_delivery() -> None:
    class Unsearchable(list[int]):
        def __contains__(self, _: object) -> bool:
            raise AssertionError("10,000 deliveries would take 50,000,000 comparisons, on the event loop")

    opened, _ = delivered(3)
    opened.strike(Unsearchable([1, 2, 3]))
    assert len(opened) == 0
