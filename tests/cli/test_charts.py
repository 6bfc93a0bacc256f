"""Charts can be read: no label stands on another, and legends are in order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from rpcb_trio._commands._charts import draw_load, draw_ramp, draw_replay, draw_tuning
from rpcb_trio._measure import (
    Figures,
    LatencyCurve,
    Measured,
    Objective,
    Observation,
    Setting,
    Tally,
    fit_law,
)
from rpcb_trio.batching import Work
from tests.scenarios import steady


def figures(*latencies: float) -> Figures:
    tally = Tally(0.0)
    for each in latencies:
        tally.due(0.0)
        tally.latencies.add(each)
    return tally.figures()


def labels(figure: Figure) -> list[list[Text]]:
    """The labels of each axis that are drawn, in order."""
    figure.draw_without_rendering()
    axes: list[Axes] = figure.axes
    found = []
    for axis in (axis for each in axes for axis in (each.xaxis, each.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        shown = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
        found.append(shown)
    return found


def are_apart(labels: list[Text]) -> bool:
    boxes = [each.get_window_extent() for each in labels]
    return not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


@settings(steady, max_examples=30)
@given(
    first=st.sampled_from([0.001, 0.9, 1.0, 37.0, 1000.0, 99_999.0]),
    ratio=st.sampled_from([1.05, 1.3, 2.0, 8.0, 64.0, 1000.0, 1e6]),
    latency=st.sampled_from([1e-4, 0.095, 0.5, 30.0]),
)
def test_no_tick_label_of_a_ramp_stands_on_another_and_each_axis_has_some(
    first: float, ratio: float, latency: float
) -> None:
    rates = [first * ratio ** (number / 6) for number in range(7)]
    steps = {rate: figures(latency * (1 + rate / first)) for rate in rates}
    for shown in labels(draw_ramp(steps, Objective(p99=2 * latency), rates[3])):
        assert 2 <= len(shown) <= 10
        assert are_apart(shown)


@pytest.mark.parametrize("latencies", [(0.02,), (0.02, 0.021, 0.03), (1e-4, 0.5, 100.0), ()])
def test_no_tick_label_of_a_histogram_stands_on_another(latencies: tuple[float, ...]) -> None:
    assert all(map(are_apart, labels(draw_load("3 callers", figures(*latencies)))))


def test_settings_stand_in_the_legend_in_order_of_their_size_and_the_recommended_one_is_named() -> None:
    observed = tuple(Observation(Work(size, 1, size), 0.02 + 0.001 * size) for size in (1, 8))
    measured = Measured(1, (1, 8), observed, fit_law(observed))
    curves = [LatencyCurve(Setting(size, 1), (1.0, 2.0), (0.03, 0.04), (0.05, 0.06)) for size in (16, 32, 8)]
    chart = draw_tuning([measured], 1.0, curves, unit="requests/s", objective=Objective())
    legend = chart.axes[-1].get_legend()
    assert legend is not None
    names = [each.get_text() for each in legend.get_texts()]
    assert names == ["max_batch_size 8", "max_batch_size 16, recommended", "max_batch_size 32"]
    assert all(map(are_apart, labels(chart)))


def test_each_chart_has_a_title() -> None:
    charts = [
        draw_load("3 callers", figures(0.1)),
        draw_ramp({1.0: figures(0.1)}, Objective(p99=1.0), None),
        draw_replay("english: 9 requests", [0.1], [0.2]),
    ]
    assert all(chart.axes[0].get_title() for chart in charts)
