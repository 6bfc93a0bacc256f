"""What a user may write, and how a mistake in it is told."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker, Outcome, Service, SettingError, Success
from rpcb_trio._service import BoundService, bind, placed
from rpcb_trio.testing import push_batch
from tests.scenarios import Shouting, ask, working


def reverse(bodies: list[bytes]) -> list[bytes]:
    return [body[::-1] for body in bodies]


class Doubling:
    """A callable object."""

    def __call__(self, bodies: list[bytes]) -> list[bytes]:
        return [2 * body for body in bodies]


class Sized(Shouting):
    """Has every optional hook."""

    content_type = "text/x-sized"

    def __init__(self, device: str = "anywhere") -> None:
        super().__init__()
        self.device = device

    def cost(self, item: str) -> float:
        return len(item) / 2

    def warm_up(self) -> None:
        self.infer(["good 0"])

    def on_device(self, device: str) -> Sized:
        return Sized(device)


async def test_a_plain_function_is_a_service(autojump_clock: MockClock) -> None:
    assert [reply.body for reply in await push_batch(reverse, [b"abc", b"xy"])] == [b"cba", b"yx"]


async def test_a_callable_object_is_a_service(autojump_clock: MockClock) -> None:
    assert [reply.body for reply in await push_batch(Doubling(), [b"abc"])] == [b"abcabc"]


async def test_a_partial_function_is_a_service(autojump_clock: MockClock) -> None:
    def surround(edge: bytes, bodies: list[bytes]) -> list[bytes]:
        return [edge + body + edge for body in bodies]

    assert [reply.body for reply in await push_batch(functools.partial(surround, b"-"), [b"a"])] == [b"-a-"]


async def test_an_exception_among_a_plain_functions_results_fails_its_request_alone(
    autojump_clock: MockClock,
) -> None:
    good, bad = await push_batch(lambda bodies: [bodies[0], KeyError("b")], [b"a", b"b"])
    assert (good.error, bad.error) == (None, "infer")


async def test_a_plain_function_that_returns_no_bytes_is_told_so(autojump_clock: MockClock) -> None:
    (reply,) = await push_batch(lambda bodies: [body.decode() for body in bodies], [b"a"])
    assert (reply.error, reply.body) == ("encode", b"encode: the result could not be encoded")


@pytest.mark.parametrize("target", [Shouting, Shouting()], ids=["class", "instance"])
async def test_a_class_and_an_instance_of_it_are_the_same_service(
    target: object, autojump_clock: MockClock
) -> None:
    (reply,) = await push_batch(target, [b"good 1"])
    assert (reply.body, reply.content_type) == (b"ok:GOOD 1", "text/plain")


def test_the_three_hooks_are_the_service_protocol() -> None:
    assert isinstance(Shouting(), Service)
    assert not isinstance(reverse, Service)


def test_a_bound_service_carries_all_hooks_and_a_name() -> None:
    bound = bind(Sized)
    assert (bound.name, bound.content_type) == ("Sized", "text/x-sized")
    assert None not in (bound.decode, bound.encode, bound.cost, bound.warm_up, bound.on_device)
    assert bind(bound) is bound


def test_a_plain_function_has_its_name_and_no_hooks() -> None:
    bound = bind(reverse)
    assert bound == BoundService(name="reverse", infer=reverse)
    assert bound.content_type == "application/octet-stream"


def test_a_service_is_placed_on_the_device_of_its_replica() -> None:
    service = placed(bind(Sized()), "cuda:1")
    assert service.warm_up is not None
    assert service.warm_up.__self__.device == "cuda:1"  # type: ignore[attr-defined] # a bound method


def test_a_service_that_does_not_care_about_devices_stays_as_it_is() -> None:
    bound = bind(Shouting())
    assert placed(bound, "cuda:1") is bound
    assert placed(bound, None) is bound


async def test_the_cost_of_an_item_travels_with_it_to_the_policy(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", b"good 22")
    async with working(Sized(), broker, batching=FixedPolicy(max_wait=1.0)) as running:
        await running.until_settled(2)
    assert [member.cost for batch in running.batches for member in batch.members] == [3.0, 3.5]


async def test_a_cost_that_cannot_be_told_fails_its_request_alone(autojump_clock: MockClock) -> None:
    class Free(Shouting):
        def cost(self, item: str) -> float:
            return 1 / (len(item) - len("good 1"))

    assert [reply.error for reply in await push_batch(Free(), [b"good 1", b"good 22"])] == ["cost", None]


class NoEncode:
    def decode(self, body: bytes) -> bytes:
        return body

    def infer(self, items: list[bytes]) -> Any:
        return items


class NeedsPath(Shouting):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path


class AsyncDecode(Shouting):
    async def decode(self, body: bytes) -> str:  # type: ignore[override] # what is refused
        return body.decode()


class AsyncWarmUp(Sized):
    async def warm_up(self) -> None:  # type: ignore[override] # what is refused
        return None


class YieldingDecode(Sized):
    def decode(self, body: bytes) -> Iterator[str]:  # type: ignore[override] # what is refused
        yield body.decode()


class YieldingWarmUp(Sized):
    def warm_up(self) -> Iterator[None]:  # type: ignore[override] # what is refused
        yield


class YieldingInfer(Shouting):
    def infer(self, items: list[str]) -> Iterator[str]:  # type: ignore[override] # that is the fault
        yield from items


class CostOfFive(Shouting):
    cost = 5


def two_arguments(bodies: list[bytes], more: int) -> list[bytes]:
    return bodies * more


class NoItems(Sized):
    def infer(self) -> list[str | Exception]:  # type: ignore[override] # what is refused
        return []


class WarmedBySomething(Sized):
    def warm_up(self, with_what: str) -> None:  # type: ignore[override] # what is refused
        self.with_what = with_what


@pytest.mark.parametrize(
    ("target", "told"),
    [
        pytest.param(
            two_arguments,
            r"two_arguments can't be called as two_arguments\(bodies\): .*'more'; .*one argument",
            id="two arguments",
        ),
        pytest.param(NoItems, r"can't be called as NoItems.infer\(items\)", id="no argument"),
        pytest.param(WarmedBySomething, r"WarmedBySomething.warm_up\(\): .*no arguments", id="one of none"),
        pytest.param(
            NoEncode, "NoEncode has no method encode; it needs decode, infer and encode", id="incomplete"
        ),
        pytest.param(
            NeedsPath, "NeedsPath can't be made without arguments .*path.* instance", id="arguments"
        ),
        pytest.param(AsyncDecode, "AsyncDecode.decode is async; .*plain functions", id="async hook"),
        pytest.param(AsyncWarmUp, "AsyncWarmUp.warm_up is async", id="async optional hook"),
        pytest.param(YieldingDecode, "YieldingDecode.decode is a generator; .* return", id="generator"),
        pytest.param(YieldingWarmUp, "YieldingWarmUp.warm_up is a generator", id="optional generator"),
        pytest.param(YieldingInfer, "YieldingInfer.infer is a generator; .*stream_infer", id="yielding"),
        pytest.param(CostOfFive, "CostOfFive.cost is of type int; .*plain functions", id="no function"),
        pytest.param("rpcb_models.simple:echo", "str is not a service: give an object with", id="no service"),
        pytest.param(None, "NoneType is not a service", id="nothing"),
    ],
)
def test_what_is_no_service_is_refused_and_told_what_it_lacks(target: object, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        bind(target)


def nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("warmup", "warm_up"),
        ("setup", "warm_up"),
        ("WarmUp", "warm_up"),
        ("load_model", "warm_up"),
        ("ondevice", "on_device"),
        ("on_devices", "on_device"),
    ],
)
async def test_a_hook_under_another_name_is_told_once_in_a_warning(
    name: str, hook: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    near = type("Near", (Shouting,), {name: nothing})
    async with working(near(), MemoryBroker()):
        pass
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"Near.{name} is never called; did you mean {hook}?"]


def test_a_service_that_has_the_hook_itself_may_have_others(caplog: pytest.LogCaptureFixture) -> None:
    bind(type("Far", (Sized,), {"setup": nothing, "predict": nothing, "to_device": nothing}))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        (["decode", "predict", "encode"], "is not a service.*; should predict be named infer[?]$"),
        (["preprocess", "infer", "encode"], "no method decode.*; should preprocess be named decode[?]$"),
        (["decode", "infer", "postprocess"], "no method encode.*; should postprocess be named encode[?]$"),
    ],
)
def test_a_hook_that_is_missing_is_told_with_the_name_it_may_go_by(hooks: list[str], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        bind(type("Near", (), dict.fromkeys(hooks, nothing)))


class Tensor:
    """As a library has it: no encoder takes it."""

    def tolist(self) -> list[float]:
        return [0.5]


@pytest.mark.parametrize(
    "result", [Tensor(), {"scores": Tensor()}, [1, Tensor()]], ids=["bare", "in a dict", "in a list"]
)
async def test_a_tensor_among_what_infer_returns_is_told_with_the_remedy(
    result: object, autojump_clock: MockClock
) -> None:
    class Scoring(Shouting):
        def infer(self, items: list[str]) -> list[Any]:
            return [result for _ in items]

        def encode(self, outcome: Outcome[Any]) -> bytes:
            return msgspec.json.encode(outcome.value if isinstance(outcome, Success) else str(outcome.error))

    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(Scoring(), broker) as running:
        await running.until_settled(1)
    [(_, error)] = running.failures
    assert error.cause.endswith("is unsupported; let infer return the .tolist() of a Tensor")
    assert "Tensor" not in str(error), "its caller can't help it"


async def test_a_negative_cost_is_blamed_on_cost(autojump_clock: MockClock) -> None:
    class Cheap(Shouting):
        def cost(self, item: str) -> float:
            return -len(item)

    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(Cheap(), broker) as running:
        await running.until_settled(1)
    [(_, error)] = running.failures
    assert (error.code, error.cause) == ("cost", "ValueError: cost must return a number from 0 up, not -6.0")


def test_a_function_that_does_not_tell_its_arguments_is_taken_at_its_word() -> None:
    assert bind(max).infer is max


def test_a_content_type_that_amqp_can_not_carry_is_refused_at_start() -> None:
    class Untyped(Shouting):
        content_type = 5  # type: ignore[assignment] # a wrong type is the point

    with pytest.raises(SettingError, match=r"Untyped.content_type is 5; give a MIME type"):
        bind(Untyped())
