"""A journal's directory and all that may be in it: siblings that come and go, garbage, no room."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import MemoryBroker, SettingError, serve
from rpcb_trio._pipeline import _deaths as deaths
from rpcb_trio._pipeline._deaths import DeathRecord
from rpcb_trio._pipeline._ledger import ID_SIZE, identity
from tests.journal_siblings import LIVES, WORKERS, request
from tests.scenarios import QUEUE, answers, ask, steady, working

PATIENCE = 60.0


def sibling(does: str, directory: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.journal_siblings", does, str(directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", ".", *sys.path])}
    return subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )


def known(directory: Path) -> dict[bytes, int]:
    """What a worker that starts here knows."""
    record = DeathRecord(directory, QUEUE)
    record.close(keep=False)
    return record.deaths


def test_siblings_that_start_stop_and_are_killed_all_at_once_stop_no_other_and_no_death_is_missed(
    tmp_path: Path,
) -> None:
    with sibling("churn", tmp_path) as family:
        _, errors = family.communicate(timeout=PATIENCE)
    assert (family.returncode, errors) == (0, "")
    killed = [
        (worker, life) for worker in range(WORKERS) for life in range(LIVES) if (worker + life) % 3 == 0
    ]
    assert known(tmp_path) == {identity(request(f"killed {worker} {life}")): 1 for worker, life in killed}
    assert len(list(tmp_path.iterdir())) == len(killed)


def test_a_death_is_counted_though_a_child_that_the_model_forked_lives_on(tmp_path: Path) -> None:
    with sibling("forks", tmp_path) as worker:
        assert worker.stdout is not None
        child = int(worker.stdout.readline())
        try:
            assert worker.wait(PATIENCE) == -signal.SIGKILL
            assert known(tmp_path) == {identity(request("alone")): 1}
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_comes_back_from_a_hook_writes_nothing(tmp_path: Path) -> None:
    record = DeathRecord(tmp_path, QUEUE)
    record.write(0, identity(request("alone")))
    child = os.fork()
    if not child:
        try:
            record.write(0, b"")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    record.close(keep=True)
    assert known(tmp_path) == {identity(request("alone")): 1}


def test_a_sibling_that_is_stopped_is_not_waited_for(tmp_path: Path) -> None:
    with sibling("stops", tmp_path) as worker:
        os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
        assert known(tmp_path) == {}, "it lives"
        worker.kill()
    assert known(tmp_path) == {identity(request("alone")): 1}


def test_a_worker_whose_disk_is_full_does_without_and_says_so_once(tmp_path: Path) -> None:
    with sibling("full", tmp_path) as worker:
        out, errors = worker.communicate(timeout=PATIENCE)
    assert out == "{'1': b'good 1', '2': b'good 2'}\n"
    [line] = errors.splitlines()
    assert line.startswith(f"journal is {tmp_path}, which can't be used (No space left on device), so")
    assert known(tmp_path) == {}


def test_two_workers_of_one_process_do_not_free_each_others_locks(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    one = DeathRecord(tmp_path / "real" / "state", QUEUE)
    one.write(0, identity(request("alone")))
    two = DeathRecord(tmp_path / "link" / "state", QUEUE)
    two.collect()
    with sibling("stops", tmp_path / "real" / "state") as other:
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        other.kill()
    two.collect()
    assert two.deaths == {identity(request("alone")): 1}, "the other's, and not the living one's"
    one.close(keep=False)
    two.close(keep=False)


GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda rest: deaths.MAGIC + rest),
    st.integers(1, 2**40),
    st.sampled_from(["directory", "link", "loop", "pipe"]),
)


def litter(path: Path, garbage: bytes | int | str) -> None:
    """Put something there that no worker has written."""
    match garbage:
        case bytes():
            path.write_bytes(garbage)
        case int():
            with path.open("wb") as file:
                file.write(deaths.MAGIC)
                file.truncate(garbage)
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path.name)
        case "pipe":
            os.mkfifo(path)


@steady
@given(garbage=st.lists(GARBAGE, max_size=5))
def test_whatever_lies_in_the_directory_no_start_fails_hangs_or_grows(
    garbage: list[bytes | int | str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    record = DeathRecord(directory, QUEUE)
    for number, each in enumerate(garbage):
        litter(directory / f"{record._queue}-1-{number}.running", each)
        litter(directory / f"{record._queue}-1-{number}.new", each)
    record.collect()
    assert len(record.deaths) <= 200 * 5 / ID_SIZE
    record.collect()
    record.close(keep=False)
    dead = directory / f"{record._queue}-1-x.running"
    dead.write_bytes(deaths.MAGIC + identity(request("alone")))
    assert known(directory)[identity(request("alone"))] == 1, "and the true ones are found among it"


def test_a_file_that_is_none_of_a_worker_is_removed_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = DeathRecord(tmp_path, QUEUE)
    garbage = tmp_path / f"{record._queue}-1-1.running"
    garbage.write_bytes(b"\xff" * 1000)
    record.collect()
    record.collect()
    record.close(keep=False)
    [line] = caplog.messages
    assert line == f"{garbage} is no file of a journal, and is removed"
    assert not garbage.exists()


def open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


BAD = {
    "below a file": lambda path: path.parent.touch(),
    "a file": lambda path: path.touch(),
    "a link": lambda path: path.symlink_to(path.parent / "elsewhere", target_is_directory=True),
    "open to all": open_to_all,
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
async def test_a_directory_that_cannot_be_trusted_is_refused_if_it_was_named_and_else_done_without(
    make: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").mkdir()
    directory = tmp_path / ("file" if make is not BAD["below a file"] else "file/journal")
    make(directory)
    with pytest.raises(
        SettingError, match=r"^journal is .*/file.*, which can't be used \(.+\), so a request"
    ):
        await serve(lambda bodies: bodies, MemoryBroker(), QUEUE, journal=directory)
    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(lambda bodies: bodies, broker, journal=directory, journal_required=False) as running:
        await running.until_settled(1)
    assert answers(broker) == {"1": b"good 1"}
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"journal is {directory}, which can't be used (")
    assert not list((tmp_path / "elsewhere").iterdir())


async def test_a_directory_that_goes_away_stops_no_worker(tmp_path: Path) -> None:
    record = DeathRecord(tmp_path / "state", QUEUE)
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    (tmp_path / "state").rmdir()
    record.collect()
    record.write(0, identity(request("alone")))
    record.close(keep=False)
