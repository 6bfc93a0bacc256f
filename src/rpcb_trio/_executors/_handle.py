"""The executor's process from without: start it, ask it, end it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rpcb_trio._errors import SettingError
from rpcb_trio._executors._parcel import beside, receive, send

CODE = "import sys; from rpcb_trio._executors._child import main; main(int(sys.argv[1]), int(sys.argv[2]))"


class ProcessDied(Exception):
    """The process died while it was asked; the message says how."""


class Process:
    """One process, from its start to its end.

    Start it in the thread of the event loop: on Linux it dies with the very thread that started it. Ask it in
    another, for asking blocks.
    """

    def __init__(self, make: bytes, device: str | None) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - it is us
                [sys.executable, "-c", CODE, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._socket = ours
        self._setup = (list(sys.path), make, device)
        self.end = weakref.finalize(self, _end, self._process, ours)
        """Kill it, wait for its end, and free what it had; once it has been called, it does nothing."""

    def prepare(self) -> None:
        """Have it make the service and warm it up.

        Raises:
            ProcessDied: it died of that.
            Exception: what `warm_up` raised.
        """
        self._ask(self._setup)

    def infer(self, items: Sequence[Any]) -> Any:
        """Have it compute a batch.

        Raises:
            ProcessDied: it died of that.
            Exception: what `infer` raised.
        """
        return self._ask(beside(items))

    @property
    def is_alive(self) -> bool:
        """Whether it could be asked."""
        return self._process.poll() is None

    def _ask(self, message: object) -> Any:
        try:
            send(self._socket, message)
            results, error = receive(self._socket)
        except (EOFError, OSError):
            raise ProcessDied(_told(self._process.wait())) from None
        if error is not None:
            raise error
        return results


def pickled(make: Callable[[], Any]) -> bytes:
    """How the process is told to make the service.

    Raises:
        SettingError: it can't be told.
    """
    try:
        told = pickle.dumps(make)
    except Exception as error:
        raise SettingError(
            f"{make!r} can't be pickled ({error}); give a class or a function of a module, or a "
            "functools.partial of one"
        ) from error
    if b"__main__" in told:
        raise SettingError(
            f"{make!r} is of the script that was started, which a process can't import; "
            "put it into a module of its own"
        )
    return told


def _told(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _end(process: subprocess.Popen[bytes], ours: socket.socket) -> None:
    process.kill()
    process.wait()
    ours.close()
