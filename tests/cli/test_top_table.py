from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rpcb_trio._commands.top._table import COLUMNS, in_order, memory, number, page
from rpcb_trio._events import QueueSummary, WorkerSummary
from rpcb_trio._events._summary import Percentiles
from rpcb_trio.instruments import Condition
from tests.scenarios import steady

WORKER = WorkerSummary(
    worker="asr",
    queue="speech",
    host="box",
    pid=4711,
    place="box:4711:5f3a",
    start="5f3a",
    device="cuda:0",
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
    answered=99,
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


def drawn(*workers: WorkerSummary, width: int = 300, height: int | None = None, order: str = "") -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    console.print(page(workers, [QUEUE], "title", width=width, height=height, order=order))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_wide_window_has_room_for_all_that_is_known_of_a_worker() -> None:
    _, titles, row, *_ = drawn(WORKER)
    assert all(column.title in titles for column in COLUMNS)
    assert row.split() == [
        *("asr", "speech", "box:4711", "consuming", "1m", "12.3", "3.00", "4.00", "▁▄█", "idle"),
        *("5.68", "20.0", "123", "2", "6", "1", "300M", "cuda:0", "AutoPolicy", "5f3a"),
    ]


def test_eighty_columns_have_room_for_what_matters_most() -> None:
    _, titles, row, *_ = drawn(WORKER, width=80)
    assert titles.split() == [
        "worker",
        "state",
        "req/s",
        "size",
        "wait",
        "infer",
        "p99",
        "waits",
        "held",
        "fail",
    ]
    assert row.split() == ["asr", "consuming", "1m", "12.3", "4.00", "5.68", "20.0", "123", "2", "6", "1"]


def test_a_queue_is_shown_with_what_lies_in_it_at_the_broker() -> None:
    titles, row = drawn(WORKER)[-2:]
    assert titles.split() == ["queue", "ready", "workers", "req/s", "waits", "held", "fail"]
    assert row.split() == ["speech", "7", "1", "12.3", "2", "6", "1"]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (12, []),
        (20, []),
        (40, ["ready", "workers", "req/s"]),
        (66, ["ready", "workers", "req/s", "waits", "held", "fail"]),
    ],
)
def test_in_a_narrow_window_a_queue_has_its_name_rather_than_all_figures(
    width: int, shown: list[str]
) -> None:
    titles, row = drawn(WORKER, width=width)[-2:]
    assert titles.split() == ["queue", *shown]
    assert row.split()[0] == "speech"


words = st.text(max_size=40)
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
@given(st.lists(workers, max_size=4), st.integers(80, 250))
def test_each_worker_has_one_line_that_fits_and_says_nothing_that_a_terminal_obeys(
    shown: list[WorkerSummary], width: int
) -> None:
    lines = drawn(*shown, width=width)
    assert all(line.isprintable() for line in lines)
    assert all(len(line) <= width for line in lines)
    reasons = min(3, sum(bool(each.reason) and not each.gone for each in shown))
    assert len(lines) == 2 + len(shown) + reasons + 3


def test_who_is_gone_is_said_to_be_and_why_a_worker_is_not_well() -> None:
    lines = drawn(
        like(gone=True, seconds=7.4),
        like(gone=True, condition=Condition.STOPPED),
        like(condition=Condition.RECONNECTING, reason="connection refused"),
    )
    assert "gone 7s" in lines[2]
    assert "stopped 1m" in lines[3]
    assert lines[5] == "asr (box:4711): reconnecting: connection refused"


def test_of_more_workers_than_a_window_has_lines_for_the_first_are_shown() -> None:
    lines = drawn(*(like(worker=f"w{n:02}") for n in range(50)), height=20)
    assert len(lines) <= 20
    assert lines[2].startswith("w00")
    assert "and 37 more workers" in lines


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("r", "requests_per_second"),
        ("l", "p99_total_ms"),
        ("w", "waiting"),
        ("f", "failed"),
        ("m", "rss"),
    ],
)
def test_keys_sort_the_highest_first_and_any_other_key_by_name(key: str, field: str) -> None:
    low, high = like(worker="a", **{field: 1}), like(worker="b", **{field: 2})
    assert in_order([low, high], key) == [high, low]
    assert in_order([low, high], "n") == [low, high]


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
