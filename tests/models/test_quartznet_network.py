"""Any Jasper or QuartzNet is built as its configuration says, or the option that can't be is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcb_models.asr.quartznet._config import config_of
from rpcb_models.asr.quartznet._loading import network_of
from rpcb_models.asr.quartznet._network import Network
from rpcb_trio import SettingError
from tests.models.nemo_files import DATA, block, changed, configuration, random_weights

SMALL = configuration()


def full_15x5() -> dict[str, Any]:
    sizes = [(256, 33), (256, 39), (512, 51), (512, 63), (512, 75)]
    return configuration(
        block(256, 33, stride=[2]),
        *(block(filters, kernel, 5, residual=True) for filters, kernel in sizes for _ in range(3)),
        block(512, 87, dilation=[2]),
        block(1024, 1, separable=False),
    )


def outputs(config: dict[str, Any], clips: list[torch.Tensor]) -> list[torch.Tensor]:
    """Log-probabilities of clips in one batch, each of its own frames alone."""
    network = network_of(config_of(config), random_weights(config))
    lengths = torch.tensor([len(clip) for clip in clips])
    with torch.inference_mode():
        found, frames = network(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
    return [row[:count] for row, count in zip(found, frames.tolist(), strict=True)]


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_the_full_15x5_has_exactly_its_639_keys_and_shapes() -> None:
    published = json.loads((DATA / "quartznet15x5_en.state_dict_keys.json").read_text())
    with torch.device("meta"):
        network = Network(config_of(full_15x5()))
    found = {key: [list(tensor.shape), str(tensor.dtype)] for key, tensor in network.state_dict().items()}
    assert found == published
    assert len(found) == 639
    assert sum(tensor.numel() for tensor in network.parameters()) == 18_924_381


JASPERS = {
    "plain": [block(8, 11, 2, separable=False, stride=[2]), block(12, 13, 2, separable=False, residual=True)],
    "separable": [block(8, 11, stride=[2]), block(12, 13, 3, residual=True), block(12, 7, dilation=[3])],
    "dense": [
        block(8, 11, separable=False, stride=[2]),
        block(12, 5, 2, separable=False, residual=True, residual_dense=True),
        block(10, 5, 2, separable=False, residual=True, residual_dense=True),
        block(10, 5, 2, separable=False, residual=True, residual_dense=True),
        block(9, 1, separable=False),
    ],
}


@pytest.mark.parametrize("name", JASPERS)
def test_blocks_of_every_kind_give_a_distribution_a_frame(name: str) -> None:
    (found,) = outputs(configuration(*JASPERS[name]), [noise(16_000)])
    assert found.shape[1] == 29
    torch.testing.assert_close(found.exp().sum(1), torch.ones(len(found)))


def test_a_dense_block_adds_what_all_dense_blocks_before_it_gave() -> None:
    with torch.device("meta"):
        network = Network(config_of(configuration(*JASPERS["dense"])))
    shapes = {
        key.removeprefix("encoder.encoder."): list(tensor.shape)
        for key, tensor in network.state_dict().items()
        if "res" in key and key.endswith("conv.weight")
    }
    assert shapes == {
        "1.res.0.0.conv.weight": [12, 8, 1],
        "2.res.0.0.conv.weight": [10, 8, 1],
        "2.res.1.0.conv.weight": [10, 12, 1],
        "3.res.0.0.conv.weight": [10, 8, 1],
        "3.res.1.0.conv.weight": [10, 12, 1],
        "3.res.2.0.conv.weight": [10, 10, 1],
    }


def test_half_precision_casts_the_convolutions_once_and_no_normalisation() -> None:
    config = configuration()
    network = network_of(config_of(config), random_weights(config))
    halved = network_of(config_of(config), random_weights(config))
    halved.halve(torch.bfloat16)
    kinds = {
        type(layer): {each.dtype for each in layer.parameters()}
        for layer in halved.modules()
        if layer._parameters
    }
    assert kinds == {torch.nn.Conv1d: {torch.bfloat16}, torch.nn.BatchNorm2d: {torch.float32}}
    audio, lengths = (
        torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)),
        torch.tensor([8000, 5000]),
    )
    with torch.inference_mode():
        (whole, frames), (half, same) = network(audio, lengths), halved(audio, lengths)
    assert half.dtype == torch.float32
    assert frames.tolist() == same.tolist()
    for row, other, count in zip(whole, half, frames.tolist(), strict=True):
        assert (row[:count].exp() - other[:count].exp()).abs().max() < 0.05


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(sorted(JASPERS)),
    samples=st.integers(320, 20_000),
    mates=st.lists(st.integers(1, 30_000), max_size=3),
    place=st.integers(0, 3),
    pad_to=st.sampled_from([0, 16]),
)
def test_a_clips_result_does_not_depend_on_its_batch(
    name: str, samples: int, mates: list[int], place: int, pad_to: int
) -> None:
    config = changed(configuration(*JASPERS[name]), "preprocessor.pad_to", pad_to)
    clip = noise(samples)
    clips = [noise(length, seed) for seed, length in enumerate(mates, 1)]
    place = min(place, len(mates))
    (alone,) = outputs(config, [clip])
    together = outputs(config, [*clips[:place], clip, *clips[place:]])[place]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("features", ["3.0", "1.2"])
def test_the_shortest_clips_have_few_frames_or_none(features: str) -> None:
    network = network_of(config_of(SMALL), random_weights(SMALL), features=features)
    with torch.inference_mode():
        found, frames = network(torch.zeros(4, 512), torch.tensor([0, 1, 160, 511]))
    assert frames.tolist() == ([0, 0, 1, 2] if features == "3.0" else [1, 1, 1, 2])
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("preprocessor.sample_rate", 8000),
        ("preprocessor.normalize", "all_features"),
        ("preprocessor.log", False),
        ("preprocessor.mag_power", 1.0),
        ("preprocessor.frame_splicing", 3),
        ("preprocessor.stft_conv", True),
        ("preprocessor.pad_to", "max"),
        ("preprocessor.new_option", 1),
        ("preprocessor._target_", "nemo.collections.asr.modules.AudioToMFCCPreprocessor"),
        ("encoder._target_", "nemo.collections.asr.modules.ConformerEncoder"),
        ("encoder.activation", "hardtanh"),
        ("encoder.normalization_mode", "layer"),
        ("encoder.feat_in", 80),
        ("encoder.new_option", 1),
        ("encoder.jasper", []),
        ("encoder.jasper", "all"),
        ("encoder.jasper.1.se", True),
        ("encoder.jasper.1.groups", 2),
        ("encoder.jasper.1.heads", 4),
        ("encoder.jasper.1.kernel_size_factor", 0.5),
        ("encoder.jasper.1.residual_mode", "stride_add"),
        ("encoder.jasper.1.new_option", 1),
        ("encoder.jasper.1.kernel", [3, 3]),
        ("encoder.jasper.1.kernel", [4]),
        ("encoder.jasper.1.kernel", [0]),
        ("encoder.jasper.1.repeat", 10**9),
        ("encoder.jasper.1.filters", "many"),
        ("encoder.jasper.1.stride", [2]),
        ("encoder.jasper.0.residual_dense", True),
        ("encoder.jasper.1.stride_last", True),
        ("decoder.feat_in", 9),
        ("decoder.num_classes", 7),
        ("decoder.vocabulary", ["a", 1]),
        ("labels", "abc"),
        ("labels", None),
        ("encoder", "none"),
        ("tokenizer", {}),
    ],
)
def test_what_is_not_supported_is_named(path: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        config_of(changed(SMALL, path, value))
    line = str(caught.value)
    assert path.rsplit(".", maxsplit=1)[-1].replace("_target_", str(value)) in line
    assert "\n" not in line


def test_a_window_longer_than_its_transform_or_none_at_all_is_refused() -> None:
    for path, value in (("preprocessor.window_size", None), ("preprocessor.n_fft", 256)):
        with pytest.raises(SettingError, match="don't fit together"):
            config_of(changed(SMALL, path, value))


def test_a_missing_section_is_named() -> None:
    for name in ("preprocessor", "encoder", "decoder"):
        with pytest.raises(SettingError, match=name):
            config_of({key: SMALL[key] for key in SMALL if key != name})
    with pytest.raises(SettingError, match=r"encoder\.params"):
        config_of(changed(SMALL, "encoder", {"cls": "ConvASREncoder"}))
    mixed = configuration(*JASPERS["dense"][:2], block(12, 5, residual=True))
    with pytest.raises(SettingError, match="mixes residual_dense"):
        config_of(mixed)


def test_options_of_training_alone_are_read_over() -> None:
    config = changed(SMALL, "preprocessor.dither", 1e-5)
    config = changed(config, "encoder.conv_mask", value=False)
    config = changed(config, "decoder.init_mode", "xavier_uniform")
    assert config_of(config).encoder.jasper == config_of(SMALL).encoder.jasper
