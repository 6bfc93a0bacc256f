"""By what a request is known again when it is redelivered, in this process or another."""

from __future__ import annotations

import hashlib

from rpcb_trio._messages import Request

SIZE = 16
"""Bytes of an identity."""
LOOKED_AT = 4096
"""Bytes at either end of a body that its identity is made of, and its length; bodies may be large."""


def identity(request: Request) -> bytes:
    """The same for every delivery of a request, in every process; never all zero."""
    body = request.body
    told = ascii((request.reply_to, request.correlation_id, len(body))).encode()
    found = hashlib.blake2b(told, digest_size=SIZE)
    found.update(body[:LOOKED_AT])
    found.update(body[max(LOOKED_AT, len(body) - LOOKED_AT) :])
    return found.digest()
