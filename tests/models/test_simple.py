"""The smallest services."""

from __future__ import annotations

import json
import time

import pytest

from rpcb_models.simple import Accelerator, accelerator, echo
from rpcb_trio.testing import push_batch


async def test_the_echo_answers_with_the_bodies() -> None:
    assert [reply.body for reply in await push_batch(echo, [b"a", b"", b"\xff"])] == [b"a", b"", b"\xff"]


async def test_the_accelerators_reply_carries_the_batch_size() -> None:
    replies = await push_batch(Accelerator(a=0.0, c=0.0), [b"one", "zwölf".encode()])
    assert [json.loads(reply.body) for reply in replies] == [
        {"echo": "one", "batch_size": 2},
        {"echo": "zwölf", "batch_size": 2},
    ]
    assert {reply.content_type for reply in replies} == {"application/json"}


async def test_the_accelerator_refuses_what_is_no_text_and_computes_the_rest() -> None:
    first, second = await push_batch(Accelerator(a=0.0, c=0.0), [b"\xff", b"text"])
    assert json.loads(first.body)["error"] == "decode"
    assert json.loads(second.body) == {"echo": "text", "batch_size": 1}


def test_a_batch_takes_a_plus_c_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    Accelerator(a=0.03, c=0.01).infer(["x"] * 3)
    assert slept == [pytest.approx(0.06)]
    assert (accelerator.a, accelerator.c) == (0.150, 0.025)
