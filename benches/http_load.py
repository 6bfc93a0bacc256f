"""HTTP users that cost as little as they can: `python -m benches.http_load USERS`, a `Users` as JSON.

They share the machine with the server that is measured, so each is a plain socket that is kept open, with a
request marshalled once; of a response only the status, the length and whether it says to reconnect are read.
"""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import msgspec

from benches.report import percentile

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
LAST = re.compile(rb"connection: *close", re.IGNORECASE)
"""hypercorn says so after its thousandth request on a connection."""
SILENCE = 60.0
"""Seconds without any response until the server is given up."""
CHUNK = 1 << 16


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """How many ask at a time, what and how often."""

    host: str
    port: int
    path: str
    users: int
    requests: int
    body_size: int

    @property
    def body(self) -> bytes:
        """What each posts, and gets back."""
        return b"#" * self.body_size

    @property
    def request(self) -> bytes:
        """As it goes over the wire."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {self.body_size}\r\n\r\n"
        return head.encode() + self.body


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    requests: int
    seconds: float
    mean_ms: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latencies: list[float], seconds: float) -> Asked:
        in_ms = [1e3 * each for each in latencies]
        return cls(
            requests=len(in_ms),
            seconds=seconds,
            mean_ms=sum(in_ms) / len(in_ms),
            p50_ms=percentile(in_ms, 50),
            p99_ms=percentile(in_ms, 99),
        )


class User:
    """One connection, and the response that it awaits."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._request, self._body = users.request, users.body
        self._asked = 0.0
        self._received = b""
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection((self._users.host, self._users.port), timeout=SILENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self.socket.close()

    def ask(self) -> None:
        self._received = b""
        self._asked = time.perf_counter()
        self.socket.sendall(self._request)

    def read(self) -> float | None:
        """Take in what has come; return the latency in seconds once the response is there."""
        chunk = self.socket.recv(CHUNK)
        self._received += chunk
        head, end, body = self._received.partition(HEAD_END)
        length = LENGTH.search(head)
        if end and length is not None and len(body) >= int(length[1]):
            latency = time.perf_counter() - self._asked
            if not head.startswith(b"HTTP/1.1 200") or body != self._body:
                raise SystemExit(f"the server answered {self._received[:400]!r}")
            return latency
        if not chunk:
            raise SystemExit(f"the server hung up after {self._received[:400]!r}")
        return None

    @property
    def has_to_reconnect(self) -> bool:
        """Whether the last response was the connection's last."""
        return LAST.search(self._received.partition(HEAD_END)[0]) is not None


def ask_all(users: Users) -> Asked:
    """Send all requests from here, each user its next one when it has the answer to its last."""
    latencies: list[float] = []
    started = time.perf_counter()
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(users.users):
            user = User(users)
            stack.callback(user.close)
            selector.register(user.socket, selectors.EVENT_READ, user)
            user.ask()
        while len(latencies) < users.requests:
            ready = selector.select(SILENCE)
            if not ready:
                raise SystemExit(f"the server has been silent for {SILENCE:g} s")
            for key, _ in ready:
                latency = key.data.read()
                if latency is not None:
                    latencies.append(latency)
                    _ask_again(selector, key.data)
        seconds = time.perf_counter() - started
    return Asked.of(latencies, seconds)


def _ask_again(selector: selectors.BaseSelector, user: User) -> None:
    if user.has_to_reconnect:
        selector.unregister(user.socket)
        user.close()
        user.connect()
        selector.register(user.socket, selectors.EVENT_READ, user)
    user.ask()


def run_users(users: Users) -> Asked:
    """Send all requests from a process of its own.

    Raises:
        SystemExit: a response was wrong, or none came; it says which.
    """
    command = [sys.executable, "-m", "benches.http_load", msgspec.json.encode(users).decode()]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - it is this module
    if ended.returncode:
        raise SystemExit(ended.returncode)
    return msgspec.json.decode(ended.stdout, type=Asked)


if __name__ == "__main__":
    print(msgspec.json.encode(ask_all(msgspec.json.decode(sys.argv[1], type=Users))).decode())
