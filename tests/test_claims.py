"""Bodies that travel by a store: what is claimed is had, verified, and gone once it is settled."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import (
    MemoryBroker,
    RemoteError,
    Reply,
    RpcClient,
    SettingError,
    Topology,
    open_client,
    open_worker,
)
from rpcb_trio._claims import CLAIM_HEADER, CLAIMS_HEADER, Claim, Claims, ClaimStore, claim_in
from rpcb_trio.errors import ClaimFailed, RequestTooBig, Unroutable
from rpcb_trio.instruments import Settled
from rpcb_trio.streaming import END, Step
from rpcb_trio.testing import in_place
from tests.scenarios import ANSWERS, QUEUE, Running, Shouting, answers, ask, steady, taken, working

SMALL = 100
"""Bytes; what the broker takes."""

LOCAL = "fsspec.implementations.local.LocalFileSystem"


class Growing(Shouting):
    """Its reply is ten times as long as the request."""

    def infer(self, items: list[str]) -> list[str | Exception]:
        return [item.upper() * 10 for item in items]


def shout(bodies: list[bytes]) -> list[bytes]:
    """A service without decode and encode."""
    return [body.upper() * 3 for body in bodies]


@pytest.fixture(params=["a directory", "fsspec's memory, in the place of S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store."""
    return str(tmp_path / "claims") if request.param == "a directory" else f"memory://{uuid4().hex}/claims"


def files_in(place: str) -> list[str]:
    """What is left there."""
    store = ClaimStore(place)
    store.open()
    return list(store.files.found())


@asynccontextmanager
async def calling(
    place: str, service: Any = None, **settings: Any
) -> AsyncIterator[tuple[RpcClient, Running, MemoryBroker]]:
    """A client and a worker with one store, at a broker that takes small messages only."""
    broker = MemoryBroker(max_message_size=SMALL)
    async with (
        working(service or Shouting(), broker, claims=[place], **settings) as running,
        open_client(broker, claims=place) as client,
    ):
        yield client, running, broker


