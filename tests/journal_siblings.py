"""Workers that share a journal's directory, each a process of its own; run by `test_journal_siblings.py`.

`churn DIRECTORY` starts, stops and kills 20 of them at once, again and again. The others are one worker each
that runs a request, whose correlation id is `alone`, and then: `forks` leaves a child behind and is killed;
`stops` is stopped by a signal; `full` may write no more bytes, serves some requests, and prints the replies.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from random import Random

import trio

from rpcb_trio import MemoryBroker, Request
from rpcb_trio._pipeline._deaths import DeathRecord
from rpcb_trio._pipeline._ledger import identity
from tests.scenarios import QUEUE, answers, ask, working

WORKERS, LIVES = 20, 12


def request(name: str) -> Request:
    return Request(body=b"body", arrived=0.0, correlation_id=name, redelivered=True)


def live(directory: Path, name: str, random: Random) -> None:
    """Start, run a request, and end in order or be killed, as the name says."""
    record = DeathRecord(directory, QUEUE)
    record.write(0, identity(request(name)))
    time.sleep(random.random() / 200)
    record.collect()
    if name.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    record.write(0, b"")
    record.close(keep=False)


def churn(directory: Path) -> None:
    children: dict[int, tuple[int, int]] = {}
    left = [(worker, 0) for worker in range(WORKERS)]
    while left or children:
        for worker, life in left:
            name = f"{'killed' if (worker + life) % 3 == 0 else 'lived'} {worker} {life}"
            child = os.fork()
            if not child:
                code = 1
                try:
                    live(directory, name, Random(name))  # noqa: S311 - for a wait
                    code = 0
                finally:
                    os._exit(code)
            children[child] = worker, life
        child, status = os.wait()
        worker, life = children.pop(child)
        assert status in (0, signal.SIGKILL), f"worker {worker} failed in its life {life}"
        left = [(worker, life + 1)] if life + 1 < LIVES else []


def run_alone(directory: Path) -> DeathRecord:
    record = DeathRecord(directory, QUEUE)
    record.write(0, identity(request("alone")))
    return record


def forks(directory: Path) -> None:
    run_alone(directory)
    child = os.fork()
    if not child:
        time.sleep(3600)
    sys.stdout.write(f"{child}\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def stops(directory: Path) -> None:
    run_alone(directory)
    os.kill(os.getpid(), signal.SIGSTOP)


def full(directory: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))

    async def main() -> None:
        broker = MemoryBroker()
        ask(broker, b"good 1", b"good 2")
        async with working(lambda bodies: bodies, broker, journal=directory) as running:
            await running.until_settled(2)
        sys.stdout.write(f"{answers(broker)}\n")

    trio.run(main)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
