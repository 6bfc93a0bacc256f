"""Whatever comes over a connection: no answer is 500, no line is an error, the next request is answered."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rpcb_trio._gateway import _responses, _server
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import ENVELOPE, echo, front, one_by_one
from tests.gateway.listening import listening

PATIENCE = 20.0
ROUTES: dict[str, Any] = {
    "echo": {"queue": "echo"},
    "form": {"queue": "back", "form": {"audio": "file", "beams": {"type": "integer", "default": 1}}},
    "texts": {"queue": "back", "form": {"text": {}}},
    "face": {
        "queue": "back",
        "envelope": ENVELOPE,
        "form": {"audio": "file", "format": {}},
    },
}
OPTIONS = GatewayOptions(
    rpc=("*",),
    cors=("https://example.org",),
    allowed_host=("example.org",),
    trusted_proxy=("*",),
    upload_timeout=0.1,
    timeout=2.0,
)


@dataclass
class Server:
    """A gateway in a thread of its own, and what it logs."""

    port: int = 0
    records: list[logging.LogRecord] = field(default_factory=list)
    has_started: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> None:
        """Serve until the end."""
        services: dict[str, Any] = {"echo": echo, "back": one_by_one(lambda body: body)}
        async with listening(ROUTES, OPTIONS, patience=math.inf, **services) as gateway:
            self.port = gateway.port
            self.has_started.set()
            await trio.to_thread.run_sync(self.may_end.wait)

    def statuses(self, sent: bytes) -> list[int]:
        """Send bytes, and read until it hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(sent)
            received = b""
            try:
                while more := connection.recv(65536):
                    received += more
            except ConnectionResetError:
                pass  # it did not care for all that was sent
        lines = received.split(b"HTTP/1.1 ")[1:]
        return [int(line[:3]) for line in lines if line[:3].isdigit()]

    def is_well(self) -> bool:
        """Whether an honest request is answered."""
        return self.statuses(post(b"/echo", b"host: x\r\nconnection: close\r\n", b"hello")) == [200]

    def complaints(self) -> list[str]:
        """What it has logged as an error, or with a traceback."""
        return [each.getMessage() for each in self.records if each.levelno > logging.WARNING or each.exc_info]


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._records.append(record)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The gateway; it is in no way patient."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_server, "LONGEST_PAUSE", 0.1)
        patched.setattr(_responses, "LINGER", 0.05)
        server = Server()
        kept = Kept(server.records)
        logging.getLogger().addHandler(kept)
        thread = threading.Thread(target=trio.run, args=[server.run])
        thread.start()
        assert server.has_started.wait(PATIENCE)
        yield server
        server.may_end.set()
        thread.join()
        logging.getLogger().removeHandler(kept)


