"""How `reload` reaches the processes of its user on this machine: a socket for each, beside the network.

Its name is abstract, so nothing of it stays on a disk, and a container's may be read-only. It holds the id of
the process, and the number of that id's namespace: containers of a pod share the network, and each has a
process 1. The kernel tells either end who the other one is.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import trio

from rpcb_trio._commands._exits import Unreachable
from rpcb_trio._commands._reloading import Reloading
from rpcb_trio._commands._settings._changes import Report
from rpcb_trio._forks import close_in_children

log = logging.getLogger("rpcb_trio")

IS_THERE = sys.platform == "linux"

WISH = b"reload\n"

LISTENING = re.compile(r"^\S+ \S+ \S+ 00010000 .* @rpcb-trio/(\d+)/(\d+)$", re.MULTILINE)
"""In the kernel's list of sockets: those of ours that listen."""

PATIENCE = 5.0
"""Seconds for the wish to come."""

MOST_BYTES = 2**20
"""Of a report."""


@asynccontextmanager
async def open_control_socket(reloading: Reloading) -> AsyncIterator[None]:
    """Listen for wishes of this user and of root; without such a socket, where it can't be had."""
    listener = _listener()
    if listener is None:
        yield
        return
    close_in_children(listener)

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await _answer(stream, reloading)

    async with trio.open_nursery() as nursery:
        listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        nursery.start_soon(trio.serve_listeners, answer, [listening])
        yield
        nursery.cancel_scope.cancel()


async def _answer(stream: trio.SocketStream, reloading: Reloading) -> None:
    if _user_of(stream.socket) not in {0, os.geteuid()}:
        return
    wish = b""
    with trio.move_on_after(PATIENCE):
        wish = bytes(await stream.receive_some(len(WISH)))
    if wish == WISH:
        report = await reloading.report()
        await stream.send_all(msgspec.json.encode(report))


def own_processes() -> list[int]:
    """The processes of this user on this machine, or in this container, that can be asked."""
    try:
        listed = Path("/proc/net/unix").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    space = str(_namespace())
    return sorted({int(pid) for found, pid in LISTENING.findall(listed) if found == space and _is_own(pid)})


def _is_own(pid: str) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    return False


def ask(pid: int) -> Report:
    """Have a process of this user reload, and return its report.

    Raises:
        Unreachable: it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(_name(pid))
            if os.geteuid() and _user_of(connection) != os.geteuid():
                raise Unreachable(f"process {pid} is another user's")
            connection.sendall(WISH)
            answer = b""
            while len(answer) < MOST_BYTES and (chunk := connection.recv(65536)):
                answer += chunk
    except OSError as error:
        raise Unreachable(
            f"process {pid} can't be asked: {error.strerror}; is it serve or gateway, and has it started?"
        ) from error
    try:
        return msgspec.json.decode(answer, type=Report)
    except msgspec.DecodeError:
        raise Unreachable(f"process {pid} ended before it had reloaded") from None


def _listener() -> socket.socket | None:
    if not IS_THERE:
        return None
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(_name(os.getpid()))
            listener.listen(16)
        except OSError as error:  # a service manager may forbid such sockets
            log.debug("there is no control socket: %s", error)
            return None
        stack.pop_all()
    return listener


def _name(pid: int) -> str:
    return f"\0rpcb-trio/{_namespace()}/{pid}"


def _namespace() -> int:
    with suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return 0


def _user_of(connection: socket.socket | trio.socket.SocketType) -> int:
    """Who is at the other end; for a listener's end, who had it listen."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)
