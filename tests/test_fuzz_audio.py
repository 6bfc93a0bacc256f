"""Recordings that are damaged or lie never crash a worker's process, hold it up or take its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.sounds import EVERY

ROOT = Path(__file__).parent.parent

SECONDS = 120
EACH = 10
"""Recordings of each kind and damage."""
MOST_GROWTH = 40 * 2**20
"""Bytes of the worker's own process, over all recordings one after the other."""
DECODE_MEMORY = 64
"""MiB."""
DECODER = 100 * 2**20
"""Bytes that a decoder has from its start, and for a copy of the file and its samples."""

READ_ALL = f"""
import random, resource, struct, sys, time
import msgspec
from rpcb_models.audio import _reading
from rpcb_models.audio_service import AudioService
from rpcb_trio import RequestError
from tests.models.sounds import EVERY, hint_of, recording

FIELDS = [0, 1, 0x7F, 0xFF, 0xFFFF, 2**16, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 1]

def flipped(body, draw):
    for _ in range(draw.choice([1, 3, 30])):
        body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
    return body

def cut(body, draw):
    return body[: draw.randrange(1, len(body))]

def lying(body, draw):
    '''Fields of a header say anything; headers are at the beginning, or at the end.'''
    for _ in range(draw.choice([1, 1, 2, 8])):
        at = draw.randrange(4, min(len(body), 1_000))
        at = draw.choice([at, at & ~3, len(body) - at])
        form = draw.choice(['>I', '<I', '>H', '<H', '>Q', '<Q', '>B'])
        size = struct.calcsize(form)
        body[at : at + size] = struct.pack(form, draw.choice(FIELDS) % 256**size)
    return body

def repeated(body, draw):
    '''Parts come again and again, as boxes, tracks or packets.'''
    at = draw.randrange(len(body))
    return body[:at] + body[at : at + draw.choice([8, 100, 4_000])] * draw.choice([10, 1_000]) + body[at:]

def emptied(body, draw):
    '''A run of zero bytes.'''
    at = draw.randrange(len(body))
    return body[:at] + bytes(draw.choice([1, 1_000, 1_000_000])) + body[at:]

def peak(who):
    return resource.getrusage(who).ru_maxrss * 1024

damage, draw = globals()[sys.argv[1]], random.Random(7)
service = AudioService(decode_memory={DECODE_MEMORY}, max_seconds=20)
bodies = {{name: recording(name) for name in EVERY}}
def decode(body, name):
    return service.decode(msgspec.msgpack.encode({{"audio": bytes(body), "format": hint_of(name)}}))

for name, body in bodies.items():
    decode(body, name)
before, read, refused, longest = peak(resource.RUSAGE_SELF), 0, 0, 0.0
for name, body in bodies.items():
    for _ in range({EACH}):
        try:
            decode(damage(bytearray(body), draw), name)
            read += 1
        except RequestError as error:
            assert len(str(error)) <= 500 and "can't be parsed: " not in str(error), str(error)
            refused += 1
_reading._end_all()
own, children = peak(resource.RUSAGE_SELF) - before, peak(resource.RUSAGE_CHILDREN)
assert own < {MOST_GROWTH}, own
assert children < {(DECODE_MEMORY << 20) + DECODER}, children
assert read > 0 and refused > 0, (read, refused)
print(read + refused)
"""


@pytest.mark.parametrize("damage", ["flipped", "cut", "lying", "repeated", "emptied"])
def test_damaged_and_lying_recordings_of_every_container_are_read_or_refused_within_their_memory(
    damage: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, damage],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"
    assert done.stderr == ""
    assert int(done.stdout) == EACH * len(EVERY)
