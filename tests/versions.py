"""Versions of a model, for the tests of swaps: each answer says which decoded, computed and encoded it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from rpcb_trio import Failure, Outcome, RequestError, Success
from rpcb_trio.testing import VirtualExecutor


class Tagged:
    """Answers `TEXT:DECODER:COMPUTER:ENCODER`, each a version; refuses bodies that contain `refuses`."""

    def __init__(self, version: str, *, refuses: bytes = b"\0") -> None:
        self.version = version
        self._refuses = refuses
        self.is_closed = False
        self.batches: list[list[tuple[str, str]]] = []

    def decode(self, body: bytes) -> tuple[str, str]:
        assert not self.is_closed
        if self._refuses in body:
            raise RequestError("it is not known any more")
        return body.decode(), self.version

    def infer(self, items: list[tuple[str, str]]) -> Sequence[tuple[str, str, str]]:
        assert not self.is_closed
        self.batches.append(items)
        return [(*item, self.version) for item in items]

    def close(self) -> None:
        """Be unloaded, where threads compute it."""

    def encode(self, outcome: Outcome[tuple[str, str, str]]) -> bytes:
        match outcome:
            case Success(value=parts):
                assert not self.is_closed
                return ":".join((*parts, self.version)).encode()
            case Failure(error=error):
                return f"{error.code}:{self.version}".encode()


def all_by(version: str, text: str) -> bytes:
    """The answer where one version did everything."""
    return f"{text}:{version}:{version}:{version}".encode()


class Loaded(VirtualExecutor):
    """Takes `loading` seconds to warm up, or fails then; tells the story of its model."""

    def __init__(
        self,
        service: Tagged,
        service_time: Callable[[int], float] | None = None,
        *,
        loading: float = 0.0,
        failure: Exception | None = None,
        story: list[str] | None = None,
    ) -> None:
        super().__init__(service.infer, service_time)
        self._service = service
        self._loading = loading
        self.failure = failure
        self._story = [] if story is None else story

    frees = True

    async def warm_up(self) -> None:
        await trio.sleep(self._loading)
        if self.failure is not None:
            raise self.failure
        self._service.is_closed = False
        self._story.append(f"{self._service.version} loaded at {trio.current_time():g}")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self._service.is_closed = True
        self._story.append(f"{self._service.version} closed at {trio.current_time():g}")

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        results = await super().infer(items)
        self._story.append(f"{self._service.version} computed at {trio.current_time():g}")
        return results
