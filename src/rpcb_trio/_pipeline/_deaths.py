"""What a queue's workers ran when they died, read from the files that they left.

1. Each worker writes what it runs into a file of its own. It locks the file while it lives, with a POSIX
   record lock: the kernel frees that however the worker ends, and no forked child keeps it.
2. The file of a dead worker is the only record of its death. It is kept for a while where something ran.
3. No worker waits for another: no lock is waited for, no file has two writers, and each removes what is old.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

from rpcb_trio._pipeline._ledger import ID_SIZE

MAGIC = b"rpcb running v1\n"
"""How a file begins. The identities of what runs follow, then zeros where there were more before."""
MOST_FILES, MOST_IDENTITIES, MOST_BYTES, LONGEST_KEPT = 1000, 100_000, 2**22, 7 * 86400.0
"""Files of the dead, identities in them, bytes of one file, seconds since a death; the oldest go first."""

log = logging.getLogger("rpcb_trio")

_own = set[str]()
"""Names of this process's files. None may be opened again: closing it once would free its lock."""


class DeathRecord:
    """The deaths of one queue's workers that a directory records, and this worker's own file there.

    Raises:
        OSError: the directory can't be used. It must not be a link, nor writable by everybody.
    """

    def __init__(self, directory: Path, queue: str) -> None:
        self.deaths: dict[bytes, int] = {}
        """By identity, how many dead workers ran nothing else, as of the last `collect`."""
        self.directory = directory.absolute()  # a model may change the working directory
        self._queue = hashlib.blake2b(queue.encode(errors="surrogateescape"), digest_size=8).hexdigest()
        self._dead: dict[Path, frozenset[bytes]] = {}
        self._pid, self._running, self._size = os.getpid(), dict[object, bytes](), 0
        self._lock = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = directory.lstat().st_mode
        if not stat.S_ISDIR(mode) or mode & stat.S_IWOTH:
            raise PermissionError(errno.EACCES, "it is a link, or everybody may write into it")
        path = self.directory / f"{self._queue}-{self._pid}-{os.urandom(8).hex()}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file, self._path = os.open(path, flags, 0o600), path
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.write(None, b"")
            running = path.with_suffix(".running")  # only once it is locked: else it is taken for a dead one
            _own.add(running.name)
            self._path = path.rename(running)
            self.collect()
        except OSError:
            self.close(keep=False)
            raise

    def write(self, key: object, identities: bytes) -> None:
        """Note what runs under a key from now on, in any thread; the whole file is rewritten, it is small."""
        if os.getpid() != self._pid:  # in a child that a hook has forked
            return
        with self._lock:
            if self._running.pop(key, None) is None and not identities and self._size:
                return
            if identities:
                self._running[key] = identities
            content = b"".join([MAGIC, *self._running.values()])
            self._size = max(self._size, len(content))
            if self._file >= 0 and os.pwrite(self._file, content.ljust(self._size, b"\0"), 0) < self._size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self, *, keep: bool) -> bool:
        """Close the file, and remove it unless `keep`; returns whether it was open."""
        with self._lock:
            file, self._file = self._file, -1
            with suppress(OSError):
                if file >= 0 and not keep:
                    os.truncate(file, 0)  # another worker may have opened it already
                    self._path.unlink()
            if file >= 0:
                os.close(file)
        _own.discard(self._path.name)
        return file >= 0

    def collect(self) -> None:
        """Read what dead workers have left, and remove files that record nothing or are too old."""
        found: list[tuple[float, Path]] = []
        for path in self.directory.glob(f"{self._queue}-*.running"):
            with suppress(OSError):  # it is gone
                if path.name not in _own:
                    found.append((path.lstat().st_mtime, path))
        dead, deaths, files, identities = dict[Path, frozenset[bytes]](), dict[bytes, int](), 0, 0
        for died, path in sorted(found, reverse=True):
            ran = self._dead[path] if path in self._dead else _read(path)
            if ran is None:
                continue
            files, identities = files + bool(ran), identities + len(ran)
            is_old = time.time() - died > LONGEST_KEPT
            if not ran or is_old or files > MOST_FILES or identities > MOST_IDENTITIES:
                ran = frozenset()
                with suppress(OSError):  # another worker was faster
                    path.unlink()
            dead[path] = ran
            deaths.update({each: deaths.get(each, 0) + (len(ran) == 1) for each in ran})
        self._dead, self.deaths = dead, deaths


def _read(path: Path) -> frozenset[bytes] | None:
    """What a dead worker ran; None where the worker lives, or the file can't be read."""
    file = -1
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        content = os.read(file, MOST_BYTES + 1)
    except OSError:
        return None
    finally:
        if file >= 0:
            os.close(file)
    if content and (len(content) > MOST_BYTES or len(content) % ID_SIZE or not content.startswith(MAGIC)):
        log.warning("%s is no file of a journal, and is removed", path)
        content = b""
    return frozenset(content[at : at + ID_SIZE] for at in range(ID_SIZE, len(content), ID_SIZE)) - {
        bytes(ID_SIZE)
    }
