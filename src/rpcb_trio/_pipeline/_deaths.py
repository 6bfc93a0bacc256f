"""What workers were at when they died: read from the files they left, and remembered from start to start."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from rpcb_trio._messages import Request

COUNT = 4
"""Bytes of a slot that say how many identities follow."""
IDENTITY = 16
"""Bytes of an identity."""
LOOKED_AT = 4096
"""Bytes at either end of a body that its identity is made of, and its length; bodies may be large."""
MOST_REMEMBERED = 10_000
LONGEST_REMEMBERED = 7 * 86400.0
"""Seconds after its last death until a request is forgotten."""

log = logging.getLogger("rpcb_trio")


class Deaths(msgspec.Struct):
    """What is remembered of one request."""

    alone: int
    """How many workers died while they ran nothing else."""
    last: float
    """When one died that ran it, alone or not; seconds since 1970."""


def identity(request: Request) -> bytes:
    """The same for every delivery of a request, in every process."""
    found = hashlib.blake2b(digest_size=IDENTITY)
    for part in (request.reply_to, request.correlation_id):
        found.update(b"\0" if part is None else b"\1%s\0" % part.encode(errors="surrogateescape"))
    found.update(len(request.body).to_bytes(8, "big"))
    found.update(request.body[:LOOKED_AT])
    found.update(request.body[max(LOOKED_AT, len(request.body) - LOOKED_AT) :])
    return found.digest()


class DeathRecord:
    """The deaths over one queue's requests, as far as workers that share a directory know.

    Each worker holds the lock of its own file for as long as it lives, and the kernel lets go of it however
    the worker ends. So a file whose lock is free is a dead worker's.
    """

    def __init__(self, directory: Path, queue: str) -> None:
        self._directory = directory
        self._name = hashlib.blake2b(queue.encode(), digest_size=8).hexdigest()
        self._file = directory / f"{self._name}.deaths"
        self._known: dict[str, Deaths] = {}

    def of(self, request: Request) -> Deaths | None:
        """What is known of a request as of the last `collect`."""
        return self._known.get(identity(request).hex()) if self._known else None

    def collect(self) -> None:
        """Take in what dead workers have left."""
        with self._locked():
            self._collect()

    def open_file(self, size: int) -> tuple[int, Path]:
        """Make a file for a worker that lives, of `size` bytes, all zero."""
        with self._locked():
            path = self._directory / f"{self._name}-{os.getpid()}-{os.urandom(4).hex()}.running"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(descriptor, bytes(size), 0)
            self._collect()
            return descriptor, path

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / f"{self._name}.lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _collect(self) -> None:
        known = self._read()
        left = list(self._directory.glob(f"{self._name}-*.running"))
        dead = [path for path in left if _enter_if_dead(path, known)]
        if dead:
            self._write(known)
            for path in dead:
                path.unlink()
        self._known = known

    def _read(self) -> dict[str, Deaths]:
        try:
            return _decoder.decode(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            log.warning("the record of deaths %s is begun anew: it can't be read (%s)", self._file, error)
            return {}

    def _write(self, known: dict[str, Deaths]) -> None:
        now = time.time()
        recent = sorted(known.items(), key=lambda each: each[1].last)[-MOST_REMEMBERED:]
        known.clear()
        known.update((name, each) for name, each in recent if now - each.last < LONGEST_REMEMBERED)
        written = self._file.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(known))
        written.replace(self._file)


_decoder = msgspec.json.Decoder(dict[str, Deaths])


def _enter_if_dead(path: Path, known: dict[str, Deaths]) -> bool:
    """Whether it is a dead worker's file; then what it ran is entered in `known`."""
    with path.open("rb") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        running = running_in(file.read())
        for each in running:
            before = known.get(each.hex(), Deaths(0, 0.0)).alone
            known[each.hex()] = Deaths(before + (len(running) == 1), path.stat().st_mtime)
        return True
    return False


def running_in(content: bytes) -> list[bytes]:
    """The identities in all slots of a worker's file, which begins with the size of a slot."""
    size = int.from_bytes(content[:COUNT], "big")
    found: list[bytes] = []
    for start in range(COUNT, len(content), size) if size else ():
        count = int.from_bytes(content[start : start + COUNT], "big")
        first = start + COUNT
        found += [content[at : at + IDENTITY] for at in range(first, first + count * IDENTITY, IDENTITY)]
    return found
