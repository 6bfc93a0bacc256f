"""How the public API is used, for type checkers: mypy and pyright read it strictly, and nothing runs it."""

# pyright: strict

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, assert_never, assert_type

import trio
from prometheus_client import REGISTRY

import rpcb_trio
from rpcb_trio import (
    AutoPolicy,
    BlockingRpcClient,
    Cache,
    Failure,
    FixedPolicy,
    HealthInstrument,
    Instrument,
    JobStatus,
    LiveSettings,
    LogInstrument,
    MemoryBroker,
    Outcome,
    Pieces,
    PlainFunction,
    ProcessExecutor,
    RemoteError,
    Reply,
    Request,
    RequestError,
    RequestInfo,
    RpcClient,
    Service,
    ServiceError,
    Success,
    ThreadExecutor,
    Topology,
    Worker,
    open_client,
    open_worker,
    serve,
)
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.batching import Batch, Decision, Pending, Policy, Run, Shares, Trigger
from rpcb_trio.errors import Busy, CallError, Kind, Overloaded, RpcbError
from rpcb_trio.events import BatchEvent, EventInstrument, StateEvent, publish_events, watch_events
from rpcb_trio.executors import AsyncExecutor, Closable, Executor
from rpcb_trio.gateway import GatewayOptions, Route, make_app
from rpcb_trio.health import Control, HealthPort, Reloaded, open_health_port
from rpcb_trio.instruments import (
    Answer,
    AuditInstrument,
    Condition,
    Settled,
    Setup,
    TracingInstrument,
    read_audit,
)
from rpcb_trio.metrics import MetricsInstrument
from rpcb_trio.simulation import (
    Arrival,
    Law,
    Load,
    LockStep,
    OpenLoad,
    SimulatedWorker,
    Simulation,
    linear,
    simulate,
    simulate_fleet,
)
from rpcb_trio.streaming import END, PlainStream, ReplyStream, Step, StreamingService, by_item
from rpcb_trio.testing import Served, push_batch, served
from rpcb_trio.transports import CallerSession, NoticeTransport, Session, Transport

URL = "amqp://localhost"

version: str = rpcb_trio.__version__


class Lengths:
    """A service with all hooks; it inherits from nothing."""

    content_type = "text/plain"
    cache = Cache(ttl=60, headers=("x-language",))

    def warm_up(self) -> None: ...

    def decode(self, body: bytes) -> str:
        if not body:
            raise EmptyText
        return body.decode()

    def cost(self, item: str) -> float:
        return len(item)

    def infer(self, items: list[str]) -> list[int | Exception]:
        return [len(item) if item else ServiceError("no text") for item in items]

    def encode(self, outcome: Outcome[int]) -> bytes:
        match outcome:
            case Success(value=length):
                assert_type(length, int)
                return b"%d" % length
            case Failure(error=error):
                assert_type(error.code, str)
                assert_type(error.kind, Kind)
                return error.code.encode()
            case _:
                assert_never(outcome)


class LongTexts(Lengths):
    """Its requests may be in pieces."""

    def decode(self, body: bytes) -> str | Pieces[str]:  # type: ignore[override] # it may return more
        return Pieces(line for line in body.decode().splitlines())

    def join(self, results: list[int]) -> int:
        return sum(results)


class EmptyText(RequestError):
    code = "empty-text"


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


service: Service[str, int] = Lengths()
in_pieces: Service[str, int] = LongTexts()
plain: PlainFunction = shout
with_errors: PlainFunction = lambda bodies: [body or ValueError() for body in bodies]  # noqa: E731 - a type is its point


def classify(texts: list[str]) -> list[Labels]:
    return [Labels(text) for text in texts]


async def translate(texts: list[str], requests: list[RequestInfo]) -> Sequence[str | Exception]:
    assert_type(requests[0].seconds_left, float | None)
    assert_type(requests[0].caller, str | None)
    return [f"{each.headers.get('language')}: {text}" for text, each in zip(texts, requests, strict=True)]


class Labels(NamedTuple):
    label: str


class Typed:
    def infer(self, texts: list[str]) -> list[Labels]:
        return classify(texts)


