"""`python -m benches.enhancement`: how much cleaner the enhancers make speech, by kind of noise and strength.

The set is the shipped recordings under noises that are made on the spot, the same every time.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cyclopts
import msgspec
from matplotlib.figure import Figure

from benches.report import print_table, progress, write_json
from rpcb_models.noise import NOISES, NoisyClip, noisy_clips, si_sdr
from rpcb_models.se import named_enhancer

BATCH_SIZE = 16
COLOURS = ("#2a6f97", "#d1495b")

Model = Literal["dtln", "demucs"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Means over all recordings, in dB of SI-SDR."""

    model: str
    noise: str
    snr: int
    clips: int
    before: float
    after: float
    gain: float


def measure(model: str, clips: Sequence[NoisyClip]) -> list[Found]:
    """Enhance a set and compare with what is clean: a result for each noise and strength."""
    enhancer = named_enhancer(model)
    ratios: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with progress() as bar:
        task = bar.add_task(model, total=len(clips))
        for start in range(0, len(clips), BATCH_SIZE):
            batch = clips[start : start + BATCH_SIZE]
            for clip, enhanced in zip(batch, enhancer.enhance([each.noisy for each in batch]), strict=True):
                pair = si_sdr(clip.clean, clip.noisy), si_sdr(clip.clean, enhanced)
                ratios.setdefault((clip.noise, clip.snr), []).append(pair)
            bar.advance(task, len(batch))
    return [summary(model, noise, snr, pairs) for (noise, snr), pairs in ratios.items()]


def summary(model: str, noise: str, snr: int, pairs: Sequence[tuple[float, float]]) -> Found:
    """Sum up one noise at one strength."""
    before, after = (statistics.fmean(values) for values in zip(*pairs, strict=True))
    return Found(
        model=model, noise=noise, snr=snr, clips=len(pairs), before=before, after=after, gain=after - before
    )


def mean_of(found: Sequence[Found]) -> Found:
    """All of a model's results as one."""
    before = statistics.fmean(each.before for each in found)
    after = statistics.fmean(each.after for each in found)
    clips = sum(each.clips for each in found)
    model = found[0].model
    return Found(
        model=model, noise="mean", snr=0, clips=clips, before=before, after=after, gain=after - before
    )


def show(by_model: dict[Model, list[Found]]) -> None:
    """Print the table: a row for each noise and strength, and one for their mean."""
    rows = []
    for row in zip(*([*found, mean_of(found)] for found in by_model.values()), strict=True):
        snr = "" if row[0].noise == "mean" else str(row[0].snr)
        cells = [cell for each in row for cell in (f"{each.after:z.1f}", f"{each.gain:+.1f}")]
        rows.append([row[0].noise, snr, f"{row[0].before:z.1f}", *cells])
    clips = next(iter(by_model.values()))[0].clips
    print_table(
        "Speech enhancement: SI-SDR of the shipped recordings under noise",
        f"In dB, means over {clips} recordings. SNR 0: the noise is as strong as the speech.\n"
        "demucs is the small one that is shipped for trying it out, not a public checkpoint.",
        ("noise", "SNR", "noisy", *(f"{model}{what}" for model in by_model for what in ("", " gain"))),
        rows,
    )


def draw(path: Path, by_model: dict[Model, list[Found]]) -> None:
    """Lines from before to after, a panel for each noise."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, noise in zip(figure.subplots(1, len(NOISES), sharey=True), NOISES, strict=True):
        for (model, found), colour in zip(by_model.items(), COLOURS, strict=False):
            points = [each for each in found if each.noise == noise]
            axes.plot(
                [each.before for each in points],
                [each.after for each in points],
                "o-",
                color=colour,
                label=model,
            )
        axes.axline((0, 0), slope=1, color="#a9b4bd", linestyle=":", label="as before")
        axes.set_title(noise, fontsize="medium")
        axes.set_xlabel("SI-SDR before, dB")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("after, dB")
    figure.axes[-1].legend(frameon=False, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main(
    *,
    models: tuple[Model, ...] = ("dtln", "demucs"),
    every: int = 1,
    seed: int = 0,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure the SI-SDR of noisy speech before and after enhancement.

    Args:
        models: which enhancers.
        every: take each recording (1), each second one (2), and so on.
        seed: of the noises.
        json: a file for the figures.
        plot: a file for a chart.
    """
    clips = list(noisy_clips(every=every, seed=seed))
    by_model = {model: measure(model, clips) for model in models}
    show(by_model)
    if json is not None:
        results = [each for found in by_model.values() for each in found]
        write_json(json, "enhancement", {"models": models, "every": every, "seed": seed}, results)
    if plot is not None:
        draw(plot, by_model)


if __name__ == "__main__":
    cyclopts.run(main)
