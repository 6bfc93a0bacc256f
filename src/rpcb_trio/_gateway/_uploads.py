"""Bodies of HTTP requests, read within bounds of size, time and pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from http import HTTPStatus
from typing import Self, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

from rpcb_trio._gateway._forms import (
    JSON,
    LONGEST_TEXTS,
    MULTIPART,
    Fields,
    Value,
    complete,
    kind_of,
    of_json,
    of_multipart,
    of_urlencoded,
)
from rpcb_trio._gateway._multipart import Multipart
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem, busy
from rpcb_trio.errors import RequestTooBig

FREE_PIECES = 10_000
BYTES_A_PIECE = 256
"""A body may come in so many pieces, and one more for each so many bytes: each piece costs processor time."""

LONGEST_LENGTH = 20
"""Digits of a `content-length` that is looked at."""

WORTH_A_THREAD = 2**18
"""Bytes of a body from which on it is joined and parsed in a thread, for that takes milliseconds."""

T = TypeVar("T")


class HungUp(Exception):
    """The client has closed the connection."""


class Buffer:
    """Bounds the bytes of all uploads together; `held` says how many there are."""

    def __init__(self, options: Callable[[], GatewayOptions]) -> None:
        self._options = options
        self.held = 0

    def take(self, taken: int, more: int) -> None:
        """Hold `more` bytes of an upload of which `taken` are held already.

        Raises:
            Problem: 413, it is too large; 503, all uploads together are.
        """
        self.check(taken + more, more)
        self.held += more

    def check(self, size: int, more: int) -> None:
        """Raise as `take`, but hold nothing."""
        options = self._options()
        most = min(options.max_upload, options.max_buffered)  # a body that is larger would never find room
        if size > most:
            raise _too_big(most)
        if self.held + more > options.max_buffered:
            raise busy(f"uploads hold {self.held} bytes")


class Upload:
    """One request's body as it comes in. Its bytes count in the buffer until the end of `with`."""

    def __init__(self, request: Request, buffer: Buffer, seconds: float) -> None:
        self._request = request
        self._buffer = buffer
        self._seconds = seconds
        self.largest: int | None = None
        """Bytes that the broker takes; None for any."""
        self._taken = 0
        self.is_complete = False  # whether all of it was read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._buffer.held -= self._taken

    async def whole(self, most: int | None = None, what: str = "a form without files") -> bytes:
        """The body as it is, of at most so many bytes; `what` names it where it has more.

        Raises:
            Problem: it is too large, too slow or in too many pieces, or all uploads together are too large.
            HungUp: the client has closed the connection.
        """
        with self._within_bounds():
            pieces = []
            async with aclosing(self._pieces()) as coming:
                async for piece in coming:
                    pieces.append(piece)
                    if most is not None and self._taken > most:
                        raise _too_big(most, what)
            return await self._aside(partial(b"".join, pieces))

    async def form(self, fields: Fields) -> dict[str, Value]:
        """The values for these fields, from the URL's query and the body; the query takes precedence.

        Raises:
            Problem: as `whole`; or the body is no such form.
            HungUp: as `whole`.
        """
        content_type = self._request.headers.get("content-type", "")
        texts = {name: field for name, field in fields.items() if field.type != "file"}
        sent = of_urlencoded(self._request.scope.get("query_string", b""), texts)
        if not content_type:
            return complete(fields, sent, has_files=False)
        kind = kind_of(content_type, fields)
        if kind == MULTIPART:
            return complete(fields, await self.multipart(partial(of_multipart, fields=fields)) | sent)
        read = partial(of_json if kind == JSON else of_urlencoded, await self.whole(LONGEST_TEXTS), fields)
        return complete(fields, await self._aside(read) | sent, has_files=False)

    async def multipart(self, read: Callable[[Multipart], T]) -> T:
        """What the function reads in the form; in a thread if it is large.

        Raises:
            Problem: as `whole`; or the body is no `multipart/form-data`.
            HungUp: as `whole`.
        """
        content_type = self._request.headers.get("content-type", "")
        with self._within_bounds(), Multipart(content_type) as form:
            async with aclosing(self._pieces()) as coming:
                async for piece in coming:
                    form.write(piece)
            form.finish()
            return await self._aside(partial(read, form))

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do work that takes the longer the larger the body is; in a thread if it is large."""
        return await anyio.to_thread.run_sync(work) if self._taken > WORTH_A_THREAD else work()

    @contextmanager
    def _within_bounds(self) -> Iterator[None]:
        coding = self._request.headers.get("content-encoding", "identity")
        if coding.strip().lower() not in ("", "identity"):
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "the body has a content encoding; send it as it is",
                headers={"accept-encoding": "identity"},
            )
        announced = self._request.headers.get("content-length", "")
        if announced.isdecimal() and len(announced) <= LONGEST_LENGTH:
            self._buffer.check(int(announced), int(announced))
            self._check_for_broker(int(announced))
        try:
            with anyio.fail_after(self._seconds):
                yield
        except TimeoutError:
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT, "slow-upload", f"the upload took more than {self._seconds:g} s"
            ) from None

    def _check_for_broker(self, size: int) -> None:
        if self.largest is not None and size > self.largest:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                RequestTooBig.code,
                f"the broker takes {self.largest} bytes at most, and this has more; send less",
            )

    async def _pieces(self) -> AsyncGenerator[bytes]:
        count = 0
        while not self.is_complete:
            message = await self._request.receive()
            if message["type"] != "http.request":
                raise HungUp
            piece = message.get("body", b"")
            self._buffer.take(self._taken, len(piece))
            self._taken += len(piece)
            self._check_for_broker(self._taken)
            self.is_complete = not message.get("more_body", False)
            count += 1
            if count > FREE_PIECES + self._taken // BYTES_A_PIECE:
                why = "the body comes in too many pieces; send larger ones"
                raise Problem(HTTPStatus.BAD_REQUEST, "pieces", why)
            yield piece


def _too_big(most: int, what: str = "the request") -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-big", f"{what} may have {most} bytes, and this has more"
    )
