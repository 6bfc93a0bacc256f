"""A service gets every body plain: what its producer packed is unpacked within bounds, or refused by name."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import MemoryBroker, Request, Topology
from rpcb_trio._pipeline._unpacking import LARGEST, is_plain, packing_of, unpacked_body
from rpcb_trio.errors import BodyTooBig, DecodeError
from tests.scenarios import ANSWERS, QUEUE, Shouting, steady, taken, working

MIB = 2**20


def bare(body: bytes) -> bytes:
    """Deflate without its head, as some send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP in capitals": (" GZip ", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its head": ("deflate", bare),
    "gzip in members": (
        "gzip",
        lambda body: gzip.compress(body[:3], mtime=0) + gzip.compress(body[3:], mtime=0),
    ),
    "gzip that fills a block": ("gzip", lambda body: gzip.compress(body, mtime=0) + bytes(512)),
}

NO_PACKING = [
    None,
    "",
    "identity",
    "utf-8",
    "UTF-8",
    "utf8",
    "utf-16le",
    "binary",
    "8bit",
    "us-ascii",
    "ISO-8859-1",
    "latin-1",
    "windows-1252",
    "GBK",
    "gb18030",
    "Shift_JIS",
    "euc-kr",
    "koi8-r",
]


def request(body: bytes, content_encoding: str | None) -> Request:
    return Request(body=body, arrived=0.0, content_encoding=content_encoding)


@pytest.mark.parametrize("packer", PACKERS)
@given(body=st.binary(max_size=2000) | st.integers(60_000, 300_000).map(lambda size: b"speech" * (size // 6)))
@steady
def test_what_was_packed_is_what_was_meant(packer: str, body: bytes) -> None:
    content_encoding, pack = PACKERS[packer]
    packed = pack(body)
    assert not is_plain(request(packed, content_encoding))
    assert unpacked_body(request(packed, content_encoding), max(1, len(body))) == body


@pytest.mark.parametrize("content_encoding", NO_PACKING)
def test_a_character_set_is_no_packing(content_encoding: str | None) -> None:
    assert is_plain(request(b"text", content_encoding))
    assert unpacked_body(request(b"text", content_encoding), 4) == b"text"


@pytest.mark.parametrize(
    "content_encoding", ["br", "zstd", "compress", "base64", "gzip, gzip", "aes", "x" * 255]
)
def test_an_encoding_that_nobody_knows_is_refused_by_its_name(content_encoding: str) -> None:
    with pytest.raises(DecodeError, match="is not known here; send gzip, deflate") as raised:
        unpacked_body(request(b"text", content_encoding), None)
    assert content_encoding[:40] in str(raised.value)
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("content_encoding", "body"),
    [
        ("gzip", b""),
        ("gzip", b"plain after all"),
        ("gzip", gzip.compress(b"speech" * 100, mtime=0)[:-9]),
        ("gzip", gzip.compress(b"speech", mtime=0)[:-5] + b"\xff" * 5),
        ("gzip", gzip.compress(b"speech", mtime=0) + b"more"),
        ("gzip", gzip.compress(b"", mtime=0) * 101),
        ("deflate", b""),
        ("deflate", zlib.compress(b"speech") + b"more"),
        ("deflate", b"\xff\xff\xff"),
    ],
    ids=repr,
)
def test_what_is_not_what_it_says_is_refused(content_encoding: str, body: bytes) -> None:
    with pytest.raises(DecodeError, match=f"content_encoding is '{content_encoding}', and the body is none"):
        unpacked_body(request(body, content_encoding), None)


@given(
    body=st.binary(max_size=300),
    cut=st.integers(0, 300),
    content_encoding=st.sampled_from(["gzip", "deflate"]),
)
@steady
def test_any_bytes_are_unpacked_or_refused(body: bytes, cut: int, content_encoding: str) -> None:
    for each in (body, gzip.compress(body, mtime=0)[:cut], zlib.compress(body) + body[:cut]):
        with suppress(DecodeError, BodyTooBig):
            assert len(unpacked_body(request(each, content_encoding), 1000)) <= 1000


@pytest.mark.parametrize("most", [1, 1000, 2**16, 2**16 + 1])
def test_the_bound_counts_the_bytes_that_come_out(most: int) -> None:
    for content_encoding, pack in PACKERS.values():
        fits, exceeds = (request(pack(bytes(size)), content_encoding) for size in (most, most + 1))
        assert len(unpacked_body(fits, most)) == most
        with pytest.raises(BodyTooBig, match=rf"more than {most} bytes once it is unpacked.*max_body_size"):
            unpacked_body(exceeds, most)


def bomb(size: int) -> bytes:
    """So many zeros, a thousandth of that packed."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()])


def test_a_bomb_is_put_out_before_it_has_swollen_beyond_the_bound() -> None:
    import tracemalloc  # noqa: PLC0415 - it slows down what follows it

    packed = bomb(256 * MIB)
    assert len(packed) < MIB
    tracemalloc.start()
    with pytest.raises(BodyTooBig):
        unpacked_body(request(packed, "gzip"), MIB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB


def test_names_are_not_remembered_without_end() -> None:
    for number in range(10_000):
        packing_of(f"x-{number}")
    assert packing_of.cache_info().currsize <= 256
    assert LARGEST == 512 * MIB


def lengths(bodies: list[bytes]) -> list[bytes]:
    return [b"%d" % len(body) for body in bodies]


@pytest.mark.parametrize("kind", ["three hooks", "a plain function"])
async def test_packed_requests_are_served_and_bad_ones_spoil_nobody(
    kind: str, autojump_clock: MockClock
) -> None:
    broker, dead = MemoryBroker(), "dead"
    broker.declare(QUEUE)
    broker.declare(ANSWERS)
    broker.declare(dead)
    service = Shouting() if kind == "three hooks" else lengths
    bodies = {
        "plain": (b"good", None),
        "charset": (b"good", "UTF-8"),
        "gzip": (gzip.compress(b"good", mtime=0), "gzip"),
        "bomb": (bomb(2 * MIB), "gzip"),
        "unknown": (b"good", "br"),
        "corrupt": (b"good", "gzip"),
    }
    topology = Topology(queue=QUEUE, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with working(service, broker, queue=topology, max_body_size=MIB) as running:
        for name, (body, content_encoding) in bodies.items():
            broker.publish(
                body,
                routing_key=QUEUE,
                reply_to=ANSWERS,
                correlation_id=name,
                content_encoding=content_encoding,
            )
        await running.until_settled(len(bodies))
    found = {reply.correlation_id: (reply.body, reply.error) for reply in taken(broker)}
    good = (b"ok:GOOD", None) if kind == "three hooks" else (b"4", None)
    assert {name: found[name] for name in ("plain", "charset", "gzip")} == dict.fromkeys(
        ("plain", "charset", "gzip"), good
    )
    assert {name: found[name][1] for name in ("bomb", "unknown", "corrupt")} == {
        "bomb": "too-big",
        "unknown": "decode",
        "corrupt": "decode",
    }
