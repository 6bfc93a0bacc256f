"""A decoder's process, as its worker sees it."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from rpcb_models.audio._errors import AudioError, unparseable
from rpcb_models.audio._samples import Samples
from rpcb_models.decoding.protocol import (
    DONE,
    MORE,
    MOST_BLOCK,
    MOST_REASON,
    READY,
    REPLY,
    REQUEST,
    most_processor_seconds,
    most_sample_bytes,
)
from rpcb_models.wire import Status
from rpcb_trio import ServiceError, SettingError

for _library in ("av", "soxr"):  # found before a request comes, but imported by the decoder alone
    if importlib.util.find_spec(_library) is None:
        raise SettingError(f"reading audio needs {_library}: pip install 'rpcb-trio[audio]'")

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
_KEPT = ("DYLD_", "HOME", "LANG", "LC_", "LD_", "PATH", "PYTHON", "TMPDIR", "VIRTUAL_ENV")  # no secrets
_PROCESSOR_TIME_IS_UP = -signal.SIGPROF


class Decoder:
    """One process that reads one recording at a time, for as long as none breaks it.

    It ends when its socket is closed, and when this process ends, however that comes about.

    Raises:
        ServiceError: the system has no process, descriptor or memory for it, or it ended too early.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        try:
            self._socket, theirs = socket.socketpair()
            with ExitStack() as failed:
                failed.callback(self._socket.close)
                with theirs:
                    self._process = _started(theirs.fileno())
                failed.pop_all()
        except OSError as error:
            raise ServiceError(f"no process can be started to decode in ({error.strerror})") from error
        if self._socket.recv(1) != READY:
            self.end()
            code = self._process.returncode
            raise ServiceError(f"a decoder's process ended with {code} before it could decode")
        self.is_spent = False
        """Whether no other recording should be given to it."""

    def blocks(self, body: bytes, hint: str, max_seconds: float, memory: int) -> Iterator[Samples]:
        """Read a recording, block by block; it decodes hardly further than they are taken.

        Args:
            body: The whole file.
            hint: What its producer calls the format, or nothing.
            max_seconds: The longest recording allowed, in seconds.
            memory: How much the decoder may allocate, in bytes.

        Raises:
            AudioError: there are no samples to be had, or the process died of it and is spent; the blocks
                before that are not to be used.
        """
        self.is_spent = True  # until all of the answer is here
        left = most_sample_bytes(max_seconds)
        status = MORE
        try:
            told = hint.encode(errors="replace")
            self._socket.sendall(REQUEST.pack(len(body), len(told), max_seconds, memory) + told)
            self._socket.sendall(body)
            del body
            while status == MORE:
                status, is_spent, size = REPLY.unpack(self._received(REPLY.size))
                if size > (min(MOST_BLOCK, left) if status in {MORE, DONE} else MOST_REASON):
                    raise ConnectionError("a reply that no decoder sends")  # noqa: TRY301 (it is not ours any more)
                content = self._received(size)
                left -= size
                if status == MORE:
                    yield np.frombuffer(content, np.float32)
        except ConnectionError:
            self.end()
            raise unparseable(_why(self._process.returncode, max_seconds)) from None
        self.is_spent = is_spent
        if status != DONE:
            raise AudioError(Status(status), content.decode(errors="replace"))
        yield np.frombuffer(content, np.float32)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """End the process, whatever it does; not in a fork, which has a copy of this object alone."""
        if self._owner != os.getpid():
            self.let_go()
            return
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def let_go(self) -> None:
        """Close this process's copy of the socket; in a fork, the decoder belongs to the other one."""
        self._socket.close()
        self._process.returncode = 0  # it is no child of ours

    def _received(self, size: int) -> bytearray:
        content = bytearray(size)
        left = memoryview(content)
        while left:
            count = self._socket.recv_into(left)
            if not count:
                raise ConnectionError("the decoder is gone")
            left = left[count:]
        return content


def _started(descriptor: int) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    paths = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    return subprocess.Popen(  # noqa: S603 (this very interpreter, and no word of a stranger's)
        [sys.executable, "-P", "-m", "rpcb_models.decoding", str(descriptor), str(os.getpid())],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=kept | _ONE_THREAD | paths,
        process_group=0,  # Ctrl-C is for the worker, which then drains
    )


def _why(returncode: int, max_seconds: float) -> str:
    """What a process died of, for people."""
    if returncode == _PROCESSOR_TIME_IS_UP:
        return f"the audio takes more than {most_processor_seconds(max_seconds):g} s of a processor to decode"
    ended = signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
    return f"the audio broke the process that decoded it ({ended})"
