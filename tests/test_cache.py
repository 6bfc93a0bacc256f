"""In virtual time: equal requests are computed once, and none ever gets the reply to another one."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from rpcb_trio import (
    AutoPolicy,
    Cache,
    Failure,
    FixedPolicy,
    MemoryBroker,
    Outcome,
    Reply,
    Request,
    SettingError,
    Success,
    Topology,
)
from rpcb_trio._cache import REPLY_OVERHEAD
from rpcb_trio._pipeline._kept import KeptReplies
from rpcb_trio._service import bind
from rpcb_trio._shares import Shares
from rpcb_trio.metrics import MetricsInstrument
from rpcb_trio.testing import VirtualExecutor
from tests.scenarios import ANSWERS, QUEUE, Running, Shouting, Stubborn, steady, taken, working

SECONDS = 1.0
"""Of a batch, whatever its size."""


def slow(_: int) -> float:
    return SECONDS


class Numbered:
    """Numbers what it computes, so that a reply says which computation it is of."""

    def __init__(self, version: str = "1", cache: Cache | None = None) -> None:
        self.version = version
        self.cache = cache
        self.runs: list[list[str]] = []

    def decode(self, body: bytes) -> str:
        return body.decode()

    def infer(self, items: list[str]) -> list[str | Exception]:
        self.runs.append(items)
        if any(item.startswith("poison") for item in items):
            raise RuntimeError("poisoned")
        number = sum(map(len, self.runs)) - len(items)
        return [
            ValueError(item) if item.startswith("sick") else f"{self.version} {item} {number + place}"
            for place, item in enumerate(items)
        ]

    def encode(self, outcome: Outcome[str]) -> bytes:
        match outcome:
            case Success(value=value):
                return value.encode()
            case Failure(error=error):
                return f"failed:{error.code}".encode()

    @property
    def computed(self) -> list[str]:
        return [item for run in self.runs for item in run]


def send(
    broker: MemoryBroker,
    body: bytes,
    *names: str,
    headers: Mapping[str, object] = {},
    expiration: float | None = None,
    priority: int = 0,
) -> None:
    """Send a body once for each correlation id."""
    broker.declare(QUEUE)
    broker.declare(ANSWERS)
    for name in names:
        broker.publish(
            body,
            routing_key=QUEUE,
            reply_to=ANSWERS,
            correlation_id=name,
            headers=headers,
            expiration=expiration,
            priority=priority,
        )


def replies(broker: MemoryBroker) -> dict[str, Reply]:
    found = [*taken(broker)]
    by_name = {reply.correlation_id or "": reply for reply in found}
    assert len(by_name) == len(found), "answered twice"
    return dict(sorted(by_name.items()))


def bodies(broker: MemoryBroker) -> dict[str, str]:
    return {name: reply.body.decode() for name, reply in replies(broker).items()}


def names_of(requests: Sequence[Request]) -> list[str | None]:
    return [request.correlation_id for request in requests]


async def test_an_equal_request_gets_the_reply_with_its_own_correlation_id_and_says_so(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered()
    async with working(service, broker, cache=Cache(60), batch_headers=True) as running:
        send(broker, b"good", "a")
        await running.until_settled(1)
        send(broker, b"good", "b")
        send(broker, b"other", "c")
        await running.until_settled(3)
    first, hit, other = replies(broker).values()
    assert first.body == hit.body != other.body
    assert dict(hit.headers) == {"rpcb-model-version": "1", "rpcb-cache": "hit"}, "it was in no batch"
    assert "rpcb-cache" not in first.headers
    assert "rpcb-batch" in first.headers
    assert service.computed == ["good", "other"]
    assert (names_of(running.hits), names_of(running.misses)) == (["b"], ["a", "c"])


async def test_a_reply_is_given_to_others_for_its_time_and_no_longer(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Numbered()
    async with working(service, broker, cache=Cache(10)) as running:
        for number, wait in enumerate((0, 9.5, 0.6, 9.0), start=1):
            await trio.sleep(wait)  # a hit makes it no younger
            send(broker, b"good", str(number))
            await running.until_settled(number)
    assert bodies(broker) == {"1": "1 good 0", "2": "1 good 0", "3": "1 good 1", "4": "1 good 1"}


@pytest.mark.parametrize("cache", [None, Cache(0)])
async def test_nothing_is_shared_unless_it_is_set(cache: Cache | None, autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Numbered(cache=None if cache is None else Cache(60))
    async with working(service, broker, cache=cache, service_time=slow) as running:
        send(broker, b"good", "a", "b")
        await running.until_settled(2)
    assert service.computed == ["good"] * 2
    assert running.misses == []


async def test_equal_requests_that_come_while_one_waits_or_is_computed_are_computed_once(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    async with working(service, broker, service_time=slow, batching=FixedPolicy(4, max_wait=0.5)) as running:
        send(broker, b"good", "a", "b", "c")
        await trio.sleep(1)
        send(broker, b"good", "d")
        await running.until_settled(4)
        assert trio.current_time() == 1.5
    assert bodies(broker) == dict.fromkeys("abcd", "1 good 0")
    assert (running.sizes, len(running.hits)) == ([1], 3)


async def test_a_request_that_makes_its_batch_fail_takes_no_equal_one_with_it_nor_keeps_it_waiting(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    policy = FixedPolicy(8, max_wait=0.1)
    async with working(service, broker, service_time=slow, batching=policy) as running:
        send(broker, b"sick", "a", "b", "c")
        send(broker, b"good", "d")
        await running.until_settled(4)
        send(broker, b"sick", "e")
        await running.until_settled(5)
    assert service.runs[0] == ["sick", "good"]
    assert service.computed.count("sick") == 4, "each for itself, and none is kept"
    assert bodies(broker) == dict.fromkeys("abce", "failed:infer") | {"d": "1 good 1"}


async def test_where_the_one_that_is_computed_expires_another_takes_its_place(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    async with working(service, broker, service_time=slow, batching=FixedPolicy(1)) as running:
        send(broker, b"first", "0")
        await trio.sleep(0.1)
        send(broker, b"good", "a", expiration=0.5)
        send(broker, b"good", "b", "c")
        await running.until_settled(4)
    assert bodies(broker) == {"0": "1 first 0", "a": "failed:expired", "b": "1 good 1", "c": "1 good 1"}


async def test_a_caller_that_gives_up_takes_no_reply_from_those_who_wait_for_the_same(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    topology = Topology(queue=QUEUE, cancel=True)

    def give_up(name: str) -> None:
        broker.publish(b"", exchange="rpcb.cancel", routing_key=QUEUE, reply_to=ANSWERS, correlation_id=name)

    async with working(
        service, broker, queue=topology, service_time=slow, batching=FixedPolicy(1), prefetch=20
    ) as running:
        send(broker, b"good", "a", "b", "c")
        send(broker, b"other", "d", "e", "f")
        await trio.sleep(0.5)
        for name in "abde":  # a is computed, and d waits for its batch
            give_up(name)
        await running.until_settled(6)
    assert bodies(broker) == {"c": "1 good 0", "f": "1 other 1"}
    assert service.computed == ["good", "other"]


@pytest.mark.parametrize(
    "urgent",
    [{"priority": 5}, {"expiration": 2.5}, {"headers": {"x-tenant": "another"}}],
    ids=["priority", "deadline", "tenant"],
)
async def test_none_waits_for_one_that_is_served_later_than_itself(
    urgent: dict[str, Any], autojump_clock: MockClock
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    shares = Shares("x-tenant") if "headers" in urgent else None
    async with working(
        service,
        broker,
        service_time=slow,
        batching=AutoPolicy(1),
        prefetch=None if shares else 20,
        shares=shares,
    ) as running:
        send(broker, b"first", "0", headers={"x-tenant": "one"})
        await trio.sleep(0.1)
        for n in range(3):
            send(broker, b"other %d" % n, f"o{n}", headers={"x-tenant": "one"})
        send(broker, b"good", "late", headers={"x-tenant": "one"})
        send(broker, b"good", "soon", **urgent)
        await running.until_settled(6)
    order = names_of([answer.request for answer, _ in running.settled])
    assert order.index("soon") < order.index("o2")
    assert service.computed.count("good") <= 2


async def test_in_one_batch_even_those_that_could_not_wait_for_another_are_computed_once(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    async with working(service, broker, batching=FixedPolicy(8, max_wait=1)) as running:
        for priority in range(3):
            send(broker, b"good", f"g{priority}", priority=priority)
            send(broker, b"poison", f"p{priority}", priority=priority)
        await running.until_settled(6)
    assert [run for run in service.runs if "poison" not in run] == [["good"]]
    assert service.runs.count(["poison"]) == 3, "none pays for another"
    assert {*bodies(broker).values()} == {"1 good 2", "failed:infer"}


async def test_a_drain_answers_those_that_wait_for_another_and_does_not_wait_for_more(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    async with working(service, broker, service_time=slow, batching=FixedPolicy(8, max_wait=1000)) as running:
        send(broker, b"good", "a", "b")
        send(broker, b"sick", "c", "d")
        await trio.sleep(5)
    assert trio.current_time() < 10
    assert running.left == 0
    assert bodies(broker) == dict.fromkeys("ab", "1 good 0") | dict.fromkeys("cd", "failed:infer")


async def test_what_waits_for_a_batch_that_runs_is_answered_in_a_drain_too(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    async with working(service, broker, service_time=slow) as running:
        send(broker, b"sick", "a", "b")
        send(broker, b"good", "c", "d")
        await trio.sleep(0.5)
    assert running.left == 0
    assert bodies(broker) == dict.fromkeys("ab", "failed:infer") | dict.fromkeys("cd", "1 good 1")


async def test_replies_outlive_a_session_and_those_that_waited_in_it_are_answered(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(600))
    async with working(service, broker, service_time=slow) as running:
        send(broker, b"good", "a")
        await running.until_settled(1)
        send(broker, b"other", "b", "c")
        await trio.sleep(0.5)
        broker.disconnect()
        send(broker, b"good", "d")
        await running.until_settled(4)
    assert bodies(broker) == {"a": "1 good 0", "b": "1 other 1", "c": "1 other 1", "d": "1 good 0"}


async def test_one_that_may_have_killed_its_worker_runs_alone_and_nobody_waits_for_it(
    autojump_clock: MockClock,
) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(600))
    send(broker, b"good", "a", "b")
    async with working(Shouting(), broker, service_time=slow) as dying:
        await trio.sleep(0.5)
        dying.cancel()
    async with working(service, broker, service_time=slow) as running:
        send(broker, b"good", "c", "d")
        await running.until_settled(4)
        assert all(batch.size == 1 for batch in running.batches)
    assert len(service.computed) == 3, "both suspects, and one of the others"
    assert [each.body[:6] for each in replies(broker).values()] == [b"1 good"] * 4


async def test_a_new_version_never_gives_the_replies_of_the_former_one(autojump_clock: MockClock) -> None:
    broker, old, new = MemoryBroker(), Numbered("1", Cache(60)), Numbered("2", Cache(60))
    async with working(old, broker, executors=[VirtualExecutor(old.infer, slow)]) as running:
        send(broker, b"good", "a")
        await running.until_settled(1)
        send(broker, b"other", "b")  # is computed while the swap happens
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_swap, running, new)
            await trio.sleep(0.1)
            send(broker, b"good", "c")
            send(broker, b"other", "d")
        await running.until_settled(4)
        send(broker, b"other", "e")
        await running.until_settled(5)
    found = replies(broker)
    assert [each.body for each in found.values()] == [
        *(b"1 good 0", b"1 other 1", b"2 good 0", b"2 other 1", b"2 other 1")
    ]
    assert [each.headers["rpcb-model-version"] for each in found.values()] == ["1", "1", "2", "2", "2"]


async def test_where_a_new_version_tells_requests_apart_none_of_them_gets_the_reply_to_another(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    old, new = Numbered("1", Cache(60)), Numbered("2", Cache(60, headers=("language",)))
    async with working(old, broker, executors=[VirtualExecutor(old.infer, slow)]) as running:
        send(broker, b"other", "a")  # is computed while the others wait
        await trio.sleep(0.1)
        for language in ("en", "fr", "en"):
            send(broker, b"good", f"{running.worker.held}-{language}", headers={"language": language})
            await trio.sleep(0.1)
        await _swap(running, new)
        await running.until_settled(4)
    found = bodies(broker)
    assert found["2-fr"] not in (found["1-en"], found["3-en"])


async def _swap(running: Running, service: Numbered) -> None:
    await running.worker.swap(service, executors=[VirtualExecutor(service.infer, slow)])


async def test_it_is_switched_on_and_off_while_the_worker_runs_and_forgets_all_when_off(
    autojump_clock: MockClock,
) -> None:
    broker, service, registry = MemoryBroker(), Numbered(), CollectorRegistry()
    instrument = MetricsInstrument(registry)

    def measured(name: str) -> float | None:
        return registry.get_sample_value(name, {"queue": QUEUE})

    async with working(service, broker, instruments=[instrument]) as running:
        for number, cache in enumerate([None, Cache(60), Cache(60), Cache(0), Cache(60)]):
            await running.worker.change(cache=cache)
            send(broker, b"good", str(number))
            await running.until_settled(number + 1)
        kept = measured("rpcb_cache_bytes")
        await running.worker.change(cache=Cache(0))
        assert (measured("rpcb_cache_bytes"), measured("rpcb_pending")) == (0, 0)
    assert service.computed == ["good"] * 4
    assert kept == len("1 good 0") + REPLY_OVERHEAD
    assert (measured("rpcb_cache_hits_total"), measured("rpcb_cache_misses_total")) == (1, 2)


async def test_a_reply_that_has_become_too_large_is_not_given_any_more(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    async with working(service, broker) as running:
        send(broker, b"good", "a")
        await running.until_settled(1)
        await running.worker.change(max_reply_size=3)
        send(broker, b"good", "b")
        await running.until_settled(2)
    assert replies(broker)["b"].error == "reply-too-big"


async def test_a_stream_and_a_body_that_lies_elsewhere_are_never_shared(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Numbered(cache=Cache(60))
    async with working(service, broker) as running:
        send(broker, b"", "a", "b", headers={"rpcb-claim": "{}"})
        send(broker, b"", "c", "d", headers={"rpcb-stream": True})
        await running.until_settled(4)
    assert running.hits == running.misses == []


requests = st.builds(
    Request,
    body=st.binary(max_size=2),
    arrived=st.just(0.0),
    content_type=st.sampled_from([None, "", "a", "('a'"]),
    content_encoding=st.sampled_from([None, "", "gzip"]),
    headers=st.dictionaries(
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from([None, 1, True, "1", b"1", 1.0, [1], {"x": 1}]),
    ),
)


@steady
@given(requests, requests, st.lists(st.sampled_from(["x", "y"])))
def test_requests_are_equal_where_body_content_type_encoding_and_the_chosen_headers_are(
    one: Request, other: Request, names: list[str]
) -> None:
    cache = Cache(60, headers=tuple(names))

    def of(request: Request) -> object:
        chosen = {name: repr(request.headers[name]) for name in names if name in request.headers}
        return request.body, request.content_type, request.content_encoding, chosen

    assert (cache.key_of(one) == cache.key_of(other)) == (of(one) == of(other))


class Asked(NamedTuple):
    """A request of a plan."""

    at: float
    body: str
    language: str | None
    kind: str


class Plan(NamedTuple):
    """What happens to a worker."""

    asked: list[Asked]
    swaps: list[float]
    disconnects: list[float]
    executors: int
    max_batch_size: int
    max_wait: float
    service_time: float
    ttl: float
    max_replies: int
    stubborn: bool
    drains_at: float


ROOM = 12 + REPLY_OVERHEAD
"""Bytes that a reply takes."""
quarters = st.integers(0, 20).map(lambda each: each / 4)
plans = st.builds(
    Plan,
    asked=st.lists(
        st.builds(
            Asked,
            quarters,
            st.sampled_from(["a", "a", "a", "b", "c", "sick", "poison", "\xff"]),
            st.sampled_from([None, "en", "de"]),
            st.sampled_from(["plain", "plain", "plain", "brief", "urgent"]),
        ),
        max_size=25,
    ),
    swaps=st.lists(quarters, max_size=2),
    disconnects=st.lists(quarters, max_size=1),
    executors=st.integers(1, 2),
    max_batch_size=st.integers(1, 4),
    max_wait=st.sampled_from([0.0, 0.5, 30.0]),
    service_time=st.sampled_from([0.0, 0.3, 1.5]),
    ttl=st.sampled_from([0.4, 2.0, math.inf]),
    max_replies=st.integers(1, 4),
    stubborn=st.booleans(),
    drains_at=st.integers(1, 40).map(float),
)


class Followed(Running):
    """Knows when each request was answered, and how much was kept at most."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def cache_changed(self, size: int) -> None:
        self.most = max(self.most, size)


