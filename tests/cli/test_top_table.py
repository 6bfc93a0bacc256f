"""What `top` shows, and what its keys do."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rpcb_trio._commands.top._keys import pressed
from rpcb_trio._commands.top._screen import MOVES, Screen
from rpcb_trio._commands.top._table import COLUMNS, ORDERS, memory, number
from rpcb_trio._events import QueueSummary, WorkerSummary
from rpcb_trio._events._summary import Percentiles
from rpcb_trio.instruments import Condition
from tests.scenarios import steady

WORKER = WorkerSummary(
    worker="asr",
    queue="speech",
    host="box",
    pid=4711,
    start="5f3a",
    device="cuda:0",
    unix=0.0,
    gone=False,
    condition=Condition.CONSUMING,
    reason=None,
    seconds=61.0,
    policy="AutoPolicy",
    max_batch_size=8,
    executors=1,
    requests_per_second=12.34,
    failed_per_second=0.0,
    batches_per_second=3.0,
    mean_batch_size=4.0,
    mean_wait_ms=5.678,
    mean_service_ms=20.0,
    p50_total_ms=30.0,
    p99_total_ms=123.4,
    triggers={"size": 3, "idle": 9},
    last_sizes=(1, 4, 8),
    waiting=2,
    held=6,
    received=106,
    answered=99,
    batches=30,
    failed=1,
    rss=300 * 2**20,
    dropped=0,
)
QUEUE = QueueSummary(
    queue="speech",
    ready=7,
    workers=1,
    requests_per_second=12.34,
    waiting=2,
    held=6,
    failed=1,
    failed_in_a_minute=0,
    mean_batch_size=4.0,
    wait=Percentiles(5.0, 6.0, 7.0),
    service=Percentiles(20.0, 21.0, 22.0),
    total=Percentiles(30.0, 60.0, 123.4),
)


def like(**facts: object) -> WorkerSummary:
    return msgspec.structs.replace(WORKER, **facts)


def drawn(
    *workers: WorkerSummary,
    queues: Sequence[QueueSummary] = (QUEUE,),
    width: int = 300,
    height: int | None = None,
    keys: Sequence[str] = (),
) -> list[str]:
    """The lines on the screen after some keys, before each of which it was drawn."""
    screen, lines = Screen(), list[str]()
    for key in (None, *keys):
        if key is not None:
            screen.press(key)
        out = io.StringIO()
        console = Console(file=out, width=width, color_system=None)
        console.print(screen.page(workers, queues, "title", width=width, height=height))
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return lines


def rows(lines: Sequence[str]) -> list[str]:
    """What begins the rows of workers."""
    titles = next(number for number, line in enumerate(lines) if line.startswith("worker"))
    end = next(number for number, line in enumerate(lines) if number > titles and not line.startswith("w"))
    return [line.split()[0] for line in lines[titles + 1 : end] if not line.startswith("workers ")]


def many(count: int) -> list[WorkerSummary]:
    return [like(worker=f"w{number:02}") for number in range(count)]


def test_a_wide_window_has_room_for_all_that_is_known_of_a_worker() -> None:
    _, _, titles, row, *_ = drawn(WORKER)
    assert all(column.title in titles for column in COLUMNS)
    assert row.split() == [
        *("asr", "speech", "box:4711", "consuming", "1m", "12.3", "3.00", "4.00", "▁▄█", "idle"),
        *("5.68", "20.0", "30.0", "123", "2", "6", "1", "300M", "cuda:0", "AutoPolicy", "5f3a"),
    ]


def test_eighty_columns_have_room_for_what_matters_most() -> None:
    _, _, titles, row, *_ = drawn(WORKER, width=80)
    assert titles.split() == [
        *("worker▲", "state", "req/s", "size", "wait", "infer"),
        *("p50", "p99", "waiting", "held", "fail", "mem"),
    ]
    assert row.split()[3:] == ["12.3", "4.00", "5.68", "20.0", "30.0", "123", "2", "6", "1", "300M"]


def test_the_first_lines_sum_all_up() -> None:
    stopped = like(condition=Condition.STOPPED)
    _, line, *_ = drawn(WORKER, WORKER, stopped, like(gone=True), queues=[QUEUE, QUEUE], width=80)
    assert line == "24.7 req/s  14 ready  12 held  2 failed  4 workers (2 consuming, 1 stopped, 1 g…"


def test_a_queue_is_shown_with_what_lies_in_it_at_the_broker() -> None:
    titles, row = drawn(WORKER)[-2:]
    assert titles.split() == ["queue", "ready", "workers", "req/s", "p50", "p99", "waiting", "held", "fail"]
    assert row.split() == ["speech", "7", "1", "12.3", "30.0", "123", "2", "6", "1"]


def test_a_queue_with_messages_and_without_workers_is_pointed_out() -> None:
    stuck = msgspec.structs.replace(QUEUE, workers=0, ready=322, total=None)
    assert "speech: 322 ready, no worker" in drawn(queues=[stuck], width=80)
    assert not any("no worker" in line for line in drawn(WORKER, queues=[QUEUE], width=80))
    empty = msgspec.structs.replace(stuck, ready=0)
    assert not any("no worker" in line for line in drawn(queues=[empty], width=80))


@pytest.mark.parametrize(
    ("width", "name", "shown"),
    [
        (12, "speech", []),
        (20, "speech", ["ready"]),
        (40, "speech", ["ready", "workers", "req/s", "p50"]),
        (64, "speech", ["ready", "workers", "req/s", "p50", "p99", "waiting", "held", "fail"]),
        (80, 3 * "long-queue", ["ready", "workers", "req/s", "p50", "p99", "waiting", "held"]),
    ],
)
def test_in_a_narrow_window_a_queue_has_its_name_rather_than_all_figures(
    width: int, name: str, shown: list[str]
) -> None:
    titles, row = drawn(WORKER, queues=[msgspec.structs.replace(QUEUE, queue=name)], width=width)[-2:]
    assert titles.split() == ["queue", *shown]
    assert row.split()[0] == name


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    shown = "\n".join(drawn(like(worker="[bold]asr", queue="[/]", host="a[/0]b", device="[red]")))
    assert all(name in shown for name in ("[bold]asr", "[/]", "a[/0]b", "[red]"))


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        ([{"pid": 1}, {"pid": 2}], ["asr:1", "asr:2"]),
        ([{"pid": 1, "host": "a"}, {"pid": 1, "host": "b"}], ["asr:a", "asr:b"]),
        ([{"start": "5f3a"}, {"start": "77aa"}], ["asr:5f3a", "asr:77aa"]),
        ([{"queue": "one"}, {"queue": "two"}], ["asr", "asr"]),
        ([{"worker": "a-very-long-name-indeed"}, {}], ["a-very-long-name-…", "asr"]),
        (
            [{"worker": "a-long-name-of-one", "pid": each} for each in (12345, 23456)],
            ["a-long-name…:12345", "a-long-name…:23456"],
        ),
    ],
    ids=["process", "host", "start", "queue", "long", "long and alike"],
)
def test_workers_of_a_queue_with_the_same_name_can_be_told_apart(
    facts: Sequence[dict[str, object]], names: Sequence[str]
) -> None:
    lines = drawn(*(like(**each) for each in facts), width=80)
    assert [line.split()[0] for line in lines[3 : 3 + len(names)]] == names


words = st.text(max_size=40)
keys = st.lists(st.sampled_from([*MOVES, *ORDERS, "n", "x"]), max_size=6)
figures = st.none() | st.floats(0, 1e12)
workers = st.builds(
    like,
    worker=words,
    queue=words,
    host=words,
    device=st.none() | words,
    condition=st.sampled_from(Condition),
    reason=st.none() | words,
    seconds=st.floats(0, 1e7),
    requests_per_second=figures,
    mean_wait_ms=figures,
    mean_service_ms=figures,
    p99_total_ms=figures,
    gone=st.booleans(),
    last_sizes=st.lists(st.integers(0, 2**53), max_size=24).map(tuple),
    max_batch_size=st.integers(0, 99),
    rss=st.none() | st.integers(0, 2**45),
)


@steady
@given(st.lists(workers, max_size=4), st.integers(20, 250), keys)
def test_each_worker_has_one_line_that_fits_and_says_nothing_that_a_terminal_obeys(
    shown: list[WorkerSummary], width: int, keys: list[str]
) -> None:
    lines = drawn(*shown, width=width, keys=keys)
    assert all(line.isprintable() for line in lines)
    assert all(len(line) <= width for line in lines)
    reasons = min(3, sum(bool(each.reason) and not each.gone for each in shown))
    assert len(lines) == 3 + len(shown) + reasons + 3


def test_a_worker_that_is_gone_is_said_to_be_and_why_one_is_not_well() -> None:
    lines = drawn(
        like(worker="a", gone=True, seconds=7.4),
        like(worker="b", condition=Condition.STOPPED),
        like(worker="c", condition=Condition.RECONNECTING, reason="connection refused"),
    )
    assert "gone 7s" in lines[3]
    assert "stopped 1m" in lines[4]
    assert lines[6] == "c (box:4711): reconnecting: connection refused"


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ("", 0),
        ("down, down, up", 1),
        ("up", 0),
        ("page down", 12),
        ("page down, up, page up", 0),
        ("end", 12),
        ("end, end, up", 11),
        ("end, home", 0),
        ("end, r", 0),
    ],
)
def test_of_more_workers_than_there_are_lines_for_keys_show_the_others(keys: str, first: int) -> None:
    lines = drawn(*many(27), width=80, height=24, keys=keys.split(", "))
    assert len(lines) == 24
    assert rows(lines) == [f"w{number:02}" for number in range(first, first + 15)]
    assert f"workers {first + 1} to {first + 15} of 27, queues 1 to 1 of 1" in lines
    assert lines[-1].startswith("q quit  ? help")
    assert not lines[-1].endswith("…")


@settings(steady, max_examples=20)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(15, 60), keys)
def test_a_screen_of_any_height_is_never_too_long(
    workers: int, queues: int, height: int, keys: list[str]
) -> None:
    busy = [msgspec.structs.replace(QUEUE, queue=f"{number}", workers=number % 2) for number in range(queues)]
    lines = drawn(*many(workers), queues=busy, width=80, height=height, keys=keys)
    assert len(lines) <= height
    assert all(len(line) <= 80 for line in lines)


def test_where_there_is_no_room_for_all_queues_those_without_workers_come_first() -> None:
    queues = [msgspec.structs.replace(QUEUE, queue=f"q{number}", workers=number % 9) for number in range(20)]
    lines = drawn(WORKER, queues=queues, width=80, height=24)
    titles = next(number for number, line in enumerate(lines) if line.startswith("queue"))
    assert [line.split()[0] for line in lines[titles + 1 : titles + 5]] == ["q0", "q9", "q18", "q1"]


@pytest.mark.parametrize(
    ("key", "title", "field"),
    [
        ("r", "req/s▼", "requests_per_second"),
        ("l", "p99▼", "p99_total_ms"),
        ("w", "waiting▼", "waiting"),
        ("f", "fail▼", "failed"),
        ("m", "mem▼", "rss"),
    ],
)
def test_a_key_sorts_the_highest_first_and_its_column_bears_a_mark(key: str, title: str, field: str) -> None:
    low, high = like(worker="w-low", **{field: 1}), like(worker="w-high", **{field: 2})
    lines = drawn(low, high, width=60, keys=[key])
    assert title in lines[2]
    assert rows(lines) == ["w-high", "w-low"]
    lines = drawn(low, high, width=60, keys=[key, "n"])
    assert "worker▲" in lines[2]
    assert rows(lines) == ["w-low", "w-high"]


def test_the_help_says_what_columns_and_keys_mean_and_fits_the_window() -> None:
    lines = drawn(WORKER, width=80, height=24, keys=["?"])
    assert len(lines) <= 24
    assert all(len(line) <= 80 and not line.endswith("…") for line in lines)
    assert any(line.startswith("p99 ") and "99 %" in line for line in lines)
    assert any(line.startswith("q ") and "quit" in line for line in lines)
    assert "worker▲" in drawn(WORKER, width=80, height=24, keys=["?", "x"])[2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.00"),
        (9.99, "9.99"),
        (9.999, "10.0"),
        (99.96, "100"),
        (1234.5, "1234"),
        (99_999.6, "1e5"),
        (2.6e12, "3e12"),
    ],
)
def test_a_number_has_three_digits_and_five_columns_at_most(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("size", "text"), [(None, "-"), (2**20, "1M"), (3 * 2**29, "1.5G")])
def test_memory_is_in_mebibytes_or_gibibytes(size: int | None, text: str) -> None:
    assert memory(size) == text


async def test_keys_come_by_character_or_by_name_and_those_that_mean_nothing_do_not_come() -> None:
    end, other = os.pipe()
    try:
        os.write(other, b"\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[1~\x1b[F\x1b[99Z\x1bxr?")
        os.close(other)
        assert [key async for key in pressed(end)] == [
            *("up", "down", "page up", "page down", "home", "end", "r", "?")
        ]
    finally:
        os.close(end)
