"""The socket of one connection, which both planes share: it reads for both, and writes both's whole frames.

What is written goes out at once where the socket takes it, in one `send`, and in the order it was written.
What the socket does not take waits for it; the broker may be slow, or read no more from connections that
publish.

Under trio and under asyncio alike: of either it needs no more than to hear when a socket is ready.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress

import anyio
import sniffio
import trio

from rpcb_trio._forks import close_in_children

SMALLEST_READ, LARGEST_READ = 2**16, 2**20
"""Bytes that are asked for at once; more where much comes."""

READ_ON_SECONDS = 1.0
"""How long a socket that takes no more is read on: the broker may still say why it closes the connection."""

NOT_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises that has nothing to give, or takes nothing, for now."""


class Wire:
    """A connected socket.

    Args:
        connected: the socket, over TLS or not; it is set not to block, and closed at the end.
        take: is given what was read.
        end: is called once, when no more comes: with the error, or with None where the broker hung up. It may
            not raise.
    """

    def __init__(
        self,
        connected: socket.socket,
        take: Callable[[bytes], None],
        end: Callable[[Exception | None], None],
    ) -> None:
        connected.settimeout(0)
        close_in_children(connected)
        self._socket = connected
        self._take = take
        self._end = end
        self._written: list[bytes | memoryview] = []
        self._unsent: memoryview | None = None
        """What the socket did not take when it was offered."""
        self._stuck = anyio.Event()
        """Set when there is something unsent; another one each time that all of it is gone."""
        self._sent = anyio.Event()
        """Set when all that was unsent is gone; then another one takes its place."""
        self._waiting_to_write = anyio.Lock()
        self._scope = anyio.CancelScope(shield=True)
        self._is_cut = False
        self._failure: OSError | None = None
        """Why the socket takes no more; what can be read still may say more, as why the broker closes."""

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Take whole frames, to be sent with the next `flush`."""
        self._written += pieces

    def flush(self) -> None:
        if self._unsent is None and self._written and not self._is_cut:
            self._unsent = self._next()
            self._send()
            if self._unsent is not None:
                self._stuck.set()

    @property
    def is_drained(self) -> bool:
        return self._unsent is None

    async def drained(self) -> None:
        """Wait until the socket has taken all, or never will."""
        while self._unsent is not None and not self._is_cut:
            await self._sent.wait()

    async def run(self) -> None:
        """Read, and send what could not be sent at once, until the end or `cut`; nothing else cancels it."""
        try:
            with self._scope:
                if not self._is_cut:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._send_rest)
                        await self._read()
        finally:
            self._is_cut = True
            self._sent.set()
            self._socket.close()

    def cut(self) -> None:
        """Close the socket at once, whatever is on its way."""
        self._is_cut = True
        self._scope.cancel()

    def _next(self) -> memoryview:
        written, self._written = self._written, []
        return memoryview(written[0] if len(written) == 1 else b"".join(written))

    def _send(self) -> None:
        while self._unsent is not None:
            try:
                sent = self._socket.send(self._unsent)
            except NOT_YET:
                return
            except OSError as exc:
                self._failure = exc
                return
            if sent < len(self._unsent):
                self._unsent = self._unsent[sent:]
            else:
                self._unsent = self._next() if self._written else None

    async def _send_rest(self) -> None:
        while True:
            await self._stuck.wait()
            while self._unsent is not None:
                if self._failure is not None:
                    await anyio.sleep(READ_ON_SECONDS)
                    self._fail(self._failure)
                await self._writable()
                self._send()
            # Events are made here, in a task of the wire's own: aiormq flushes too, from asyncio.
            self._stuck = anyio.Event()
            self._sent.set()
            self._sent = anyio.Event()

    async def _read(self) -> None:
        size = SMALLEST_READ  # more than a TLS record holds, so that none is left half read
        is_trio = sniffio.current_async_library() == "trio"  # asked once, not for each read
        wait_readable = trio.lowlevel.wait_readable if is_trio else anyio.wait_readable
        while not self._is_cut:
            await wait_readable(self._socket)
            try:
                data = self._socket.recv(size)
            except ssl.SSLWantWriteError:  # TLS has something to say first
                await self._writable()
            except NOT_YET:
                continue
            except OSError as exc:
                self._fail(exc)
            else:
                if not data:
                    self._fail(None)
                    return
                self._take(data)
                size = min(LARGEST_READ, 4 * size) if len(data) == size else max(SMALLEST_READ, size // 2)
                del data  # nothing of it is kept in memory while the next is awaited

    async def _writable(self) -> None:
        async with self._waiting_to_write:  # two tasks may not wait for the same
            await anyio.wait_writable(self._socket)

    def _fail(self, exc: Exception | None) -> None:
        if not self._is_cut:
            self.cut()
            self._end(exc)


async def start_tls(connected: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Agree on TLS with a broker of that name.

    Raises:
        OSError: it failed; `ssl.SSLError` where one side refused the other.
    """
    connected.settimeout(0)
    secured = context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await anyio.wait_readable(secured)
            except ssl.SSLWantWriteError:
                await anyio.wait_writable(secured)
            else:
                return secured
    except BaseException:
        with suppress(OSError):
            secured.close()
        raise
