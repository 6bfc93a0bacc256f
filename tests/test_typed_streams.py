"""Services that stream, by annotations."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from trio.testing import MockClock

from rpcb_trio import RequestInfo, SettingError
from rpcb_trio._service import bind
from rpcb_trio.streaming import Step, by_item
from rpcb_trio.testing import push_batch, served


class Text(msgspec.Struct):
    text: str


class Word(msgspec.Struct):
    word: str


def words(texts: list[Text]) -> Iterator[Step[Word]]:
    yield from by_item([Word(word) for word in each.text.split()] for each in texts)


class Words:
    def stream_infer(self, texts: list[Text], requests: list[RequestInfo]) -> Generator[Step[str], Any, None]:
        yield from by_item(
            [f"{each.headers['language']} {word}" for word in text.text.split()]
            for text, each in zip(texts, requests, strict=True)
        )

    def join(self, parts: list[str]) -> str:
        return ", ".join(parts)


def letters(texts: list[Text]) -> Iterator[Step[bytes]]:
    yield from by_item([letter.encode() for letter in each.text] for each in texts)


async def test_parts_are_written_each_and_a_whole_reply_is_the_list_of_them(
    autojump_clock: MockClock,
) -> None:
    async with served(words) as worker:
        whole = await worker.call(b'{"text": "a b"}')
        async with worker.client.stream(b'{"text": "a b"}', queue="words", timeout=9) as stream:
            parts = [part.body async for part in stream]
    assert (whole.body, whole.content_type) == (b'[{"word":"a"},{"word":"b"}]', "application/json")
    assert parts == [b'{"word":"a"}', b'{"word":"b"}']


async def test_what_streams_is_told_of_its_requests_and_may_join_parts_itself(
    autojump_clock: MockClock,
) -> None:
    async with served(Words) as worker:
        headers = {"language": "de"}
        whole = await worker.client.call(b'{"text": "a b"}', queue="Words", timeout=9, headers=headers)
        async with worker.client.stream(
            b'{"text": "a b"}', queue="Words", timeout=9, headers=headers
        ) as stream:
            parts = [part.body async for part in stream]
    assert whole.body == b'"de a, de b"'
    assert parts == [b'"de a"', b'"de b"']


async def test_parts_of_bytes_go_out_as_they_are_and_are_joined(autojump_clock: MockClock) -> None:
    good, bad = await push_batch(letters, [b'{"text": "abc"}', b"{}"])
    assert (good.body, bad.error) == (b"abc", "invalid")


class Both:
    """Streams, and has an `infer` that is told more than that."""

    def infer(self, texts: list[Text], requests: list[RequestInfo]) -> list[str]:
        return [f"{each.text} {info.headers.get('n')}" for each, info in zip(texts, requests, strict=True)]

    def stream_infer(self, texts: list[Text]) -> Iterator[Step[str]]:
        yield from by_item(each.text.split() for each in texts)

    def join(self, parts: list[str]) -> str:
        return "-".join(parts)


class BothTold(Both):
    """Only what streams is told more."""

    def infer(self, texts: list[Text]) -> list[str]:  # type: ignore[override] # it asks for less
        return [each.text for each in texts]

    def stream_infer(self, texts: list[Text], requests: list[RequestInfo]) -> Iterator[Step[str]]:  # type: ignore[override] # it asks for more
        yield from by_item(
            [each.text, str(info.headers["n"])] for each, info in zip(texts, requests, strict=True)
        )


@pytest.mark.parametrize(
    ("service", "whole", "parts"),
    [(Both, b'"a b 1"', [b'"a"', b'"b"']), (BothTold, b'"a b"', [b'"a b"', b'"1"'])],
)
async def test_an_infer_and_what_streams_are_each_told_what_they_ask_for(
    service: Any, whole: bytes, parts: list[bytes], autojump_clock: MockClock
) -> None:
    ask = {"queue": service.__name__, "timeout": 9.0, "headers": {"n": "1"}}
    async with served(service) as worker:
        reply = await worker.client.call(b'{"text": "a b"}', **ask)
        async with worker.client.stream(b'{"text": "a b"}', **ask) as stream:
            found = [part.body async for part in stream]
    assert (reply.body, found) == (whole, parts)


def test_what_streams_is_described_by_the_list_of_its_parts() -> None:
    bound = bind(words)
    assert bound.typed is not None
    assert bound.typed.schemas().reply == {"type": "array", "items": {"$ref": "#/$defs/Word"}}


def stacked(rows: NDArray[np.float32]) -> Iterator[Step[str]]:
    yield {}


def in_dicts(texts: list[str]) -> Iterator[dict[int, int]]:
    yield dict(enumerate(map(len, texts)))


async def test_steps_may_be_dicts(autojump_clock: MockClock) -> None:
    assert [reply.body for reply in await push_batch(in_dicts, [b'"abc"'])] == [b"[3]"]


def no_steps(texts: list[Text]) -> Iterator[str]:
    yield ""


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (stacked, r"stacked: its parameter rows is .*; what streams is given items, so write list\["),
        (no_steps, r"no_steps: its result is annotated as Iterator\[str\]; .* write Iterator\[Step"),
    ],
)
def test_annotations_that_are_not_of_steps_are_refused_with_the_remedy(service: Any, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        bind(service)