async def _at(seconds: float, act: Callable[[], object]) -> None:
    await trio.sleep(seconds)
    act()


async def _swap_at(seconds: float, running: Running, version: str, plan: Plan) -> None:
    await trio.sleep(seconds)
    service = Numbered(version)
    await running.worker.swap(service, executors=_executors_of(service, plan))


def _executors_of(service: Numbered, plan: Plan) -> list[VirtualExecutor]:
    return [VirtualExecutor(service.infer, lambda _: plan.service_time) for _ in range(plan.executors)]


async def live(plan: Plan, broker: MemoryBroker, watching: Followed, seconds: float, first: str) -> None:
    """Be a worker that drains after some time, with whatever it holds."""
    service = Numbered(first)
    async with (
        working(
            service,
            broker,
            executors=_executors_of(service, plan),
            batching=(Stubborn if plan.stubborn else FixedPolicy)(
                plan.max_batch_size, max_wait=plan.max_wait
            ),
            cache=Cache(plan.ttl, plan.max_replies * ROOM, ("x-language",)),
            prefetch=50,
            drain_timeout=300,
            instruments=[watching],
        ) as running,
        trio.open_nursery() as nursery,
    ):
        for number, when in enumerate(plan.swaps):
            nursery.start_soon(_swap_at, when, running, f"{first}.{number}", plan)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    assert running.left == 0 or plan.disconnects, "a drain leaves nothing"


