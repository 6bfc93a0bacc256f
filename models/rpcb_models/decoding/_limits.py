"""What the operating system keeps this process to."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_PAGE: Final = resource.getpagesize()
_GROWTH: Final = 64 * 2**20  # bytes that the allocator may keep from one recording to the next


class Limits:
    """The limits of a process that reads strangers' recordings. Made when all is imported and has run once.

    From then on it opens no file and no socket, writes no file and leaves no core dump. It outlives no
    worker: it ends with the process that started it, even where another process still holds the socket's
    other end.
    """

    def __init__(self, parent: int) -> None:
        self._waiting = _end_of(parent)
        self._sizes = _sizes()
        self._first = self._size()
        self._unlimited = resource.getrlimit(resource.RLIMIT_AS)[1]
        for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
            resource.setrlimit(kind, (0, 0))

    def wait(self, descriptor: int, event: int = select.EPOLLIN) -> bool:
        """Wait until there is something to be read; False where the parent has ended instead.

        With `EPOLLOUT`, until something can be sent.
        """
        if self._waiting is None:
            return True
        self._waiting.register(descriptor, event)
        try:
            return any(ready == descriptor for ready, _ in self._waiting.poll())
        finally:
            self._waiting.unregister(descriptor)

    def send(self, worker: socket.socket, *contents: bytes | memoryview) -> bool:
        """Send to the worker, which may take its time; False where it wants no more, or has ended."""
        for content in contents:
            left = memoryview(content)
            while left:
                if not self.wait(worker.fileno(), select.EPOLLOUT):
                    return False
                try:
                    left = left[worker.send(left, socket.MSG_DONTWAIT if self._waiting else 0) :]
                except ConnectionError:
                    return False
        return True

    @contextmanager
    def kept(self, memory: int, seconds: float) -> Iterator[None]:
        """Allow no more memory than this (bytes) within; the kernel ends the process after the seconds."""
        if self._sizes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (self._size() + memory, self._unlimited))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (self._unlimited, self._unlimited))

    def has_grown(self, answer: int) -> bool:
        """Whether it keeps so much memory, besides its answer, that a fresh one should take its place."""
        return self._size() - answer > self._first + _GROWTH

    def _size(self) -> int:
        return 0 if self._sizes is None else int(os.pread(self._sizes, 64, 0).split()[0]) * _PAGE


def _sizes() -> int | None:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return None


def _end_of(parent: int) -> select.epoll | None:
    """Something to wait with that tells of a process's end; None where the system has none."""
    try:
        end = os.pidfd_open(parent)
    except ProcessLookupError:  # it has ended already
        raise SystemExit from None
    except (AttributeError, OSError):  # then the socket's end must do
        return None
    waiting = select.epoll()
    waiting.register(end, select.EPOLLIN)
    return waiting
