"""A recogniser on the ancestor's wire that hears nothing, and needs no libraries for it."""

from __future__ import annotations

import msgspec

from rpcb_models.wire import Recognition, read_request


def deaf(bodies: list[bytes]) -> list[bytes]:
    """Answer each recording: `tests.deaf:deaf`."""
    return [
        msgspec.msgpack.encode(Recognition(f"{len(read_request(body).audio)} bytes", 200)) for body in bodies
    ]
