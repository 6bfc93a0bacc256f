"""An audit file, however damaged, is read or refused in one line that names the place."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, SettingError
from rpcb_trio.instruments import AuditInstrument, read_audit
from tests.scenarios import Shouting, ask, steady, working


@cache
def written() -> list[dict[str, Any]]:
    """The lines of a real audit: a start, a batch, and one that was refused."""

    async def work(file: Path) -> None:
        broker = MemoryBroker()
        ask(broker, b"good 1", b"\xff 2")
        async with working(Shouting(), broker, instruments=[AuditInstrument(file)]) as running:
            await running.until_settled(2)

    with TemporaryDirectory() as folder:
        file = Path(folder, "audit.jsonl")
        trio.run(work, file, clock=MockClock(autojump_threshold=0))
        lines = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert {line["line"] for line in lines} == {"start", "batch", "refused"}
    return lines


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """One of the lines with something else in one place, or its bytes cut or changed."""
    line = msgspec.json.decode(msgspec.json.encode(draw(st.sampled_from(written()))))
    place = draw(st.sampled_from(places(line)[1:]))
    inside = line
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = draw(anything)
    raw = bytearray(msgspec.json.encode(line))
    for position in draw(st.lists(st.integers(0, len(raw) - 1), max_size=2)):
        raw[position] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


whole = st.sampled_from(range(3)).map(lambda number: msgspec.json.encode(written()[number]))


@given(lines=st.lists(whole | damaged() | st.binary(max_size=30), max_size=6))
@example(lines=[b"[" * 100_000])
@example(lines=[b'{"line":' * 50_000])
@steady
def test_any_bytes_are_an_audit_or_refused_in_one_line(lines: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "audit.jsonl")
        file.write_bytes(b"\n".join(lines))
        assert re.fullmatch(r"|.*audit\.jsonl, line \d+: .*", refusal(file))


def test_an_audit_that_is_whole_is_read() -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "audit.jsonl")
        file.write_bytes(b"\n".join(map(msgspec.json.encode, written())))
        [audit] = read_audit(file)
    assert (len(audit.batches), len(audit.refused)) == (1, 1)


def refusal(file: Path) -> str:
    try:
        read_audit(file)
    except SettingError as error:
        return str(error)
    return ""