async def follow(plan: Plan) -> None:
    broker, watching = MemoryBroker(), Followed()
    asked = {str(number): each for number, each in enumerate(plan.asked)}

    def ask(name: str, each: Asked) -> None:
        send(
            broker,
            each.body.encode("latin-1"),
            name,
            headers={} if each.language is None else {"x-language": each.language},
            expiration={"brief": 1.0}.get(each.kind),
            priority={"urgent": 3}.get(each.kind, 0),
        )

    async with trio.open_nursery() as nursery:
        for name, each in asked.items():
            nursery.start_soon(_at, each.at, partial(ask, name, each))
        for when in plan.disconnects:
            nursery.start_soon(_at, when, broker.disconnect)
        await live(plan, broker, watching, plan.drains_at, "v0")
        await live(plan, broker, watching, 200.0, "v1")
    check(broker, asked, watching, ROOM * plan.max_replies)


def check(broker: MemoryBroker, asked: Mapping[str, Asked], watching: Followed, most: int) -> None:
    found = replies(broker)
    unanswered = [asked[name] for name in asked.keys() - found.keys()]
    assert all(each.kind == "brief" for each in unanswered), "unless the broker has removed it"
    assert watching.most <= most
    computed = defaultdict[bytes, list[Asked]](list)
    for name, reply in found.items():
        if "rpcb-cache" not in reply.headers and reply.error is None:
            computed[reply.body].append(asked[name])
    for name, reply in found.items():
        each = asked[name]
        if reply.error is not None:
            assert each.kind == "brief" or each.body in ("sick", "poison", "\xff"), "nobody else's failure"
            assert "rpcb-cache" not in reply.headers
            continue
        version, body, _ = reply.body.decode().split()
        assert body == each.body
        assert version == reply.headers["rpcb-model-version"]
        assert all(origin.language == each.language for origin in computed[reply.body])
        assert computed[reply.body] or "rpcb-cache" in reply.headers
    counted = Counter(names_of([*watching.hits, *watching.misses]))
    assert all(counted[name] >= 1 for name in found)