@pytest.mark.parametrize("service", [Shouting, lambda: shout], ids=["that decodes", "of bodies"])
async def test_what_the_broker_does_not_take_travels_by_the_store_and_leaves_nothing_there(
    place: str, service: Callable[[], Any]
) -> None:
    body = b"good " + b"x" * 5000
    async with calling(place, service()) as (client, running, _), trio.open_nursery() as nursery:
        replies: list[Reply] = []

        async def call(body: bytes) -> None:
            replies.append(await client.call(body, queue=QUEUE))

        for each in (body, b"good y", body):
            nursery.start_soon(call, each)
    assert {len(reply.body) // 1000 for reply in replies} == ({0, 5} if service is Shouting else {0, 15})
    assert all(body.upper() in reply.body for reply in replies if len(reply.body) > SMALL)
    assert not any(CLAIM_HEADER in reply.headers for reply in replies)
    assert running.endings == {Settled.REPLIED: 3}
    assert files_in(place) == []


async def test_a_large_request_for_a_reply_in_parts_goes_by_the_store_too(place: str) -> None:
    async with calling(place, Shouting()) as (client, _, _):
        parts = [part.body async for part in client.stream(b"good " + b"x" * 50, queue=QUEUE)]
        with pytest.raises(RemoteError, match="reply-too-big"):
            _ = [part async for part in client.stream(b"good " + b"x" * 5000, queue=QUEUE)]
    assert parts == [b"ok:GOOD " + b"X" * 50]
    assert files_in(place) == []


async def test_what_is_answered_in_parts_leaves_nothing_there(place: str) -> None:
    def spell(bodies: list[bytes]) -> Iterator[Step[bytes]]:
        for part in range(3):
            yield {item: b"%d:%d" % (part, len(body)) for item, body in enumerate(bodies)}
        yield dict.fromkeys(range(len(bodies)), END)

    broker = MemoryBroker(max_message_size=SMALL)
    async with (
        open_worker(spell, broker, QUEUE, claims=[place]),
        open_client(broker, claims=place) as client,
    ):
        parts = [part.body async for part in client.stream(bytes(5000), queue=QUEUE)]
        whole = await client.call(bytes(5000), queue=QUEUE)
    assert parts == [b"0:5000", b"1:5000", b"2:5000"]
    assert whole.body == b"".join(parts)
    assert files_in(place) == []


async def test_a_large_reply_to_a_small_request_comes_by_the_store(place: str) -> None:
    async with calling(place, Growing()) as (client, _, _):
        reply = await client.call(b"good " + b"x" * 50, queue=QUEUE)
    assert reply.body == b"ok:" + (b"GOOD " + b"X" * 50) * 10
    assert reply.content_type == "text/plain"
    assert files_in(place) == []


async def test_a_large_reply_is_an_error_for_a_caller_who_takes_none_from_the_store(tmp_path: Path) -> None:
    broker = MemoryBroker(max_message_size=SMALL)
    async with working(Growing(), broker, claims=[str(tmp_path / "a")]):
        ask(broker, b"good " + b"x" * 50 + b" 1", headers={CLAIMS_HEADER: f"file://{tmp_path}/b"})
        async with open_client(broker, claims=str(tmp_path / "b")) as client:
            reply = await client.call(b"good " + b"x" * 50, queue=QUEUE)
    assert reply.error == "reply-too-big"
    assert answers(broker) == {"1": b"failed:reply-too-big"}
    assert [files_in(str(tmp_path / each)) for each in ("a", "b")] == [[], []]


def put(place: Path, content: bytes, name: str | None = None) -> dict[str, Any]:
    """A claim to a file that is there."""
    place.mkdir(exist_ok=True)
    name = name or f"claim-{'a' * 32}"
    (place / name).write_bytes(content)
    return {"url": f"file://{place}/{name}", "size": len(content), "sha256": sha256(content).hexdigest()}


def elsewhere(place: Path) -> dict[str, Any]:
    return put(place.parent / "private", b"secret")


def above(place: Path) -> dict[str, Any]:
    return put(place.parent, b"secret") | {"url": f"file://{place}/../claim-{'a' * 32}"}


def below(place: Path) -> dict[str, Any]:
    place.mkdir()
    return put(place / "below", b"secret")


def a_link(place: Path) -> dict[str, Any]:
    claim = put(place.parent, b"secret", "private")
    place.mkdir()
    (place / f"claim-{'a' * 32}").symlink_to(place.parent / "private")
    return claim | {"url": f"file://{place}/claim-{'a' * 32}"}


def a_pipe(place: Path) -> dict[str, Any]:
    claim = put(place, b"secret")
    (place / f"claim-{'a' * 32}").unlink()
    os.mkfifo(place / f"claim-{'a' * 32}")
    return claim


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "of another directory": (elsewhere, "claim"),
    "above the store": (above, "claim"),
    "below the store": (below, "claim"),
    "of another name": (lambda place: put(place, b"secret", "passwd"), "claim"),
    "by a link that leads out": (a_link, "claim"),
    "of a pipe": (a_pipe, "claim"),
    "of another server": (
        lambda place: put(place, b"x") | {"url": f"http://127.0.0.1/claim-{'a' * 32}"},
        "claim",
    ),
    "of what is not there": (
        lambda place: put(place, b"x") | {"url": f"file://{place}/claim-{'b' * 32}"},
        "claim",
    ),
    "of another size": (lambda place: put(place, b"good 123") | {"size": 7}, "claim"),
    "of a smaller size": (lambda place: put(place, b"good 123") | {"size": 9}, "claim"),
    "of another content": (lambda place: put(place, b"good 123") | {"sha256": "0" * 64}, "claim"),
    "of no content": (lambda place: put(place, b""), "claim"),
    "of more than may be decoded": (lambda place: put(place, b"good 123") | {"size": 1001}, "too-big"),
    "that is no claim": (lambda _: {"url": 1}, "claim"),
    "that is long": (lambda place: put(place, b"x") | {"x": "y" * 3000}, "claim"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_claim_is_refused(name: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    make, code = HOSTILE[name]
    place, broker = tmp_path / "claims", MemoryBroker()
    header = msgspec.json.encode(make(place)).decode()
    async with working(Shouting(), broker, claims=[str(place)], max_body_size=1000) as running:
        ask(broker, b"good 1")
        broker.publish(
            b"", routing_key=QUEUE, reply_to=ANSWERS, correlation_id="2", headers={CLAIM_HEADER: header}
        )
        ask(broker, b"good 3")
        await running.until_settled(3)
    assert answers(broker) == {"1": b"ok:GOOD 1", "2": f"failed:{code}".encode(), "3": b"ok:GOOD 3"}
    [(_, error)] = running.refusals
    assert error.kind == "request"
    assert "secret" not in str(error)


@pytest.mark.parametrize("service", [Shouting, lambda: shout], ids=["that decodes", "of bodies"])
async def test_a_worker_without_a_store_refuses_every_claim_and_names_the_setting(
    tmp_path: Path, service: Callable[[], Any], autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    header = msgspec.json.encode(put(tmp_path, b"good 123")).decode()
    async with working(service(), broker) as running:
        ask(broker)
        broker.publish(b"", routing_key=QUEUE, reply_to=ANSWERS, headers={CLAIM_HEADER: header})
        await running.until_settled(1)
    [reply] = taken(broker)
    assert (reply.error, reply.error_kind) == ("claim", "request")
    assert reply.error_reason is not None
    assert reply.error_reason.endswith("takes none from there; set its claims")


async def test_a_store_that_can_t_be_read_is_no_fault_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with calling(str(tmp_path)) as (client, _, _):

        def broken(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("rpcb_trio._files._files._read_regular", broken)
        reply = await client.call(b"good " + bytes(5000), queue=QUEUE)
    assert (reply.error, reply.error_kind) == ("claims-unavailable", "busy")


async def test_a_request_that_is_delivered_again_finds_its_body_and_then_it_goes(
    place: str, autojump_clock: MockClock
) -> None:
    class Once(Shouting):
        def infer(self, items: list[str]) -> list[str | Exception]:
            if len(self.runs) == 0:
                broker.disconnect()
            return super().infer(items)

    service = Once()
    broker = MemoryBroker(max_message_size=SMALL)
    store = ClaimStore(place)
    store.open()
    claim = store.put(b"good " + b"x" * 5000)
    async with working(service, broker, claims=[place]) as running:
        ask(broker)
        broker.publish(b"", routing_key=QUEUE, reply_to=ANSWERS, headers={CLAIM_HEADER: claim.header})
        await running.until_settled(1)
    assert len(service.runs) == 2
    assert files_in(place) == []


async def test_a_dead_letter_keeps_its_body(place: str, autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    broker.declare("dead")
    store = ClaimStore(place)
    store.open()
    claim = store.put(b"good")
    topology = Topology(queue=QUEUE, dead_letter_exchange="", dead_letter_routing_key="dead")
    async with working(
        Shouting(), broker, queue=topology, claims=[place], no_reply_to="dead-letter"
    ) as running:
        broker.publish(b"", routing_key=QUEUE, headers={CLAIM_HEADER: claim.header})
        await running.until_settled(1)
    letter = broker.get("dead")
    assert letter is not None
    assert store.get(claim_in(letter)) == b"good"


async def test_a_reply_that_reaches_nobody_does_not_stay(place: str, autojump_clock: MockClock) -> None:
    broker = MemoryBroker(max_message_size=SMALL)
    store = ClaimStore(place)
    async with working(Growing(), broker, claims=[place]) as running:
        broker.declare(QUEUE)
        body = b"good " + b"x" * 50
        broker.publish(body, routing_key=QUEUE, reply_to="gone", headers={CLAIMS_HEADER: store.root})
        await running.until_settled(1)
    assert running.endings == {Settled.UNROUTABLE: 1}
    assert files_in(place) == []


async def test_a_request_that_reaches_no_queue_leaves_nothing(place: str) -> None:
    async with open_client(MemoryBroker(max_message_size=SMALL), claims=place) as client:
        with pytest.raises(Unroutable):
            await client.call(bytes(5000), queue="nowhere")
    assert files_in(place) == []


async def test_a_store_that_can_t_be_written_fails_that_call_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with calling(str(tmp_path)) as (client, _, _):

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(f"{LOCAL}.pipe_file", full)
        with pytest.raises(ClaimFailed, match=r"can't be put into file://.*No space left"):
            await client.call(bytes(5000), queue=QUEUE)
        assert (await client.call(b"good", queue=QUEUE)).body == b"ok:GOOD"


async def test_a_reply_that_was_changed_in_the_store_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with calling(str(tmp_path), Growing()) as (client, _, _):
        monkeypatch.setattr("rpcb_trio._files._files._read_regular", lambda *_: bytes(553))
        with pytest.raises(ClaimFailed, match="another body"):
            await client.call(b"good " + b"x" * 50, queue=QUEUE)


async def test_a_larger_request_is_refused_before_it_is_sent_and_what_is_set_wins(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker(max_message_size=SMALL)
    broker.declare(QUEUE)
    async with open_client(broker) as client:
        assert client.largest_request == SMALL
        with pytest.raises(RequestTooBig, match=r"has 101 bytes, .* takes 100 at most.*set claims"):
            await client.call(bytes(101), queue=QUEUE)
    async with open_client(broker, max_message_size=10) as client:
        assert client.largest_request == 10
        with pytest.raises(RequestTooBig, match="takes 10 at most"):
            await client.call(bytes(11), queue=QUEUE)
    assert broker.depth(QUEUE) == 0


async def test_what_is_left_over_goes_once_it_is_old_and_nothing_else_does(
    place: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    store = ClaimStore(place)
    store.open()
    store.put(b"1")
    store.files.put("not-a-claim", b"2")
    claims = Claims([place], kept=100, offload=in_place)
    await claims.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claims.sweep_for_ever)
        await trio.sleep(50)
        assert len(files_in(place)) == 2
        later = time.time() + 101
        monkeypatch.setattr(time, "time", lambda: later)
        await trio.sleep(50)
        assert files_in(place) == ["not-a-claim"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "where",
    [
        "s3://",
        "s3://bucket/../other",
        "s3://bucket//x",
        "s3://bucket/./x",
        "file://claims",
        "file:///",
        "simplecache::s3://bucket/x",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?versionId=1",
        "s3://[/x",
    ],
)
def test_a_place_that_could_be_another_one_is_a_wrong_setting(where: str) -> None:
    with pytest.raises(SettingError, match=r"^claims ") as raised:
        ClaimStore(where)
    assert "secret" not in str(raised.value)


async def test_a_place_that_can_t_be_used_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (f"{tmp_path}/file/below", "nonsense://x/y"):
        with pytest.raises(SettingError, match=r"^claims: .* can't be used"):
            async with working(shout, MemoryBroker(), claims=[place]):
                pass
        with pytest.raises(SettingError, match=r"^claims: .* can't be used"):
            async with open_client(MemoryBroker(), claims=place):
                pass
    with pytest.raises(SettingError, match=r"^claims is '/srv'; give a list"):
        async with working(shout, MemoryBroker(), claims="/srv"):
            pass


@settings(steady, max_examples=50)
@given(st.text(max_size=60) | st.from_regex(r"(s3|file|memory)://[a-z./:@?~%]{0,40}", fullmatch=True))
def test_every_place_is_one_root_or_a_wrong_setting(where: str) -> None:
    try:
        root = ClaimStore(where).root
    except (SettingError, ValueError):  # a name with a NUL in it is no path
        return
    assert ClaimStore(root).root == root == ClaimStore(f"{root}/").root
    assert ".." not in root.split("/")


@settings(steady, max_examples=50)
@given(
    st.binary(max_size=300)
    | st.text(max_size=300)
    | st.builds(
        lambda url, size, digest: msgspec.json.encode({"url": url, "size": size, "sha256": digest}).decode(),
        st.from_regex(r"\w{1,5}://[\w/.%-]{0,20}(claim-[\w-]{31,33})?\n?"),
        st.integers(-1, 2**64),
        st.from_regex(r"[0-9a-f]{63,65}\n?"),
    )
)
def test_whatever_stands_in_the_header_is_a_claim_or_refused(header: object) -> None:
    try:
        claim = claim_in(Reply(body=b"", headers={CLAIM_HEADER: header}))
    except ValueError:
        return
    assert isinstance(claim, Claim)
    assert claim.url == f"{claim.root}/{claim.name}"
    assert "/" not in claim.name
    assert claim.size > 0
