"""Recordings that are damaged never crash a worker's process, hold it up or take its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

SECONDS = 60
MOST_GROWTH = 150 * 2**20
"""Bytes, over all files one after the other; one sound of 120 s in float32 is 8 MB."""

DAMAGE = f"""
import random, resource
from models.audio_service import AudioService
from rpcb_trio import RequestError
from tests.models.sounds import FILES, audio_file
import msgspec

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def damaged(body, draw):
    body = bytearray(body)
    for _ in range(draw.choice([0, 1, 3, 30])):
        body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
    return bytes(body[: draw.choice([len(body), draw.randrange(1, len(body))])])

draw, service = random.Random(7), AudioService()
files = {{name: audio_file(name) for name in sorted(FILES)}}
for name, body in files.items():
    service.decode(msgspec.msgpack.encode({{"audio": body, "format": name}}))
before, read, refused = peak(), 0, 0
for name, body in files.items():
    for _ in range(30):
        request = msgspec.msgpack.encode({{"audio": damaged(body, draw), "format": name}})
        if draw.random() < 0.2:
            request = damaged(request, draw)
        try:
            service.decode(request)
            read += 1
        except RequestError:
            refused += 1
assert peak() - before < {MOST_GROWTH}, peak() - before
assert read > 0 and refused > 0
print(read + refused)
"""


def test_truncated_and_bit_flipped_recordings_of_every_container_are_read_or_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DAMAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"
    assert int(done.stdout) >= 30 * 7
