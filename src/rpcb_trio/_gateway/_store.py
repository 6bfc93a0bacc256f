"""Files to which URLs in answers lead: kept for a time, in a bounded space, under names nobody can guess.

They are in a directory, an S3 bucket, or whatever else fsspec knows.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio.errors import SettingError

log = logging.getLogger("rpcb_trio")

NAME = re.compile(r"[A-Za-z0-9_-]{32}\.[a-z0-9]{1,8}")
"""No dots but one and no slashes, so that nothing leads anywhere else."""

RANDOM_BYTES = 24
SHORTEST_SWEEP, LONGEST_SWEEP = 1.0, 60.0
"""Seconds from one removal of overdue files to the next."""

TIMEOUT = 10.0
"""Seconds for one operation of the file system."""

THREADS = 16
"""For all operations together, so that a file system that hangs holds up nothing else."""

PIECE = 2**20
"""Bytes of a file that are in memory at once while it is sent."""

T = TypeVar("T")


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
        self._fs: Any = None
        self.root = ""
        self._kept: dict[str, tuple[float, int]] = {}
        """When each file is to be removed (as `time.time()`), and its size; the oldest first."""
        self.size = 0
        """How many bytes all of them take."""
        self._threads = anyio.CapacityLimiter(THREADS)

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
            await anyio.to_thread.run_sync(self._open, where)
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
        name = f"{secrets.token_urlsafe(RANDOM_BYTES)}.{_suffix(media_type)}"
        self._note(name, len(content))  # first: what a cancelled write leaves must be removed, too
        try:
            await self._do(partial(self._write, self._place(name), content))
        except OSError as error:
            self._note(name, 0)
            log.warning("files: %s can't be written: %s", self.root, error)
            raise _no_room("it can't be written") from error
        await self.sweep()
        return name

    async def find(self, name: str) -> File | None:
        """A file; None if there is none."""
        gone, _ = self._kept.get(name, (math.inf, 0))
        if self._fs is None or not NAME.fullmatch(name) or gone <= time.time():
            return None
        try:
            size = await self._do(partial(self._fs.size, self._place(name)))
        except OSError:
            return None
        return File(size, guess_type(name)[0] or "application/octet-stream", self._pieces(name, size))

    def _write(self, place: str, content: bytes) -> None:
        if isinstance(self._fs, LocalFileSystem):  # no other user of this machine may read it
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        self._fs.pipe_file(place, content)

    async def _pieces(self, name: str, size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, PIECE):
            end = min(start + PIECE, size)
            yield await self._do(partial(self._fs.cat_file, self._place(name), start=start, end=end))

    async def _do(self, work: Callable[[], T]) -> T:
        """Run an operation in a thread, within `TIMEOUT`.

        Raises:
            OSError: it took too long, or failed; each file system has errors of its own.
        """
        try:
            with anyio.fail_after(TIMEOUT):
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError:
            raise OSError(f"it took more than {TIMEOUT:g} s") from None
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _place(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _open(self, where: str) -> None:
        try:
            self._fs, self.root = url_to_fs(where)
            if isinstance(self._fs, LocalFileSystem):
                Path(self.root).mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                self._fs.makedirs(self.root, exist_ok=True)
            self._adopt(self._fs.find(self.root, maxdepth=1, detail=True))
        except Exception as error:
            raise SettingError(f"files: {where} can't be used: {error}; name a directory or a URL") from error

    def _adopt(self, found: Mapping[str, Any]) -> None:
        """Files of an earlier gateway count as new, and are removed in their turn."""
        for path, facts in sorted(found.items()):
            name = path.rpartition("/")[2]
            if NAME.fullmatch(name):
                self._note(name, facts["size"] or 0)

    def _note(self, name: str, size: int) -> None:
        _, before = self._kept.get(name, (0.0, 0))
        self._kept[name] = (time.time() + self._options.files_kept, size)
        self.size += size - before

    async def sweep(self) -> None:
        """Remove what is overdue, and the oldest files while all of them take too much."""
        while self._kept:
            name, (overdue, size) = next(iter(self._kept.items()))
            if overdue > time.time() and self.size <= self._options.files_size:
                break
            del self._kept[name]
            self.size -= size
            try:
                await self._do(partial(self._fs.rm_file, self._place(name)))
            except FileNotFoundError:
                pass  # another gateway on this directory did it
            except OSError as error:
                log.warning("files: %s can't be removed: %s", self._place(name), error)

    async def _sweep_for_ever(self) -> None:
        pause = min(max(self._options.files_kept / 4, SHORTEST_SWEEP), LONGEST_SWEEP)
        while True:
            await self.sweep()
            await anyio.sleep(pause)


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
