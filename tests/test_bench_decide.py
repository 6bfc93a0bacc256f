"""What `python -m benches.decide` measures is what it says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benches.decide import KINDS, LAW, POLICIES, Backlog, measure
from rpcb_trio import FixedPolicy
from rpcb_trio.batching import Decision, Pending
from rpcb_trio.simulation import simulate


class Watching(FixedPolicy):
    """Knows how many it was shown, at each decision."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int] = []

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        self.shown.append(len(pending))
        return super().decide(pending, now, final=final, others_idle=others_idle)


def test_the_load_keeps_so_many_waiting_until_all_have_been_sent() -> None:
    policy = Watching()
    found = simulate(policy, Backlog(KINDS["all alike"], 100, 320), LAW)
    assert len(found.requests) == 420
    assert policy.shown[:-3] == [100] * 11


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_of_every_kind_is_told_of_decided_and_learned_from(policy: str, kind: str) -> None:
    cost = measure(policy, kind, 10, 100, 1)
    assert cost.arrived > 0
    assert cost.decide > 0
    assert cost.completed > 0
    assert cost.whole > cost.own
