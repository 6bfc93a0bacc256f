"""A model computes where it was told to, or says why it can't."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpcb_models.asr import QuartzNet
from rpcb_models.devices import Lane, exact, resolve_device, sent, set_threads
from rpcb_models.se import Demucs
from rpcb_trio import SettingError

SMALL_QUARTZNET = Path(__file__).parents[2] / "models" / "rpcb_models" / "asr" / "quartznet_prompts.nemo"


def test_no_name_is_the_cpu() -> None:
    assert resolve_device(None) == resolve_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_refused_in_one_line_and_not_replaced() -> None:
    with pytest.raises(SettingError, match="device is cuda:99, but torch can't use it") as caught:
        resolve_device("cuda:99")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_device_is_refused() -> None:
    with pytest.raises(SettingError, match="device is gpu0, but"):
        resolve_device("gpu0")


def test_threads_are_set_where_the_model_runs_and_are_at_least_one() -> None:
    counts = []

    def run() -> None:
        set_threads(1)
        counts.append(torch.get_num_threads())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert counts == [1]
    with pytest.raises(SettingError, match="threads is 0"):
        set_threads(0)


def test_batches_arrive_as_they_were_and_in_order() -> None:
    batches = [torch.arange(count) for count in (3, 1, 2)]
    lane = Lane(torch.device("cpu"))
    with lane.computing():
        arrived = list(lane.uploaded(batches))
    assert [batch.tolist() for batch in arrived] == [batch.tolist() for batch in batches]
    assert list(lane.uploaded([])) == []


class Gpu:
    """Stands in for CUDA, and writes down what is asked of it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.streams: list[Stream] = []
        self.present = Stream(self, "default")
        monkeypatch.setattr(torch.cuda, "synchronize", lambda _: self.log.append("all: wait"))
        monkeypatch.setattr(torch.cuda, "Stream", self._another)
        monkeypatch.setattr(torch.cuda, "stream", self._on)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self.present)

    def _another(self, _: object) -> Stream:
        self.streams.append(Stream(self, f"stream {len(self.streams)}"))
        return self.streams[-1]

    @contextmanager
    def _on(self, stream: Stream) -> Iterator[None]:
        before, self.present = self.present, stream
        yield
        self.present = before

    def note(self, what: str) -> None:
        self.log.append(f"{self.present.name}: {what}")


class Stream:
    """One of that GPU's streams."""

    def __init__(self, gpu: Gpu, name: str) -> None:
        self._gpu = gpu
        self.name = name

    def record_event(self) -> str:
        self._gpu.note("mark")
        return "mark"

    def wait_event(self, event: str) -> None:
        self._gpu.note(f"wait for {event}")


class Batch:
    """A batch in memory that such a GPU can take."""

    device = "cuda"

    def __init__(self, gpu: Gpu, name: str) -> None:
        self._gpu = gpu
        self.name = name

    def pin_memory(self) -> Batch:
        self._gpu.note(f"pin {self.name}")
        return self

    def to(self, _: torch.device, *, non_blocking: bool) -> Batch:
        self._gpu.note(f"copy {self.name} {'without' if non_blocking else 'with'} waiting")
        return self

    def record_stream(self, _: Stream) -> None:
        self._gpu.note(f"keep {self.name}")


def test_on_a_gpu_the_next_batch_is_copied_aside_before_the_present_one_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(monkeypatch)
    lane = Lane(torch.device("cuda"))
    batches: list[Any] = [Batch(gpu, "first"), Batch(gpu, "second")]
    with lane.computing():
        for arrived in lane.uploaded(batches):
            gpu.note(f"compute {arrived.name}")  # type: ignore[attr-defined] # a stand-in
    assert gpu.log == [
        "all: wait",
        "stream 1: pin first",
        "stream 1: copy first without waiting",
        "stream 1: mark",
        "stream 1: pin second",
        "stream 1: copy second without waiting",
        "stream 1: mark",
        "stream 0: wait for mark",
        "stream 0: keep first",
        "stream 0: compute first",
        "stream 0: wait for mark",
        "stream 0: keep second",
        "stream 0: compute second",
    ]


def test_a_replica_keeps_its_two_streams_for_all_its_batches_and_shares_them_with_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(monkeypatch)
    lanes = [Lane(torch.device("cuda")) for _ in range(2)]
    for _ in range(3):
        for lane in lanes:
            with lane.computing():
                list(lane.uploaded([Batch(gpu, "one")]))  # type: ignore[list-item] # a stand-in
    assert len(gpu.streams) == 4
    assert {line.partition(":")[0] for line in gpu.log} == {
        "all",
        *(f"stream {number}" for number in range(4)),
    }


def test_numbers_are_sent_to_a_gpu_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent([3, 1], torch.device("cpu")).tolist() == [3, 1]
    gpu = Gpu(monkeypatch)
    monkeypatch.setattr(torch, "tensor", lambda numbers: Batch(gpu, str(numbers)))
    sent([3, 1], torch.device("cuda"))
    assert gpu.log == ["default: pin [3, 1]", "default: copy [3, 1] without waiting"]


def switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def rounding() -> Iterator[None]:
    before = switches()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("rounding")
def test_float32_is_exact_until_the_last_who_needs_it_has_left() -> None:
    first, second = exact(), exact()
    first.__enter__()
    second.__enter__()
    assert switches() == (False, False)
    first.__exit__(None, None, None)
    assert switches() == (False, False)
    second.__exit__(None, None, None)
    assert switches() == (True, True)
    with pytest.raises(ZeroDivisionError), exact():
        raise ZeroDivisionError
    assert switches() == (True, True)


@pytest.mark.usefixtures("rounding")
@pytest.mark.parametrize("model", ["quartznet", "demucs"])
def test_the_models_compute_float32_exactly(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    seen: list[tuple[bool, bool]] = []
    layer = torch.nn.Conv1d if model == "demucs" else torch.nn.BatchNorm2d
    original = layer.forward

    def noted(self: Any, x: torch.Tensor) -> torch.Tensor:
        seen.append(switches())
        return original(self, x)

    monkeypatch.setattr(layer, "forward", noted)
    if model == "demucs":
        Demucs().enhance([clip])
    else:
        QuartzNet(SMALL_QUARTZNET).log_probs([clip])
    assert set(seen) == {(False, False)}
    assert switches() == (True, True)
