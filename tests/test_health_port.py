"""The port for probes: right answers, whoever asks, and no harm to the worker."""

from __future__ import annotations

import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import msgspec
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from rpcb_trio import HealthInstrument, SettingError
from rpcb_trio.health import Control, HealthPort, _port, open_health_port
from rpcb_trio.health._http import LONGEST_REQUEST, answer_one
from rpcb_trio.health._port import LoopLag
from tests.scenarios import steady

READYZ = b"GET /readyz HTTP/1.1\r\nHost: worker\r\n\r\n"


def consuming(name: str) -> HealthInstrument:
    health = HealthInstrument(name)
    health.session_opened("queue")
    return health


async def ask(port: HealthPort, path: str, method: str = "GET") -> tuple[int, bytes, http.client.HTTPMessage]:
    """As an ordinary client does."""

    def ask_in_thread() -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", port.port, timeout=20)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    return await trio.to_thread.run_sync(ask_in_thread)


async def test_readyz_is_200_if_every_worker_of_the_process_is_ready_and_says_of_each_why_not() -> None:
    asr, se = HealthInstrument("asr"), consuming("se")
    async with open_health_port(0, [asr, se]) as port:
        cold = await ask(port, "/readyz")
        asr.session_opened("queue")
        warm = await ask(port, "/readyz?verbose")
        se.session_blocked("low on memory")
        blocked = await ask(port, "/readyz")
    assert [status for status, _, _ in (cold, warm, blocked)] == [503, 200, 503]
    told = [(each["worker"], each["condition"]) for each in msgspec.json.decode(cold[1])["workers"]]
    assert told == [("asr", "warming up"), ("se", "consuming")]
    assert msgspec.json.decode(blocked[1])["workers"][1]["reason"] == "low on memory"
    assert warm[2]["Content-Type"] == "application/json"
    assert warm[2]["Cache-Control"] == "no-store"


async def test_livez_is_200_whatever_becomes_of_the_workers() -> None:
    async with open_health_port(0, [HealthInstrument()]) as port:
        status, body, _ = await ask(port, "/livez")
    assert status == 200
    assert msgspec.json.decode(body)["live"] is True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics", 404), ("POST", "/readyz", 405), ("HEAD", "/livez", 200)],
)
async def test_paths_and_methods_that_do_not_exist_have_their_status(
    method: str, path: str, status: int
) -> None:
    async with open_health_port(0, []) as port:
        found, body, headers = await ask(port, path, method)
    assert found == status
    assert bool(body) == (method != "HEAD")
    assert ("Allow" in headers) == (status == 405)


async def test_a_port_that_is_taken_is_refused_by_the_settings_name() -> None:
    async with open_health_port(0, []) as taken:
        with pytest.raises(SettingError, match=rf"^health_port {taken.port} of health_host 127.0.0.1 can't"):
            async with open_health_port(taken.port, []):
                raise AssertionError


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", ".", "x" * 64, "\x00", "h\ud800"], ids=ascii)
async def test_a_host_that_is_none_is_refused_by_the_settings_name(host: str) -> None:
    with pytest.raises(SettingError, match=r"health_host .* can't be listened on"):
        async with open_health_port(0, [], host=host):
            raise AssertionError


async def test_leaving_closes_all_connections_at_once() -> None:
    async with open_health_port(0, []) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port.port)
        await stream.send_all(READYZ[:10])
        await ask(port, "/livez")
    async with stream:
        with trio.fail_after(20), suppress(trio.BrokenResourceError):
            assert not await stream.receive_some()


async def test_any_number_of_idle_connections_does_not_keep_a_probe_away() -> None:
    async with open_health_port(0, [consuming("asr")]) as port:
        idle = [await trio.open_tcp_stream("127.0.0.1", port.port) for _ in range(2 * _port.MOST_CONNECTIONS)]
        status, _, _ = await ask(port, "/readyz")
        for stream in idle:
            await stream.aclose()
    assert status == 200


async def trickle(stream: trio.abc.SendStream) -> None:
    while True:
        await stream.send_all(b"x")
        await trio.sleep(1)


async def test_a_client_that_sends_its_request_for_ever_is_cut(autojump_clock: MockClock) -> None:
    port = HealthPort([])
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.serve_one, theirs)
        with pytest.raises(trio.BrokenResourceError):
            await trickle(ours)
    assert trio.current_time() <= _port.TIMEOUT + 1


async def reply_to(data: bytes) -> bytes:
    """What is answered to these bytes, in pieces, before the end."""
    ours, theirs = memory_stream_pair()

    async def serve() -> None:
        async with theirs:
            await answer_one(theirs, HealthPort([consuming("asr")]).respond)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            for start in range(0, len(data), 1000):
                await ours.send_all(data[start : start + 1000])
            await ours.send_eof()
        except trio.BrokenResourceError:
            pass  # it has heard enough
        return b"".join([chunk async for chunk in ours])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (READYZ, HTTPStatus.OK),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * LONGEST_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /readyz HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
    ],
    ids=["a probe", "too long", "TLS", "no host"],
)
async def test_what_is_sent_is_answered_as_far_as_it_is_http(data: bytes, status: HTTPStatus) -> None:
    assert (await reply_to(data)).startswith(b"HTTP/1.1 %d " % status)


