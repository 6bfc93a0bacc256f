"""A `.nemo` file is read whatever its layout, or one line says what is wrong with it."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rpcb_models.asr.quartznet import _archive
from rpcb_models.asr.quartznet._archive import read_checkpoint
from rpcb_models.asr.quartznet._loading import load
from rpcb_trio import SettingError
from tests.models.nemo_files import DATA, archive, changed, configuration, nemo_file, random_weights

CONFIG = configuration()


def refusal(path: Path) -> str:
    with pytest.raises(SettingError) as caught:
        load(path, device="cpu", features="3.0")
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("legacy", [False, True])
def test_plain_and_gzipped_archives_of_old_and_new_weights_are_read(
    tmp_path: Path, mode: str, *, legacy: bool
) -> None:
    weights = random_weights(CONFIG)
    path = nemo_file(tmp_path / "a.nemo", CONFIG, weights, mode=mode, legacy=legacy)
    read = read_checkpoint(path)
    assert read.config == CONFIG
    assert all(torch.equal(read.weights[key], weights[key]) for key in weights)


def test_the_older_nesting_of_the_configuration_is_read(tmp_path: Path) -> None:
    config = dict(CONFIG)
    for name in ("preprocessor", "encoder", "decoder"):
        options = dict(config[name])
        config[name] = {"cls": options.pop("_target_"), "params": options}
    path = nemo_file(tmp_path / "old.nemo", config)
    assert load(path, device="cpu", features="3.0").labels == tuple(CONFIG["labels"])


def test_weights_in_half_precision_compute_in_single(tmp_path: Path) -> None:
    halves = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in random_weights(CONFIG).items()
    }
    network = load(nemo_file(tmp_path / "half.nemo", CONFIG, halves), device="cpu", features="3.0").network
    assert {each.dtype for each in network.parameters()} == {torch.float32}


def test_what_is_not_there_or_no_file_says_so(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.nemo")
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF....WAVE", b"\x1f\x8bnonsense", gzip.compress(b"no tar", mtime=0)]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.nemo"
    path.write_bytes(content)
    refusal(path)


def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    for name in ("nemo3_quartznet_tiny_en.nemo", "nemo_a5style_quartznet_tiny_en.nemo"):
        path = tmp_path / name
        content = (DATA / name).read_bytes()
        for end in range(1000, len(content) - 2000, 11_000):
            path.write_bytes(content[:end])
            refusal(path)


def test_an_archive_without_its_two_files_is_refused_by_name(tmp_path: Path) -> None:
    config = yaml.safe_dump(CONFIG).encode()
    assert "no model_config.yaml" in refusal(archive(tmp_path / "a.nemo", {"model_weights.ckpt": b""}))
    assert "no model_weights.ckpt" in refusal(archive(tmp_path / "b.nemo", {"model_config.yaml": config}))


@pytest.mark.parametrize(
    "config", [b"\xff\xfe\xff", b"a: [", b"- list", b"!!python/object/apply:os.system [false]", b"[" * 10_000]
)
def test_a_configuration_that_is_no_plain_map_is_refused(tmp_path: Path, config: bytes) -> None:
    members = {"model_config.yaml": config, "model_weights.ckpt": b""}
    assert "model_config.yaml" in refusal(archive(tmp_path / "a.nemo", members))


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harm",)


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"no pickle",
        pickle.dumps(Harmful()),
        pickle.dumps([1, 2]),
        pickle.dumps({"encoder": "no tensor"}),
    ],
)
def test_weights_that_are_more_or_less_than_tensors_are_refused_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    members = {"model_config.yaml": yaml.safe_dump(CONFIG).encode(), "model_weights.ckpt": weights}
    assert "model_weights.ckpt" in refusal(archive(tmp_path / "a.nemo", members))
    assert not (tmp_path / "harm").exists()


def test_a_members_path_and_links_lead_nowhere(tmp_path: Path) -> None:
    target = nemo_file(tmp_path / "good.nemo", CONFIG)
    hostile = tmp_path / "hostile.nemo"
    with tarfile.open(target) as good, tarfile.open(hostile, "w") as tar:
        link = tarfile.TarInfo("model_config.yaml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for member in good:
            content = good.extractfile(member)
            assert content is not None
            member.name = f"../../{Path(member.name).name}"
            tar.addfile(member, content)
    before = sorted(tmp_path.parent.rglob("*"))
    assert read_checkpoint(hostile).config == CONFIG
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_archive, "_MAX_ARCHIVE", 2**20)
    path = tmp_path / "bomb.nemo"
    path.write_bytes(gzip.compress(bytes(2**24)))
    assert "more than 1048576 bytes" in refusal(path)


def test_a_member_that_claims_more_than_is_there_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("model_config.yaml")
    info.size = 2**60
    path = tmp_path / "a.nemo"
    path.write_bytes(info.tobuf() + bytes(1024))
    refusal(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("missing", "its weights lack encoder.encoder.1.res.0.0.conv.weight"),
        ("additional", "its weights have encoder.encoder.7.conv.weight, which"),
        (
            "shape",
            "its weights' decoder.decoder_layers.0.bias has the shape [30]; its configuration says [29]",
        ),
    ],
)
def test_weights_that_differ_from_the_configuration_are_named(
    tmp_path: Path, change: str, named: str
) -> None:
    weights = random_weights(CONFIG)
    if change == "missing":
        del weights["encoder.encoder.1.res.0.0.conv.weight"]
    elif change == "additional":
        weights["encoder.encoder.7.conv.weight"] = torch.zeros(1)
    else:
        weights["decoder.decoder_layers.0.bias"] = torch.zeros(30)
    assert named in refusal(nemo_file(tmp_path / "a.nemo", CONFIG, weights))


def test_a_configurations_sizes_alone_take_no_memory(tmp_path: Path) -> None:
    huge = changed(CONFIG, "encoder.jasper.1.filters", 100_000)
    huge = changed(huge, "encoder.jasper.1.separable", value=False)
    huge = changed(huge, "decoder.feat_in", 100_000)
    assert "has the shape" in refusal(nemo_file(tmp_path / "a.nemo", huge, random_weights(CONFIG)))


def test_random_changes_of_an_archive_are_refused_or_harmless(tmp_path: Path) -> None:
    content = bytearray((DATA / "nemo_a5style_quartznet_tiny_en.nemo").read_bytes())
    content = bytearray(gzip.decompress(content))
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "a.nemo"
    for place in torch.randint(0, 6000, (60,), generator=generator).tolist():
        damaged = io.BytesIO(content)
        damaged.seek(place)
        damaged.write(b"\xa5\x5a")
        path.write_bytes(damaged.getvalue())
        try:
            load(path, device="cpu", features="3.0")
        except SettingError as error:
            assert "\n" not in str(error)  # noqa: PT017 (most changes of weights do no harm)
