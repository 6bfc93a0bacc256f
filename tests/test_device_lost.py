"""A device that is lost to its process, played by torch's own error on a machine without one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trio

from rpcb_trio import FixedPolicy, MemoryBroker, ThreadExecutor
from rpcb_trio._service import bind
from rpcb_trio.errors import DeviceLost, ExecutorHung, InferError, OutOfMemory
from tests import crashing
from tests.scenarios import QUEUE, answers, ask, working
from tests.test_process_executor import Telling

ASSERTED = "CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA` to ..."


class Device:
    """CUDA as torch shows it: asked to synchronize, it raises as often as it is told to, or for ever."""

    def __init__(self) -> None:
        self.errors: float = 0

    def synchronize(self) -> None:
        if self.errors:
            self.errors -= 1
            raise torch.AcceleratorError(ASSERTED)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    found = Device()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", found.synchronize)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return found


def executor(infer: Any) -> ThreadExecutor:
    return ThreadExecutor(bind(infer))


def failing(items: list[Any]) -> list[Any]:
    raise torch.AcceleratorError(ASSERTED)


@pytest.mark.parametrize(
    "infer",
    [
        failing,
        lambda _: 1 / 0,
        lambda items: [torch.AcceleratorError(ASSERTED) for _ in items],
    ],
    ids=["its error", "an error that follows from it", "an error that the service caught"],
)
async def test_whatever_error_a_run_ends_with_a_lost_device_is_told(infer: Any, device: Device) -> None:
    device.errors = float("inf")
    told = r"^the device is lost \(CUDA error: device-side assert triggered\), and every later run would fail"
    with pytest.raises(DeviceLost, match=told):
        await executor(infer).infer([b"a", b"b"])


@pytest.mark.parametrize("errors", [0, 1], ids=["nothing more", "what was on its way"])
async def test_an_error_after_which_the_device_works_is_the_batchs_alone(errors: int, device: Device) -> None:
    device.errors = errors
    with pytest.raises(InferError, match="AcceleratorError"):
        await executor(failing).infer([b"a"])


async def test_want_of_memory_is_no_lost_device_whoever_asked_for_it(device: Device) -> None:
    def infer(items: list[Any]) -> list[Any]:
        error = torch.AcceleratorError("CUDA error: out of memory")
        error.error_code = 2  # type: ignore[attr-defined] # as a build for CUDA sets it
        raise error

    with pytest.raises(OutOfMemory, match="CUDA error: out of memory"):
        await executor(infer).infer([b"a"])


async def test_a_worker_whose_device_is_lost_ends_and_gives_back_what_it_held(device: Device) -> None:
    device.errors = float("inf")
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2")
    with pytest.raises(ExecutorHung, match="the device is lost"):
        async with working(
            failing, broker, executors=[executor(failing)], batching=FixedPolicy(2)
        ) as running:
            await trio.sleep_forever()
    [(error, _)] = running.hangs
    assert isinstance(error, DeviceLost)
    assert broker.depth(QUEUE) == 2
    assert answers(broker) == {}


async def test_a_process_whose_device_is_lost_is_started_again_and_who_loses_it_is_found_out() -> None:
    executor = Telling(crashing.make_with_device, max_deaths=2)
    try:
        with trio.fail_after(60):
            await executor.warm_up()
            first, culprit, last = await executor.infer([b"first", b"lose", b"last"])
    finally:
        executor.close()
    assert (first, last) == (b"FIRST", b"LAST")
    assert str(culprit).startswith(
        "it killed the executor's process 2 times (the device is lost (CUDA error: device-side assert"
    )
