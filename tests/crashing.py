"""Services for an executor's process: a test's module, for it is imported there by its name."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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


class Cold:
    """Can't be warmed up."""

    def decode(self, body: bytes) -> bytes:
        return body

    def infer(self, items: list[bytes]) -> list[bytes]:
        return items

    def encode(self, outcome: object) -> bytes:
        return str(outcome).encode()

    def warm_up(self) -> None:
        raise ValueError("classifier.pt is missing")


wait = time.sleep


class Untakable:
    """Can be pickled, and raises what it is told to when it is unpickled in another process."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return raise_elsewhere, (self.kind, os.getpid())


def raise_elsewhere(kind: str, pid: int) -> Any:
    """What unpickles an `Untakable`."""
    if os.getpid() == pid:
        return Untakable(kind)
    if kind == "hang":
        wait(3600)
    raise {"OSError": OSError, "EOFError": EOFError, "KeyboardInterrupt": KeyboardInterrupt}[kind](kind)


def fork() -> int:
    """Fork a helper that lives on and holds all that it inherited."""
    helper = os.fork()
    if not helper:
        time.sleep(3600)
    return helper


def helped_death() -> None:
    """Die, with a helper that lives on; it says who it is, for it can't be returned."""
    with Path(HELPERS).open("a") as file:
        file.write(f"{fork()}\n")
    os._exit(3)


def shell_and_die() -> None:
    os.system("sleep 3600 & echo $! >>" + HELPERS)  # noqa: S605 - a shell is what is tried
    os._exit(3)


def come_back_twice() -> bytes:
    """Fork, and let parent and child both go on."""
    os.fork()
    return b"TWICE"


def leak_descriptors() -> bytes:
    """Open files until there is no descriptor left."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with suppress(OSError):
        while True:
            leaked.append(os.open(os.devnull, os.O_RDONLY))
    return b"LEAKED"


leaked: list[int] = []

HELPERS = os.environ.get("RPCB_TEST_HELPERS", os.devnull)
"""A file that takes the numbers of processes."""


class Unshowable(Exception):
    """Fails when it is shown, and when it is pickled."""

    def __str__(self) -> str:
        raise ValueError("not to be shown")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise ValueError("not to be pickled")


def sockets() -> list[int]:
    """The descriptors of all sockets."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if each.readlink().name.startswith("socket:"):
                found.append(int(each.name))
    return found


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
    b"group": os.getpgrp,
    b"fork": fork,
    b"helped death": helped_death,
    b"shell and die": shell_and_die,
    b"twice": come_back_twice,
    b"leak": leak_descriptors,
    b"interrupt": lambda: _raise(KeyboardInterrupt()),
    b"generator exit": lambda: _raise(GeneratorExit()),
    b"OSError": lambda: Untakable("OSError"),
    b"EOFError": lambda: Untakable("EOFError"),
    b"KeyboardInterrupt": lambda: Untakable("KeyboardInterrupt"),
    b"untakable hang": lambda: Untakable("hang"),
    b"close all": lambda: os.closerange(0, 64),
    b"close but streams": lambda: os.closerange(3, 64),
    b"close streams": lambda: os.closerange(0, 3),
    b"garbage": lambda: [os.write(fd, b"garbage") for fd in sockets()],
    b"print": lambda: print("garbage", flush=True),  # noqa: T201 - that is what is tried
    b"signals": lambda: [signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGTERM)][:0],
    b"modules": lambda: sys.modules.pop("pickle").__name__,
    b"unshowable": lambda: _raise(Unshowable()),
    b"thread": lambda: threading.Thread(target=time.sleep, args=[3600]).start(),
}


def make(gone: str | None = None, stuck: str | None = None) -> Any:
    """A maker; where `gone` is there, it can't make any more, and where `stuck` is, it never ends."""
    if gone is not None and Path(gone).exists():
        os._exit(7)
    if stuck is not None and Path(stuck).exists():
        wait(3600)
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


BALLAST = 64 * 2**20


class Growing:
    """Keeps more with each batch that says so; it warms up only once `slow` is not there."""

    def __init__(self, slow: str) -> None:
        self._slow = Path(slow)
        self._kept: list[bytes] = []

    def warm_up(self) -> None:
        while self._slow.exists():
            wait(0.01)

    def decode(self, body: bytes) -> bytes:
        return body

    def infer(self, items: list[bytes]) -> list[Any]:
        self._kept += [b"x" * BALLAST for item in items if item == b"grow"]
        return [os.getpid() for _ in items]

    def encode(self, outcome: Any) -> bytes:
        return str(getattr(outcome, "value", outcome)).encode()


def make_with_device() -> Any:
    """A maker of a model on a device, which is lost over a word; it is played by torch's own error."""
    import torch  # noqa: PLC0415 - it takes a second

    error = torch.AcceleratorError("CUDA error: device-side assert triggered")
    lost = False

    def synchronize() -> None:
        if lost:
            raise error

    def infer_there(items: list[bytes]) -> list[bytes]:
        nonlocal lost
        lost = lost or b"lose" in items
        synchronize()
        return [item.upper() for item in items]

    torch.cuda.is_initialized = lambda: True
    torch.cuda.synchronize = synchronize  # type: ignore[assignment] # a stand-in
    return infer_there
