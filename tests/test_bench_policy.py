"""The policy bench: its simulator is right, its rivals are fair, and its figures are exact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from pprint import pformat
from random import Random

import pytest

from benches.policy import estimator, plan
from benches.policy.__main__ import estimator as show_estimator
from benches.policy.__main__ import main
from benches.policy.cells import Both, Cell, Closed, Open, Oracle, Overload, Padded
from benches.policy.loads import MIDDLE, Backlog, bursty
from benches.policy.peers import AUTO, GREEDY, CorkPolicy
from benches.policy.summary import Found, Score, measure_all
from benches.policy.verdicts import verdicts
from rpcb_trio import AutoPolicy, FixedPolicy, Request
from rpcb_trio.batching import Batch, Ending, Pending, Run, Trigger
from rpcb_trio.simulation import Arrival, OpenLoad, linear, simulate

FIGURES: Mapping[str, Mapping[str, float]] = {
    "200/s": {"greedy": 1.004524945},
    "Poisson 0.3": {"auto": 1.067384062, "greedy": 1.067384062},
    "Poisson 0.9": {"auto": 1.048483309, "greedy": 1.048483309},
    "bursty 0.5": {"auto": 1.028532748, "greedy": 1.028532748},
    "2 callers, 1 ms": {"auto": 1.023882287, "greedy": 1.863034359},
    "10 callers, 1 ms": {"auto": 1.066140066, "greedy": 1.633890752},
    "1.2, patience 2": {"auto": 0.956038647, "greedy": 0.578542673},
    "Poisson 0.3 and 5 callers, 1 ms": {"auto": 0.884163139, "greedy": 1.0},
    "sigma 0.8, 256 pending": {"auto": 3.639505819, "greedy": 1.0},
}
"""Ratios to the bounds. When a policy was changed on purpose, the failing test prints what belongs here."""


def a_small_part() -> list[Cell]:
    return plan.quick(300)


@pytest.fixture(scope="module")
def found() -> list[Found]:
    return measure_all(a_small_part(), seeds=2, processes=1)


def test_the_policies_do_as_well_as_they_did(found: list[Found]) -> None:
    figures = {
        each.cell.name: {
            name: round(each.scores[name].mean, 9) for name in (AUTO, GREEDY) if name in each.scores
        }
        for each in found
    }
    now = f"the figures are now\n{pformat(figures, sort_dicts=False, width=100)}"
    assert figures.keys() == FIGURES.keys(), now
    for name, expected in FIGURES.items():
        assert figures[name] == pytest.approx(expected, rel=1e-6), now


def test_no_policy_beats_a_bound(found: list[Found]) -> None:
    for each in found:
        for score in each.scores.values():
            if isinstance(each.cell, Open):
                assert min(score.ratios) >= 1 - 1e-9
            if isinstance(each.cell, Overload):
                assert max(score.ratios) <= 1


def test_figures_do_not_depend_on_how_many_processes_find_them() -> None:
    cells = [
        Open(requests=30, shape="bursty", load=0.5),
        Both(requests=30, load=0.3, callers=2, think_ms=1.0),
        Padded(requests=64, sigma=0.6, depth=32),
    ]
    assert measure_all(cells, seeds=2, processes=2) == measure_all(cells, seeds=2, processes=1)


@pytest.mark.parametrize(
    ("rate", "exact", "tolerance"),
    [(50.0, 29.93, 0.01), (200.0, 38.62, 0.01), (400.0, 51.43, 0.02), (550.0, 69.54, 0.04)],
)
def test_simulated_greedy_agrees_with_its_exact_markov_chain(
    rate: float, exact: float, tolerance: float
) -> None:
    [oracle] = measure_all([Oracle(requests=5000, rate=rate)], seeds=2, processes=1)
    assert 1e3 * oracle.bound == pytest.approx(exact, abs=0.005)
    assert oracle.scores[GREEDY].mean == pytest.approx(1.0, abs=tolerance)


def test_bursts_have_the_mean_rate_and_pauses_between_them() -> None:
    arrivals = bursty(Random(1), rate=100.0, requests=60_000, burst=0.2)  # noqa: S311 - no secret
    assert len(arrivals) / arrivals[-1] == pytest.approx(100.0, rel=0.05)
    gaps = [after - before for before, after in pairwise(arrivals)]
    pauses = [gap for gap in gaps if gap > 0.1]  # a gap in a burst has a mean of a thirtieth of that
    assert sum(pauses) / arrivals[-1] == pytest.approx(0.6, abs=0.05)  # of the two thirds; some are shorter


def test_a_backlog_is_as_deep_as_it_was_set_until_it_runs_out() -> None:
    found = simulate(FixedPolicy(4), Backlog(10, [1.0] * 40), linear(1.0, 0.0))
    in_system = [
        sum(each.arrival.at <= batch.closed < (each.finished or 0.0) for each in found.requests)
        for batch in found.batches
    ]
    assert in_system == [10] * 8 + [8, 4]


def test_each_kind_of_load_is_the_same_for_every_policy_and_differs_by_seed() -> None:
    for cell in a_small_part():
        policy = FixedPolicy(cell.device.max_batch_size)
        assert cell.figure(policy, 1) == cell.figure(FixedPolicy(cell.device.max_batch_size), 1)
        assert cell.figure(policy, 1) != cell.figure(policy, 2)


def test_of_a_cold_start_in_lock_step_only_the_first_batches_do_not_count() -> None:
    alone = Closed(device=MIDDLE, requests=40, callers=1, think_ms=1.0)
    assert alone.figure(FixedPolicy(32), 0) == pytest.approx(alone.bound(0))


def pending(*arrivals: float) -> tuple[Pending, ...]:
    return tuple(Pending(Request(body=b"", arrived=at), None) for at in arrivals)


def trained(*, wait: float) -> CorkPolicy:
    """Has seen t = 1 + 0.1 b, and such a mean wait."""
    policy = CorkPolicy(8, max_latency=5.0)
    for size in (1, 1, 2, 4):
        batch = Batch(id=1, members=pending(*[0.0] * size), trigger=Trigger.WAIT, closed=wait)
        policy.completed(batch, (Run(batch.work, 1 + 0.1 * size, Ending.COMPUTED),), 0.0)
    return policy


def test_bentomls_rule_releases_at_once_while_it_has_learned_nothing() -> None:
    assert CorkPolicy(8).decide(pending(1.0), 1.0, final=False).batch


def test_bentomls_rule_holds_while_that_costs_all_less_than_their_usual_wait() -> None:
    waiting = pending(9.8, 10.0)
    decision = trained(wait=1.0).decide(waiting, 10.0, final=False)
    # until 2 * (age of the newest + a tick + one more's computing) is 0.95 of the wait
    assert decision.batch == ()
    assert decision.hold_until == pytest.approx(10.0 + 0.95 / 2 - 0.001 - 0.1)
    released = trained(wait=1.0).decide(waiting, decision.hold_until, final=False)
    assert (released.batch, released.trigger) == (waiting, Trigger.WAIT)


def test_bentomls_rule_holds_nobody_beyond_the_latency_goal() -> None:
    decision = trained(wait=50.0).decide(pending(10.0), 10.0, final=False)
    assert decision.hold_until == pytest.approx(10.0 + 5.0 - 1.1)
    assert trained(wait=50.0).decide(pending(10.0), 10.0, final=True).batch


def test_bentomls_rule_releases_a_full_batch_and_lets_the_expired_go() -> None:
    load = OpenLoad([*[Arrival(0.0)] * 12, Arrival(0.5, deadline=0.75)])
    found = simulate(CorkPolicy(8), load, linear(1.0, 0.0))
    assert [each.size for each in found.batches] == [8, 4]
    assert [each.refused for each in found.requests].count("expired") == 1


def test_a_promise_is_judged_by_its_worst_cell() -> None:
    found = [
        Found(cell, 1.0, {AUTO: Score.of([auto]), GREEDY: Score.of([1.05])})
        for cell, auto in (
            (Open(shape="Poisson", load=0.1), 1.04),
            (Open(shape="Poisson", load=0.3), 1.18),
            (Overload(load=1.2, patience=2.0), 0.98),
        )
    ]
    of_mean, of_each, to_greedy, in_time = verdicts(found)
    assert of_mean.found == pytest.approx(1.11)
    assert (of_each.where, of_each.found) == ("20+b, Poisson 0.3", 1.18)
    assert to_greedy.found == pytest.approx(1.18 / 1.05)
    assert in_time.found == 0.98
    assert [each.kept for each in (of_mean, of_each, to_greedy, in_time)] == [False, False, False, True]


def test_the_bench_prints_its_verdicts_and_writes_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, plot = tmp_path / "deep" / "results.json", tmp_path / "plots" / "plot.png"
    main(seeds=1, requests=60, processes=1, quick=True, json=results, plot=plot)
    printed = capsys.readouterr().out
    assert "What is promised of auto" in printed
    assert "BentoML" in printed
    written = json.loads(results.read_text())
    assert written["bench"] == "policy"
    kinds = {each["cell"]["kind"] for each in written["results"] if "cell" in each}
    assert kinds == {"oracle", "open", "lock step", "overload", "mixed", "padded"}
    assert all(
        {"promise", "kept", "found"} <= each.keys() for each in written["results"] if "cell" not in each
    )
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_policy_in_which_nothing_is_changed_decides_as_the_default_policy_does() -> None:
    cell = estimator.Learning(requests=100, load="padded", law="20+10b padded")
    assert cell.bound(1) == cell.figure(AutoPolicy(estimator.SIZE), 1)
    assert cell.bound(1) != cell.figure(cell.rivals["a line"](), 1)


def test_the_estimators_bench_prints_a_column_for_each_mechanism(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show_estimator(seeds=1, requests=20, processes=1, json=tmp_path / "results.json")
    printed = capsys.readouterr().out
    assert all(name in printed for name in estimator.CHANGES)
    assert json.loads((tmp_path / "results.json").read_text())["bench"] == "estimator"
