"""With torch itself, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import torch

from rpcb_trio import SettingError, Success, ThreadExecutor
from rpcb_trio._executors._model import Model
from rpcb_trio._service import bind
from rpcb_trio.streaming import Step
from rpcb_trio.testing import push_batch


class Linear:
    """A small model that says how it was run."""

    def warm_up(self) -> None:
        self.layer = torch.nn.Linear(2, 1)
        self.warm_up_in_inference_mode = torch.is_inference_mode_enabled()

    def decode(self, body: bytes) -> list[float]:
        return [float(each) for each in body.split()]

    def infer(self, items: list[list[float]]) -> torch.Tensor:
        results: torch.Tensor = self.layer(torch.tensor(items))
        return results

    def encode(self, outcome: object) -> bytes:
        return repr(outcome).encode()


async def test_a_model_runs_in_inference_mode_and_leaves_the_event_loop_out_of_it() -> None:
    service = Linear()
    executor = ThreadExecutor(bind(service), device="cpu")
    await executor.warm_up()
    results = await executor.infer([[1.0, 2.0], [3.0, 4.0]])
    assert service.warm_up_in_inference_mode
    assert len(results) == 2
    assert all(isinstance(each, Success) and each.value.is_inference() for each in results)
    assert not torch.is_inference_mode_enabled()


def test_streams_that_take_turns_in_one_thread_leave_torch_as_they_found_it() -> None:
    modes = list[bool]()

    def count(bodies: list[bytes]) -> Iterator[Step[bytes]]:
        for number in range(2):
            modes.append(torch.is_inference_mode_enabled())
            yield dict.fromkeys(range(len(bodies)), b"%d" % number)

    streams = [Model(bind(count)).stream([b"x"], set()) for _ in range(2)]
    for each in (*streams, *streams):
        next(each)
        assert torch.is_grad_enabled()
    for each in streams:  # the first is the first to end
        each.close()
    assert modes == [True] * 4
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


async def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    executor = ThreadExecutor(bind(Linear()), device="cuda:99")
    with pytest.raises(SettingError, match=r"device is cuda:99, but torch can't use it"):
        await executor.warm_up()


async def test_a_tensor_of_results_is_one_result_for_each_item() -> None:
    service = Linear()
    service.warm_up()
    replies = await push_batch(service, [b"1 2", b"3 4", b"5 6"])
    assert [reply.error for reply in replies] == [None] * 3
    assert len({reply.body for reply in replies}) == 3


def doubled(rows: torch.Tensor) -> torch.Tensor:
    return 2 * rows


def by_row(rows: list[torch.Tensor]) -> list[torch.Tensor]:
    return [row + row for row in rows]


def in_maps(rows: list[list[int]]) -> list[dict[str, torch.Tensor]]:
    return [{"row": 2 * torch.tensor(row)} for row in rows]


@pytest.mark.parametrize(("service", "key"), [(doubled, None), (by_row, None), (in_maps, "row")])
async def test_tensors_go_in_and_out_of_typed_services_as_lists(service: Any, key: str | None) -> None:
    replies = await push_batch(service, [b"[1, 2]", b"[3, 4]", b"[5]"])
    values = [msgspec.json.decode(reply.body) for reply in replies]
    assert [value if key is None else value[key] for value in values] == [[2, 4], [6, 8], [10]]


async def test_what_is_no_tensor_is_refused_as_the_requests_fault() -> None:
    replies = await push_batch(doubled, [b'["a"]', b"[[1], [1, 2]]", b"{}"])
    assert [reply.error for reply in replies] == ["invalid"] * 3
