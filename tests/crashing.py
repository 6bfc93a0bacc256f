"""Services for an executor's process: a test's module, for it is imported there by its name."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rpcb_trio import RequestError


class Picky(RequestError):
    """An error of the service's own, with more than a text."""

    code = "picky"

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("it holds a lock")
        self.lock = threading.Lock()


def infer(items: list[Any]) -> list[Any]:
    """Do to the process what an item says."""
    return [_obey(item) if isinstance(item, bytes) else item for item in items]


def _obey(item: bytes) -> Any:
    return ORDERS[item]() if item in ORDERS else item.upper()


def _raise(error: BaseException) -> None:
    raise error


ORDERS: dict[bytes, Callable[[], Any]] = {
    b"abort": os.abort,
    b"segfault": lambda: ctypes.string_at(0),
    b"exit": lambda: os._exit(3),
    b"kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"hang": lambda: time.sleep(3600),
    b"leave": lambda: sys.exit(1),
    b"raise": lambda: _raise(ZeroDivisionError("by zero")),
    b"picky": lambda: _raise(Picky(418)),
    b"unpicklable": lambda: _raise(Unpicklable()),
    b"lock": threading.Lock,
    b"pid": os.getpid,
}


def make(gone: str | None = None) -> Any:
    """A maker; where `gone` is there, it can't make any more."""
    if gone is not None and Path(gone).exists():
        os._exit(7)
    return infer


class Warmed:
    """Counts its warm-ups in a file."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)

    def decode(self, body: bytes) -> bytes:
        return body

    def warm_up(self) -> None:
        with self._file.open("a") as file:
            file.write("warm\n")

    def infer(self, items: list[bytes]) -> list[Any]:
        return infer(items)

    def encode(self, outcome: Any) -> bytes:
        return getattr(outcome, "value", b"failed")
