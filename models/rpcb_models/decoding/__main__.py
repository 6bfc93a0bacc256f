"""`python -m rpcb_models.decoding DESCRIPTOR PARENT`: read recordings from a socket, one after the other."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterator

import numpy as np

from rpcb_models.decoding._conversion import Samples
from rpcb_models.decoding._limits import Limits
from rpcb_models.decoding._reading import read
from rpcb_models.decoding._refusal import Refusal, unparseable
from rpcb_models.decoding.protocol import (
    DONE,
    MORE,
    MOST_BLOCK,
    MOST_REASON,
    READY,
    REPLY,
    REQUEST,
    UNPARSEABLE,
    most_processor_seconds,
)

_WITH_A_WORKER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a worker that drains still needs us


def main(descriptor: int, parent: int) -> None:
    """Answer requests until the worker closes its end or is gone."""
    for number in _WITH_A_WORKER:
        signal.signal(number, signal.SIG_IGN)
    worker = socket.socket(fileno=descriptor)
    warm_up()
    limits = Limits(parent)
    worker.sendall(READY)
    while limits.wait(descriptor) and answer(worker, limits):
        pass


def warm_up() -> None:
    """Read a moment of sound, so that nothing is imported or set up later."""
    tone = (np.sin(np.arange(4_000)) * 8_000).astype("<i2").tobytes()
    form = struct.pack("<IHHIIHH", 16, 1, 2, 8_000, 32_000, 4, 16)
    made = read(b"RIFF\0\0\0\0WAVEfmt " + form + b"data" + struct.pack("<I", len(tone)) + tone, "", 10.0)
    deque(made, maxlen=0)


def answer(worker: socket.socket, limits: Limits) -> bool:
    """Read a recording and send what it holds, or why it holds nothing; False where no more will come."""
    try:
        size, hint_size, max_seconds, memory = REQUEST.unpack(received(worker, REQUEST.size))
        hint, body = received(worker, hint_size).decode(), received(worker, size)
    except EOFError:
        return False
    # Two copies of the file, and a few of a block are not the decoder's own need.
    room = memory + 2 * size + 4 * MOST_BLOCK
    content = memoryview(b"")
    try:
        with limits.kept(room, most_processor_seconds(max_seconds)):
            for samples in blocks(body, hint, max_seconds):
                if content and not limits.send(worker, REPLY.pack(MORE, 0, len(content)), content):
                    return False
                content = samples.data.cast("B")
        status = DONE
    except Refusal as refusal:
        status, content = refusal.status, memoryview(str(refusal).encode()[:MOST_REASON])
    except MemoryError:
        status = UNPARSEABLE
        content = memoryview(b"the audio needs more than %d MiB to decode (decode_memory)" % (memory >> 20))
    del body
    return limits.send(worker, REPLY.pack(status, limits.has_grown(len(content)), len(content)), content)


def received(worker: socket.socket, size: int) -> bytes:
    """That many bytes.

    Raises:
        EOFError: no more will come.
    """
    content = b""
    while len(content) < size:
        more = worker.recv(size - len(content), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        content = content + more if content else more
    return content


def blocks(body: bytes, hint: str, max_seconds: float) -> Iterator[Samples]:
    """The recording's samples.

    Raises:
        Refusal: there are none to be had.
        MemoryError: it wants more than is allowed.
    """
    try:
        yield from read(body, hint, max_seconds)
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # whatever libav's bindings make of nonsense
        raise unparseable(f"the audio can't be parsed: {type(error).__name__}") from error


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
    os._exit(0)  # nothing is left to be done, and a worker may wait for the end