TRICKS = (
    b"",
    b"http://[",
    b"http://[::1",
    b"null",
    b"[",
    b"]:80",
    b"a b",
    b"example.org:99999999",
    b"evil.example",
    b"\xff\xfe",
    b"\x80" * 200,
    b"*/*;q=0;q=x,application/problem+json;q=",
    b"bytes=0-0,1-1," * 50,
    b"bytes=-",
    b"Sun, 99 Nov 9999 99:99:99 GMT",
    b"9" * 5000,
    b"-1",
    b"gzip",
    b"chunked",
    b"chunked, identity",
    b"100-continue",
    b"websocket",
    b"h2c",
    b"upgrade, keep-alive",
    b"multipart/form-data; boundary=" + b"b" * 300,
    b'multipart/form-data; boundary="\\"',
    b"multipart/form-data; boundary=b; charset=undefined",
    b"application/x-www-form-urlencoded",
    b"application/json",
    b"text/plain;" + b";" * 500,
    b"https,ftp",
    b"x" * 300,
    b'W/"' + b"a" * 100,
    b"=?utf-8?q?=?=",
)
HEADERS = (
    b"host",
    b"origin",
    b"accept",
    b"accept-encoding",
    b"access-control-request-method",
    b"access-control-request-headers",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"range",
    b"sec-fetch-site",
    b"te",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-request-id",
)
PATHS = (
    b"/",
    b"/echo",
    b"/echo/",
    b"/form",
    b"/texts?text=%ff",
    b"/face?format=wav",
    b"/rpc/echo",
    b"/rpc/%00",
    b"/rpc/amq.rabbitmq.reply-to.x",
    b"/rpc/%ed%a0%80",
    b"/rpc/" + b"a" * 300,
    b"/static/%00",
    b"/static/..%2f..%2f",
    b"/static/page.js",
    b"/static",
    b"/static/" + b"a" * 5000,
    b"/docs/",
    b"/docs/swagger-ui.css",
    b"/files/%2e%2e",
    b"/events",
    b"//evil.example/..",
    b"http://evil.example/echo",
    b"http://[/",
    b"*",
    b"/livez?" + b"a=b&" * 500,
)
METHODS = st.sampled_from([b"POST", b"GET", b"PUT", b"OPTIONS", b"HEAD", b"DELETE", b"post", b"M" * 100])
BODIES = st.binary(max_size=100) | st.sampled_from(
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"x" * 500 + b"\r\nhello\r\n0\r\na: b\r\n\r\n",
        b"-5\r\nhello\r\n",
        b"fffffffffffffffffff\r\n",
        b"1\r\nx\r\n" * 300 + b"0\r\n\r\n",
        b'--b\r\ncontent-disposition: form-data; name="audio"; filename="a"\r\n\r\nwav\r\n--b--\r\n',
        b"--b\r\n" * 200,
        b"--b--",
        b"text=a&" * 100,
        b'{"text": "a"}',
        b"[" * 1000,
        b"&" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One that begins as HTTP does."""
    target = draw(st.sampled_from(PATHS))
    headers = draw(st.lists(st.tuples(st.sampled_from(HEADERS), st.sampled_from(TRICKS)), max_size=5))
    body = draw(BODIES)
    length = draw(
        st.sampled_from([b"content-length: %d\r\n" % len(body), b"transfer-encoding: chunked\r\n", b""])
    )
    host = b"" if any(name == b"host" for name, _ in headers) else b"host: gateway\r\n"
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    line = draw(METHODS) + b" " + target + b" " + draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9"]))
    return line + b"\r\n" + host + length + lines + b"\r\n" + body


def post(path: bytes, headers: bytes, body: bytes = b"") -> bytes:
    """One that is as it should be, but for these headers."""
    return b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n%b\r\n%b" % (path, len(body), headers, body)


BOTH = b"host: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(post(b"/echo", b"host: gateway\r\norigin: http://[\r\n"))
@example(post(b"/echo", b"host: [\r\norigin: http://[\r\n"))
@example(post(b"/echo/", b"host: [::1\r\n"))
@example(b"POST /echo HTTP/1.1\r\n" + BOTH)
@example(b"GET /static/%00 HTTP/1.1\r\nhost: x\r\n\r\n")
@example(b"GET /events HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
@given(sent=requests() | st.binary(max_size=300))
def test_any_bytes_get_no_server_error_and_no_line_and_the_next_request_is_answered(
    server: Server, sent: bytes
) -> None:
    server.records.clear()
    statuses = server.statuses(sent)
    assert 500 not in statuses
    assert server.complaints() == []
    assert server.is_well()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://[", 403),
        ("http://[::1", 403),
        ("http://gateway]", 403),
        ("\x00", 403),
        ("", 403),
        ("x" * 9000, 403),
    ],
)
async def test_an_origin_that_can_t_be_read_is_none_of_ours(origin: str, status: int) -> None:
    async with front(ROUTES, echo=echo) as gateway:
        answer = await gateway.http.post("/echo", headers={"origin": origin})
    assert answer.status_code == status
    assert len(answer.text) < 1000


@pytest.mark.parametrize("host", ["[", "a b", "a/b", "a@b", "a:b", "[::1", "é", "a,b", "a?b", "x:999999"])
async def test_a_host_that_can_t_be_read_is_refused(host: str) -> None:
    async with front(ROUTES, echo=echo) as gateway:
        answer = await gateway.http.post("/echo", headers={b"host": host.encode()})
    assert (answer.status_code, answer.json()["error"]) == (400, "host")


def test_a_request_of_two_lengths_is_the_last_of_its_connection(server: Server) -> None:
    honest = post(b"/echo", b"host: x\r\n", b"next")
    assert server.statuses(b"POST /echo HTTP/1.1\r\n" + BOTH + honest) == [200]
    assert server.statuses(honest + honest) == [200, 200]


def test_a_request_that_offers_another_protocol_is_answered_in_this_one(server: Server) -> None:
    sent = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    assert server.statuses(sent) == [200]


def test_a_body_of_one_byte_chunks_is_refused_before_it_is_all_read(server: Server) -> None:
    chunks = b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert set(server.statuses(head + chunks)) <= {400, 408}  # none where it hangs up before all is sent
    assert server.is_well()
    assert server.complaints() == []
