"""A producer that costs as little as it can: `python -m benches.load LOAD`, a `Load` as JSON.

It shares the machine with the server that is measured, so it speaks AMQP over a plain socket: its requests
are marshalled once, and a reply is only looked at, never decoded. It still checks that each request is
answered once, with the beginning of its own body and its own correlation id.
"""

from __future__ import annotations

import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
from pamqp import body, commands, frame, header

from benches.meter import cpu_seconds
from benches.report import percentile
from benches.schedules import ClosedLoop, OpenLoop
from benches.wire import BODY, CHANNEL, HEAD, HEADER, SILENCE, Wire

CHUNK = 1 << 18
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
NUMBER = b"%08d"
PLACE = b"#" * 8
"""Where a request's number goes, in its correlation id and at the beginning of its body."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: `warm_up` requests, one at least, that do not count, then `messages` that do."""

    url: str
    queue: str
    server: int
    """The process that answers; its processor time is read at both ends."""
    messages: int
    warm_up: int
    body_size: int
    in_flight: int = 1
    """How many are unanswered at any time, unless there is a rate."""
    rate: float | None = None
    """Requests per second that arrive at random, whatever becomes of the others."""
    seed: int = 0

    @property
    def total(self) -> int:
        return self.warm_up + self.messages


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the requests that count. A latency counts from when its request was due."""

    messages: int
    seconds: float
    cpu_seconds: float
    """Of the server."""
    mean_ms: float
    p50_ms: float
    p99_ms: float


class Schedule(Protocol):
    def due(self, sent: int, answered: int) -> Sequence[float]:
        """The moments of those that are to be sent now."""

    def patience(self, sent: int) -> float:
        """Seconds until the next may be due, if no reply comes."""


class Replies:
    """The numbers of the requests that are answered."""

    def __init__(self, wire: Wire) -> None:
        wire.ask(commands.Basic.Consume(queue=DIRECT_REPLY_TO, no_ack=True), commands.Basic.ConsumeOk)
        self._socket = wire.socket
        self._rest = b""
        self._head: bytes | None = None

    def take(self, seconds: float) -> list[int]:
        """Those of what comes in one piece within some seconds."""
        if not select.select([self._socket], [], [], seconds)[0]:
            if seconds < SILENCE:
                return []
            raise SystemExit("the server does not answer")
        data = self._socket.recv(CHUNK)
        if not data:
            raise SystemExit("the broker closed the connection")
        return list(self._numbers(self._rest + data))

    def _numbers(self, data: bytes) -> Iterator[int]:
        for kind, payload in self._frames(data):
            if kind == HEADER:
                self._head = payload
            elif kind == BODY and self._head is not None:  # of a long body, its first frame
                number = payload[: len(PLACE)]
                if number not in self._head:
                    raise SystemExit(f"request {number!r} was answered with another one's correlation id")
                self._head = None
                yield int(number)

    def _frames(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while len(data) - at >= HEAD.size:
            kind, _, size = HEAD.unpack_from(data, at)
            end = at + HEAD.size + size + 1
            if end > len(data):
                break
            yield kind, data[at + HEAD.size : end - 1]
            at = end
        self._rest = data[at:]


def request_template(load: Load, frame_max: int) -> bytes:
    """The frames of a request, with `PLACE` wherever its number goes."""
    content = PLACE.ljust(load.body_size, b"x")
    properties = commands.Basic.Properties(
        content_type="application/octet-stream",
        delivery_mode=1,
        correlation_id=PLACE.decode(),
        reply_to=DIRECT_REPLY_TO,
    )
    most = frame_max - HEAD.size - 1
    frames: list[frame.FrameTypes] = [
        commands.Basic.Publish(routing_key=load.queue),
        header.ContentHeader(0, len(content), properties),
    ]
    frames += [body.ContentBody(content[at : at + most]) for at in range(0, len(content), most)]
    return b"".join(frame.marshal(each, CHANNEL) for each in frames)


class Producer:
    """Sends when requests are due, and keeps how long each took."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._wire = Wire(load.url)
        self._replies = Replies(self._wire)
        self._template = request_template(load, self._wire.frame_max)
        self._due: list[float] = []
        self._latencies: dict[int, float] = {}

    def produce(self) -> Sent:
        """Send one alone, for as long as the server starts; then the warm-up, then all that counts.

        Each part begins when all before it is answered: what counts is neither sent nor answered before the
        server's time is read.
        """
        load = self._load
        self._exchange(ClosedLoop(1, 1), 1)
        self._exchange(self._schedule(load.warm_up - 1), load.warm_up - 1)
        schedule = self._schedule(load.messages)
        cpu, started = cpu_seconds(load.server), time.perf_counter()
        self._exchange(schedule, load.messages)
        cpu, ended = cpu_seconds(load.server) - cpu, time.perf_counter()
        counted = [1e3 * self._latencies[number] for number in range(load.warm_up, load.total)]
        return Sent(
            messages=load.messages,
            seconds=ended - started,
            cpu_seconds=cpu,
            mean_ms=statistics.fmean(counted),
            p50_ms=percentile(counted, 50),
            p99_ms=percentile(counted, 99),
        )

    def _schedule(self, messages: int) -> Schedule:
        load = self._load
        if load.rate:
            return OpenLoop(messages, load.rate, load.seed)
        return ClosedLoop(messages, load.in_flight)

    def _exchange(self, schedule: Schedule, messages: int) -> None:
        before = len(self._due)
        while len(self._latencies) < before + messages:
            due = schedule.due(len(self._due) - before, len(self._latencies) - before)
            if due:
                first = len(self._due)
                self._due += due
                numbers = range(first, len(self._due))
                self._wire.socket.sendall(
                    b"".join([self._template.replace(PLACE, NUMBER % number) for number in numbers])
                )
            answered = self._replies.take(schedule.patience(len(self._due) - before))
            now = time.perf_counter()
            for number in answered:
                if number in self._latencies:
                    raise SystemExit(f"request {number} was answered twice")
                self._latencies[number] = now - self._due[number]


def send(load: Load) -> Sent:
    """Send all of it from a process of its own, and return when all is answered.

    Raises:
        SystemExit: it was not, or not as it should be; the process has said why.
    """
    command = [sys.executable, "-m", "benches.load", msgspec.json.encode(load).decode()]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - it is this module
    if ended.returncode:
        raise SystemExit(ended.returncode)
    return msgspec.json.decode(ended.stdout, type=Sent)


if __name__ == "__main__":
    print(msgspec.json.encode(Producer(msgspec.json.decode(sys.argv[1], type=Load)).produce()).decode())
