"""The echo bench's arithmetic: ratios and verdicts."""

from __future__ import annotations

import pytest

from benches import echo
from benches.cases import CASES, SERVERS, TARGETS, WORKER, Target
from benches.costs import Turn, ratio, summary, verdict, verdicts


def turn(cpu_us: float, mean_ms: float = 1.0) -> Turn:
    return Turn(
        cpu_us=cpu_us,
        mean_ms=mean_ms,
        p50_ms=mean_ms,
        p99_ms=mean_ms,
        messages_per_second=1e3,
        peak_rss_mib=30.0,
    )


def test_ratios_are_taken_round_by_round() -> None:
    rounds = {WORKER: [turn(20), turn(90), turn(20)], "floor": [turn(10), turn(30), turn(5)]}
    found = ratio(rounds, "cpu_us", WORKER, "floor")
    assert found is not None
    assert found.rounds == (2, 3, 4)
    assert found.median == 3
    assert summary("flood", WORKER, rounds).ratio_to_floor == found


def test_a_server_that_took_no_part_is_compared_with_nothing() -> None:
    rounds = {WORKER: [turn(20)]}
    assert ratio(rounds, "cpu_us", WORKER, "floor") is None
    assert summary("flood", WORKER, rounds).ratio_to_floor is None


@pytest.mark.parametrize(("cpu_us", "kept"), [(10, True), (20, True), (21, False)])
def test_a_target_is_kept_up_to_its_bound(cpu_us: float, kept: bool) -> None:  # noqa: FBT001 - a parameter
    rounds = {WORKER: [turn(cpu_us)], "floor": [turn(10)]}
    found = verdict(Target("flood", "cpu_us", "floor", 2.0), {"flood": rounds})
    assert found is not None
    assert found.kept == kept


def test_one_odd_round_decides_no_target() -> None:
    rounds = {WORKER: [turn(10), turn(90), turn(11)], "floor": [turn(10)] * 3}
    found = verdict(Target("flood", "cpu_us", "floor", 2.0), {"flood": rounds})
    assert found is not None
    assert found.kept


def test_targets_that_a_run_cannot_tell_of_are_left_out() -> None:
    without_worker = {"flood": {"floor": [turn(10)]}}
    without_others = {"large": {WORKER: [turn(10)]}}
    assert verdicts({**without_worker, **without_others}) == []


def test_every_target_names_a_server_that_takes_part_in_its_case() -> None:
    assert all({WORKER, target.server} <= set(CASES[target.case].servers) for target in TARGETS)


def test_cases_and_servers_are_chosen_by_name_in_our_order() -> None:
    assert echo.chosen("server", ("floor", "worker"), SERVERS) == ["worker", "floor"]
    assert echo.chosen("case", (), CASES) == list(CASES)
    with pytest.raises(SystemExit, match=r"no case is called fleet; there are flood, one-caller"):
        echo.chosen("case", ("fleet",), CASES)