async def serve_all_kinds() -> None:
    await serve(classify, URL, "q", executors=[AsyncExecutor(translate)])
    await serve(translate, URL, "q")
    await serve(Typed, URL, "q")
    await serve(Typed(), URL, "q")


class Greedy(Policy):
    """A policy of one's own."""

    @property
    def max_batch_size(self) -> int:
        return 8

    def decide(
        self, pending: Sequence[Pending], now: float, *, final: bool, others_idle: int = 0
    ) -> Decision:
        batch = tuple(pending[: self.max_batch_size])
        assert_type(batch[0].request, Request)
        assert_type(batch[0].cost, float)
        return Decision(batch=batch, trigger=Trigger.SIZE)

    def completed(self, batch: Batch, runs: Sequence[Run], now: float) -> None: ...


class Counter(Instrument):
    """An instrument of one's own."""

    def __init__(self) -> None:
        self.endings: dict[Settled, int] = {}

    def worker_started(self, setup: Setup) -> None:
        self.largest: int = setup.max_batch_size

    def model_swapped(self, version: str | None) -> None:
        self.version = version

    def requests_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        for each in settled:
            self.endings[each] = self.endings.get(each, 0) + 1


class InPlace:
    """An executor of one's own."""

    async def warm_up(self) -> None: ...

    async def idle(self) -> None: ...

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        return items


executor: Executor = InPlace()
closable: Closable = ThreadExecutor(Lengths())
on_a_gpu: Executor = ThreadExecutor(Lengths(), device="cuda:1")
other: Executor = ProcessExecutor(Lengths, device="cuda:0", max_deaths=2)


class Slow:
    """A transport of one's own."""

    def __init__(self, way: Transport) -> None:
        self._way = way

    @asynccontextmanager
    async def open_session(self, topology: Topology, *, prefetch: int) -> AsyncGenerator[Session]:
        await trio.sleep(1)
        async with self._way.open_session(topology, prefetch=prefetch) as session:
            yield session

    @asynccontextmanager
    async def open_caller(self) -> AsyncGenerator[CallerSession]:
        await trio.sleep(1)
        async with self._way.open_caller() as session:
            yield session


in_memory: Transport = Slow(MemoryBroker())
rabbitmq: Transport = AmqpTransport(lambda: URL, heartbeat=5)
notices: NoticeTransport = AmqpTransport(URL)


async def by_a_store() -> None:
    async with (
        open_worker(Lengths(), in_memory, "lengths", claims=["s3://bucket/claims"], claims_kept=3600.0),
        open_client(URL, max_message_size=2**20, claims="s3://bucket/claims") as client,
    ):
        most: int | None = client.largest_request
        del most


async def work() -> None:
    topology = Topology(queue="lengths", exchange="texts", routing_keys=("length.*",), queue_type="quorum")
    async with open_worker(
        Lengths(),
        in_memory,
        topology,
        batching=AutoPolicy(max_batch_size=64, latency_objective=0.2),
        expired="drop",
        instruments=[
            LogInstrument("lengths"),
            Counter(),
            AuditInstrument("audit.jsonl"),
            TracingInstrument(),
        ],
    ) as worker:
        assert_type(worker, Worker)
        assert_type(worker.held, int)
        await worker.swap(partial(Lengths), version="2", unload_first=True)
        assert_type(worker.version, str | None)
        limits: LiveSettings = {"batching": AutoPolicy(16), "max_pending": 64}
        changes = await worker.change(**limits)
        assert_type(changes["prefetch"], tuple[object, object])
    async with open_worker(
        Lengths, URL, "lengths", executors=[executor, on_a_gpu, other], batching=Greedy()
    ) as worker:
        worker.drain()
    async with trio.open_nursery() as nursery:
        started: Worker = await nursery.start(partial(serve, shout, rabbitmq, "shout", replicas=2))
        started.drain()


async def call() -> None:
    async with open_client(URL) as client:
        assert_type(client, RpcClient)
        reply = await client.call(b"hello", queue="shout", timeout=5, headers={"lang": "en"}, priority=9)
        assert_type(reply, Reply)
        assert_type(reply.raise_for_error().body, bytes)
        assert_type(reply.error, str | None)
        job = await client.submit(b"hello", queue="shout", keep=60, expiration=30, priority=1)
        assert_type(await client.status(job), JobStatus)
        assert_type(await client.result(job, timeout=5), Reply)
        await client.forget(job)


