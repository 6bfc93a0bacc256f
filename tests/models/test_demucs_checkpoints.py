"""A `.th` file becomes a network without running what is in it, or one line says what is wrong with it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rpcb_models.se.checkpoint import Given, _agreed, load_demucs
from rpcb_models.se.demucs import DemucsNet, DemucsShape
from rpcb_trio import SettingError

DATA = Path(__file__).parents[1] / "data" / "demucs"
PLAIN = DATA / "demucs_h4_causal.th"

State = dict[str, Any]


def state() -> State:
    return dict(torch.load(PLAIN, weights_only=True))


def refusal(path: Path, **given: Any) -> str:
    with pytest.raises(SettingError) as caught:
        load_demucs(path, **given)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_package_of_the_trainers_is_the_same_network_as_its_plain_weights() -> None:
    plain, package = load_demucs(PLAIN, stride=4, resample=4), load_demucs(DATA / "demucs_h4_causal.pkg.th")
    assert plain.shape == package.shape
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, package.state_dict()[name])


def test_a_package_tells_what_weights_cannot(tmp_path: Path) -> None:
    kwargs = {"hidden": 4, "stride": 2, "resample": 2, "floor": 0.01, "sample_rate": 16_000}
    shape = load_demucs(saved(tmp_path / "package.th", {"kwargs": kwargs, "state": state()})).shape
    assert (shape.stride, shape.resample, shape.floor) == (2, 2, 0.01)
    assert shape.widths == (4, 8, 16, 32, 64)
    shape = load_demucs(saved(tmp_path / "loud.th", {"kwargs": {"normalize": False}, "state": state()})).shape
    assert (shape.normalize, shape.stride, shape.resample) == (False, 4, 4)


@pytest.mark.parametrize("given", [{}, {"stride": 2}, {"resample": 2}])
def test_weights_alone_do_not_tell_stride_and_resample_and_are_refused_without_them(given: State) -> None:
    text = refusal(PLAIN, **given)
    assert ("stride" if "stride" not in given else "resample") in text
    shape = load_demucs(PLAIN, stride=2, resample=1, normalize=False).shape
    assert (shape.stride, shape.resample, shape.normalize) == (2, 1, False)


def test_what_a_package_tells_can_not_be_overruled() -> None:
    package = DATA / "demucs_h4_causal.pkg.th"
    assert load_demucs(package, stride=4, resample=4, normalize=True).shape == load_demucs(package).shape
    for name, value in {"stride": 2, "resample": 1, "normalize": False}.items():
        assert f"leave {name} out" in refusal(package, **{name: value})


@pytest.mark.parametrize("given", [{"stride": 0}, {"resample": 3}, {"stride": 65}])
def test_a_value_that_no_network_has_is_refused(given: State) -> None:
    with pytest.raises(SettingError, match=next(iter(given))):
        load_demucs(PLAIN, **given)


def test_the_public_networks_need_nothing_said() -> None:
    with torch.device("meta"):
        weights = DemucsNet(DemucsShape()).state_dict()
    kernels = [weights[f"encoder.{level}.0.weight"] for level in range(5)]
    assert (
        _agreed(PLAIN, kernels, None, Given()).stride,
        _agreed(PLAIN, kernels, None, Given()).resample,
    ) == (4, 4)
    with pytest.raises(SettingError, match="stride"):
        _agreed(PLAIN, kernels[:4], None, Given())


@pytest.mark.parametrize("packaged", [True, False])
def test_a_network_without_gates_is_known_by_its_weights(tmp_path: Path, *, packaged: bool) -> None:
    torch.manual_seed(0)
    genuine = DemucsNet(DemucsShape(widths=(4, 8), stride=2, resample=2, glu=False)).eval()
    weights = genuine.state_dict()
    assert weights["encoder.0.2.weight"].shape == (4, 4, 1)
    kwargs = {"hidden": 4, "depth": 2, "stride": 2, "resample": 2, "glu": False}
    if packaged:
        network = load_demucs(saved(tmp_path / "package.th", {"kwargs": kwargs, "state": weights}))
    else:
        network = load_demucs(saved(tmp_path / "plain.th", weights), stride=2, resample=2)
    assert network.shape == genuine.shape
    assert not any(isinstance(module, torch.nn.GLU) for module in network.modules())


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in state().items()}
    network = load_demucs(saved(tmp_path / "halves.th", halves), stride=4, resample=4)
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}


def missing(weights: State) -> None:
    del weights["decoder.1.2.bias"]


def one_too_many(weights: State) -> None:
    weights["attention.weight"] = torch.zeros(1)


def another_shape(weights: State) -> None:
    weights["decoder.4.0.weight"] = torch.zeros(8, 4, 3)


def no_encoder(weights: State) -> None:
    del weights["encoder.0.0.weight"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (missing, "'decoder.1.2.bias' is missing"),
        (one_too_many, "'attention.weight' is one too many"),
        (another_shape, "decoder.4.0.weight has the shape (8, 4, 3), not (8, 4, 1)"),
        (no_encoder, "no encoder.0.0.weight"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, change: Callable[[State], None], named: str) -> None:
    weights = state()
    change(weights)
    assert named in refusal(saved(tmp_path / "other.th", weights), stride=4, resample=4)


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"attention": True}, "attention"),
        ({"resample": 3}, "resample"),
        ({"stride": 0}, "stride"),
        ({"sample_rate": 8_000}, "sample_rate"),
        ([4, 5], "kwargs"),
    ],
)
def test_a_package_of_another_network_names_the_keyword(tmp_path: Path, kwargs: object, named: str) -> None:
    assert named in refusal(saved(tmp_path / "other.th", {"kwargs": kwargs, "state": state()}))


def test_a_package_made_with_positional_arguments_is_refused(tmp_path: Path) -> None:
    package = {"args": (1, 1, 4), "kwargs": {}, "state": state()}
    assert "args" in refusal(saved(tmp_path / "other.th", package))


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"epoch": 3},
        {"state": 5},
        {},
        torch.zeros(3),
        {1: torch.zeros(3)},
        {"encoder.0.0.weight": torch.zeros(4, 1, 8, dtype=torch.int64)},
        {"encoder.0.0.weight": torch.zeros(0, 1, 8)},
    ],
)
def test_what_is_no_dictionary_of_weights_is_refused(tmp_path: Path, content: object) -> None:
    refusal(saved(tmp_path / "other.th", content))


def test_what_is_no_checkpoint_at_all_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.th"
    for content in (b"", b"RIFF", PLAIN.read_bytes()[:5000]):
        broken.write_bytes(content)
        refusal(broken)
    assert "No such file" in refusal(tmp_path / "missing.th")
    assert "directory" in refusal(tmp_path)


class Malicious:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("unpickled"),)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refusal(saved(tmp_path / "code.th", {"state": Malicious()}))
    (tmp_path / "bare.th").write_bytes(pickle.dumps(Malicious()))
    refusal(tmp_path / "bare.th")
    assert not (tmp_path / "unpickled").exists()
