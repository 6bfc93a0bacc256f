"""Objects on their way between a worker and its executor's process, in memory that both map.

One message is one file without a name: the socket carries its descriptor, and nothing is left of it once both
have let go. Pickle protocol 5 (PEP 574) keeps the data of large arrays out of the stream; here they are
copied once, into the file, and the other side's arrays lie on its mapping, private and copied on write.

Nothing that a producer sent is unpickled: bodies are bytes, and only what this worker's own code made is
pickled, on a socket that no other process has.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Sequence
from typing import Any

ALIGNMENT = 64
"""Bytes; what vector instructions like."""
LARGE = 65536
"""Bytes from which a `bytes` object goes beside the stream."""
LENGTH = struct.Struct("<Q")


class _Beside:
    """A large `bytes` object, which pickle by itself would copy into the stream."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __reduce_ex__(self, _: object) -> tuple[type[bytes], tuple[pickle.PickleBuffer]]:
        return bytes, (pickle.PickleBuffer(self._body),)


def beside(items: Sequence[Any]) -> list[Any]:
    """The items, with the large bodies among them to go beside the stream."""
    return [_Beside(each) if type(each) is bytes and len(each) >= LARGE else each for each in items]


def send(to: socket.socket, message: object) -> None:
    """Send an object.

    Raises:
        OSError: the other side is gone.
        Exception: it can't be pickled; nothing was sent.
    """
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    file = _unnamed_file()
    try:
        size = _write(file, [memoryview(stream), *(each.raw() for each in buffers)])
        socket.send_fds(to, [LENGTH.pack(size)], [file])
    finally:
        os.close(file)


def receive(sender: socket.socket) -> Any:
    """Receive an object; its arrays lie on memory of their own.

    Raises:
        EOFError, OSError: the other side is gone.
    """
    header, files, _, _ = socket.recv_fds(sender, LENGTH.size, 1)
    if len(header) < LENGTH.size or not files:
        raise EOFError
    try:
        [size] = LENGTH.unpack(header)
        stream, *buffers = _parts(memoryview(mmap.mmap(files[0], size, access=mmap.ACCESS_COPY)))
    finally:
        os.close(files[0])
    return pickle.loads(stream, buffers=buffers)  # noqa: S301 - our own process made it


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rpcb-trio")
    with tempfile.TemporaryFile() as file:  # pragma: no cover - where there is no such memory, macOS
        return os.dup(file.fileno())


def _write(file: int, parts: Sequence[memoryview]) -> int:
    """Write the parts, after how many they are and how long; returns the size of it all."""
    table = b"".join(map(LENGTH.pack, [len(parts), *(part.nbytes for part in parts)]))
    at = 0
    for part in (memoryview(table), *parts):
        written = 0
        while written < part.nbytes:
            written += os.pwrite(file, part[written:], at + written)
        at = _aligned(at + part.nbytes)
    os.ftruncate(file, at)
    return at


def _parts(content: memoryview) -> list[memoryview]:
    [count] = LENGTH.unpack_from(content)
    at = LENGTH.size * (1 + count)
    found = []
    for number in range(count):
        [length] = LENGTH.unpack_from(content, LENGTH.size * (1 + number))
        at = _aligned(at)
        found.append(content[at : at + length])
        at += length
    return found


def _aligned(at: int) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT
