"""`python -m benches.hostile`: what one hostile request costs the gateway, and how long it holds others up.

Each is made to cost far more than its bytes: many tiny parts, boundaries that lead nowhere, a form of nothing
but separators, chunks of one byte. It is sent over one connection, as fast as that takes it, while somebody
else asks `/livez` again and again. No broker: the gateway serves an echo itself.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import cyclopts
import msgspec

from benches.fronts import HOST, Served, free_port, served
from benches.report import print_table, write_json

ROUTES = """
[routes.echo]
queue = "echo"
body = "bytes"
form = { a = { type = "file", optional = true } }
"""
MEGABYTE = 2**20
PART = b'--b\r\ncontent-disposition: form-data; name="a"; filename="a"\r\n\r\n'
MULTIPART, URLENCODED = "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"

Body = Callable[[int], bytes]


def repeated(piece: bytes, start: bytes = b"", end: bytes = b"") -> Body:
    """A body of a size, made of one piece again and again."""
    return lambda size: start + piece * ((size - len(start) - len(end)) // len(piece)) + end


CASES: dict[str, tuple[str, Body]] = {
    "a file, as it should be": (MULTIPART, repeated(b"\x00", PART, b"\r\n--b--\r\n")),
    "a file of line ends": (MULTIPART, repeated(b"\r\n", PART, b"\r\n--b--\r\n")),
    "many tiny parts": (MULTIPART, repeated(PART + b"\r\n")),
    "boundaries that lead nowhere": (MULTIPART, repeated(b"\r\n--bX", PART)),
    "a boundary and blanks": (MULTIPART, repeated(b" ", PART + b"\r\n--b")),
    "a form of `&`": (URLENCODED, repeated(b"&")),
    "a form of `%41`": (URLENCODED, repeated(b"%41", b"a=")),
}


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    case: str
    megabytes: float
    status: str
    cpu_seconds: float
    longest_wait_ms: float
    """Latencies of requests for `/livez` meanwhile."""


def main(*, megabytes: int = 85, chunks: int = 1, json: Path | None = None) -> None:
    """Send each request to a gateway of its own, and print what it cost.

    Args:
        megabytes: of each body.
        chunks: MB of a body in chunks of one byte.
        json: a file for the figures.
    """
    costs = [
        measured(name, _plain(content_type, body(megabytes * MEGABYTE)), megabytes)
        for name, (content_type, body) in CASES.items()
    ]
    costs.append(measured("chunks of one byte", _chunked(chunks * MEGABYTE), chunks))
    rows = [
        [
            each.case,
            f"{each.megabytes:g}",
            each.status,
            f"{each.cpu_seconds:.2f}",
            f"{each.longest_wait_ms:.0f}",
        ]
        for each in costs
    ]
    columns = ["request", "MiB", "status", "CPU s", "longest wait of others ms"]
    print_table("One hostile request", "The gateway's own processor time", columns, rows)
    if json is not None:
        write_json(json, "hostile", {"megabytes": megabytes, "chunks": chunks}, costs)


def measured(name: str, request: bytes, megabytes: float) -> Cost:
    """Send one to a gateway that has answered before."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.toml"
        config.write_text(ROUTES)
        port = free_port()
        flags = [
            f"--config={config}",
            f"--port={port}",
            "--log-level=error",
            "--serve=echo=rpcb_models.simple:echo",
        ]
        with served(["-m", "rpcb_trio", "gateway", *flags], port) as front:
            _asked(front, _plain(MULTIPART, PART + b"\r\n--b--\r\n"))
            before = front.cpu_seconds()
            with _Others(front) as others:
                status = _asked(front, request)
            return Cost(
                case=name,
                megabytes=megabytes,
                status=status,
                cpu_seconds=front.cpu_seconds() - before,
                longest_wait_ms=1000 * others.longest,
            )


class _Others:
    def __init__(self, front: Served) -> None:
        self._front = front
        self._may_end = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.longest = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._may_end.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._may_end.is_set():
            started = time.monotonic()
            _asked(self._front, b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            self.longest = max(self.longest, time.monotonic() - started)


def _plain(content_type: str, body: bytes) -> bytes:
    head = f"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _chunked(size: int) -> bytes:
    head = b"POST /rpc/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"1\r\nx\r\n" * size + b"0\r\n\r\n"


def _asked(front: Served, request: bytes) -> str:
    """The answer's status; or that the gateway hung up before it had all of the request."""
    with socket.create_connection((HOST, front.port)) as connection:
        answer = b""
        with suppress(OSError):  # it may have answered before it hung up
            connection.sendall(request)
        with suppress(OSError):
            while more := connection.recv(2**16):
                answer = answer or more[:20]
    return answer[9:12].decode() or "hung up"


if __name__ == "__main__":
    cyclopts.run(main)
