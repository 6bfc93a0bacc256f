"""The thread executor, with real threads: so no clock here jumps, and nothing asserts how long it took."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rpcb_trio import FixedPolicy, MemoryBroker, SettingError, Success, ThreadExecutor, open_client, serve
from rpcb_trio._service import bind
from rpcb_trio.errors import InferError
from tests.scenarios import QUEUE, Shouting, ask

PATIENCE = 20.0
"""Seconds until a test that waits for a thread gives up."""


class Gate:
    """An `infer` that stands still until the test lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.finished: list[list[bytes]] = []

    def __call__(self, items: list[bytes]) -> list[bytes]:
        self.entered.set()
        assert self.opened.wait(PATIENCE)
        self.finished.append(items)
        return items

    async def until_entered(self) -> None:
        assert await trio.to_thread.run_sync(self.entered.wait, PATIENCE)


class Torch(SimpleNamespace):
    """Stands in for torch: knows in which mode and on which device the current thread is."""

    def __init__(self, *devices: str) -> None:
        self.devices = devices
        self.thread = threading.local()
        super().__init__(cuda=SimpleNamespace(device=self.on))

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        self.thread.mode = "inference"
        yield
        self.thread.mode = "training"

    @contextmanager
    def on(self, device: str) -> Iterator[None]:
        self.thread.device = device
        yield
        self.thread.device = None

    def empty(self, _: int, *, device: str) -> None:
        if device not in self.devices:
            raise RuntimeError("CUDA error: invalid device ordinal\nand many more lines")

    def where(self) -> tuple[str, str | None]:
        return getattr(self.thread, "mode", "training"), getattr(self.thread, "device", None)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    fake = Torch("cuda:0", "cuda:1")
    monkeypatch.setitem(sys.modules, "torch", fake)
    return fake


async def test_what_infer_raises_reaches_the_pipeline_as_an_error_of_ours_with_the_cause_and_the_place() -> (
    None
):
    def infer(items: list[bytes]) -> list[bytes]:
        raise ZeroDivisionError(items)

    with pytest.raises(InferError, match=r"^infer failed: ZeroDivisionError$") as caught:
        await ThreadExecutor(bind(infer)).infer([b"a"])
    assert caught.value.cause == "ZeroDivisionError: [b'a']"
    assert re.fullmatch(r"test_executors\.py:\d+ in infer", caught.value.where or "")


async def test_two_executors_compute_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def meet(items: list[bytes]) -> list[bytes]:
        meeting.wait()
        return items

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(ThreadExecutor(bind(meet)).infer, [b"a"])


async def test_a_cancelled_infer_returns_at_once_and_its_executor_is_not_idle_until_the_thread_ends() -> None:
    gate = Gate()
    executor = ThreadExecutor(bind(gate))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.infer, [b"dropped"])
        await gate.until_entered()
        nursery.cancel_scope.cancel()
    assert gate.finished == []

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def open_gate() -> None:
            await wait_all_tasks_blocked()
            assert gate.finished == []
            gate.opened.set()

        await executor.idle()
        assert gate.finished == [[b"dropped"]]
    assert await executor.infer([b"next"]) == [Success(b"next")]


async def test_infer_and_warm_up_run_in_inference_mode_where_torch_is_loaded(torch: Torch) -> None:
    class Model(Shouting):
        warmed: tuple[str, str | None]

        def warm_up(self) -> None:
            self.warmed = torch.where()

        def infer(self, items: list[str]) -> list[Any]:
            return [torch.where() for _ in items]

    model = Model()
    executor = ThreadExecutor(bind(model))
    await executor.warm_up()
    assert model.warmed == ("inference", None)
    assert await executor.infer(["a"]) == [Success(("inference", None))]
    assert torch.where() == ("training", None), "the modes belong to the executor's thread"


async def test_each_replica_is_placed_on_its_own_device_and_computes_there(torch: Torch) -> None:
    class Placed(Shouting):
        def __init__(self, device: str = "nowhere") -> None:
            super().__init__()
            self.device = device

        def on_device(self, device: str) -> Placed:
            return Placed(device)

        def infer(self, items: list[str]) -> list[Any]:
            return [(self.device, torch.where()) for _ in items]

    for device in torch.devices:
        executor = ThreadExecutor(bind(Placed), device=device)
        await executor.warm_up()
        assert await executor.infer(["a"]) == [Success((device, ("inference", device)))]


async def test_a_device_without_torch_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SettingError, match=r"^device is cuda:0, but torch is not installed; .*$"):
        await serve(Shouting(), MemoryBroker(), QUEUE, devices=["cuda:0"])


async def test_a_device_that_is_not_there_is_refused_in_one_line(torch: Torch) -> None:
    with pytest.raises(SettingError, match=r"^device is cuda:7, .*invalid device ordinal\); .*$"):
        await serve(Shouting(), MemoryBroker(), QUEUE, devices=[*torch.devices, "cuda:7"])


async def test_the_cpu_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    executor = ThreadExecutor(bind(Shouting()), device="cpu")
    await executor.warm_up()
    assert await executor.infer(["good 1"]) == [Success("GOOD 1")]


async def test_every_replica_is_warm_before_the_first_delivery() -> None:
    warm: list[str] = []

    class Cold(Shouting):
        def warm_up(self) -> None:
            warm.append(threading.current_thread().name)

    broker = MemoryBroker()
    async with trio.open_nursery() as nursery:
        worker = await nursery.start(lambda **kwargs: serve(Cold(), broker, QUEUE, replicas=3, **kwargs))
        assert len(warm) == 3
        assert threading.current_thread().name not in warm
        worker.drain()


class SlowToDecode(Shouting):
    """Decodes when the gate opens."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def decode(self, body: bytes) -> str:
        return super().decode(self.gate([body])[0])


async def test_a_worker_that_is_cancelled_leaves_a_decoding_thread_behind_and_its_request_in_the_queue() -> (
    None
):
    broker, gate = MemoryBroker(), Gate()
    ask(broker, b"good 1")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, SlowToDecode(gate), broker, QUEUE)
        await gate.until_entered()
        nursery.cancel_scope.cancel()
    assert broker.depth(QUEUE) == 1
    assert gate.finished == []
    gate.opened.set()


class Blocking(Shouting):
    """Every hook notes its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: dict[str, set[int]] = {"decode": set(), "infer": set(), "encode": set()}

    def decode(self, body: bytes) -> str:
        self.threads["decode"].add(threading.get_ident())
        return super().decode(body)

    def infer(self, items: list[str]) -> list[str | Exception]:
        self.threads["infer"].add(threading.get_ident())
        return super().infer(items)

    def encode(self, outcome: Any) -> bytes:
        self.threads["encode"].add(threading.get_ident())
        return super().encode(outcome)


async def test_no_hook_ever_runs_on_the_event_loop() -> None:
    broker, service = MemoryBroker(), Blocking()
    replies: list[bytes] = []

    async def call(number: int) -> None:
        replies.append((await client.call(b"good %d" % number, queue=QUEUE)).body)

    async with trio.open_nursery() as workers:
        worker = await workers.start(
            lambda **kwargs: serve(service, broker, QUEUE, batching=FixedPolicy(4), replicas=2, **kwargs)
        )
        async with open_client(broker) as client, trio.open_nursery() as calls:
            for number in range(20):
                calls.start_soon(call, number)
        worker.drain()
    assert sorted(replies) == sorted(b"ok:GOOD %d" % number for number in range(20))
    assert all(threading.get_ident() not in threads for threads in service.threads.values())
    assert all(service.threads.values())
