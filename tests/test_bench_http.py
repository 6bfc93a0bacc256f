"""The benches that go through HTTP run, answer every request, and write what they promise."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from benches import callers, gateway, table
from benches.http_load import Users, ask_all
from tests.rabbitmq import Broker


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results.json"


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the four, the last."""
    monkeypatch.setattr(callers, "CASES", callers.CASES[-1:])


def found_in(path: Path, bench: str) -> list[dict[str, Any]]:
    written = json.loads(path.read_text())
    assert written["bench"] == bench
    return list(written["results"])


def test_the_table_goes_through_the_gateway_and_stands_beside_the_published_figures(
    broker: Broker, results: Path, one_case: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = results.with_suffix(".png")
    table.main(seconds=0.5, warm_up=1, url=broker.url, json=results, plot=plot)
    [found] = found_in(results, "table")
    assert (found["callers"], found["batched"], found["published_mean_ms"]) == (10, True, 510)
    assert 175 <= found["mean_ms"] <= found["p99_ms"]
    assert found["mean_batch_size"] > 1
    assert plot.stat().st_size > 0
    assert "Through HTTP" in capsys.readouterr().out


def test_the_table_of_a_recogniser_posts_recordings_as_the_ancestors_users_did(
    broker: Broker, results: Path, one_case: None, capsys: pytest.CaptureFixture[str]
) -> None:
    table.main(seconds=0.1, warm_up=0, model="tests.deaf:deaf", url=broker.url, json=results)
    [found] = found_in(results, "table")
    assert found["requests"] >= 10
    assert found["mean_batch_size"] >= 1
    assert "tests.deaf:deaf, recordings" in capsys.readouterr().out


def test_the_gateway_is_measured_beside_bare_http_and_the_rpc(
    broker: Broker, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = results.with_suffix(".png")
    gateway.main(rounds=1, users=4, requests=200, alone=20, url=broker.url, json=results, plot=plot)
    found = found_in(results, "gateway")
    assert [each["name"] for each in found] == [gateway.GATEWAY, gateway.BARE, gateway.RPC]
    for each in found:
        for figure in ("requests_per_second", "cpu_us_per_request", "cpu_ratio_to_bare", "alone_p50_ms"):
            assert each[figure]["median"] > 0
    assert found[1]["cpu_ratio_to_bare"]["median"] == 1
    assert found[2]["alone_over_rpc_ms"]["median"] == 0
    assert plot.stat().st_size > 0
    assert "what the gateway costs" in capsys.readouterr().out


@contextmanager
def answering(*pieces: bytes) -> Iterator[Users]:
    """A server that answers each connection's first request in these pieces, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection, suppress(BrokenPipeError, ConnectionResetError):  # it has hung up
                    if connection.recv(1000):
                        for piece in pieces:
                            connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = listener.getsockname()
        try:
            yield Users(host=host, port=port, path="/", users=1, requests=3, body_size=4)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_user_reads_a_response_in_pieces_and_connects_again_when_told_to() -> None:
    with answering(
        b"HTTP/1.1 200 OK\r\nconte", b"nt-length: 4\r\nconnection: close\r\n\r\n", b"##", b"##"
    ) as users:
        assert ask_all(users).requests == 3


@pytest.mark.parametrize("status", [b"200 OK", b"503 Busy"])
def test_a_user_takes_no_other_response_for_an_answer(status: bytes) -> None:
    with (
        answering(b"HTTP/1.1 %s\r\ncontent-length: 4\r\n\r\nbusy" % status) as users,
        pytest.raises(SystemExit, match="answered"),
    ):
        ask_all(users)


def test_a_user_tells_when_the_server_hangs_up() -> None:
    with answering(b"HTTP/1.1 200 OK\r\n") as users, pytest.raises(SystemExit, match="hung up"):
        ask_all(users)
