"""A model computes where it was told to, or says why it can't."""

from __future__ import annotations

import threading

import pytest
import torch

from models.devices import resolve_device, set_threads, uploaded
from rpcb_trio import SettingError

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def test_no_name_is_the_cpu() -> None:
    assert resolve_device(None) == resolve_device("cpu") == torch.device("cpu")


@no_gpu
def test_a_gpu_that_is_not_there_is_refused_in_one_line_and_not_replaced() -> None:
    with pytest.raises(SettingError, match="device is cuda, but torch can't use it") as caught:
        resolve_device("cuda")
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


@gpu
def test_batches_arrive_on_the_gpu_as_they_were() -> None:
    batches = [torch.randn(1000) for _ in range(3)]
    for sent, arrived in zip(batches, uploaded(batches, resolve_device("cuda")), strict=True):
        assert arrived.is_cuda
        assert torch.equal(sent, arrived.cpu())
