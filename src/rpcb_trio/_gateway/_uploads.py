"""What is sent to the gateway, read within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Self

import anyio
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from rpcb_trio._gateway._bodies import Value, complete, parsed, wrong
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Field

MOST_PARTS = 64
"""Of a form; far more than any has fields."""

LONGEST_TEXT = 2**20
"""Bytes of a field that is no file."""


class HungUp(Exception):
    """The client has gone."""


class Buffer:
    """How much is held of all uploads together."""

    def __init__(self, options: GatewayOptions) -> None:
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
        """Whether an upload of `size` bytes, of which `more` are to come, has room.

        Raises:
            Problem: as `take`.
        """
        if size > self._options.max_upload:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too-big",
                f"the request has more than {self._options.max_upload} bytes, which is the limit",
            )
        if self.held + more > self._options.max_buffered:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too much is being uploaded; come again")


class Upload:
    """One request's body as it comes in. What it takes of the buffer is given back at the end."""

    def __init__(self, request: Request, buffer: Buffer, seconds: float) -> None:
        self._original = request
        self._buffer = buffer
        self._seconds = seconds
        self._taken = 0
        self.is_complete = False
        """Whether all of it was read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._buffer.held -= self._taken

    async def whole(self) -> bytes:
        """The body as it is.

        Raises:
            Problem: it is too large, too slow, or one too many.
            HungUp: it ends before its end.
        """
        async with self._reading() as request:
            return await request.body()

    async def form(self, fields: Mapping[str, Field]) -> dict[str, Value]:
        """The body's values for these fields.

        Raises:
            Problem: as `whole`; or it is no such form.
            HungUp: as `whole`.
        """
        async with (
            self._reading() as request,
            request.form(max_files=MOST_PARTS, max_fields=MOST_PARTS, max_part_size=LONGEST_TEXT) as form,
        ):
            sent = {
                name: await _value(name, fields[name], value)
                for name, value in reversed(form.multi_items())
                if name in fields
            }
        return complete(fields, sent)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Request]:
        announced = self._original.headers.get("content-length", "")
        if announced.isdecimal():
            self._buffer.check(int(announced), int(announced))
        try:
            with anyio.fail_after(self._seconds):
                yield Request(self._original.scope, self._receive)
        except TimeoutError:
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT, "slow-upload", f"the upload took more than {self._seconds:g} s"
            ) from None
        except ClientDisconnect:
            raise HungUp from None
        except HTTPException as error:
            raise Problem(error.status_code, "form", error.detail) from None
        except UnicodeError:  # the form names a charset that is none for texts
            raise Problem(HTTPStatus.BAD_REQUEST, "form", "the form can't be read in its charset") from None

    async def _receive(self) -> Message:
        message = await self._original.receive()
        if message["type"] == "http.request":
            more = len(message.get("body", b""))
            self._buffer.take(self._taken, more)
            self._taken += more
            self.is_complete = not message.get("more_body", False)
        return message


async def _value(name: str, field: Field, value: UploadFile | str) -> Value:
    if isinstance(value, UploadFile):
        if field.type != "file":
            raise wrong(name, f"it is sent as a file; send it as a {field.type}")
        return await value.read()
    if field.type == "file":
        raise wrong(name, "it is sent as a text; send it as a file")
    return parsed(name, field, value)
