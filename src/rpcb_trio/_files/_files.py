"""`Files`: what is put under a name is got and deleted by it, wherever the root is."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import msgspec

from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", re.ASCII)
"""No slashes and no dot at the beginning, so that no name leads anywhere else."""

TIMEOUT = 10.0
"""Seconds for one operation that is not given more."""

THREADS = 16
"""For the operations of one root together, so that a file system that hangs holds up nothing else."""

OWNER_ALONE = 0o600

PART = ".part"
"""How the names of files end that are being written."""

PART_SECONDS = 3600.0
"""Nobody writes on one for so long."""

CHANGED = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""Where file systems say when a file was last changed."""

T = TypeVar("T")


class Found(msgspec.Struct, frozen=True):
    """A file that is there."""

    size: int
    changed: float | None
    """When it was last changed, as `time.time()`; None where the file system does not say."""


class Files:
    """Files under one root, each under a name of `NAME`.

    All but `aside` block; each raises an `OSError` where it fails, whatever the file system raised.

    Args:
        where: a directory, or a URL for fsspec (`s3://bucket/prefix`).
        setting: what names it, for errors.
        mode: of new files, where `where` is a directory.
    """

    def __init__(self, where: str, *, setting: str, mode: int = OWNER_ALONE) -> None:
        self.where = where
        self.root = ""
        """As fsspec has it; empty until it is open."""
        self._setting = setting
        self._mode = mode
        self._fs: Any = None
        self._is_local = False
        self._threads = anyio.CapacityLimiter(THREADS)

    @property
    def is_open(self) -> bool:
        return self._fs is not None

    def open(self) -> None:
        """Make the root, if it is not there.

        Raises:
            SettingError: it can't be used, or fsspec is not installed.
        """
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra
            from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415 - likewise
        except ImportError:
            raise SettingError(
                f"{self._setting} needs fsspec; install it with pip install 'rpcb-trio[files]'"
            ) from None
        try:
            fs, self.root = url_to_fs(self.where)
            self._is_local = isinstance(fs, LocalFileSystem)
            if self._is_local:
                Path(self.root).mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                fs.makedirs(self.root, exist_ok=True)
        except Exception as error:
            raise self.unusable(error) from error
        self._fs = fs
        if self._is_local:
            _remove_parts(Path(self.root))

    def put(self, name: str, content: bytes) -> None:
        """Write a new file."""
        with _as_os_errors():
            place = self._place(name)
            if self._is_local:  # no other user of this machine may read it
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
                os.close(os.open(place, flags, self._mode))
            self._fs.pipe_file(place, content)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, new or in another's place: all of it, or nothing, whenever the process ends."""
        with _as_os_errors():
            place = self._place(name)
            if not self._is_local:  # what one request puts into a bucket is there as a whole
                self._fs.pipe_file(place, content)
                return
            part = f"{self.root}/.{name}.{secrets.token_hex(4)}{PART}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            with os.fdopen(os.open(part, flags, self._mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(part).replace(place)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Read a file, or a part of it. Of a directory nothing is read but regular files: no links, no pipes.

        Raises:
            FileNotFoundError: there is none.
        """
        with _as_os_errors():
            place = self._place(name)
            if self._is_local:
                return _read_regular(place, start, end)
            content: bytes = self._fs.cat_file(place, start=start, end=end)
            return content

    def size(self, name: str) -> int:
        """How many bytes a file has.

        Raises:
            FileNotFoundError: there is none.
        """
        with _as_os_errors():
            place = self._place(name)
            if self._is_local:
                return os.lstat(place).st_size
            return int(self._fs.size(place) or 0)

    def delete(self, name: str) -> None:
        """Remove a file.

        Raises:
            FileNotFoundError: there is none.
        """
        with _as_os_errors():
            self._fs.rm_file(self._place(name))

    def found(self) -> Mapping[str, Found]:
        """All files, by name; in the order of their names."""
        with _as_os_errors():
            self._fs.invalidate_cache()
            listed: Mapping[str, Any] = self._fs.find(self.root, maxdepth=1, detail=True)
        files = {path.rpartition("/")[2]: facts for path, facts in sorted(listed.items())}
        return {
            name: Found(facts.get("size") or 0, _changed(facts))
            for name, facts in files.items()
            if NAME.fullmatch(name)
        }

    async def aside(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """Run an operation in a thread, which is left to run where it takes longer than `TIMEOUT`.

        Raises:
            OSError: it took too long, or failed.
        """
        seconds = TIMEOUT if seconds is None else seconds
        try:
            with anyio.fail_after(seconds):
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError:
            raise OSError(f"it took more than {seconds:g} s") from None

    def _place(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise FileNotFoundError("no file can have that name")
        return f"{self.root}/{name}"

    def unusable(self, error: Exception) -> SettingError:
        """Why it can't be used."""
        return SettingError(
            f"{self._setting}: {self.where} can't be used: {error}; name a directory or a URL"
        )


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Each file system has errors of its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _read_regular(place: str, start: int, end: int | None) -> bytes:
    try:  # without O_NONBLOCK a pipe would be waited for
        number = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(f"{place} is a link") from None
        raise
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileNotFoundError(f"{place} is no file")
        file.seek(start)
        return file.read(-1 if end is None else max(end - start, 0))


def _remove_parts(root: Path) -> None:
    """What processes left that were killed while they wrote."""
    for part in root.glob(f".*{PART}"):
        with suppress(OSError):  # another process may do it, too
            if part.stat().st_mtime < time.time() - PART_SECONDS:
                part.unlink()


def _changed(facts: Mapping[str, Any]) -> float | None:
    for key in CHANGED:
        value = facts.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
