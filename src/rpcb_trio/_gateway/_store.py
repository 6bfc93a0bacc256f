"""Files to which URLs in answers lead: kept for a time, in a bounded space, under names nobody can guess.

They are in a directory, an S3 bucket, or whatever else fsspec knows.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from mimetypes import guess_type
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread

from rpcb_trio._files import Files
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")

NAME = re.compile(r"[A-Za-z0-9_-]{32}\.[a-z0-9]{1,8}")
"""No dots but one and no slashes, so that nothing leads anywhere else."""

RANDOM_BYTES = 24
SHORTEST_SWEEP, LONGEST_SWEEP = 1.0, 60.0
"""Seconds from one removal of overdue files to the next."""

PIECE = 2**20
"""Bytes of a file that are in memory at once while it is sent."""


@dataclass(frozen=True)
class File:
    """A kept file; `pieces` reads it."""

    size: int
    media_type: str
    pieces: AsyncIterator[bytes]


class Store:
    """Keeps files, within `opened`.

    Args:
        options: where, for how long, how much.
        is_needed: whether there will be any files; else no directory is made.
    """

    def __init__(self, options: GatewayOptions, *, is_needed: bool = True) -> None:
        self._options = options
        self._is_needed = is_needed
        self._files: Files | None = None
        self._kept: dict[str, tuple[float, int]] = {}
        """When each file is to be removed (as `time.time()`), and its size; the oldest first."""
        self.size = 0
        """How many bytes all of them take."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open the directory, and remove what is overdue until the end.

        Raises:
            SettingError: it can't be used.
        """
        if not self._is_needed:
            yield
            return
        with nullcontext(self._options.files) if self._options.files else _temporary() as where:
            self._files = await anyio.to_thread.run_sync(self._opened, where)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._sweep_for_ever)
                yield
                tasks.cancel_scope.cancel()

    async def keep(self, content: bytes, media_type: str) -> str:
        """Keep a file, and return its name.

        Raises:
            Problem: 507, there is no room for it.
        """
        if len(content) > self._options.files_size:
            raise _no_room(f"it has {len(content)} bytes; files_size is {self._options.files_size}")
        assert self._files is not None  # noqa: S101 - for the type checker
        name = f"{secrets.token_urlsafe(RANDOM_BYTES)}.{_suffix(media_type)}"
        self._note(name, len(content))  # first: what a cancelled write leaves must be removed, too
        try:
            await self._files.aside(partial(self._files.put, name, content))
        except OSError as error:
            self._note(name, 0)
            log.warning("files: %s can't be written: %s", self._files.root, error)
            raise _no_room("it can't be written") from error
        await self.sweep()
        return name

    async def find(self, name: str) -> File | None:
        """A file; None if there is none."""
        gone, _ = self._kept.get(name, (math.inf, 0))
        if self._files is None or not NAME.fullmatch(name) or gone <= time.time():
            return None
        try:
            size = await self._files.aside(partial(self._files.size, name))
        except OSError:
            return None
        return File(size, guess_type(name)[0] or "application/octet-stream", _pieces(self._files, name, size))

    def _opened(self, where: str) -> Files:
        files = Files(where, setting="files")
        files.open()
        # Files of an earlier gateway count as new, and are removed in their turn.
        try:
            for name, found in files.found().items():
                if NAME.fullmatch(name):
                    self._note(name, found.size)
        except OSError as error:
            raise files.unusable(error) from error
        return files

    def _note(self, name: str, size: int) -> None:
        _, before = self._kept.get(name, (0.0, 0))
        self._kept[name] = (time.time() + self._options.files_kept, size)
        self.size += size - before

    async def sweep(self) -> None:
        """Remove what is overdue, and the oldest files while all of them take too much."""
        files = self._files
        while self._kept and files is not None:
            name, (overdue, size) = next(iter(self._kept.items()))
            if overdue > time.time() and self.size <= self._options.files_size:
                break
            del self._kept[name]
            self.size -= size
            try:
                await files.aside(partial(files.delete, name))
            except FileNotFoundError:
                pass  # another gateway on this directory did it
            except OSError as error:
                log.warning("files: %s/%s can't be removed: %s", files.root, f"{name[:12]}...", error)

    async def _sweep_for_ever(self) -> None:
        pause = min(max(self._options.files_kept / 4, SHORTEST_SWEEP), LONGEST_SWEEP)
        while True:
            await self.sweep()
            await anyio.sleep(pause)


async def _pieces(files: Files, name: str, size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, PIECE):
        end = min(start + PIECE, size)
        yield await files.aside(partial(files.get, name, start, end))


@contextmanager
def _temporary() -> Iterator[str]:
    try:
        made = TemporaryDirectory(prefix="rpcb-files-")
    except OSError as error:
        why = f"files: there is no temporary directory: {error}; name a directory that can be written"
        raise SettingError(why) from error
    with made as place:
        yield place


def _suffix(media_type: str) -> str:
    """`wav` for `audio/wav`."""
    return re.sub(r"[^a-z0-9]", "", media_type.partition("/")[2].lower().removeprefix("x-"))[:8] or "bin"


def _no_room(why: str) -> Problem:
    return Problem(HTTPStatus.INSUFFICIENT_STORAGE, "files", f"there is no room for the file: {why}")
