"""A model computes where it was told to, or says why it can't."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from models.devices import resolve_device, set_threads, uploaded
from rpcb_trio import SettingError


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
    arrived = list(uploaded(batches, torch.device("cpu")))
    assert [batch.tolist() for batch in arrived] == [batch.tolist() for batch in batches]
    assert list(uploaded([], torch.device("cpu"))) == []


class Gpu:
    """Stands in for CUDA, and writes down what is asked of it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self._stream = "main"
        monkeypatch.setattr(torch.cuda, "Stream", lambda _: self)
        monkeypatch.setattr(torch.cuda, "stream", self._on_the_side)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self)

    @contextmanager
    def _on_the_side(self, _: object) -> Iterator[None]:
        self._stream = "side"
        yield
        self._stream = "main"

    def note(self, what: str) -> None:
        self.log.append(f"{self._stream}: {what}")

    def record_event(self) -> str:
        self.note("mark")
        return "mark"

    def wait_event(self, event: str) -> None:
        self.note(f"wait for {event}")


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

    def record_stream(self, _: Gpu) -> None:
        self._gpu.note(f"keep {self.name}")


def test_on_a_gpu_the_next_batch_is_copied_aside_before_the_present_one_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(monkeypatch)
    batches: list[Any] = [Batch(gpu, "first"), Batch(gpu, "second")]
    for arrived in uploaded(batches, torch.device("cuda")):
        gpu.note(f"compute {arrived.name}")  # type: ignore[attr-defined]
    assert gpu.log == [
        "side: pin first",
        "side: copy first without waiting",
        "side: mark",
        "side: pin second",
        "side: copy second without waiting",
        "side: mark",
        "main: wait for mark",
        "main: keep first",
        "main: compute first",
        "main: wait for mark",
        "main: keep second",
        "main: compute second",
    ]
