"""Annotations that are texts, as `from __future__ import annotations` leaves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from trio.testing import MockClock

from rpcb_trio import RequestInfo
from rpcb_trio._service import bind
from rpcb_trio.testing import push_batch

if TYPE_CHECKING:
    from collections.abc import Sequence


class Text(msgspec.Struct):
    text: str
    inner: Text | None = None


class Lengths:
    def infer(self, texts: list[Text], requests: list[RequestInfo]) -> list[int]:
        return [len(each.text) for each, _ in zip(texts, requests, strict=True)]


async def test_annotations_that_are_texts_are_read_likewise(autojump_clock: MockClock) -> None:
    (reply,) = await push_batch(Lengths(), [b'{"text": "abc", "inner": {"text": ""}}'])
    assert reply.body == b"3"


def plain(bodies: Sequence[bytes]) -> Sequence[bytes]:
    return bodies


def lengths(texts: Sequence[str]) -> list[int]:
    return [len(each) for each in texts]


@pytest.mark.parametrize(("service", "is_typed"), [(plain, False), (lengths, True)])
def test_a_sequence_that_only_type_checkers_import_is_known(service: object, is_typed: bool) -> None:  # noqa: FBT001 - of the table
    assert (bind(service).typed is not None) is is_typed