class Reported(msgspec.Struct):
    """What came of a reload."""

    error: str | None = None


def posting(path: str, token: str | None = None, body: bytes = b"") -> bytes:
    login = "" if token is None else f"Authorization: {token}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{login}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def unreadable() -> str:
    raise SettingError("control_token_file can't be read")


async def said_to(data: bytes, control: Control | None) -> bytes:
    """What a port with that control answers."""
    ours, theirs = memory_stream_pair()
    port = HealthPort([], control=control)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.serve_one, theirs)
        await ours.send_all(data)
        return b"".join([chunk async for chunk in ours])


@pytest.mark.parametrize(
    ("data", "status", "part"),
    [
        (posting("/reload", "Bearer sesame"), 200, b'{"error":null}'),
        (posting("/reload?now", "bearer  sesame", b"{}"), 200, b'{"error":null}'),
        (posting("/reload", "Bearer sesam"), 401, b"WWW-Authenticate: Bearer"),
        (posting("/reload", "Bearer"), 401, b"send the control_token as Authorization: Bearer TOKEN"),
        (posting("/reload", "Basic sesame"), 401, b""),
        (posting("/reload", "Bearer \u00e9"), 401, b""),
        (posting("/reload"), 401, b""),
        (posting("/reload", "Bearer sesame", b"x" * 9000), 413, b""),
        (posting("/readyz", "Bearer sesame"), 405, b"Allow: GET, HEAD"),
        (b"GET /reload HTTP/1.1\r\nHost: a\r\n\r\n", 405, b"Allow: POST"),
    ],
    ids=[
        "the token",
        "and a body",
        "another",
        "none",
        "basic",
        "not ASCII",
        "no header",
        "long",
        "path",
        "GET",
    ],
)
async def test_only_who_bears_the_token_may_have_it_reload(data: bytes, status: int, part: bytes) -> None:
    reloads: list[Reported] = []

    async def reload() -> Reported:
        reloads.append(Reported())
        return reloads[-1]

    said = await said_to(data, Control(lambda: "sesame", reload))
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert part in said
    assert len(reloads) == (status == 200)


@pytest.mark.parametrize("login", ["Bearer", "Bearer ", "Bearer \t"], ids=["bare", "space", "tab"])
async def test_an_empty_token_is_none_that_anybody_could_bear(login: str) -> None:
    async def reload() -> Reported:
        raise AssertionError("nobody may ask for it")

    said = await said_to(posting("/reload", login), Control(lambda: "", reload))
    assert said.startswith(b"HTTP/1.1 404 ")


async def test_a_reload_that_changes_nothing_and_one_that_nobody_may_ask_for_have_their_status() -> None:
    async def reload() -> Reported:
        return Reported("rpcb.toml is wrong")

    asked = posting("/reload", "Bearer sesame")
    assert (await said_to(asked, Control(lambda: "sesame", reload))).startswith(b"HTTP/1.1 409 ")
    assert (await said_to(asked, Control(unreadable, reload))).startswith(b"HTTP/1.1 503 ")
    without = await said_to(asked, None)
    assert without.startswith(b"HTTP/1.1 404 ")
    assert (await said_to(b"GET /reload HTTP/1.1\r\nHost: a\r\n\r\n", None)).startswith(b"HTTP/1.1 404 ")
    assert b"set control_token_file, or send SIGHUP" in without


async def test_a_reload_may_take_longer_than_a_probe_and_is_not_cut_off_by_others() -> None:
    begun, ending = trio.Event(), trio.Event()

    async def reload() -> Reported:
        begun.set()
        await ending.wait()
        return Reported()

    async with open_health_port(0, [], control=Control(lambda: "sesame", reload)) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port.port)
        await stream.send_all(posting("/reload", "Bearer sesame"))
        await begun.wait()
        idle = [await trio.open_tcp_stream("127.0.0.1", port.port) for _ in range(2 * _port.MOST_CONNECTIONS)]
        assert (await ask(port, "/livez"))[0] == 200
        ending.set()
        with trio.fail_after(20):
            assert b"200 OK" in b"".join([chunk async for chunk in stream])
        for each in (stream, *idle):
            await each.aclose()


@steady
@given(
    st.lists(
        st.sampled_from([READYZ[:20], READYZ, b"\r\n", b"\0", b"POST ", b"Content-Length: 9\r\n"])
        | st.binary(max_size=40)
    ).map(b"".join)
)
@example(READYZ * 2)
@example(b"POST /readyz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense")
def test_no_bytes_whatever_break_it(data: bytes) -> None:
    found = trio.run(reply_to, data)
    assert not found or found.startswith(b"HTTP/1.1 ")


@asynccontextmanager
async def watching() -> AsyncIterator[LoopLag]:
    lag = LoopLag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.watch)
        yield lag
        nursery.cancel_scope.cancel()


async def test_a_loop_that_was_held_up_says_for_how_long_and_forgets_it_after_a_minute(
    mock_clock: MockClock,
) -> None:
    async with watching() as lag:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(4.0)
        await trio.testing.wait_all_tasks_blocked()
        assert lag.longest_stall == pytest.approx(3.0)
        for _ in range(60):
            mock_clock.jump(1.0)
            await trio.testing.wait_all_tasks_blocked()
        assert lag.longest_stall == 0
