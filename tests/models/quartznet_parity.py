"""Compute what NeMo computed, and write it into an npz: `python -m tests.models.quartznet_parity OUT.npz`.

A process of its own, run with `MKL_CBWR=COMPATIBLE`: from one kind of processor to the next the quietest mel
bands differ by 2e-5, by the Fourier transform's rounding alone, and NeMo's arrays are of one kind.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from rpcb_models.asr.quartznet._archive import read_checkpoint
from rpcb_models.asr.quartznet._config import config_of
from rpcb_models.asr.quartznet._loading import network_of

DATA = Path(__file__).parents[1] / "data" / "nemo"
CHECKPOINTS = {"plain": "nemo3_quartznet_tiny_en.nemo", "old": "nemo_a5style_quartznet_tiny_en.nemo"}
REFERENCES = {"3.0": "nemo3_quartznet_tiny_en.npz", "1.2": "nemo12_quartznet_tiny_en.npz"}


def computed(checkpoint: str, features: str, pad_to: int) -> dict[str, np.ndarray]:
    """Features and log-probabilities of the reference's clips in one batch, and how many frames count."""
    read = read_checkpoint(DATA / CHECKPOINTS[checkpoint])
    config = config_of(read.config)
    config = replace(config, spectrogram=msgspec.structs.replace(config.spectrogram, pad_to=pad_to))
    network = network_of(config, read.weights, features=features)
    clips = np.load(DATA / REFERENCES[features])
    audio, lengths = torch.from_numpy(clips["audio"]), torch.from_numpy(clips["audio_len"])
    with torch.inference_mode():
        found, frames = network.preprocessor.featurizer(audio, lengths)
        log_probs, encoded = network(audio, lengths)
    named = {"feat": found, "feat_len": frames, "logprobs": log_probs, "enc_len": encoded}
    return {name: tensor.numpy() for name, tensor in named.items()}


def main(output: str) -> None:
    """Write all of them; the keys are joined by a slash."""
    torch.set_num_threads(1)
    arrays = {
        f"{checkpoint}/{features}/{pad_to}/{name}": array
        for checkpoint in CHECKPOINTS
        for features in REFERENCES
        for pad_to in (0, 16)
        for name, array in computed(checkpoint, features, pad_to).items()
    }
    np.savez(output, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