@settings(steady, max_examples=100)
@given(plans)
def test_whatever_comes_together_each_request_is_answered_once_with_the_reply_to_an_equal_one(
    plan: Plan,
) -> None:
    trio.run(follow, plan, clock=MockClock(autojump_threshold=0))


@steady
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 20), st.sampled_from([0.0, 0.5, 3.0])), max_size=30
    ),
    most=st.integers(1, 5),
    most_bytes=st.integers(0, 60),
)
def test_what_is_kept_never_exceeds_its_bounds_and_is_what_was_put_last(
    steps: list[tuple[int, int, float]], most: int, most_bytes: int
) -> None:
    async def run() -> None:
        kept = KeptReplies(most=most, most_bytes=most_bytes, ttl=2.0, overhead=2)
        put = dict[bytes, tuple[Reply, float]]()
        for number, size, wait in steps:
            await trio.sleep(wait)
            key, reply = b"%d" % number, Reply(body=bytes(size))
            kept.put(key, reply)
            put[key] = reply, trio.current_time()
            assert len(kept) <= most
            assert kept.size <= most_bytes
            for each, (latest, since) in put.items():
                is_young = trio.current_time() - since < 2.0
                assert kept.get(each) in ((None, latest) if is_young else (None,))
            assert (kept.get(key) is reply) == (size + 2 <= most_bytes)

    trio.run(run, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Cache(-1), "cache is -1; it must be at least 0"),
        (lambda: Cache(60, 1023), "cache_max_bytes is 1023; it must be at least 1024"),
        (lambda: Cache("60s"), "cache is '60s'; it must be a number"),  # type: ignore[arg-type] # what is refused
        (lambda: Cache(60, headers="x"), "cache_header is 'x'; give a list of names"),  # type: ignore[arg-type] # likewise
        (lambda: Cache(60, headers=(1, 2)), r"cache_header is \(1, 2\); give a list of names"),  # type: ignore[arg-type] # likewise
        (lambda: bind(Numbered(cache=60)), r"Numbered\.cache is 60; give rpcb_trio\.Cache\(ttl=60\), say"),  # type: ignore[arg-type] # likewise
    ],
    ids=["negative", "no room", "text", "one header", "no names", "attribute"],
)
def test_what_is_no_cache_is_refused_with_the_setting_and_the_remedy(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        make()


def test_a_worker_s_setting_takes_the_place_of_the_service_s_own_but_for_the_headers() -> None:
    own = Cache(60, 2000, ("x-language",))
    assert Cache(5, 2000, ("x-tenant",)).replacing(own) == Cache(5, 2000, ("x-language", "x-tenant"))
    assert Cache(5).replacing(None) == Cache(5)
