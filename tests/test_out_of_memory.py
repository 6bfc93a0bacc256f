"""When memory runs out in an executor's thread: the failed batch is gone before anything else is tried.

No GPU is here, so a stand-in for torch counts what a GPU's memory would still hold.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from rpcb_trio import Failure, Request, Success, ThreadExecutor
from rpcb_trio._pipeline import Isolation
from rpcb_trio._service import bind
from rpcb_trio.batching import Pending
from rpcb_trio.errors import InferError, OutOfMemory

FIRST_LINE = "CUDA out of memory. Tried to allocate 2.00 GiB."
TOLD = f"{FIRST_LINE}\nSee the documentation for memory management."


class OutOfMemoryError(RuntimeError):
    """Stands in for torch's."""


class Tensor:
    """A piece of the GPU's memory."""


class Gpu(SimpleNamespace):
    """Stands in for torch: notes how many tensors are alive whenever its cache is emptied."""

    def __init__(self) -> None:
        self.tensors = weakref.WeakSet[Tensor]()
        self.alive_at_emptying: list[int] = []
        self.is_used = True
        super().__init__(
            inference_mode=nullcontext,
            OutOfMemoryError=OutOfMemoryError,
            cuda=SimpleNamespace(is_initialized=lambda: self.is_used, empty_cache=self.empty_cache),
        )

    def empty_cache(self) -> None:
        self.alive_at_emptying.append(len(self.tensors))

    def upload(self) -> Tensor:
        tensor = Tensor()
        self.tensors.add(tensor)
        return tensor


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """Without the collector of circles: what is gone is gone with its last reference."""
    fake = Gpu()
    monkeypatch.setitem(sys.modules, "torch", fake)
    gc.disable()
    yield fake
    gc.enable()


def run_out(gpu: Gpu) -> list[bytes]:
    _tensor = gpu.upload()
    raise OutOfMemoryError(TOLD)


def fails_and_keeps_the_error(gpu: Gpu) -> list[bytes]:
    try:
        return run_out(gpu)
    except OutOfMemoryError as error:
        kept = error
    raise kept


def fails_at_handling_another_error(gpu: Gpu) -> list[bytes]:
    _tensor = gpu.upload()
    try:
        return [bytes(int("no number"))]
    except ValueError:
        return fails_and_keeps_the_error(gpu)


def fails_and_keeps_the_traceback(gpu: Gpu) -> list[bytes]:
    try:
        return run_out(gpu)
    except OutOfMemoryError as error:
        gpu.crash_report = error.__traceback__
        raise


def tells_it_in_our_words(gpu: Gpu) -> list[bytes]:
    try:
        return run_out(gpu)
    except OutOfMemoryError as error:
        raise OutOfMemory(FIRST_LINE) from error


def fails_on_the_cpu(gpu: Gpu) -> list[bytes]:
    _tensor = gpu.upload()
    raise MemoryError(FIRST_LINE)


WAYS = [
    run_out,
    fails_and_keeps_the_error,
    fails_and_keeps_the_traceback,
    fails_at_handling_another_error,
    tells_it_in_our_words,
    fails_on_the_cpu,
]


@pytest.mark.parametrize("way", WAYS)
async def test_the_batch_is_gone_and_then_the_cache_is_emptied_before_the_error_is_told(
    way: Callable[[Gpu], list[bytes]], gpu: Gpu
) -> None:
    def infer(_: list[bytes]) -> list[bytes]:
        _held = gpu.upload()
        return way(gpu)

    with pytest.raises(OutOfMemory) as caught:
        await ThreadExecutor(bind(infer)).infer([b"a", b"b"])
    assert gpu.alive_at_emptying == [0]
    assert str(caught.value) == FIRST_LINE


async def test_each_half_is_tried_with_nothing_of_the_failed_batch_left_in_memory(gpu: Gpu) -> None:
    held: list[int] = []

    def infer(items: list[bytes]) -> list[bytes]:
        held.append(len(gpu.tensors))
        tensors = [gpu.upload() for _ in items]
        return run_out(gpu) if len(tensors) > 2 else items

    members = [Pending(Request(body=b"", arrived=0.0), number) for number in range(5)]
    outcomes = await Isolation(ThreadExecutor(bind(infer))).infer(members)
    assert outcomes == [Success(number) for number in range(5)]
    assert held == [0] * 5, "5, then 2 and 3, then 1 and 2"


async def test_a_gpu_that_is_not_in_use_is_left_alone(gpu: Gpu) -> None:
    gpu.is_used = False
    with pytest.raises(OutOfMemory):
        await ThreadExecutor(bind(lambda _: run_out(gpu))).infer([b"a"])
    assert gpu.alive_at_emptying == []


async def test_an_error_of_the_services_own_arrives_as_it_is(gpu: Gpu) -> None:
    class Status(OutOfMemory):
        status = 507

    def infer(_: list[bytes]) -> list[bytes]:
        raise Status("no room")

    [outcome] = await Isolation(ThreadExecutor(bind(infer))).infer([Pending(Request(body=b"", arrived=0), 1)])
    assert isinstance(outcome, Failure)
    assert isinstance(outcome.error, OutOfMemory)
    assert isinstance(outcome.error.own, Status)
    assert gpu.alive_at_emptying == [0]


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, torch.cuda.OutOfMemoryError])
async def test_torchs_own_error_is_understood_under_both_its_names(kind: type[Exception]) -> None:
    def infer(_: list[bytes]) -> list[bytes]:
        raise kind(TOLD)

    with pytest.raises(OutOfMemory, match=rf"^{FIRST_LINE}$"):
        await ThreadExecutor(bind(infer)).infer([b"a"])


@pytest.mark.parametrize(("told", "message"), [("", "out of memory"), ("no room\nat all", "no room")])
async def test_without_torch_a_memory_error_is_understood(
    told: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    def infer(_: list[bytes]) -> list[bytes]:
        raise MemoryError(told)

    with pytest.raises(OutOfMemory, match=rf"^{message}$"):
        await ThreadExecutor(bind(infer)).infer([b"a"])


async def test_any_other_error_of_torch_is_told_as_it_is() -> None:
    with pytest.raises(InferError, match="RuntimeError") as caught:
        await ThreadExecutor(bind(lambda _: torch.empty(3).reshape(2, 2))).infer([b"a"])
    assert "shape" in caught.value.cause
