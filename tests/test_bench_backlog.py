"""The bench of a backlog lets workers take turns, and sums up rightly; how fast is not asked here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import trio.testing

from benches import backlog
from benches.backlog import AUTO, FIRST_IN, ONE_BY_ONE, POLICIES, kept, verdict
from benches.mixes import FEW, MIXES, SHORT_TO_ONE_LONG, Kept, Mix, bodies_of, clips_of, lengths_of
from benches.models import MODELS, Model
from benches.report import Spread
from benches.turns import Measured, Turn, backlogged
from rpcb_models.audio import SAMPLE_RATE, Samples
from rpcb_models.audio_service import AudioService
from rpcb_models.wire import read_request
from rpcb_trio import FixedPolicy, Outcome

WAV_HEADER = 44


class Deaf(AudioService):
    """Takes clips as a recogniser does, and hears nothing in them."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Samples]] = []
        self.warmed_up = 0

    def warm_up(self) -> None:
        self.warmed_up += 1

    def decode(self, body: bytes) -> Samples:
        """Silence as long as the clip; its bytes are a wav file's."""
        return np.zeros((len(read_request(body).audio) - WAV_HEADER) // 2, np.float32)

    def infer(self, items: list[Samples]) -> list[str]:
        self.batches.append(items)
        return [""] * len(items)

    def encode(self, outcome: Outcome[str]) -> bytes:  # noqa: ARG002 - one reply will do
        return b""


def some_requests() -> Iterator[bytes]:
    bodies = bodies_of(clips_of("short", 8, 0))
    return (bodies[number % 8] for number in count())


def turn(cpu_seconds: float, *batches: Measured) -> Turn:
    return Turn(cpu_seconds, batches)


def batch(size: int, audio: float, seconds: float = 1.0, predicted: float | None = None) -> Measured:
    return Measured(size=size, audio=audio, seconds=seconds, predicted=predicted)


def auto_with(mix: Mix, ratio: float) -> Kept:
    flat = Spread.of([ratio])
    return Kept(
        mix=mix, policy=AUTO, ms_per_second=flat, ratio_to_one=flat, batch_size=1, real_to_predicted=None
    )


def test_each_policy_is_measured_with_each_mix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Deaf()
    monkeypatch.setattr(backlog, "served", lambda _: service)
    results = tmp_path / "deep" / "results.json"
    plot = results.with_suffix(".png")
    backlog.main(mix=("short", "one long"), clips=40, rounds=2, json=results, plot=plot)
    written = json.loads(results.read_text())
    assert written["bench"] == "backlog"
    assert written["settings"]["pending"] == 64
    found = written["results"]
    assert [(each["mix"], each["policy"]) for each in found] == [
        (mix, policy) for mix in ("short", "one long") for policy in POLICIES
    ]
    for each in found:
        assert len(each["ms_per_second"]["rounds"]) == len(each["ratio_to_one"]["rounds"]) == 2
        assert each["ms_per_second"]["lowest"] > 0
        assert (each["real_to_predicted"] is None) == (each["policy"] != AUTO)
    assert [each["batch_size"] for each in found if each["policy"] == ONE_BY_ONE] == [1, 1]
    assert all(1 <= each["batch_size"] <= 32 for each in found)
    assert plot.stat().st_size > 0
    assert service.warmed_up == 2 * len(POLICIES)
    assert "one by one" in capsys.readouterr().out


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_service_with_all_hooks(model: Model) -> None:
    service = backlog.served(model)
    clips = clips_of("short", 1, 0)
    cost = service.cost(service.decode(bodies_of(clips)[0]))
    assert 0 < cost <= len(clips[0]) / SAMPLE_RATE  # a recogniser leaves out what is no speech
    for hook in ("decode", "infer", "encode", "warm_up"):
        assert callable(getattr(service, hook))


async def test_a_worker_computes_only_in_its_turns_and_at_least_as_much_as_asked() -> None:
    service = Deaf()
    async with backlogged(service, FixedPolicy(4, max_wait=60), some_requests(), pending=8) as contestant:
        await contestant.take_turn(1)
        before = len(service.batches)
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.batches) == before
        taken = await contestant.take_turn(6)
        assert [each.size for each in taken.batches] == [4, 4]
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.batches) == before + 2
    assert {len(clip) for items in service.batches for clip in items} <= {
        len(clip) for clip in clips_of("short", 8, 0)
    }
    assert taken.audio == pytest.approx(
        sum(len(clip) / SAMPLE_RATE for items in service.batches[before:] for clip in items)
    )


@pytest.mark.parametrize("mix", MIXES)
def test_a_mix_depends_on_the_seed_alone(mix: Mix) -> None:
    first, again, other = ([len(clip) for clip in clips_of(mix, 48, seed)] for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 48


def test_a_mix_is_as_long_as_its_name_says() -> None:
    sent = {mix: clips_of(mix, 64, 0) for mix in MIXES}
    longest_short, shortest_long = lengths_of(sent["short"])[2], lengths_of(sent["long"])[0]
    assert longest_short < shortest_long
    kinds = [len(clip) > longest_short * SAMPLE_RATE for clip in sent["halves"]]
    assert sum(kinds) == 32
    long = [place for place, clip in enumerate(sent["one long"]) if len(clip) > longest_short * SAMPLE_RATE]
    assert long == list(range(FEW, 64, SHORT_TO_ONE_LONG + 1))
    shortest, _, longest = lengths_of(sent["log-normal"])
    assert longest > 8 * shortest


def test_rounds_are_compared_one_with_one() -> None:
    one, auto, _ = kept(
        "all",
        {
            ONE_BY_ONE: [turn(8, batch(1, 200), batch(1, 200)), turn(16, batch(1, 400))],
            AUTO: [turn(5, batch(8, 500, 6, 4)), turn(10, batch(16, 500, 3, 4), batch(6, 0, 1, 1))],
            FIRST_IN: [turn(1, batch(32, 1)), turn(1, batch(32, 1))],
        },
    )
    assert (one.policy, one.batch_size, one.real_to_predicted) == (ONE_BY_ONE, 1, None)
    assert one.ms_per_second.rounds == pytest.approx((20, 40))
    assert auto.ms_per_second.rounds == pytest.approx((10, 20))
    assert auto.ratio_to_one.rounds == pytest.approx((2, 2))
    assert auto.batch_size == pytest.approx(10)
    assert auto.real_to_predicted is not None
    assert auto.real_to_predicted.rounds == pytest.approx((1.5, 0.75, 1))


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ((1.4, 1.3), "in 2 of 2 mixes; dearer in none"),
        ((1.4, 1.1), "in 1 of 2 mixes; less so in short (1.10x); dearer in none"),
        ((0.9, 1.5), "in 1 of 2 mixes; dearer in all (0.90x)"),
    ],
)
def test_the_verdict_says_where_the_policy_falls_short(ratios: Sequence[float], said: str) -> None:
    all_clips, short_clips = ratios
    found = [auto_with("all", all_clips), auto_with("short", short_clips)]
    assert verdict(found).endswith(said)


@pytest.mark.parametrize("wrong", [(0, 1), (1, 0)])
def test_what_cannot_be_measured_is_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        backlog.checked(*wrong)