def call_and_block() -> bytes:
    client = BlockingRpcClient(URL)
    with BlockingRpcClient(rabbitmq) as other_client:
        assert_type(other_client, BlockingRpcClient)
        assert_type(other_client.status(other_client.submit(b"hello", queue="shout")), JobStatus)
    try:
        return client.call(b"hello", exchange="texts", routing_key="length.of").raise_for_error().body
    except RemoteError as error:
        assert_type(error.reply, Reply)
        assert_type(error.code, str)
        assert_type(error.kind, str | None)
        return error.body
    except CallError as error:
        as_any_other: RpcbError = error
        raise as_any_other from None
    finally:
        client.close()


class Nothing:
    """What came of a reload: it changed nothing."""

    error: str | None = None


async def reload() -> Reloaded:
    return Nothing()


async def observe() -> None:
    events = EventInstrument("lengths")
    health = HealthInstrument("lengths")
    async with (
        publish_events(notices, "rpcb.events", events),
        watch_events(URL, "rpcb.events") as watch,
        open_health_port(0, [health], metrics=REGISTRY, control=Control(lambda: "token", reload)) as port,
    ):
        assert_type(port, HealthPort)
        assert_type(health.health.condition, Condition)
        async for event in watch:
            if isinstance(event, BatchEvent):
                assert_type(event.size, int)
            else:
                assert_type(event, StateEvent)
    for audit in read_audit(Path("audit.jsonl")):
        for batch in audit.batches:
            assert_type(batch.seconds, float)


async def test() -> None:
    async with served(Lengths(), service_time=lambda b: 0.1 * b, batching=FixedPolicy(8, 0.01)) as worker:
        assert_type(worker, Served)
        assert_type(worker.recorder.batches, list[Batch])
        assert_type((await worker.call(b"hello")).body, bytes)
    assert_type(await push_batch(shout, [b"a", b"b"]), list[Reply])


def try_out() -> None:
    load: Load = LockStep(callers=10, think=lambda: 0.001, requests=100)
    found = simulate(FixedPolicy(max_batch_size=12), load, linear(0.150, 0.025))
    fleet = [SimulatedWorker(AutoPolicy(), linear(slow, 0.025), prefetch=None) for slow in (0.150, 0.600)]
    found = simulate_fleet(fleet, load, delay=0.001)
    assert_type(found, Simulation)
    assert_type(found.mean_latency, float)
    shares = Shares("x-tenant", {"gold": 3})
    law: Law = lambda work: 0.1 * work.padded  # noqa: E731 - as above
    simulate(Greedy(), OpenLoad([Arrival(0.5, deadline=2, tenant="gold")]), law, shares=shares)


app = make_app(URL, {"shout": Route(queue="shout")}, GatewayOptions(max_in_flight=64), metrics=REGISTRY)
counting: Instrument = MetricsInstrument(REGISTRY)
code: Callable[[Busy], str] = lambda error: error.code  # noqa: E731 - as above
overloaded: str = code(Overloaded("too many"))


class Counting:
    def decode(self, body: bytes) -> int:
        return int(body)

    def stream_infer(self, items: list[int]) -> Iterator[Step[int]]:
        yield from by_item(range(item) for item in items)
        yield {0: END}

    def encode(self, outcome: Outcome[int]) -> bytes:
        return b"%d" % outcome.value if isinstance(outcome, Success) else b""


def counted(bodies: list[bytes]) -> Iterator[Step[bytes]]:
    yield dict(enumerate(bodies))


streaming_service: StreamingService[int, int] = Counting()
plain_stream: PlainStream = counted


async def parts(client: RpcClient, blocking: BlockingRpcClient, broker: MemoryBroker) -> None:
    async with open_worker(Counting(), broker, "count"), open_worker(counted, broker, "plain"):
        stream = client.stream(b"3", queue="count", part_timeout=1.0, max_unread=1000)
        assert_type(stream, ReplyStream)
        async with stream:
            async for part in stream:
                assert_type(part.part, int | None)
                assert_type(part.is_last, bool)
        for each in blocking.stream(b"3", queue="count", timeout=5):
            assert_type(each, Reply)
