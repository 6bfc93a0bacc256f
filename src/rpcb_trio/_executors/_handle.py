"""The executor's process as the worker sees it: start it, send it work, end it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from io import FileIO
from typing import Any

from rpcb_trio._executors._ipc import IpcError, NoRoom, out_of_band, receive, send
from rpcb_trio._forks import close_in_children
from rpcb_trio._parts import Happened
from rpcb_trio._tracing import spans
from rpcb_trio.errors import DeviceLost, InferError, SettingError

CODE = "import sys; from rpcb_trio._executors._child import main; main(int(sys.argv[1]), int(sys.argv[2]))"


KIND = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
"""Of socket: where it can, one that keeps apart what the process's own code writes into it by mistake."""
POLL_MILLISECONDS = 200
"""How often to look for a death, where the system has no file for that."""
END_SECONDS = 5.0
"""How long to wait for a killed process to end; the kernel may be busy with its memory, or stuck."""


class ProcessDied(Exception):
    """The process died while it worked, or can't be started; the message says how."""


class Process:
    """One process, from its start to its end, and all that it forks, which ends with it.

    Start it in the thread of the event loop: on Linux it dies with the very thread that started it. Call the
    other methods in another thread, for they block.

    Raises:
        ProcessDied: it can't be started.
    """

    def __init__(self, make: bytes, device: str | None) -> None:
        self._setup = (list(sys.path), make, device)
        try:
            ours, theirs = socket.socketpair(type=KIND)
        except OSError as error:
            raise ProcessDied(str(error)) from error
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603 - it is us
                    [sys.executable, "-c", CODE, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    start_new_session=True,  # a group of its own, to be ended as one
                )
            except OSError as error:
                ours.close()
                raise ProcessDied(str(error)) from error
        close_in_children(ours)
        self._process = process
        self._socket = ours
        self._death = _death_of(process)
        self._asking = threading.Lock()
        self._end = weakref.finalize(self, _end, process, [ours, self._death], self._asking)

    def prepare(self) -> None:
        """Have it make the service and warm it up.

        Raises:
            ProcessDied: it died of that, or is of no use.
            RpcbError: as `Model.prepare`.
        """
        try:
            self._ask(self._setup)
        except IpcError as error:
            raise ProcessDied(str(error)) from error

    def infer(self, items: Sequence[Any]) -> Any:
        """Have it compute a batch.

        Raises:
            ProcessDied: it died of that, or lost its device.
            InferError: items or results can't be passed on, as for lack of memory. The process lives on.
            OutcomeError: as `Model.infer`.
        """
        return self._have_computed((out_of_band(items), _current_span()))

    def stream(
        self, items: Sequence[Any], whole: Collection[int]
    ) -> Generator[Happened, Collection[int], None]:
        """Have it compute a batch step by step; see `Model.stream`.

        Raises:
            ProcessDied, InferError, OutcomeError: as `infer`.
        """
        message: object = (out_of_band(items), _current_span(), tuple(whole))
        try:
            while (step := self._have_computed(message)) is not None:
                message = (yield step) or ()
        except GeneratorExit:
            self._stop()
            raise

    def _have_computed(self, message: object) -> Any:
        try:
            return self._ask(message)
        except DeviceLost as lost:
            self.end()
            raise ProcessDied(str(lost)) from lost
        except IpcError as error:
            if isinstance(error, NoRoom):  # for the smallest error, and it may never have it again
                self.end()
            else:
                self._stop()
            raise InferError(f"items or results can't be passed between two processes: {error}") from error

    def _stop(self) -> None:
        """Have it close the stream that it computes, if there is one."""
        with suppress(ProcessDied, IpcError):
            self._ask(None)

    @property
    def pid(self) -> int:
        """Its number, as long as it is not ended."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can compute."""
        return self._end.alive and not self._is_dead(0.0)

    def end(self) -> None:
        """Kill it and all that it has forked, and free what it had. A second call does nothing."""
        self._end()

    def _ask(self, message: object) -> Any:
        with self._asking:
            try:
                send(self._socket, message)
                self._wait()
                results, error = receive(self._socket)
            except (EOFError, OSError, TypeError, ValueError):
                is_dead = self._is_dead(END_SECONDS)
                self.end()
                how = _ending(self._process.returncode) if is_dead else "it hung up, and was killed"
                raise ProcessDied(how) from None
            finally:
                if not self._end.alive:  # ended meanwhile, and left to us
                    _close([self._socket, self._death])
        if error is not None:
            raise error
        return results

    def _wait(self) -> None:
        """Wait for an answer, or for the process's death, though something it forked may hold its socket."""
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        if self._death is not None:
            ready.register(self._death, select.POLLIN)
        while not (found := ready.poll(None if self._death is not None else POLL_MILLISECONDS)):
            if self._process.poll() is not None:
                raise EOFError
        if self._socket.fileno() not in dict(found):
            raise EOFError

    def _is_dead(self, seconds: float) -> bool:
        """Whether it dies within so many seconds. It is not reaped, so that its group keeps its number."""
        if self._death is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return self._process.returncode is not None
        dead = select.poll()
        dead.register(self._death, select.POLLIN)
        return bool(dead.poll(1000 * seconds))


def _current_span() -> dict[str, str] | None:
    """OpenTelemetry's, so that spans of the process go below it; None where there is none."""
    opentelemetry = spans()
    return None if opentelemetry is None else opentelemetry.carried()


def pickled(make: Callable[[], Any]) -> bytes:
    """The maker of the service as the process gets it.

    Raises:
        SettingError: it can't be pickled, or can't be imported by another process.
    """
    try:
        content = pickle.dumps(make)
    except Exception as error:
        raise SettingError(
            f"{make!r} can't be pickled ({error}); give a class or a function of a module, or a "
            "functools.partial of one"
        ) from error
    if b"__main__" in content:
        raise SettingError(
            f"{make!r} is of the script that was started, which a process can't import; "
            "put it into a module of its own"
        )
    return content


def _ending(code: int | None) -> str:
    if code is None:
        return "it can't be ended"
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _death_of(process: subprocess.Popen[bytes]) -> FileIO | None:
    """A file that can be read once the process is dead; None where the system has none."""
    try:
        return FileIO(os.pidfd_open(process.pid))
    except (AttributeError, OSError):
        return None


def _end(process: subprocess.Popen[bytes], open_files: list[Any], asking: threading.Lock) -> None:
    if process.returncode is None:  # else its group's number may be another's by now
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    if asking.acquire(blocking=False):  # else a thread is waiting on them, and will close them
        _close(open_files)
        asking.release()


def _close(open_files: list[Any]) -> None:
    for each in open_files:
        if each is not None:
            each.close()
