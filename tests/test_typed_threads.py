"""Where a typed service's bodies are decoded: on the event loop only where that is quick, for sure."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, TypedDict, TypeVar

import msgspec
import numpy as np
import pydantic
import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import Request
from rpcb_trio._pipeline import Decoding, Hooks
from rpcb_trio._pipeline._decoding import QUICK
from rpcb_trio._service import bind
from rpcb_trio._typed._quick import is_quick
from rpcb_trio.batching import Pending

T = TypeVar("T")


class Tree(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(max_length=100_000)]
    inner: Tree | None = None
    more: list[Tree] = []


class Checked(msgspec.Struct):
    text: str

    def __post_init__(self) -> None: ...


class Numbered(msgspec.Struct):
    text: str
    number: uuid.UUID = msgspec.field(default_factory=uuid.uuid4)


@dataclass
class Point:
    x: float
    tags: list[str] = field(default_factory=list)


@dataclass
class CheckedPoint:
    x: float

    def __post_init__(self) -> None: ...


class Options(TypedDict):
    tree: Tree


class Pair(NamedTuple):
    left: int
    right: Checked


class Colour(enum.Enum):
    RED = "red"


class Lenient(enum.Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> Lenient:  # noqa: ARG003 - the library's signature
        return cls.RED


class Model(pydantic.BaseModel):
    x: int


READ_ALONE: list[Any] = [
    dict[str, object],
    str,
    dict[str, list[int | None]],
    Tree,
    list[Tree],
    Point,
    Options,
    Colour,
]
RUNS_CODE: list[Any] = [
    Checked,
    list[Checked | None],
    dict[str, Checked],
    Numbered,
    CheckedPoint,
    Pair,
    Lenient,
    np.ndarray,
    Model,
]


@pytest.mark.parametrize("annotation", [*READ_ALONE, *RUNS_CODE], ids=str)
def test_a_type_is_quick_where_reading_it_runs_no_code_of_the_service(annotation: Any) -> None:
    assert is_quick(annotation) is (annotation in READ_ALONE)


def trees(items: list[Tree]) -> list[str]:
    return [each.text for each in items]


def models(items: list[Model]) -> list[int]:
    return [each.x for each in items]


class Costed:
    def cost(self, item: Tree) -> float:
        return len(item.text)

    def infer(self, items: list[Tree]) -> list[str]:
        return trees(items)


SMALL, LARGE = b'{"text": "a"}', msgspec.json.encode({"text": "a" * QUICK})


@pytest.mark.parametrize(
    ("service", "body", "is_suspect", "calls"),
    [
        pytest.param(trees, SMALL, False, 0, id="small"),
        pytest.param(trees, b"{}", False, 0, id="small and wrong"),
        pytest.param(trees, LARGE, False, 1, id="large"),
        pytest.param(trees, SMALL, True, 1, id="suspect"),
        pytest.param(models, b'{"x": 1}', False, 1, id="pydantic"),
        pytest.param(Costed, SMALL, False, 1, id="cost"),
    ],
)
async def test_a_thread_decodes_what_may_take_long_or_runs_the_services_code(
    service: Any,
    body: bytes,
    is_suspect: bool,  # noqa: FBT001 - of the table
    calls: int,
    autojump_clock: MockClock,
) -> None:
    offloaded: list[object] = []

    async def offload(function: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        offloaded.append(function)
        return function()

    decoding = Decoding(bind(service), Hooks(offload, most=1))
    decoded = await decoding.decode(Request(body=body, arrived=0.0), suspect=is_suspect)
    assert isinstance(decoded, Pending) is (body != b"{}")
    assert len(offloaded) == calls
