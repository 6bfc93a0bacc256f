"""The audit's file: what its lines look like, and what becomes of those that can't be written or read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from rpcb_trio import AuditInstrument, MemoryBroker, SettingError, read_audit
from rpcb_trio._instruments import AuditRequest
from tests.scenarios import Shouting, ask, working


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
    assert "called no more" in line.message


@pytest.mark.parametrize("name", ["nowhere/audit.jsonl", "."])
def test_a_file_that_can_not_be_written_is_refused_at_once_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^audit is .*, which can't be written \(.*\); name a file .*$"):
        AuditInstrument(tmp_path / name)


async def test_the_lines_are_json_as_documented(file: Path, autojump_clock: MockClock) -> None:
    """Whoever changes what a field means must raise the schema."""
    broker = MemoryBroker()
    ask(broker, b"good 1")
    ask(broker, b"\xff 2")
    async with working(Shouting(), broker, instruments=[AuditInstrument(file)]) as running:
        await running.until_settled(2)
    lines = {line["line"]: line for line in json_lines(file)}
    both = {"line", "start", "worker", "unix", "at"}
    request = {*AuditRequest.__struct_fields__}
    assert lines["start"].keys() == both | {"schema", "setup"}
    assert lines["dismissed"].keys() == both | {"why", "request"}
    assert lines["dismissed"]["request"].keys() == request
    batch = lines["batch"]
    assert batch.keys() == both | {
        *("id", "trigger", "size", "work", "predicted", "seconds", "runs", "requests")
    }
    assert [each.keys() for each in batch["requests"]] == [request]
    assert batch["runs"] == [{"size": 1, "padded": 1.0, "seconds": 0.0, "ending": "computed"}]


GOOD = (
    '{"line":"start","start":"s","worker":"w","unix":0.0,"at":0.0,"schema":1,"setup":{"queue":"q","policy":"p",'
    '"max_batch_size":1,"max_pending":null,"prefetch":2,"executors":1}}\n'
)
ORPHAN = (
    '{"line":"dismissed","start":"t","worker":"w","unix":0.0,"at":0.0,"why":"expired","request":{"position":null,'
    '"correlation_id":null,"caller":null,"priority":0,"cost":null,"arrived":0.0,"deadline":null,'
    '"redelivered":false,"wait":0.0}}\n'
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD + '{"line":"batch","st', "line 2: it is no line of an audit .*; take it out"),
        (GOOD + '{"line":"end"}\n', "line 2: it is no line of an audit .*'end'.*; take it out"),
        (GOOD + GOOD.replace('"w"', "7"), "line 2: it is no line of an audit .*worker.*; take it out"),
        (GOOD + "\udcff\n", "line 2: it is no line of an audit .*; take it out"),
        (GOOD.replace('"schema":1', '"schema":2'), "line 1: it is of schema 2, and this version reads 1; .*"),
        (GOOD + ORPHAN, "line 2: the start it belongs to is not above it; put the older part .*"),
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
    assert (found.start.start, found.batches, found.dismissed) == ("s", (), ())
