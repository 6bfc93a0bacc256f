"""QuartzNet computes what NeMo computes, whatever the archive's layout, the features and the padding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rpcb_models.asr.quartznet._archive import read_checkpoint
from rpcb_models.asr.quartznet._config import config_of
from rpcb_models.asr.quartznet._loading import network_of
from rpcb_models.asr.quartznet._text import Greedy
from tests.models.quartznet_parity import CHECKPOINTS, DATA, REFERENCES, computed

ROOT = Path(__file__).parents[2]

each_case = pytest.mark.parametrize(
    ("checkpoint", "features", "pad_to"),
    [(name, features, pad_to) for name in CHECKPOINTS for features in REFERENCES for pad_to in (0, 16)],
)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    output = tmp_path_factory.mktemp("parity") / "computed.npz"
    subprocess.run(
        [sys.executable, "-m", "tests.models.quartznet_parity", output],
        cwd=ROOT,
        env=os.environ | {"MKL_CBWR": "COMPATIBLE"},
        check=True,
    )
    return dict(np.load(output))


def reference(features: str) -> dict[str, np.ndarray]:
    return dict(np.load(DATA / REFERENCES[features]))


@each_case
def test_features_are_nemos_within_1e_5(
    arrays: dict[str, np.ndarray], checkpoint: str, features: str, pad_to: int
) -> None:
    nemo, case = reference(features), f"{checkpoint}/{features}/{pad_to}"
    np.testing.assert_array_equal(arrays[f"{case}/feat_len"], nemo[f"feat_len_pad{pad_to}"])
    np.testing.assert_allclose(arrays[f"{case}/feat"], nemo[f"feat_pad{pad_to}"], rtol=0, atol=1e-5)


@each_case
def test_log_probabilities_are_nemos_within_1e_4(
    arrays: dict[str, np.ndarray], checkpoint: str, features: str, pad_to: int
) -> None:
    nemo, case = reference(features), f"{checkpoint}/{features}/{pad_to}"
    np.testing.assert_array_equal(arrays[f"{case}/enc_len"], nemo[f"enc_len_pad{pad_to}"])
    np.testing.assert_allclose(  # they reach -130, so float32 itself steps by 1.5e-5 there
        arrays[f"{case}/logprobs"], nemo[f"logprobs_pad{pad_to}"], rtol=1e-6, atol=1e-4
    )


@each_case
def test_greedy_texts_are_nemos_on_any_processor(checkpoint: str, features: str, pad_to: int) -> None:
    found, nemo = computed(checkpoint, features, pad_to), reference(features)
    greedy = Greedy(list(reference("3.0")["vocab"]))
    texts = [greedy.text(row[:count]) for row, count in zip(found["logprobs"], found["enc_len"], strict=True)]
    assert texts == list(nemo["greedy_pad0"])
    np.testing.assert_allclose(found["logprobs"], nemo[f"logprobs_pad{pad_to}"], rtol=1e-5, atol=5e-4)


@pytest.mark.parametrize("features", REFERENCES)
@pytest.mark.parametrize("pad_to", [0, 16])
def test_the_network_is_nemos_on_nemos_own_features(features: str, pad_to: int) -> None:
    read, nemo = read_checkpoint(DATA / CHECKPOINTS["plain"]), reference(features)
    network = network_of(config_of(read.config), read.weights)
    with torch.inference_mode():
        log_probs, _ = network.recognise(
            torch.from_numpy(nemo[f"feat_pad{pad_to}"]), torch.from_numpy(nemo[f"feat_len_pad{pad_to}"])
        )
    np.testing.assert_allclose(log_probs.numpy(), nemo[f"logprobs_pad{pad_to}"], rtol=0, atol=1e-4)
