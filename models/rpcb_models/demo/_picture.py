"""The picture: spectrograms before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rpcb_models.audio import SAMPLE_RATE, read_audio
from rpcb_models.demo._enhance import Result

WINDOW = 512
FLOOR = -100  # dB


def draw_spectrograms(file: Path, results: Sequence[Result]) -> None:
    """Draw each clip's spectrogram, noisy above enhanced, into a PNG file."""
    figure = Figure(figsize=(6 * len(results), 7), layout="constrained")
    axes = figure.subplots(2, len(results), sharex="col", sharey=True, squeeze=False)
    for column, result in enumerate(results):
        both = {"noisy": result.clip.noisy, "enhanced": read_audio(result.heard.enhanced)}
        for row, (title, samples) in enumerate(both.items()):
            axis = axes[row, column]
            axis.specgram(
                samples, NFFT=WINDOW, Fs=SAMPLE_RATE, noverlap=WINDOW // 2, vmin=FLOOR, vmax=-30, cmap="magma"
            )
            axis.set_title(f"{result.clip.name}, {result.clip.noise}: {title}")
    figure.supxlabel("seconds")
    figure.supylabel("Hz")
    figure.savefig(file, dpi=100)
