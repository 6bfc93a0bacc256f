"""Messages between a worker and its executor's process, in memory that both map.

One message is one file without a name. The socket carries its descriptor, and the kernel frees the file once
both sides have closed it. Pickle protocol 5 (PEP 574) keeps the data of large arrays out of the stream; here
they are copied once, into the file. The other side's arrays lie on its mapping, private and copied on write.

A message that can't be packed or unpacked is lost; the connection is not, and the next one comes as usual.

Nothing that a caller sent is unpickled: bodies are bytes, and only what this worker's own code made is
pickled, on a socket that no other process has.
"""

from __future__ import annotations

import errno
import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rpcb_trio._guard import described
from rpcb_trio._messages import Success
from rpcb_trio._shown import shown

ALIGNMENT = 64
"""Bytes, for vector instructions."""
LARGE = 65536
"""Bytes from which a `bytes` object goes beside the stream."""
LENGTH = struct.Struct("<Q")
HEADER = struct.Struct("<QI")
"""The size of a message's file; or 0, and the number of the system's error because of which there is none."""
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.ETOOMANYREFS}
"""Errors after which a socket can still be used."""


class IpcError(Exception):
    """A message could not be packed or unpacked, and why. The socket can still be used."""


class NoRoom(IpcError):
    """The other side had no room to pack its message, nor an error in its place."""


class _OutOfBand:
    """A large `bytes` object, which pickle by itself would copy into the stream."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __reduce_ex__(self, _: object) -> tuple[type[bytes], tuple[pickle.PickleBuffer]]:
        return bytes, (pickle.PickleBuffer(self._body),)


def out_of_band(items: Sequence[Any]) -> list[Any]:
    """The items or outcomes, with the large bodies among them to be sent beside the stream."""
    return [Success(_if_large(each.value)) if type(each) is Success else _if_large(each) for each in items]


def _if_large(item: Any) -> Any:
    return _OutOfBand(item) if type(item) is bytes and len(item) >= LARGE else item


def send(to: socket.socket, message: object) -> None:
    """Send an object.

    Raises:
        IpcError: it can't be pickled, or there is no memory or descriptor left for it; nothing was sent.
        OSError: the other side is gone.
    """
    with _as_ipc_error():
        file, size = _packed(message)
    try:
        socket.send_fds(to, [HEADER.pack(size, 0)], [file])
    except OSError as error:
        if error.errno in SHORTAGES:
            raise IpcError(str(error)) from error
        raise
    finally:
        os.close(file)


def send_error(to: socket.socket, error: BaseException | None) -> None:
    """Tell the other side that there is no message, where not even an error can be packed.

    Raises:
        OSError: the other side is gone.
    """
    to.sendall(HEADER.pack(0, getattr(error, "errno", None) or errno.EIO))


def receive(sender: socket.socket) -> Any:
    """Receive an object; its arrays lie on memory of their own.

    Raises:
        IpcError: it can't be unpickled, or there is no memory or descriptor left for it; it is lost.
        EOFError, OSError: the other side is gone, or sent what is no message.
    """
    header, files, flags, _ = socket.recv_fds(sender, HEADER.size, 1)
    if len(header) == HEADER.size and not files:
        size, code = HEADER.unpack(header)
        if code and not size:
            raise NoRoom(os.strerror(code))
        if flags & socket.MSG_CTRUNC:
            raise IpcError(os.strerror(errno.EMFILE))
    if len(header) < HEADER.size or not files:
        raise EOFError
    try:
        with _as_ipc_error():
            size, _ = HEADER.unpack(header)
            stream, *buffers = _parts(memoryview(mmap.mmap(files[0], size, access=mmap.ACCESS_COPY)))
            return pickle.loads(stream, buffers=buffers)  # noqa: S301 - our own process made it
    finally:
        os.close(files[0])


@contextmanager
def _as_ipc_error() -> Iterator[None]:
    """User code pickles and unpickles, and may raise anything."""
    try:
        yield
    except BaseException as error:
        raise IpcError(shown(described(error))) from error


def _packed(message: object) -> tuple[int, int]:
    """The file that a message goes in, and its size."""
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    file = _unnamed_file()
    try:
        return file, _write(file, [memoryview(stream), *(each.raw() for each in buffers)])
    except BaseException:
        os.close(file)
        raise


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
