"""The bench of the models writes what it promises, and computes it rightly; how fast is not asked here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches import models
from benches.batching import Run, fitted_line, padding_share, verdict
from benches.report import Spread

SPREAD = {"median", "lowest", "highest", "rounds"}
AMOUNTS = [4.0, 8.0, 16.0, 32.0]


def run_with(size: int, *ratios: float) -> Run:
    flat = Spread.of([1.0])
    return Run(
        kind="equal",
        batch_size=size,
        seconds=1,
        batch_ms=flat,
        ms_per_second=flat,
        ratio_to_one=Spread.of(ratios),
        padding=0,
    )


def test_each_batch_size_is_measured_with_clips_equal_and_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "deep" / "results.json"
    plot = results.with_suffix(".png")
    models.main(model=("dtln",), sizes=(1, 2), repeats=1, seconds=0.5, json=results, plot=plot)
    written = json.loads(results.read_text())
    assert written["bench"] == "models"
    assert written["settings"]["sizes"] == [1, 2]
    (found,) = written["results"]
    assert found["model"] == "dtln"
    assert found["fit"].keys() == {"fixed_ms", "ms_per_second", "r_squared"}
    assert found["verdict"].keys() == {"equal", "mixed"}
    plans = [(run["kind"], run["batch_size"]) for run in found["runs"]]
    assert plans == [("equal", 1), ("equal", 2), ("mixed", 1), ("mixed", 2)]
    for run in found["runs"]:
        for figure in ("batch_ms", "ms_per_second", "ratio_to_one"):
            assert run[figure].keys() == SPREAD
            assert run[figure]["median"] > 0
    assert [run["padding"] > 0 for run in found["runs"]] == [False, False, False, True]
    assert [run["seconds"] for run in found["runs"][:2]] == [0.5, 1.0]
    assert plot.stat().st_size > 0
    assert "dtln, one thread" in capsys.readouterr().out


@pytest.mark.parametrize("model", models.MODELS)
def test_every_model_takes_a_batch(model: models.Model) -> None:
    clips = models.clips_of("mixed", 2, seconds=0.5, seed=1)
    assert len(models.loaded(model)(clips)) == 2


def test_the_order_of_recordings_depends_on_the_seed_alone() -> None:
    first, again, other = (
        [len(clip) for clip in models.clips_of("mixed", 27, seconds=1, seed=seed)] for seed in (0, 0, 1)
    )
    assert first == again != other
    assert first[25:] == first[:2]


@given(fixed=st.floats(0, 1000), slope=st.floats(0.01, 100))
def test_a_line_is_found_again_from_its_points(fixed: float, slope: float) -> None:
    line = fitted_line(AMOUNTS, [fixed + slope * amount for amount in AMOUNTS])
    assert line.fixed_ms == pytest.approx(fixed, rel=1e-6, abs=1e-6)
    assert line.ms_per_second == pytest.approx(slope, rel=1e-6, abs=1e-9)
    assert [line.at(amount) for amount in AMOUNTS] == pytest.approx([fixed + slope * a for a in AMOUNTS])


def test_the_share_of_variation_that_a_line_explains_is_told() -> None:
    exact = fitted_line(AMOUNTS, [10, 18, 34, 66])
    rough = fitted_line(AMOUNTS, [10, 30, 20, 66])
    assert exact.r_squared == pytest.approx(1)
    assert 0 < rough.r_squared < 0.9


@pytest.mark.parametrize(
    ("milliseconds", "which"),
    [([1.0, 3.0, 9.0, 27.0], "fixed_ms"), ([9.0, 8.0, 7.0, 6.0], "ms_per_second")],
)
def test_no_coefficient_is_negative(milliseconds: list[float], which: str) -> None:
    line = fitted_line(AMOUNTS, milliseconds)
    assert getattr(line, which) == 0
    assert line.at(10) > 0


def test_padding_is_what_batches_hold_beyond_their_clips() -> None:
    assert padding_share([[4, 4], [4, 4]]) == 0
    assert padding_share([[1, 4], [3, 4]]) == pytest.approx(4 / 16)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({1: 1.0, 2: 1.2, 4: 1.5}, "pays in batches of 2, 4; best 1.50x, in batches of 4"),
        ({1: 1.0, 2: 1.04, 4: 0.97}, "batching does not pay; best 1.04x, in batches of 2"),
        (
            {1: 1.0, 2: 1.1, 4: 0.8},
            "pays in batches of 2, costs more in batches of 4; best 1.10x, in batches of 2",
        ),
        ({1: 1.0}, "nothing to compare"),
    ],
)
def test_the_verdict_says_where_batching_does_not_pay(ratios: dict[int, float], said: str) -> None:
    assert verdict([run_with(size, ratio) for size, ratio in ratios.items()]) == said


def test_a_gain_that_one_round_contradicts_is_none() -> None:
    assert verdict([run_with(2, 1.3, 1.2, 0.98)]).startswith("batching does not pay")


@pytest.mark.parametrize("wrong", [{"sizes": (2, 3)}, {"sizes": (0, 2)}, {"repeats": 0}, {"seconds": 0.0}])
def test_what_cannot_be_measured_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        models.checked(**{"sizes": (1, 2), "repeats": 1, "seconds": 1.0} | wrong)  # type: ignore[arg-type] # of any setting
