"""The audit's file: what its lines look like, and what becomes of those that can't be written or read."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, SettingError
from rpcb_trio._instruments import AuditRequest
from rpcb_trio.batching import Shares
from rpcb_trio.instruments import AuditInstrument, read_audit
from tests.scenarios import ANSWERS, QUEUE, Shouting, ask, working


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def json_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_a_full_disk_ends_the_audit_with_one_line_of_the_log_and_not_the_worker(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 2")
    async with working(Shouting(), broker, instruments=[AuditInstrument("/dev/full")]) as running:
        await running.until_settled(2)
    [line] = [record for record in caplog.records if record.name == "rpcb_trio"]
    assert "AuditInstrument" in line.message
    assert "No space left on device); it is called no more" in line.message
    assert not line.exc_info, "it is one line"


@pytest.mark.parametrize("name", ["nowhere/audit.jsonl", "."])
def test_a_file_that_can_not_be_written_is_refused_at_once_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^audit is .*, which can't be written \(.*\); name a file .*$"):
        AuditInstrument(tmp_path / name)


async def test_the_lines_are_json_as_documented(file: Path, autojump_clock: MockClock) -> None:
    """Whoever changes what a field means must raise the schema."""
    broker = MemoryBroker()
    ids = {"x-request-id": "order-17", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    ask(broker, b"good 1", headers=ids)
    ask(broker, b"\xff 2", headers=ids)
    async with working(Shouting(), broker, instruments=[AuditInstrument(file, shares=Shares())]) as running:
        await running.until_settled(2)
    lines = {line["line"]: line for line in json_lines(file)}
    both = {"line", "start", "worker", "unix", "at"}
    request = {*AuditRequest.__struct_fields__}
    assert lines["start"].keys() == both | {"schema", "setup"}
    assert lines["refused"].keys() == both | {"why", "request"}
    assert lines["refused"]["request"].keys() == request
    batch = lines["batch"]
    assert batch.keys() == both | {
        *("id", "trigger", "size", "work", "predicted", "version", "seconds", "runs", "requests")
    }
    assert [each.keys() for each in batch["requests"]] == [request]
    assert batch["runs"] == [
        {"work": {"size": 1, "longest": 1.0, "total": 1.0}, "seconds": 0.0, "ending": "computed"}
    ]


GOOD = (
    '{"line":"start","start":"s","worker":"w","unix":0.0,"at":0.0,"schema":2,"setup":{"queue":"q","policy":"p",'
    '"max_batch_size":1,"max_pending":null,"prefetch":2,"executors":1}}\n'
)
ORPHAN = (
    '{"line":"refused","start":"t","worker":"w","unix":0.0,"at":0.0,"why":"expired","request":{"position":null,'
    '"correlation_id":null,"caller":null,"priority":0,"cost":null,"arrived":0.0,"deadline":null,'
    '"redelivered":false,"wait":0.0}}\n'
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def shout(bodies):\n", "line 1: this is no line of an audit .*; name a file that .*"),
        (GOOD + '{"line":"batch","st', "line 2: this is no line of an audit .*; remove it"),
        (GOOD + '{"line":"end"}\n', "line 2: this is no line of an audit .*'end'.*; remove it"),
        (GOOD + GOOD.replace('"w"', "7"), "line 2: this is no line of an audit .*worker.*; remove it"),
        (GOOD + "\udcff\n", "line 2: this is no line of an audit .*; remove it"),
        (GOOD.replace('"schema":2', '"schema":3'), "line 1: it is of schema 3, and this version reads 2; .*"),
        (GOOD + ORPHAN, "line 2: the line of its start is not above it; put the older part .*"),
    ],
)
def test_a_broken_line_is_named_in_one_line(text: str, reason: str, file: Path) -> None:
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(SettingError, match=rf"^{file}, {reason}$"):
        read_audit(file)


def test_a_file_that_can_not_be_read_is_named_in_one_line(file: Path) -> None:
    with pytest.raises(SettingError, match=rf"^{file}: it can't be read \(.*\); name an audit file$"):
        read_audit(file)


def test_a_reader_passes_over_fields_it_does_not_know(file: Path) -> None:
    file.write_text(GOOD.replace('"at":', '"new":[{}],"at":'))
    [found] = read_audit(file)
    assert (found.start.start, found.batches, found.refused) == ("s", (), ())


def test_only_its_own_user_may_read_a_file_that_is_made(file: Path) -> None:
    before = os.umask(0)
    try:
        AuditInstrument(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_there_keeps_its_mode(file: Path) -> None:
    file.touch(mode=0o640)
    AuditInstrument(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_link_of_ones_own_is_followed(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    AuditInstrument(tmp_path / "link")
    assert file.exists()


def test_a_link_of_another_user_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    if os.geteuid() == 0:
        os.chown(link, 65534, 65534, follow_symlinks=False)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(SettingError, match="symbolic link of another user"):
        AuditInstrument(link)
    assert not file.exists()


async def test_a_service_that_changes_the_directory_does_not_move_the_file(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    broker = MemoryBroker()
    audit = AuditInstrument("audit.jsonl")
    monkeypatch.chdir(tmp_path / "elsewhere")
    ask(broker, b"good 1")
    async with working(Shouting(), broker, instruments=[audit]) as running:
        await running.until_settled(1)
    assert len(json_lines(tmp_path / "audit.jsonl")) == 2
    assert not (tmp_path / "elsewhere" / "audit.jsonl").exists()


async def test_what_a_request_brings_is_bounded_in_a_line_and_loses_none(
    file: Path, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    for queue in (QUEUE, ANSWERS):
        broker.declare(queue)
    for correlation_id in ("x" * 10**6, "\ud800", "\x00" * 10**4, "é"):
        broker.publish(b"good 1", routing_key=QUEUE, reply_to=ANSWERS, correlation_id=correlation_id)
    async with working(Shouting(), broker, instruments=[AuditInstrument(file)]) as running:
        await running.until_settled(4)
    requests = [each for line in json_lines(file) if line["line"] == "batch" for each in line["requests"]]
    assert len(requests) == 4
    assert max(len(each["correlation_id"]) for each in requests) < 2000
    assert {"\\ud800", "é"} < {each["correlation_id"] for each in requests}
